package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/command"
	"baton/internal/service"
)

const (
	// maxRequests is how many requests are worked at; more wait in the kernel.
	maxRequests = 256
	// talkLimit bounds the reading and the writing of one message: a client is on
	// this host, and does nothing else meanwhile.
	talkLimit = 2 * time.Second
	// endLimit is how long the server waits, when it ends, for what runs.
	endLimit = 5 * time.Second
	// strangerPause is how often the log says who else has asked.
	strangerPause = time.Minute
)

// Peers are who may ask: root, and whoever is named here.
type Peers struct {
	UID int // of the daemon; 0: root alone
	PID int // of the one process that may ask, whoever it is by now; 0: any of those users
}

// Server does what is asked for.
type Server struct {
	peers   Peers
	policy  *Policy
	systemd *service.Systemd
	log     *slog.Logger
	slots   chan struct{}

	run     command.RunFunc
	allowed func(command.Spec) (command.Spec, error) // policy.Command, but in a test
	reboot  func() error

	stranger atomic.Int64 // when the log said who else has asked
}

// Options are what a Server needs. It owns none of it.
type Options struct {
	Peers   Peers
	Policy  *Policy
	Run     command.RunFunc
	Systemd *service.Systemd
	Reboot  func() error // returns only where it failed
	Log     *slog.Logger
}

// NewServer returns a Server that is not yet serving.
func NewServer(o Options) *Server {
	return &Server{
		peers: o.Peers, policy: o.Policy, systemd: o.Systemd, log: o.Log, run: o.Run, reboot: o.Reboot,
		allowed: o.Policy.Command, slots: make(chan struct{}, maxRequests),
	}
}

// Serve answers until ctx ends, and closes l. Then it begins nothing more, and
// waits for what runs, for at most five seconds; what runs longer is left to
// itself. It returns an error where it cannot listen any more.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	var requests sync.WaitGroup
	var failed error
	for {
		c, err := l.AcceptUnix()
		if err != nil && ctx.Err() == nil && isShortage(err) {
			s.log.Warn("the runner cannot take a request", "err", err)
			time.Sleep(100 * time.Millisecond) // what is short is given back by others
			continue
		}
		if err != nil {
			if ctx.Err() == nil {
				failed = fmt.Errorf("take requests: %w", err)
			}
			break
		}
		if err := s.admit(c); err != nil {
			s.refuse(c, err)
			continue
		}
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			c.Close()
			continue
		}
		requests.Go(func() {
			defer func() { <-s.slots }()
			defer c.Close()
			s.serve(ctx, c)
		})
	}
	ended := make(chan struct{})
	go func() { requests.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(endLimit):
		s.log.Warn("the runner ends, and commands that it has started run on")
	}
	return failed
}

func isShortage(err error) bool {
	return slices.ContainsFunc([]error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.ECONNABORTED}, func(e error) bool { return errors.Is(err, e) })
}

// admit asks the kernel who has connected. What a client says of itself counts
// nothing, and so does what program it is: whoever is the daemon's user can be the
// daemon.
func (s *Server) admit(c *net.UnixConn) error {
	cred, err := credentials(c)
	if err != nil {
		return fmt.Errorf("nobody knows who you are: %w", err)
	}
	switch p := s.peers; {
	case p.PID != 0 && int(cred.Pid) == p.PID:
		return nil
	case p.PID != 0:
		return fmt.Errorf("process %d is not the baton that has started this runner (%d)", cred.Pid, p.PID)
	case cred.Uid == 0, int(cred.Uid) == p.UID:
		return nil
	}
	return fmt.Errorf("user %d (process %d) is neither root nor baton's user (%d)", cred.Uid, cred.Pid, s.peers.UID)
}

// refuse tells a stranger so. It waits for nobody.
func (s *Server) refuse(c *net.UnixConn, why error) {
	now := time.Now().UnixNano()
	if last := s.stranger.Load(); (last == 0 || now-last > int64(strangerPause)) && s.stranger.CompareAndSwap(last, now) {
		s.log.Warn("somebody else has asked the runner, and was refused", "err", why)
	}
	_ = c.SetDeadline(time.Now().Add(time.Millisecond)) // an empty buffer takes it at once
	_ = write(c, hello{Version: Version, Refused: why.Error()})
	_ = c.Close()
}

// serve works at one request. ctx ends with the server.
func (s *Server) serve(ctx context.Context, c *net.UnixConn) {
	_ = c.SetDeadline(time.Now().Add(talkLimit))
	if write(c, hello{Version: Version}) != nil {
		return
	}
	var r request
	if err := read(c, &r); err != nil {
		if !isEnd(err) {
			s.say(c, answer{Refused: err.Error()})
		}
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	if err := r.check(); err != nil {
		s.say(c, answer{Refused: err.Error()})
		return
	}
	if r.Kind == watchUnit {
		s.watch(ctx, c, r)
		return
	}
	// A client that is gone ends nothing, one that says so does: so it was when the
	// daemon itself ran the commands.
	work, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		var more request
		if read(c, &more) == nil && more.Kind == cancelCommand {
			cancel()
		}
	}()
	if r.Kind == runCommand {
		s.command(work, c, r)
		return
	}
	s.say(c, s.do(work, r))
}

