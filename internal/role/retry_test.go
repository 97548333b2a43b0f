package role

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"baton/internal/command"
)

// failing is a RunFunc whose commands fail for so many runs.
func failing(f *fakeRun, runs map[string]int) RunFunc {
	return func(ctx context.Context, h Hook, argv, env []string) command.Result {
		r := f.run(ctx, h, argv, env)
		f.mu.Lock()
		defer f.mu.Unlock()
		if runs[argv[0]]--; r.OK() && runs[argv[0]] >= 0 {
			r.Exit = 1
		}
		return r
	}
}

func TestQueue_Retries(t *testing.T) {
	move := Hooks{Master: []Hook{{Argv: []string{"move"}, Retries: 8}, {Argv: []string{"then"}}}, Fault: named("fault"), Reassert: named("reassert")}
	tests := []struct {
		name string
		runs map[string]int
		tell []told
		want []string
	}{
		{"until it works", map[string]int{"move": 3, "then": 1}, []told{{0, to(Master)}}, []string{"0s move", "1s move", "3s move", "7s move", "7s then"}},
		{"as often as it may", map[string]int{"move": 100}, []told{{0, to(Master)}},
			[]string{"0s move", "1s move", "3s move", "7s move", "15s move", "31s move", "1m1s move", "1m31s move", "2m1s move", "2m1s then"}},
		{"until a newer state comes", map[string]int{"move": 100}, []told{{0, to(Master)}, {5 * time.Second, to(Fault)}},
			[]string{"0s move", "1s move", "3s move", "5s fault"}},
		{"a reassertion waits", map[string]int{"move": 2}, []told{{0, to(Master)}, {2 * time.Second, reassert}},
			[]string{"0s move", "1s move", "3s move", "3s then", "3s reassert"}},
		{"also after states that came before", map[string]int{"move": 1}, []told{{0, to(Fault)}, {0, to(Master)}}, []string{"0s fault", "0s move", "1s move", "1s then"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeRun(nil)
				q := New(Router{Name: "web", Hooks: move}, failing(f, tt.runs), quiet(), nil)
				f.wants(t, q, tt.tell, tt.want)
			})
		})
	}
}

func TestQueue_RetriesEndWithClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := newFakeRun(nil)
		q := New(Router{Name: "web", Hooks: Hooks{Stop: []Hook{{Argv: []string{"stop"}, Retries: 100}}}}, failing(f, map[string]int{"stop": 100}),
			slog.New(slog.NewTextHandler(&log, nil)), nil)
		q.Tell(to(Stop))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := q.Close(ctx); err == nil {
			t.Error("Close returned no error")
		}
		if took := time.Since(f.start); took != 10*time.Second {
			t.Errorf("Close returned after %v, want 10s", took)
		}
		for _, want := range []string{`msg="hook failed" router=web state=STOP hook=stop command=stop exit=1 took=0s again_in=1s`, "again_in=8s"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %s:\n%s", want, &log)
			}
		}
	})
}
