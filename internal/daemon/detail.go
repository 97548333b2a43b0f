package daemon

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"baton/health"
	"baton/internal/control"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

// What `baton status ROUTER` and `baton events` show beyond the table.

const (
	// maxHistory is how many changes of role are kept of each router.
	maxHistory = 8
	// maxHeard bounds what is kept of who advertises a router: forged sources must
	// not cost memory, nor a new status each. heardEvery is how soon after a new one
	// the next is taken note of.
	maxHeard   = 8
	heardEvery = 100 * time.Millisecond
)

// heardPeer is a source of advertisements. The protocol loop writes it and those
// who ask read it, without a new status for each advertisement.
type heardPeer struct {
	addr     netip.Addr
	name     string        // of the node; empty: not known
	at       atomic.Int64  // the clock of the loop, nanoseconds
	priority atomic.Uint32 // 0: it left
}

// heardFrom notes that an advertisement was accepted.
func (r *router) heardFrom(now time.Duration, src netip.Addr, priority uint8) {
	latest := time.Duration(0)
	for _, p := range r.heard {
		if p.addr == src {
			p.at.Store(int64(now))
			p.priority.Store(uint32(priority))
			return
		}
		latest = max(latest, time.Duration(p.at.Load()))
	}
	if len(r.heard) == maxHeard {
		if now-latest < heardEvery {
			return
		}
		r.heard = slices.Clone(r.heard[1:])
	}
	p := &heardPeer{addr: src, name: r.nameOf(vrrp.Rival{Addr: src, Priority: priority})}
	if p.name == src.String() {
		p.name = ""
	}
	p.at.Store(int64(now))
	p.priority.Store(uint32(priority))
	r.heard = append(slices.Clip(r.heard), p) // those who read have the one before
	r.node.peers.Store(partKey{r.cfg.Name, r.family.String()}, r.heard)
	r.group.touch()
}

// partKey finds what was heard of a part.
type partKey struct{ name, family string }

// onWall is a moment of the loop's clock on the wall clock, as it is now.
func (n *node) onWall(now, t time.Duration) time.Time {
	return time.Unix(0, int64(n.out.wall()-(now-t)))
}

// remember keeps a change of role for those who ask.
func (g *group) remember(t role.Transition) {
	change := control.Change{At: time.Unix(0, int64(g.node.out.wall())), From: string(t.From), To: string(t.To), Reason: t.Reason}
	g.history = append([]control.Change{change}, g.history[:min(len(g.history), maxHistory-1)]...)
	g.node.out.event(control.RouterEvent, g.name, string(t.From)+" to "+string(t.To), t.Reason)
}

// noteAddress keeps what befalls an address for those who ask.
func (r *router) noteAddress(e vip.Event) {
	what, text := "", ""
	switch e.Kind {
	case vip.Repaired:
		what, text = "removed by others", "put back and announced after "+round(e.After)
	case vip.Removed:
		what, text = "removed by others", "stays away: repair is false"
	case vip.Contested:
		what, text = "contested", "removed again and again"
	case vip.Failed:
		if e.Err != nil {
			what, text = "not in place", e.Err.Error()
		}
	case vip.Recovered:
		what = "in place"
	}
	if what == "" {
		return
	}
	if e.Address.IsValid() {
		text = strings.TrimSpace(e.Address.String() + " " + text)
	}
	r.node.out.event(control.AddressEvent, r.group.name, what, text)
}

