package statefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endLimit is how long a watcher has to end when it is told to, and once more
// when it is killed.
const endLimit = time.Second

// child is a watcher that runs.
type child struct {
	ended <-chan error // how it ended
	end   func()       // tells it that the daemon has ended
	kill  func()
}

// watch sees to it that a watcher runs until ctx ends.
func (w *Writer) watch(ctx context.Context) {
	pause, failing := firstRetry, false
	for {
		began := time.Now()
		c, err := w.start(w.folder)
		if err == nil {
			select {
			case <-ctx.Done():
				c.stop()
				return
			case err = <-c.ended:
				c.end()
				err = fmt.Errorf("it ended: %w", err)
			}
		}
		if time.Since(began) > longestRetry {
			pause, failing = firstRetry, false
		}
		if !failing { // once, and not each time that it fails again
			w.log.Warn("the watcher of the state files is started again", "err", err,
				"consequence", "until it runs, a baton that is killed leaves its state files behind")
		}
		failing = true
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longestRetry)
	}
}

// stop ends the watcher and waits for it.
func (c *child) stop() {
	c.end()
	select {
	case <-c.ended:
		return
	case <-time.After(endLimit):
	}
	c.kill()
	select {
	case <-c.ended:
	case <-time.After(endLimit): // it waits in the kernel
	}
}

// startWatcher starts a watcher of the folder. Nothing is ever written to its
// standard input: that is closed when this process ends, by itself or by the
// kernel, since no other process has the other end.
func startWatcher(argv []string, folder string) (*child, error) {
	stdin, ours, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the watcher of the state files: make a pipe: %w", err)
	}
	defer stdin.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("start the watcher of the state files: %w", err)
	}
	defer null.Close()
	proc, err := os.StartProcess(argv[0], append(slices.Clone(argv), folder), &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=1"}, // few threads, little memory; and nothing of NOTIFY_SOCKET
		Files: []*os.File{stdin, null, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true}, // what is sent to the daemon's group is not for it
	})
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("start the watcher of the state files: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		state, err := proc.Wait()
		if err == nil {
			err = errors.New(state.String())
		}
		ended <- err
	}()
	return &child{ended: ended, end: func() { ours.Close() }, kill: func() { _ = proc.Kill() }}, nil
}

// Watch is the watcher: it waits for the end of its standard input, which is the
// end of the daemon, and removes the daemon's folder then. It ignores what ends
// the daemon, and has ordinary scheduling.
func Watch(folder string) error {
	if !filepath.IsAbs(folder) || !strings.HasPrefix(filepath.Base(folder), prefix) {
		return fmt.Errorf("watch %s: it is no folder of state files", folder)
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if err := becomeOrdinary(); err != nil {
		fmt.Fprintf(os.Stderr, "baton: watch %s: ordinary scheduling: %v\n", folder, err) // and does its work nevertheless
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // whatever it says: it is over
	if err := remove(folder); err != nil {
		return fmt.Errorf("remove the state files of a baton that has ended: %w", err)
	}
	return nil
}

// becomeOrdinary gives back a real-time policy that was inherited from the
// daemon. The policy is each thread's own, and threads have been made already, so
// the program is executed again by one that is ordinary; then it does not return.
func becomeOrdinary() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := unix.SchedGetAttr(0, 0)
	if err != nil || own.Policy != unix.SCHED_FIFO && own.Policy != unix.SCHED_RR {
		return err
	}
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0); err != nil {
		return err
	}
	path, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(path, os.Args, os.Environ())
}
