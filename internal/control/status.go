// Package control is how baton is asked and told from outside: the socket in the
// runtime directory, and its client.
//
// It must not know how the daemon does its work: it reads what the daemon has
// published, which never enters the protocol loop, and hands on what is asked.
package control

import (
	"fmt"
	"time"
)

// Status is what the daemon publishes of itself: a snapshot that nobody changes
// any more.
type Status struct {
	Node          string    `json:"node"`
	Version       string    `json:"version"`
	Started       time.Time `json:"started"`            // of this process, or of the one that it has replaced by an upgrade
	Upgraded      time.Time `json:"upgraded,omitzero"`  // when this process replaced another one by an upgrade
	Configuration string    `json:"configuration"`      // hash over its files
	Loaded        time.Time `json:"loaded"`             // of the configuration
	Problems      []Problem `json:"problems,omitempty"` // why this node is degraded; none: it is well
	Standby       *Standby  `json:"standby,omitempty"`  // of the whole node
	Routers       []Router  `json:"routers"`            // virtual routers that stand alone, and groups, by name
	Services      []Service `json:"services,omitempty"` // those that run on every node
}

// Problem is something that an operator has to mend.
type Problem struct {
	Text    string   `json:"text"`
	Hint    string   `json:"hint,omitempty"`    // what to do, or to look at
	Routers []string `json:"routers,omitempty"` // those that it concerns; none: the node as a whole
}

// Standby says that an operator holds a router, or all of them, out of the election.
type Standby struct {
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is resumed
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by"` // the user
}

// Event is something that has happened, as `baton events` shows it.
type Event struct {
	Number uint64    `json:"number"` // counts the events of this process, from 1
	At     time.Time `json:"at"`
	Kind   EventKind `json:"kind"`
	Name   string    `json:"name"`           // of what it happened to, such as a router, or "storage any" for a hook
	What   string    `json:"what"`           // in two or three words: "MASTER to FAULT", "exit 0 after 41ms"
	Text   string    `json:"text,omitempty"` // the reason, and what was done
}

// EventKind is what an event happened to.
type EventKind string

// The kinds of events.
const (
	RouterEvent        EventKind = "router"   // its role
	CheckEvent         EventKind = "check"    // its verdict
	HookEvent          EventKind = "hook"     // it has ended
	ServiceEvent       EventKind = "service"  // its state
	AddressEvent       EventKind = "address"  // removed by others, put back, not to be put in place
	OperatorEvent      EventKind = "operator" // somebody has asked for it
	ConfigurationEvent EventKind = "configuration"
	DaemonEvent        EventKind = "daemon" // started, adopted, leaves
)

// Router is one election: a virtual router that stands alone, or a group.
type Router struct {
	Name     string    `json:"name"`
	Group    bool      `json:"group,omitempty"`
	Members  []string  `json:"members,omitempty"` // of a group
	Role     string    `json:"role"`              // INIT, BACKUP, MASTER or FAULT
	Since    time.Time `json:"since"`             // of the role
	Priority int       `json:"priority"`          // effective
	// Transitions counts its changes of role, since the daemon started.
	Transitions uint64 `json:"transitions"`
	// Ready says that a master has its addresses on and its services started, as
	// their own checks have it.
	Ready          bool      `json:"ready"`
	Master         string    `json:"master,omitempty"`          // who has the role: a node, or an address; empty: nobody was heard
	MasterPriority int       `json:"master_priority,omitempty"` // that it advertises
	Why            string    `json:"why"`                       // the role and the priority, in one sentence
	Sum            string    `json:"sum"`                       // how the priority comes about
	Reason         string    `json:"reason"`                    // why it has the role, in one sentence
	Note           string    `json:"note,omitempty"`            // the same in a few words
	Prefers        string    `json:"prefers,omitempty"`         // the node with the highest base priority; empty: there are several
	Faults         []string  `json:"faults,omitempty"`          // reasons for FAULT
	Addresses      []string  `json:"addresses,omitempty"`
	Services       []Service `json:"services,omitempty"`
	Tracks         []Track   `json:"tracks,omitempty"`  // the checks that count for it
	History        []Change  `json:"history,omitempty"` // its last changes of role, newest first, at most 8
	Parts          []Part    `json:"parts,omitempty"`   // the virtual routers that it is: several in a group, or with two families
	Standby        *Standby  `json:"standby,omitempty"` // an operator holds this one out of the election
}

