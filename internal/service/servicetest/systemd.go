// Package servicetest has stand-ins for what package service talks to: a systemd
// behind D-Bus, and a container engine behind its API. Their units and containers
// are real processes or mere states, and can be slow, broken or deaf as a test
// wishes. It is for tests alone.
package servicetest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	systemdName  = "org.freedesktop.systemd1"
	systemdPath  = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerIface = "org.freedesktop.systemd1.Manager"
	unitIface    = "org.freedesktop.systemd1.Unit"
	propsIface   = "org.freedesktop.DBus.Properties"
	busIface     = "org.freedesktop.DBus"
	// owner is systemd's unique name on the bus that it plays as well.
	owner = ":1.1"
)

// Systemd answers on a Unix socket as systemd and the system bus in one: give its
// Address as DBUS_SYSTEM_BUS_ADDRESS. The socket can be reached from any network
// namespace.
type Systemd struct {
	socket string
	work   sync.WaitGroup

	mu      sync.Mutex
	listen  net.Listener
	launch  func(argv []string) (Process, error)
	units   map[string]*unit
	conns   map[*dbus.Conn]io.Closer
	heard   map[*dbus.Conn]bool // where somebody has subscribed to signals
	calls   []string
	lastJob uint32
	deaf    chan struct{} // not nil: calls wait until it is closed
	refuse  *dbus.Error
	tamper  func(*dbus.Message)
	closed  chan struct{}
}

// NewSystemd listens at dir/systemd.sock. The caller closes it.
func NewSystemd(dir string) (*Systemd, error) {
	s := &Systemd{
		socket: filepath.Join(dir, "systemd.sock"), launch: launch,
		units: map[string]*unit{}, conns: map[*dbus.Conn]io.Closer{}, heard: map[*dbus.Conn]bool{}, closed: make(chan struct{}),
	}
	return s, s.Up()
}

// Up makes it reachable again, after Down.
func (s *Systemd) Up() error {
	l, err := net.Listen("unix", s.socket)
	if err != nil {
		return fmt.Errorf("a systemd for tests: %w", err)
	}
	s.mu.Lock()
	s.listen = l
	s.mu.Unlock()
	s.work.Go(func() { s.accept(l) })
	return nil
}

// Down makes it unreachable, as when the bus daemon has died: its socket is gone,
// and all connections are cut. The processes of its units go on.
func (s *Systemd) Down() error {
	s.mu.Lock()
	l := s.listen
	s.mu.Unlock()
	err := l.Close()
	s.Disconnect()
	if errors.Is(err, net.ErrClosed) {
		return nil // it is down already
	}
	return err
}

// Address is where it answers, as D-Bus writes it.
func (s *Systemd) Address() string { return "unix:path=" + s.socket }

// Launch says how processes are started, such as in another network namespace;
// without it they are children of this process.
func (s *Systemd) Launch(f func(argv []string) (Process, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.launch = f
}

// Close ends the processes of all units and all connections, and waits.
func (s *Systemd) Close() error {
	s.Hang(false)
	close(s.closed)
	err := s.Down()
	s.mu.Lock()
	for _, u := range s.units {
		if u.process != nil {
			err = errors.Join(err, u.process.SignalGroup(syscall.SIGKILL))
		}
	}
	s.mu.Unlock()
	s.work.Wait()
	return err
}

// Hang makes it take calls and answer none, until it is called with false. What
// was asked meanwhile is done then.
func (s *Systemd) Hang(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf != nil {
		close(s.deaf)
		s.deaf = nil
	}
	if on {
		s.deaf = make(chan struct{})
	}
}

// Refuse makes it answer each start, stop and kill with an error; nil ends that.
func (s *Systemd) Refuse(err *dbus.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = err
}

// Tamper lets f change each message that it sends; nil ends that.
func (s *Systemd) Tamper(f func(*dbus.Message)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tamper = f
}

// Disconnect cuts all connections, as an upgrade of systemd does.
func (s *Systemd) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
}

