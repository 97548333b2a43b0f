package daemon

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"baton/health"
)

// passing is a probe that has nothing against it.
type passing struct{}

func (passing) Probe(context.Context) health.Answer { return health.Answer{OK: true} }

// Who asks for the checks is told how often each is asked.
func TestDaemon_ChecksHaveTheirInterval(t *testing.T) {
	checks := []health.Check{{Name: "db", Interval: time.Minute, Probe: passing{}}, {Name: "api", Interval: 2 * time.Second, Probe: passing{}}}
	d := &daemon{scheduler: health.NewScheduler(checks, slog.New(slog.DiscardHandler), func(health.Change) {})}
	got := map[string]time.Duration{}
	for _, c := range d.Checks() {
		got[c.Name] = c.Interval
	}
	if got["api"] != 2*time.Second || got["db"] != time.Minute || len(got) != 2 {
		t.Errorf("intervals %v, want 2s of api and 1m of db", got)
	}
}
