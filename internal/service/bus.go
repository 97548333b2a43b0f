package service

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	// callLimit bounds one call, so that a lost answer does not cost the whole
	// time of a start or stop. systemd is deaf for some seconds while it reloads
	// thousands of units.
	callLimit = 10 * time.Second
	// maxUnanswered is how many calls in a row may go unanswered, and maxSilence for
	// how long, before the connection is thrown away.
	maxUnanswered = 3
	maxSilence    = 5 * time.Second
	// maxEarly bounds the ended jobs that are remembered for a call whose answer
	// has not been seen yet.
	maxEarly = 64
)

// bus is one connection to systemd, good until it is lost.
type bus struct {
	systemd    *Systemd
	conn       *dbus.Conn
	wire       *transport // beneath conn
	owner      string     // who is systemd on a bus; under systemd.mu
	unanswered atomic.Int32
}

// job waits for the end of one of systemd's jobs.
type job struct {
	path   dbus.ObjectPath // empty until systemd has named it
	early  map[dbus.ObjectPath]string
	result chan string // its one result: done, failed, timeout, ...
}

// watch wants to know when a unit changes.
type watch struct {
	path dbus.ObjectPath
	wake chan struct{} // has room for one
}

func (w *watch) poke() {
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
}

// subscribe asks for signals. It is the first message to systemd, which overlooks
// it until the next one comes where it has read both this and the end of the
// login at once, as sd-bus does up to version 252 at least; so it is sent again.
func (b *bus) subscribe(ctx context.Context) error {
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		limited, cancel := context.WithTimeout(ctx, wait)
		err := b.conn.Object(systemdName, systemdPath).CallWithContext(limited, managerIface+".Subscribe", dbus.FlagNoAutoStart).Err
		cancel()
		var e dbus.Error
		switch {
		case errors.As(err, &e) && e.Name == "org.freedesktop.systemd1.AlreadySubscribed":
			return nil
		case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
			return err
		}
	}
}

// call asks systemd. The error is an *unreachable when there is no answer, else
// systemd's own.
func (b *bus) call(ctx context.Context, path dbus.ObjectPath, method string, args ...any) ([]any, error) {
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	c := b.conn.Object(systemdName, path).CallWithContext(limited, method, dbus.FlagNoAutoStart, args...)
	if c.Err == nil {
		b.unanswered.Store(0)
		b.systemd.heard()
		return c.Body, nil
	}
	var e dbus.Error
	switch {
	case errors.As(c.Err, &e):
		b.unanswered.Store(0)
		switch e.Name {
		case "org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.ServiceUnknown",
			"org.freedesktop.DBus.Error.NameHasNoOwner", "org.freedesktop.DBus.Error.Disconnected":
			return nil, &unreachable{errors.New(oneLine(e.Error()))}
		}
		b.systemd.heard()
		return nil, refused(e)
	case errors.Is(c.Err, context.DeadlineExceeded):
		if b.unanswered.Add(1) >= maxUnanswered && time.Since(b.systemd.lastHeard()) > maxSilence {
			b.conn.Close()
		}
		return nil, &unreachable{fmt.Errorf("%s to %s: no answer in time", method[len("org.freedesktop."):], b.systemd.socket())}
	case ctx.Err() != nil:
		return nil, &unreachable{ctx.Err()}
	}
	return nil, b.lost(c.Err)
}

// lost is the error of a connection that is no more.
func (b *bus) lost(err error) error {
	return &unreachable{fmt.Errorf("the connection to %s was lost: %w", b.systemd.socket(), b.wire.reason(err))}
}

// refused names what systemd said no to; permission is the usual mistake.
func refused(e dbus.Error) error {
	said := oneLine(e.Error())
	switch e.Name {
	case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.AuthFailed",
		"org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
		said += ": baton must run as root, or a polkit rule must let its user do org.freedesktop.systemd1.manage-units"
	}
	return &refusal{e.Name, said}
}

// refusal is an error that systemd answered with.
type refusal struct{ name, text string }

func (e *refusal) Error() string { return e.text }

// isRefusal tells whether systemd answered with the error of this name.
func isRefusal(err error, name string) bool {
	var r *refusal
	return errors.As(err, &r) && r.name == name
}

