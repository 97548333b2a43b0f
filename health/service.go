package health

import (
	"context"

	"baton/internal/service"
)

// NewServiceProbe asks the manager of a service: it passes while the service is
// Running. Anything else is a failure. That nobody can tell is one when it comes
// twice in a row: a manager that is executed anew is away for a moment.
// what names it in the answer's text, as in "unit osc.service". Where the service
// knows of its changes, the probe is a Watcher.
func NewServiceProbe(s service.Service, what string) Probe {
	p := &serviceProbe{service: s, what: what}
	if w, ok := s.(service.Watcher); ok {
		return watchedService{p, w}
	}
	return p
}

// serviceProbe is asked by one goroutine at a time.
type serviceProbe struct {
	service service.Service
	what    string
	unknown bool // the last answer was that nobody can tell
}

func (p *serviceProbe) Probe(ctx context.Context) Answer {
	ctx, cancel := inTime(ctx)
	defer cancel()
	st := p.service.Status(ctx)
	a := Answer{OK: st.State == service.Running, Text: p.what + ": " + st.Text}
	if st.Text == "" {
		a.Text = p.what + " is " + st.State.String()
	}
	if !a.OK {
		a.Hint = st.Hint
	}
	unknown := st.State == service.Unknown
	a.None = unknown && !p.unknown
	p.unknown = unknown
	return a
}

type watchedService struct {
	*serviceProbe
	watcher service.Watcher
}

func (p watchedService) Watch(ctx context.Context, changed func()) {
	p.watcher.Watch(ctx, changed)
}
