package command

import (
	"context"
	"errors"
	"fmt"
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

// rootDir is a folder that only root can write, unlike t.TempDir.
func rootDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/run", "baton-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// eventually waits for what somebody else brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	trial.Await(t, 5*time.Second, what, ok)
}

// alive tells whether a process exists and is no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// children lists this process's children, zombies included.
func children(t testing.TB) []string {
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, task := range tasks {
		b, _ := os.ReadFile(task) // a thread may be gone meanwhile
		all = append(all, strings.Fields(string(b))...)
	}
	return all
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

func TestRun_Result(t *testing.T) {
	r, _ := newRunner(t)
	tests := map[string]struct {
		spec   Spec
		ok     bool
		text   string // Result.String
		output string
	}{
		"success":           {sh("echo all well; echo more"), true, "exit 0: all well", "all well\nmore\n"},
		"silent":            {sh("exit 0"), true, "exit 0", ""},
		"failure":           {sh("echo not synced >&2; exit 3"), false, "exit 3: not synced", "not synced\n"},
		"both streams":      {sh("echo one; echo two >&2; exit 1"), false, "exit 1: one", "one\ntwo\n"},
		"signal":            {sh("kill -SEGV $$"), false, "killed by SIGSEGV", ""},
		"real-time signal":  {sh("kill -40 $$"), false, "killed by signal 40", ""},
		"no shell":          {Spec{Argv: []string{"echo", "a|b", "$HOME"}, Timeout: time.Second}, true, "exit 0: a|b $HOME", "a|b $HOME\n"},
		"stdin is empty":    {sh("cat; echo end"), true, "exit 0: end", "end\n"},
		"root folder":       {sh("pwd"), true, "exit 0: /", "/\n"},
		"folder":            {Spec{Argv: []string{"pwd"}, Dir: "/usr", Timeout: time.Second}, true, "exit 0: /usr", "/usr\n"},
		"no folder":         {Spec{Argv: []string{"pwd"}, Dir: "/nowhere", Timeout: time.Second}, false, "run /usr/bin/pwd in /nowhere: no such file or directory", ""},
		"umask":             {sh("umask"), true, "exit 0: 0022", "0022\n"},
		"no program":        {Spec{Argv: []string{"no-such-program-here"}, Timeout: time.Second}, false, `command "no-such-program-here": not found in /usr/libexec/baton nor in PATH (` + os.Getenv("PATH") + ")", ""},
		"no file":           {Spec{Argv: []string{"/nowhere/x"}, Timeout: time.Second}, false, "command /nowhere/x: file does not exist", ""},
		"no user":           {Spec{Argv: []string{"id"}, User: &User{Name: "nobody-here"}, Timeout: time.Second}, false, `user "nobody-here" does not exist on this host`, ""},
		"nameless user":     {Spec{Argv: []string{"id"}, User: &User{}, Timeout: time.Second}, false, "a user has neither a name nor a number", ""},
		"no words":          {Spec{Timeout: time.Second}, false, "no command", ""},
		"no timeout":        {Spec{Argv: []string{"id"}}, false, "run id: no timeout", ""},
		"escape sequences":  {sh(`printf '\033[2J\007red\tx\377\n'`), true, `exit 0: \x1b[2J\ared x\xff`, "\033[2J\007red\tx\377\n"},
		"blank lines first": {sh(`printf '\n \r\nwords\r\n'`), true, "exit 0: words", "\n \r\nwords\r\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := r.Run(t.Context(), tt.spec)
			if res.OK() != tt.ok || res.String() != tt.text {
				t.Errorf("got %v %q, want %v %q", res.OK(), res, tt.ok, tt.text)
			}
			if diff := cmp.Diff(tt.output, string(res.Output)); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			if res.Left != nil || res.TimedOut {
				t.Errorf("left %v, timed out %v", res.Left != nil, res.TimedOut)
			}
		})
	}
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

func TestRun_TimeoutKillsGroup(t *testing.T) {
	r, _ := newRunner(t)
	s := sh("sleep 100 & echo $!; wait")
	s.Timeout = time.Second // enough for the shell to say the number
	res := r.Run(t.Context(), s)
	if !res.TimedOut || res.OK() || res.Took < s.Timeout || res.Took > s.Timeout+5*time.Second {
		t.Fatalf("timed out %v after %v", res.TimedOut, res.Took)
	}
	pid, err := strconv.Atoi(res.FirstLine())
	if err != nil {
		t.Fatalf("%q: %v", res, err)
	}
	if want := fmt.Sprintf("timed out after 1s: %d", pid); res.Left == nil && res.String() != want {
		t.Errorf("got %q, want %q", res, want)
	}
	eventually(t, "the grandchild is dead", func() bool { return !alive(pid) })
	eventually(t, "no child is left", func() bool { return len(children(t)) == 0 })
}

func TestRun_KillGrace(t *testing.T) {
	r, _ := newRunner(t)
	t.Run("ends on SIGTERM", func(t *testing.T) {
		s := sh("trap 'echo bye; exit 0' TERM; sleep 100 & wait")
		s.Timeout, s.Kill = time.Second, 10*time.Second
		res := r.Run(t.Context(), s)
		if !res.TimedOut || res.Exit != 0 || res.String() != "timed out after 1s: bye" || res.Took > 8*time.Second {
			t.Errorf("got %+v %q", res, res)
		}
	})
	t.Run("needs SIGKILL", func(t *testing.T) {
		s := sh("trap '' TERM; while :; do sleep 0.01; done")
		s.Timeout, s.Kill = 100*time.Millisecond, 200*time.Millisecond
		res := r.Run(t.Context(), s)
		if !res.TimedOut || (res.Signal != "SIGKILL" && res.Left == nil) || res.Took < 300*time.Millisecond {
			t.Errorf("got %+v", res)
		}
	})
}

func TestRun_Cancelled(t *testing.T) {
	r, _ := newRunner(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	res := r.Run(ctx, sh("exec sleep 100"))
	if res.TimedOut || !errors.Is(res.Err, context.Canceled) || res.OK() || res.Took > 5*time.Second {
		t.Errorf("got %+v", res)
	}
}

func TestRun_ContextDeadline(t *testing.T) {
	r, _ := newRunner(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if res := r.Run(ctx, sh("exec sleep 100")); !strings.HasPrefix(res.String(), "timed out after 100ms") {
		t.Errorf("got %q", res)
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

func TestRun_OutputFlood(t *testing.T) {
	r, _ := newRunner(t)
	res := r.Run(t.Context(), sh("dd if=/dev/zero bs=1M count=20 2>/dev/null | tr '\\0' x; echo; echo end >&2; exit 4"))
	if res.Exit != 4 || res.TimedOut {
		t.Errorf("got %d, timed out %v", res.Exit, res.TimedOut)
	}
	if want := strings.Repeat("x", 4<<10); string(res.Output) != want {
		t.Errorf("%d bytes", len(res.Output))
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

func TestRun_OutputWhole(t *testing.T) {
	r, _ := newRunner(t)
	for range 50 {
		if res := r.Run(t.Context(), sh("printf one; printf two; printf three")); string(res.Output) != "onetwothree" {
			t.Fatalf("got %q", res.Output)
		}
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
	eventually(t, "no child, no zombie", func() bool { return len(children(t)) == 0 })
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

func TestRun_User(t *testing.T) {
	trial.NeedRoot(t)
	r, _ := newRunner(t)
	u, err := LookupUser("nobody")
	if err != nil {
		t.Fatal(err)
	}
	u.Groups = append(u.Groups, 4711) // as if /etc/group had nobody in it
	script := `id -u; id -g; id -G; echo $HOME $USER $LOGNAME; grep -E '^Cap(Prm|Eff|Amb)' /proc/self/status | tr -d '\n\t'`
	s := sh(script)
	s.User = u
	want := fmt.Sprintf("65534\n65534\n65534 4711\n%s nobody nobody\nCapPrm:0000000000000000CapEff:0000000000000000CapAmb:0000000000000000", u.Home)
	if diff := cmp.Diff(want, string(r.Run(t.Context(), s).Output)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s = sh("id -un")
	s.User = &User{Name: "nobody"} // looked up at the run; its zero UID is not believed
	if res := r.Run(t.Context(), s); res.FirstLine() != "nobody" {
		t.Errorf("ran as %q", res)
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
		for _, pid := range children(t) {
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

func TestRun_StartProblems(t *testing.T) {
	trial.NeedRoot(t)
	r, _ := newRunner(t)
	dir := rootDir(t)
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "echo x\n", 0o755)
	orphan := write("orphan", "#!/nowhere/python\n", 0o755)
	private := write("private", "#!/bin/sh\n", 0o700)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		spec Spec
		want string
	}{
		"no #! line":     {Spec{Argv: []string{plain}}, "run " + plain + ": neither a program for this machine nor a script with a #! line: exec format error"},
		"no interpreter": {Spec{Argv: []string{orphan}}, "run " + orphan + ": the interpreter in its #! line, or its loader, is missing: no such file or directory"},
		"folder not for nobody": {Spec{Argv: []string{"/usr/bin/true"}, Dir: closed, User: &User{Name: "nobody"}},
			"run /usr/bin/true in " + closed + ": nobody may not execute it, or not enter the folder: permission denied"},
		"not for nobody":  {Spec{Argv: []string{private}, User: &User{Name: "nobody"}}, "run " + private + ": nobody may not execute it: permission denied"},
		"not executable":  {Spec{Argv: []string{write("data", "x", 0o644)}}, "command " + dir + "/data: is not executable: chmod +x " + dir + "/data"},
		"writable script": {Spec{Argv: []string{writable(t, write("open", "#!/bin/sh\n", 0o755))}}, "refused to run " + dir + "/open: " + dir + "/open is writable by everybody (-rwxrwxrwx): chmod go-w " + dir + "/open"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.spec.Timeout = 5 * time.Second
			if got := r.Run(t.Context(), tt.spec).String(); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func writable(t *testing.T, path string) string {
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	return path
}
