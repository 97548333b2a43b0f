package vip

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// openNamespace returns the calling thread's network namespace.
func openNamespace() (int, error) {
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open network namespace: %w", err)
	}
	return fd, nil
}

// inside runs f on a thread in the worker's network namespace: what it opens,
// sockets and files below /proc/sys/net, is of that one. Where the thread is
// there already, nothing is asked that needs CAP_SYS_ADMIN.
func (w *Worker) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		var here, there unix.Stat_t
		err := errors.Join(unix.Stat("/proc/thread-self/ns/net", &here), unix.Fstat(w.namespace, &there))
		switch {
		case err != nil:
		case here.Ino == there.Ino && here.Dev == there.Dev:
			defer runtime.UnlockOSThread()
		default:
			err = unix.Setns(w.namespace, unix.CLONE_NEWNET) // the thread stays locked and ends with its goroutine
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// write makes the settings of an interface that are files.
func (w *Worker) write(q request) {
	if q.settings == nil || len(q.settings.files) == 0 {
		return
	}
	err := w.inside(func() error {
		var errs []error
		for _, s := range q.settings.files {
			file := "/proc/sys/net/ipv6/conf/" + q.name + "/" + s.name
			b, err := os.ReadFile(file)
			if err == nil && len(b) > 0 && string(b[:len(b)-1]) == s.value {
				continue // also where it could not be written
			}
			if err = os.WriteFile(file, []byte(s.value), 0); !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err) // else the kernel has no IPv6, or not this setting
			}
		}
		return errors.Join(errs...)
	})
	if err != nil && !w.table.told[q.name] {
		w.table.told[q.name] = true
		w.log.Warn("interface could not be set up for a virtual MAC", "interface", q.name, "err", err, "consequence", q.settings.otherwise)
	}
}
