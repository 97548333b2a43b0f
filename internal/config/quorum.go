package config

import (
	"net/netip"
	"slices"
	"time"
)

func (w *walk) quorumCheck(f fields, c *Check) {
	q := &Quorum{Witnesses: w.witnesses(f)}
	c.Quorum = q
	if n := f.get("of"); n != nil && (n.kind != scalar || n.text != "nodes") {
		w.errorAt(n.place, n.path, "of: nodes; who is no node but votes is one of witnesses: [ADDRESS]", "a quorum is of all `nodes`")
	}
	if n := f.scalar("port"); n != nil {
		q.Port = w.port(n)
	}
	if w.noNodes {
		w.errorAt(f.at, f.path, "nodes: {NAME: ADDRESS, ...}", "a quorum needs `nodes`")
		return
	}
	for _, n := range w.nodes {
		if n.Name != w.me.Name {
			q.Nodes = append(q.Nodes, n)
		}
	}
	witnesses := f.get("witnesses")
	switch none := witnesses == nil || witnesses.kind == list && len(witnesses.items) == 0; {
	case len(w.nodes) == 1 && none:
		w.errorAt(f.at, f.path, "name the other nodes, or witnesses: [ADDRESS]", "%s is the only node: nobody else can tell whether it is cut off", w.nodes[0].Name)
	case len(w.nodes) == 2 && none:
		w.warnAt(f.at, f.path, "witnesses: [ADDRESS], such as that of a router which both nodes reach", "of two nodes no majority is left when one dies: the other gives up as well")
	}
}

// witnesses reads the addresses of those that vote beside the nodes.
func (w *walk) witnesses(f fields) (all []netip.Addr) {
	n := f.get("witnesses")
	if n == nil {
		return nil
	}
	if n.kind != list {
		hint := "witnesses: [ADDRESS, ADDRESS]"
		if n.kind == scalar && isAddress(n.text) {
			hint = "witnesses: [" + n.text + "]"
		}
		w.errorAt(n.place, n.path, hint, "is %s, want a list of addresses", n.kind)
		return nil
	}
	for _, item := range n.items {
		if item.kind != scalar {
			w.errorAt(item.place, n.path, "", "is %s, want an address", item.kind)
			continue
		}
		a := w.address(item)
		owner, isNode := w.shared.owners[a]
		switch {
		case !a.IsValid():
		case isNode:
			w.errorAt(item.place, n.path, "take it out", "%s is an address of %s, which votes as a node", a, owner)
		case a.Is6() && a.IsLinkLocalUnicast():
			w.errorAt(item.place, n.path, "", "%s is link-local: on which interface is it?", a)
		case slices.Contains(all, a):
			w.errorAt(item.place, n.path, "", "%s stands here twice", a)
		default:
			all = append(all, a)
		}
	}
	return all
}

// lintQuorums reports a quorum that is slower than the peers: a master that is cut off would still hold the addresses when
// another one has them too.
func (w *walk) lintQuorums(checks *node) {
	for _, c := range w.config.Checks {
		if c.Type != QuorumCheck {
			continue
		}
		detection := c.Interval*time.Duration(c.Fall) + c.Timeout
		var first *Router
		for i, r := range w.config.Routers {
			tracks := slices.ContainsFunc(r.Track, func(t Track) bool { return t.Check == c.Name && t.Effect == Fault && t.When != Backup })
			if tracks && len(r.Priorities) > 1 && (first == nil || w.takeover(r) < w.takeover(*first)) {
				first = &w.config.Routers[i]
			}
		}
		if first == nil || detection < w.takeover(*first) {
			continue
		}
		i := slices.IndexFunc(checks.entries, func(e entry) bool { return e.key.text == c.Name })
		e := checks.entries[i]
		w.warnAt(e.key.place, e.value.path, slowHint(c, w.takeover(*first)), "a node that is cut off gives up after %s (interval x fall + timeout), but another one can take %q over after %s already: both would have it",
			formatDuration(detection), first.Name, formatDuration(w.takeover(*first)))
	}
}

// takeover is the shortest time from a cut until another node is master (RFC 9568 section 6.1): it may come just before an
// advertisement is due.
func (w *walk) takeover(r Router) time.Duration {
	best := 0
	for _, p := range r.Priorities {
		best = max(best, int(p))
	}
	up, _ := w.swing(r.Track)
	best = int(effective(uint8(best), up))
	skew := time.Duration(256-best) * r.Interval / 256
	return (time.Duration(r.Missed-1)*r.Interval + skew).Round(time.Millisecond)
}

// slowHint says what would be quick enough: the timeout, with it the interval, or the peers' patience.
func slowHint(c Check, takeover time.Duration) string {
	const step = 50 * time.Millisecond
	const patience = "or a longer advertisement_interval, or more missed_advertisements"
	runs := time.Duration(c.Fall + 1) // the last of them takes all of its timeout
	switch quick := ((takeover - 1) / runs).Truncate(step); {
	case c.Interval*runs < takeover:
		return "timeout: " + formatDuration(c.Interval) + ", " + patience
	case quick >= step:
		return "interval: " + formatDuration(quick) + " and a timeout that is not longer, " + patience
	}
	return "a smaller fall and interval, " + patience
}
