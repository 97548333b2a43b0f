package statefile

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"baton/internal/control"
	"baton/internal/trial"
)

// roles is a source of roles.
type roles struct {
	mu      sync.Mutex
	status  *control.Status
	changed chan struct{}
}

func newRoles(routers ...control.Router) *roles {
	return &roles{status: &control.Status{Routers: routers}, changed: make(chan struct{})}
}

func (r *roles) Status() *control.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *roles) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *roles) publish(routers ...control.Router) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = &control.Status{Routers: routers}
	close(r.changed)
	r.changed = make(chan struct{})
}

func router(name, role string) control.Router { return control.Router{Name: name, Role: role} }

// bench is a Writer that runs in a bubble, without a watcher unless start is set
// before it runs.
type bench struct {
	*Writer
	t      *testing.T
	dir    string
	log    *trial.Log
	source *roles
	end    func() error
}

func newBench(t *testing.T, routers ...control.Router) *bench {
	b := &bench{t: t, dir: t.TempDir(), log: &trial.Log{}, source: newRoles(routers...)}
	b.Writer = New(b.dir, nil, slog.New(slog.NewTextHandler(b.log, nil)))
	return b
}

func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, b.source) }()
	b.end = func() error { cancel(); return <-done }
	synctest.Wait()
}

func (b *bench) publish(routers ...control.Router) {
	b.source.publish(routers...)
	synctest.Wait()
}

// want compares the files, as a script sees them.
func (b *bench) want(files map[string]string) {
	b.t.Helper()
	got := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(b.dir, link))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(b.dir, link, e.Name()))
		if err != nil {
			text = []byte(err.Error())
		}
		got[e.Name()] = string(text)
	}
	if diff := cmp.Diff(files, got); diff != "" {
		b.t.Error(diff)
	}
}

// nothing wants an empty runtime directory.
func (b *bench) nothing() {
	b.t.Helper()
	entries, err := os.ReadDir(b.dir)
	if err != nil || len(entries) > 0 {
		b.t.Errorf("%v, %v", entries, err)
	}
}

func TestWriter_FollowsRoles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, router("web", "INIT"), router("db", "BACKUP"))
		b.run()
		b.want(map[string]string{"web": "INIT\n", "db": "BACKUP\n"})
		b.publish(router("web", "MASTER"), router("db", "BACKUP"))
		b.want(map[string]string{"web": "MASTER\n", "db": "BACKUP\n"})
		edge := control.Router{Name: "edge", Group: true, Members: []string{"wan", "lan"}, Role: "FAULT"}
		b.publish(edge, router("web", "MASTER"))
		b.want(map[string]string{"web": "MASTER\n", "edge": "FAULT\n", "wan": "FAULT\n", "lan": "FAULT\n"})
		if err := b.end(); err != nil {
			t.Error(err)
		}
		b.nothing()
		if b.log.String() != "" {
			t.Errorf("log: %s", b.log)
		}
	})
}

// Everybody may read the files, whatever the daemon's umask is.
func TestWriter_Modes(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, router("web", "MASTER"))
		b.run()
		for path, want := range map[string]os.FileMode{"state": os.ModeDir | 0o755, "state/web": 0o644} {
			if info, err := os.Stat(filepath.Join(b.dir, path)); err != nil || info.Mode() != want {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
		}
		if err := b.end(); err != nil {
			t.Error(err)
		}
	})
}

// An unchanged role is not written again: whoever watches the file sees changes
// alone.
func TestWriter_WritesChangesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, router("web", "MASTER"))
		b.run()
		before, err := os.Stat(filepath.Join(b.dir, "state/web"))
		if err != nil {
			t.Fatal(err)
		}
		b.publish(router("web", "MASTER"), router("db", "BACKUP"))
		after, err := os.Stat(filepath.Join(b.dir, "state/web"))
		if err != nil || !os.SameFile(before, after) {
			t.Errorf("it was written anew, %v", err)
		}
		if err := b.end(); err != nil {
			t.Error(err)
		}
	})
}

// What dead daemons left is removed, before the link leads anywhere.
func TestWriter_RemovesLeftovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, router("web", "BACKUP"))
		for _, old := range []string{"state.1", "state.2.gone"} {
			must(t, os.Mkdir(filepath.Join(b.dir, old), 0o755))
			for _, file := range []string{"web", "old", ".new"} {
				must(t, os.WriteFile(filepath.Join(b.dir, old, file), []byte("MASTER\n"), 0o644))
			}
		}
		must(t, os.Symlink("state.1", filepath.Join(b.dir, link)))
		must(t, os.WriteFile(filepath.Join(b.dir, "baton.pid"), nil, 0o644))
		b.run()
		b.want(map[string]string{"web": "BACKUP\n"})
		if err := b.end(); err != nil {
			t.Error(err)
		}
		must(t, os.Remove(filepath.Join(b.dir, "baton.pid")))
		b.nothing()
	})
}

