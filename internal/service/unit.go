package service

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"
)

// unit is a unit of systemd.
type unit struct {
	systemd *Systemd
	name    string // with its suffix
}

// snapshot is what systemd says of a unit in one answer, as ListUnitsByNames
// does: the fields are in its order.
type snapshot struct {
	Name        string
	Description string
	Load        string // loaded, not-found, masked, error, bad-setting, ...
	Active      string // active, reloading, inactive, failed, activating, deactivating, ...
	Sub         string // running, exited, dead, mounted, auto-restart, ...
	Following   string
	Path        dbus.ObjectPath // also where name is an alias
	JobID       uint32          // 0: none
	JobType     string
	Job         dbus.ObjectPath
}

// up tells that the unit does what it is for.
func (s snapshot) up() bool {
	return s.Active == "active" || s.Active == "reloading" || s.Active == "refreshing"
}

// down tells that nothing of it runs, and that nobody is about to start it.
func (s snapshot) down() bool {
	return (s.Active == "inactive" || s.Active == "failed") && (s.JobID == 0 || s.JobType == "stop")
}

func (s snapshot) String() string {
	return oneLine(s.Active + " (" + s.Sub + ")")
}

// ask asks for one unit, whether it is loaded or not.
func (b *bus) ask(ctx context.Context, name string) (snapshot, error) {
	body, err := b.call(ctx, systemdPath, managerIface+".ListUnitsByNames", []string{name})
	if err != nil {
		return snapshot{}, err
	}
	var list []snapshot
	if err := dbus.Store(body, &list); err != nil || len(list) != 1 {
		return snapshot{}, &unreachable{errors.New("its answer makes no sense")}
	}
	return list[0], nil
}

// Status asks systemd. A unit that systemd is about to start again by itself
// (Restart=, "activating (auto-restart)") is Starting, not Failed: whoever would
// bring it back as well had two masters over it.
func (u *unit) Status(ctx context.Context) Status {
	b, err := u.systemd.connect(ctx)
	if err != nil {
		return u.unknown(err)
	}
	now, err := b.ask(ctx, u.name)
	if err != nil {
		return u.unknown(err)
	}
	st := Status{Text: now.String()}
	switch {
	case now.up():
		st.State = Running
	case now.Active == "activating":
		st.State = Starting
		if now.Sub == "auto-restart" {
			st.Hint = "systemd restarts it by itself (Restart=): " + u.journal()
		}
	case now.Active == "deactivating":
		st.State = Stopping
	case now.Active == "failed":
		st.State = Failed
		st.Text = "failed"
		if why := b.why(ctx, now); why != "" {
			st.Text += ": " + why
		}
		st.Hint = u.journal()
	case now.Active == "inactive":
		st.State = Stopped
	default: // maintenance, and what is yet to be invented
	}
	if text, hint := u.unloadable(ctx, b, now); text != "" {
		st.Hint = hint
		if st.State == Stopped {
			st.Text = text
		} else {
			st.Text += ", " + text
		}
	}
	return st
}

func (u *unit) unknown(err error) Status {
	st := Status{State: Unknown, Text: oneLine(err.Error())}
	var gone *unreachable
	if errors.As(err, &gone) {
		st.Hint = u.systemd.hint(err)
	}
	return st
}

func (u *unit) journal() string { return "journalctl -u " + u.name }

// unloadable says why a unit cannot be started at all; empty where it can.
func (u *unit) unloadable(ctx context.Context, b *bus, now snapshot) (text, hint string) {
	switch now.Load {
	case "loaded", "stub", "merged":
		return "", ""
	case "not-found":
		return "no such unit", "install it, or mend the name; after a change of its file: systemctl daemon-reload"
	case "masked":
		return "masked", "systemctl unmask " + u.name
	}
	// error, bad-setting
	text = "its file cannot be loaded (" + oneLine(now.Load) + ")"
	var reason []any
	if v, err := b.property(ctx, now.Path, "org.freedesktop.systemd1.Unit", "LoadError"); err == nil {
		reason, _ = v.([]any) // name and message of the error
	}
	if len(reason) == 2 {
		if message, _ := reason[1].(string); message != "" {
			text += ": " + oneLine(message)
		}
	}
	return text, "systemd-analyze verify " + u.name
}

// why is the reason of a failure in systemd's word, such as exit-code, timeout or
// oom-kill; empty where it does not tell.
func (b *bus) why(ctx context.Context, now snapshot) string {
	iface := ""
	switch kind := now.Name[strings.LastIndexByte(now.Name, '.')+1:]; kind {
	case "service", "mount", "socket", "swap", "path", "timer", "automount", "scope":
		iface = "org.freedesktop.systemd1." + strings.ToUpper(kind[:1]) + kind[1:]
	default:
		return ""
	}
	v, err := b.property(ctx, now.Path, iface, "Result")
	if err != nil {
		return ""
	}
	result, _ := v.(string)
	if result == "success" {
		return ""
	}
	if result == "exit-code" && iface == "org.freedesktop.systemd1.Service" {
		if v, err := b.property(ctx, now.Path, iface, "ExecMainStatus"); err == nil {
			if status, ok := v.(int32); ok && status != 0 {
				return fmt.Sprintf("exit-code %d", status)
			}
		}
	}
	return oneLine(result)
}

// Watch follows systemd's signals: of the unit, and that it has read all files anew.
func (u *unit) Watch(ctx context.Context, changed func()) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.systemd.ctx, cancel)()
	// How often it is connected to is not up to those who watch.
	follow(ctx, pause, changed, func(changed func()) { u.watch(ctx, changed) })
}

// watch watches over one connection, until it is lost.
func (u *unit) watch(ctx context.Context, changed func()) {
	s := u.systemd
	b, err := s.connect(ctx)
	if err != nil {
		return
	}
	now, err := b.ask(ctx, u.name)
	if err != nil {
		return
	}
	w := &watch{now.Path, make(chan struct{}, 1)}
	s.mu.Lock()
	s.watches[w] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watches, w)
		s.mu.Unlock()
	}()
	rule := "type='signal',sender='" + systemdName + "',path='" + string(now.Path) + "',interface='" + propsIface + "',member='PropertiesChanged'"
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if b.match(limited, "AddMatch", rule) != nil {
		return
	}
	defer func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawLimit)
		defer cancel()
		_ = b.match(limited, "RemoveMatch", rule) // the rule dies with the connection, too
	}()
	changed() // what was missed until now
	for {
		select {
		case <-w.wake:
			changed()
		case <-b.conn.Context().Done():
			return
		case <-ctx.Done():
			return
		}
	}
}
