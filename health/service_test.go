package health

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/internal/service"
)

// standIn is a service with a fixed status.
type standIn service.Status

func (s standIn) Start(context.Context) error           { return nil }
func (s standIn) Stop(context.Context) error            { return nil }
func (s standIn) Status(context.Context) service.Status { return service.Status(s) }

// knowing is one that knows when it changes: once.
type knowing struct{ standIn }

func (knowing) Watch(_ context.Context, changed func()) { changed() }

func TestServiceProbe(t *testing.T) {
	tests := map[string]struct {
		is   service.Status
		want Answer
	}{
		"running": {service.Status{State: service.Running, Text: "active (running)"}, Answer{OK: true, Text: "unit osc.service: active (running)"}},
		"running, with advice": {service.Status{State: service.Running, Text: "running; restart policy always", Hint: "docker update"},
			Answer{OK: true, Text: "unit osc.service: running; restart policy always"}},
		"starting": {service.Status{State: service.Starting, Text: "activating (start)"}, Answer{Text: "unit osc.service: activating (start)"}},
		"stopping": {service.Status{State: service.Stopping, Text: "deactivating (stop)"}, Answer{Text: "unit osc.service: deactivating (stop)"}},
		"stopped":  {service.Status{State: service.Stopped, Text: "masked", Hint: "systemctl unmask osc.service"}, Answer{Text: "unit osc.service: masked", Hint: "systemctl unmask osc.service"}},
		"failed":   {service.Status{State: service.Failed, Text: "failed: oom-kill", Hint: "journalctl"}, Answer{Text: "unit osc.service: failed: oom-kill", Hint: "journalctl"}},
		"unknown":  {service.Status{State: service.Unknown, Text: "systemd does not answer", Hint: "dmesg"}, Answer{Text: "unit osc.service: systemd does not answer", Hint: "dmesg", None: true}},
		"no words": {service.Status{State: service.Failed}, Answer{Text: "unit osc.service is failed"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := NewServiceProbe(standIn(tt.is), "unit osc.service")
			if diff := cmp.Diff(tt.want, p.Probe(t.Context())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A manager that is away for a moment is no failure, and one that stays away is.
func TestServiceProbe_Unknown(t *testing.T) {
	var is standIn
	p := NewServiceProbe(&is, "x")
	for i, tt := range []struct {
		state    service.State
		ok, none bool
	}{
		{service.Unknown, false, true}, {service.Unknown, false, false}, {service.Unknown, false, false},
		{service.Running, true, false}, {service.Unknown, false, true}, {service.Stopped, false, false}, {service.Unknown, false, true},
	} {
		is.State = tt.state
		if a := p.Probe(t.Context()); a.OK != tt.ok || a.None != tt.none {
			t.Errorf("%d: %s: %+v", i, tt.state, a)
		}
	}
}

func TestServiceProbe_Watch(t *testing.T) {
	if _, ok := NewServiceProbe(standIn{}, "x").(Watcher); ok {
		t.Error("it watches what does not know")
	}
	told := 0
	NewServiceProbe(knowing{}, "x").(Watcher).Watch(t.Context(), func() { told++ })
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}
