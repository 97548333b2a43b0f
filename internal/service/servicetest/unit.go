package servicetest

import (
	"cmp"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

// Unit is one unit of a Systemd. The zero value, with a name, is a service without
// a process, which starts and stops at once.
type Unit struct {
	Name string
	// Argv is its process, with a process group of its own. It starts with the unit,
	// gets SIGTERM when the unit stops, and SIGKILL after StopTimeout (0: never).
	Argv        []string
	StopTimeout time.Duration

	Load      string // loaded unless said; not-found, masked, bad-setting
	LoadError string // what is wrong with its file

	Start Job // how it comes up
	Stop  Job // how it goes down, without a process
	// Active and Sub are what it is once it is up; active and running unless said.
	Active, Sub string
	// Unmet says that one of its conditions does not hold.
	Unmet bool
}

// Job is how a job goes.
type Job struct {
	Delay time.Duration
	// Result is the job's; done unless said. With another one the unit fails, and
	// Why is its Result, exit-code unless said.
	Result, Why string
	// Hang makes the job last until another one replaces it.
	Hang bool
}

// Process is a process and its group. A Process of package lab is one.
type Process interface {
	SignalGroup(sig syscall.Signal) error
	Done() <-chan struct{} // closed when it has ended
	// Wait returns its exit status, -1 when a signal ended it.
	Wait(timeout time.Duration) (status int, err error)
}

// unit is a Unit and what it is now. All of it is under Systemd.mu.
type unit struct {
	Unit
	active, sub, result string
	status              int32 // of its process, at its end
	process             Process
	job                 *job
	dead                chan struct{} // closed when the process is gone and the state says so
	killed              bool          // it got SIGKILL
}

// job is one that has not ended.
type job struct {
	id     uint32
	kind   string
	gone   chan struct{} // closed when another replaces it
	finish chan struct{} // closed when it shall not hang any longer
}

func (j *job) path() dbus.ObjectPath {
	return dbus.ObjectPath(fmt.Sprint(systemdPath, "/job/", j.id))
}

// Add puts units in, or replaces them; they are stopped.
func (s *Systemd) Add(units ...Unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range units {
		u.Load = cmp.Or(u.Load, "loaded")
		u.Active, u.Sub = cmp.Or(u.Active, "active"), cmp.Or(u.Sub, "running")
		s.units[u.Name] = &unit{Unit: u, active: "inactive", sub: "dead", result: "success"}
	}
}

// State is what a unit is now, as in "active (running)".
func (s *Systemd) State(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.unit(name)
	return u.active + " (" + u.sub + ")"
}

// Set gives a unit another state, as if something had happened to it. result is
// its Result; empty: success.
func (s *Systemd) Set(name, active, sub, result string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.unit(name)
	u.result = cmp.Or(result, "success")
	s.become(u, active, sub)
}

// StartUnit starts a unit as systemctl does by hand, without waiting.
func (s *Systemd) StartUnit(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue(s.unit(name), "start")
}

// StopUnit stops a unit as systemctl does by hand, without waiting.
func (s *Systemd) StopUnit(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue(s.unit(name), "stop")
}

// Finish ends the job of a unit that hangs, as it would have ended by itself.
func (s *Systemd) Finish(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.unit(name).job; j != nil {
		close(j.finish)
	}
}

// Kill sends a signal to the processes of a unit.
func (s *Systemd) Kill(name string, sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill(s.unit(name), sig)
}

// unit finds or makes it. s.mu is held, as in all that follow.
func (s *Systemd) unit(name string) *unit {
	u := s.units[name]
	if u == nil {
		u = &unit{Unit: Unit{Name: name, Load: "not-found"}, active: "inactive", sub: "dead", result: "success"}
		s.units[name] = u
	}
	return u
}

func (u *unit) path() dbus.ObjectPath {
	var b strings.Builder
	for _, c := range []byte(u.Name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return systemdPath + "/unit/" + dbus.ObjectPath(b.String())
}

func (u *unit) row() listed {
	l := listed{Name: u.Name, Load: u.Load, Active: u.active, Sub: u.sub, Path: u.path(), Job: "/"}
	if u.job != nil {
		l.JobID, l.JobType, l.Job = u.job.id, u.job.kind, u.job.path()
	}
	return l
}

func (u *unit) property(iface, name string) (any, bool) {
	switch {
	case iface == unitIface && name == "LoadError":
		return struct{ Name, Message string }{"org.freedesktop.systemd1.BadUnitSetting", u.LoadError}, true
	case iface == unitIface || iface == managerIface:
		return nil, false
	case name == "Result":
		return u.result, true
	case name == "ExecMainStatus":
		return u.status, true
	}
	return nil, false
}

// become changes the state and tells all.
func (s *Systemd) become(u *unit, active, sub string) {
	u.active, u.sub = active, sub
	path, changed := u.path(), map[string]dbus.Variant{"ActiveState": dbus.MakeVariant(active), "SubState": dbus.MakeVariant(sub)}
	s.tell(path, propsIface+".PropertiesChanged", unitIface, changed, []string{})
}

// tell emits a signal without s.mu; their order does not count.
func (s *Systemd) tell(path dbus.ObjectPath, name string, body ...any) {
	s.work.Go(func() { s.emit(path, name, body...) })
}

// queue makes a job, or finds the one that does the same already.
func (s *Systemd) queue(u *unit, kind string) dbus.ObjectPath {
	if u.job != nil && u.job.kind == kind {
		return u.job.path()
	}
	if u.job != nil {
		close(u.job.gone)
		s.removed(u, u.job, "canceled")
	}
	s.lastJob++
	j := &job{id: s.lastJob, kind: kind, gone: make(chan struct{}), finish: make(chan struct{})}
	u.job = j
	up := u.active == "active"
	switch {
	case kind == "start" && up:
		s.finish(u, j, "done")
	case kind == "start" && u.Unmet:
		s.finish(u, j, "done")
	case kind == "start":
		s.work.Go(func() { s.start(u, j) })
	case u.process == nil && (u.active == "inactive" || u.active == "failed"):
		s.finish(u, j, "done")
	default:
		s.work.Go(func() { s.stop(u, j) })
	}
	return j.path()
}

// finish ends a job, unless another has replaced it.
func (s *Systemd) finish(u *unit, j *job, result string) {
	if u.job != j {
		return
	}
	u.job = nil
	s.removed(u, j, result)
}

func (s *Systemd) removed(u *unit, j *job, result string) {
	s.tell(systemdPath, managerIface+".JobRemoved", j.id, j.path(), u.Name, result)
}

// wait lets the job take its time; false: it has been replaced, or all is over.
func (s *Systemd) wait(j *job, d Job) bool {
	after := time.After(d.Delay)
	if d.Hang {
		after = nil
	}
	select {
	case <-after:
		return true
	case <-j.finish:
		return true
	case <-j.gone:
		return false
	case <-s.closed:
		return false
	}
}

// isClosed says that nothing may be started any more.
func (s *Systemd) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// start brings the unit up.
func (s *Systemd) start(u *unit, j *job) {
	s.mu.Lock()
	dead := u.dead // of a process that is being stopped
	s.mu.Unlock()
	if dead != nil {
		select {
		case <-dead:
		case <-j.gone:
			return
		}
	}
	s.mu.Lock()
	if u.job != j || s.isClosed() {
		s.mu.Unlock()
		return
	}
	u.result = "success"
	s.become(u, "activating", "start")
	if len(u.Argv) > 0 {
		if err := s.run(u); err != nil {
			u.result, u.status = "exit-code", 203
			s.become(u, "failed", "failed")
			s.finish(u, j, "failed")
			s.mu.Unlock()
			return
		}
	}
	s.mu.Unlock()
	ok := s.wait(j, u.Start)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok || u.job != j {
		return
	}
	result := cmp.Or(u.Start.Result, "done")
	switch {
	case result == "done" && len(u.Argv) > 0 && u.process == nil: // it has died meanwhile
		result = "failed"
	case result == "done":
		s.become(u, u.Active, u.Sub)
	case result == "dependency":
		s.become(u, "inactive", "dead")
	default:
		u.result = cmp.Or(u.Start.Why, "exit-code")
		s.become(u, "failed", "failed")
	}
	s.finish(u, j, result)
}

// run starts its process and sees to its end.
func (s *Systemd) run(u *unit) error {
	p, err := s.launch(u.Argv)
	if err != nil {
		return err
	}
	u.process, u.dead = p, make(chan struct{})
	dead := u.dead
	s.work.Go(func() {
		<-p.Done()
		status, err := p.Wait(time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		close(dead)
		u.process, u.dead, u.status = nil, nil, int32(status)
		killed := u.killed
		u.killed = false
		stopping := u.job != nil && u.job.kind == "stop"
		switch {
		case err == nil && status == 0, status < 0 && stopping && !killed:
			s.become(u, "inactive", "dead")
		case status < 0:
			u.result = "signal"
			s.become(u, "failed", "failed")
		default:
			u.result = "exit-code"
			s.become(u, "failed", "failed")
		}
		if stopping {
			s.finish(u, u.job, "done")
		}
	})
	return nil
}

// stop takes the unit down.
func (s *Systemd) stop(u *unit, j *job) {
	s.mu.Lock()
	s.become(u, "deactivating", "stop-sigterm")
	p, dead := u.process, u.dead
	s.mu.Unlock()
	if p != nil {
		_ = p.SignalGroup(syscall.SIGTERM) // or it is dead, which is seen below
		var late <-chan time.Time
		if u.StopTimeout > 0 {
			late = time.After(u.StopTimeout)
		}
		select {
		case <-dead:
		case <-j.gone:
		case <-late:
			s.mu.Lock()
			s.kill(u, syscall.SIGKILL)
			s.mu.Unlock()
		}
		return // the job is finished with the process
	}
	ok := s.wait(j, u.Stop)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok || u.job != j {
		return
	}
	result := cmp.Or(u.Stop.Result, "done")
	if result == "done" {
		s.become(u, "inactive", "dead")
	} else {
		s.become(u, u.Active, u.Sub)
	}
	s.finish(u, j, result)
}

// kill sends a signal; a unit without a process goes down by SIGKILL, except for
// one that nothing takes down.
func (s *Systemd) kill(u *unit, sig syscall.Signal) {
	if u.process != nil {
		u.killed = u.killed || sig == syscall.SIGKILL
		_ = u.process.SignalGroup(sig) // or it is dead
		return
	}
	if sig == syscall.SIGKILL && u.active != "inactive" && u.Stop.Result == "" {
		s.become(u, "inactive", "dead")
		if u.job != nil {
			close(u.job.gone)
			s.finish(u, u.job, "done")
		}
	}
}

// child is a process of this process.
type child struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// launch starts a child.
func launch(argv []string) (Process, error) {
	c := &child{exec.Command(argv[0], argv[1:]...), make(chan struct{})}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = c.cmd.Wait() // the status is in the state
		close(c.done)
	}()
	return c, nil
}

func (c *child) Done() <-chan struct{} { return c.done }

func (c *child) SignalGroup(sig syscall.Signal) error {
	select {
	case <-c.done:
		return nil
	default:
	}
	if err := syscall.Kill(-c.cmd.Process.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to %s: %w", sig, c.cmd.Path, err)
	}
	return nil
}

func (c *child) Wait(timeout time.Duration) (int, error) {
	select {
	case <-c.done:
		return c.cmd.ProcessState.ExitCode(), nil
	case <-time.After(timeout):
		return 0, fmt.Errorf("%s did not end within %v", c.cmd.Path, timeout)
	}
}
