package statefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/control"
	"baton/internal/trial"
)

// The test binary is also the daemon of these tests, and its watcher.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "test-daemon":
			daemon(os.Args[2])
		case "test-watcher":
			if err := Watch(os.Args[2]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

// daemon writes a state file, with a watcher, until it is killed.
func daemon(dir string) {
	w := New(dir, []string{os.Args[0], "test-watcher"}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	fmt.Fprintln(os.Stderr, w.Run(context.Background(), newRoles(router("web", "MASTER"))))
	os.Exit(1)
}

// eventually waits for what somebody else brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	trial.Await(t, 10*time.Second, what, ok)
}

// victim is a daemon that a test kills.
type victim struct {
	t       *testing.T
	cmd     *exec.Cmd
	folder  string
	watcher int
	said    chan string // what it and its watcher wrote, when both have ended
}

func newVictim(t *testing.T, dir string, start func(*exec.Cmd) error) *victim {
	t.Helper()
	v := &victim{t: t, cmd: exec.Command(os.Args[0], "test-daemon", dir), said: make(chan string, 1)}
	stderr, theirs, err := os.Pipe()
	must(t, err)
	v.cmd.Stderr = theirs
	must(t, start(v.cmd))
	theirs.Close()
	t.Cleanup(func() { v.cmd.Process.Kill(); v.cmd.Wait() })
	go func() {
		defer stderr.Close()
		text, _ := io.ReadAll(stderr)
		v.said <- string(text)
	}()
	file := filepath.Join(dir, link, "web")
	eventually(t, "the daemon has written its file", func() bool {
		text, _ := os.ReadFile(file)
		return string(text) == "MASTER\n"
	})
	to, err := os.Readlink(filepath.Join(dir, link))
	must(t, err)
	v.folder = filepath.Join(dir, to)
	eventually(t, "its watcher runs and ignores signals", func() bool {
		v.watcher = find("test-watcher\x00" + v.folder)
		return v.watcher != 0 && ignores(v.watcher, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	})
	if sid, err := unix.Getsid(v.watcher); err != nil || sid != v.watcher {
		t.Errorf("the watcher %d is in session %d, %v", v.watcher, sid, err)
	}
	t.Cleanup(func() {
		if find("test-watcher\x00"+v.folder) == v.watcher {
			syscall.Kill(v.watcher, syscall.SIGKILL)
		}
	})
	return v
}

// find returns the process whose command line ends so, or 0.
func find(end string) int {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		if text, _ := os.ReadFile(path); strings.HasSuffix(string(text), end+"\x00") {
			pid := 0
			fmt.Sscanf(path, "/proc/%d/", &pid)
			return pid
		}
	}
	return 0
}

func ignores(pid int, signals ...syscall.Signal) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "SigIgn:\t")
	var mask uint64
	fmt.Sscanf(rest, "%x", &mask)
	for _, s := range signals {
		if mask>>(s-1)&1 == 0 {
			return false
		}
	}
	return true
}

// wait waits for the end of the daemon and of its watcher.
func (v *victim) wait() {
	v.t.Helper()
	select {
	case text := <-v.said:
		if text != "" {
			v.t.Errorf("they say %q", text)
		}
	case <-time.After(10 * time.Second):
		v.t.Fatal("the watcher does not end")
	}
}

func gone(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, link, "web")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state file: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, prefix+"*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A daemon that dies takes its files with it, and nothing that it is sent
// reaches the watcher.
func TestWatcher_DaemonKilled(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			dir := t.TempDir()
			v := newVictim(t, dir, (*exec.Cmd).Start)
			must(t, syscall.Kill(v.watcher, syscall.SIGTERM))
			must(t, v.cmd.Process.Signal(sig))
			v.cmd.Wait()
			v.wait()
			gone(t, dir)
		})
	}
}

