package runner

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/health"
	"baton/internal/command"
	"baton/internal/command/commandtest"
	"baton/internal/config"
	"baton/internal/service"
	"baton/internal/trial"
)

// stand is a server with a client, both in this process.
type stand struct {
	server *Server
	client *Client
	log    *trial.Log
	path   string
	stop   func() // ends the server, and waits for it
}

// policyOf is a policy with no files.
func policyOf(cfg *config.Config) *Policy {
	p := &Policy{log: slog.New(slog.DiscardHandler), looked: time.Now().Add(time.Hour)}
	if cfg != nil {
		p.known = []*allowed{newAllowed(cfg, func(config.Check) (health.Probe, error) { return nil, errors.New("none") })}
	}
	return p
}

// serve starts a server for this user that has run do what is asked for, and allows
// everything unless cfg says what.
func serve(t *testing.T, run command.RunFunc, cfg *config.Config) *stand {
	t.Helper()
	s := &stand{log: new(trial.Log), path: filepath.Join(trial.ShortDir(t), "s")}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	systemd := service.NewSystemd("unix:path=/nowhere", log)
	t.Cleanup(systemd.Close)
	s.server = NewServer(Options{Peers: Peers{UID: os.Geteuid()}, Policy: policyOf(cfg), Run: run, Systemd: systemd, Reboot: func() error { return errors.New("not now") }, Log: log})
	if cfg == nil {
		s.server.allowed = func(c command.Spec) (command.Spec, error) { return c, nil }
	}
	s.start(t)
	s.client = NewClient(s.path, "look at it", log)
	s.client.owner = uint32(os.Geteuid())
	t.Cleanup(s.client.Close)
	return s
}

func (s *stand) start(t *testing.T) {
	t.Helper()
	l, err := Listen(s.path, -1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.server.Serve(ctx, l) }()
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(2 * endLimit):
			t.Error("the server does not end")
		}
	}
	t.Cleanup(s.stop)
}

// anew starts the server again, after a change of it.
func (s *stand) anew(t *testing.T, change func()) {
	t.Helper()
	s.stop()
	change()
	s.start(t)
}

// local runs commands in this process.
func local(t *testing.T) command.RunFunc {
	r := command.NewRunner(slog.New(slog.DiscardHandler))
	t.Cleanup(r.Close)
	return r.Run
}

func echo(words ...string) command.Spec {
	return command.Spec{Argv: append([]string{"echo"}, words...), Timeout: 5 * time.Second}
}

// The other process does as this one does.
func TestRun(t *testing.T) {
	commandtest.Run(t, func(t *testing.T) command.RunFunc { return serve(t, local(t), nil).client.Run })
}

func TestRun_BytesAreKept(t *testing.T) {
	c := serve(t, local(t), nil).client
	s := command.Spec{Argv: []string{"sh", "-c", "printf '%s' \"$0$X\"", "a\xff"}, Env: []string{"X=\xfeb"}, Timeout: 5 * time.Second}
	if res := c.Run(t.Context(), s); string(res.Output) != "a\xff\xfeb" {
		t.Errorf("%q", res.Output)
	}
}

func TestRun_Left(t *testing.T) {
	gone := make(chan struct{})
	c := serve(t, func(context.Context, command.Spec) command.Result {
		return command.Result{TimedOut: true, Timeout: time.Second, Left: gone}
	}, nil).client
	res := c.Run(t.Context(), echo())
	if res.Left == nil || res.String() != "timed out after 5s and does not end" {
		t.Fatalf("%+v %q", res, res)
	}
	select {
	case <-res.Left:
		t.Error("it is gone, says Left")
	case <-time.After(20 * time.Millisecond):
	}
	close(gone)
	await(t, "the client hears that it is gone", res.Left)
}

func TestRun_ManyAtATime(t *testing.T) {
	var most, now atomic.Int32
	hold := make(chan struct{})
	c := serve(t, func(context.Context, command.Spec) command.Result {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-hold
		now.Add(-1)
		return command.Result{}
	}, nil).client
	results := make(chan command.Result)
	for range maxRequests + 20 {
		go func() { results <- c.Run(t.Context(), command.Spec{Argv: []string{"x"}, Timeout: time.Minute}) }()
	}
	trial.Await(t, 10*time.Second, "as many as may be are run", func() bool { return now.Load() == maxRequests })
	close(hold)
	for range maxRequests + 20 {
		<-results // those that found no place in time have failed
	}
	if most.Load() > maxRequests {
		t.Errorf("%d at a time", most.Load())
	}
}

