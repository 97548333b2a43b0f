package vrrptest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"baton/vrrp"
)

// The properties hold for whatever happens on a LAN of two to five nodes with
// one virtual router. rapid runs 100 histories of each; for a long run:
//
//	go test ./vrrp/vrrptest -run Property -rapid.checks=20000

var address = netip.MustParseAddr("192.0.2.100")

// world is a LAN under test with what is known of its nodes beside their
// states.
type world struct {
	t        *rapid.T
	lan      *LAN
	routers  []*Router
	interval time.Duration
	preempt  bool // everywhere
	stopped  map[*Router]bool
	faulty   map[*Router]bool
	history  []string
	roles    map[*Router]vrrp.Role
	changes  []holding
}

// holding is the number of nodes that have the address from a time on.
type holding struct {
	at    time.Duration
	nodes int
}

func newWorld(t *rapid.T) *world {
	w := &world{
		t:        t,
		lan:      New(rapid.Uint64().Draw(t, "seed")),
		interval: rapid.SampledFrom([]time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second}).Draw(t, "interval"),
		preempt:  rapid.Bool().Draw(t, "preempt"),
		stopped:  make(map[*Router]bool),
		faulty:   make(map[*Router]bool),
		roles:    make(map[*Router]vrrp.Role),
	}
	w.lan.Install = time.Millisecond
	w.lan.Delay = w.draw("delay", w.interval/20)
	w.lan.Trace = w.trace
	nodes := rapid.IntRange(2, 5).Draw(t, "nodes")
	for i := range nodes {
		n := w.lan.Node(fmt.Sprintf("n%d", i+1), netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}))
		n.Clock(1000*time.Second+w.draw("clock", time.Second), rapid.Int64Range(-200, 200).Draw(t, "drift"))
		r, err := n.Add(vrrp.Config{
			Family: vrrp.IPv4, VRID: 51, Interval: w.interval,
			Priority:  w.priority(),
			Preempt:   w.preempt || rapid.Bool().Draw(t, "node preempts"),
			Addresses: []netip.Addr{address},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.routers = append(w.routers, r)
		r.Step(vrrp.Event{Kind: vrrp.Startup})
	}
	return w
}

func (w *world) draw(what string, most time.Duration) time.Duration {
	return time.Duration(rapid.Int64Range(0, int64(most)).Draw(w.t, what))
}

// priority is often one that another node has as well.
func (w *world) priority() uint8 {
	return rapid.OneOf(rapid.SampledFrom([]uint8{1, 100, 200, 254, 255}), rapid.Uint8Range(1, 255)).Draw(w.t, "priority")
}

func (w *world) router() *Router { return rapid.SampledFrom(w.routers).Draw(w.t, "router") }

func (w *world) log(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%10.6f ", w.lan.Now().Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) failf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.history, "\n"))
}

// trace checks what holds at every moment.
func (w *world) trace(r Record) {
	if !r.Periodic {
		w.log("%s %s", r.Router.Node.Name, r)
	}
	switch r.Action.Kind {
	case vrrp.Change:
		if r.Action.From != w.roles[r.Router] || r.Action.To == r.Action.From {
			w.failf("%s was %s", r.Router.Node.Name, w.roles[r.Router])
		}
		w.roles[r.Router] = r.Action.To
	case vrrp.NoAction:
		w.changes = append(w.changes, holding{r.At, len(w.lan.Holders(address))})
	}
}