// Track is a check that counts for a router.
type Track struct {
	Check  string        `json:"check"`
	Effect string        `json:"effect"`           // as in the configuration: fault, -20, report
	When   string        `json:"when"`             // always, master or backup: in which role it counts
	Grace  time.Duration `json:"grace,omitempty"`  // for how long after it begins it does not count, nanoseconds
	Counts bool          `json:"counts,omitempty"` // it faults the router, or changes its priority, now
}

// Change is a change of role.
type Change struct {
	At     time.Time `json:"at"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Reason string    `json:"reason"`
}

// Part is one virtual router on its link.
type Part struct {
	Name      string        `json:"name"` // in the configuration
	Interface string        `json:"interface"`
	Family    string        `json:"family"` // IPv4 or IPv6
	VRID      int           `json:"vrid"`
	Version   int           `json:"version"`
	Unicast   bool          `json:"unicast,omitempty"`
	Interval  time.Duration `json:"interval"`         // between advertisements, nanoseconds
	Source    string        `json:"source,omitempty"` // where its advertisements come from; empty: there is no such address
	Addresses []Address     `json:"addresses,omitempty"`
	Failed    []string      `json:"failed,omitempty"` // routes and rules that cannot be put in place, and why
	Peers     []Peer        `json:"peers,omitempty"`  // the other nodes that run it, and who else was heard
}

// Address is a virtual address on this host.
type Address struct {
	Address       string    `json:"address"`             // with its prefix length
	State         string    `json:"state"`               // held, lent (kept until the successor has it) or off
	Error         string    `json:"error,omitempty"`     // why it is not in place
	Announced     int       `json:"announced,omitempty"` // times since it was put on
	LastAnnounced time.Time `json:"last_announced,omitzero"`
}

// Peer is another node.
type Peer struct {
	Node      string    `json:"node,omitempty"`      // its name, where it is known
	Address   string    `json:"address,omitempty"`   // that its advertisements come from, or would
	Priority  int       `json:"priority"`            // of its last advertisement; 0: it left, or was never heard
	LastHeard time.Time `json:"last_heard,omitzero"` // zero: never
}

// Service is something that the daemon starts and stops.
type Service struct {
	Name  string    `json:"name"`
	State string    `json:"state"` // stopped, starting, running, stopping, failed or unknown
	Since time.Time `json:"since"`
	Text  string    `json:"text,omitempty"`
}

// Check is what is known of a check.
type Check struct {
	Name     string        `json:"name"`
	Verdict  string        `json:"verdict"`  // pass, fail or unknown
	Since    time.Time     `json:"since"`    // of the verdict
	Interval time.Duration `json:"interval"` // from the start of a run to the start of the next, nanoseconds
	OK       bool          `json:"ok"`       // the last answer
	Text     string        `json:"text"`     // of the last answer
	Hint     string        `json:"hint,omitempty"`
	Output   string        `json:"output,omitempty"` // of a command, at most 4 KiB
	Runs     int           `json:"runs"`             // answers alike in a row
	Passed   uint64        `json:"passed"`           // answers so far, those without an opinion left out
	Failed   uint64        `json:"failed"`           // the same
	At       time.Time     `json:"at"`               // of the last answer; zero before the first
	Took     time.Duration `json:"took"`             // nanoseconds
	Hung     bool          `json:"hung,omitempty"`
	Forced   *Forced       `json:"forced,omitempty"`
}

// Forced is a verdict that an operator has set.
type Forced struct {
	Verdict string    `json:"verdict"` // pass or fail
	Until   time.Time `json:"until"`
	Reason  string    `json:"reason"`
	By      string    `json:"by"` // the user
}

// Age writes how long ago something began, in its largest unit: 14s, 5m, 12d.
func Age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s" // a clock that was set
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}