// A client that is gone ends nothing, as a daemon that was killed never did.
func TestRun_ClientGone(t *testing.T) {
	ended := make(chan error, 1)
	begun := make(chan struct{})
	s := serve(t, func(ctx context.Context, _ command.Spec) command.Result {
		close(begun)
		select {
		case <-ctx.Done():
			ended <- ctx.Err()
		case <-time.After(100 * time.Millisecond):
			ended <- nil
		}
		return command.Result{}
	}, nil)
	go s.client.Run(context.Background(), echo())
	<-begun
	s.client.Close()
	if err := <-ended; err != nil {
		t.Errorf("the command was ended: %v", err)
	}
}

// It can be cancelled however long it has run.
func TestRun_CancelledLate(t *testing.T) {
	t.Parallel()
	c := serve(t, local(t), nil).client
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(talkLimit+100*time.Millisecond, cancel)
	res := c.Run(ctx, command.Spec{Argv: []string{"sleep", "100"}, Timeout: time.Minute})
	if !errors.Is(res.Err, context.Canceled) || res.Left != nil {
		t.Errorf("got %+v", res)
	}
}

func TestClient_NoRunner(t *testing.T) {
	s := serve(t, local(t), nil)
	s.stop()
	res := s.client.Run(t.Context(), echo())
	if got := res.String(); got != "run echo: the runner is not there (connect "+s.path+": no such file or directory): look at it" {
		t.Errorf("got %q", got)
	}
	if s.client.Away() == nil {
		t.Error("the client says that the runner is there")
	}
	s.start(t)
	if res := s.client.Run(t.Context(), echo("back")); res.String() != "exit 0: back" || s.client.Away() != nil {
		t.Errorf("after the return: %q, %v", res, s.client.Away())
	}
	for _, words := range []string{"the runner cannot be asked: hooks, services and checks of other users fail", "the runner can be asked again"} {
		if !strings.Contains(s.log.String(), words) {
			t.Errorf("not in the log: %q", words)
		}
	}
}

// A runner that is started anew costs no check.
func TestClient_WaitsForRestart(t *testing.T) {
	s := serve(t, local(t), nil)
	s.stop()
	result := make(chan command.Result)
	go func() { result <- s.client.Run(t.Context(), echo("patient")) }()
	time.Sleep(2 * dialPause) // it may also come first
	s.start(t)
	if res := <-result; res.String() != "exit 0: patient" {
		t.Errorf("got %q", res)
	}
}

// A runner that hangs accepts in the kernel, and says nothing.
func TestClient_HungRunner(t *testing.T) {
	t.Parallel()
	path := filepath.Join(trial.ShortDir(t), "s")
	l, err := Listen(path, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := NewClient(path, "look at it", slog.New(slog.DiscardHandler))
	defer c.Close()
	c.owner = uint32(os.Geteuid())
	s := echo()
	s.Timeout = 200 * time.Millisecond
	if res := c.Run(t.Context(), s); res.String() != "run echo: the runner does not answer: look at it" || res.Took > helloLimit {
		t.Errorf("got %q after %v", res, res.Took)
	}
	go func() { // the next says hello, and nothing more
		var held []net.Conn // one that nobody refers to is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			held = append(held, conn)
			_ = write(held[len(held)-1], hello{Version: Version})
		}
	}()
	// The one that waits in the queue is gone.
	res := c.Run(t.Context(), s)
	if res.String() != "run echo: the runner hangs, and does not say how it ended: look at it" || res.Left == nil || res.OK() {
		t.Errorf("got %q, %v", res, res.Left)
	}
	c.Close()
	await(t, "the connection is closed", res.Left)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	c = NewClient(path, "look at it", slog.New(slog.DiscardHandler))
	defer c.Close()
	c.owner = uint32(os.Geteuid())
	if st := c.Container("/s", "db").Status(ctx); st.State != service.Unknown || !strings.Contains(st.Text, "the runner has not answered") {
		t.Errorf("got %+v", st)
	}
}

func TestClient_RunnerEnds(t *testing.T) {
	s := serve(t, nil, nil)
	s.anew(t, func() {
		s.server.run = func(context.Context, command.Spec) command.Result {
			s.client.mu.Lock()
			defer s.client.mu.Unlock()
			for conn := range s.client.conns {
				_ = conn.CloseRead()
			}
			return command.Result{}
		}
	})
	if got := s.client.Run(t.Context(), echo()).String(); got != "run echo: the runner has ended, and nobody knows whether it was done: look at it" {
		t.Errorf("got %q", got)
	}
}

