package config

import "time"

// lintServices reports what an election makes of the services that are bound to it.
func (rr *routerReader) lintServices(c contest, r reading, nodes []Node) {
	w := rr.walk
	if len(r.Services) == 0 {
		if n := c.raw("services"); n != nil && (n.kind != list || len(n.items) > 0) && n.kind != empty {
			return // there are some, with mistakes
		}
		for _, name := range []string{"promote_after", "on_stop_failure"} {
			if n := c.own[name]; n != nil {
				w.warnAt(n.place, n.path, "services: [{unit: NAME.service}]", "has a meaning only where there are services")
			}
		}
		return
	}
	list := c.raw("services")
	for _, n := range nodes {
		if r.Priorities[n.Name] == owner && !c.has("preempt") {
			w.warnAt(list.place, list.path, "a priority from 1 to 254", "%s owns the addresses (priority 255) and always takes the role back: the services move each time that it returns", n.Name)
		}
	}
	for _, t := range r.Track {
		if t.Effect == Weight && t.When != Backup && !r.Preempt {
			e := r.effectAt[t.Check]
			w.warnAt(e.place, e.path, `"fault" moves them; {effect: `+itoa(t.Weight)+`, when: backup} says that it is about who takes over`,
				"with services and preempt: false a weight moves nothing from a running master")
		}
	}
	for i, s := range r.placedServices {
		rr.lintReady(s, r)
		if tries := s.Revive.least(); s.Revive.Tries > 0 && !s.OnlyAfterSilence && tries >= s.Revive.Within {
			w.warnAt(s.at, s.path, "a longer within, or fewer tries", "%s would be brought back for ever, and the role never go elsewhere: with their backoff %d tries take %s, which is not within %s",
				s.Name, s.Revive.Tries, formatDuration(tries), formatDuration(s.Revive.Within))
		}
		if i > 0 && s.OnlyAfterSilence && !r.Services[i-1].OnlyAfterSilence {
			w.warnAt(s.at, s.path, "put it first", "comes after %s, which runs already then: a fence makes sure of the old master before anything starts", r.Services[i-1].Name)
		}
	}
	rr.lintFence(c, r, nodes)
}

// least is the shortest time from the first try to the end of the last one, each of which fails at once.
func (r Revive) least() (sum time.Duration) {
	wait := r.Backoff
	for range min(r.Tries, 1000) - 1 {
		wait = max(wait, min(2*wait, time.Minute))
		sum += wait
	}
	return sum
}

// lintReady reports a check that can only pass while the service runs, and is held against a node where it must not.
func (rr *routerReader) lintReady(s placedService, r reading) {
	w := rr.walk
	if s.Ready == "" || s.Kind == RoleService {
		return
	}
	for _, t := range r.Track {
		e := r.effectAt[t.Check]
		switch {
		case t.Check != s.Ready || t.Effect != Fault:
		case t.When != Master:
			w.warnAt(e.place, e.path, "{effect: fault, when: master, grace: "+formatDuration(s.StartTimeout)+"}",
				"%q tells that %s runs, which is so on the master alone: no other node could take the role", t.Check, s.Name)
		case t.Grace < s.StartTimeout:
			w.warnAt(e.place, e.path, "grace: "+formatDuration(s.StartTimeout), "the grace (%s) is shorter than the start_timeout of %s (%s), which %q waits for",
				formatDuration(t.Grace), s.Name, formatDuration(s.StartTimeout), t.Check)
		}
	}
}

// lintFence reports nodes that run a service twice when they lose sight of each other, and do nothing about it.
func (rr *routerReader) lintFence(c contest, r reading, nodes []Node) {
	if len(nodes) < 2 || len(rr.nodes) == 0 || c.has("promote_after") {
		return
	}
	alone := false // one of them must not run twice
	for _, s := range r.Services {
		if s.OnlyAfterSilence {
			return
		}
		alone = alone || s.Kind != RoleService
	}
	faults := map[string]bool{}
	for _, t := range r.Track {
		if t.Effect == Fault && t.When != Backup {
			rr.pull(faults, t.Check)
		}
	}
	for name := range faults {
		if typeOf(rr.checkNode[name], rr.checkDefaults.child("type")) == QuorumCheck {
			return
		}
	}
	if alone {
		n := c.raw("services")
		quorum := "a check of type quorum"
		if len(rr.nodes) == 2 {
			quorum += " with witnesses"
		}
		rr.warnAt(n.place, n.path, "a fence ({name: fence, only_after: silence, command: {start: COMMAND}}), "+quorum+", or promote_after; promote_after: 0s says that it does not matter",
			"two nodes that lose sight of each other both run the services")
	}
}
