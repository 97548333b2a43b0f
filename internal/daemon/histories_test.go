package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"baton/health"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
	"baton/internal/role"
	"baton/internal/service"
	"baton/internal/webhook"
	"baton/vip"
	"baton/vrrp"
)

// history is a node with real sequences of services, in a bubble of time: what they
// report, and what becomes of addresses, comes when it comes.
type history struct {
	*stage
	begin    time.Time
	sequence *role.Sequence
	actors   map[string]*actor
	master   atomic.Bool

	mu      sync.Mutex
	reports []role.Report
	wake    chan struct{} // there is a report
	seq     uint64        // of the newest Hold
	held    bool
	worker  time.Duration // when the address worker has done what is wished for; Never: it has
	wrong   []string
	trace   []string
}

// actor is a service that does as it is told.
type actor struct {
	h       *history
	name    string
	changed func()

	mu                    sync.Mutex
	state                 service.State
	takes                 time.Duration
	startFails, stopFails bool
}

func (a *actor) act(ctx context.Context, fails *bool, then service.State) error {
	a.mu.Lock()
	takes := a.takes
	a.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if *fails {
		return errors.New("no")
	}
	a.state = then
	return nil
}

func (a *actor) Start(ctx context.Context, _ role.Transition) error {
	a.h.say("start %s", a.name)
	if ctx.Err() == nil && !a.h.master.Load() {
		a.h.fault("%s is started on a node that is not master", a.name)
	}
	return a.act(ctx, &a.startFails, service.Running)
}

func (a *actor) Stop(ctx context.Context, _ role.Transition) error {
	a.h.say("stop %s", a.name)
	return a.act(ctx, &a.stopFails, service.Stopped)
}

func (a *actor) Status(context.Context, role.Transition) service.Status {
	return service.Status{State: a.get()}
}

func (a *actor) get() service.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

func (a *actor) Watch(ctx context.Context, changed func()) {
	a.mu.Lock()
	a.changed = changed
	a.mu.Unlock()
	<-ctx.Done()
}

func (a *actor) set(f func(*actor)) {
	a.mu.Lock()
	f(a)
	changed := a.changed
	a.mu.Unlock()
	if changed != nil {
		changed()
	}
}

