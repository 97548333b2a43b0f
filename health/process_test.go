package health

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/internal/trial"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// zoo starts processes under names of its own.
type zoo struct {
	t    *testing.T
	dir  string
	name string // of the executable: longer than the kernel keeps
}

func newZoo(t *testing.T) *zoo {
	z := &zoo{t: t, dir: t.TempDir(), name: fmt.Sprintf("zoo%d-animal-of", os.Getpid())}
	path, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(z.path(), text, 0o755); err != nil {
		t.Fatal(err)
	}
	return z
}

func (z *zoo) path() string { return filepath.Join(z.dir, z.name) }

// start starts a process, as argv0 if that is not empty, which lives until the
// test ends or end is called. Until it is reaped it is a zombie.
func (z *zoo) start(argv0 string) (pid int, end, reap func()) {
	z.t.Helper()
	c := exec.Command(z.path(), "1000")
	if argv0 != "" {
		c.Args[0] = argv0
	}
	if err := c.Start(); err != nil {
		z.t.Fatal(err)
	}
	reaped := false
	end = func() {
		if err := c.Process.Kill(); err != nil {
			z.t.Error(err)
		}
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_PID, c.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			z.t.Error(err)
		}
	}
	reap = func() {
		_ = c.Wait() // it was killed
		reaped = true
	}
	z.t.Cleanup(func() {
		if !reaped {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	return c.Process.Pid, end, reap
}

// soon asks until the answer is the wanted one: a scan is used again for a moment,
// but not for as long as recount.
func soon(t *testing.T, p Probe, want Answer) {
	t.Helper()
	var got Answer
	defer func() {
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}()
	trial.Await(t, 5*time.Second, "the wanted answer", func() bool {
		got = probeIn(t, p, 10*time.Second)
		return got == want
	})
}

func TestProcessProbe(t *testing.T) {
	z := newZoo(t)
	table := NewProcessTable()
	long := z.name
	z.name = z.name[:12]
	if err := os.Link(filepath.Join(z.dir, long), z.path()); err != nil {
		t.Fatal(err)
	}
	animal := z.name
	byName := NewProcessProbe(table, Processes{Name: animal, Least: 2, Most: 3})
	none := NewProcessProbe(table, Processes{Name: animal})
	byPath := NewProcessProbe(table, Processes{Path: z.path(), Most: -1})
	soon(t, byName, Answer{Text: "no process " + animal + " runs"})
	soon(t, none, Answer{OK: true, Text: "no process " + animal + " runs"})

	one, end, reap := z.start("")
	soon(t, byName, Answer{Text: fmt.Sprintf("1 process (pid %d) %s, 2 needed", one, animal)})
	soon(t, none, Answer{Text: fmt.Sprintf("1 process (pid %d) %s, there must be none", one, animal)})
	soon(t, byPath, Answer{OK: true, Text: fmt.Sprintf("1 process (pid %d)", one)})
	two, _, _ := z.start("")
	soon(t, byName, Answer{OK: true, Text: fmt.Sprintf("2 processes (pids %d, %d)", one, two)})
	three, _, _ := z.start("")
	four, endFour, _ := z.start("")
	soon(t, byName, Answer{Text: fmt.Sprintf("4 processes (pids %d, %d, %d, %d) %s, at most 3 allowed", one, two, three, four, animal)})

	end() // it is a zombie now
	soon(t, byName, Answer{OK: true, Text: fmt.Sprintf("3 processes (pids %d, %d, %d)", two, three, four)})
	reap()
	endFour()
	soon(t, byName, Answer{OK: true, Text: fmt.Sprintf("2 processes (pids %d, %d)", two, three)})
}

func TestProcessProbe_Names(t *testing.T) {
	z := newZoo(t)
	long := z.name
	byComm, _, _ := z.start("something-else")
	z.name = "other"
	if err := os.Link(filepath.Join(z.dir, long), z.path()); err != nil {
		t.Fatal(err)
	}
	byArgv0, _, _ := z.start("/nowhere/" + long)
	shell, _, _ := z.start("-sh" + long)
	if err := os.Remove(z.path()); err != nil { // as an upgrade does
		t.Fatal(err)
	}
	if err := os.Symlink(".", filepath.Join(z.dir, "link")); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		is   Processes
		pids []int
	}{
		"as far as the kernel keeps it, and the first word": {Processes{Name: long, Most: 9}, []int{byComm, byArgv0}},
		"a login shell":                  {Processes{Name: "sh" + long, Most: -1}, []int{shell}},
		"a path behind a symbolic link":  {Processes{Path: filepath.Join(z.dir, "link", long), Most: -1}, []int{byComm}},
		"an executable that was removed": {Processes{Path: z.path(), Least: 2, Most: 2}, []int{byArgv0, shell}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := NewProcessProbe(NewProcessTable(), tt.is).(*processProbe)
			if a := probeIn(t, p, 10*time.Second); !a.OK {
				t.Errorf("%+v", a)
			}
			if diff := cmp.Diff(tt.pids, p.known); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestProcessProbe_PIDFile(t *testing.T) {
	z := newZoo(t)
	path := filepath.Join(z.dir, "pid")
	one, end, reap := z.start("")
	two, _, _ := z.start("")
	p := NewProcessProbe(NewProcessTable(), Processes{PIDFile: path, Most: -1})
	both := NewProcessProbe(NewProcessTable(), Processes{PIDFile: path, Least: 2, Most: -1})
	none := NewProcessProbe(NewProcessTable(), Processes{PIDFile: path})
	const wrong = "pid_file must name a file that the process writes its pid to"
	const left = "the process ended and left the file, or it is the file of another one"
	write := func(format string, args ...any) func() {
		return func() {
			if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	steps := []struct {
		do    func()
		probe Probe
		want  Answer
	}{
		{func() {}, p, Answer{Text: "read the pid file: stat PATH: no such file or directory", Hint: wrong}},
		{func() {}, none, Answer{OK: true, Text: "no process of PATH runs"}},
		{write("\n"), p, Answer{Text: "read the pid file: PATH is empty", Hint: wrong}},
		{write("-5"), p, Answer{Text: `read the pid file: PATH has "-5" where a pid should be`, Hint: wrong}},
		{write("%d\n", one), p, Answer{OK: true, Text: fmt.Sprintf("1 process (pid %d)", one)}},
		{func() {}, both, Answer{Text: fmt.Sprintf("1 process (pid %d) of PATH, 2 needed", one)}},
		{func() {}, none, Answer{Text: fmt.Sprintf("1 process (pid %d) of PATH, there must be none", one)}},
		{write("%d %d %d", one, two, one), both, Answer{OK: true, Text: fmt.Sprintf("2 processes (pids %d, %d)", one, two)}},
		{end, both, Answer{Text: fmt.Sprintf("pid %d of PATH does not run; 1 process (pid %d), 2 needed", one, two), Hint: left}},
		{write("%d", one), p, Answer{Text: fmt.Sprintf("pid %d of PATH does not run", one), Hint: left}},
		{func() {}, none, Answer{OK: true, Text: "no process of PATH runs"}},
		{reap, p, Answer{Text: fmt.Sprintf("pid %d of PATH does not run", one), Hint: left}},
		{write("%d", two), p, Answer{OK: true, Text: fmt.Sprintf("1 process (pid %d)", two)}},
	}
	for i, s := range steps {
		s.do()
		s.want.Text = strings.ReplaceAll(s.want.Text, "PATH", path)
		if got := probeIn(t, s.probe, 10*time.Second); got != s.want {
			t.Errorf("step %d: got %+v, want %+v", i, got, s.want)
		}
	}
}

// A death is told at once, of a zombie too, and what was held is given back.
func TestProcessProbe_Watch(t *testing.T) {
	z := newZoo(t)
	table := NewProcessTable()
	for _, by := range []string{"name", "path", "pid file"} {
		t.Run(by, func(t *testing.T) {
			pid, end, _ := z.start("")
			is := Processes{Name: z.name, Most: -1}
			what := z.name
			switch by {
			case "path":
				is, what = Processes{Path: z.path(), Most: -1}, z.path()
			case "pid file":
				path := filepath.Join(z.dir, "pid")
				if err := os.WriteFile(path, fmt.Append(nil, pid), 0o644); err != nil {
					t.Fatal(err)
				}
				is = Processes{PIDFile: path, Most: -1}
			}
			p := NewProcessProbe(table, is).(*processProbe)
			ctx, cancel := context.WithCancel(t.Context())
			changed, ended := make(chan struct{}, 10), make(chan struct{})
			go func() {
				defer close(ended)
				p.Watch(ctx, func() { changed <- struct{}{} })
			}()
			eventually(t, "it watches", func() bool {
				soon(t, p, Answer{OK: true, Text: fmt.Sprintf("1 process (pid %d)", pid)})
				return table.pidfds.Load() == 1
			})
			end()
			select {
			case <-changed:
			case <-time.After(10 * time.Second):
				t.Error("nobody was told of the death")
			}
			want := Answer{Text: fmt.Sprintf("no process %s runs; the last was pid %d", what, pid)}
			if by == "pid file" {
				want = Answer{Text: fmt.Sprintf("pid %d of %s does not run", pid, is.PIDFile), Hint: "the process ended and left the file, or it is the file of another one"}
			}
			got := probeIn(t, p, 10*time.Second)
			if by == "path" {
				want.Hint = got.Hint // some hosts hide executables from root, too
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if n := table.pidfds.Load(); n != 0 {
				t.Errorf("%d pidfds are held of nobody", n)
			}
			cancel()
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Error("the watch does not end")
			}
		})
	}
}

// Where no more pidfds are to be had, the interval finds a death.
func TestProcessProbe_NoMorePidfds(t *testing.T) {
	z := newZoo(t)
	table := NewProcessTable()
	table.most = 1
	p := NewProcessProbe(table, Processes{Name: z.name, Least: 2, Most: -1})
	pids := []int{}
	var ends []func()
	for range 2 {
		pid, end, _ := z.start("")
		pids, ends = append(pids, pid), append(ends, end)
	}
	watching(t, p)
	eventually(t, "it watches", func() bool {
		soon(t, p, Answer{OK: true, Text: fmt.Sprintf("2 processes (pids %d, %d)", pids[0], pids[1])})
		return table.pidfds.Load() > 0
	})
	if n := table.pidfds.Load(); n != 1 {
		t.Errorf("%d pidfds, one may be", n)
	}
	ends[1]()
	soon(t, p, Answer{Text: fmt.Sprintf("1 process (pid %d) %s, 2 needed", pids[0], z.name)})
	ends[0]()
	soon(t, p, Answer{Text: fmt.Sprintf("no process %s runs; the last was pid %d", z.name, pids[0])})
}

// A process that has become another program is none any more.
func TestProcessProbe_Executes(t *testing.T) {
	z := newZoo(t)
	fifo := filepath.Join(z.dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(z.dir, "before")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nread x <"+fifo+"\nexec "+z.path()+" 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(script)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	table := NewProcessTable()
	before := NewProcessProbe(table, Processes{Name: "before", Most: -1})
	after := NewProcessProbe(table, Processes{Name: z.name, Most: -1})
	is := Answer{OK: true, Text: fmt.Sprintf("1 process (pid %d)", c.Process.Pid)}
	soon(t, before, is)
	if err := os.WriteFile(fifo, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	soon(t, after, is)
	soon(t, before, Answer{Text: fmt.Sprintf("no process before runs; the last was pid %d", c.Process.Pid)})
}

func TestProcessProbe_ScanGivesUp(t *testing.T) {
	table := NewProcessTable()
	p := NewProcessProbe(table, Processes{Name: "nobody-has-this", Most: -1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	table.lock <- struct{}{} // somebody's scan hangs
	want := Answer{Text: "look for process nobody-has-this: wait for another check's scan of /proc: context canceled"}
	if got := p.Probe(ctx); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	<-table.lock
	if _, err := table.scan(ctx, comm); err == nil || !strings.HasPrefix(err.Error(), "scan /proc, at ") {
		t.Errorf("got %v", err)
	}
}

// Checks that are asked within the same moment share a scan.
func TestProcessTable_Shares(t *testing.T) {
	table := NewProcessTable()
	find := func(age time.Duration) time.Time {
		pids, _, err := table.find(t.Context(), executable, "/nowhere", age)
		if err != nil || len(pids) != 0 {
			t.Error(pids, err)
		}
		return table.scans[executable].at
	}
	at := find(0)
	table.scans[executable].took = time.Hour
	if find(0) != at {
		t.Error("a scan that has just been was not used")
	}
	table.scans[executable].at = at.Add(-maxScanAge)
	table.scans[executable].took = time.Hour
	if find(0) == at.Add(-maxScanAge) {
		t.Error("an old scan was used")
	}
	table.scans[executable].at = at.Add(-2 * time.Second)
	if find(time.Minute) != at.Add(-2*time.Second) {
		t.Error("a scan that was good enough was not used")
	}
}
