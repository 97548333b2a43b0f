package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"baton/internal/command"
	"baton/internal/trial"
)

// reader opens a pipe for reading without waiting for who writes.
func reader(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// read returns what is in the pipe.
func read(t *testing.T, fd int) string {
	t.Helper()
	var all strings.Builder
	b := make([]byte, 1<<16)
	for {
		n, err := unix.Read(fd, b)
		if n <= 0 || err != nil {
			if err != nil && !errors.Is(err, unix.EAGAIN) {
				t.Fatal(err)
			}
			return all.String()
		}
		all.Write(b[:n])
	}
}

func TestQueue_FIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	synctest.Test(t, func(t *testing.T) {
		f := newFakeRun(map[string]time.Duration{"master": time.Hour})
		hooks := Hooks{FIFO: path, Master: []Hook{{Argv: []string{"master"}, Timeout: time.Hour}}, Stop: named("stop")}
		q := New(Router{Name: "web", Hooks: hooks}, f.run, quiet(), nil)
		edge := New(Router{Name: "edge", Group: true, Hooks: Hooks{FIFO: path}}, nil, quiet(), nil)
		info, err := os.Stat(path)
		if err != nil || info.Mode() != os.ModeNamedPipe|0o600 {
			t.Fatalf("pipe: %v, %v", info, err)
		}
		fd := reader(t, path)
		q.Tell(to(Init))
		q.Tell(reassert) // of no master
		q.Tell(Transition{To: Backup, Priority: 190})
		q.Tell(Transition{To: Backup, Priority: 191})
		q.Tell(Transition{To: Master, Priority: 200})
		synctest.Wait()
		// The hook runs now; lines do not wait for it.
		q.Tell(Transition{To: Master, From: Master, Reassert: true, Priority: 200})
		q.Tell(Transition{To: Fault, Priority: 200})
		q.Tell(Transition{To: Master, Priority: 201})
		q.Tell(Transition{To: Stop, Priority: 201})
		edge.Tell(Transition{To: Master, Priority: 200})
		synctest.Wait()
		edge.Tell(reassert) // keepalived tells of none for a group
		synctest.Wait()
		want := `INSTANCE "web" BACKUP 190
INSTANCE "web" MASTER 200
INSTANCE "web" MASTER_RX_LOWER_PRI 200
INSTANCE "web" FAULT 200
INSTANCE "web" MASTER 201
INSTANCE "web" STOP 201
`
		group := "GROUP \"edge\" MASTER 0\n"
		got := read(t, fd)
		if !strings.Contains(got, group) {
			t.Errorf("%q has no %q", got, group)
		}
		if diff := cmp.Diff(want, strings.Replace(got, group, "", 1)); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		if err := errors.Join(q.Close(t.Context()), edge.Close(t.Context())); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"0s master", "1h0m0s stop"}, f.begun); diff != "" {
			t.Errorf("hooks (-want +got):\n%s", diff)
		}
	})
}

// A hook finds the line of its change in the pipe.
func TestQueue_FIFOComesBeforeHooks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	var fd, late int
	run := func(_ context.Context, _ Hook, argv, _ []string) command.Result {
		if got, want := read(t, fd), strings.Join(argv[1:], " ")+"\n"; strings.ReplaceAll(got, `"`, "") != want {
			late++
		}
		return command.Result{}
	}
	q := New(Router{Name: "web", Hooks: Hooks{FIFO: path, Any: named("hook")}}, run, quiet(), nil)
	fd = reader(t, path)
	for n := range 200 {
		q.Tell(Transition{To: []State{Master, Backup}[n%2], Priority: n % 256})
		q.mu.Lock()
		idle := q.idle
		q.mu.Unlock()
		if idle != nil {
			<-idle
		}
	}
	if err := q.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if late > 0 {
		t.Errorf("%d of 200 hooks ran before their line was written", late)
	}
	if n, err := unix.Read(fd, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("read %d, %v: the pipe is still open after Close", n, err)
	}
}

