// Package role tells this host's notify hooks what a virtual router has become, and starts and stops the services that
// are bound to its role.
//
// Each virtual router has one [Queue]. It runs one hook at a time, in order, each with a time limit, and when
// the router changes faster than its hooks run, the newest state wins: hooks are told of what is, not of
// everything that was.
//
// The services of one router or group have a [Sequence]. It starts them in order, stops them in reverse, and watches over
// them in between.
//
// The package must not decide about roles, must not speak to the network and must not make the caller wait:
// the protocol goes on whatever a hook or a service does.
package role

import (
	"context"
	"time"

	"baton/internal/command"
)

// State is what hooks are told a virtual router has become; the words are keepalived's. The zero value is no state
// and is told to nobody.
type State string

// The states. Hooks are told of all but Init, which is only ever a state that was left.
const (
	Init   State = "INIT"
	Backup State = "BACKUP"
	Master State = "MASTER"
	Fault  State = "FAULT"
	Stop   State = "STOP" // the daemon ends, or the router was removed from the configuration
)

// DefaultTimeout is the time limit of a hook that brings none.
const DefaultTimeout = 30 * time.Second

// Hook is one command to run.
type Hook struct {
	// Argv is the command and its arguments, without a shell; never empty. In each word $router, $role (the new
	// state, MASTER ...), $master, $master.NETWORK, $previous_master and $previous_master.NETWORK are replaced, and
	// $$ is a dollar sign. The words were validated, and $node replaced, when the configuration was read.
	Argv []string
	// User is whom the command runs as; empty: the daemon's user.
	User string
	// Timeout is how long the command may run before it is ended; 0 or less: DefaultTimeout.
	Timeout time.Duration
	// Env are more variables for the command, NAME=VALUE. They cannot replace those of this package.
	Env []string
	// Retries is how often a hook that failed is run again: after a second, doubled to half a minute, and only while no
	// newer state waits.
	Retries int
}

// Hooks are the hooks of one virtual router. For each state its own list runs first, then Any.
type Hooks struct {
	Any, Master, Backup, Fault, Stop []Hook
	// Reassert runs, alone, when a rival was heard and beaten and the router stays master.
	Reassert []Hook
	// FIFO is the path of a named pipe that is told of each change, also of those that hooks never hear of; empty: none.
	// A line is `INSTANCE "name" MASTER 200`, or for a group `GROUP "name" MASTER 0`, as keepalived writes it, and
	// for a router's reassertion `INSTANCE "name" MASTER_RX_LOWER_PRI 200`.
	FIFO string
}

// Router is what hooks are told about the virtual router, or the group of them, that they belong to.
type Router struct {
	Name       string
	Group      bool   // Name is that of a group of the configuration
	Node       string // this node's name
	Interfaces []string
	VRIDs      []uint8
	Addresses  []string // as written in the configuration: ADDRESS/LEN
	Hooks      Hooks
}

// Transition is one change of a router's state, or with Reassert a confirmation of it.
type Transition struct {
	To, From State
	// Reassert says that a rival was heard and beaten: To is still Master, and only the reassert hooks run.
	Reassert bool
	Priority int    // effective priority, 0 to 255
	Reason   string // why, for people
	// Master and PreviousMaster are node names, or addresses where the name is unknown, or empty where there is none.
	Master, MasterAddress, PreviousMaster string
	// Takeover is how the master role was got, election, handover or silence; empty when it was not.
	Takeover string
}

// RunFunc runs argv as h says (User, Timeout) and waits for it. env holds NAME=VALUE variables that go on top of
// the environment every command of the daemon gets. At h.Timeout, which is never 0 here, and when ctx ends, it
// asks the command to end, kills it within a second, and returns. It must return: a queue waits for it.
type RunFunc func(ctx context.Context, h Hook, argv []string, env []string) command.Result

// killAfter is how long a hook that was asked to end has for it.
const killAfter = reapTime / 2

// Exec returns the RunFunc that runs hooks as processes in the folder dir, by means of run. A user that does not exist is
// a failed run.
func Exec(run command.RunFunc, dir string) RunFunc {
	return func(ctx context.Context, h Hook, argv []string, env []string) command.Result {
		s := command.Spec{Argv: argv, Dir: dir, Env: env, Timeout: h.Timeout, Kill: killAfter}
		if h.User != "" {
			s.User = &command.User{Name: h.User} // looked up at each run
		}
		return run(ctx, s)
	}
}

// Lookup finds the address that a node has in a network, as the configuration's nodes say. It reports false
// when there is no such node or network. It is called from the queue's own goroutine.
type Lookup func(node, network string) (address string, ok bool)

// of returns the lists that are run for a transition, in order, with the name each has in the configuration.
func (h Hooks) of(t Transition) []job {
	if t.Reassert {
		return jobs(nil, "reassert", h.Reassert)
	}
	var own []job
	switch t.To {
	case Master:
		own = jobs(nil, "master", h.Master)
	case Backup:
		own = jobs(nil, "backup", h.Backup)
	case Fault:
		own = jobs(nil, "fault", h.Fault)
	case Stop:
		own = jobs(nil, "stop", h.Stop)
	}
	return jobs(own, "any", h.Any)
}

// job is one hook with the name of the list it stands in.
type job struct {
	list string
	hook Hook
}

func jobs(to []job, list string, hooks []Hook) []job {
	for _, h := range hooks {
		to = append(to, job{list: list, hook: h})
	}
	return to
}
