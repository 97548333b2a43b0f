package daemon

import (
	"sync/atomic"

	"baton/internal/control"
)

// published hands the newest status from the protocol loop to whoever asks. The
// loop never waits for a reader.
type published struct {
	newest atomic.Pointer[edition]
}

// edition is a status, and the news that it is the newest no more.
type edition struct {
	status *control.Status
	passed chan struct{}
}

func newPublished(first *control.Status) *published {
	p := new(published)
	p.newest.Store(&edition{first, make(chan struct{})})
	return p
}

// publish is called from one goroutine.
func (p *published) publish(s *control.Status) {
	close(p.newest.Swap(&edition{s, make(chan struct{})}).passed)
}

func (p *published) status() *control.Status { return p.newest.Load().status }

// changed is closed when there is a newer status than the one that was the
// newest at the call.
func (p *published) changed() <-chan struct{} { return p.newest.Load().passed }
