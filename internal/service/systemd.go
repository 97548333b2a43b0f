package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	// privateSocket is where systemd itself answers root, without a bus daemon.
	privateSocket = "/run/systemd/private"
	// systemBus is where the bus daemon answers by default.
	systemBus = "unix:path=/run/dbus/system_bus_socket"

	systemdName  = "org.freedesktop.systemd1"
	systemdPath  = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerIface = "org.freedesktop.systemd1.Manager"
	propsIface   = "org.freedesktop.DBus.Properties"
	busIface     = "org.freedesktop.DBus"

	// connectLimit bounds the making of a connection.
	connectLimit = 2 * time.Second
	// firstBackoff and lastBackoff are how long nobody tries to connect after the
	// first failure, and after many.
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// errClosed is what is said after Close.
var errClosed = errors.New("baton is shutting down")

// Systemd is one connection to systemd's manager, shared by all units. It is
// made when it is first needed, and made anew when it is lost.
type Systemd struct {
	log     *slog.Logger
	address string // of a bus, or of systemd itself
	direct  bool   // address is systemd's own: there is no bus to greet
	ctx     context.Context
	cancel  context.CancelFunc
	dials   sync.WaitGroup

	mu       sync.Mutex
	bus      *bus          // the present connection; may be lost already
	dialing  chan struct{} // closed when the attempt under way is over; nil: there is none
	err      error         // why there is no connection
	retryAt  time.Time     // no attempt is made before
	backoff  time.Duration
	answered time.Time // when systemd answered last
	jobs     map[*job]struct{}
	watches  map[*watch]struct{}
}

// NewSystemd returns systemd behind a D-Bus address, such as
// unix:path=/run/dbus/system_bus_socket. An empty address means the one in
// DBUS_SYSTEM_BUS_ADDRESS; else, for root, systemd's private socket, which works
// without a bus daemon; else the system bus. Nothing is connected yet. The caller
// owns it and closes it.
func NewSystemd(address string, log *slog.Logger) *Systemd {
	direct := false
	if address == "" {
		address = os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")
	}
	if address == "" {
		address = systemBus
		if _, err := os.Stat(privateSocket); err == nil && os.Geteuid() == 0 {
			address, direct = "unix:path="+privateSocket, true
		}
	}
	return newSystemd(address, direct, log)
}

func newSystemd(address string, direct bool, log *slog.Logger) *Systemd {
	ctx, cancel := context.WithCancel(context.Background())
	return &Systemd{
		log: log, address: address, direct: direct, ctx: ctx, cancel: cancel,
		jobs: map[*job]struct{}{}, watches: map[*watch]struct{}{},
	}
}

// Unit is one unit, named with its suffix. It is a Watcher, too.
func (s *Systemd) Unit(name string) Service {
	return &unit{s, name}
}

// Close gives the connection up, which ends with its context. What still waits for
// it fails.
func (s *Systemd) Close() {
	s.mu.Lock()
	s.cancel() // under the lock: after it nobody begins to dial
	s.mu.Unlock()
	s.dials.Wait()
}

// connect returns the connection, and makes it where there is none. It fails at
// once while the next attempt is not due.
func (s *Systemd) connect(ctx context.Context) (*bus, error) {
	for {
		s.mu.Lock()
		switch {
		case s.ctx.Err() != nil:
			s.mu.Unlock()
			return nil, errClosed
		case s.bus != nil && s.bus.conn.Connected():
			defer s.mu.Unlock()
			return s.bus, nil
		case s.dialing == nil && time.Now().Before(s.retryAt):
			defer s.mu.Unlock()
			return nil, &unreachable{s.err}
		case s.dialing == nil:
			s.dialing = make(chan struct{})
			s.dials.Go(s.redial)
		}
		dialing := s.dialing
		s.mu.Unlock()
		select {
		case <-dialing:
		case <-ctx.Done():
			return nil, &unreachable{fmt.Errorf("connect %s: it does not answer", s.socket())}
		}
	}
}

