package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// owner is the priority of a node that has the router's addresses for its own. No weight changes it.
const owner = 255

// The priorities that prefer gives: the first of its nodes has preferFirst, each next one preferStep less.
const (
	preferFirst = 200
	preferStep  = 10
	preferMost  = preferFirst / preferStep
)

// election is who takes part in a router's, and with which base priority.
type election struct {
	nodes      []Node
	priorities map[string]uint8
}

func (rr *routerReader) elect(c contest) election {
	nodes := rr.runners(c)
	return election{nodes, rr.priorities(c.fields, nodes)}
}

// preferences reports what is wrong with prefer and priority, whichever there is.
func (rr *routerReader) preferences(f contest) {
	w := rr.walk
	f.number("priority", 1, owner)
	n := f.raw("prefer")
	if n == nil {
		return
	}
	if p := f.raw("priority"); p != nil {
		later := n
		if p.line > n.line || p.line == n.line && p.column > n.column {
			later = p
		}
		w.errorAt(later.place, f.path, "prefer: NODE gives 200, 190, 180 and so on", "prefer and priority are two ways to say one thing: write one of them")
	}
	if w.noNodes {
		w.errorAt(n.place, n.path, "write priority: 1 to 254 here, or `nodes` for all of them", "prefer names a node, but there is no `nodes`")
		return
	}
	names := n.items
	switch {
	case n.kind == scalar:
		names = []*node{n}
	case n.kind == mapping:
		w.errorAt(n.place, n.path, "prefer is the same on every node: NODE or [NODE, ...]", "cannot differ by node")
	case n.kind != list || len(names) == 0:
		w.errorAt(n.place, n.path, "prefer: NODE or [NODE, ...]", "names no node")
	}
	var seen []string
	for _, name := range names {
		switch {
		case name.kind != scalar:
			w.errorAt(name.place, n.path, "", "is %s, want the name of a node", name.kind)
		case !w.isNode(name.text):
			w.errorAt(name.place, n.path, didYouMean(name.text, w.nodeNames()), "%q is not in `nodes`", short(name.text))
		case slices.Contains(seen, name.text):
			w.errorAt(name.place, n.path, "", "%q stands here twice", name.text)
		case f.lacks(name.text) != "":
			w.warnAt(name.place, n.path, "give it a value for "+f.lacks(name.text)+", or a default", "%s does not run this %s", name.text, f.what)
		}
		seen = append(seen, name.text)
	}
	if count := len(rr.nodes); count > preferMost && len(rr.runners(f)) > preferMost {
		w.errorAt(n.place, n.path, "priority: {NODE: NUMBER, ...}", "gives at most %d nodes a priority, %d run this %s", preferMost, len(rr.runners(f)), f.what)
	}
}

// priorities returns the base priority of each node that runs the router. It reports nothing.
func (rr *routerReader) priorities(f fields, nodes []Node) map[string]uint8 {
	all := map[string]uint8{}
	if n := f.raw("prefer"); n != nil && !rr.noNodes {
		p := preferFirst
		for _, name := range ranked(n, nodes) {
			all[name] = uint8(max(p, 1))
			p -= preferStep
		}
		return all
	}
	for _, n := range nodes {
		all[n.Name] = 100
		if v := pick(f.raw("priority"), n.Name); v != nil {
			all[n.Name] = 0 // wrong, and reported, unless it is
		}
		if v := pick(f.raw("priority"), n.Name); v != nil && v.kind == scalar {
			if p, wrong := parseNumber(v); wrong == "" && p >= 1 && p <= owner {
				all[n.Name] = uint8(p)
			}
		}
	}
	return all
}

// ranked returns the nodes that run a router: first those that prefer names, then the rest by name.
func ranked(prefer *node, nodes []Node) []string {
	var rest, first []string
	for _, n := range nodes {
		rest = append(rest, n.Name)
	}
	slices.Sort(rest)
	names := prefer.items
	if prefer.kind == scalar {
		names = []*node{prefer}
	}
	for _, n := range names {
		if i := slices.Index(rest, n.text); n.kind == scalar && i >= 0 {
			first = append(first, n.text)
			rest = slices.Delete(rest, i, i+1)
		}
	}
	return append(first, rest...)
}

// effective is a priority with the weights that apply.
func effective(base uint8, weights int) uint8 {
	if base == owner {
		return owner
	}
	return uint8(min(max(int(base)+weights, 1), owner-1))
}

// mostMoved is what a check with a number can add to a priority or take off it: all that there is.
const mostMoved = 254

// swing is the most that the checks of a router can add to its priority, and the most that they can take off it.
func (w *walk) swing(track []Track) (up, down int) {
	for _, t := range track {
		if t.Effect == Weight && w.numbered(t.Check) {
			up, down = up+mostMoved, down-mostMoved
			continue
		}
		up += max(t.Weight, 0)
		down += min(t.Weight, 0)
	}
	return up, down
}

// rivals finds what the other nodes can come to.
func (rr *routerReader) rivals(r *Router) {
	up, down := rr.swing(r.Track)
	for name, base := range r.Priorities {
		if name == rr.me.Name {
			continue
		}
		r.BestRival = max(r.BestRival, effective(base, up))
		if low := effective(base, down); r.SlowestRival == 0 || low < r.SlowestRival {
			r.SlowestRival = low
		}
	}
}