func TestClient_NotRoot(t *testing.T) {
	s := serve(t, local(t), nil)
	s.client.owner = 4711
	if got := s.client.Run(t.Context(), echo()).String(); !strings.Contains(got, "somebody else has taken its place") {
		t.Errorf("got %q", got)
	}
}

func TestClient_OtherVersion(t *testing.T) {
	path := filepath.Join(trial.ShortDir(t), "s")
	l, err := Listen(path, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			_ = write(conn, hello{Version: Version + 1})
		}
	}()
	c := NewClient(path, "look at it", slog.New(slog.DiscardHandler))
	defer c.Close()
	c.owner = uint32(os.Geteuid())
	if got := c.Run(t.Context(), echo()).String(); !strings.Contains(got, "of another release") {
		t.Errorf("got %q", got)
	}
}

func TestServer_Strangers(t *testing.T) {
	s := serve(t, local(t), nil)
	tests := map[string]struct {
		peers Peers
		ok    bool
	}{
		"another user":    {Peers{UID: 4711}, os.Geteuid() == 0}, // root may always
		"another process": {Peers{UID: os.Geteuid(), PID: 1}, false},
		"its parent":      {Peers{PID: os.Getpid()}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s.anew(t, func() { s.server.peers = tt.peers })
			res := s.client.Run(t.Context(), echo("hello"))
			if res.OK() != tt.ok || !tt.ok && !strings.Contains(res.String(), "the runner refuses this baton: ") {
				t.Errorf("got %q", res)
			}
		})
	}
}

func TestAdmit(t *testing.T) {
	trial.NeedRoot(t)
	// A process of another user than root and the daemon's; both ends are asked by the kernel.
	s := serve(t, local(t), nil)
	s.anew(t, func() { s.server.peers = Peers{UID: 4711} })
	if err := os.Chmod(filepath.Dir(s.path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.path, 0o666); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{"4711": `{"Version":1}`, "4712": "is neither root nor baton's user (4711)"} {
		res := s.client.Run(t.Context(), command.Spec{
			Argv:    []string{"setpriv", "--reuid=" + user, "--clear-groups", "socat", "-T1", "-u", "UNIX-CONNECT:" + s.path, "-"},
			Timeout: 5 * time.Second,
		})
		if !strings.Contains(string(res.Output), want) {
			t.Errorf("user %s: %q, %q", user, res, res.Output)
		}
	}
}

// Whoever may ask may still send anything.
func TestServer_Garbage(t *testing.T) {
	s := serve(t, local(t), nil)
	for name, tt := range map[string]struct{ sent, want string }{
		"too long":      {"\xff\xff\xff\xff", "at most"},
		"no JSON":       {"\x00\x00\x00\x02{]", "makes no sense"},
		"two":           {"\x00\x00\x00\x04{}{}", "makes no sense"},
		"unknown kind":  {"\x00\x00\x00\x0e{\"Kind\":\"fly\"}", "nobody knows how"},
		"unknown field": {"\x00\x00\x00\x09{\"Fly\":1}", "makes no sense"},
		"negative time": {"\x00\x00\x00\x1c{\"Kind\":\"run\",\"Timeout\":-1 }", "makes no sense"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := s.client.attempt(time.Now().Add(time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer s.client.drop(conn)
			if _, err := conn.Write([]byte(tt.sent)); err != nil {
				t.Fatal(err)
			}
			var a answer
			if err := read(conn, &a); err != nil || !strings.Contains(a.Refused, tt.want) {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	if res := s.client.Run(t.Context(), command.Spec{Argv: []string{"a\x00b"}, Timeout: time.Second}); !strings.Contains(res.String(), "NUL") {
		t.Errorf("got %q", res)
	}
	if res := s.client.Run(t.Context(), echo(strings.Repeat("x", maxFrame))); !strings.Contains(res.String(), "at most") {
		t.Errorf("got %q", res)
	}
}

// One that connects and is silent takes a place for two seconds, and no longer.
func TestServer_Silent(t *testing.T) {
	t.Parallel()
	s := serve(t, local(t), nil)
	conn, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(3 * talkLimit))
	var h hello
	if err := read(conn, &h); err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := read(conn, &a); isTimeout(err) {
		t.Error("the connection is still open")
	}
}

// A refusal of the reboot, and its failure, come back; so does that of a unit.
func TestClient_Others(t *testing.T) {
	cfg := &config.Config{Routers: []config.Router{{OnStopFailure: config.StopFailureReboot, Services: []config.Service{
		{Kind: config.UnitService, Unit: "x.service"}, {Kind: config.ContainerService, Container: config.Container{Name: "db", Socket: "/nowhere"}},
	}}}}
	c := serve(t, local(t), cfg).client
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.Reboot(ctx); err == nil || err.Error() != "not now" {
		t.Errorf("reboot: %v", err)
	}
	if err := serve(t, local(t), &config.Config{}).client.Reboot(ctx); err == nil || !strings.Contains(err.Error(), "on_stop_failure") {
		t.Errorf("reboot that nobody wants: %v", err)
	}
	systemd := service.NewSystemd("unix:path=/nowhere", slog.New(slog.DiscardHandler))
	defer systemd.Close()
	x := c.Unit(systemd.Unit("x.service"), "x.service")
	if _, ok := x.(service.Watcher); !ok {
		t.Error("a unit cannot be watched")
	}
	if err := x.Start(ctx); err == nil || !strings.Contains(err.Error(), "start x.service: systemd does not answer") {
		t.Errorf("start: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.Unit(systemd.Unit("y.service"), "y.service").Start(ctx); err == nil || !strings.Contains(err.Error(), "refuses") {
		t.Errorf("start of another: %v", err)
	}
	if st := c.Container("/nowhere", "db").Status(ctx); !strings.Contains(st.Text, "connect /nowhere") {
		t.Errorf("container: %+v", st)
	}
	if st := c.Container("/nowhere", "dbs").Status(ctx); !strings.Contains(st.Text, "refuses") {
		t.Errorf("another container: %+v", st)
	}
	if a := c.Check("x").Probe(ctx); a.OK || !strings.Contains(a.Text, "refuses") {
		t.Errorf("a check that is none: %+v", a)
	}
}

// A container is watched through the runner; its loss and its return are changes.
func TestContainer_Watch(t *testing.T) {
	engine := filepath.Join(trial.ShortDir(t), "e")
	l, err := net.Listen("unix", engine)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n{\"Action\":\"die\"}\n"))
				_, _ = conn.Read(make([]byte, 1)) // until the client goes
			}()
		}
	}()
	s := serve(t, local(t), &config.Config{Checks: []config.Check{{Type: config.ContainerCheck, Container: &config.Container{Name: "db", Socket: engine}}}})
	ctx, cancel := context.WithCancel(t.Context())
	var changes atomic.Int32
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.client.Container(engine, "db").(service.Watcher).Watch(ctx, func() { changes.Add(1) })
	}()
	trial.Await(t, 5*time.Second, "it listens, and something happens", func() bool { return changes.Load() == 2 })
	s.stop()
	trial.Await(t, 5*time.Second, "the loss", func() bool { return changes.Load() == 3 })
	s.start(t)
	trial.Await(t, 10*time.Second, "the return", func() bool { return changes.Load() >= 5 })
	cancel()
	await(t, "the watch ends", ended)
	if err := s.client.Container(engine, "db").Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "as a check, not as a service") {
		t.Errorf("stop: %v", err)
	}
}