// happen lets one thing happen.
func (w *world) happen(what string) {
	r := w.router()
	switch what {
	case "priority":
		p := w.priority()
		w.log("priority of %s: %d", r.Node.Name, p)
		r.Step(vrrp.Event{Kind: vrrp.Reprioritised, Priority: p})
	case "fault", "deaf":
		w.log("%s of %s", what, r.Node.Name)
		w.faulty[r] = true
		r.Step(vrrp.Event{Kind: vrrp.Faulty, Deaf: what == "deaf", Reason: what})
	case "recover":
		w.log("%s recovers", r.Node.Name)
		delete(w.faulty, r)
		r.Step(vrrp.Event{Kind: vrrp.Recovered})
	case "stop":
		w.log("%s stops", r.Node.Name)
		w.stopped[r] = true
		r.Step(vrrp.Event{Kind: vrrp.Shutdown})
	case "hand over":
		w.log("%s hands over", r.Node.Name)
		r.Step(vrrp.Event{Kind: vrrp.HandOver, To: vrrp.Backup})
	case "take over":
		w.log("%s takes over", r.Node.Name)
		r.Step(vrrp.Event{Kind: vrrp.TakeOver})
	case "cut", "heal":
		other := w.router()
		w.log("%s %s > %s", what, r.Node.Name, other.Node.Name)
		if what == "cut" {
			w.lan.Cut(r.Node, other.Node)
		} else {
			w.lan.Heal(r.Node, other.Node)
		}
	case "pause", "freeze":
		w.log("%s %s", what, r.Node.Name)
		if !r.Node.Paused() {
			r.Node.Pause(what == "freeze")
		}
	case "resume":
		w.log("resume %s", r.Node.Name)
		r.Node.Resume()
	case "weather":
		w.lan.Loss = rapid.Float64Range(0, 0.5).Draw(w.t, "loss")
		w.lan.Duplicate = rapid.Float64Range(0, 0.5).Draw(w.t, "duplicate")
		w.lan.Jitter = w.draw("jitter", w.interval/2)
		w.log("loss %.2f duplicate %.2f jitter %s", w.lan.Loss, w.lan.Duplicate, w.lan.Jitter)
	}
}

// live lets things happen, with time between them.
func (w *world) live(kinds ...string) {
	for range rapid.IntRange(1, 12).Draw(w.t, "events") {
		w.lan.Advance(w.draw("time", 5*w.interval))
		w.happen(rapid.SampledFrom(kinds).Draw(w.t, "event"))
	}
}

// calm mends everything but a clean partition into segments.
func (w *world) calm() [][]*Router {
	w.lan.Loss, w.lan.Duplicate, w.lan.Jitter = 0, 0, 0
	segments := make([][]*Router, rapid.IntRange(1, 2).Draw(w.t, "segments"))
	of := make(map[*Router]int)
	for _, r := range w.routers {
		of[r] = rapid.IntRange(0, len(segments)-1).Draw(w.t, "segment")
		segments[of[r]] = append(segments[of[r]], r)
		r.Node.Resume()
	}
	for _, a := range w.routers {
		for _, b := range w.routers {
			if of[a] == of[b] {
				w.lan.Heal(a.Node, b.Node)
			} else {
				w.lan.Cut(a.Node, b.Node)
			}
		}
	}
	w.log("calm, %d segments", len(segments))
	return segments
}

// settling is how long a LAN needs after the last event: a late router
// listens for two intervals more, a takeover takes four, a better one that
// comes back four, and addresses are lent for up to two intervals and 2 s.
func (w *world) settling() time.Duration { return 12*w.interval + 3*time.Second }

func (w *world) checkSegment(segment []*Router) {
	w.t.Helper()
	var best uint8
	eligible := 0
	var masters, holders []string
	var masterPriority uint8
	for _, r := range segment {
		st := r.State()
		if !w.stopped[r] && !w.faulty[r] {
			eligible++
			if !st.Waived {
				best = max(best, st.Priority)
			}
		}
		if st.Role == vrrp.Master {
			masters = append(masters, r.Node.Name)
			masterPriority = st.Priority
		}
		if r.has(address) {
			holders = append(holders, r.Node.Name)
		}
	}
	switch {
	case eligible == 0 && len(masters) > 0:
		w.failf("master %v, and nobody is eligible", masters)
	case eligible > 0 && len(masters) != 1:
		w.failf("masters: %v", masters)
	case !slices.Equal(masters, holders):
		w.failf("master %v, and the address is at %v", masters, holders)
	case w.preempt && eligible > 0 && masterPriority < best:
		w.failf("the master has priority %d, the best %d", masterPriority, best)
	}
}

// After a quiet time every connected segment that has an eligible node has
// exactly one master, the best where all preempt, and the address is there
// alone. After a stop everywhere nothing is left.
func TestProperty_Settles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.live("priority", "priority", "fault", "deaf", "recover", "recover", "stop", "cut", "cut", "heal", "pause", "freeze", "resume", "resume", "weather", "weather", "hand over", "hand over", "take over")
		segments := w.calm()
		w.lan.Advance(w.settling())
		for _, s := range segments {
			w.checkSegment(s)
		}
		for _, r := range w.routers {
			r.Step(vrrp.Event{Kind: vrrp.Shutdown})
		}
		w.lan.Advance(w.settling())
		for _, r := range w.routers {
			st := r.State()
			if r.has(address) || st.Addresses != vrrp.AddressesOff || st.Role != vrrp.Init || r.Node.set.Deadline() != vrrp.Never {
				w.failf("%s has stopped and is %+v, deadline %s", r.Node.Name, st, r.Node.set.Deadline())
			}
		}
	})
}

