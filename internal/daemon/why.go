package daemon

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"baton/internal/control"
	"baton/internal/role"
	"baton/vrrp"
)

// Why a group has its role and its priority, for `baton status`: in a few words for
// the table, and in a sentence for the router alone.

// maxHistory is how many changes of role are kept of each group.
const maxHistory = 8

// how is why a group came to the role that it has.
type how struct{ short, long string }

// howOf says how a master got its role; by is the router that tells.
func (g *group) howOf(by *router, a vrrp.Action, reason string) how {
	switch rival := by.nameOf(a.Rival); cmp.Or(a.Of, a.Cause) {
	case vrrp.CauseLeft:
		at := time.Unix(0, int64(g.node.out.wall()-a.Elapsed)).Format("15:04:05.000")
		return how{rival + " left", fmt.Sprintf("%s left (priority 0) at %s; of those that answered %d is the highest", rival, at, g.node.set.State(by.id).Priority)}
	case vrrp.CauseSilence:
		return how{"heard nobody for " + round(a.Elapsed), reason}
	}
	return how{reason, reason}
}

// remember keeps a change of role for those who ask; by is the router that made it.
func (g *group) remember(by *router, a vrrp.Action, t role.Transition) {
	g.noteChange(g.howOf(by, a, t.Reason), t)
	g.node.out.event(control.RouterEvent, g.name, string(t.From)+" to "+string(t.To), strings.Join(append([]string{t.Reason}, g.done(t)...), "; "))
}

// noteChange keeps how the group came to its role.
func (g *group) noteChange(by how, t role.Transition) {
	g.how = by
	change := control.Change{At: time.Unix(0, int64(g.node.out.wall())), From: string(t.From), To: string(t.To), Reason: t.Reason}
	g.history = append([]control.Change{change}, g.history[:min(len(g.history), maxHistory-1)]...)
}

// done says what a change of role brought about.
func (g *group) done(t role.Transition) []string {
	word := false // this node told the others that it leaves
	for _, r := range g.routers {
		word = word || r.leftWord
		r.leftWord = false
	}
	switch {
	case t.From == role.Master:
		var did []string
		if word {
			did = append(did, "priority 0 sent")
		}
		if what := g.addressesNow(); what != "" {
			did = append(did, what)
		}
		if len(did) > 0 {
			return []string{strings.Join(did, ", ")}
		}
	case t.To == role.Backup:
		for _, r := range g.routers {
			if !r.master.Addr.IsValid() {
				continue
			}
			text := fmt.Sprintf("%s is master with %d", r.nameOf(r.master), r.master.Priority)
			if st := r.node.set.State(r.id); !r.cfg.Preempt && r.master.Priority < st.Priority {
				text = fmt.Sprintf("%s stays master with %d (preempt: false)", r.nameOf(r.master), r.master.Priority)
			}
			return []string{text}
		}
	}
	return nil
}

