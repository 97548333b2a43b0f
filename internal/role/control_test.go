package role

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/command"
	"baton/internal/service"
)

// answers are the results of fake commands, by their words.
type answers map[string]command.Result

// run records what is run, with its time limit, in ran.
func (a answers) run(ran *[]string) RunFunc {
	return func(_ context.Context, h Hook, argv, _ []string) command.Result {
		line := strings.Join(argv, " ")
		*ran = append(*ran, line+" within "+h.Timeout.String())
		return a[line]
	}
}

func hook(words string) *Hook { return &Hook{Argv: strings.Fields(words)} }

var (
	no        = command.Result{Exit: 1, Output: []byte("no\n")}
	noCommand = command.Result{Err: errors.New("check-x: not found")}
	hangs     = command.Result{TimedOut: true, Timeout: 3 * time.Second, Exit: -1}
	said      = command.Result{TimedOut: true, Timeout: 3 * time.Second, Exit: -1, Output: []byte("asked it\n")}
)

func TestCommandControl_Status(t *testing.T) {
	tests := []struct {
		name     string
		commands Commands
		answers  answers
		to       State
		want     service.Status
		ran      string
	}{
		{"runs", Commands{Start: hook("up"), Status: hook("check")}, answers{"check": {Output: []byte("pid 4338\n")}}, Backup,
			service.Status{State: service.Running, Text: "pid 4338"}, "check"},
		{"does not", Commands{Start: hook("up"), Status: hook("check")}, answers{"check": no}, Master,
			service.Status{State: service.Stopped, Text: "exit 1: no"}, "check"},
		{"killed is no yes", Commands{Start: hook("up"), Status: hook("check")}, answers{"check": {Exit: -1, Signal: "SIGSEGV"}}, Master,
			service.Status{State: service.Stopped, Text: "killed by SIGSEGV"}, "check"},
		{"cannot be run", Commands{Start: hook("up"), Status: hook("check")}, answers{"check": noCommand}, Master,
			service.Status{Text: "status command check: check-x: not found", Hint: "run it by hand, as the same user"}, "check"},
		{"does not end", Commands{Start: hook("up"), Status: hook("check")}, answers{"check": hangs}, Master,
			service.Status{Text: "status command check: was still running, and was killed", Hint: "run it by hand, as the same user"}, "check"},
		{"has a limit of its own", Commands{Start: hook("up"), Status: &Hook{Argv: []string{"check"}, Timeout: 3 * time.Second}}, answers{"check": hangs}, Master,
			service.Status{Text: "status command check: timed out after 3s", Hint: "run it by hand, as the same user"}, "check"},
		{"nobody can tell", Commands{Start: hook("up")}, nil, Master, service.Status{}, ""},
		{"master, as it should", Commands{Promote: hook("up"), Status: hook("check $role")}, answers{}, Master,
			service.Status{State: service.Running}, "check MASTER"},
		{"no master, as it should be", Commands{Promote: hook("up"), Status: hook("check $role")}, answers{"check MASTER": no}, Master,
			service.Status{State: service.Stopped, Text: "exit 1: no"}, "check MASTER"},
		{"backup, as it should", Commands{Promote: hook("up"), Status: hook("check --role=$role")}, answers{}, Backup,
			service.Status{State: service.Stopped}, "check --role=BACKUP"},
		{"in FAULT it should be backup", Commands{Promote: hook("up"), Status: hook("check $role")}, answers{}, Fault,
			service.Status{State: service.Stopped}, "check BACKUP"},
		{"master, as it should not", Commands{Promote: hook("up"), Status: hook("check $role")}, answers{"check BACKUP": no}, Stop,
			service.Status{State: service.Running}, "check BACKUP, check MASTER"},
		{"neither", Commands{Promote: hook("up"), Status: hook("check $role")}, answers{"check BACKUP": no, "check MASTER": no}, Backup,
			service.Status{Text: "neither BACKUP nor MASTER: exit 1: no"}, "check BACKUP, check MASTER"},
		{"neither can be asked", Commands{Promote: hook("up"), Status: hook("check $role")}, answers{"check BACKUP": hangs}, Backup,
			service.Status{Text: "status command check: was still running, and was killed", Hint: "run it by hand, as the same user"}, "check BACKUP"},
		{"a dollar sign is no role", Commands{Promote: hook("up"), Status: hook("check $$role")}, answers{}, Backup,
			service.Status{State: service.Running}, "check $role"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ran []string
				c := NewCommandControl(tt.commands, Router{Name: "web"}, tt.answers.run(&ran), nil)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				if diff := cmp.Diff(tt.want, c.Status(ctx, Transition{To: tt.to})); diff != "" {
					t.Errorf("status (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.ran, strings.ReplaceAll(strings.Join(ran, ", "), " within 3s", "")); diff != "" {
					t.Errorf("commands (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestCommandControl_WithoutStatus(t *testing.T) {
	var ran []string
	results := answers{}
	c := NewCommandControl(Commands{Start: hook("up")}, Router{}, results.run(&ran), nil)
	state := func(want service.State) {
		t.Helper()
		if got := c.Status(t.Context(), Transition{}); got != (service.Status{State: want}) {
			t.Errorf("%+v, want %v", got, want)
		}
	}
	state(service.Unknown)
	if err := c.Start(t.Context(), master); err != nil {
		t.Error(err)
	}
	state(service.Running)
	if err := c.Stop(t.Context(), backup); err != nil { // without a command
		t.Error(err)
	}
	state(service.Stopped)
	results["up"] = no
	if err := c.Start(t.Context(), master); err == nil || err.Error() != "start command up: exit 1: no" {
		t.Errorf("start: %v", err)
	}
	state(service.Unknown)
	if diff := cmp.Diff([]string{"up within 30s", "up within 30s"}, ran); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

func TestCommandControl_Role(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran []string
		lookup := func(node, network string) (string, bool) { return "172.20.1.12", node == "lb2" && network == "cluster" }
		r := Router{Name: "redis", Node: "lb1"}
		results := answers{"demote redis FAULT": no, "follow 172.20.1.12 6379": said}
		c := NewCommandControl(Commands{
			Promote: hook("promote $router $role"), Demote: hook("demote $router $role"), Follow: hook("follow $master.cluster 6379"),
		}, r, results.run(&ran), lookup)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		f, ok := c.(Follower)
		if !ok {
			t.Fatal("it does not follow")
		}
		for _, tt := range []struct {
			do   func() error
			want string
		}{
			{func() error { return c.Start(ctx, master) }, ""},
			{func() error { return c.Stop(ctx, backup) }, ""},
			{func() error { return c.Stop(ctx, Transition{To: Fault}) }, "demote command demote: exit 1: no"},
			{func() error { return f.Follow(ctx, Transition{Master: "lb2"}) }, "follow command follow: was still running, and was killed: asked it"},
			{func() error { return f.Follow(ctx, Transition{Master: "10.0.0.7"}) },
				`nobody to follow: the follow command needs $master.cluster, and the master ("10.0.0.7") is no node that has it`},
			{func() error { return f.Follow(ctx, Transition{}) },
				`nobody to follow: the follow command needs $master.cluster, and the master ("") is no node that has it`},
		} {
			got := ""
			if err := tt.do(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		}
		want := []string{"promote redis MASTER within 1m0s", "demote redis BACKUP within 1m0s", "demote redis FAULT within 1m0s", "follow 172.20.1.12 6379 within 1m0s"}
		if diff := cmp.Diff(want, ran); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
		if _, ok := NewCommandControl(Commands{Promote: hook("x")}, r, nil, nil).(Follower); ok {
			t.Error("it follows without a command")
		}
	})
}

// One that was killed and hangs in the kernel is not joined by another.
func TestCommandControl_NothingOverlapsWhatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran []string
		left := make(chan struct{})
		stuck := command.Result{TimedOut: true, Timeout: time.Second, Left: left}
		results := answers{"up": stuck, "check": stuck}
		c := NewCommandControl(Commands{Start: hook("up"), Stop: hook("down"), Status: hook("check")}, Router{}, results.run(&ran), nil)
		within := func(do func(context.Context) error) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			return do(ctx)
		}
		stop := func(ctx context.Context) error { return c.Stop(ctx, backup) }
		if err := within(func(ctx context.Context) error { return c.Start(ctx, master) }); err == nil ||
			err.Error() != "start command up: was still running, and was killed, and does not end" {
			t.Errorf("start: %v", err)
		}
		c.Status(t.Context(), master)
		if got := c.Status(t.Context(), master); got.State != service.Unknown || !strings.Contains(got.Text, "does not end") {
			t.Errorf("status: %+v", got)
		}
		if err := within(stop); err == nil || err.Error() != "stop command down was not run: an earlier one was killed and does not end, see ps" {
			t.Errorf("stop: %v", err)
		}
		time.AfterFunc(20*time.Second, func() { close(left) })
		results["check"] = command.Result{}
		if err := within(stop); err != nil {
			t.Errorf("stop: %v", err)
		}
		if got := c.Status(t.Context(), master).State; got != service.Running {
			t.Errorf("status: %v", got)
		}
		if diff := cmp.Diff([]string{"up within 1m0s", "check within 30s", "down within 40s", "check within 30s"}, ran); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
	})
}

// A whole sequence with real commands: their environment, what they leave, and that a group of processes is ended.
func TestCommandControl_Scripts(t *testing.T) {
	dir := scripts(t)
	flag := filepath.Join(dir, "runs")
	seen := filepath.Join(dir, "seen")
	run := Exec(newRunner(t).Run, dir)
	c := Commands{
		Start: &Hook{Argv: []string{script(t, dir, "start", `echo "start $* $BATON_ROUTER $BATON_STATE $BATON_TAKEOVER $TOKEN" >>`+seen+`; touch `+flag), "$previous_master"},
			Env: []string{"TOKEN=x"}},
		Stop:   hook(script(t, dir, "stop", `echo stop >>`+seen+`; rm -f `+flag)),
		Status: hook(script(t, dir, "status", `test -e `+flag)),
	}
	hung := Commands{Start: hook(script(t, dir, "hang", `sleep 1000 & sleep 1000`))}
	reports := make(chan Report, 10)
	sequence := NewSequence(Options{
		Router: Router{Name: "web"},
		Items: []Item{
			{Name: "a", Control: NewCommandControl(c, Router{Name: "web", Node: "lb1"}, run, nil)},
			{Name: "b", StartTimeout: 300 * time.Millisecond, Control: NewCommandControl(hung, Router{}, run, nil)},
		},
		Report: func(r Report) { reports <- r }, Log: quiet(),
	})
	next := func() Report {
		t.Helper()
		select {
		case r := <-reports:
			return r
		case <-time.After(20 * time.Second):
			t.Fatal("no report")
		}
		return Report{}
	}
	sequence.Start(1, Transition{To: Master, Takeover: "silence", PreviousMaster: "lb2"}, 0)
	want := Report{Order: 1, Kind: StartFailed, Service: "b", Text: "b did not start within 300ms: start command " + filepath.Join(dir, "hang") + ": was still running, and was killed"}
	if diff := cmp.Diff(want, next()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(flag); err != nil {
		t.Error(err)
	}
	sequence.Stop(2, Transition{To: Fault}, false)
	if diff := cmp.Diff(Report{Order: 2, Kind: Stopped}, next()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if err := sequence.Close(t.Context()); err != nil {
		t.Error(err)
	}
	got, _ := os.ReadFile(seen)
	if diff := cmp.Diff("start lb2 web MASTER silence x\nstop\n", string(got)); diff != "" {
		t.Errorf("what the commands saw (-want +got):\n%s", diff)
	}
}

type plain struct{ service.Service }

func (plain) Start(context.Context) error           { return errors.New("started") }
func (plain) Stop(context.Context) error            { return errors.New("stopped") }
func (plain) Status(context.Context) service.Status { return service.Status{State: service.Failed} }

type telling struct{ plain }

func (telling) Watch(_ context.Context, changed func()) { changed() }

func TestFixed(t *testing.T) {
	for _, c := range []Control{Fixed(plain{}), Fixed(telling{})} {
		if err := c.Start(t.Context(), master); err == nil || err.Error() != "started" {
			t.Errorf("start: %v", err)
		}
		if err := c.Stop(t.Context(), backup); err == nil || err.Error() != "stopped" {
			t.Errorf("stop: %v", err)
		}
		if got := c.Status(t.Context(), master).State; got != service.Failed {
			t.Errorf("status: %v", got)
		}
	}
	if _, ok := Fixed(plain{}).(service.Watcher); ok {
		t.Error("one that does not tell of changes is a Watcher")
	}
	told := 0
	Fixed(telling{}).(service.Watcher).Watch(t.Context(), func() { told++ })
	if told != 1 {
		t.Error("Watch is not passed on")
	}
}