// A partition that heals leaves one master.
func TestProperty_Heals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range 3 {
			w.calm()
			w.lan.Advance(w.settling() + w.draw("time", w.interval))
		}
		for _, a := range w.routers {
			for _, b := range w.routers {
				w.lan.Heal(a.Node, b.Node)
			}
		}
		w.log("healed")
		w.lan.Advance(w.settling())
		w.checkSegment(w.routers)
	})
}

// On a LAN that loses nothing the address is never at two nodes for longer
// than it is lent, and, while one node stays in the election all the time,
// never nowhere for longer than it takes to put it on.
func TestProperty_MakeBeforeBreak(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		// Two that become master at the same moment cannot know of one
		// another for a delay.
		w.lan.Delay = min(w.lan.Delay, w.lan.Install)
		w.lan.Advance(w.settling())
		anchor := w.routers[0]
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			// An owner that comes and goes within some milliseconds can make
			// another one let go that has just put the address on.
			w.lan.Advance(60*time.Millisecond + w.draw("time", 5*w.interval))
			what := rapid.SampledFrom([]string{"priority", "fault", "recover", "stop", "hand over", "take over"}).Draw(t, "event")
			if what == "priority" || what == "hand over" || what == "take over" {
				w.happen(what)
				continue
			}
			all := w.routers
			w.routers = all[1:]
			w.happen(what)
			w.routers = all
		}
		w.lan.Advance(w.settling())
		if anchor.State().Role == vrrp.Init {
			t.Fatal("the one that stays did not stay")
		}
		if err := checkHoldings(w.changes, w.lan.Install); err != nil {
			w.failf("%v", err)
		}
	})
}

// checkHoldings looks for a time at which too many nodes, or too few, had an
// address.
func checkHoldings(changes []holding, install time.Duration) error {
	var twice, none time.Duration // since when; 0: not now
	first := true
	for i, h := range changes {
		if twice != 0 && h.nodes < 2 {
			if d := h.at - twice; d > time.Second+10*time.Millisecond {
				return fmt.Errorf("at two nodes for %s until %s", d, h.at)
			}
			twice = 0
		}
		if h.nodes >= 2 && twice == 0 {
			twice = h.at
		}
		if none != 0 && h.nodes > 0 {
			if d := h.at - none; d > install {
				return fmt.Errorf("nowhere for %s until %s", d, h.at)
			}
			none = 0
		}
		if h.nodes == 0 && !first {
			none = h.at
		}
		first = false
		if i == len(changes)-1 && h.nodes != 1 {
			return fmt.Errorf("at %d nodes in the end", h.nodes)
		}
	}
	return nil
}

// The same calls give the same history.
func TestProperty_Repeatable(t *testing.T) {
	history := func(seed uint64) string {
		l := New(seed)
		l.Delay, l.Jitter, l.Loss, l.Duplicate, l.Install = time.Millisecond, 30*time.Millisecond, 0.3, 0.3, time.Millisecond
		var b strings.Builder
		l.Trace = func(r Record) { fmt.Fprintf(&b, "%d %s %s\n", r.At, r.Router.Node.Name, r) }
		for i := range 4 {
			n := l.Node(fmt.Sprint(i), netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}))
			n.Clock(time.Duration(i)*time.Second/7, int64(i*50))
			r, err := n.Add(vrrp.Config{Family: vrrp.IPv4, VRID: 51, Interval: 100 * time.Millisecond, Priority: uint8(100 + i), Preempt: true, Addresses: []netip.Addr{address}})
			if err != nil {
				t.Fatal(err)
			}
			r.Step(vrrp.Event{Kind: vrrp.Startup})
		}
		l.Advance(30 * time.Second)
		return b.String()
	}
	one := history(1)
	if one != history(1) {
		t.Error("two runs with one seed differ")
	}
	if one == history(2) {
		t.Error("the seed does not matter")
	}
	if len(one) < 1000 {
		t.Errorf("little happened:\n%s", one)
	}
}