// redial makes one attempt, on behalf of all who wait for it.
func (s *Systemd) redial() {
	ctx, cancel := context.WithTimeout(s.ctx, connectLimit)
	defer cancel()
	b, err := s.dial(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.err == nil && err != nil
	if err == nil {
		s.bus, s.backoff = b, firstBackoff
		s.err = fmt.Errorf("the connection to %s was lost", s.socket())
	} else {
		s.bus, s.err = nil, err
		s.backoff = min(max(2*s.backoff, firstBackoff), lastBackoff)
	}
	if lost && s.ctx.Err() == nil {
		s.log.Debug("systemd cannot be reached", "err", err)
	}
	s.retryAt = time.Now().Add(s.backoff)
	close(s.dialing)
	s.dialing = nil
}

// dial connects, greets and subscribes.
func (s *Systemd) dial(ctx context.Context) (*bus, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "unix", s.socket())
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", s.socket(), bare(err))
	}
	deadline, _ := ctx.Deadline()
	if err := raw.SetReadDeadline(deadline); err != nil {
		raw.Close()
		return nil, fmt.Errorf("connect %s: %w", s.socket(), err)
	}
	b := &bus{systemd: s, wire: &transport{Conn: raw}}
	// The library's own handler keeps signals without a bound.
	b.conn, err = dbus.NewConn(b.wire, dbus.WithContext(s.ctx), dbus.WithSignalHandler(b))
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("connect %s: %w", s.socket(), err)
	}
	if err := s.greet(ctx, b); err != nil {
		b.conn.Close()
		return nil, err
	}
	if err := raw.SetReadDeadline(time.Time{}); err != nil {
		b.conn.Close()
		return nil, fmt.Errorf("connect %s: %w", s.socket(), err)
	}
	return b, nil
}

// greet does what comes before the first question.
func (s *Systemd) greet(ctx context.Context, b *bus) error {
	// The kernel tells who we are, so no name is sent.
	if err := b.conn.Auth([]dbus.Auth{dbus.AuthExternal("")}); err != nil {
		return s.silent(ctx, b, "log in at", err)
	}
	if !s.direct {
		if err := b.conn.Hello(); err != nil {
			return s.silent(ctx, b, "log in at", err)
		}
		for _, rule := range []string{
			"type='signal',sender='" + busIface + "',interface='" + busIface + "',member='NameOwnerChanged',arg0='" + systemdName + "'",
			"type='signal',sender='" + systemdName + "',path='" + string(systemdPath) + "',interface='" + managerIface + "'",
		} {
			if err := b.match(ctx, "AddMatch", rule); err != nil {
				return s.silent(ctx, b, "listen at", err)
			}
		}
		var owner string
		call := b.conn.BusObject().CallWithContext(ctx, busIface+".GetNameOwner", 0, systemdName)
		if err := call.Store(&owner); err != nil {
			var e dbus.Error
			if errors.As(err, &e) {
				return fmt.Errorf("systemd is not on the bus %s", s.socket())
			}
			return s.silent(ctx, b, "find systemd at", err)
		}
		s.mu.Lock()
		b.owner = owner
		s.mu.Unlock()
	}
	if err := b.subscribe(ctx); err != nil {
		return s.silent(ctx, b, "subscribe to systemd's signals at", err)
	}
	return nil
}

// silent words the failure of a greeting.
func (s *Systemd) silent(ctx context.Context, b *bus, what string, err error) error {
	err = b.wire.reason(err)
	var timeout net.Error
	if ctx.Err() != nil || (errors.As(err, &timeout) && timeout.Timeout()) {
		return fmt.Errorf("connect %s: it does not answer", s.socket())
	}
	return fmt.Errorf("%s %s: %w", what, s.socket(), err)
}

// socket is the path in the address, or in the first of several.
func (s *Systemd) socket() string {
	first, _, _ := strings.Cut(s.address, ";")
	for kv := range strings.SplitSeq(strings.TrimPrefix(first, "unix:"), ",") {
		if v, ok := strings.CutPrefix(kv, "path="); ok {
			if path, err := dbus.UnescapeBusAddressValue(v); err == nil {
				return path
			}
		}
		if v, ok := strings.CutPrefix(kv, "abstract="); ok {
			return "@" + v
		}
	}
	return first
}

// heard notes that systemd has answered.
func (s *Systemd) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered = time.Now()
}

// lastHeard is when systemd answered last.
func (s *Systemd) lastHeard() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answered
}

// hint says what can be done about a systemd that cannot be reached.
func (s *Systemd) hint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such socket: does systemd run here, and dbus, and may baton see " + s.socket() + "?"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there: systemctl status dbus"
	case errors.Is(err, fs.ErrPermission):
		return "baton may not use the socket: it must run as root, or be let on the system bus"
	}
	return "systemctl status dbus; a systemd that hangs is seen in dmesg"
}

// unreachable is the error of a systemd that did not answer, so that nobody
// knows whether it did what it was asked for.
type unreachable struct{ err error }

func (e *unreachable) Error() string { return "systemd does not answer: " + e.err.Error() }
func (e *unreachable) Unwrap() error { return e.err }

// bare is an error without what the net package puts around it.
func bare(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no
	}
	return err
}
