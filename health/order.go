package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// errOver is that of an order to a scheduler which ends.
var errOver = errors.New("the checks are ending")

// outcome is where all those find the result of a run who wait for it.
type outcome struct {
	done   chan struct{} // closed when result is there
	result Result
}

// RunNow runs a check out of turn, waits for the answer, which counts as any
// other, and returns what is known then. The run begins after the call; one that
// is under way is not taken for it. A combination has no runs: its present result
// is returned. It fails when there is no such check, when ctx ends, and when Run
// ends. Before Run it waits for it. Any goroutine but report's may call it.
func (s *Scheduler) RunNow(ctx context.Context, check string) (Result, error) {
	c, err := s.find(check)
	if err != nil {
		return Result{}, fmt.Errorf("run a check: %w", err)
	}
	if len(c.Of) > 0 {
		return s.resultOf(c), nil
	}
	joined := make(chan *outcome, 1)
	err = s.order(ctx, func(time.Time) {
		c := s.byName[check]
		if c == nil || len(c.Of) > 0 { // it was replaced a moment ago
			close(joined)
			return
		}
		if c.asked == nil {
			c.asked = &outcome{done: make(chan struct{})}
		}
		s.want(c)
		joined <- c.asked
	})
	if err != nil {
		return Result{}, fmt.Errorf("run check %s: %w", check, err)
	}
	o, ok := <-joined
	if !ok {
		return Result{}, fmt.Errorf("run check %s: it was removed just now", check)
	}
	select {
	case <-o.done:
		return o.result, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-s.over:
		err = errOver
	}
	return Result{}, fmt.Errorf("run check %s: wait for its answer: %w", check, err)
}

// order has the owner of all do something, and returns when it is done.
func (s *Scheduler) order(ctx context.Context, do func(now time.Time)) error {
	if ctx.Err() != nil { // of two that are ready select takes either
		return context.Cause(ctx)
	}
	done := make(chan struct{})
	select {
	case s.orders <- func(now time.Time) { do(now); close(done) }:
		<-done // at once: nothing of it blocks
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.over:
		return errOver
	}
}

// find finds a check by its name. The error lists the names that begin most like
// the one asked for.
func (s *Scheduler) find(check string) (*checkState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.byName[check]; ok {
		return c, nil
	}
	names := make([]string, len(s.checks))
	for i, c := range s.checks {
		names[i] = c.Name
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(alike(b, check), alike(a, check)) })
	return nil, fmt.Errorf("there is no check %q; there is %s", check, some(names))
}

// alike is how many bytes two names have in common at their beginning.
func alike(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
