// Package lab is a small network laboratory on one machine: hosts, which are network namespaces, joined by
// switches, which are bridges in namespaces of their own. Processes run inside a host; cables can be cut, silently
// or with loss of carrier; a client can ask an address each millisecond; frames and address changes are recorded
// with their times. `baton demo`, the black-box tests and the benchmarks use it.
//
// Nothing has a name outside this process: a namespace lives as long as a thread or a descriptor of ours, so that
// a crash leaves nothing behind. The package must never touch the namespace that it was started in, and knows
// nothing of VRRP or of baton.
package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// closeTimeout bounds each stage of Close.
const closeTimeout = 3 * time.Second

// Lab is a set of hosts and switches that are removed together. Its methods may be called from any goroutine.
type Lab struct {
	name string

	mu       sync.Mutex
	spaces   []*space
	hosts    []*Host
	closers  []func() // probers, taps and watches still running, by order of their start
	closed   bool
	closeErr error
	switches int
}

// New makes an empty laboratory; name appears in errors only. It fails when this process may not make network
// namespaces: see Enter.
func New(name string) (*Lab, error) {
	probe, err := newSpace(name)
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", name, err)
	}
	probe.close()
	return &Lab{name: name}, nil
}

// Host makes a host without any interface but lo.
func (l *Lab) Host(name string) (*Host, error) {
	s, err := l.space(name)
	if err != nil {
		return nil, err
	}
	h := &Host{Name: name, lab: l, space: s}
	if err := h.prepare(); err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	l.mu.Lock()
	l.hosts = append(l.hosts, h)
	l.mu.Unlock()
	return h, nil
}

// space makes a namespace that Close will end.
func (l *Lab) space(name string) (*space, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("make %s: lab %s is closed", name, l.name)
	}
	s, err := newSpace(name)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	l.spaces = append(l.spaces, s)
	return s, nil
}

// onClose has f called by Close, before the processes are ended.
func (l *Lab) onClose(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closers = append(l.closers, f)
}

// Close kills every process that was started in the laboratory, with all their descendants that are still in one of
// its namespaces, and removes hosts and switches. It takes a few seconds at most, returns what it could not do, and
// may be called again.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.closeErr
	}
	l.closed = true
	for i := len(l.closers) - 1; i >= 0; i-- {
		l.closers[i]()
	}
	var errs []error
	for _, h := range l.hosts {
		for _, p := range h.started() {
			if err := p.Kill(); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if err := l.sweep(); err != nil {
		errs = append(errs, err)
	}
	for _, s := range l.spaces {
		s.close()
	}
	l.closeErr = errors.Join(errs...)
	return l.closeErr
}

// sweep kills what is left in the namespaces. Only what we started, or what that started, can be in there.
func (l *Lab) sweep() error {
	ours := make(map[string]bool)
	for _, s := range l.spaces {
		ours[s.id] = true
	}
	for deadline := time.Now().Add(closeTimeout); ; time.Sleep(5 * time.Millisecond) {
		left := inhabitants(ours)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("lab %s: processes %v do not end", l.name, left)
		}
		for _, pid := range left {
			// ESRCH: it has ended by itself meanwhile.
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
				return fmt.Errorf("lab %s: kill process %d: %w", l.name, pid, err)
			}
		}
	}
}

// inhabitants returns the processes, other than this one, whose network namespace is one of those given.
// A zombie has none, so that it does not count.
func inhabitants(spaces map[string]bool) []int {
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil
	}
	var pids []int
	for _, link := range links {
		id, err := os.Readlink(link)
		if err != nil || !spaces[id] {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(link))))
		if err != nil || pid == os.Getpid() {
			continue
		}
		pids = append(pids, pid)
	}
	return pids
}