func TestFIFO_Drops(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "fifo")
	synctest.Test(t, func(t *testing.T) {
		var log trial.Log
		f := newFIFO(path, slog.New(slog.NewTextHandler(&log, nil)))
		put := func(lines ...string) {
			for _, l := range lines {
				f.write(l + "\n")
				synctest.Wait()
			}
		}
		logs := func(times int, text string) {
			t.Helper()
			if got := strings.Count(log.String(), text); got != times {
				t.Errorf("the log has %q %d times, want %d:\n%s", text, got, times, &log)
			}
		}
		logs(0, "level=WARN") // that nobody reads it yet is no news
		put("1", "2", "3")
		logs(1, "nobody reads it")
		logs(1, "lines=1 ")
		time.Sleep(time.Minute)
		put("4")
		logs(2, "nobody reads it")
		logs(1, "lines=3 ")

		fd := reader(t, path)
		put("5")
		if got := read(t, fd); got != "5\n" {
			t.Errorf("read %q", got)
		}
		if n, err := unix.Read(fd, make([]byte, 1)); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("read %d, %v: the reader is at the end of the file", n, err)
		}
		time.Sleep(time.Minute)
		long := strings.Repeat("x", unix.PathMax/2) // 2 KiB: whole pages fill up unevenly otherwise
		for range 100 {
			put(long)
		}
		logs(1, "the pipe is full")
		time.Sleep(time.Minute)
		put(long)
		logs(2, "the pipe is full")
		if got := read(t, fd); len(got)%(len(long)+1) != 0 {
			t.Errorf("%d bytes are no whole number of lines", len(got))
		}

		unix.Close(fd)
		time.Sleep(time.Minute)
		put("of no use")
		logs(3, "nobody reads it")
		fd = reader(t, path)
		put("6")
		if got := read(t, fd); !strings.HasSuffix(got, "6\n") { // what was written and not read is still there
			t.Errorf("read %q", got)
		}
		if err := os.Remove(path); err != nil { // it is made anew
			t.Fatal(err)
		}
		put("7")
		if info, err := os.Stat(path); err != nil || info.Mode().Type() != os.ModeNamedPipe {
			t.Errorf("pipe: %v, %v", info, err)
		}
		again := reader(t, path)
		put("8")
		if got := read(t, again); got != "8\n" {
			t.Errorf("read %q", got)
		}
		f.close()
		if n, err := unix.Read(again, make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("read %d, %v: the pipe is still open", n, err)
		}
	})
}

func TestFIFO_RefusesWhatIsNoPipe(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file: "it is no named pipe", link: "it is no named pipe", dir: "it is no named pipe", "/dev/null": "it is no named pipe",
		filepath.Join(dir, "none", "fifo"): "make a named pipe: no such file",
	} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log trial.Log
				f := newFIFO(path, slog.New(slog.NewTextHandler(&log, nil)))
				f.write("x\n")
				synctest.Wait()
				if got := strings.Count(log.String(), want); got != 2 {
					t.Errorf("the log has %q %d times, want 2:\n%s", want, got, &log)
				}
			})
		})
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "data" {
		t.Errorf("the file has %q, %v", got, err)
	}
}

func TestFIFO_ABoundedNumberOfLinesWaits(t *testing.T) {
	var log trial.Log
	f := &fifo{path: "/dev/null", fd: -1, log: slog.New(slog.NewTextHandler(&log, nil))}
	f.idle = make(chan struct{}) // a writer that hangs
	for n := range fifoLines + 5 {
		f.write(fmt.Sprintln(n))
	}
	if len(f.lines) != fifoLines || f.dropped != 4 || !strings.Contains(log.String(), "an earlier line hangs") {
		t.Errorf("%d lines wait, %d are dropped:\n%s", len(f.lines), f.dropped, &log)
	}
	synctest.Test(t, func(t *testing.T) {
		f.idle = make(chan struct{})
		began := time.Now()
		f.wait()
		if took := time.Since(began); took != fifoPatience {
			t.Errorf("hooks waited %v, want %v", took, fifoPatience)
		}
	})
}