// Calls lists what it was asked to do, such as "StartUnit osc.service replace".
// Questions are not among them.
func (s *Systemd) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Join connects it to a real bus as well, as org.freedesktop.systemd1.
func (s *Systemd) Join(address string) error {
	c, err := dbus.Connect(address, dbus.WithOutgoingInterceptor(func(m *dbus.Message) { s.alter(m) }))
	if err != nil {
		return fmt.Errorf("a systemd for tests: %w", err)
	}
	s.adopt(c, c)
	if err := s.export(c); err != nil {
		return err
	}
	if _, err := c.RequestName(systemdName, dbus.NameFlagDoNotQueue); err != nil {
		return fmt.Errorf("a systemd for tests: %w", err)
	}
	return nil
}

func (s *Systemd) alter(m *dbus.Message) {
	s.mu.Lock()
	f := s.tamper
	s.mu.Unlock()
	if f != nil {
		f(m)
	}
}

func (s *Systemd) accept(l net.Listener) {
	for {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		s.work.Go(func() { s.serve(raw) })
	}
}

// serve takes one connection as a bus daemon would, with systemd on it.
func (s *Systemd) serve(raw net.Conn) {
	defer raw.Close()
	if err := authenticate(raw); err != nil {
		return
	}
	c, err := dbus.NewConn(&served{Conn: raw}, dbus.WithOutgoingInterceptor(func(m *dbus.Message) {
		if _, said := m.Headers[dbus.FieldSender]; !said {
			m.Headers[dbus.FieldSender] = dbus.MakeVariant(owner)
		}
		s.alter(m)
	}))
	if err != nil {
		return
	}
	defer c.Close()
	if s.export(c) != nil || c.Export(peer{}, "/org/freedesktop/DBus", busIface) != nil || c.Auth(nil) != nil {
		return
	}
	s.adopt(c, raw)
	<-c.Context().Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Systemd) adopt(c *dbus.Conn, closer io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = closer
	if s.isClosed() {
		closer.Close()
	}
}

func (s *Systemd) export(c *dbus.Conn) error {
	return errors.Join(
		c.Export(manager{s, c}, systemdPath, managerIface),
		c.ExportSubtree(properties{s}, systemdPath+"/unit", propsIface),
	)
}

// authenticate is the server's half of a D-Bus login: everybody may.
func authenticate(c net.Conn) error {
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(oneByte{c}, 16) // nothing of the first message is taken
	if _, err := r.ReadByte(); err != nil {
		return err
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		answer := "ERROR\r\n"
		switch words := strings.Fields(line); {
		case len(words) == 0:
		case words[0] == "BEGIN":
			return c.SetReadDeadline(time.Time{})
		case words[0] == "AUTH" && len(words) == 1:
			answer = "REJECTED EXTERNAL\r\n"
		case words[0] == "AUTH" && len(words) == 2:
			answer = "DATA\r\n"
		case words[0] == "AUTH", words[0] == "DATA":
			answer = "OK 0123456789abcdef0123456789abcdef\r\n"
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return err
		}
	}
}

type oneByte struct{ net.Conn }

func (o oneByte) Read(p []byte) (int, error) { return o.Conn.Read(p[:1]) }

// served is a connection whose client has logged in. The library can only log in
// itself, so it gets to hear that it has.
type served struct {
	net.Conn
	heard, begun bool
}

func (c *served) Read(p []byte) (int, error) {
	if !c.heard {
		c.heard = true
		return copy(p, "REJECTED EXTERNAL\r\nOK 0123456789abcdef0123456789abcdef\r\n"), nil
	}
	return c.Conn.Read(p)
}

