package daemon

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"baton/health"
	"baton/vrrp"
)

// What verdicts, the link and the addresses mean for a router: whether it takes
// part in the election, and with which priority.

// addressGrace is how long a master may be without an address of its own
// before it counts as unable to hold it: what passes by itself, such as a
// link that goes down, has shown itself by then.
const addressGrace = time.Second

// evaluate recomputes, from a snapshot, whether the router takes part in the
// election and with which priority.
func (r *router) evaluate(now time.Duration) {
	n := r.node
	if n.leaving {
		r.evalAt = vrrp.Never
		return
	}
	st := n.set.State(r.id)
	verdict := func(check string) health.Verdict { return n.verdicts[check].To }
	out := health.Evaluate(int(r.cfg.Priority), r.tracks, verdict, health.State{Master: st.Role == vrrp.Master, Since: r.masterSince}, now)
	r.evalAt = out.Next
	if !r.started && len(out.Waiting) > 0 {
		return
	}
	link, deaf := r.linkFault()
	r.serve(now, st, out, link)
	faults := r.reasons(now, link, out)
	changed := !slices.Equal(faults, r.faults)
	r.faults = faults
	first := !r.started
	r.started = true
	// The fault goes before a priority that falls with it, or the router would
	// yield and then leave; and a router starts with the priority it has.
	switch {
	case len(faults) > 0:
		if changed && st.Role == vrrp.Fault {
			r.log.Info("reasons for FAULT changed", "reason", strings.Join(faults, "; "))
		}
		r.step(now, vrrp.Event{Kind: vrrp.Faulty, Deaf: deaf, Mute: link != "" && !deaf, Reason: strings.Join(faults, "; ")})
		r.reprioritise(now, st, out)
	case first:
		r.reprioritise(now, st, out)
		r.step(now, vrrp.Event{Kind: vrrp.Startup})
	default:
		r.reprioritise(now, st, out)
		r.step(now, vrrp.Event{Kind: vrrp.Recovered})
	}
}

// linkFault says why nobody hears this router, and whether it is deaf as well;
// the reason is empty where the link is good.
func (r *router) linkFault() (why string, deaf bool) {
	u := r.link
	switch {
	case !u.exists:
		return fmt.Sprintf("interface %s does not exist", u.name), true
	case !u.state.Up:
		return fmt.Sprintf("interface %s is down", u.name), true
	case u.problem[r.cfg.IPv6] != "":
		return u.problem[r.cfg.IPv6], true
	case r.source().IsValid():
		return "", false
	case r.cfg.Source.IsValid():
		return fmt.Sprintf("source_address %s is not on interface %s", r.cfg.Source, u.name), false
	case r.cfg.IPv6:
		return fmt.Sprintf("interface %s has no link-local address", u.name), false
	}
	return fmt.Sprintf("interface %s has no IPv4 address of its own", u.name), false
}

// serve keeps account of whether this router, or another one, does what a
// master has to do. When a check that asks "am I serving?" fails, or a virtual
// address cannot be put in place, a hold begins: out of the role neither
// counts, and without a hold the node would look healthy and take the role
// again at once.
func (r *router) serve(now time.Duration, st vrrp.State, out health.Outcome, link string) {
	if st.Role != vrrp.Master {
		if st.Master.Addr.IsValid() {
			r.hold.Occupied()
		}
		return
	}
	for _, t := range r.tracks {
		if t.Effect.When == health.Master && slices.Contains(out.Faults, t.Check) {
			r.fail(now, r.checkFault(t.Check))
			return
		}
	}
	if len(r.broken) > 0 && link == "" {
		if at := r.brokenSince + addressGrace; now < at {
			r.evalAt = min(r.evalAt, at)
		} else {
			for _, err := range r.broken {
				r.fail(now, err.Error()) // one of them will do
				return
			}
		}
	}
	r.hold.Served(now)
}

// fail holds the router in FAULT for retry_after: it could not do as master
// what a master has to do.
func (r *router) fail(now time.Duration, why string) {
	r.failure = why
	r.hold.Failed(now)
}

// reasons lists why the router is in FAULT, if it is.
func (r *router) reasons(now time.Duration, link string, out health.Outcome) []string {
	var reasons []string
	if link != "" {
		reasons = append(reasons, link)
	}
	for _, check := range out.Faults {
		reasons = append(reasons, r.checkFault(check))
	}
	if until := r.hold.Until(); until > now {
		r.evalAt = min(r.evalAt, until)
		if !slices.Contains(reasons, r.failure) {
			reasons = append(reasons, r.failure+" (held: it failed as master)")
		}
	}
	return reasons
}

// checkFault says that a check fails, in its own words where it has some.
func (r *router) checkFault(check string) string {
	if text := r.node.verdicts[check].Text; text != "" {
		return fmt.Sprintf("%s fails: %s", check, text)
	}
	return check + " fails"
}

// reprioritise brings the effective priority to the state machine.
func (r *router) reprioritise(now time.Duration, st vrrp.State, out health.Outcome) {
	if out.Priority == int(st.Priority) {
		return
	}
	r.log.Info("priority", "from", st.Priority, "to", out.Priority, "role", st.Role.String(), "terms", terms(r.cfg.Priority, out))
	r.step(now, vrrp.Event{Kind: vrrp.Reprioritised, Priority: uint8(out.Priority)})
}

// vacant ends a hold early: a node that failed as master is better than none.
func (r *router) vacant(now time.Duration, a vrrp.Action) {
	if r.hold.Until() <= now {
		return
	}
	r.hold.Vacant(now)
	r.log.Warn("nobody holds the role: the hold after a failure as master ends early",
		"nobody_for", round(a.Elapsed), "in", round(max(0, r.hold.Until()-now)))
	r.node.dirty = append(r.node.dirty, r)
}