// say sends an answer to a client that may be gone.
func (s *Server) say(c *net.UnixConn, a answer) {
	_ = c.SetWriteDeadline(time.Now().Add(talkLimit))
	if err := write(c, a); err != nil && !isEnd(err) {
		s.log.Debug("an answer of the runner was not taken", "err", err)
	}
}

// command runs one, as the configuration has it.
func (s *Server) command(ctx context.Context, c *net.UnixConn, r request) {
	spec, err := s.allowed(r.spec())
	if err != nil {
		s.log.Warn("a command was refused", "command", r.words(), "err", err)
		s.say(c, answer{Refused: err.Error()})
		return
	}
	res := s.run(ctx, spec)
	a := answer{Result: &result{
		TimedOut: res.TimedOut, Timeout: res.Timeout, Exit: res.Exit, Signal: res.Signal, Output: res.Output, Left: res.Left != nil,
	}}
	a.failed(res.Err)
	s.say(c, a)
	if res.Left != nil {
		<-res.Left
		s.say(c, answer{})
	}
}

// words is the command of a request, for a log.
func (r *request) words() string {
	text := fmt.Sprintf("%q", texts(r.Argv))
	return text[:min(len(text), 400)]
}

// do does everything that has one answer.
func (s *Server) do(ctx context.Context, r request) (a answer) {
	ctx, cancel := context.WithTimeout(ctx, max(r.Timeout, time.Millisecond))
	defer cancel()
	refused := func(err error) answer {
		s.log.Warn("a request was refused", "request", string(r.Kind), "err", err)
		return answer{Refused: err.Error()}
	}
	switch r.Kind {
	case startUnit, stopUnit:
		unit, err := s.managed(r)
		if err != nil {
			return refused(err)
		}
		if r.Kind == startUnit {
			a.failed(unit.Start(ctx))
		} else {
			a.failed(unit.Stop(ctx))
		}
	case askUnit:
		unit, err := s.managed(r)
		if err != nil {
			return refused(err)
		}
		status := unit.Status(ctx)
		a.Status = &status
	case askCheck:
		probe, err := s.policy.check(r.Check)
		if err != nil {
			return refused(err)
		}
		health, err := probe(ctx)
		a.failed(err)
		a.Health = &health
	case rebootHost:
		if err := s.policy.reboot(); err != nil {
			return refused(err)
		}
		s.log.Error("this host is rebooted: a service does not stop, and the configuration says on_stop_failure: reboot")
		a.failed(s.reboot())
	case rereadConfig:
		a.failed(s.policy.Reload())
	default:
		return refused(fmt.Errorf("nobody knows how to %q", r.Kind))
	}
	return a
}

// managed is the unit or container of a request, where the configuration has it.
func (s *Server) managed(r request) (service.Service, error) {
	change := r.Kind != askUnit && r.Kind != watchUnit
	if r.Container == nil {
		if !change {
			return nil, errors.New("everybody can ask systemd")
		}
		if err := s.policy.unit(r.Unit); err != nil {
			return nil, err
		}
		return s.systemd.Unit(r.Unit), nil
	}
	if err := s.policy.container(*r.Container, change); err != nil {
		return nil, err
	}
	return service.NewContainer(r.Container.Socket, r.Container.Name), nil
}

// watch says when the status of a container may have changed, for as long as
// somebody listens.
func (s *Server) watch(ctx context.Context, c *net.UnixConn, r request) {
	unit, err := s.managed(r)
	watcher, ok := unit.(service.Watcher)
	switch {
	case err != nil:
		s.say(c, answer{Refused: err.Error()})
		return
	case !ok:
		s.say(c, answer{Refused: "nobody can watch it"})
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		var more request
		_ = read(c, &more) // the client says nothing: it is the end
	}()
	watcher.Watch(ctx, func() {
		_ = c.SetWriteDeadline(time.Now().Add(talkLimit))
		if write(c, answer{}) != nil {
			cancel()
		}
	})
}

// Listen makes the socket at a path, which only group, or without one only root,
// can connect to. It takes away one that a dead runner has left.
func Listen(path string, group int) (*net.UnixListener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if c, err := net.DialTimeout("unix", path, talkLimit); err == nil {
			c.Close()
			return nil, fmt.Errorf("listen on %s: a runner listens there already", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove an old socket: %w", err)
		}
	}
	// In a folder that others can write the moment until the mode is set would
	// count; whoever connects then is asked who he is all the same.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make the runner's socket: %w", err)
	}
	err = os.Chmod(path, 0o660)
	if err == nil && group >= 0 {
		err = os.Chown(path, -1, group)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("make the runner's socket: %w", err)
	}
	return l, nil
}