func (h *history) say(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trace = append(h.trace, fmt.Sprintf("%v ", time.Since(h.begin).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (h *history) fault(format string, args ...any) {
	h.say("WRONG: "+format, args...)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrong = append(h.wrong, fmt.Sprintf(format, args...))
}

// historyAddresses is an address worker that takes 3 ms.
type historyAddresses struct{ h *history }

func (a historyAddresses) Hold(seq uint64) {
	a.h.seq, a.h.held, a.h.worker = seq, true, a.h.now+3*time.Millisecond
}

func (a historyAddresses) Release(addrs ...netip.Addr) {
	a.h.held, a.h.worker = false, a.h.now+3*time.Millisecond
}

func newHistory(t *testing.T, cfg *config.Config) *history {
	h := &history{stage: &stage{t: t}, begin: time.Now(), actors: map[string]*actor{}, worker: vrrp.Never, wake: make(chan struct{}, 1)}
	h.now = 1000 * time.Second
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	var items []role.Item
	for i, s := range cfg.Routers[0].Services {
		if i == cfg.Routers[0].AddressesAt && i > 0 {
			items = append(items, role.Item{Addresses: true})
		}
		a := &actor{h: h, name: s.Name, state: service.Stopped}
		h.actors[s.Name] = a
		items = append(items, role.Item{
			Name: s.Name, Control: a, StartTimeout: time.Minute, StopTimeout: s.StopTimeout,
			Revive: role.Revive{Tries: 2, Within: time.Minute, Backoff: time.Second},
		})
	}
	if cfg.Routers[0].AddressesAt == len(items) {
		items = append(items, role.Item{Addresses: true})
	}
	var err error
	h.n, err = newNode(cfg, log, outlets{
		send:      func(*uplink, link.MAC, netip.Addr, netip.Addr, []byte, bool) {},
		flush:     func() {},
		wall:      func() time.Duration { return h.now },
		addresses: func(vip.Router) addresses { return historyAddresses{h} },
		hooks:     func(r role.Router) hooks { return stageHooks{h.stage, r.Name} },
		services: func(_ config.Router, r role.Router) services {
			h.sequence = role.NewSequence(role.Options{Router: r, Items: items, Log: log, Report: func(rep role.Report) {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.reports = append(h.reports, rep)
				select {
				case h.wake <- struct{}{}:
				default:
				}
			}})
			return h.sequence
		},
		announce: func(webhook.Event) {},
		publish:  func(st *control.Status) { h.status = st },
		reboot:   func(string) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// turn does what is due by now, and what comes of it at once.
func (h *history) turn() {
	for range 1000 {
		synctest.Wait()
		h.now = 1000*time.Second + time.Since(h.begin)
		h.mu.Lock()
		reports := h.reports
		h.reports = nil
		h.mu.Unlock()
		for _, rep := range reports {
			h.say("report %d of %s: %s", rep.Kind, rep.Service, rep.Text)
			h.n.serviceReport(h.now, "web", rep)
		}
		if h.now >= h.worker {
			h.worker = vrrp.Never
			kind := vip.Off
			if h.held {
				kind = vip.On
			}
			h.n.addressEvent(h.now, vip.Event{Router: "web", Kind: kind, Seq: h.seq})
		}
		if h.n.deadline() <= h.now {
			h.n.expire(h.now)
		}
		h.master.Store(h.n.groups[0].isMaster())
		h.mu.Lock()
		quiet := len(h.reports) == 0
		h.mu.Unlock()
		if quiet && h.n.deadline() > h.now && h.now < h.worker {
			break
		}
	}
	synctest.Wait()
	h.look()
}

// look compares what is published with what is.
func (h *history) look() {
	h.mu.Lock()
	late := len(h.reports) > 0
	h.mu.Unlock()
	r := h.status.Routers[0]
	if !r.Ready || late {
		return
	}
	if r.Role != "MASTER" || !h.held {
		h.fault("ready as %s, addresses held: %t", r.Role, h.held)
	}
	for name, a := range h.actors {
		if a.get() != service.Running {
			h.fault("ready, and %s is %s", name, a.get())
		}
	}
}

// pass lets time pass.
func (h *history) pass(d time.Duration) {
	end := time.Now().Add(d)
	for h.turn(); time.Now().Before(end); h.turn() {
		next := min(h.n.deadline(), h.worker) - h.now
		select {
		case <-h.wake:
		case <-time.After(max(time.Microsecond, min(next, time.Until(end)))):
		}
	}
}

// Whatever happens in whatever order: what is published is true at each moment,
// nothing is started on a node that is not master, and in the end everything is in
// place that belongs to the role, or has been let go.
func TestServices_RandomHistories(t *testing.T) {
	type step struct {
		what, who string
		pause     time.Duration
	}
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			what: rapid.SampledFrom([]string{"link down", "link up", "osc fails", "osc passes", "majority fails", "majority passes",
				"better", "worse", "gone", "dies", "start fails", "starts", "stop fails", "stops", "slow", "fast", "leave", "let"}).Draw(t, "what"),
			who:   rapid.SampledFrom([]string{"a", "b"}).Draw(t, "who"),
			pause: rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, 5 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second, 8 * time.Second}).Draw(t, "pause"),
		}
	}), 0, 14)
	rapid.Check(t, func(rt *rapid.T) {
		plan := steps.Draw(rt, "steps")
		marked, policy := rapid.IntRange(0, 2).Draw(rt, "mark"), rapid.SampledFrom([]config.OnStopFailure{config.StopFailureHold, config.StopFailureRelease}).Draw(rt, "policy")
		var wrong, trace []string
		synctest.Test(t, func(t *testing.T) {
			cfg := served(false)
			web := &cfg.Routers[0]
			web.AddressesAt, web.OnStopFailure, web.PromoteAfter = marked, policy, time.Second
			web.Services = []config.Service{{Name: "a", StopTimeout: 5 * time.Second}, {Name: "b", StopTimeout: 5 * time.Second}}
			web.Track = append(web.Track, track("majority", config.Fault, 0, config.Always))
			cfg.Checks = []config.Check{{Name: "majority", Type: config.QuorumCheck}, {Name: "osc", Type: config.HTTPCheck}}
			h := newHistory(t, cfg)
			h.start()
			h.verdict("osc", health.Pass, "")
			h.verdict("majority", health.Pass, "")
			h.pass(8 * time.Second)
			left, let := false, false
			for _, s := range plan {
				h.say("STEP %s %s", s.what, s.who)
				h.step(s.what, s.who)
				left, let = left || s.what == "leave", let || left && s.what == "let"
				h.pass(s.pause)
			}
			for _, a := range h.actors {
				a.set(func(a *actor) { a.takes, a.startFails, a.stopFails = 0, false, false })
			}
			h.step("link up", "")
			h.step("osc passes", "")
			h.step("majority passes", "")
			h.pass(20 * time.Minute)
			h.end(left, let)
			if err := h.sequence.Close(t.Context()); err != nil {
				h.fault("%v", err)
			}
			wrong, trace = h.wrong, h.trace
		})
		for _, w := range wrong {
			rt.Error(w)
		}
		if len(wrong) > 0 {
			rt.Log(strings.Join(trace, "\n"))
		}
	})
}

