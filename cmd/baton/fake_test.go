package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"baton/internal/control"
)

// scripted is a daemon that does what the scripts of testdata ask for: to run
// the check `promote` makes it master of web, to run `ready` makes that ready.
type scripted struct {
	mu      sync.Mutex
	router  control.Router
	changed chan struct{}
	checks  []control.Check
	level   control.LogLevel

	upgraded time.Time
	began    time.Time
	reloads  int
	events   []control.Event
}

// fakeDaemon DIR serves the control socket of a scripted daemon until SIGINT.
func fakeDaemon() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := os.MkdirAll(os.Args[1], 0o755); err != nil {
		fail(err)
	}
	l, err := control.Listen(control.SocketPath(os.Args[1]), control.Access{})
	if err != nil {
		fail(err)
	}
	if err := control.NewServer(newScripted(), control.Access{}, slog.Default()).Serve(ctx, l); err != nil {
		fail(err)
	}
}

func newScripted() *scripted {
	before := time.Now().Add(-80 * time.Hour)
	at := time.Now()
	return &scripted{
		router: control.Router{Name: "web", Role: "BACKUP", Why: "200 is higher", Services: []control.Service{
			{Name: "redis", State: "running"}, {Name: "osc.service", State: "starting", Text: "its check osc fails"},
		}},
		changed: make(chan struct{}),
		began:   at,
		level:   control.LogLevel{Level: "info", Configured: "info"},
		checks: []control.Check{
			{Name: "galera", Verdict: "fail", Since: before, Interval: 2 * time.Second, Text: "exit 1: Non-Primary", Hint: "look at \x1b[31mwsrep",
				Output: "Non-Primary\n3 members\n\x07", Runs: 140, At: at, Took: 18 * time.Millisecond},
			{Name: "haproxy", Verdict: "pass", Since: before, Interval: 500 * time.Millisecond, OK: true, Text: "pid 4338, not stopping",
				Runs: 9, At: at, Took: 600 * time.Microsecond},
			{Name: "majority", Verdict: "pass", Since: before, Interval: 90 * time.Second, Text: "1 of 3 nodes", Runs: 1, At: at, Took: 1200 * time.Millisecond, Hung: true},
			{Name: "new", Verdict: "unknown", Interval: time.Hour},
			{Name: "promote"},
			{Name: "ready"},
		},
	}
}

func (s *scripted) Status() *control.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	edge := control.Router{Name: "edge", Group: true, Members: []string{"wan"}, Role: "FAULT", Master: "lb2", Why: "haproxy fails"}
	status := &control.Status{Node: "lb1", Version: "1.1.0", Upgraded: s.upgraded, Routers: []control.Router{edge, s.router}}
	for _, c := range s.checks {
		if c.Forced != nil {
			status.Problems = append(status.Problems, control.Problem{Text: c.Name + " is forced", Hint: "end it", Routers: []string{"web"}})
		}
	}
	return status
}

func (s *scripted) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *scripted) Checks() []control.Check {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]control.Check(nil), s.checks...)
}

func (s *scripted) find(name string) (*control.Check, error) {
	for i := range s.checks {
		if s.checks[i].Name == name {
			return &s.checks[i], nil
		}
	}
	return nil, fmt.Errorf("there is no check %q", name)
}

func (s *scripted) RunCheck(_ context.Context, name string) (control.Check, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch name {
	case "promote":
		s.router.Role = "MASTER"
	case "ready":
		s.router.Ready = true
	}
	s.events = append(s.events, control.Event{Number: uint64(len(s.events) + 1), At: time.Now(), Kind: control.OperatorEvent, Name: name, What: "run"})
	close(s.changed)
	s.changed = make(chan struct{})
	c, err := s.find(name)
	if err != nil {
		return control.Check{}, err
	}
	return *c, nil
}

