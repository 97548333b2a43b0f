package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/internal/trial"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// fake is a daemon that says what it was given.
type fake struct {
	mu      sync.Mutex
	status  *Status
	changed chan struct{}
	checks  []Check
	forced  []Forced
	level   LogLevel
	events  []Event
	run     func(ctx context.Context, name string) (Check, error)
	orders  []Order
	order   func(ctx context.Context, o Order) (Result, error)
}

func newFake(routers ...Router) *fake {
	return &fake{
		status:  &Status{Node: "lb1", Routers: routers},
		changed: make(chan struct{}),
		checks:  []Check{{Name: "haproxy", Verdict: "pass", OK: true, Text: "pid 4338"}, {Name: "galera", Verdict: "fail"}},
	}
}

func (f *fake) Status() *Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fake) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fake) publish(routers ...Router) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = &Status{Node: "lb1", Routers: routers}
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) Checks() []Check { return f.checks }

func (f *fake) RunCheck(ctx context.Context, name string) (Check, error) {
	if f.run != nil {
		return f.run(ctx, name)
	}
	for _, c := range f.checks {
		if c.Name == name {
			c.Runs = 7
			return c, nil
		}
	}
	return Check{}, errors.New("asked for a check that the server should have refused")
}

func (f *fake) Reload(_ context.Context, dryRun bool, by string) (Reload, error) {
	if !dryRun {
		e := Errorf(Mistaken, "nothing has been changed")
		e.Mistakes = "baton.yaml:1:1: error: no"
		return Reload{}, e
	}
	return Reload{Node: "lb1", DryRun: true, Before: "1", After: "2", Changes: []Difference{{Name: "web", What: "added", Cost: by}}}, nil
}

func (f *fake) Upgrade(_ context.Context, binary string) (Upgrade, error) {
	if binary == "/bad" {
		return Upgrade{}, Errorf(Refused, "/bad is no baton")
	}
	return Upgrade{From: "1", To: "2", Binary: binary}, nil
}

func (f *fake) ForceCheck(name string, forced Forced) (Check, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name == "galera" {
		return Check{}, fmt.Errorf("force %s: %w", name, Errorf(Refused, "it is only shown"))
	}
	f.forced = append(f.forced, forced)
	c := Check{Name: name, Verdict: forced.Verdict}
	if forced.Verdict != "" {
		c.Forced = &forced
	}
	return c, nil
}

func (f *fake) Events(after uint64) (Events, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	newest := uint64(len(f.events))
	return Events{time.Unix(1e9, 0).UTC(), newest, f.events[min(after, newest):]}, f.changed
}

func (f *fake) Cluster(context.Context) (*Cluster, error) {
	return &Cluster{Node: "lb1", Nodes: []ClusterNode{{Name: "lb1", Status: f.Status()}, {Name: "lb2", Error: "no answer"}}}, nil
}

func (f *fake) Order(ctx context.Context, o Order) (Result, error) {
	f.mu.Lock()
	f.orders = append(f.orders, o)
	f.mu.Unlock()
	if f.order != nil {
		return f.order(ctx, o)
	}
	return Result{Node: "lb1"}, nil
}

func (f *fake) LogLevel() LogLevel { return f.level }

func (f *fake) SetLogLevel(level string, lasting time.Duration, by string) (LogLevel, error) {
	if level == "loud" {
		return LogLevel{}, Errorf(BadRequest, "there is no level %q", level)
	}
	f.level = LogLevel{Level: level, Configured: "info", Until: time.Unix(0, 0).Add(lasting).UTC(), By: by}
	return f.level, nil
}

// served is a server with its socket and a client.
type served struct {
	*Client
	dir  string
	log  *trial.Log
	stop func() error // ends the server, and returns what Serve says; it may be called again
}

func serve(t *testing.T, d Daemon) served {
	t.Helper()
	return serveFor(t, d, Access{})
}

func serveFor(t *testing.T, d Daemon, access Access) served {
	t.Helper()
	dir := t.TempDir()
	l, err := Listen(SocketPath(dir), access)
	if err != nil {
		t.Fatal(err)
	}
	s := served{Client: Dial(dir), dir: dir, log: &trial.Log{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewServer(d, access, slog.New(slog.NewTextHandler(s.log, nil))).Serve(ctx, l) }()
	s.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// request sends what no Client would.
func (s served) request(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://baton"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, strings.TrimSpace(string(text))
}

func TestControl_Ask(t *testing.T) {
	d := newFake(Router{Name: "web", Role: "MASTER", Ready: true, Since: time.Unix(1e9, 0).UTC()})
	c := serve(t, d)
	status, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.status, status); diff != "" {
		t.Error(diff)
	}
	checks, err := c.Checks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.checks, checks); diff != "" {
		t.Error(diff)
	}
	ran, err := c.RunCheck(t.Context(), "haproxy")
	if err != nil || ran.Runs != 7 {
		t.Errorf("%+v, %v", ran, err)
	}
}

