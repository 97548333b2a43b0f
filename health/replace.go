package health

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"
)

// Replace makes checks the ones that are run from now on. One that has the name of
// a present check keeps its verdict, a forced one included, and where it brings no
// Probe and is no combination it keeps that one's Probe, too: it goes on as if
// nothing had happened, with the times and counts that it has now. A probe that is
// new, and does not continue, decides by its first answer, whatever Rise and Fall are. Checks that are
// missing end, and nothing more is reported of them.
//
// The new ones begin at once. It fails where a check has no Probe to keep, and then
// nothing has changed, and when Run ends. Before Run it waits for it. Any goroutine
// but report's may call it.
func (s *Scheduler) Replace(checks []Check) error {
	for _, c := range checks {
		if old, err := s.find(c.Name); c.Probe == nil && len(c.Of) == 0 && (err != nil || old.Probe == nil) {
			return fmt.Errorf("replace checks: %s has no probe", c.Name)
		}
	}
	err := s.order(context.Background(), func(now time.Time) { s.replace(checks, now) })
	if err != nil {
		return fmt.Errorf("replace checks: %w", err)
	}
	return nil
}

func (s *Scheduler) replace(checks []Check, now time.Time) {
	var next, began []*checkState
	byName := make(map[string]*checkState, len(checks))
	for _, c := range checks {
		c = c.sensible()
		old := s.byName[c.Name]
		state := old
		switch {
		case old == nil:
			state = &checkState{Check: c, result: Result{Check: c.Name, Interval: c.Interval}}
			began = append(began, state)
		case c.Probe == nil && len(c.Of) == 0 || len(c.Of) > 0 && slices.Equal(c.Of, old.Of) && c.Least == old.Least:
			s.retime(old, c, now)
		default:
			state = old.successor(c)
			began = append(began, state)
		}
		next = append(next, state)
		byName[c.Name] = state
	}
	for _, old := range s.checks {
		if to := byName[old.Name]; to != old {
			s.retire(old, to)
		}
	}
	s.mu.Lock()
	s.checks, s.byName = next, byName
	s.mu.Unlock()
	for _, c := range next {
		c.members, c.parents = nil, nil
	}
	s.connect()
	for i, c := range began {
		c.slot = now.Add(time.Duration(i/together) * firstStride)
		c.next = c.slot
		heap.Push(&s.queue, c)
		s.plan(c)
		s.watch(s.ctx, c)
	}
}

// sensible corrects what would make no sense.
func (c Check) sensible() Check {
	if len(c.Of) > 0 {
		c.Interval, c.Least = cmp.Or(c.Interval, time.Second), max(c.Least, 1)
	}
	c.Interval = max(c.Interval, MinInterval)
	if c.Timeout <= 0 {
		c.Timeout = c.Interval
	}
	c.Rise, c.Fall = max(c.Rise, 1), max(c.Fall, 1)
	return c
}

// retime gives a check other times and counts. A run that is under way keeps its
// deadline.
func (s *Scheduler) retime(c *checkState, to Check, now time.Time) {
	to.Probe = c.Probe
	if to.Interval != c.Interval {
		c.phase = 0
		if soon := now.Add(to.Interval); soon.Before(c.slot) {
			c.slot = soon
		}
	}
	s.mu.Lock()
	c.Check = to
	c.result.Interval = to.Interval
	s.mu.Unlock()
	s.plan(c)
}

// successor is a check that asks in another way, and has the verdict of this one
// until it knows better.
func (c *checkState) successor(to Check) *checkState {
	next := &checkState{Check: to, result: c.result, own: c.own, until: c.until, inherited: c.own.Verdict != Unknown}
	next.result.Interval, next.result.Hung = to.Interval, false
	if to.Continues {
		next.inherited = false
	} else {
		next.result.Runs = 0
	}
	return next
}

// retire ends a check, in favour of another one or of none. Its probe, if it runs,
// is ended, and waited for only when Run ends. Who waits for its answer gets what is
// known; who waits for the next one gets that of its successor.
func (s *Scheduler) retire(c, to *checkState) {
	heap.Remove(&s.queue, c.index)
	c.running, c.hung = false, false
	if c.alive {
		c.cancel()
	}
	if c.unwatch != nil {
		c.unwatch()
	}
	waits := []*outcome{c.answers}
	if to != nil && len(to.Of) == 0 {
		to.asked = c.asked
	} else {
		waits = append(waits, c.asked)
	}
	for _, o := range waits {
		if o != nil {
			o.result = c.result
			close(o.done)
		}
	}
	c.asked, c.answers, c.retired = nil, nil, true
	if c.alive || c.watching {
		s.retired = append(s.retired, c)
	}
}

// forget forgets retired checks of which nothing runs any more.
func (s *Scheduler) forget() {
	s.retired = slices.DeleteFunc(s.retired, func(c *checkState) bool { return !c.alive && !c.watching })
}
