package role

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What runs is finished with the old hooks, what waits is told to the new ones, and
// nothing is told again.
func TestQueue_Reconfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeRun(map[string]time.Duration{"up": time.Second})
		q := New(Router{Name: "web", Hooks: Hooks{Master: named("up"), Any: named("old")}}, f.run, quiet(), nil)
		q.Tell(to(Master))
		synctest.Wait()
		q.Reconfigure(Router{Name: "www", Hooks: Hooks{Any: named("new")}})
		time.Sleep(5 * time.Second)
		q.Tell(to(Master))
		q.Tell(to(Backup))
		synctest.Wait()
		if err := q.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"0s up", "1s old INSTANCE web MASTER 0", "5s new INSTANCE www BACKUP 0"}, f.begun); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestQueue_ReconfigureMakesAnotherPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	q := New(Router{Name: "web"}, nil, quiet(), nil)
	q.Reconfigure(Router{Name: "web", Hooks: Hooks{FIFO: path}})
	q.fifo.wait()
	if info, err := os.Stat(path); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("%v, %v", info, err)
	}
	if !q.fifo.told.IsZero() {
		t.Error("that nobody reads it yet is told")
	}
	q.Reconfigure(Router{Name: "web"})
	q.Tell(to(Master))
	if err := q.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
