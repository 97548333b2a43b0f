package daemon

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"baton/health"
	"baton/internal/control"
	"baton/vrrp"
)

// What the node looks like from outside, and the one sentence that explains a
// role and a priority.

// touch has the status of the group made anew when the turn ends.
func (g *group) touch() { g.stale, g.node.stale = true, true }

// status is all that is published of the node. Only what has changed is made anew:
// a host may have a thousand routers.
func (n *node) status(now time.Duration) *snapshot {
	all := !slices.Equal(n.placed, n.groups) // there are others
	if all {
		n.placed = slices.Clone(n.groups)
		for i, g := range slices.SortedFunc(slices.Values(n.groups), func(a, b *group) int { return cmp.Compare(a.name, b.name) }) {
			g.place = i
		}
		n.shown = make([]*shown, len(n.groups))
	} else {
		n.shown = slices.Clone(n.shown) // the one before has been published
	}
	for _, g := range n.groups {
		if g.stale || all {
			g.stale = false
			n.shown[g.place] = g.status(now)
		}
	}
	status := control.Status{Node: n.cfg.Node, Version: Version(), Configuration: n.cfg.Hash, Standby: shownStandby(n.standby)}
	return &snapshot{status, n.shown}
}

func (g *group) status(now time.Duration) *shown {
	first := g.routers[0]
	st := g.node.set.State(first.id)
	r := control.Router{
		Name:     g.name,
		Group:    first.cfg.Group != "",
		Role:     st.Role.String(),
		Priority: int(st.Priority),
		Ready:    g.ready(),
		Master:   g.masterName(),
		Why:      g.explain(now),
		Sum:      g.sum(),
		Reason:   g.explainLong(now),
		Note:     g.explainShort(now),
		Prefers:  preferred(first.cfg.Priorities),
		Faults:   g.faults(),
		Tracks:   g.tracksShown(),
		History:  g.history,
		Standby:  shownStandby(g.standby),

		Transitions: g.transitions,
	}
	if by, m := g.masterElsewhere(); by != nil && !g.isMaster() {
		r.MasterPriority = int(m.Priority)
	} else if g.isMaster() {
		r.MasterPriority = int(st.Priority)
	}
	var parts []shownPart
	for _, m := range g.routers {
		m.shown = g.node.set.State(m.id).Master
		part, live := m.status()
		r.Parts, parts = append(r.Parts, part), append(parts, live)
		if r.Group && !slices.Contains(r.Members, m.cfg.Name) {
			r.Members = append(r.Members, m.cfg.Name)
		}
		for _, a := range part.Addresses {
			r.Addresses = append(r.Addresses, a.Address)
		}
	}
	since := st.Since
	if since == 0 && g.startAt != vrrp.Never { // INIT from the start
		since = g.startAt - first.cfg.StartDelay
	}
	return &shown{r, since, parts}
}

// faults are the reasons for FAULT of all of the group and of each of its routers.
func (g *group) faults() []string {
	all := slices.Clone(g.common)
	for _, r := range g.routers {
		for _, f := range r.faults {
			if !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
	}
	return all
}

// preferred is the node with the highest base priority, if only one has it.
func preferred(priorities map[string]uint8) string {
	best, node := uint8(0), ""
	for name, p := range priorities {
		switch {
		case p > best:
			best, node = p, name
		case p == best:
			node = ""
		}
	}
	return node
}

// ready tells whether a master has all that belongs to the role.
func (g *group) ready() bool {
	return g.isMaster() && !g.leaving && !g.order.leaves() && (g.bound == nil || g.bound.ready) &&
		!slices.ContainsFunc(g.routers, func(r *router) bool { return !r.inPlace || len(r.broken) > 0 })
}

// masterName is who has the role; empty where nobody was heard.
func (g *group) masterName() string {
	if g.isMaster() {
		return g.node.cfg.Node
	}
	if by, m := g.masterElsewhere(); by != nil {
		return by.nameOf(m)
	}
	return ""
}

// explain says in one sentence which priority the group has and why, and the
// same of its role: "priority 90 = 150 - 60 (osc: connection refused); backup to
// 10.10.10.105 (100)".
func (g *group) explain(now time.Duration) string {
	return g.explainPriority() + "; " + g.explainRole(now)
}

func (g *group) explainPriority() string {
	if len(g.out.Terms) == 0 {
		return fmt.Sprintf("priority %d", g.out.Priority)
	}
	return fmt.Sprintf("priority %d = %d%s", g.out.Priority, g.routers[0].cfg.Priority, g.termsText())
}

// termsText is what checks add to the priority and take off it.
func (g *group) termsText() string {
	var b strings.Builder
	for _, t := range g.out.Terms {
		sign, amount := "+", t.Amount
		if amount < 0 {
			sign, amount = "-", -amount
		}
		fmt.Fprintf(&b, " %s %d (%s", sign, amount, t.Check)
		if text := g.node.verdicts[t.Check].Text; text != "" && t.Amount < 0 {
			fmt.Fprintf(&b, ": %s", text)
		}
		b.WriteString(")")
	}
	return b.String()
}

func (g *group) termsSum() (sum int) {
	for _, t := range g.out.Terms {
		sum += t.Amount
	}
	return sum
}

func (g *group) explainRole(now time.Duration) string {
	st := g.node.set.State(g.routers[0].id)
	switch st.Role {
	case vrrp.Init:
		return g.explainInit(now)
	case vrrp.Master:
		switch b := g.bound; {
		case g.leaving:
			return "master, leaving: its services stop"
		case g.order.leaves():
			return "master, leaving: " + g.orderReason()
		case b != nil && b.wish == stop && len(g.common) > 0:
			return "master, leaving: " + strings.Join(g.common, "; ")
		case b != nil && b.stuck != "":
			return "master, since " + b.stuck + " did not stop"
		case b == nil || b.ready:
			return "master"
		case b.died != "":
			return "master, " + b.died + " died and is brought back"
		}
		return "master, its services start"
	case vrrp.Fault:
		reasons := strings.Join(g.routers[0].faults, "; ")
		for _, r := range g.routers {
			if reasons == "" {
				reasons = strings.Join(r.faults, "; ")
			}
		}
		return "out of the election: " + reasons
	}
	by, master := g.masterElsewhere()
	if by == nil {
		return "backup, and nobody was heard yet"
	}
	text := fmt.Sprintf("backup to %s (%d)", by.nameOf(master), master.Priority)
	if st.Waived {
		text += ", to which it was handed over: baton takeover " + g.name + " brings it home"
	}
	return text
}

func (g *group) explainInit(now time.Duration) string {
	switch {
	case g.left:
		return "left"
	case g.routers[0].heldBy != "":
		return "waits for " + g.routers[0].heldBy + ", which has the addresses and cannot be elected with"
	case now < g.startAt && g.startAt != vrrp.Never:
		return "waits for start_delay"
	}
	var waits []string
	for _, t := range g.tracks {
		if t.HoldsInit() && g.node.verdicts[t.Check].To == health.Unknown {
			waits = append(waits, t.Check)
		}
	}
	if len(waits) == 0 {
		return "starts"
	}
	return "waits for the first answer of " + strings.Join(waits, ", ")
}