func (c *served) Write(p []byte) (int, error) {
	if !c.begun {
		c.begun = bytes.Equal(p, []byte("BEGIN\r\n"))
		return len(p), nil
	}
	if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// peer is the bus daemon itself.
type peer struct{}

func (peer) Hello() (string, *dbus.Error)              { return ":1.2", nil }
func (peer) AddMatch(string) *dbus.Error               { return nil }
func (peer) RemoveMatch(string) *dbus.Error            { return nil }
func (peer) GetNameOwner(string) (string, *dbus.Error) { return owner, nil }

// manager is org.freedesktop.systemd1.Manager.
type manager struct {
	s *Systemd
	c *dbus.Conn
}

// properties are those of the units.
type properties struct{ s *Systemd }

// listed is one row of ListUnitsByNames.
type listed struct {
	Name, Description, Load, Active, Sub, Following string
	Path                                            dbus.ObjectPath
	JobID                                           uint32
	JobType                                         string
	Job                                             dbus.ObjectPath
}

func (m manager) Subscribe() *dbus.Error {
	m.s.obey()
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.s.heard[m.c] = true
	return nil
}

func (m manager) ListUnitsByNames(names []string) ([]listed, *dbus.Error) {
	m.s.obey()
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	var rows []listed
	for _, name := range names {
		rows = append(rows, m.s.unit(name).row())
	}
	return rows, nil
}

func (m manager) GetUnit(name string) (dbus.ObjectPath, *dbus.Error) {
	m.s.obey()
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	return m.s.unit(name).path(), nil
}

func (m manager) LoadUnit(name string) (dbus.ObjectPath, *dbus.Error) { return m.GetUnit(name) }

func (m manager) StartUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	if err := m.s.order("StartUnit", name, mode); err != nil {
		return "", err
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	u := m.s.unit(name)
	switch u.Load {
	case "not-found":
		return "", dbus.NewError("org.freedesktop.systemd1.NoSuchUnit", []any{"Unit " + name + " not found."})
	case "masked":
		return "", dbus.NewError("org.freedesktop.systemd1.UnitMasked", []any{"Unit " + name + " is masked."})
	}
	return m.s.queue(u, "start"), nil
}

func (m manager) StopUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	if err := m.s.order("StopUnit", name, mode); err != nil {
		return "", err
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	u := m.s.unit(name)
	if u.Load != "loaded" && u.active == "inactive" {
		return "", dbus.NewError("org.freedesktop.systemd1.NoSuchUnit", []any{"Unit " + name + " not loaded."})
	}
	return m.s.queue(u, "stop"), nil
}

func (m manager) KillUnit(name, whom string, signal int32) *dbus.Error {
	if err := m.s.order("KillUnit", name, fmt.Sprint(whom, " ", signal)); err != nil {
		return err
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.s.kill(m.s.unit(name), syscall.Signal(signal))
	return nil
}

func (m manager) ResetFailedUnit(name string) *dbus.Error {
	if err := m.s.order("ResetFailedUnit", name); err != nil {
		return err
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if u := m.s.unit(name); u.active == "failed" {
		m.s.become(u, "inactive", "dead")
		u.result = "success"
	}
	return nil
}

func (p properties) Get(msg dbus.Message, iface, name string) (dbus.Variant, *dbus.Error) {
	p.s.obey()
	path, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	for _, u := range p.s.units {
		if u.path() != path {
			continue
		}
		if v, ok := u.property(iface, name); ok {
			return dbus.MakeVariant(v), nil
		}
	}
	return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", []any{"Unknown property " + name})
}

// obey waits while it is deaf.
func (s *Systemd) obey() {
	s.mu.Lock()
	deaf := s.deaf
	s.mu.Unlock()
	if deaf != nil {
		<-deaf
	}
}

// order notes what it was asked to do.
func (s *Systemd) order(words ...string) *dbus.Error {
	s.obey()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, strings.Join(words, " "))
	return s.refuse
}

// emit sends a signal to all who have subscribed.
func (s *Systemd) emit(path dbus.ObjectPath, name string, body ...any) {
	s.mu.Lock()
	var conns []*dbus.Conn
	for c := range s.conns {
		if s.heard[c] {
			conns = append(conns, c)
		}
	}
	s.mu.Unlock()
	for _, c := range conns {
		_ = c.Emit(path, name, body...) // who is gone misses it
	}
}
