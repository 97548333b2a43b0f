package service

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"baton/internal/service/servicetest"
	"baton/internal/trial"
)

// listening serves each connection to a socket with f.
func listening(t *testing.T, path string, f func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
}

// Whatever is at the socket, the answer is Unknown, in time, with the reason.
func TestSystemd_Gone(t *testing.T) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	silent := func(net.Conn) { <-over }
	tests := map[string]struct {
		at   func(t *testing.T, path string)
		text string // PATH is the socket
		hint string // how it begins
	}{
		"no socket": {func(*testing.T, string) {}, "systemd does not answer: connect PATH: no such file or directory", "there is no such socket"},
		"nobody listens": {func(t *testing.T, path string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			l.Close()
		}, "systemd does not answer: connect PATH: connection refused", "nobody listens there"},
		"hangs":  {func(t *testing.T, path string) { listening(t, path, silent) }, "systemd does not answer: connect PATH: it does not answer", "systemctl status dbus"},
		"closes": {func(t *testing.T, path string) { listening(t, path, func(net.Conn) {}) }, "", ""},
		"talks for ever": {func(t *testing.T, path string) {
			listening(t, path, func(c net.Conn) {
				for {
					if _, err := io.WriteString(c, "REJECTED and more"); err != nil {
						return
					}
				}
			})
		}, "systemd does not answer: log in at PATH: the other side does not speak D-Bus", "systemctl status dbus"},
		"another protocol": {func(t *testing.T, path string) {
			listening(t, path, func(c net.Conn) {
				r := bufio.NewReader(c)
				for _, answer := range []string{"REJECTED EXTERNAL\r\n", "OK 00\r\n", "HTTP/1.0 200 OK\r\n\r\n"} {
					if _, err := r.ReadString('\n'); err != nil {
						return
					}
					if _, err := io.WriteString(c, answer); err != nil {
						return
					}
				}
				<-over
			})
		}, "systemd does not answer: log in at PATH: the other side does not speak D-Bus", "systemctl status dbus"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t)
			path := filepath.Join(trial.ShortDir(t), "bus")
			tt.at(t, path)
			s := NewSystemd("unix:path="+path, slog.New(slog.DiscardHandler))
			defer s.Close()
			for range 2 { // the second time without an attempt, or with a new one
				st := s.Unit("osc.service").Status(in(t, 300*time.Millisecond))
				want := strings.Replace(tt.text, "PATH", path, 1)
				if st.State != Unknown || (want != "" && st.Text != want) || !strings.HasPrefix(st.Hint, tt.hint) {
					t.Errorf("got %+v\nwant %q", st, want)
				}
			}
			err := s.Unit("osc.service").Stop(in(t, 300*time.Millisecond))
			if err == nil || !strings.HasPrefix(err.Error(), "stop osc.service: systemd does not answer: ") {
				t.Errorf("stop: %v", err)
			}
		})
	}
}

// A systemd that hangs after it was connected to.
func TestSystemd_Hangs(t *testing.T) {
	fake, s := fakeSystemd(t, servicetest.Unit{Name: "osc.service"})
	u := s.Unit("osc.service")
	if st := u.Status(in(t, 10*time.Second)); st.State != Stopped {
		t.Fatalf("got %+v", st)
	}
	fake.Hang(true)
	st := u.Status(in(t, 100*time.Millisecond))
	if st.State != Unknown || !strings.Contains(st.Text, "systemd1.Manager.ListUnitsByNames to ") || !strings.HasSuffix(st.Text, "no answer in time") {
		t.Errorf("got %+v", st)
	}
	fake.Hang(false)
	eventually(t, "it answers again", func() bool { return u.Status(in(t, time.Second)).State == Stopped })
}

// A peer that reads nothing fills the socket; nobody waits for it.
func TestTransport_Full(t *testing.T) {
	path := filepath.Join(trial.ShortDir(t), "bus")
	over := make(chan struct{})
	listening(t, path, func(net.Conn) { <-over })
	t.Cleanup(func() { close(over) })
	raw, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	written := background(func() error {
		c := &transport{Conn: raw}
		for {
			if _, err := c.Write(make([]byte, 1<<12)); err != nil {
				return c.reason(nil)
			}
		}
	})
	select {
	case err := <-written:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it waits for room")
	}
}

