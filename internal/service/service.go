// Package service starts, stops and asks about what the host's own managers
// run: systemd units, containers of docker or podman, and OCF resource agents.
//
// It must not know of roles and virtual routers, and decides nothing: whoever
// calls it says what shall run, and for how long it may take. Of baton it
// imports internal/command alone.
package service

import (
	"context"
	"fmt"
	"time"
)

// State is what a service is doing.
type State uint8

// The states.
const (
	// Unknown is a service whose manager does not answer, or says what nobody
	// can make use of.
	Unknown State = iota
	// Stopped is one that does not run.
	Stopped
	// Starting is one on its way to Running.
	Starting
	// Running is one that serves, as far as its manager knows.
	Running
	// Stopping is one on its way to Stopped.
	Stopping
	// Failed is one that was running, or should, and is broken.
	Failed
)

// String is the word that status and logs show.
func (s State) String() string {
	names := [...]string{"unknown", "stopped", "starting", "running", "stopping", "failed"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Status is what a service's manager says of it.
type Status struct {
	State State
	// Text is one line in the manager's own words.
	Text string
	// Hint says what an administrator can do about what is wrong; may be empty.
	Hint string
}

// Service is one thing that can be started, stopped and asked about. The calls
// for one service do not overlap. All of them return within a second of the
// end of ctx, which is their only time limit.
type Service interface {
	// Start brings it up, and returns once its manager says that it runs. It is
	// no mistake that it runs already.
	Start(ctx context.Context) error
	// Stop takes it down, and returns once nothing of it runs any more; near the
	// deadline of ctx it is killed where its manager can do that. It is no
	// mistake that it does not run, or is not known.
	Stop(ctx context.Context) error
	// Status asks about it.
	Status(ctx context.Context) Status
}

// Watcher is a Service that knows when its status changes.
type Watcher interface {
	// Watch calls changed, from one goroutine, whenever the status may have
	// become another, until ctx ends. A manager that is lost is asked again, and
	// what comes of that is such a change: once when it cannot be reached, for as
	// long as that lasts, and each time when it can be again.
	Watch(ctx context.Context, changed func())
}

// firstRetry is how long a Watcher waits before it follows its manager again;
// twice as long after each attempt.
const firstRetry = 100 * time.Millisecond

// follow is the Watch of all. watch is one attempt, which lasts until the manager is
// lost: it calls its argument once the manager was reached, and at each change from
// then on. lastRetry bounds the wait between two attempts.
func follow(ctx context.Context, lastRetry time.Duration, changed func(), watch func(changed func())) {
	lost := false // as changed was told
	for retry := firstRetry; ctx.Err() == nil; retry = min(2*retry, lastRetry) {
		began, reached := time.Now(), false
		watch(func() {
			reached = true
			changed()
		})
		if !reached && !lost && ctx.Err() == nil {
			changed()
		}
		lost = !reached
		if time.Since(began) > lastRetry {
			retry = firstRetry
		}
		_ = sleep(ctx, retry) // its end is seen above
	}
}

// sleep waits, and returns early with ctx's error when ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