// A force has the name of who asked, as the kernel knows him, and an end.
func TestControl_Force(t *testing.T) {
	d := newFake()
	c := serve(t, d)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	got, err := c.ForceCheck(t.Context(), "haproxy", "fail", 10*time.Minute, "drill")
	if err != nil {
		t.Fatal(err)
	}
	want := Forced{Verdict: "fail", Until: before.Add(10 * time.Minute), Reason: "drill", By: me.Username}
	if diff := cmp.Diff([]Forced{want}, d.forced, cmpopts.EquateApproxTime(time.Minute)); diff != "" {
		t.Error(diff)
	}
	if got.Forced == nil || got.Forced.Reason != "drill" {
		t.Errorf("%+v", got)
	}
	if _, err = c.ReleaseCheck(t.Context(), "haproxy"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Forced{By: me.Username}, d.forced[1]); diff != "" {
		t.Error(diff)
	}
}

// Events are told from a number on, and waited for.
func TestControl_Events(t *testing.T) {
	d := newFake()
	d.events = []Event{{Number: 1, Kind: RouterEvent, Name: "web", What: "INIT to BACKUP"}, {Number: 2, Kind: CheckEvent, Name: "haproxy"}}
	c := serve(t, d)
	for after, want := range [][]Event{d.events, d.events[1:], {}} {
		got, err := c.Events(t.Context(), uint64(after), false)
		if err != nil || !cmp.Equal(got, Events{time.Unix(1e9, 0).UTC(), 2, want}) {
			t.Errorf("after %d: %v, %v", after, got, err)
		}
	}
	got := make(chan Events)
	go func() {
		list, err := c.Events(t.Context(), 2, true)
		if err != nil {
			t.Error(err)
		}
		got <- list
	}()
	d.mu.Lock()
	d.events = append(d.events, Event{Number: 3, Kind: HookEvent})
	d.mu.Unlock()
	d.publish()
	if e := <-got; len(e.Events) != 1 || e.Events[0].Number != 3 {
		t.Errorf("waited for %v", e)
	}
	for _, query := range []string{"after=x", "after=-1", "wait=maybe"} {
		if status, _ := c.request(t, http.MethodGet, "/v1/events?"+query, ""); status != http.StatusBadRequest {
			t.Errorf("%s: status %d", query, status)
		}
	}
}

