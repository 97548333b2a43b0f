package lab

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Line is one line that a process wrote to standard output or standard error.
type Line struct {
	At   time.Time // when it was read
	Text string    // without the end of line
}

// Process is a program running in a host, with a process group of its own. It dies with this process.
type Process struct {
	Name string // of the host and the program, for messages
	PID  int

	cmd    *exec.Cmd
	pipe   *os.File
	exited chan struct{}

	mu     sync.Mutex
	reaped bool
	err    error
	lines  []Line
	more   chan struct{} // closed and replaced when a line comes
	onLine func(Line)
}

// StartOptions say how a program is started beyond its arguments. The zero value is usual.
type StartOptions struct {
	Env    []string   // added to this process's environment
	Dir    string     // the working directory; empty: this process's
	OnLine func(Line) // called for each line, one at a time, from a goroutine of the Process
}

// Start runs argv in the host's namespaces. Standard input is empty; output and errors are kept, in one stream.
func (h *Host) Start(argv []string, o StartOptions) (*Process, error) {
	if len(argv) == 0 {
		return nil, fmt.Errorf("host %s: start: no command", h.Name)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("host %s: start %s: %w", h.Name, argv[0], err)
	}
	defer w.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), o.Env...)
	cmd.Dir = o.Dir
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	if err := h.space.hold(cmd.Start); err != nil {
		r.Close()
		return nil, fmt.Errorf("host %s: start %s: %w", h.Name, argv[0], err)
	}
	p := &Process{
		Name: fmt.Sprintf("%s on %s", cmd.Args[0], h.Name), PID: cmd.Process.Pid,
		cmd: cmd, pipe: r, exited: make(chan struct{}), more: make(chan struct{}), onLine: o.OnLine,
	}
	h.mu.Lock()
	h.processes = append(h.processes, p)
	h.mu.Unlock()
	read := make(chan struct{})
	go p.read(read)
	go p.reap(read)
	return p, nil
}

// read takes lines until every holder of the pipe's other end is gone, or reap closes it.
func (p *Process) read(done chan<- struct{}) {
	defer close(done)
	s := bufio.NewScanner(p.pipe)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := Line{At: time.Now(), Text: s.Text()}
		p.mu.Lock()
		p.lines = append(p.lines, line)
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
		if p.onLine != nil {
			p.onLine(line)
		}
	}
}

// reap waits for the process. The number of a process whose end was not yet collected cannot be given to another,
// so that signals are safe until reaped is set.
func (p *Process) reap(read <-chan struct{}) {
	for {
		err := unix.Waitid(unix.P_PID, p.PID, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	p.mu.Lock()
	p.reaped = true
	p.err = p.cmd.Wait()
	p.mu.Unlock()
	// What it wrote last is still in the pipe; a child that lives on may hold the other end for ever.
	select {
	case <-read:
	case <-time.After(100 * time.Millisecond):
	}
	p.pipe.Close()
	<-read
	close(p.exited)
}

// Done is closed when the process has ended and its output was read.
func (p *Process) Done() <-chan struct{} {
	return p.exited
}

// Signal sends a signal to the process alone. A process that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	return p.send(p.PID, sig)
}

// SignalGroup sends a signal to the process and to all of its group at once.
func (p *Process) SignalGroup(sig syscall.Signal) error {
	return p.send(-p.PID, sig)
}

func (p *Process) send(pid int, sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return nil
	}
	if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
		return fmt.Errorf("send %v to %s: %w", sig, p.Name, err)
	}
	return nil
}

// Kill ends the process and its group with SIGKILL and waits for the process.
func (p *Process) Kill() error {
	if err := p.SignalGroup(unix.SIGKILL); err != nil {
		return err
	}
	if _, err := p.Wait(closeTimeout); err != nil {
		return err
	}
	return nil
}

// Stop sends SIGTERM and waits; a process that is still there after the timeout is an error, and lives on.
func (p *Process) Stop(timeout time.Duration) error {
	if err := p.Signal(unix.SIGTERM); err != nil {
		return err
	}
	_, err := p.Wait(timeout)
	return err
}

// Wait returns the exit status once the process has ended: -1 when a signal ended it. It fails after the timeout.
func (p *Process) Wait(timeout time.Duration) (status int, err error) {
	select {
	case <-p.exited:
	default:
		select {
		case <-p.exited:
		case <-time.After(timeout):
			return 0, fmt.Errorf("%s did not end within %v", p.Name, timeout)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		return 0, fmt.Errorf("wait for %s: %w", p.Name, p.err)
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

// Lines returns what the process has written so far.
func (p *Process) Lines() []Line {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[:len(p.lines):len(p.lines)]
}

// Output returns what the process has written so far as one text.
func (p *Process) Output() string {
	var b strings.Builder
	for _, l := range p.Lines() {
		b.WriteString(l.Text)
		b.WriteByte('\n')
	}
	return b.String()
}

// WaitLine returns the first line from number `from` on (0: of all) that match accepts, and the number of the line
// after it. It fails after the timeout, and when the process ends without such a line.
func (p *Process) WaitLine(from int, timeout time.Duration, match func(string) bool) (Line, int, error) {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for ended := false; ; {
		p.mu.Lock()
		lines, more := p.lines, p.more
		p.mu.Unlock()
		for ; from < len(lines); from++ {
			if match(lines[from].Text) {
				return lines[from], from + 1, nil
			}
		}
		if ended {
			return Line{}, from, fmt.Errorf("%s ended without the line awaited", p.Name)
		}
		select {
		case <-more:
		case <-p.exited:
			ended = true
		case <-deadline.C:
			return Line{}, from, fmt.Errorf("%s did not write the line awaited within %v", p.Name, timeout)
		}
	}
}

// Run runs argv in the host and returns its output, failing when it does not exit with 0 within the timeout.
func (h *Host) Run(timeout time.Duration, argv ...string) (string, error) {
	p, err := h.Start(argv, StartOptions{})
	if err != nil {
		return "", err
	}
	status, err := p.Wait(timeout)
	if err != nil {
		return p.Output(), errors.Join(err, p.Kill())
	}
	if status != 0 {
		return p.Output(), fmt.Errorf("%s exited %d: %s", p.Name, status, strings.TrimSpace(p.Output()))
	}
	return p.Output(), nil
}
