package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Two daemons on one link would take each other for a looped copy, and two in
// one runtime directory would overwrite each other's files. Both locks are
// held for life and vanish with the process.

// RunningError says that another daemon holds a lock.
type RunningError struct {
	What string // the runtime directory, or the network namespace
	PID  int    // 0 where it could not be learned
}

// Error names the lock and the process that holds it.
func (e *RunningError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("baton runs already in this %s", e.What)
	}
	return fmt.Sprintf("baton runs already in this %s: PID %d", e.What, e.PID)
}

// locks are both locks of a running daemon.
type locks struct {
	file   *os.File
	socket int
}

// takeLocks takes both locks or fails with a RunningError. It creates the
// runtime directory where it does not exist.
func takeLocks(dir string) (*locks, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create the runtime directory: %w", err)
	}
	file, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	socket, err := lockNamespace()
	if err != nil {
		_ = file.Close() // the lock goes with it
		return nil, err
	}
	return &locks{file: file, socket: socket}, nil
}

// lockDirectory locks a file that holds our PID.
func lockDirectory(dir string) (*os.File, error) {
	path := filepath.Join(dir, "baton.pid")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock file: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		text, _ := os.ReadFile(path) // only to name the other
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		_ = f.Close()
		return nil, &RunningError{What: "runtime directory (" + dir + ")", PID: pid}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil { // a full disk is no reason not to start: the number only helps others
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// RunningPID is the process that holds the lock of a runtime directory; 0: none. It
// does not try the lock: a daemon that starts at that moment would not get it.
func RunningPID(dir string) int {
	path := filepath.Join(dir, "baton.pid")
	var s unix.Stat_t
	if unix.Stat(path, &s) != nil {
		return 0
	}
	held, err := os.ReadFile("/proc/locks") // proc_locks(5)
	if err != nil || !strings.Contains(string(held), fmt.Sprintf(":%d ", s.Ino)) {
		return 0
	}
	text, _ := os.ReadFile(path) // 0 where it cannot be read
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// namespaceLock is an abstract socket, which the kernel keeps apart by
// network namespace.
const namespaceLock = "@baton/lock"

// lockNamespace binds the socket; whoever has it already is asked for its PID.
func lockNamespace() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("lock the network namespace: %w", err)
	}
	addr := &unix.SockaddrUnix{Name: namespaceLock}
	err = unix.Bind(fd, addr)
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err == nil {
		return fd, nil
	}
	defer unix.Close(fd)
	if !errors.Is(err, unix.EADDRINUSE) {
		return -1, fmt.Errorf("lock the network namespace: %w", err)
	}
	running := &RunningError{What: "network namespace"}
	if unix.Connect(fd, addr) == nil {
		if cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			running.PID = int(cred.Pid)
		}
	}
	return -1, running
}

func (l *locks) release() {
	_ = l.file.Close() // gives the lock back, whatever it says
	_ = unix.Close(l.socket)
}