// The bus dies while a start is under way: it is asked again, and is one start.
func TestSystemd_LostMidCall(t *testing.T) {
	fake, s := fakeSystemd(t, servicetest.Unit{Name: "osc.service", Start: servicetest.Job{Delay: 700 * time.Millisecond}})
	started := background(func() error { return s.Unit("osc.service").Start(in(t, 20*time.Second)) })
	eventually(t, "it starts", func() bool { return fake.State("osc.service") == "activating (start)" })
	fake.Disconnect()
	if err := <-started; err != nil {
		t.Error(err)
	}
	if is := fake.State("osc.service"); is != "active (running)" {
		t.Errorf("it is %s", is)
	}
	fake.Hang(true)
	stopped := background(func() error { return s.Unit("osc.service").Stop(in(t, 20*time.Second)) })
	fake.Disconnect()
	fake.Hang(false)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if is := fake.State("osc.service"); is != "inactive (dead)" {
		t.Errorf("it is %s", is)
	}
}

// The signal that a job has ended gets lost; the job is looked at.
func TestSystemd_LostSignal(t *testing.T) {
	fake, s := fakeSystemd(t, servicetest.Unit{Name: "osc.service", Start: servicetest.Job{Delay: 10 * time.Millisecond}})
	fake.Tamper(func(m *dbus.Message) {
		if m.Type == dbus.TypeSignal {
			m.Headers[dbus.FieldSender] = dbus.MakeVariant(":1.99") // is not listened to
		}
	})
	if err := s.Unit("osc.service").Start(in(t, 20*time.Second)); err != nil {
		t.Error(err)
	}
}

func TestSystemd_Answers(t *testing.T) {
	reply := func(body ...any) func(*dbus.Message) {
		return func(m *dbus.Message) {
			if m.Type == dbus.TypeMethodReply && len(m.Body) == 1 {
				m.Body = body
				m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
			}
		}
	}
	tests := map[string]struct {
		tamper func(*dbus.Message)
		text   string
	}{
		"huge":        {reply(strings.Repeat("x", maxMessage)), " bytes, more than 256 KiB"},
		"a word":      {reply("well"), "its answer makes no sense"},
		"no rows":     {reply([]snapshot{}), "its answer makes no sense"},
		"other rows":  {reply([]struct{ A, B string }{{"a", "b"}}), "its answer makes no sense"},
		"two rows":    {reply([]snapshot{{Path: "/", Job: "/"}, {Path: "/", Job: "/"}}), "its answer makes no sense"},
		"long words":  {reply([]snapshot{{Active: strings.Repeat("x", 1000), Sub: "\x1b[2J", Path: "/", Job: "/"}}), "xxx"},
		"not on time": {func(m *dbus.Message) { m.Headers[dbus.FieldReplySerial] = dbus.MakeVariant(uint32(1 << 30)) }, "no answer in time"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			fake, s := fakeSystemd(t, servicetest.Unit{Name: "osc.service"})
			u := s.Unit("osc.service")
			if st := u.Status(in(t, 10*time.Second)); st.State != Stopped {
				t.Fatalf("got %+v", st)
			}
			fake.Tamper(tt.tamper)
			st := u.Status(in(t, time.Second))
			if st.State != Unknown || !strings.Contains(st.Text, tt.text) || len(st.Text) > 2*maxText || strings.Contains(st.Text, "\x1b") {
				t.Errorf("got %+v", st)
			}
			fake.Tamper(nil)
			eventually(t, "it is asked again", func() bool { return u.Status(in(t, time.Second)).State == Stopped })
		})
	}
}

