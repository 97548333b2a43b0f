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

// The properties of groups hold for whatever happens to two to four nodes on
// two links, with groups of two or three members in both families.

// shapes are the groups: which members there are, on which link.
var shapes = [][]vrrp.Config{
	{member(0, 10, "192.0.2.100"), member(1, 20, "198.51.100.100")},
	{member(0, 10, "192.0.2.100"), member(1, 20, "2001:db8::100")},
	{member(0, 10, "192.0.2.100"), member(0, 10, "2001:db8::100")},
	{member(0, 10, "192.0.2.100"), member(1, 20, "198.51.100.100"), member(1, 20, "2001:db8::100")},
}

func member(link int, vrid uint8, addr string) vrrp.Config {
	c := vrrp.Config{Link: link, VRID: vrid, Family: vrrp.IPv6, Addresses: []netip.Addr{netip.MustParseAddr(addr)}}
	if c.Addresses[0].Is4() {
		c.Family = vrrp.IPv4
	}
	return c
}

// groupWorld is a LAN under test whose nodes have groups.
type groupWorld struct {
	t       *rapid.T
	lan     *LAN
	nodes   []*groupNode
	of      map[*Node]*groupNode
	shape   []vrrp.Config
	slowest time.Duration // interval
	delay   time.Duration // the longest PreemptDelay
	history []string
	changes int         // of roles, since they were last counted
	held    [][]holding // by member
}

type groupNode struct {
	*Node
	members []*Router // by shape; the order in which they were added differs
	grouped bool
	stopped bool
	faulty  map[*Router]bool
}

func (n *groupNode) eligible() bool { return !n.stopped && len(n.faulty) == 0 }

func newGroupWorld(t *rapid.T, mixed bool) *groupWorld {
	w := &groupWorld{
		t:     t,
		lan:   New(rapid.Uint64().Draw(t, "seed")),
		of:    make(map[*Node]*groupNode),
		shape: slices.Clone(rapid.SampledFrom(shapes).Draw(t, "shape")),
	}
	preempt := rapid.Bool().Draw(t, "preempt") // everywhere
	delays := rapid.Bool().Draw(t, "delays")
	for i := range w.shape {
		c := &w.shape[i]
		c.Interval = rapid.SampledFrom([]time.Duration{50 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond}).Draw(t, "interval")
		w.slowest = max(w.slowest, c.Interval)
	}
	w.lan.Install = time.Millisecond
	w.lan.Delay = w.draw("delay", 2*time.Millisecond)
	w.lan.Trace = w.trace
	nodes := rapid.IntRange(2, 4).Draw(t, "nodes")
	// On each link and in each family other nodes have the greater address.
	var order [2][]int
	for link := range order {
		order[link] = rapid.Permutation([]int{1, 2, 3, 4}).Draw(t, "addresses")
	}
	for i := range nodes {
		name := fmt.Sprintf("n%d", i+1)
		n := &groupNode{faulty: make(map[*Router]bool), grouped: true}
		n.Node = w.lan.Node(name,
			netip.AddrFrom4([4]byte{192, 0, 2, byte(order[0][i])}), netip.AddrFrom4([4]byte{198, 51, 100, byte(order[1][i])}),
			netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: byte(order[1][i])}), netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: byte(order[0][i])}))
		n.Clock(1000*time.Second+w.draw("clock", time.Second), rapid.Int64Range(-200, 200).Draw(t, "drift"))
		if mixed {
			n.grouped = rapid.Bool().Draw(t, "grouped")
		}
		w.of[n.Node] = n
		w.nodes = append(w.nodes, n)
		priority := w.priority()
		node := vrrp.Config{
			Preempt: preempt || rapid.Bool().Draw(t, "node preempts"),
			Missed:  rapid.SampledFrom([]uint8{0, 2, 3, 5}).Draw(t, "missed"),
		}
		if delays && rapid.Bool().Draw(t, "node delays") {
			node.PreemptDelay = w.draw("preempt delay", 5*time.Second)
			w.delay = max(w.delay, node.PreemptDelay)
		}
		n.members = make([]*Router, len(w.shape))
		for _, i := range rapid.Permutation(indices(len(w.shape))).Draw(t, "order") {
			c := w.shape[i]
			c.Preempt, c.Missed, c.PreemptDelay, c.Priority = node.Preempt, node.Missed, node.PreemptDelay, priority
			if n.grouped {
				c.Group = 1
			} else if priority < 255 {
				c.Priority = w.priority()
			}
			r, err := n.Add(c)
			if err != nil {
				t.Fatal(err)
			}
			n.members[i] = r
		}
		late := rapid.Bool().Draw(t, "late")
		for _, r := range n.Routers() {
			start := func() { r.Step(vrrp.Event{Kind: vrrp.Startup}) }
			if late { // its checks answer one after the other
				w.lan.After(w.draw("start", time.Second), start)
			} else {
				start()
			}
		}
	}
	w.held = make([][]holding, len(w.shape))
	return w
}

