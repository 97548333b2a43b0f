package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is one run of a command. Its own goroutine starts it, waits for it
// and reaps it, however long that takes; Run waits beside it, with a deadline.
type process struct {
	runner *Runner
	spec   Spec
	ended  chan struct{} // closed when it is reaped, or could not be started

	mu      sync.Mutex
	pid     int            // signals may go to its group; 0 before the start and after the end
	ending  syscall.Signal // the last signal sent or wanted, 0 while it may run
	state   *os.ProcessState
	err     error
	output  []byte
	overdue bool
}

// run starts the process and waits for its end.
func (p *process) run(ctx context.Context) {
	defer close(p.ended)
	path, attr, err := p.prepare()
	if err != nil {
		p.fail(err)
		return
	}
	rd, wr, err := pipe()
	if err != nil {
		p.fail(fmt.Errorf("run %s: make a pipe: %w", path, err))
		return
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		rd.Close()
		wr.Close()
		p.fail(fmt.Errorf("run %s: %w", path, err))
		return
	}
	attr.Files = []*os.File{null, wr, wr}
	proc, err := p.runner.start(ctx, path, p.spec.Argv, attr)
	null.Close()
	wr.Close()
	if err != nil {
		rd.Close()
		p.fail(explain(path, p.spec, err))
		return
	}
	p.started(proc.Pid)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		p.read(rd)
	}()

	// The process is looked at first and reaped only then: until it is reaped its
	// number, and that of its group, cannot belong to somebody else.
	waitExit(proc.Pid)
	p.finished()
	state, err := proc.Wait()
	_ = rd.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	<-reading
	p.drain(rd)

	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = state
	if err != nil {
		p.err = fmt.Errorf("wait for %s: %w", path, err)
	}
	if p.overdue {
		p.runner.log.Info("killed command has ended at last", "command", path, "pid", proc.Pid)
	}
}

// prepare finds the program and the user and checks that nobody else can put
// words into their mouths.
func (p *process) prepare() (path string, attr *os.ProcAttr, err error) {
	if path, err = Lookup(p.spec.Argv[0]); err != nil {
		return "", nil, err
	}
	user := p.spec.User
	if user != nil {
		if user, err = user.resolve(); err != nil {
			return "", nil, err
		}
	}
	if err = VerifyFor(path, user); err != nil {
		return "", nil, err
	}
	dir := p.spec.Dir
	if dir == "" {
		dir = "/"
	}
	if _, err = os.Stat(dir); err != nil { // or a missing folder looks like a missing program
		return "", nil, fmt.Errorf("run %s in %s: %w", path, dir, errors.Unwrap(err))
	}
	sys := &syscall.SysProcAttr{Setpgid: true}
	if user != nil && !user.own() {
		sys.Credential = &syscall.Credential{Uid: user.UID, Gid: user.GID, Groups: user.Groups}
	}
	return path, &os.ProcAttr{Dir: dir, Env: environ(p.runner.base, user, p.spec.Env), Sys: sys}, nil
}

func (p *process) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// started notes the process; where its time was over meanwhile it is killed.
func (p *process) started(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = pid
	if p.ending != 0 {
		p.send(syscall.SIGKILL)
	}
}

// finished notes that the process itself has ended. What is left of a group
// that was told to end is killed: the next run must not meet it.
func (p *process) finished() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending != 0 {
		p.send(syscall.SIGKILL)
	}
	p.pid = 0
}

// signal ends the process group, now or as soon as it has been started.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = sig
	if p.pid != 0 {
		p.send(sig)
	}
}

// send signals the group. p.mu is held and p.pid is not yet reaped.
func (p *process) send(sig syscall.Signal) {
	if err := p.runner.kill(-p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.runner.log.Warn("cannot end command", "command", p.spec.Argv[0], "pid", p.pid, "signal", unix.SignalName(sig), "err", err)
	}
}

// wait waits for the end, for at most d.
func (p *process) wait(d time.Duration) (ended bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
		return false
	}
}

// report says so when a killed process does not die.
func (p *process) report() {
	if p.wait(patience) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		p.runner.log.Warn("command hangs before its start", "command", p.spec.Argv[0])
		return
	}
	p.overdue = true
	p.runner.log.Warn("command was killed but does not end (it waits in the kernel)", "command", p.spec.Argv[0], "pid", p.pid)
}

