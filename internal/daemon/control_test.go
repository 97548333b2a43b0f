package daemon

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"baton/health"
	"baton/internal/config"
)

// passing is a probe that has nothing against it.
type passing struct{}

func (passing) Probe(context.Context) health.Answer { return health.Answer{OK: true} }

// Who asks for the checks is told how often each is asked.
func TestDaemon_ChecksHaveTheirInterval(t *testing.T) {
	d := &daemon{
		cfg:       &config.Config{Checks: []config.Check{{Name: "api", Interval: 2 * time.Second}, {Name: "db", Interval: time.Minute}}},
		scheduler: health.NewScheduler([]health.Check{{Name: "db", Probe: passing{}}, {Name: "api", Probe: passing{}}}, slog.New(slog.DiscardHandler), func(health.Change) {}),
	}
	got := map[string]time.Duration{}
	for _, c := range d.Checks() {
		got[c.Name] = c.Interval
	}
	if got["api"] != 2*time.Second || got["db"] != time.Minute || len(got) != 2 {
		t.Errorf("intervals %v, want 2s of api and 1m of db", got)
	}
}
