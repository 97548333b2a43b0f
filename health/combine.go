package health

import (
	"fmt"
	"slices"
	"time"
)

// connect finds the members of the combinations. A name that no check has, and
// one that leads back to the combination itself, is a member that never passes.
func (s *Scheduler) connect() {
	for _, c := range s.checks {
		for _, name := range c.Of {
			m := s.byName[name]
			if m != nil && m.needs(c) {
				m = nil
			}
			c.members = append(c.members, m)
			if m != nil && !slices.Contains(m.parents, c) {
				m.parents = append(m.parents, c)
			}
		}
	}
}

// needs tells whether a verdict depends on another one.
func (c *checkState) needs(other *checkState) bool {
	return c == other || slices.ContainsFunc(c.members, func(m *checkState) bool { return m != nil && m.needs(other) })
}

// combine draws a combination's verdict anew: at its slot, or because a member's
// verdict is another one. Then an answer like the last one is not counted, or
// members that fail together would be as many failures in a row.
func (s *Scheduler) combine(c *checkState, now time.Time, slot bool) {
	a := c.combination()
	if !slot {
		c.start = now
		if !a.None && c.result.Runs > 0 && a.OK == c.result.OK {
			s.mu.Lock()
			c.result.Text, c.result.At = a.Text, now
			s.mu.Unlock()
			return
		}
	}
	s.take(c, a, now)
}

// combination is what the members come to.
func (c *checkState) combination() Answer {
	pass, open := 0, 0
	var not []string // those that do not pass
	for i, m := range c.members {
		switch {
		case m == nil:
			not = append(not, c.Of[i]+" is not there")
		case m.result.Verdict == Pass:
			pass++
		case m.result.Verdict == Unknown:
			open++
			not = append(not, m.Name+" has no verdict")
		case m.forced():
			not = append(not, m.Name+" is forced to fail")
		default:
			not = append(not, m.Name+" fails")
		}
	}
	text := fmt.Sprintf("%d of %d pass", pass, len(c.members))
	if pass < c.Least || len(not) > 0 {
		text += fmt.Sprintf(", %d needed", c.Least)
	}
	if len(not) > 0 {
		text += ": " + some(not)
	}
	return Answer{OK: pass >= c.Least, None: pass < c.Least && pass+open >= c.Least, Text: text}
}
