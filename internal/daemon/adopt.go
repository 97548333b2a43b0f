package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"baton/health"
	"baton/internal/control"
	"baton/internal/record"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

// What this node writes down for the process that comes after it, and what it takes
// over from the one before: after a crash or an upgrade the role stays where it is.

// resumed is what a group has from the process before. The zero value is nothing.
type resumed struct {
	record.State
	adopt bool // it is master at once
	known bool // the process before has just ended: what it knew still counts
	left  bool // services that it started may run, and the role may be elsewhere
}

// foretell notes, before a priority 0 leaves this host, that it does: whoever is
// killed in a handover must not be adopted. An ordinary advertisement takes it back.
func (n *node) foretell(actions []vrrp.Action) {
	for _, a := range actions {
		if a.Kind != vrrp.Send {
			continue
		}
		if g := n.byID[a.Router].group; g.said != (a.Priority == 0) {
			g.said = a.Priority == 0
			g.note()
		}
	}
}

// note keeps the record of the group as it is.
func (g *group) note() {
	s := record.State{
		Role: g.role.String(), Since: g.node.set.State(g.routers[0].id).Since, Leaving: g.said || g.leaving || g.left,
		Hold: g.hold.State(), Failure: g.failure, Failed: g.failed,
	}
	if g.role == vrrp.Master {
		s.Takeover, s.PreviousMaster = g.last.Takeover, g.last.PreviousMaster
	}
	if b := g.bound; b != nil {
		s.Services = record.Services{Run: b.wish == run || b.wish == stop && !b.stopped, Served: b.served && b.wish == run, AtMark: b.atMark}
	}
	if s != g.noted {
		g.noted = s
		g.node.out.record(g.name, s)
	}
}

// election is what the record's head has of a group.
func (g *group) election() record.Election {
	e := record.Election{Name: g.name}
	for _, r := range g.routers {
		e.Routers = append(e.Routers, record.Router{
			Interface: r.cfg.Interface, VRID: r.cfg.VRID, IPv6: r.cfg.IPv6, Interval: r.cfg.Interval,
			Phase: g.node.set.State(r.id).Phase, Patience: g.node.set.Patience(r.id), Addresses: addressesOf(r.cfg, r.name),
		})
	}
	return e
}

// longestPatience is how old a record may be of which anything is adopted.
func longestPatience(rec *record.Record) time.Duration {
	longest := time.Second // where there are no elections
	for _, e := range rec.Elections {
		for _, r := range e.Routers {
			longest = max(longest, r.Patience)
		}
	}
	return longest
}

// resume takes over what the process before knew, as far as that still counts. It
// comes after the state of the links and before start. holds tells which of a
// router's addresses is missing on this host; the zero Addr: none.
func (n *node) resume(now time.Duration, rec *record.Record, holds func(vip.Router) netip.Addr) {
	fresh := now-rec.Beat <= longestPatience(rec)
	for name, c := range rec.Known { // those that still count
		n.verdicts[name] = health.Change{Check: name, To: c.Verdict, Number: c.Number, Numbered: c.Numbered, Text: c.Text, Hint: c.Hint}
	}
	for _, g := range n.groups {
		s, ok := rec.States[g.name]
		i := slices.IndexFunc(rec.Elections, func(e record.Election) bool { return e.Name == g.name })
		if !ok || i < 0 {
			continue
		}
		g.hold.Resume(s.Hold) // whatever the age: it failed here, and nobody has mended it
		g.failure = s.Failure
		g.resumed = resumed{State: s, known: fresh}
		if s.Role != vrrp.Master.String() {
			if s.Services.Run {
				g.resumed.left = true
			}
			continue
		}
		why := g.unadoptable(now, rec, rec.Elections[i], holds)
		if why == "" {
			g.resumed.adopt = true
			g.failed = s.Failed
			n.out.event(control.DaemonEvent, g.name, "adopted", fmt.Sprintf("master for %s, and silent for %s", round(now-s.Since), round(silence(now, rec, rec.Elections[i].Routers))))
			continue
		}
		g.resumed.known, g.resumed.left = false, s.Services.Run
		g.log.Warn("not adopted from the process before, which was master: its addresses are removed", "reason", why)
		n.out.event(control.DaemonEvent, g.name, "not adopted", why+": what was left is removed")
	}
}