func indices(n int) []int {
	var all []int
	for i := range n {
		all = append(all, i)
	}
	return all
}

func (w *groupWorld) draw(what string, most time.Duration) time.Duration {
	return time.Duration(rapid.Int64Range(0, int64(most)).Draw(w.t, what))
}

func (w *groupWorld) priority() uint8 {
	return rapid.OneOf(rapid.SampledFrom([]uint8{1, 100, 100, 100, 200, 254, 255}), rapid.Uint8Range(1, 255)).Draw(w.t, "priority")
}

func (w *groupWorld) node() *groupNode { return rapid.SampledFrom(w.nodes).Draw(w.t, "node") }

func (w *groupWorld) log(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%10.6f ", w.lan.Now().Seconds())+fmt.Sprintf(format, args...))
}

func (w *groupWorld) failf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.history, "\n"))
}

// trace looks at the nodes after each call that did something.
func (w *groupWorld) trace(r Record) {
	if !r.Periodic {
		w.log("%s %s", label(r.Router), r)
	}
	if r.Action.Kind == vrrp.Change {
		w.changes++
	}
	if n := w.of[r.Router.Node]; n != nil {
		w.whole(n)
		if r.Action.Kind == vrrp.NoAction {
			i := slices.Index(n.members, r.Router)
			w.held[i] = append(w.held[i], holding{r.At, len(w.lan.Holders(r.Addr))})
		}
	}
}

// whole checks what holds of a group at every moment: all members are master
// or none, and in FAULT or none, but for those that have been shut down.
func (w *groupWorld) whole(n *groupNode) {
	if !n.grouped || n.stopped {
		return
	}
	var count [4]int
	for _, r := range n.Routers() {
		count[r.State().Role]++
	}
	for _, role := range []vrrp.Role{vrrp.Master, vrrp.Fault} {
		if c := count[role]; c != 0 && c != len(n.Routers()) {
			w.failf("%s: %d of %d members are %s", n.Name, c, len(n.Routers()), role)
		}
	}
}

// happen lets one thing happen.
func (w *groupWorld) happen(what string) {
	n := w.node()
	r := rapid.SampledFrom(n.Routers()).Draw(w.t, "member")
	switch what {
	case "priority":
		p := w.priority()
		w.log("priority of %s: %d", n.Name, p)
		for _, r := range n.Routers() {
			r.Step(vrrp.Event{Kind: vrrp.Reprioritised, Priority: p})
			if !n.grouped && p < 255 {
				p = w.priority()
			}
		}
	case "fault", "deaf", "mute":
		w.log("%s of %s", what, label(r))
		n.faulty[r] = true
		r.Step(vrrp.Event{Kind: vrrp.Faulty, Deaf: what == "deaf", Mute: what == "mute", Reason: what})
	case "recover":
		w.log("%s recovers", label(r))
		delete(n.faulty, r)
		r.Step(vrrp.Event{Kind: vrrp.Recovered})
	case "recover all":
		w.log("%s recovers", n.Name)
		for _, r := range n.Routers() {
			delete(n.faulty, r)
			r.Step(vrrp.Event{Kind: vrrp.Recovered})
		}
	case "stop":
		w.log("%s stops", n.Name)
		n.stopped = true
		for _, r := range n.Routers() {
			r.Step(vrrp.Event{Kind: vrrp.Shutdown})
		}
	case "hand over", "take over":
		w.log("%s: %s", label(r), what)
		kind := map[string]vrrp.EventKind{"hand over": vrrp.HandOver, "take over": vrrp.TakeOver}[what]
		r.Step(vrrp.Event{Kind: kind, To: vrrp.Backup})
	case "cut", "heal":
		other, link := w.node(), rapid.IntRange(0, 2).Draw(w.t, "link") // 2: both
		w.log("%s %s > %s on link %d", what, n.Name, other.Name, link)
		do := map[string]func(int, *Node, *Node){"cut": w.lan.CutLink, "heal": w.lan.HealLink}[what]
		for l := range 2 {
			if link == 2 || link == l {
				do(l, n.Node, other.Node)
				if rapid.Bool().Draw(w.t, "both ways") {
					do(l, other.Node, n.Node)
				}
			}
		}
	case "pause", "freeze":
		w.log("%s %s", what, n.Name)
		if !n.Paused() {
			n.Pause(what == "freeze")
		}
	case "resume":
		w.log("resume %s", n.Name)
		n.Resume()
	case "weather":
		w.lan.Loss = rapid.Float64Range(0, 0.9).Draw(w.t, "loss")
		w.lan.Duplicate = rapid.Float64Range(0, 0.5).Draw(w.t, "duplicate")
		w.lan.Jitter = w.draw("jitter", w.slowest/2)
		w.log("loss %.2f duplicate %.2f jitter %s", w.lan.Loss, w.lan.Duplicate, w.lan.Jitter)
	}
}