// result is what is known now.
func (p *process) result(began time.Time) Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	res := Result{Err: p.err, Output: append([]byte(nil), p.output...), Took: time.Since(began)}
	if p.state == nil {
		return res
	}
	if ws, ok := p.state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		res.Signal = unix.SignalName(ws.Signal())
		if res.Signal == "" {
			res.Signal = fmt.Sprintf("signal %d", ws.Signal())
		}
		res.Exit = -1
		return res
	}
	res.Exit = p.state.ExitCode()
	return res
}

// read collects the output, and goes on reading what is not kept: a child must
// not block on a full pipe. It ends at the end of file or when it is woken.
func (p *process) read(rd *os.File) {
	var pace pace
	buf := make([]byte, 4096)
	for {
		n, err := rd.Read(buf)
		p.keep(buf[:n])
		if err != nil {
			return
		}
		pace.took(n)
	}
}

// A pace bounds how much of a processor the reading of one command's output
// takes: to one that writes without end the daemon, which is real-time, would
// else give half a processor, and leave ordinary processes none.
type pace struct{ read int }

const (
	paceSize  = 64 << 10 // what a pipe holds: the writer need not wait meanwhile
	pacePause = 5 * time.Millisecond
)

// took notes that n bytes were read, and waits after each paceSize of them.
func (p *pace) took(n int) {
	if p.read += n; p.read >= paceSize {
		p.read = 0
		time.Sleep(pacePause)
	}
}

func (p *process) keep(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	room := MaxOutput - len(p.output)
	p.output = append(p.output, b[:min(room, len(b))]...)
}

// drain takes what the ended process has left in the pipe, without waiting for
// others that hold it open. For those the pipe stays open and is emptied, or a
// program that a hook left running would die of SIGPIPE at its first word.
func (p *process) drain(rd *os.File) {
	eof := true
	if err := rd.SetReadDeadline(time.Time{}); err == nil {
		eof = p.readAvailable(rd)
	}
	r := p.runner
	if eof || r.leftOpen.Add(1) > maxLeftOpen {
		if !eof {
			r.leftOpen.Add(-1)
		}
		rd.Close()
		return
	}
	go func() {
		defer r.leftOpen.Add(-1)
		defer rd.Close()
		var pace pace
		buf := make([]byte, 4096)
		for {
			n, err := rd.Read(buf)
			if err != nil {
				return
			}
			pace.took(n)
		}
	}()
}

// readAvailable reads what is in the pipe, at most what a pipe can hold.
func (p *process) readAvailable(rd *os.File) (eof bool) {
	conn, err := rd.SyscallConn()
	if err != nil {
		return true
	}
	buf := make([]byte, 4096)
	_ = conn.Read(func(fd uintptr) bool {
		for range 64 << 10 / len(buf) {
			n, err := unix.Read(int(fd), buf)
			switch {
			case err == unix.EINTR:
			case err == unix.EAGAIN:
				return true
			case err != nil || n == 0:
				eof = true
				return true
			default:
				p.keep(buf[:n])
			}
		}
		return true
	})
	return eof
}

// pipe makes a pipe whose reading end never blocks a thread, and whose writing
// end, which the child gets, blocks as programs expect.
func pipe() (rd, wr *os.File, err error) {
	var fd [2]int
	if err := unix.Pipe2(fd[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fd[0], true); err != nil {
		unix.Close(fd[0])
		unix.Close(fd[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd[0]), "|0"), os.NewFile(uintptr(fd[1]), "|1"), nil
}

// waitExit waits for a child to end and leaves it to be reaped.
func waitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}

// explain says in words why a start failed.
func explain(path string, s Spec, err error) error {
	switch {
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("run %s: no process can be made, the process table or its limit is full: %w", path, unix.EAGAIN)
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("run %s: neither a program for this machine nor a script with a #! line: %w", path, unix.ENOEXEC)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("run %s: the interpreter in its #! line, or its loader, is missing: %w", path, unix.ENOENT)
	case s.User != nil && errors.Is(err, unix.EPERM):
		return fmt.Errorf("run %s as %s: baton may not change users, which takes CAP_SETUID and CAP_SETGID: %w", path, s.User, unix.EPERM)
	case s.User != nil && errors.Is(err, unix.EACCES) && s.Dir != "": // the child enters it as the user
		return fmt.Errorf("run %s in %s: %s may not execute it, or not enter the folder: %w", path, s.Dir, s.User, unix.EACCES)
	case s.User != nil && errors.Is(err, unix.EACCES):
		return fmt.Errorf("run %s: %s may not execute it: %w", path, s.User, unix.EACCES)
	}
	return fmt.Errorf("run %s: %w", path, err)
}
