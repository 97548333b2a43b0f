// Package command runs programs for the daemon: checks, hooks, and later
// services. It is the one place that starts a process. A Spec and a Result are
// plain values, since what needs another user than the daemon is run so in a
// process of its own, see package runner.
//
// It must not know what a command is for, must not start a shell, and must not
// judge an exit status beyond zero and not zero. It imports nothing of baton.
package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settle is how long Run waits, after SIGKILL, for the usual case that the
	// process is gone at once, so that its result is whole.
	settle = 50 * time.Millisecond
	// patience is how long a killed process may linger before the log says so.
	patience = time.Second
	// maxLeftOpen bounds the pipes that are kept open for processes which a
	// finished command left behind.
	maxLeftOpen = 32
)

// Spec says what to run and within which limits.
type Spec struct {
	// Argv is the program and its arguments; no shell reads it. The program is
	// an absolute path or a bare word for Lookup.
	Argv []string
	// Dir is the working directory; empty means /.
	Dir string
	// Env is added to the daemon's own environment and overrides it.
	Env []string
	// User is who runs it; nil means the daemon's own user.
	User *User
	// Timeout is how long the command may take; it must be positive.
	Timeout time.Duration
	// Kill is how long after the timeout's SIGTERM the process group gets
	// SIGKILL. Zero means SIGKILL at the timeout, at once.
	Kill time.Duration
}

// RunFunc runs a command as Runner.Run does, in this process or in another one.
type RunFunc func(context.Context, Spec) Result

// Runner starts commands. It holds one thread from which all of them are
// forked; Close gives it back.
type Runner struct {
	log  *slog.Logger
	base []string
	jobs chan func()
	quit chan struct{}
	done chan struct{}

	precious bool // this process is the last that the kernel ends for memory

	leftOpen atomic.Int32
	kill     func(pid int, sig syscall.Signal) error // a test's unkillable process
}

// NewRunner returns a Runner whose commands inherit the environment the daemon
// has now. The caller owns it and closes it.
func NewRunner(log *slog.Logger) *Runner {
	r := &Runner{
		log:  log,
		base: baseEnv(os.Environ()),
		jobs: make(chan func()),
		quit: make(chan struct{}),
		done: make(chan struct{}),
		kill: syscall.Kill,

		precious: isPrecious(),
	}
	// Go's own descriptors are all closed on exec; what the daemon inherited from
	// whoever started it need not be, and a command must not get it.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		log.Debug("commands inherit what the daemon has inherited", "err", err)
	}
	go r.launch()
	return r
}

// Close ends the launching thread. Commands that still run are reaped as they
// end; new ones fail. It waits for at most a second, and must be called once.
func (r *Runner) Close() {
	close(r.quit)
	select {
	case <-r.done:
	case <-time.After(time.Second):
		r.log.Warn("a command's start hangs; its thread is left behind")
	}
}

// Run runs a command and returns when it has ended, or when its time is up:
// at Timeout, or with Kill at most that much later. It returns then even if
// the process cannot be killed, and Result.Left tells when it is gone.
// A deadline of ctx shortens the timeout; its cancellation ends the command
// in the same way.
//
// Before each start the program and the user are looked up and the program's
// path is verified (see Verify), so what an administrator mends works at the
// next run.
func (r *Runner) Run(ctx context.Context, s Spec) Result {
	began := time.Now()
	if len(s.Argv) == 0 {
		return Result{Err: errors.New("no command")}
	}
	if s.Timeout <= 0 {
		return Result{Err: fmt.Errorf("run %s: no timeout", s.Argv[0])}
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	limit := s.Timeout
	if d, ok := ctx.Deadline(); ok {
		limit = min(limit, d.Sub(began)).Round(time.Millisecond)
	}

	p := &process{runner: r, spec: s, ended: make(chan struct{})}
	go p.run(ctx)
	select {
	case <-p.ended:
		return p.result(began)
	case <-ctx.Done():
	}
	if s.Kill > 0 {
		p.signal(syscall.SIGTERM)
		p.wait(s.Kill)
	}
	p.signal(syscall.SIGKILL)
	gone := p.wait(settle)
	res := p.result(began)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		res.TimedOut, res.Timeout = true, limit
	} else if res.Err == nil {
		res.Err = fmt.Errorf("run %s: %w", s.Argv[0], context.Cause(ctx))
	}
	if !gone {
		res.Left = p.ended
		go p.report()
	}
	return res
}

// launch is the thread that forks. Umask and ambient capabilities belong to a
// thread, and a child inherits those of the thread that forked it; so they are
// set here, once, and the daemon keeps its own.
func (r *Runner) launch() {
	defer close(r.done)
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		r.log.Warn("commands keep the daemon's umask", "err", err)
	} else {
		unix.Umask(0o022)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		r.log.Warn("commands keep the daemon's ambient capabilities", "err", err)
	}
	for {
		select {
		case job := <-r.jobs:
			job()
		case <-r.quit:
			return
		}
	}
}

// start forks on the launching thread. It returns early only when ctx ends
// before the thread took the job.
func (r *Runner) start(ctx context.Context, path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	var (
		proc *os.Process
		err  error
	)
	finished := make(chan struct{})
	job := func() {
		defer close(finished)
		if err = ctx.Err(); err != nil {
			return
		}
		if proc, err = os.StartProcess(path, argv, attr); err != nil {
			return
		}
		if e := ordinaryScheduling(proc.Pid); e != nil {
			r.log.Warn("command keeps the daemon's real-time priority", "command", path, "err", e)
		}
		if r.precious {
			ordinaryOOM(proc.Pid)
		}
	}
	select {
	case r.jobs <- job:
		<-finished
		return proc, err
	case <-r.quit:
		return nil, errors.New("baton is shutting down")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ordinaryScheduling takes a real-time priority, inherited from the daemon,
// away from a child just started. From the parent, right after the start:
// measured against forking from an ordinary thread or SCHED_RESET_ON_FORK, which
// make the daemon itself wait for its turn, this is the one that costs nothing.
func ordinaryScheduling(pid int) error {
	own, err := unix.SchedGetAttr(0, 0)
	if err != nil || (own.Policy != unix.SCHED_FIFO && own.Policy != unix.SCHED_RR) {
		return err
	}
	return unix.SchedSetAttr(pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
}

// isPrecious tells whether the kernel, short of memory, ends others before this
// process (OOMScoreAdjust= of a unit).
func isPrecious() bool {
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	return err == nil && len(b) > 0 && b[0] == '-'
}

// ordinaryOOM takes that from a child: one that eats the memory is to be ended
// first. It has no error, since a child may have ended already.
func ordinaryOOM(pid int) {
	_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("0"), 0)
}
