package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
	"baton/internal/record"
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
	wished   atomic.Bool // that the services run

	mu      sync.Mutex
	reports []role.Report
	wake    chan struct{} // there is a report
	others  []*history    // on the same link
	packets []link.Packet // from them
	seq     uint64        // of the newest Hold
	orders  int           // that were given and are not over
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
	if ctx.Err() == nil && !a.h.wished.Load() {
		a.h.fault("%s is started though it is to be stopped", a.name)
	}
	for _, other := range a.h.others {
		if s := other.actors[a.name]; s.get() == service.Running {
			a.h.fault("%s is started here while it runs there", a.name)
		}
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

// historyServices is the sequence as the loop sees it.
type historyServices struct {
	*role.Sequence
	h *history
}

func (v historyServices) Start(order uint64, t role.Transition, delay time.Duration) {
	if !v.h.n.groups[0].isMaster() {
		v.h.fault("services start on a node that is not master")
	}
	v.h.wished.Store(true)
	v.Sequence.Start(order, t, delay)
}

func (v historyServices) Stop(order uint64, t role.Transition, chosen bool) {
	v.Sequence.Stop(order, t, chosen)
	v.h.wished.Store(false)
}

// historyAddresses is an address worker that takes 3 ms.
type historyAddresses struct{ h *history }

func (historyAddresses) Announced(netip.Addr) (int, time.Duration) { return 0, 0 }

func (a historyAddresses) Hold(seq uint64) {
	a.h.seq, a.h.held, a.h.worker = seq, true, a.h.now+3*time.Millisecond
}

func (historyAddresses) Lend() {}

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
		record: func(string, record.State) {},
		send: func(_ *uplink, _ link.MAC, src, dst netip.Addr, message []byte, _ bool) {
			for _, other := range h.others {
				other.packets = append(other.packets, link.Packet{Src: src, Dst: dst, TTL: 255, Payload: slices.Clone(message)})
			}
		},
		flush:     func() {},
		wall:      func() time.Duration { return h.now },
		addresses: func(vip.Router) addresses { return historyAddresses{h} },
		hooks:     func(r role.Router) hooks { return &stageHooks{h.stage, r.Name} },
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
			return historyServices{h.sequence, h}
		},
		announce: func(webhook.Event) {},
		event:    func(control.EventKind, string, string, string) {},
		keep:     func(savedStandby) {},
		publish:  func(s *snapshot) { h.status = s.read(h.now, time.Unix(0, 0)) },
		reboot:   func(string) {},
		confirm:  func(q confirmation, _ time.Duration) { h.question = q },
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask asks the other node what a new master wants to have confirmed.
func (h *history) ask() {
	for _, other := range h.others {
		q := h.question
		if q.node != other.n.cfg.Node || other.status == nil {
			continue
		}
		status := *other.status
		status.Routers = slices.Clone(status.Routers)
		status.Routers[0].Services = statesOf(other.sequence)
		if stoppedAt(&status, q) == nil {
			h.say("%s confirms", q.node)
			h.question = confirmation{}
			h.n.confirmed(h.now, q, nil)
		}
	}
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
		for len(h.packets) > 0 {
			p := h.packets[0]
			h.packets = h.packets[1:]
			if h.n.uplink("eth0").state.Up {
				h.n.packet(h.now, h.n.uplink("eth0"), p)
			}
		}
		h.ask()
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
func (h *history) pass(d time.Duration) { pass(d, h) }

func pass(d time.Duration, all ...*history) {
	end := time.Now().Add(d)
	for {
		for again := true; again; {
			again = false
			for _, h := range all {
				h.turn()
			}
			for _, h := range all {
				again = again || len(h.packets) > 0
			}
		}
		if !time.Now().Before(end) {
			return
		}
		next := time.Until(end)
		for _, h := range all {
			next = min(next, min(h.n.deadline(), h.worker)-h.now)
		}
		select {
		case <-all[0].wake:
		case <-all[len(all)-1].wake:
		case <-time.After(max(time.Microsecond, next)):
		}
	}
}

func (historyServices) Rebind(config.Router, role.Router) {}
