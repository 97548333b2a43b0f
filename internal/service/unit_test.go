package service

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"baton/internal/lab"
	"baton/internal/service/servicetest"
)

// Units can run in the hosts of a laboratory.
var _ servicetest.Process = (*lab.Process)(nil)

func TestUnit_Status(t *testing.T) {
	type is struct{ active, sub, result string }
	tests := map[string]struct {
		unit servicetest.Unit
		is   is
		want Status
	}{
		"running":      {servicetest.Unit{}, is{"active", "running", ""}, Status{Running, "active (running)", ""}},
		"oneshot":      {servicetest.Unit{}, is{"active", "exited", ""}, Status{Running, "active (exited)", ""}},
		"reloading":    {servicetest.Unit{}, is{"reloading", "reload", ""}, Status{Running, "reloading (reload)", ""}},
		"starting":     {servicetest.Unit{}, is{"activating", "start-pre", ""}, Status{Starting, "activating (start-pre)", ""}},
		"auto-restart": {servicetest.Unit{}, is{"activating", "auto-restart", "exit-code"}, Status{Starting, "activating (auto-restart)", "systemd restarts it by itself (Restart=): journalctl -u osc.service"}},
		"stopping":     {servicetest.Unit{}, is{"deactivating", "stop-sigterm", ""}, Status{Stopping, "deactivating (stop-sigterm)", ""}},
		"failed":       {servicetest.Unit{}, is{"failed", "failed", "oom-kill"}, Status{Failed, "failed: oom-kill", "journalctl -u osc.service"}},
		"stopped":      {servicetest.Unit{}, is{"inactive", "dead", ""}, Status{Stopped, "inactive (dead)", ""}},
		"new word":     {servicetest.Unit{}, is{"maintenance", "cleaning", ""}, Status{Unknown, "maintenance (cleaning)", ""}},
		"no such unit": {servicetest.Unit{Load: "not-found"}, is{"inactive", "dead", ""}, Status{Stopped, "no such unit", "install it, or mend the name; after a change of its file: systemctl daemon-reload"}},
		"file removed": {servicetest.Unit{Load: "not-found"}, is{"active", "running", ""}, Status{Running, "active (running), no such unit", "install it, or mend the name; after a change of its file: systemctl daemon-reload"}},
		"masked":       {servicetest.Unit{Load: "masked"}, is{"inactive", "dead", ""}, Status{Stopped, "masked", "systemctl unmask osc.service"}},
		"bad file":     {servicetest.Unit{Load: "bad-setting", LoadError: "Unit has no ExecStart="}, is{"inactive", "dead", ""}, Status{Stopped, "its file cannot be loaded (bad-setting): Unit has no ExecStart=", "systemd-analyze verify osc.service"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.unit.Name = "osc.service"
			fake, s := fakeSystemd(t, tt.unit)
			fake.Set("osc.service", tt.is.active, tt.is.sub, tt.is.result)
			if diff := cmp.Diff(tt.want, s.Unit("osc.service").Status(in(t, 10*time.Second))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnit_Start(t *testing.T) {
	tests := map[string]struct {
		name  string // osc.service unless said
		unit  servicetest.Unit
		was   string // its active state before; inactive unless said
		err   string
		calls []string
		is    string
	}{
		"at once":      {is: "active (running)", calls: []string{"StartUnit osc.service replace"}},
		"slow":         {unit: servicetest.Unit{Start: servicetest.Job{Delay: 50 * time.Millisecond}}, is: "active (running)", calls: []string{"StartUnit osc.service replace"}},
		"a mount":      {name: "data.mount", unit: servicetest.Unit{Sub: "mounted"}, is: "active (mounted)", calls: []string{"StartUnit data.mount replace"}},
		"a target":     {name: "osc.target", unit: servicetest.Unit{Sub: "active"}, is: "active (active)", calls: []string{"StartUnit osc.target replace"}},
		"a oneshot":    {unit: servicetest.Unit{Sub: "exited"}, is: "active (exited)", calls: []string{"StartUnit osc.service replace"}},
		"runs already": {was: "active", is: "active (was)"},
		"failed before": {was: "failed", is: "active (running)",
			calls: []string{"ResetFailedUnit osc.service", "StartUnit osc.service replace"}},
		"ends at once": {unit: servicetest.Unit{Active: "inactive", Sub: "dead"}, is: "inactive (dead)", calls: []string{"StartUnit osc.service replace"},
			err: "start osc.service: it is inactive (dead) after its start: it ended by itself (Type=oneshot then needs RemainAfterExit=yes), or one of its conditions does not hold; see systemctl status osc.service"},
		"restarts": {unit: servicetest.Unit{Active: "activating", Sub: "auto-restart"}, is: "activating (auto-restart)", calls: []string{"StartUnit osc.service replace"},
			err: "start osc.service: it came up and died: activating (auto-restart); see journalctl -u osc.service"},
		"fails": {unit: servicetest.Unit{Start: servicetest.Job{Result: "failed"}}, is: "failed (failed)", calls: []string{"StartUnit osc.service replace"},
			err: "start osc.service: job failed: exit-code; see journalctl -u osc.service"},
		"times out": {unit: servicetest.Unit{Start: servicetest.Job{Result: "timeout", Why: "timeout"}}, is: "failed (failed)", calls: []string{"StartUnit osc.service replace"},
			err: "start osc.service: job timeout: timeout; see journalctl -u osc.service"},
		"dependency": {unit: servicetest.Unit{Start: servicetest.Job{Result: "dependency"}}, is: "inactive (dead)", calls: []string{"StartUnit osc.service replace"},
			err: "start osc.service: job dependency: a unit that it requires did not start; see systemctl list-dependencies osc.service"},
		"condition": {unit: servicetest.Unit{Unmet: true}, is: "inactive (dead)", calls: []string{"StartUnit osc.service replace"},
			err: "start osc.service: it is inactive (dead) after its start: it ended by itself (Type=oneshot then needs RemainAfterExit=yes), or one of its conditions does not hold; see systemctl status osc.service"},
		"no such unit": {unit: servicetest.Unit{Load: "not-found"}, is: "inactive (dead)",
			err: "start osc.service: no such unit: install it, or mend the name; after a change of its file: systemctl daemon-reload"},
		"masked": {unit: servicetest.Unit{Load: "masked"}, is: "inactive (dead)", err: "start osc.service: masked: systemctl unmask osc.service"},
		"no program": {unit: servicetest.Unit{Argv: []string{"/nowhere/osc"}}, is: "failed (failed)", calls: []string{"StartUnit osc.service replace"},
			err: "start osc.service: job failed: exit-code 203; see journalctl -u osc.service"},
		"dies": {unit: servicetest.Unit{Argv: []string{"sh", "-c", "exit 3"}, Start: servicetest.Job{Delay: time.Second}}, is: "failed (failed)", calls: []string{"StartUnit osc.service replace"},
			err: "start osc.service: job failed: exit-code 3; see journalctl -u osc.service"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.name == "" {
				tt.name = "osc.service"
			}
			tt.unit.Name = tt.name
			fake, s := fakeSystemd(t, tt.unit)
			if tt.was != "" {
				fake.Set(tt.name, tt.was, "was", "")
			}
			got := ""
			if err := s.Unit(tt.name).Start(in(t, 20*time.Second)); err != nil {
				got = err.Error()
			}
			if got != tt.err {
				t.Errorf("got  %q\nwant %q", got, tt.err)
			}
			if is := fake.State(tt.name); is != tt.is {
				t.Errorf("it is %s, want %s", is, tt.is)
			}
			if diff := cmp.Diff(tt.calls, fake.Calls()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// A start that is given up must not come up later.
func TestUnit_StartGivenUp(t *testing.T) {
	fake, s := fakeSystemd(t, servicetest.Unit{Name: "osc.service", Start: servicetest.Job{Hang: true}})
	ctx, cancel := context.WithCancel(t.Context())
	started := background(func() error { return s.Unit("osc.service").Start(ctx) })
	eventually(t, "it starts", func() bool { return fake.State("osc.service") == "activating (start)" })
	cancel()
	if err := <-started; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	eventually(t, "it is stopped", func() bool { return fake.State("osc.service") == "inactive (dead)" })
	if diff := cmp.Diff([]string{"StartUnit osc.service replace", "StopUnit osc.service replace"}, fake.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestUnit_StartSomebodyStops(t *testing.T) {
	fake, s := fakeSystemd(t, servicetest.Unit{Name: "osc.service", Start: servicetest.Job{Hang: true}})
	started := background(func() error { return s.Unit("osc.service").Start(in(t, 20*time.Second)) })
	eventually(t, "it starts", func() bool { return fake.State("osc.service") == "activating (start)" })
	fake.StopUnit("osc.service")
	if err := <-started; err == nil || !strings.HasPrefix(err.Error(), "start osc.service: job canceled: somebody else stops it") {
		t.Errorf("got %v", err)
	}
}

// The job has ended before its name is known.
func TestUnit_StartEndsEarly(t *testing.T) {
	fake, s := fakeSystemd(t, servicetest.Unit{Name: "osc.service", Start: servicetest.Job{Result: "dependency"}})
	ended := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for j := range s.jobs {
			if len(j.early) > 0 {
				return true
			}
		}
		return false
	}
	fake.Tamper(func(m *dbus.Message) {
		if m.Type != dbus.TypeMethodReply || len(m.Body) != 1 {
			return
		}
		if _, named := m.Body[0].(dbus.ObjectPath); named {
			for !ended() && t.Context().Err() == nil {
				runtime.Gosched()
			}
		}
	})
	err := s.Unit("osc.service").Start(in(t, 20*time.Second))
	if err == nil || !strings.HasPrefix(err.Error(), "start osc.service: job dependency: ") {
		t.Errorf("got %v", err)
	}
}

func TestUnit_Stop(t *testing.T) {
	tests := map[string]struct {
		unit  servicetest.Unit
		was   string
		err   string // how it begins
		calls []string
	}{
		"at once":      {was: "active", calls: []string{"StopUnit osc.service replace"}},
		"slow":         {unit: servicetest.Unit{Stop: servicetest.Job{Delay: 50 * time.Millisecond}}, was: "active", calls: []string{"StopUnit osc.service replace"}},
		"not running":  {was: "inactive"},
		"failed":       {was: "failed"},
		"no such unit": {unit: servicetest.Unit{Load: "not-found"}, was: "inactive"},
		"hangs":        {unit: servicetest.Unit{Stop: servicetest.Job{Hang: true}}, was: "active", calls: []string{"StopUnit osc.service replace", "KillUnit osc.service all 9"}},
		"coming up":    {unit: servicetest.Unit{Start: servicetest.Job{Hang: true}}, was: "activating", calls: []string{"StopUnit osc.service replace"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.unit.Name = "osc.service"
			fake, s := fakeSystemd(t, tt.unit)
			fake.Set("osc.service", tt.was, "was", "")
			if tt.was == "activating" {
				fake.StartUnit("osc.service")
			}
			if err := s.Unit("osc.service").Stop(in(t, 4*time.Second)); err != nil {
				t.Error(err)
			}
			if is := fake.State("osc.service"); is != "inactive (dead)" && is != tt.was+" (was)" {
				t.Errorf("it is %s", is)
			}
			if diff := cmp.Diff(tt.calls, fake.Calls()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// It is unloaded between the question and the order.
func TestUnit_StopUnloaded(t *testing.T) {
	fake, s := fakeSystemd(t, servicetest.Unit{Name: "osc.service"})
	fake.Set("osc.service", "active", "running", "")
	fake.Refuse(dbus.NewError("org.freedesktop.systemd1.NoSuchUnit", []any{"Unit osc.service not loaded."}))
	if err := s.Unit("osc.service").Stop(in(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
}

// A mount that is in use does not go away, whoever is killed.
func TestUnit_StopFails(t *testing.T) {
	fake, s := fakeSystemd(t, servicetest.Unit{Name: "data.mount", Sub: "mounted", Stop: servicetest.Job{Result: "failed"}})
	fake.Set("data.mount", "active", "mounted", "")
	err := s.Unit("data.mount").Stop(in(t, time.Second))
	want := "stop data.mount: it is active (mounted), and SIGKILL did not end it: job failed: it is active (mounted)"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestUnit_Process(t *testing.T) {
	fake, s := fakeSystemd(t,
		servicetest.Unit{Name: "good.service", Argv: []string{"sleep", "100"}},
		// As a Java program ends; it is the stop that makes it fail.
		servicetest.Unit{Name: "java.service", Argv: []string{"sh", "-c", "trap 'exit 143' TERM; while :; do sleep 0.02; done"}},
		servicetest.Unit{Name: "stubborn.service", Argv: []string{"sh", "-c", "trap '' TERM; while :; do sleep 0.02; done"}},
	)
	for _, name := range []string{"good.service", "java.service", "stubborn.service"} {
		u := s.Unit(name)
		if err := u.Start(in(t, 10*time.Second)); err != nil {
			t.Fatal(err)
		}
		if st := u.Status(in(t, 10*time.Second)); st.State != Running {
			t.Fatalf("%s is %+v", name, st)
		}
		if err := u.Stop(in(t, 4*time.Second)); err != nil {
			t.Error(err)
		}
		if st := u.Status(in(t, 10*time.Second)); st.State != Stopped {
			t.Errorf("%s is %+v", name, st)
		}
	}
	if calls := fake.Calls(); !slices.Contains(calls, "KillUnit stubborn.service all 9") || slices.Contains(calls, "KillUnit java.service all 9") {
		t.Errorf("calls %q", calls)
	}
}

func TestUnit_Refused(t *testing.T) {
	fake, s := fakeSystemd(t, servicetest.Unit{Name: "osc.service"})
	fake.Refuse(dbus.NewError("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", []any{"Interactive authentication required."}))
	want := "start osc.service: Interactive authentication required.: baton must run as root, or a polkit rule must let its user do org.freedesktop.systemd1.manage-units"
	if err := s.Unit("osc.service").Start(in(t, 10*time.Second)); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	fake.Set("osc.service", "active", "running", "")
	want = strings.Replace(want, "start", "stop", 1)
	if err := s.Unit("osc.service").Stop(in(t, 10*time.Second)); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// watching counts the calls of changed.
func watching(t *testing.T, w Watcher) *atomic.Int32 {
	n := new(atomic.Int32)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Watch(ctx, func() { n.Add(1) })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return n
}

func TestUnit_Watch(t *testing.T) {
	fake, s := fakeSystemd(t, servicetest.Unit{Name: "osc.service", Argv: []string{"sleep", "100"}}, servicetest.Unit{Name: "other.service"})
	u := s.Unit("osc.service")
	n := watching(t, u.(Watcher))
	eventually(t, "it watches", func() bool { return n.Load() == 1 })
	if err := u.Start(in(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the start is told", func() bool { return n.Load() > 1 })
	before := n.Load()
	fake.Kill("osc.service", syscall.SIGKILL)
	eventually(t, "the death is told", func() bool {
		return n.Load() > before && u.Status(in(t, time.Second)).State == Failed
	})
	// What happens to another unit is nobody's business here; what comes after it
	// shows that it was seen.
	before = n.Load()
	fake.Set("other.service", "active", "running", "")
	fake.Disconnect()
	eventually(t, "it is back", func() bool { return n.Load() > before })
	before = n.Load()
	fake.Set("osc.service", "active", "running", "")
	eventually(t, "it watches again", func() bool { return n.Load() > before })

	// Without systemd nobody knows, which is told once.
	before = n.Load()
	if err := fake.Down(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss is told", func() bool { return n.Load() > before })
	if st := u.Status(in(t, time.Second)); st.State != Unknown {
		t.Errorf("got %+v, want unknown", st)
	}
	before = n.Load()
	eventually(t, "it has tried again and again", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.backoff >= 8*firstBackoff
	})
	if n.Load() != before {
		t.Errorf("told %d times that it is lost", n.Load()-before+1)
	}
	if err := fake.Up(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { return n.Load() > before })
}
