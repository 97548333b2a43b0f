package role

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/service"
	"baton/internal/trial"
)

// stage is a sequence with fake services, and all that happens on it.
type stage struct {
	*Sequence
	t      *testing.T
	start  time.Time
	log    trial.Log
	actors map[string]*actor
	absent bool // nobody puts the addresses on
	hear   func(Report)

	mu     sync.Mutex
	events []string // "2s start db" for one begun two seconds after the beginning
}

// actor is a Control that does as it is told. What has no time in takes is done at once.
type actor struct {
	stage *stage
	name  string

	mu      sync.Mutex
	state   service.State
	text    string
	takes   map[string]time.Duration // by "start", "stop", "status", "follow"
	fails   map[string]error
	deaf    bool // does not care about the end of a context
	busy    bool
	asked   int
	changed func()
}

// watched is an actor that tells of its changes, follower one that follows.
type watched struct{ *actor }

type follower struct{ *actor }

func (a *actor) act(ctx context.Context, verb, what string, then service.State) error {
	if ctx.Err() != nil {
		return ctx.Err() // it was called off before it was begun
	}
	a.mu.Lock()
	if a.busy {
		a.stage.t.Errorf("%s of %s overlaps another call", verb, a.name)
	}
	a.busy = true
	takes, fails, deaf := a.takes[verb], a.fails[verb], a.deaf
	a.mu.Unlock()
	if what != "" {
		a.stage.event(what)
	}
	defer func() {
		a.mu.Lock()
		a.busy = false
		a.mu.Unlock()
	}()
	// No timer where there is nothing to wait for: with the race detector, the runtime of Go 1.26 at times crashes on one in a
	// bubble that is due at once.
	now := make(chan struct{})
	close(now)
	var after <-chan time.Time
	if takes > 0 {
		after, now = time.After(takes), nil
	}
	done := ctx.Done()
	if deaf {
		done = nil
	}
	select {
	case <-now:
	case <-after:
	case <-done:
		if what != "" {
			a.stage.event("cut " + what)
		}
		return ctx.Err()
	}
	if fails == nil && then != service.Unknown {
		a.set(then)
	}
	return fails
}

func (a *actor) Start(ctx context.Context, t Transition) error {
	return a.act(ctx, "start", "start "+a.name, service.Running)
}

func (a *actor) Stop(ctx context.Context, t Transition) error {
	return a.act(ctx, "stop", "stop "+a.name, service.Stopped)
}

func (a *actor) Status(ctx context.Context, t Transition) service.Status {
	err := a.act(ctx, "status", "", service.Unknown)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if err != nil {
		return service.Status{Text: err.Error()}
	}
	return service.Status{State: a.state, Text: a.text}
}

func (a *actor) set(s service.State) {
	a.mu.Lock()
	a.state = s
	changed := a.changed
	a.mu.Unlock()
	if changed != nil {
		changed()
	}
}

func (a *actor) take(verb string, d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.takes[verb] = d
}

func (a *actor) say(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text = text
}

func (a *actor) fail(verb string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails[verb] = err
}

func (a watched) Watch(ctx context.Context, changed func()) {
	a.mu.Lock()
	a.changed = changed
	a.mu.Unlock()
	<-ctx.Done()
}

func (a follower) Follow(ctx context.Context, t Transition) error {
	if t.Master == "stranger" {
		return fmt.Errorf("%w: needs $master.cluster", errNobodyToFollow)
	}
	return a.act(ctx, "follow", "follow "+a.name+" "+t.Master, service.Stopped)
}

func (st *stage) event(what string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.events = append(st.events, fmt.Sprintf("%v %s", time.Since(st.start).Round(time.Millisecond), what))
}

func (st *stage) reported(r Report) {
	names := map[ReportKind]string{AddressesOn: "AddressesOn", AddressesOff: "AddressesOff", Ready: "Ready", Stopped: "Stopped",
		StartFailed: "StartFailed", Died: "Died", Lost: "Lost", StopFailed: "StopFailed"}
	line := fmt.Sprintf("%d %s", r.Order, names[r.Kind])
	if r.Service != "" {
		line += " " + r.Service + ": " + r.Text
	}
	st.event(line)
	if st.hear != nil {
		st.hear(r)
	}
	if r.Kind == AddressesOn && !st.absent {
		st.Placed(r.Order)
	}
}

// newStage has one item for each name; "-" is the mark of the addresses, "name*" a service that is watched, "name>" one
// that follows.
func newStage(t *testing.T, names string, with func(map[string]*Item)) *stage {
	st := &stage{t: t, start: time.Now(), actors: map[string]*actor{}}
	var items []*Item
	byName := map[string]*Item{}
	for _, name := range strings.Fields(names) {
		if name == "-" {
			items = append(items, &Item{Addresses: true})
			continue
		}
		a := &actor{stage: st, name: strings.Trim(name, "*>"), state: service.Stopped, takes: map[string]time.Duration{}, fails: map[string]error{}}
		item := &Item{Name: a.name, Control: a}
		switch {
		case strings.HasSuffix(name, "*"):
			item.Control = watched{a}
		case strings.HasSuffix(name, ">"):
			item.Control = follower{a}
		}
		st.actors[a.name], byName[a.name] = a, item
		items = append(items, item)
	}
	if with != nil {
		with(byName)
	}
	o := Options{Router: Router{Name: "web"}, Report: st.reported, Log: slog.New(slog.NewTextHandler(&st.log, nil))}
	for _, i := range items {
		o.Items = append(o.Items, *i)
		o.Everywhere = o.Everywhere || i.Name == "everywhere"
	}
	st.Sequence = NewSequence(o)
	return st
}

// at waits until a moment after the beginning, when all that was due then is done.
func (st *stage) at(after time.Duration) {
	synctest.Wait()
	time.Sleep(after - time.Since(st.start))
	synctest.Wait()
}

// wants compares what happened, and forgets it.
func (st *stage) wants(want ...string) {
	st.t.Helper()
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	if diff := cmp.Diff(want, st.events); diff != "" {
		st.t.Errorf("after %v (-want +got):\n%s\nlog:\n%s", time.Since(st.start), diff, &st.log)
	}
	st.events = nil
}

func (st *stage) logs(times int, text string) {
	st.t.Helper()
	synctest.Wait()
	if got := strings.Count(st.log.String(), text); got != times {
		st.t.Errorf("the log has %q %d times, want %d:\n%s", text, got, times, &st.log)
	}
}

func (st *stage) end() {
	st.t.Helper()
	if err := st.Close(context.Background()); err != nil {
		st.t.Errorf("Close: %v", err)
	}
}

const s = time.Second
