package daemon

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"baton/internal/command"
	"baton/internal/role"
	"baton/internal/service"
)

// slow is a service whose start and stop take a while.
type slow struct {
	start, stop time.Duration
	cut         time.Time // when a start was ended before its time
}

func (s *slow) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		s.cut = time.Now()
		return ctx.Err()
	}
}

func (s *slow) Start(ctx context.Context, _ role.Transition) error { return s.wait(ctx, s.start) }
func (s *slow) Stop(ctx context.Context, _ role.Transition) error  { return s.wait(ctx, s.stop) }
func (s *slow) Status(context.Context, role.Transition) service.Status {
	return service.Status{State: service.Running}
}

// In the end nobody waits for another: a hook and a stop have the whole time, and a
// start is ended at once.
func TestCloseRoles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		begin := time.Now()
		sequence := func(s *slow) *role.Sequence {
			return role.NewSequence(role.Options{
				Items: []role.Item{{Name: "osc", Control: s}}, Report: func(role.Report) {}, Log: log,
			})
		}
		stops, starts := &slow{stop: 50 * time.Second}, &slow{start: time.Hour}
		d := &daemon{log: log, bound: []*boundServices{{Sequence: sequence(stops)}, {Sequence: sequence(starts)}}}
		d.bound[0].Stop(1, role.Transition{To: role.Stop}, true)
		d.everywhere = sequence(starts)
		d.everywhere.Start(1, role.Transition{}, 0)
		hook := func(ctx context.Context, _ role.Hook, _ []string, _ []string) command.Result {
			select {
			case <-time.After(40 * time.Second):
			case <-ctx.Done():
				t.Error("a hook was cut short")
			}
			return command.Result{}
		}
		q := role.New(role.Router{Name: "web", Hooks: role.Hooks{Stop: []role.Hook{{Argv: []string{"hook"}}}}}, hook, log, nil)
		q.Tell(role.Transition{To: role.Stop})
		d.queues = append(d.queues, &hookQueue{Queue: q})
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		d.closeRoles(ctx)
		if took := time.Since(begin); took != 50*time.Second {
			t.Errorf("took %s, want 50s", took)
		}
		if starts.cut != begin {
			t.Errorf("a start was ended after %s", starts.cut.Sub(begin))
		}
		if !stops.cut.IsZero() {
			t.Error("a stop was cut short")
		}
	})
}
