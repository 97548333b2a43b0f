package daemon

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"baton/health"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
	"baton/vrrp"
)

// What `baton status ROUTER` shows beyond the table.

const (
	// maxHeard bounds what is kept of who advertises a router: forged sources must
	// not cost memory, nor a new status each. heardEvery is how soon after a new one
	// the next is taken note of.
	maxHeard   = 8
	heardEvery = 100 * time.Millisecond
)

// The states of an address.
const (
	addressHeld = "held"
	addressLent = "lent"
	addressOff  = "off"
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
	src = src.WithZone("")
	oldest := 0
	for i, p := range r.heard {
		if p.addr == src {
			p.at.Store(int64(now))
			p.priority.Store(uint32(priority))
			return
		}
		if p.at.Load() < r.heard[oldest].at.Load() {
			oldest = i
		}
	}
	p := &heardPeer{addr: src, name: r.nameOf(vrrp.Rival{Addr: src, Priority: priority})}
	if p.name == src.String() {
		p.name = ""
	}
	p.at.Store(int64(now))
	p.priority.Store(uint32(priority))
	heard := slices.Clone(r.heard) // those who read have the one before
	switch {
	case len(heard) < maxHeard:
		heard = append(heard, p)
	case now-r.heardNew < heardEvery:
		return
	default:
		heard[oldest] = p
	}
	r.heard, r.heardNew = heard, now
	r.group.touch()
}

// status is the router on its link, and what of it is read anew each time.
func (r *router) status() (control.Part, shownPart) {
	st := r.node.set.State(r.id)
	p := control.Part{
		Name: r.cfg.Name, Interface: r.cfg.Interface, Family: r.family.String(), VRID: int(r.cfg.VRID), Version: r.cfg.Version,
		Unicast: len(r.cfg.Peers) > 0, Interval: r.cfg.Interval,
	}
	live := shownPart{heard: r.heard, addresses: r.addresses}
	if st.Local.IsValid() {
		p.Source = st.Local.String()
	}
	for _, a := range r.cfg.Addresses {
		p.Addresses = append(p.Addresses, r.addressStatus(a, st.Addresses))
		live.virtual = append(live.virtual, a.Prefix.Addr())
	}
	for _, object := range slices.Sorted(maps.Keys(r.failing)) {
		p.Failed = append(p.Failed, fmt.Sprintf("%s: %v", object, r.failing[object]))
	}
	known := map[string]bool{r.node.cfg.Node: true}
	for _, h := range r.heard {
		p.Peers = append(p.Peers, control.Peer{Node: h.name, Address: h.addr.String()})
		known[h.name] = true
	}
	for _, n := range r.node.cfg.Nodes {
		if _, runs := r.cfg.Priorities[n.Name]; runs && !known[n.Name] {
			p.Peers = append(p.Peers, control.Peer{Node: n.Name, Address: r.addressOf(n)})
		}
	}
	return p, live
}

func (r *router) addressStatus(a config.Address, held vrrp.AddressState) control.Address {
	shown := control.Address{Address: a.Prefix.String(), State: addressOff}
	switch {
	case r.on && held == vrrp.AddressesLent:
		shown.State = addressLent
	case r.on:
		shown.State = addressHeld
	}
	for _, addr := range []netip.Addr{a.Prefix.Addr(), {}} { // of itself, or of what all of them are on
		if err := r.broken[addr]; err != nil {
			shown.State, shown.Error = addressOff, err.Error()
			break
		}
	}
	return shown
}

// addressOf is the address that a node's advertisements would come from; empty where
// that is not known.
func (r *router) addressOf(n config.Node) string {
	for _, a := range n.Addresses() {
		if a.Is6() != r.cfg.IPv6 {
			continue
		}
		near := slices.ContainsFunc(r.link.state.Addresses, func(own link.Address) bool { return own.Prefix.Masked().Contains(a) })
		if near || slices.Contains(r.cfg.Known, a) || slices.Contains(r.cfg.Peers, a) {
			return a.String()
		}
	}
	return ""
}

// tracksShown is what the group tracks, and what counts of it now.
func (g *group) tracksShown() []control.Track {
	var all []control.Track
	for _, t := range g.tracks {
		shown := control.Track{Check: t.Check, When: t.Effect.When.String(), Grace: t.Effect.Grace}
		switch t.Effect.Kind {
		case health.Fault:
			shown.Effect = "fault"
			shown.Counts = slices.Contains(g.out.Faults, t.Check)
		case health.Weight:
			shown.Effect = fmt.Sprintf("%+d", t.Effect.Weight)
			shown.Counts = slices.ContainsFunc(g.out.Terms, func(term health.Term) bool { return term.Check == t.Check })
		case health.Report:
			shown.Effect = "report"
		}
		all = append(all, shown)
	}
	return all
}