// A file that cannot be written is taken away, that is said once, and it is
// tried again.
func TestWriter_DiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, router("web", "MASTER"))
		b.run()
		block := filepath.Join(b.folder, ".new") // as a full disk: nothing can be written
		must(t, os.Mkdir(block, 0o755))
		b.publish(router("web", "BACKUP"))
		if _, err := os.Stat(filepath.Join(b.dir, "state/web")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the old role is still there: %v", err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := strings.Count(b.log.String(), "state files cannot be written"); n != 1 {
			t.Errorf("said %d times:\n%s", n, b.log)
		}
		must(t, os.Remove(block))
		time.Sleep(longestRetry)
		synctest.Wait()
		b.want(map[string]string{"web": "BACKUP\n"})
		if !strings.Contains(b.log.String(), "state files can be written again") {
			t.Errorf("log: %s", b.log)
		}
		if err := b.end(); err != nil {
			t.Error(err)
		}
		b.nothing()
	})
}

// A folder that somebody removed is made anew.
func TestWriter_FolderRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, router("web", "MASTER"), router("db", "BACKUP"))
		b.run()
		must(t, os.RemoveAll(b.folder))
		must(t, os.Remove(filepath.Join(b.dir, link)))
		b.publish(router("web", "FAULT"), router("db", "BACKUP"))
		time.Sleep(firstRetry)
		synctest.Wait()
		b.want(map[string]string{"web": "FAULT\n", "db": "BACKUP\n"})
		if err := b.end(); err != nil {
			t.Error(err)
		}
		b.nothing()
	})
}

// Without a runtime directory it waits for one.
func TestWriter_NoDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, router("web", "MASTER"))
		must(t, os.Remove(b.dir))
		b.run()
		must(t, os.Mkdir(b.dir, 0o755))
		time.Sleep(longestRetry)
		synctest.Wait()
		b.want(map[string]string{"web": "MASTER\n"})
		if err := b.end(); err != nil {
			t.Error(err)
		}
	})
}

// At its end a daemon leaves alone what another one has made meanwhile.
func TestWriter_LeavesOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, router("web", "MASTER"))
		b.run()
		successor := New(b.dir, nil, slog.New(slog.DiscardHandler))
		must(t, os.Mkdir(filepath.Join(b.dir, "state.later"), 0o755))
		successor.folder = filepath.Join(b.dir, "state.later")
		must(t, successor.write(&control.Status{Routers: []control.Router{router("web", "BACKUP")}}))
		if err := b.end(); err != nil {
			t.Error(err)
		}
		b.want(map[string]string{"web": "BACKUP\n"})
	})
}

// A watcher that dies is started again, with longer and longer pauses, and ends
// with the Writer.
func TestWriter_WatcherDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, router("web", "MASTER"))
		began := time.Now()
		var starts []time.Duration
		var ended chan error
		told := 0
		b.start = func(folder string) (*child, error) {
			starts = append(starts, time.Since(began))
			if len(starts)%2 == 0 {
				return nil, errors.New("no process can be made")
			}
			ended = make(chan error, 1)
			mine := ended
			if len(starts) < 9 {
				mine <- errors.New("signal: killed")
			}
			return &child{ended: mine, end: func() {
				if told++; told == 5 {
					mine <- errors.New("exit status 0")
				}
			}}, nil
		}
		b.run()
		time.Sleep(10 * time.Minute)
		if err := b.end(); err != nil {
			t.Error(err)
		}
		var want []time.Duration
		for _, s := range []int{0, 1, 3, 7, 15, 31, 61, 91, 121} {
			want = append(want, time.Duration(s)*time.Second)
		}
		if diff := cmp.Diff(want, starts); diff != "" {
			t.Error(diff)
		}
		if n := strings.Count(b.log.String(), "is started again"); n != 1 {
			t.Errorf("said %d times:\n%s", n, b.log)
		}
		if told != 5 {
			t.Errorf("%d ends", told)
		}
		b.nothing()
	})
}

// A watcher that does not end is killed, and not waited for without end.
func TestWriter_WatcherHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, router("web", "MASTER"))
		killed := false
		b.start = func(string) (*child, error) {
			return &child{ended: make(chan error), end: func() {}, kill: func() { killed = true }}, nil
		}
		b.run()
		began := time.Now()
		if err := b.end(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 2*endLimit || !killed {
			t.Errorf("after %s, killed %t", took, killed)
		}
	})
}

func TestWatch_RefusesOtherFolders(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "precious"), nil, 0o644))
	for _, folder := range []string{dir, "state.1", "", "/"} {
		if err := Watch(folder); err == nil || !strings.HasSuffix(err.Error(), "it is no folder of state files") {
			t.Errorf("%q: %v", folder, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "precious")); err != nil {
		t.Error(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