// unadoptable says why a group is not adopted as master; empty: it is.
func (g *group) unadoptable(now time.Duration, rec *record.Record, was record.Election, holds func(vip.Router) netip.Addr) string {
	is := g.election()
	if len(is.Routers) != len(was.Routers) {
		return "the record is of other virtual routers"
	}
	for i, r := range is.Routers {
		if old := was.Routers[i]; r.Interface != old.Interface || r.VRID != old.VRID || r.IPv6 != old.IPv6 || !sameAddresses(r.Addresses, old.Addresses) {
			return "the record is of other addresses, or of another interface or VRID"
		}
	}
	s := g.resumed.State
	if s.Leaving {
		return "it was giving the role away"
	}
	for _, r := range was.Routers {
		if silent := silence(now, rec, []record.Router{r}); silent > r.Patience {
			return fmt.Sprintf("it has been silent for %s, and a backup waits for %s at most", round(silent), round(r.Patience))
		}
	}
	if g.bound != nil && g.routers[0].cfg.AddressesAt > 0 && !s.Services.AtMark {
		return "" // they were not on yet
	}
	for _, r := range was.Routers {
		if missing := holds(r.Addresses); missing.IsValid() {
			return fmt.Sprintf("%s is not on this host any more", missing)
		}
	}
	return ""
}

// silence is for how long a master has advertised nothing, at most. What was due
// before the last heartbeat had left by then.
func silence(now time.Duration, rec *record.Record, routers []record.Router) (longest time.Duration) {
	for _, r := range routers {
		last := rec.Beat
		if !rec.Succeeded && r.Interval > 0 { // whoever makes way for a successor advertises once more
			last -= (rec.Beat - r.Phase) % r.Interval
		}
		longest = max(longest, now-last)
	}
	return longest
}

// sameAddresses tells whether two routers have the same addresses in the same
// places.
func sameAddresses(a, b vip.Router) bool {
	place := func(r vip.Router) (list []string) {
		for _, v := range r.Addresses {
			list = append(list, v.Interface+" "+v.Prefix.String())
		}
		slices.Sort(list)
		if r.VirtualMAC != nil {
			list = append(list, fmt.Sprintf("%s %x", r.VirtualMAC.Name, r.VirtualMAC.MAC))
		}
		return list
	}
	return slices.Equal(place(a), place(b))
}

// begin says to the hooks and the services of a group how the daemon starts.
func (g *group) begin(now time.Duration) {
	p := &g.resumed
	if p.known {
		g.startAt = now // it has waited before
	}
	if (p.known || p.adopt) && p.Told == p.Role && p.Role != vrrp.Init.String() {
		g.hooks.Resume(role.State(p.Role))
	}
	b := g.bound
	switch {
	case b == nil:
	case p.adopt:
		b.atMark = p.Services.AtMark
	case p.left:
		b.run.StopLeft()
	default:
		b.run.Begin()
	}
}

// toldBefore tells whether a change is one that only this process sees: its first
// role is the one that the process before told the hooks of.
func (g *group) toldBefore(t role.Transition) bool {
	return t.From == role.Init && g.resumed.known && g.resumed.Told == string(t.To)
}

// adopted is the change to the role that the process before had. For hooks and
// services it is none.
func (g *group) adopted(reason string) {
	p := &g.resumed
	g.masterSince = p.Since
	t := role.Transition{To: role.Master, From: role.Init, Takeover: p.Takeover, PreviousMaster: p.PreviousMaster, Reason: reason}
	if p.Told != string(role.Master) { // it was killed before they were
		g.pending = &t
	}
	g.last = g.withMasters(t)
	if b := g.bound; b != nil && p.Takeover == "silence" && !p.Services.Served {
		b.silent = p.PreviousMaster
	}
	g.placed()
}