// status is the router on its link.
func (r *router) status() control.Part {
	st := r.node.set.State(r.id)
	p := control.Part{
		Name: r.cfg.Name, Interface: r.cfg.Interface, Family: r.family.String(), VRID: int(r.cfg.VRID), Version: r.cfg.Version,
		Unicast: len(r.cfg.Peers) > 0, Interval: r.cfg.Interval,
	}
	if st.Local.IsValid() {
		p.Source = st.Local.String()
	}
	for _, a := range r.cfg.Addresses {
		shown := control.Address{Address: a.Prefix.String(), State: "off"}
		switch {
		case r.on && st.Addresses == vrrp.AddressesLent:
			shown.State = "lent"
		case r.on:
			shown.State = "held"
		}
		for _, addr := range []netip.Addr{a.Prefix.Addr(), {}} { // of itself, or of what all of them are on
			if err := r.broken[addr]; err != nil {
				shown.Error = err.Error()
				break
			}
		}
		p.Addresses = append(p.Addresses, shown)
	}
	known := map[string]bool{r.node.cfg.Node: true}
	for _, h := range r.heard {
		p.Peers = append(p.Peers, control.Peer{Node: h.name, Address: h.addr.String()})
		known[h.name] = true
	}
	for _, node := range slices.Sorted(maps.Keys(r.cfg.Priorities)) {
		if !known[node] {
			p.Peers = append(p.Peers, control.Peer{Node: node})
		}
	}
	return p
}

// refresh puts into a part what changes without a new status: when each peer was
// heard last.
func (n *node) refresh(p control.Part, clock time.Duration, wall time.Time) control.Part {
	v, _ := n.peers.Load(partKey{p.Name, p.Family})
	heard, _ := v.([]*heardPeer)
	p.Peers = slices.Clone(p.Peers)
	for i, peer := range p.Peers {
		for _, h := range heard {
			if h.addr.String() == peer.Address {
				p.Peers[i].Priority = int(h.priority.Load())
				p.Peers[i].LastHeard = wall.Add(time.Duration(h.at.Load()) - clock)
			}
		}
	}
	return p
}

// explainShort says in a few words why the group has its role.
func (g *group) explainShort(now time.Duration) string {
	st := g.node.set.State(g.routers[0].id)
	switch st.Role {
	case vrrp.Init:
		return g.explainInit(now)
	case vrrp.Master:
		return strings.TrimPrefix(strings.TrimPrefix(g.explainRole(now), "master"), ", ")
	case vrrp.Fault:
		return g.faultShort()
	}
	by, master := g.masterElsewhere()
	switch {
	case by == nil:
		return "nobody was heard yet"
	case master.Priority > st.Priority:
		return fmt.Sprintf("%d is higher", master.Priority)
	case master.Priority == st.Priority:
		return fmt.Sprintf("%s has %d as well", by.nameOf(master), master.Priority)
	case !by.cfg.Preempt:
		return "preempt is false"
	case st.PreemptAt != vrrp.Never:
		return "preempt_delay"
	}
	return ""
}

// faultShort is the reasons for FAULT in a few words: checks by their names alone.
func (g *group) faultShort() string {
	var short []string
	add := func(reason string) {
		for _, check := range g.out.Faults {
			if strings.HasPrefix(reason, check+" fails") {
				reason = check + " fails"
			}
		}
		if !slices.Contains(short, reason) {
			short = append(short, reason)
		}
	}
	for _, r := range g.routers {
		for _, reason := range r.faults {
			add(reason)
		}
	}
	return strings.Join(short, ", ")
}

// tracksShown is what a router tracks, as the configuration has it.
func tracksShown(tracks []health.Track) []control.Track {
	var all []control.Track
	for _, t := range tracks {
		effect := "fault"
		switch t.Effect.Kind {
		case health.Weight:
			effect = fmt.Sprintf("%+d", t.Effect.Weight)
		case health.Report:
			effect = "report"
		}
		switch t.Effect.When {
		case health.Master:
			effect += ", master"
		case health.Backup:
			effect += ", backup"
		}
		all = append(all, control.Track{Check: t.Check, Effect: effect})
	}
	return all
}

// verdictWord is a verdict so that a failure meets the eye.
func verdictWord(v health.Verdict) string {
	if v == health.Fail {
		return "FAIL"
	}
	return v.String()
}

// runsText is a check's answer, and how often in a row it came.
func runsText(c health.Change) string {
	if c.Runs == 1 {
		return "1 run: " + c.Text
	}
	return fmt.Sprintf("%d runs: %s", c.Runs, c.Text)
}
