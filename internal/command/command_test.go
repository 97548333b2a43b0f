package command

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"baton/internal/trial"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func newRunner(t testing.TB) (*Runner, *trial.Log) {
	log := new(trial.Log)
	r := NewRunner(slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(r.Close)
	return r, log
}

// eventually waits for what somebody else brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	trial.Await(t, 5*time.Second, what, ok)
}

func descriptors(t testing.TB) int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func sh(script string) Spec {
	return Spec{Argv: []string{"sh", "-c", script}, Timeout: 10 * time.Second}
}

func TestFirstLine_Cut(t *testing.T) {
	got := Result{Output: []byte(strings.Repeat("ä", 300) + "\n")}.FirstLine()
	if want := strings.Repeat("ä", 200) + "…"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestRun_Environment(t *testing.T) {
	t.Setenv("IFS", "x")
	t.Setenv("LD_PRELOAD", "")
	t.Setenv("LD_LIBRARY_PATH", "/evil")
	t.Setenv("NOTIFY_SOCKET", "/run/x")
	t.Setenv("KEPT", "1")
	t.Setenv("CHANGED", "old")
	r, _ := newRunner(t)
	s := Spec{Argv: []string{"env"}, Env: []string{"CHANGED=new", "ADDED=first", "ADDED=last"}, Timeout: time.Second}
	got := map[string]string{}
	for line := range strings.Lines(string(r.Run(t.Context(), s).Output)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		got[name] += value
	}
	for name, want := range map[string]string{"IFS": "", "LD_PRELOAD": "", "LD_LIBRARY_PATH": "", "NOTIFY_SOCKET": "", "KEPT": "1", "CHANGED": "new", "ADDED": "last"} {
		if v, there := got[name]; v != want || (want == "" && there) {
			t.Errorf("%s=%q (there: %v), want %q", name, v, there, want)
		}
	}
}

// A process that waits in the kernel cannot be made on purpose; one that no
// signal reaches looks the same from here.
func TestRun_Unkillable(t *testing.T) {
	r, log := newRunner(t)
	var mu sync.Mutex
	pid := 0
	r.kill = func(p int, _ syscall.Signal) error {
		mu.Lock()
		defer mu.Unlock()
		pid = p
		return nil
	}
	s := sh("echo stuck; exec sleep 100")
	s.Timeout = time.Second
	res := r.Run(t.Context(), s)
	if res.Left == nil || res.Took > 5*time.Second || res.String() != "timed out after 1s and does not end: stuck" {
		t.Errorf("got %+v %q", res, res)
	}
	eventually(t, "the log says that it does not end", func() bool { return strings.Contains(log.String(), "does not end") })
	select {
	case <-res.Left:
		t.Error("the process is gone, says Left")
	default:
	}
	mu.Lock()
	group := pid
	mu.Unlock()
	if err := syscall.Kill(group, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-res.Left:
	case <-time.After(5 * time.Second):
		t.Fatal("not reaped")
	}
	if !strings.Contains(log.String(), "has ended at last") {
		t.Errorf("log: %s", log)
	}
}

// What fits into the pipe is there when the process has ended, every time.
// A command that writes without end must not occupy the daemon's processor.
func TestRun_OutputPaced(t *testing.T) {
	r, _ := newRunner(t)
	used := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	s := sh("exec cat /dev/zero")
	s.Timeout = time.Second
	before := used()
	r.Run(t.Context(), s)
	if got := used() - before; got > s.Timeout/4 {
		t.Errorf("the daemon used %v of a processor in %v", got, s.Timeout)
	}
}

func TestRun_GrandchildHoldsPipe(t *testing.T) {
	r, _ := newRunner(t)
	// The grandchild writes after its parent's end, and says whether it could.
	dir := t.TempDir()
	mark := filepath.Join(dir, "mark")
	res := r.Run(t.Context(), sh("(while [ ! -e "+dir+"/go ]; do sleep 0.01; done; echo late && echo written >"+mark+".new; mv "+mark+".new "+mark+") & echo now"))
	if res.String() != "exit 0: now" || res.Took > 5*time.Second {
		t.Fatalf("got %q after %v", res, res.Took)
	}
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the grandchild lived on and could write", func() bool {
		b, _ := os.ReadFile(mark)
		return string(b) == "written\n"
	})
	eventually(t, "the pipe is closed", func() bool { return r.leftOpen.Load() == 0 })
}

