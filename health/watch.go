package health

import (
	"context"
	"runtime/debug"
	"time"
)

// watch starts the watcher of a check, if it has one.
func (s *Scheduler) watch(ctx context.Context, c *checkState) {
	w, ok := c.Probe.(Watcher)
	if !ok {
		return
	}
	ctx, c.unwatch = context.WithCancel(ctx)
	c.watching = true
	go func() {
		defer func() {
			select {
			case s.unwatched <- c:
			case <-s.left:
			}
		}()
		defer func() {
			if r := recover(); r != nil { // the check goes on at its interval
				s.log.Error("watch of a check panicked", "check", c.Name, "panic", r, "stack", string(debug.Stack()))
			}
		}()
		w.Watch(ctx, func() { s.stir(c) })
	}()
}

// stir asks for a run out of turn, from any goroutine. It never blocks: until
// that run begins, what else happens is no more than one atomic operation, so a
// storm of changes costs the scheduler nothing.
func (s *Scheduler) stir(c *checkState) {
	if c.told.Swap(true) {
		return
	}
	select {
	case s.stirred <- struct{}{}:
	default: // somebody else has told, and all are looked at
	}
}

// hear takes notice of what watchers have told.
func (s *Scheduler) hear() {
	for _, c := range s.checks {
		if c.told.Load() && !c.heard {
			c.heard = true
			s.want(c)
		}
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