var groupEvents = []string{
	"priority", "priority", "fault", "deaf", "mute", "recover", "recover all", "recover all", "stop",
	"cut", "cut", "cut", "heal", "heal", "pause", "freeze", "resume", "resume", "weather",
	"hand over", "take over",
}

func (w *groupWorld) live() {
	for range rapid.IntRange(1, 12).Draw(w.t, "events") {
		w.lan.Advance(w.draw("time", 5*w.slowest))
		w.happen(rapid.SampledFrom(groupEvents).Draw(w.t, "event"))
	}
}

// calm mends everything but clean partitions, of each link its own. It
// returns the segment of each node by link.
func (w *groupWorld) calm(segments int) [2]map[*groupNode]int {
	w.lan.Loss, w.lan.Duplicate, w.lan.Jitter = 0, 0, 0
	var of [2]map[*groupNode]int
	for link := range of {
		of[link] = make(map[*groupNode]int)
		for _, n := range w.nodes {
			of[link][n] = rapid.IntRange(0, segments-1).Draw(w.t, "segment")
		}
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				if of[link][a] == of[link][b] {
					w.lan.HealLink(link, a.Node, b.Node)
				} else {
					w.lan.CutLink(link, a.Node, b.Node)
				}
			}
		}
	}
	for _, n := range w.nodes {
		n.Resume()
	}
	var text []string
	for _, n := range w.nodes {
		text = append(text, fmt.Sprintf("%s in %d and %d", n.Name, of[0][n], of[1][n]))
	}
	w.log("calm: %s", strings.Join(text, ", "))
	return of
}

// settle gives the LAN the time that it needs, and then shows that nothing
// goes on.
func (w *groupWorld) settle() {
	w.t.Helper()
	w.changes = 0
	w.lan.Advance(40*w.slowest + w.delay + 3*time.Second)
	if most := 8 * len(w.nodes) * len(w.shape); w.changes > most {
		w.failf("%d changes of role until it settled, more than %d", w.changes, most)
	}
	w.changes = 0
	w.log("settled?")
	w.lan.Advance(60*w.slowest + w.delay)
	if w.changes > 0 {
		w.failf("%d changes of role after it should have settled", w.changes)
	}
}

// masters are the nodes that are master with the member, and holders those
// that have its address.
func (w *groupWorld) masters(member int) (masters, holders []*groupNode) {
	for _, n := range w.nodes {
		r := n.members[member]
		if r.State().Role == vrrp.Master {
			masters = append(masters, n)
		}
		if r.has(r.Config.Addresses[0]) {
			holders = append(holders, n)
		}
	}
	return masters, holders
}

