package daemon

import (
	"slices"
	"strings"
	"time"

	"baton/internal/control"
	"baton/vrrp"
)

// An operator holds routers, or the whole node, out of the election. It is a reason
// for FAULT like any other, and outlives the process: see standbyfile.go.

// standbyLook is how often a standby that ends by itself looks at the wall clock,
// which may have been set meanwhile.
const standbyLook = 30 * time.Second

// standby is one that is in force, or will be when the role is given away.
type standby struct {
	control.Standby
	// endBy is when its time is over on the loop's clock, whatever becomes of the
	// wall clock; Never where it has no end.
	endBy time.Duration
}

// left is for how long it is in force still: until the wall clock says so, or its
// time is over, whichever comes first. So a clock that is set back, or was wrong
// when this host started, does not prolong it.
func (s *standby) left(now, wall time.Duration) time.Duration {
	if s.Until.IsZero() {
		return vrrp.Never
	}
	return min(s.endBy-now, time.Duration(s.Until.UnixNano())-wall)
}

// reason is what it is as a reason for FAULT. wall is the time now.
func (s *standby) reason(wall time.Duration) string {
	text := "standby since " + day(s.Since, time.Unix(0, int64(wall))) + " by " + s.By
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}

// day is a time of the day, with the date where it is not today's.
func day(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("Jan 2 15:04")
}

// newStandby is what an order asks for.
func (n *node) newStandby(now time.Duration, o control.Order) *standby {
	wall := n.out.wall()
	s := &standby{Standby: control.Standby{Since: time.Unix(0, int64(wall)), Reason: o.Reason, By: o.By}, endBy: vrrp.Never}
	if o.For > 0 {
		s.Until, s.endBy = s.Since.Add(o.For), now+o.For
	}
	return s
}

// savedStandby is what outlives the process.
type savedStandby struct {
	Node    *control.Standby           `json:"node,omitempty"`    // of the whole node
	Except  []string                   `json:"except,omitempty"`  // routers and groups that it is not of
	Routers map[string]control.Standby `json:"routers,omitempty"` // of single ones
}

func (s savedStandby) empty() bool { return s.Node == nil && len(s.Routers) == 0 }

// saved is the standby that is in force.
func (n *node) saved() savedStandby {
	var s savedStandby
	if n.standby != nil {
		whole := n.standby.Standby
		s.Node = &whole
	}
	for _, g := range n.groups {
		switch {
		case g.removed:
		case g.standby == nil && n.standby != nil:
			s.Except = append(s.Except, g.name)
		case g.standby != n.standby:
			if s.Routers == nil {
				s.Routers = make(map[string]control.Standby)
			}
			s.Routers[g.name] = g.standby.Standby
		}
	}
	slices.Sort(s.Except)
	return s
}

// restore puts in force what an earlier process had, before the node starts.
func (n *node) restore(now time.Duration, s savedStandby) {
	wall := n.out.wall()
	again := func(name string, c control.Standby) *standby {
		again := &standby{Standby: c, endBy: vrrp.Never}
		if !c.Until.IsZero() {
			again.endBy = now + max(0, c.Until.Sub(c.Since))
		}
		if again.left(now, wall) <= 0 {
			n.log.Info("standby is over: its time had come before baton was started", "of", name, "until", c.Until.Local().Format(time.DateTime))
			return nil
		}
		return again
	}
	if s.Node != nil {
		n.standby = again("the node", *s.Node)
	}
	for _, g := range n.groups {
		if !slices.Contains(s.Except, g.name) {
			g.standby = n.standby
		}
	}
	for name, c := range s.Routers {
		i := slices.IndexFunc(n.groups, func(g *group) bool { return g.name == name })
		if i < 0 {
			n.log.Warn("standby of a router that this node does not run any more is forgotten", "of", name)
			continue
		}
		n.groups[i].standby = again(name, c)
	}
	for _, g := range n.groups {
		if g.standby != nil {
			n.log.Info("standby goes on", "of", g.name, "by", g.standby.By, "since", g.standby.Since.Local().Format(time.DateTime), "reason", g.standby.Reason)
		}
	}
	n.forgetStandby()
}

// keepStandby has what is in force written down.
func (n *node) keepStandby() {
	n.forgetStandby()
	n.out.keep(n.saved())
	n.stale = true
}

// forgetStandby forgets one of the node that is of no router.
func (n *node) forgetStandby() {
	whole := func(g *group) bool {
		return g.standby == n.standby || g.order != nil && g.order.standby == n.standby
	}
	if n.standby != nil && !slices.ContainsFunc(n.groups, whole) {
		n.standby = nil
	}
}

// checkStandby ends the standby whose time is over, and has the group evaluated again
// when that may be.
func (g *group) checkStandby(now time.Duration) {
	s := g.standby
	if s == nil {
		return
	}
	left := s.left(now, g.node.out.wall())
	if left > 0 {
		if left != vrrp.Never {
			g.evalAt = min(g.evalAt, now+min(left, standbyLook))
		}
		return
	}
	for _, other := range g.node.groups {
		if other.standby == s {
			other.standby = nil
			other.log.Info("standby is over", "by", s.By, "reason", s.Reason)
			g.node.out.event(control.OperatorEvent, other.name, "standby is over", strings.TrimSpace("by "+s.By+" "+s.Reason))
			g.node.dirty = append(g.node.dirty, other)
			other.touch()
		}
	}
	g.node.keepStandby()
}

// vacantStandby says, at most once a minute, that the role is nobody's while this
// node is not to take it.
func (g *group) vacantStandby(now time.Duration) {
	if g.standby == nil || !g.node.noticed.allow(now, noticeKey{router: g.routers[0].id}) {
		return
	}
	g.log.Warn("nobody holds the role, and this node is in standby: baton resume ends that", "standby", g.standby.reason(g.node.out.wall()))
}

// shownStandby is a standby as it is published; nil where there is none.
func shownStandby(s *standby) *control.Standby {
	if s == nil {
		return nil
	}
	shown := s.Standby
	return &shown
}

// isStandby tells whether a reason for FAULT is a standby.
func isStandby(reason string) bool { return strings.HasPrefix(reason, "standby since ") }
