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
	// become another, until ctx ends. When the manager cannot be reached it
	// says so once, tries again by itself, and calls changed when it can.
	Watch(ctx context.Context, changed func())
}