// Reload has changes to tell, and mistakes where they are to be applied.
func (s *scripted) Reload(_ context.Context, dryRun bool, _ string) (control.Reload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !dryRun {
		s.reloads++
	}
	switch s.reloads {
	case 1:
		e := control.Errorf(control.Mistaken, "Nothing has been changed: baton goes on with configuration 3f9a2c17")
		e.Mistakes = "baton.yaml:8:3: error: unknown key \"prioritty\"\n1 error\n"
		return control.Reload{}, e
	case 3:
		return control.Reload{Before: "5b1e77aa", After: "5b1e77aa"}, nil
	}
	return control.Reload{DryRun: dryRun, Before: "3f9a2c17", After: "5b1e77aa", Unchanged: control.Unchanged{Routers: 3, Checks: 1}, Changes: []control.Difference{
		{Name: "public", What: "prefer: controller-1 to controller-2", Cost: "priority 200 to 190; stays MASTER (preempt: false)"},
		{Name: "haproxy", What: "interval: 500ms to 200ms", Cost: "keeps its verdict (pass)"},
	}}, nil
}

// Upgrade is to a binary whose name is its version; to old it is refused.
func (s *scripted) Upgrade(_ context.Context, binary string) (control.Upgrade, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if filepath.Base(binary) == "old" {
		return control.Upgrade{}, control.Errorf(control.Refused, "%s validate: exit 3", binary)
	}
	before := s.upgraded
	s.upgraded = time.Now()
	return control.Upgrade{From: "1.0.0", To: "1.1.0", PID: 4338, Binary: binary, Before: before}, nil
}

func (s *scripted) ForceCheck(name string, f control.Forced) (control.Check, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.find(name)
	if err != nil {
		return control.Check{}, err
	}
	c.Forced = &f
	if f.Verdict == "" {
		c.Forced = nil
	}
	return *c, nil
}

// Order does what the name of the router asks for.
func (s *scripted) Order(ctx context.Context, o control.Order) (control.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	web := control.Outcome{Router: "web", From: "MASTER", To: "FAULT", OK: true, Text: "lb2 was heard after 258ms; the address was held for 271ms"}
	stays := control.Outcome{Router: "edge", From: "MASTER", To: "MASTER", Text: "nobody took over within 3.26s, the address never left: does eth0 work on lb2?"}
	r := control.Result{Node: "lb1"}
	switch o.Kind {
	case control.StandbyOrder:
		r.Standby = &control.Standby{Since: time.Now(), By: o.By}
		if o.For > 0 {
			r.Standby.Until = time.Now().Add(o.For)
		}
		r.Outcomes = []control.Outcome{stays, web}
		if len(o.Routers) == 1 {
			r.Outcomes = map[string][]control.Outcome{"web": {web}, "edge": {stays}}[o.Routers[0]]
		}
		for _, name := range []string{"admin", "redis"} {
			if len(o.Routers) == 0 {
				r.Outcomes = append(r.Outcomes, control.Outcome{Router: name, From: "BACKUP", To: "FAULT", OK: true, Text: "held out"})
			}
		}
		if o.Reason == "full disk" {
			r.Unsaved = "write the standby file: no space left on device"
		}
		if o.Reason == "hang" {
			s.router.Role = "FAULT"
			close(s.changed)
			s.changed = make(chan struct{})
			s.mu.Unlock()
			<-ctx.Done()
			s.mu.Lock()
		}
	case control.TakeoverOrder:
		return r, control.Errorf(control.Refused, "lb2 has priority 200, which is above 190 here: it would take the role back at once")
	default:
		web.Text = string(o.Kind) + " is done"
		r.Outcomes = []control.Outcome{web}
	}
	return r, nil
}

func (s *scripted) LogLevel() control.LogLevel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.level
}

func (s *scripted) SetLogLevel(level string, lasting time.Duration, by string) (control.LogLevel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level = control.LogLevel{Level: "info", Configured: "info"}
	if level != "" {
		s.level = control.LogLevel{Level: level, Configured: "info", Until: time.Now().Add(lasting), By: by}
	}
	return s.level, nil
}

func (s *scripted) Events(after uint64) (control.Events, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := uint64(len(s.events))
	return control.Events{Since: s.began, Newest: newest, Events: s.events[min(after, newest):]}, s.changed
}

func (s *scripted) Cluster(context.Context) (*control.Cluster, error) {
	return nil, control.Errorf(control.Refused, "the configuration names no other node")
}