// The whole network: one node has all, and is the best where all preempt.
func (w *groupWorld) checkWhole() {
	w.t.Helper()
	var best uint8
	preempt := true
	eligible := 0
	for _, n := range w.nodes {
		w.whole(n)
		if n.eligible() {
			eligible++
			best = max(best, n.Routers()[0].State().Priority)
		}
		preempt = preempt && n.Routers()[0].Config.Preempt && !n.Routers()[0].State().Waived
	}
	want := min(eligible, 1)
	first, _ := w.masters(0)
	for i := range w.shape {
		masters, holders := w.masters(i)
		switch {
		case len(masters) != want:
			w.failf("member %d: %d masters, want %d", i, len(masters), want)
		case !slices.Equal(masters, holders):
			w.failf("member %d: the address is at %d nodes", i, len(holders))
		case !slices.Equal(masters, first):
			w.failf("member %d: another master than of member 0", i)
		case want == 1 && preempt && masters[0].members[i].State().Priority != best:
			w.failf("the master has priority %d, the best %d", masters[0].members[i].State().Priority, best)
		}
	}
	for _, n := range w.nodes {
		role := n.Routers()[0].State().Role
		for _, r := range n.Routers() {
			if got := r.State().Role; got != role {
				w.failf("%s is split: %s is %s", n.Name, label(r), got)
			}
		}
	}
}

// A network of groups that is whole has one node that is master of all, after
// whatever happened; and nothing changes any more.
func TestGroupProperty_Settles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newGroupWorld(t, false)
		w.live()
		w.calm(1)
		w.settle()
		w.checkWhole()
	})
}

// Links that are cut, and heal one after the other, leave one holder of all.
func TestGroupProperty_Heals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newGroupWorld(t, false)
		for range 2 {
			w.calm(2)
			w.settle()
			w.checkSegments()
		}
		for _, link := range rapid.Permutation([]int{0, 1}).Draw(t, "heal first") {
			for _, a := range w.nodes {
				for _, b := range w.nodes {
					w.lan.HealLink(link, a.Node, b.Node)
				}
			}
			w.log("link %d heals", link)
			w.lan.Advance(w.draw("time", 10*w.slowest))
		}
		w.settle()
		w.checkWhole()
	})
}

// checkSegments checks that no two masters hear each other.
func (w *groupWorld) checkSegments() {
	w.t.Helper()
	for i, c := range w.shape {
		masters, holders := w.masters(i)
		if !slices.Equal(masters, holders) {
			w.failf("member %d has %d masters, and its address is at %d nodes", i, len(masters), len(holders))
		}
		for _, a := range masters {
			for _, b := range masters {
				if a != b && !w.lan.cut[direction{a.Node, b.Node, c.Link}] {
					w.failf("%s and %s are master with member %d and hear each other", a.Name, b.Name, i)
				}
			}
		}
	}
}

// Beside routers that are no group, and with links that stay cut, a group is
// never split, and what can settle does: nothing flaps for ever, and no two
// masters go on hearing each other. An address can be at nobody then: where
// no node may have all of a group, a node without groups is missing its half.
func TestGroupProperty_Mixed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newGroupWorld(t, true)
		w.live()
		w.calm(rapid.IntRange(1, 2).Draw(t, "segments"))
		w.settle()
		w.checkSegments()
	})
}

// Where nothing is lost and no link fails, the addresses of a group are never
// at two nodes for longer than they are lent, and never at none.
func TestGroupProperty_MakeBeforeBreak(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newGroupWorld(t, false)
		w.lan.Delay = min(w.lan.Delay, w.lan.Install)
		w.lan.Advance(40*w.slowest + w.delay + 3*time.Second)
		for i := range w.held {
			// Who loses a role that it has just begun lets go; while all begin,
			// nobody lends the address meanwhile.
			w.held[i] = w.held[i][len(w.held[i])-1:]
		}
		all := w.nodes
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			w.lan.Advance(60*time.Millisecond + w.draw("time", 5*w.slowest))
			what := rapid.SampledFrom([]string{"priority", "fault", "recover", "recover all", "stop"}).Draw(t, "event")
			if what != "priority" {
				w.nodes = all[1:] // one stays
			}
			w.happen(what)
			w.nodes = all
		}
		w.settle()
		for i, held := range w.held {
			if err := checkHoldings(held, w.lan.Install); err != nil {
				w.failf("member %d: %v", i, err)
			}
		}
	})
}