// systemd's own socket has no bus in front of it.
func TestSystemd_Direct(t *testing.T) {
	leavesNothing(t)
	fake, err := servicetest.NewSystemd(trial.ShortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	fake.Add(servicetest.Unit{Name: "osc.service"})
	first := true
	fake.Tamper(func(m *dbus.Message) {
		delete(m.Headers, dbus.FieldSender)
		if first { // it overlooks the first question
			m.Headers[dbus.FieldReplySerial] = dbus.MakeVariant(uint32(1 << 30))
		}
		first = false
	})
	s := newSystemd(fake.Address(), true, slog.New(slog.DiscardHandler))
	defer s.Close()
	u := s.Unit("osc.service")
	n := watching(t, u.(Watcher))
	if err := u.Start(in(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is watched", func() bool { return n.Load() > 0 })
	before := n.Load()
	fake.Set("osc.service", "failed", "failed", "signal")
	eventually(t, "the change is told", func() bool { return n.Load() > before })
}

func TestNewSystemd_Address(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/a%20bus,guid=00;unix:path=/other")
	s := NewSystemd("", slog.New(slog.DiscardHandler))
	defer s.Close()
	if s.direct || s.socket() != "/run/a bus" {
		t.Errorf("direct %v, socket %q", s.direct, s.socket())
	}
}

func TestSystemd_Closed(t *testing.T) {
	_, s := fakeSystemd(t, servicetest.Unit{Name: "osc.service"})
	n := watching(t, s.Unit("osc.service").(Watcher))
	eventually(t, "it is watched", func() bool { return n.Load() > 0 })
	s.Close()
	want := Status{Unknown, "baton is shutting down", ""}
	if diff := cmp.Diff(want, s.Unit("osc.service").Status(in(t, 10*time.Second))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
`

// startBus runs the real bus daemon, with a configuration of its own.
func startBus(t *testing.T, dir string) (address string, cmd *exec.Cmd) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("dbus-daemon is not installed, and CI must test against it")
		}
		t.Skip("dbus-daemon is not installed")
	}
	socket, config := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, socket), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile")
	out := new(trial.Log)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be dead
		_ = cmd.Wait()
	})
	address = "unix:path=" + socket
	eventually(t, "the bus daemon listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	return address, cmd
}

// The same with a real bus daemon, which others use as well.
func TestSystemd_RealBus(t *testing.T) {
	leavesNothing(t)
	dir := trial.ShortDir(t)
	address, daemon := startBus(t, dir)
	s := NewSystemd(address, slog.New(slog.DiscardHandler))
	t.Cleanup(s.Close)
	u := s.Unit("osc.service")
	if st, want := u.Status(in(t, 10*time.Second)), "systemd does not answer: systemd is not on the bus "+dir+"/bus"; st.State != Unknown || st.Text != want {
		t.Fatalf("got  %+v\nwant %s", st, want)
	}

	fake, err := servicetest.NewSystemd(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fake.Close() })
	fake.Add(servicetest.Unit{Name: "osc.service", Start: servicetest.Job{Hang: true}})
	if err := fake.Join(address); err != nil {
		t.Fatal(err)
	}
	n := watching(t, u.(Watcher))
	eventually(t, "it watches", func() bool { return n.Load() > 0 })

	// Somebody else on the bus says that the job has ended.
	started := background(func() error { return u.Start(in(t, 60*time.Second)) })
	eventually(t, "it starts", func() bool { return fake.State("osc.service") == "activating (start)" })
	rogue, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer rogue.Close()
	s.mu.Lock()
	own := s.bus.conn.Names()[0]
	s.mu.Unlock()
	forged := []any{uint32(1), dbus.ObjectPath("/org/freedesktop/systemd1/job/1"), "osc.service", "done"}
	if err := rogue.Send(&dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(own), dbus.FieldPath: dbus.MakeVariant(systemdPath),
			dbus.FieldInterface: dbus.MakeVariant(managerIface), dbus.FieldMember: dbus.MakeVariant("JobRemoved"),
			dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(forged...)),
		},
		Body: forged,
	}, nil).Err; err != nil {
		t.Fatal(err)
	}
	// An answer to the rogue comes after its signal.
	if err := rogue.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
		t.Fatal(err)
	}
	if st := u.Status(in(t, 10*time.Second)); st.State != Starting {
		t.Fatalf("got %+v", st)
	}
	s.mu.Lock()
	waits := false
	for j := range s.jobs {
		waits = waits || len(j.result) == 0
	}
	s.mu.Unlock()
	if !waits {
		t.Error("the forged signal was believed")
	}
	fake.Finish("osc.service")
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"StartUnit osc.service replace"}, fake.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}

	// systemd leaves the bus and returns.
	before := n.Load()
	fake.Disconnect()
	eventually(t, "it is gone", func() bool { return u.Status(in(t, time.Second)).State == Unknown })
	if err := fake.Join(address); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { return u.Status(in(t, time.Second)).State == Running })
	eventually(t, "the watcher knows", func() bool { return n.Load() > before })
	before = n.Load()
	fake.Set("osc.service", "failed", "failed", "signal")
	eventually(t, "a change is told", func() bool { return n.Load() > before })

	// The bus daemon stops, and answers nobody; then it dies, and another comes.
	if err := daemon.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if st := u.Status(in(t, 100*time.Millisecond)); st.State != Unknown {
		t.Errorf("got %+v", st)
	}
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = daemon.Wait() // killed
	eventually(t, "the bus is gone", func() bool { return strings.Contains(u.Status(in(t, time.Second)).Text, "connection refused") })
	if err := os.Remove(filepath.Join(dir, "bus")); err != nil {
		t.Fatal(err)
	}
	before = n.Load()
	startBus(t, dir)
	if err := fake.Join(address); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watcher is told", func() bool { return n.Load() > before })
	if err := u.Stop(in(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
}