// A watcher that is late, or was started late, does not touch what a successor
// has made.
func TestWatcher_LeavesSuccessorAlone(t *testing.T) {
	dir := t.TempDir()
	v := newVictim(t, dir, (*exec.Cmd).Start)
	must(t, syscall.Kill(v.watcher, syscall.SIGSTOP))
	must(t, v.cmd.Process.Kill())
	v.cmd.Wait()

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	w := New(dir, nil, slog.New(slog.DiscardHandler))
	go func() { done <- w.Run(ctx, newRoles(router("web", "BACKUP"), router("db", "MASTER"))) }()
	file := filepath.Join(dir, link, "web")
	eventually(t, "the successor has written its file", func() bool {
		text, _ := os.ReadFile(file)
		return string(text) == "BACKUP\n"
	})
	must(t, syscall.Kill(v.watcher, syscall.SIGCONT))
	v.wait()
	for name, want := range map[string]string{"web": "BACKUP\n", "db": "MASTER\n"} {
		if text, err := os.ReadFile(filepath.Join(dir, link, name)); string(text) != want {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	gone(t, dir)
}

// A runtime directory that is relative to where the daemon was started is watched as any other.
func TestWatcher_RelativeDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(filepath.Dir(dir))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	var log bytes.Buffer
	w := New(filepath.Base(dir), []string{os.Args[0], "test-watcher"}, slog.New(slog.NewTextHandler(&log, nil)))
	go func() { done <- w.Run(ctx, newRoles(router("web", "MASTER"))) }()
	eventually(t, "the watcher runs and ignores signals", func() bool {
		to, _ := os.Readlink(filepath.Join(dir, link))
		pid := find("test-watcher\x00" + filepath.Join(dir, to))
		return pid != 0 && ignores(pid, syscall.SIGTERM)
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	gone(t, dir)
	if log.Len() > 0 {
		t.Errorf("log: %s", &log)
	}
}

// A daemon that ends in order removes its files and waits for its watcher; one
// whose watcher was killed has another.
func TestWatcher_EndsWithDaemon(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	w := New(dir, []string{os.Args[0], "test-watcher"}, slog.New(slog.NewTextHandler(&log, nil)))
	go func() { done <- w.Run(ctx, newRoles(router("web", "MASTER"))) }()
	watcher := 0
	of := func() int {
		to, _ := os.Readlink(filepath.Join(dir, link))
		return find("test-watcher\x00" + filepath.Join(dir, to))
	}
	eventually(t, "the watcher runs", func() bool { watcher = of(); return watcher != 0 })
	must(t, syscall.Kill(watcher, syscall.SIGKILL))
	eventually(t, "another watcher runs", func() bool { next := of(); return next != 0 && next != watcher })
	last := of()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	gone(t, dir)
	if err := syscall.Kill(last, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the watcher: %v", err)
	}
	if !strings.Contains(log.String(), "it ended: signal: killed") {
		t.Errorf("log: %s", &log)
	}
}

// A watcher is an ordinary process, with all of its threads, though the daemon
// is not.
func TestWatcher_IsOrdinary(t *testing.T) {
	dir := t.TempDir()
	v := newVictim(t, dir, func(cmd *exec.Cmd) error {
		started := make(chan error)
		go func() {
			runtime.LockOSThread() // for good: the thread ends with its policy
			err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0)
			if err == nil {
				err = cmd.Start()
			}
			started <- err
		}()
		err := <-started
		if errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
			t.Skip("needs the privilege for real-time scheduling")
		}
		return err
	})
	if slices.Contains(policies(v.cmd.Process.Pid), unix.SCHED_NORMAL) {
		t.Error("the daemon is ordinary, too")
	}
	eventually(t, "each thread of the watcher is ordinary", func() bool {
		p := policies(v.watcher)
		return len(p) > 0 && !slices.Contains(p, unix.SCHED_RR)
	})
	must(t, v.cmd.Process.Kill())
	v.cmd.Wait()
	v.wait()
	gone(t, dir)
}

// policies are the scheduling policies of a process's threads.
func policies(pid int) []int {
	var all []int
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range threads {
		text, _ := os.ReadFile(path)
		if fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])); len(fields) > 38 {
			policy := 0
			fmt.Sscan(fields[38], &policy)
			all = append(all, policy)
		}
	}
	return all
}

var _ Source = control.Daemon(nil)