// addressesNow says what becomes of the addresses of a master that leaves.
func (g *group) addressesNow() string {
	var names []string
	lent := false
	for _, r := range g.routers {
		lent = lent || r.node.set.State(r.id).Addresses == vrrp.AddressesLent
		for _, a := range r.cfg.Addresses {
			names = append(names, a.Prefix.String())
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case len(names) > 2:
		names = []string{names[0], fmt.Sprintf("%d more", len(names)-1)}
	}
	if lent && !g.unplaced() { // else they went in their place among the services
		return strings.Join(names, " and ") + " kept until a successor has it"
	}
	return strings.Join(names, " and ") + " removed"
}

// sum says how the priority comes about: "130 = 190 (2nd of 3) - 60 (osc: refused)".
func (g *group) sum() string {
	base := int(g.routers[0].cfg.Priority)
	if base == 255 {
		return "255: it owns the addresses"
	}
	text := fmt.Sprintf("%d = %d%s", g.out.Priority, base, g.rank())
	if len(g.out.Terms) == 0 {
		return text + "; no check takes anything off"
	}
	text += g.termsText()
	if sum := base + g.termsSum(); sum != g.out.Priority {
		text += fmt.Sprintf(", which is bound to %d", g.out.Priority)
	}
	return text
}

// rank says which place the base priority has among those of the nodes.
func (g *group) rank() string {
	cfg := g.routers[0].cfg
	place, equal := 1, 0
	for node, p := range cfg.Priorities {
		switch {
		case p > cfg.Priority:
			place++
		case p == cfg.Priority && node != g.node.cfg.Node:
			equal++
		}
	}
	switch {
	case len(cfg.Priorities) < 2:
		return ""
	case equal > 0:
		return fmt.Sprintf(" (%s of %d, as %d others)", ordinal(place), len(cfg.Priorities), equal)
	}
	return fmt.Sprintf(" (%s of %d)", ordinal(place), len(cfg.Priorities))
}

func ordinal(n int) string {
	suffix := "th"
	switch {
	case n%100 >= 11 && n%100 <= 13:
	case n%10 == 1:
		suffix = "st"
	case n%10 == 2:
		suffix = "nd"
	case n%10 == 3:
		suffix = "rd"
	}
	return fmt.Sprintf("%d%s", n, suffix)
}

// masterNow is what a master that has not all that belongs to the role waits for.
func (g *group) masterNow(now time.Duration) string {
	return strings.TrimPrefix(strings.TrimPrefix(g.explainRole(now), "master"), ", ")
}

// explainShort says in a few words why the group has its role.
func (g *group) explainShort(now time.Duration) string {
	st := g.node.set.State(g.routers[0].id)
	switch st.Role {
	case vrrp.Init:
		return g.explainInit(now)
	case vrrp.Master:
		return cmp.Or(g.masterNow(now), g.how.short)
	case vrrp.Fault:
		return strings.Join(g.shortFaults(), ", ")
	}
	by, master := g.masterElsewhere()
	switch {
	case by == nil:
		return "nobody was heard yet"
	case master.Priority > st.Priority:
		return fmt.Sprintf("%d is higher", master.Priority)
	case master.Priority == st.Priority:
		return fmt.Sprintf("%s has %d as well", by.nameOf(master), master.Priority)
	case st.Waived:
		return "handed over: baton takeover " + g.name
	case !by.cfg.Preempt:
		return "preempt is false"
	case st.PreemptAt != vrrp.Never:
		return "waits for preempt_delay"
	}
	return fmt.Sprintf("%d beats %d", st.Priority, master.Priority)
}

// explainLong says it in a sentence.
func (g *group) explainLong(now time.Duration) string {
	st := g.node.set.State(g.routers[0].id)
	switch st.Role {
	case vrrp.Init:
		return g.explainInit(now)
	case vrrp.Master:
		if what := g.masterNow(now); what != "" {
			return g.how.long + "; " + what
		}
		return g.how.long
	case vrrp.Fault:
		return strings.Join(g.faults(), "; ")
	}
	by, master := g.masterElsewhere()
	if by == nil {
		return "nobody was heard yet"
	}
	who := by.nameOf(master)
	switch {
	case master.Priority > st.Priority:
		return fmt.Sprintf("%s is master with %d, which is higher than %d", who, master.Priority, st.Priority)
	case master.Priority == st.Priority:
		return fmt.Sprintf("%s is master and has %d as well", who, master.Priority)
	case st.Waived:
		return fmt.Sprintf("%s is master with %d, to which it was handed over: baton takeover %s brings it home", who, master.Priority, g.name)
	case !by.cfg.Preempt:
		return fmt.Sprintf("%s stays master with %d, though %d is higher: preempt is false", who, master.Priority, st.Priority)
	case st.PreemptAt != vrrp.Never:
		return fmt.Sprintf("%s is followed with %d for preempt_delay, though %d is higher", who, master.Priority, st.Priority)
	}
	return fmt.Sprintf("%d is higher than %d of %s: it takes over", st.Priority, master.Priority, who)
}

// shortFaults are the reasons for FAULT in a few words: checks by their names alone.
func (g *group) shortFaults() []string {
	var short []string
	for _, reason := range g.faults() {
		for _, t := range g.tracks {
			if !strings.HasPrefix(reason, t.Check+" fails") {
				continue
			}
			failed := t.Check + " fails"
			if strings.HasSuffix(reason, held) {
				failed = t.Check + " failed as master"
			}
			reason = failed
		}
		if !slices.Contains(short, reason) {
			short = append(short, reason)
		}
	}
	return short
}
