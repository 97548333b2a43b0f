package health

import (
	"context"
	"runtime/debug"
	"time"
)

// watch starts the watchers.
func (s *Scheduler) watch(ctx context.Context) {
	for _, c := range s.checks {
		w, ok := c.Probe.(Watcher)
		if !ok {
			continue
		}
		c.watching = true
		go func() {
			defer func() { s.unwatched <- c }()
			defer func() {
				if r := recover(); r != nil { // the check goes on at its interval
					s.log.Error("watch of a check panicked", "check", c.Name, "panic", r, "stack", string(debug.Stack()))
				}
			}()
			w.Watch(ctx, func() { s.stir(c) })
		}()
	}
}

// stir asks for a run out of turn, from any goroutine. It never blocks: until
// that run begins, what else happens is no more than one atomic operation, so a
// storm of changes costs the scheduler nothing.
func (s *Scheduler) stir(c *checkState) {
	if !c.told.Swap(true) {
		s.stirred <- c
	}
}

// want asks for a run out of turn. One that is asked for during a run begins
// after it.
func (s *Scheduler) want(c *checkState) {
	c.wanted = true
	s.plan(c)
}

// earliest is when a run out of turn may begin.
func (c *checkState) earliest() time.Time { return c.start.Add(MinInterval) }