// lintPriorities reports what the nodes' priorities make of an election.
func (rr *routerReader) lintPriorities(f contest, r reading, nodes []Node) {
	w := rr.walk
	at, path := f.at, f.path
	if n := f.raw("priority"); n != nil {
		at, path = n.place, n.path
	}
	if len(rr.nodes) > 1 && len(nodes) == 1 {
		w.warnAt(f.at, f.path, rr.why(f), "only %s runs this %s: nobody takes over", nodes[0].Name, f.what)
	}
	by := map[uint8][]string{}
	for _, n := range nodes {
		p := r.Priorities[n.Name]
		if p == 0 {
			continue
		}
		by[p] = append(by[p], n.Name)
	}
	if owners := by[owner]; len(owners) > 1 {
		w.errorAt(at, path, "one node owns the addresses, or none", "%s all have priority 255: they would all be master", several(owners))
	}
	for _, n := range nodes {
		if same := by[r.Priorities[n.Name]]; len(same) > 1 && same[0] == n.Name && r.Priorities[n.Name] != owner && len(rr.nodes) > 0 {
			w.warnAt(at, path, "prefer: "+n.Name, "%s have the same priority, %d: their addresses decide between them", several(same), r.Priorities[n.Name])
			break
		}
	}
	if n := f.own["preempt"]; n != nil && !r.Preempt && len(by[owner]) > 0 {
		w.warnAt(n.place, n.path, "", "an owner (priority 255) always takes the role back")
	}
	numbered := slices.ContainsFunc(r.Track, func(t Track) bool { return t.Effect == Weight && rr.numbered(t.Check) })
	for _, t := range r.Track {
		if t.Effect != Weight {
			continue
		}
		e := r.effectAt[t.Check]
		if len(by[owner]) > 0 {
			w.warnAt(e.place, e.path, `"fault" takes an owner out as well`, "no weight changes priority 255, which %s has", by[owner][0])
		}
		if numbered { // it can bring any two nodes so near to each other that each weight moves the role
			continue
		}
		if problem, hint := immovable(t, r, nodes); problem != "" {
			w.warnAt(e.place, e.path, hint, "%s", problem)
		}
	}
}

// why names a node that does not take part, and the reason.
func (rr *routerReader) why(f contest) string {
	for _, n := range rr.nodes {
		if key := f.lacks(n.Name); key != "" {
			return n.Name + " has no " + key
		}
	}
	return ""
}

// lintMost bounds the nodes, and the weights, for which it is worked out whether a weight can move the role.
const lintMost = 8

// immovable tells why a weight cannot move the role, whatever the other checks say; it is empty where it can.
//
// A weight moves the role from a to b where a is before b with it and behind b without it. With the same base priority a may
// hold the role while they are equal; otherwise the better one does, and the other does not take it over.
func immovable(t Track, r reading, nodes []Node) (problem, hint string) {
	var others, all []int
	for _, o := range r.Track {
		if o.Effect == Weight {
			all = append(all, o.Weight)
			if o.Check != t.Check {
				others = append(others, o.Weight)
			}
		}
	}
	if len(nodes) < 2 || len(nodes) > lintMost || len(all) > lintMost {
		return "", ""
	}
	nodes = slices.Clone(nodes) // the best first: the message names the highest of the pairs that are closest
	slices.SortStableFunc(nodes, func(a, b Node) int { return cmp.Compare(r.Priorities[b.Name], r.Priorities[a.Name]) })
	otherSums, allSums := sums(others), sums(all)
	gap, from, to := 256, "", ""
	for _, a := range nodes {
		for _, b := range nodes {
			pa, pb := r.Priorities[a.Name], r.Priorities[b.Name]
			if a.Name == b.Name || pa == owner || pb == owner || pa == 0 || pb == 0 {
				continue
			}
			if moves(t.Weight, pa, pb, otherSums, allSums) {
				return "", ""
			}
			if d := int(pa) - int(pb); d >= 0 && d < gap {
				gap, from, to = d, a.Name, b.Name
			}
		}
	}
	if from == "" {
		return "", ""
	}
	high, low := int(r.Priorities[from]), int(r.Priorities[to])
	if t.Weight < 0 {
		e := int(effective(r.Priorities[from], t.Weight))
		return fmt.Sprintf("%d never moves the role: %d - %d = %d is %s %s's %d", t.Weight, high, -t.Weight, e, above(e, low), to, low),
			fmt.Sprintf(`"fault", or %d to stand behind the next node`, -gap-preferStep)
	}
	e := int(effective(r.Priorities[to], t.Weight))
	return fmt.Sprintf("+%d never moves the role: %s's %d + %d = %d is not above %s's %d", t.Weight, to, low, t.Weight, e, from, high),
		fmt.Sprintf(`"fault", or +%s to stand before the next node`, strconv.Itoa(gap+preferStep))
}

func above(a, b int) string {
	if cmp.Compare(a, b) == 0 {
		return "equal to"
	}
	return "above"
}

func moves(weight int, pa, pb uint8, others, all []int) bool {
	for _, x := range others {
		with, without := effective(pa, x), effective(pa, x+weight)
		high, low := max(with, without), min(with, without)
		for _, y := range all {
			e := effective(pb, y)
			if low < e && (e < high || e == high && pa >= pb) {
				return true
			}
		}
	}
	return false
}

// sums returns what some of the weights come to together, for every choice of them.
func sums(weights []int) []int {
	all := []int{0}
	for _, w := range weights {
		for _, s := range all {
			all = append(all, s+w)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