// property reads one property of a unit.
func (b *bus) property(ctx context.Context, path dbus.ObjectPath, iface, name string) (any, error) {
	body, err := b.call(ctx, path, propsIface+".Get", iface, name)
	if err != nil {
		return nil, err
	}
	var v dbus.Variant
	if err := dbus.Store(body, &v); err != nil {
		return nil, &unreachable{fmt.Errorf("its answer makes no sense: %w", err)}
	}
	return v.Value(), nil
}

// match adds or removes a rule for signals at the bus daemon; systemd itself
// sends all of them anyway.
func (b *bus) match(ctx context.Context, method, rule string) error {
	if b.systemd.direct {
		return nil
	}
	return b.conn.BusObject().CallWithContext(ctx, busIface+"."+method, 0, rule).Err
}

// queue asks for a job of a unit and waits for its end. The result is empty when
// the job is gone and nobody said how it ended.
func (b *bus) queue(ctx context.Context, method, name string) (result string, err error) {
	s := b.systemd
	j := &job{early: map[dbus.ObjectPath]string{}, result: make(chan string, 1)}
	s.mu.Lock()
	s.jobs[j] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.jobs, j)
		s.mu.Unlock()
	}()
	body, err := b.call(ctx, systemdPath, managerIface+"."+method, name, "replace")
	if err != nil {
		return "", err
	}
	var path dbus.ObjectPath
	if err := dbus.Store(body, &path); err != nil {
		return "", &unreachable{fmt.Errorf("its answer makes no sense: %w", err)}
	}
	s.mu.Lock()
	j.path = path
	early, ended := j.early[path]
	j.early = nil
	s.mu.Unlock()
	if ended {
		return early, nil
	}
	return b.await(ctx, j, name)
}

// await waits for the end of a job. A signal can be lost with whoever sent it,
// so it also looks whether the job is still there.
func (b *bus) await(ctx context.Context, j *job, name string) (string, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for gone := false; ; {
		select {
		case result := <-j.result:
			return result, nil
		case <-b.conn.Context().Done():
			return "", b.lost(dbus.ErrClosed)
		case <-ctx.Done():
			return "", ctx.Err()
		case <-tick.C:
			now, err := b.ask(ctx, name)
			switch {
			case err != nil:
				return "", err
			case now.Job == j.path:
				gone = false
			case gone:
				return "", nil
			default:
				gone = true // its signal may be on the way
			}
		}
	}
}

// DeliverSignal takes a signal from the library's reading goroutine.
func (b *bus) DeliverSignal(iface, member string, sig *dbus.Signal) {
	s := b.systemd
	if !s.direct && sig.Sender == busIface {
		var name, old, owner string
		if member == "NameOwnerChanged" && dbus.Store(sig.Body, &name, &old, &owner) == nil && name == systemdName {
			// What was subscribed to is gone with it, so all begins anew.
			_ = b.wire.fail(errors.New("systemd has left the bus"))
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Anybody on a bus may send anybody a signal.
	if !s.direct && sig.Sender != b.owner {
		return
	}
	switch {
	// Not UnitNew and UnitRemoved: to ask about a unit that nothing refers to loads
	// it for a moment, so that each answer would lead to the next question.
	case iface == propsIface:
		s.poke(sig.Path)
	case iface != managerIface:
	case member == "JobRemoved":
		var (
			id            uint32
			path          dbus.ObjectPath
			unit, outcome string
		)
		if dbus.Store(sig.Body, &id, &path, &unit, &outcome) == nil {
			s.ended(path, oneLine(outcome))
		}
	case member == "Reloading":
		var begins bool
		if dbus.Store(sig.Body, &begins) == nil && !begins {
			s.pokeAll()
		}
	}
}

// ended tells whoever waits for a job. s.mu is held.
func (s *Systemd) ended(path dbus.ObjectPath, result string) {
	for j := range s.jobs {
		switch {
		case j.path == path:
			select {
			case j.result <- result:
			default: // it has one
			}
		case j.path == "" && len(j.early) < maxEarly:
			j.early[path] = result
		}
	}
}

// poke tells whoever watches a unit. s.mu is held.
func (s *Systemd) poke(path dbus.ObjectPath) {
	for w := range s.watches {
		if w.path == path {
			w.poke()
		}
	}
}

// pokeAll tells all. s.mu is held.
func (s *Systemd) pokeAll() {
	for w := range s.watches {
		w.poke()
	}
}