func (h *history) step(what, who string) {
	a := h.actors[who]
	switch what {
	case "link down":
		h.link(eth(false, "10.0.0.1/24"))
	case "link up":
		h.link(eth(true, "10.0.0.1/24"))
	case "osc fails", "majority fails":
		h.verdict(strings.Fields(what)[0], health.Fail, "no")
	case "osc passes", "majority passes":
		h.verdict(strings.Fields(what)[0], health.Pass, "")
	case "better":
		h.hear(peerAddr, 210)
	case "worse":
		h.hear(peerAddr, 100)
	case "gone":
		h.hear(peerAddr, 0)
	case "dies":
		a.set(func(a *actor) { a.state = service.Stopped })
	case "start fails", "starts":
		a.set(func(a *actor) { a.startFails = what == "start fails" })
	case "stop fails", "stops":
		a.set(func(a *actor) { a.stopFails = what == "stop fails" })
	case "slow", "fast":
		a.set(func(a *actor) {
			if a.takes = 0; what == "slow" {
				a.takes = 7 * time.Second
			}
		})
	case "leave":
		if !h.n.leaving {
			h.n.leave(h.now)
		}
	case "let":
		if h.n.leaving {
			h.n.let(h.now)
		}
	}
	h.master.Store(h.n.groups[0].isMaster() || h.master.Load())
}

// end looks at what is left.
func (h *history) end(left, let bool) {
	r, last := h.status.Routers[0], role.State("")
	for _, t := range h.told {
		if !t.Reassert {
			last = t.To
		}
	}
	switch {
	case let:
		if !h.n.gone() || last != role.Stop {
			h.fault("after two signals: gone %t, told %s", h.n.gone(), last)
		}
	case left && !h.n.stuck():
		if !h.n.gone() || last != role.Stop {
			h.fault("after a signal: gone %t, told %s", h.n.gone(), last)
		}
		for name, a := range h.actors {
			if a.get() != service.Stopped && !strings.Contains(strings.Join(h.trace, "\n"), "report 8") {
				h.fault("after a signal %s is %s", name, a.get())
			}
		}
	default:
		if r.Role != "MASTER" || !r.Ready || last != role.Master {
			h.fault("in the end %s, ready %t, told %s: %s", r.Role, r.Ready, last, r.Why)
		}
	}
}