func TestRun_LeftOpenBounded(t *testing.T) {
	r, _ := newRunner(t)
	before := descriptors(t)
	var pids []int
	for range maxLeftOpen + 8 {
		res := r.Run(t.Context(), sh("sleep 100 & echo $!"))
		pid, err := strconv.Atoi(res.FirstLine())
		if err != nil {
			t.Fatal(res)
		}
		pids = append(pids, pid)
	}
	if n := descriptors(t) - before; n > maxLeftOpen+2 {
		t.Errorf("%d descriptors more", n)
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	eventually(t, "descriptors are back", func() bool { return descriptors(t) <= before+1 })
}

func TestRun_NoLeaks(t *testing.T) {
	r, _ := newRunner(t)
	r.Run(t.Context(), sh("exit 0")) // the runtime's own descriptors
	before := descriptors(t)
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			s := sh([]string{"exit 0", "echo x; exit 1", "exec sleep 100"}[i%3])
			if i%3 == 2 {
				s.Timeout = 50 * time.Millisecond
			}
			if i%10 == 0 {
				s.Dir = "/nowhere"
			}
			r.Run(t.Context(), s)
		})
	}
	wg.Wait()
	eventually(t, "no child, no zombie", func() bool { return len(trial.Children(t)) == 0 })
	eventually(t, "no descriptor more than before", func() bool { return descriptors(t) <= before })
}

// The child has its three descriptors and none of the daemon's.
func TestRun_ChildDescriptors(t *testing.T) {
	// One that the daemon got from its parent, as a careless one leaves them.
	fd, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r, _ := newRunner(t)
	res := r.Run(t.Context(), Spec{Argv: []string{"ls", "/proc/self/fd"}, Timeout: time.Second})
	if got := strings.Fields(string(res.Output)); !cmp.Equal(got, []string{"0", "1", "2", "3"}) { // 3: the listing itself
		t.Errorf("descriptors %v", got)
	}
	res = r.Run(t.Context(), sh("readlink /proc/$$/fd/0"))
	if res.FirstLine() != "/dev/null" {
		t.Errorf("stdin is %s", res.FirstLine())
	}
}

func TestRun_Closed(t *testing.T) {
	r := NewRunner(slog.New(slog.DiscardHandler))
	r.Close()
	if res := r.Run(t.Context(), sh("exit 0")); res.Err == nil || res.OK() {
		t.Errorf("got %q", res)
	}
}

func TestRun_Umask(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	r, _ := newRunner(t)
	if res := r.Run(t.Context(), sh("umask")); res.FirstLine() != "0022" {
		t.Errorf("the child's umask is %s", res.FirstLine())
	}
	if now := unix.Umask(0o077); now != 0o077 {
		t.Errorf("the daemon's umask is now %04o", now)
	}
}

func TestRun_Groups(t *testing.T) {
	trial.NeedRoot(t)
	r, _ := newRunner(t)
	u, err := LookupUser("nobody")
	if err != nil {
		t.Fatal(err)
	}
	u.Groups = append(u.Groups, 4711) // as if /etc/group had nobody in it
	s := sh("id -G")
	s.User = u
	if res := r.Run(t.Context(), s); res.FirstLine() != "65534 4711" {
		t.Errorf("got %q", res)
	}
}

func TestLookupUser_Groups(t *testing.T) {
	// A user that is in more than its own group, where this host has one.
	b, err := os.ReadFile("/etc/group")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 4 || f[3] == "" {
			continue
		}
		name, _, _ := strings.Cut(f[3], ",")
		u, err := LookupUser(name)
		if err != nil {
			continue // a group may name users that do not exist
		}
		gid, _ := strconv.Atoi(f[2])
		found := false
		for _, g := range u.Groups {
			found = found || int(g) == gid
		}
		if !found {
			t.Errorf("%s: group %d is missing in %v", name, gid, u.Groups)
		}
		tried++
	}
	root, err := LookupUser("0")
	if err != nil || root.Name != "root" || root.UID != 0 || len(root.Groups) == 0 {
		t.Errorf("user 0: %+v, %v", root, err)
	}
	t.Logf("%d users with more than one group", tried)
}

func TestRun_ProcessTableFull(t *testing.T) {
	trial.NeedRoot(t)
	r, _ := newRunner(t)
	// The kernel refuses whoever has more processes than the limit, so nobody
	// gets one before.
	first := sh("exec sleep 100")
	first.User = &User{Name: "nobody"}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan Result)
	go func() { ended <- r.Run(ctx, first) }()
	defer func() { cancel(); <-ended }()
	eventually(t, "nobody runs sleep", func() bool {
		for _, pid := range trial.Children(t) {
			if b, _ := os.ReadFile("/proc/" + pid + "/cmdline"); strings.HasPrefix(string(b), "sleep") {
				return true
			}
		}
		return false
	})
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: 0, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NPROC, &old)
	s := sh("exit 0")
	s.User = &User{Name: "nobody"} // root itself is above the limit
	res := r.Run(t.Context(), s)
	if !errors.Is(res.Err, unix.EAGAIN) || !strings.Contains(res.String(), "process table") {
		t.Errorf("got %q", res)
	}
}