// The level has the name of who set it, and an end.
func TestControl_LogLevel(t *testing.T) {
	d := newFake()
	d.level = LogLevel{Level: "info", Configured: "info"}
	c := serve(t, d)
	if l, err := c.LogLevel(t.Context()); err != nil || l != d.level {
		t.Errorf("%+v, %v", l, err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	want := LogLevel{Level: "debug", Configured: "info", Until: time.Unix(60, 0).UTC(), By: me.Username}
	if l, err := c.SetLogLevel(t.Context(), "debug", time.Minute); err != nil || l != want {
		t.Errorf("%+v, %v", l, err)
	}
	for level, lasting := range map[string]time.Duration{"debug": 0, "warn": 25 * time.Hour, "loud": time.Minute} {
		var e *Error
		if _, err := c.SetLogLevel(t.Context(), level, lasting); !errors.As(err, &e) || e.Kind != BadRequest {
			t.Errorf("%s for %s: %v", level, lasting, err)
		}
	}
	if _, err := c.SetLogLevel(t.Context(), "", 0); err != nil || d.level.Level != "" {
		t.Errorf("%+v, %v", d.level, err)
	}
}

// What is refused is refused by the daemon, in its words, with a kind.
func TestControl_Refusals(t *testing.T) {
	d := newFake(Router{Name: "web"}, Router{Name: "edge", Group: true, Members: []string{"wan", "lan"}})
	d.run = func(context.Context, string) (Check, error) { return Check{}, errors.New("the scheduler has ended") }
	c := serve(t, d)
	forced := func(name, verdict string, d time.Duration, reason string) func() error {
		return func() error { _, err := c.ForceCheck(t.Context(), name, verdict, d, reason); return err }
	}
	ran := func(name string) func() error {
		return func() error { _, err := c.RunCheck(t.Context(), name); return err }
	}
	waited := func(w Wait) func() error {
		return func() error { _, err := c.Wait(t.Context(), w); return err }
	}
	known := []string{"haproxy", "galera"}
	routers := []string{"edge", "lan", "wan", "web"}
	for _, test := range []struct {
		what string
		do   func() error
		want *Error
	}{
		{"unknown", ran("hapoxy"), &Error{Kind: NotFound, Text: `no router of this node tracks a check "hapoxy"`, Name: "hapoxy", Known: known}},
		{"escaped", ran("a/b c%?#"), &Error{Kind: NotFound, Text: `no router of this node tracks a check "a/b c%?#"`, Name: "a/b c%?#", Known: known}},
		{"dots", ran(".."), &Error{Kind: NotFound, Text: `no router of this node tracks a check ".."`, Name: "..", Known: known}},
		{"force unknown", forced("x", "pass", time.Minute, "why"), &Error{Kind: NotFound, Text: `no router of this node tracks a check "x"`, Name: "x", Known: known}},
		{"failed", ran("haproxy"), &Error{Kind: Failed, Text: "the scheduler has ended"}},
		{"refused", forced("galera", "pass", time.Minute, "why"), &Error{Kind: Refused, Text: "force galera: it is only shown"}},
		{"verdict", forced("haproxy", "maybe", time.Minute, "why"), &Error{Kind: BadRequest, Text: `a check is forced to pass or to fail, not to "maybe"`}},
		{"short", forced("haproxy", "pass", time.Millisecond, "why"), &Error{Kind: BadRequest, Text: "1ms is not in 1s to 168h0m0s"}},
		{"long", forced("haproxy", "pass", 200*time.Hour, "why"), &Error{Kind: BadRequest, Text: "200h0m0s is not in 1s to 168h0m0s"}},
		{"no reason", forced("haproxy", "pass", time.Minute, " "), &Error{Kind: BadRequest, Text: "a reason is missing: others will ask"}},
		{"long reason", forced("haproxy", "pass", time.Minute, strings.Repeat("x", 201)), &Error{Kind: BadRequest, Text: "the reason has 201 bytes, at most 200 are kept"}},
		{"lines", forced("haproxy", "pass", time.Minute, "a\nb"), &Error{Kind: BadRequest, Text: `the reason "a\nb" has characters that do not print`}},
		{"router", waited(Wait{Router: "wbe", States: []string{"MASTER"}}), &Error{Kind: NotFound, Text: `this node runs no virtual router and no group "wbe"`, Name: "wbe", Known: routers}},
		{"no router", waited(Wait{States: []string{"MASTER"}}), &Error{Kind: BadRequest, Text: "a router is missing"}},
		{"state", waited(Wait{Router: "web", States: []string{"ACTIVE"}}), &Error{Kind: BadRequest, Text: `there is no state "ACTIVE": it is one of init, backup, master, fault`}},
	} {
		var got *Error
		if err := test.do(); !errors.As(err, &got) {
			t.Errorf("%s: %v", test.what, err)
		} else if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s:\n%s", test.what, diff)
		}
	}
	if len(d.forced) > 0 {
		t.Errorf("forced nevertheless: %+v", d.forced)
	}
}

func TestControl_BadRequests(t *testing.T) {
	c := serve(t, newFake())
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/v2/status", "", 400, `{"kind":"bad request","error":"this version of baton knows no request GET /v2/status"}`},
		{"DELETE", "/v1/checks/haproxy/run", "", 400, `{"kind":"bad request","error":"this version of baton knows no request DELETE /v1/checks/haproxy/run"}`},
		{"POST", "/v1/checks/haproxy/force", "", 400, `{"kind":"bad request","error":"the body cannot be read: EOF"}`},
		{"POST", "/v1/checks/haproxy/force", `{"verdict":"pass","till":3}`, 400, `{"kind":"bad request","error":"the body cannot be read: json: unknown field \"till\""}`},
		{"POST", "/v1/checks/haproxy/force", `{"reason":"` + strings.Repeat("x", 70<<10) + `"}`, 400, `{"kind":"bad request","error":"the body has more than 65536 bytes"}`},
		{"GET", "/v1/wait?router=web&state=master&ready=1", "", 400, `{"kind":"bad request","error":"ready is true or false, not \"1\""}`},
	} {
		status, answer := c.request(t, test.method, test.path, test.body)
		if status != test.status || answer != test.want {
			t.Errorf("%s %s: %d %s", test.method, test.path, status, answer)
		}
	}
}

func TestClient_NotRunning(t *testing.T) {
	dir := t.TempDir()
	_, err := Dial(dir).Status(t.Context())
	if want := "no baton runs here: connect " + dir + "/control.sock: no such file or directory"; !errors.Is(err, ErrNotRunning) || err.Error() != want {
		t.Errorf("no socket: %v", err)
	}
	stale(t, SocketPath(dir))
	_, err = Dial(dir).Status(t.Context())
	if want := "no baton runs here: connect " + dir + "/control.sock: connection refused"; !errors.Is(err, ErrNotRunning) || err.Error() != want {
		t.Errorf("stale socket: %v", err)
	}
}

// stale leaves a socket as a daemon does that was killed.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

func TestListen(t *testing.T) {
	path := SocketPath(t.TempDir())
	stale(t, path)
	l, err := Listen(path, Access{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after close: %v", err)
	}
}

func TestListen_Refuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "control.sock")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	long := "/" + strings.Repeat("x", 107)
	for path, want := range map[string]string{
		file:                         "listen on " + file + ": it is there, and is no socket",
		long:                         "listen on " + long + ": the path has 108 bytes, that of a socket has at most 107",
		filepath.Join(dir, "no/dir"): "make the control socket: listen unix " + dir + "/no/dir: bind: no such file or directory",
	} {
		if _, err := Listen(path, Access{}); err == nil || err.Error() != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
