package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/service/servicetest"
	"baton/internal/trial"
)

func fakeEngine(t *testing.T, c servicetest.Container) (*servicetest.Engine, Service) {
	t.Helper()
	leavesNothing(t)
	e, err := servicetest.NewEngine(trial.ShortDir(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e, NewContainer(e.Socket, "osc")
}

func TestContainer_Status(t *testing.T) {
	tests := map[string]struct {
		is   servicetest.Container
		want Status
	}{
		"running":       {servicetest.Container{Status: "running"}, Status{Running, "running", ""}},
		"no check":      {servicetest.Container{Status: "running", Health: "none"}, Status{Running, "running", ""}},
		"healthy":       {servicetest.Container{Status: "running", Health: "healthy"}, Status{Running, "running, healthy", ""}},
		"starting":      {servicetest.Container{Status: "running", Health: "starting"}, Status{Starting, "running, its health check has not passed yet", ""}},
		"unhealthy":     {servicetest.Container{Status: "running", Health: "unhealthy", HealthLog: "curl: (7) refused\nmore"}, Status{Failed, "unhealthy, 3 checks in a row: curl: (7) refused", "docker logs osc"}},
		"ill otherwise": {servicetest.Container{Status: "running", Health: "dizzy"}, Status{Unknown, "running, dizzy", ""}},
		"created":       {servicetest.Container{Status: "created"}, Status{Stopped, "created, never started", ""}},
		"paused":        {servicetest.Container{Status: "paused"}, Status{Failed, "paused", "docker unpause osc"}},
		"restarting":    {servicetest.Container{Status: "restarting", RestartPolicy: "always"}, Status{Starting, "restarting; restart policy always", "docker logs osc"}},
		"removing":      {servicetest.Container{Status: "removing"}, Status{Stopping, "removing", ""}},
		"exited":        {servicetest.Container{Status: "exited"}, Status{Stopped, "exited with 0", ""}},
		"stopped":       {servicetest.Container{Status: "exited", ExitCode: 143}, Status{Stopped, "exited with 143", ""}},
		"killed":        {servicetest.Container{Status: "exited", ExitCode: 137}, Status{Stopped, "exited with 137", ""}},
		"out of memory": {servicetest.Container{Status: "exited", ExitCode: 137, OOMKilled: true}, Status{Failed, "exited with 137, out of memory", "docker logs osc"}},
		"crashed":       {servicetest.Container{Status: "exited", ExitCode: 1}, Status{Failed, "exited with 1", "docker logs osc"}},
		"never came up": {servicetest.Container{Status: "created", Error: "no such file: /osc"}, Status{Stopped, "created, never started", ""}},
		"bad program":   {servicetest.Container{Status: "exited", ExitCode: 127, Error: "no such file: /osc"}, Status{Failed, "exited with 127: no such file: /osc", "docker logs osc"}},
		"dead":          {servicetest.Container{Status: "dead"}, Status{Failed, "dead with 0", "remove it, and create it anew"}},
		"new word":      {servicetest.Container{Status: "thinking"}, Status{Unknown, "thinking", ""}},
		"restarted by its engine": {servicetest.Container{Status: "running", RestartPolicy: "unless-stopped"}, Status{Running, "running; restart policy unless-stopped",
			"where only the master may run it, the engine must not start it: docker update --restart=no osc"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.is.Name = "osc"
			_, c := fakeEngine(t, tt.is)
			if diff := cmp.Diff(tt.want, c.Status(in(t, 10*time.Second))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("no container", func(t *testing.T) {
		_, c := fakeEngine(t, servicetest.Container{Name: "other"})
		if diff := cmp.Diff(Status{Stopped, "no container osc", "create it first, with --restart=no"}, c.Status(in(t, 10*time.Second))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestContainer_Start(t *testing.T) {
	tests := map[string]struct {
		is  servicetest.Container
		err string
	}{
		"at once":      {servicetest.Container{}, ""},
		"runs already": {servicetest.Container{Status: "running"}, ""},
		"healthy":      {servicetest.Container{On: []string{"running/starting", "running/starting", "running/healthy"}}, ""},
		"unhealthy":    {servicetest.Container{On: []string{"running/starting", "running/unhealthy"}, HealthLog: "not yet"}, "start osc: it is unhealthy, 3 checks in a row: not yet; see docker logs osc"},
		"ends":         {servicetest.Container{ExitCode: 3, On: []string{"running/starting", "exited"}}, "start osc: it is exited with 3; see docker logs osc"},
		"no container": {servicetest.Container{Name: "other"}, "start osc: no container osc: create it first"},
		"refused":      {servicetest.Container{StartError: "driver failed programming external connectivity:\nport is already allocated"}, "start osc: SOCKET answers 500: driver failed programming external connectivity:"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.is.Name == "" {
				tt.is.Name = "osc"
			}
			e, c := fakeEngine(t, tt.is)
			got := ""
			if err := c.Start(in(t, 20*time.Second)); err != nil {
				got = strings.ReplaceAll(err.Error(), e.Socket, "SOCKET")
			}
			if got != tt.err {
				t.Errorf("got  %q\nwant %q", got, tt.err)
			}
		})
	}
	t.Run("too slow", func(t *testing.T) {
		_, c := fakeEngine(t, servicetest.Container{Name: "osc", On: []string{"running/starting"}})
		err := c.Start(in(t, 300*time.Millisecond))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestContainer_Stop(t *testing.T) {
	tests := map[string]struct {
		is    servicetest.Container
		err   string // of Stop
		calls int
		text  string // what it is then
	}{
		"at once":      {servicetest.Container{Status: "running"}, "", 1, "exited with 143"},
		"slow":         {servicetest.Container{Status: "running", StopDelay: 50 * time.Millisecond}, "", 1, "exited with 143"},
		"paused":       {servicetest.Container{Status: "paused"}, "", 1, "exited with 143"},
		"not running":  {servicetest.Container{Status: "exited"}, "", 1, "exited with 0"},
		"no container": {servicetest.Container{Name: "other"}, "", 1, "no container osc"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.is.Name == "" {
				tt.is.Name = "osc"
			}
			e, c := fakeEngine(t, tt.is)
			if err := c.Stop(in(t, 20*time.Second)); err != nil {
				t.Error(err)
			}
			// Of the 20 seconds five are kept back.
			calls, grace := e.Calls(), 0
			if _, err := fmt.Sscanf(strings.Join(calls, "\n"), "stop osc t=%d", &grace); err != nil || len(calls) != tt.calls || grace < 1 || grace > 15 {
				t.Errorf("calls %q", calls)
			}
			if text := c.Status(in(t, 10*time.Second)).Text; text != tt.text {
				t.Errorf("it is %q, want %q", text, tt.text)
			}
		})
	}
	t.Run("killed", func(t *testing.T) {
		_, c := fakeEngine(t, servicetest.Container{Name: "osc", Status: "running", StopDelay: time.Hour})
		if err := c.Stop(in(t, 3*time.Second)); err != nil {
			t.Error(err)
		}
		if text := c.Status(in(t, 10*time.Second)).Text; text != "exited with 137" {
			t.Errorf("it is %q", text)
		}
	})
	t.Run("does not end", func(t *testing.T) {
		_, c := fakeEngine(t, servicetest.Container{Name: "osc", Status: "running", Stubborn: true})
		if err := c.Stop(in(t, 500*time.Millisecond)); err == nil || !strings.HasPrefix(err.Error(), "stop osc: it is running") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		e, c := fakeEngine(t, servicetest.Container{Name: "osc", Status: "running", StopError: "tried to kill container, but did not receive an exit event"})
		want := "stop osc: " + e.Socket + " answers 500: tried to kill container, but did not receive an exit event"
		if err := c.Stop(in(t, 500*time.Millisecond)); err == nil || err.Error() != want {
			t.Errorf("got %v", err)
		}
	})
}

// Whatever is at the socket, the answer is Unknown, in time, with the reason.
func TestContainer_Gone(t *testing.T) {
	never := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	endless := func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil {
				return
			}
		}
	}
	tests := map[string]struct {
		at   http.HandlerFunc
		text string
	}{
		"hangs":            {never, "SOCKET: no answer in time: context deadline exceeded"},
		"endless":          {endless, "SOCKET describes osc with more than 4 MiB"},
		"endless refusal":  {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); endless(w, r) }, "SOCKET answers 500: xxx"},
		"endless header":   {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, "ask SOCKET: "},
		"another protocol": {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") }, "SOCKET does not answer as a container engine"},
		"another language": {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"State": {}}`) }, "SOCKET does not answer as a container engine"},
		"redirects":        {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }, "SOCKET answers 302: "},
		"closes": {func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				c.Close()
			}
		}, "ask SOCKET: it closed the connection without an answer"},
		"says nothing": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, "SOCKET answers 500: nothing else"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e, c := fakeEngine(t, servicetest.Container{Name: "osc"})
			e.Instead(tt.at)
			st := c.Status(in(t, time.Second))
			text := strings.ReplaceAll(st.Text, e.Socket, "SOCKET")
			if st.State != Unknown || !strings.HasPrefix(text, tt.text) || len(text) > 2*maxText {
				t.Errorf("got  %+v\nwant %q", st, tt.text)
			}
			if err := c.Stop(in(t, 300*time.Millisecond)); err == nil {
				t.Error("it says that it stopped")
			}
		})
	}
	t.Run("no socket", func(t *testing.T) {
		path := filepath.Join(trial.ShortDir(t), "none.sock")
		want := Status{Unknown, "connect " + path + ": no such file or directory", "the engine does not run here: systemctl status docker, or podman.socket"}
		if diff := cmp.Diff(want, NewContainer(path, "osc").Status(in(t, 10*time.Second))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)}
}

// Whoever may not use the socket is told so, and a stop does not go on trying.
func TestContainer_NotAllowed(t *testing.T) {
	c := NewContainer("/run/docker.sock", "osc").(*container)
	c.engine.http.Transport = refusing{}
	want := Status{Unknown, "connect /run/docker.sock: permission denied", "baton may not use the socket: it must run as root, or SupplementaryGroups=docker in its unit"}
	if diff := cmp.Diff(want, c.Status(t.Context())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := c.Stop(t.Context()); !errors.Is(err, syscall.EACCES) {
		t.Errorf("got %v", err)
	}
}

func TestContainer_Watch(t *testing.T) {
	e, c := fakeEngine(t, servicetest.Container{Name: "osc", Status: "running"})
	n := watching(t, c.(Watcher))
	eventually(t, "it watches", func() bool { return n.Load() == 1 })
	nothing := func(*servicetest.Container) {}
	e.Set("osc", "die", nothing)
	eventually(t, "an event is told", func() bool { return n.Load() > 1 })
	e.Disconnect()
	eventually(t, "it is back", func() bool { return n.Load() > 2 })
	e.Set("osc", "start", nothing)
	eventually(t, "an event is told", func() bool { return n.Load() > 3 })

	// Without its engine nobody knows, which is told once.
	before := n.Load()
	var tries atomic.Int32
	e.Instead(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		tries.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	e.Disconnect()
	eventually(t, "it has tried again and again", func() bool { return tries.Load() >= 3 })
	if told := n.Load() - before; told != 1 {
		t.Errorf("told %d times that it is lost", told)
	}
	e.Instead(nil)
	eventually(t, "it is back", func() bool { return n.Load() == before+2 })
}

func TestEngine_Events(t *testing.T) {
	e, c := fakeEngine(t, servicetest.Container{Name: "osc", Status: "running"})
	var n atomic.Int32
	events := func() error {
		return c.(*container).engine.events(t.Context(), "osc", func() { n.Add(1) })
	}
	ended := background(events)
	eventually(t, "it listens", func() bool { return n.Load() == 1 })
	nothing := func(*servicetest.Container) {}
	e.Set("osc", "exec_start: curl", nothing) // as its health check does all the time
	e.Set("osc", "health_status: unhealthy", nothing)
	e.Set("osc", "exec_die", nothing)
	e.Set("osc", "die", nothing)
	e.Disconnect()
	if err := <-ended; err != io.EOF || n.Load() != 3 {
		t.Errorf("told %d times; %v", n.Load(), err)
	}
	e.Instead(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "{nonsense\n"+strings.Repeat("x", 2*maxEvent))
	}))
	if err := events(); !errors.Is(err, bufio.ErrTooLong) || n.Load() != 5 {
		t.Errorf("told %d times; %v", n.Load(), err)
	}
}