func TestErrnoIsKept(t *testing.T) {
	c := serve(t, local(t), nil).client
	res := c.Run(t.Context(), command.Spec{Argv: []string{"/nowhere/x"}, Timeout: time.Second})
	if !errors.Is(res.Err, os.ErrNotExist) {
		t.Errorf("%v", res.Err)
	}
	f := &failure{"x", unix.EAGAIN}
	if !errors.Is(f, unix.EAGAIN) || errors.Is(f, os.ErrNotExist) || errors.Is(&failure{"x", 0}, os.ErrNotExist) {
		t.Error("an error number is not what it is")
	}
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(5 * time.Second):
		t.Fatal("not within 5s: " + what)
	}
}

// BenchmarkRun is what a command costs that the runner runs; that of package
// command is without it.
func BenchmarkRun(b *testing.B) {
	log := slog.New(slog.DiscardHandler)
	r := command.NewRunner(log)
	defer r.Close()
	path := filepath.Join(trial.ShortDir(b), "s")
	s := NewServer(Options{Peers: Peers{PID: os.Getpid()}, Policy: policyOf(nil), Run: r.Run, Log: log})
	s.allowed = func(c command.Spec) (command.Spec, error) { return c, nil }
	l, err := Listen(path, -1)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go func() { _ = s.Serve(ctx, l) }()
	c := NewClient(path, "", log)
	defer c.Close()
	c.owner = uint32(os.Geteuid())
	spec := command.Spec{Argv: []string{"/bin/true"}, Timeout: 5 * time.Second}
	b.ReportAllocs()
	for b.Loop() {
		if res := c.Run(b.Context(), spec); !res.OK() {
			b.Fatal(res)
		}
	}
}
