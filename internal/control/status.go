// Package control is how baton is asked and told from outside: the socket in the
// runtime directory, and its client.
//
// It must not know how the daemon does its work: it reads what the daemon has
// published, which never enters the protocol loop, and hands on what is asked.
package control

import "time"

// Status is what the daemon publishes of itself: a snapshot that nobody changes
// any more.
type Status struct {
	Node          string    `json:"node"`
	Version       string    `json:"version"`
	Configuration string    `json:"configuration"`      // hash over its files
	Routers       []Router  `json:"routers"`            // virtual routers that stand alone, and groups, by name
	Services      []Service `json:"services,omitempty"` // those that run on every node
}

// Router is one election: a virtual router that stands alone, or a group.
type Router struct {
	Name     string    `json:"name"`
	Group    bool      `json:"group,omitempty"`
	Members  []string  `json:"members,omitempty"` // of a group
	Role     string    `json:"role"`              // INIT, BACKUP, MASTER or FAULT
	Since    time.Time `json:"since"`             // of the role
	Priority int       `json:"priority"`          // effective
	// Ready says that a master has its addresses on and its services started, as
	// their own checks have it.
	Ready     bool      `json:"ready"`
	Master    string    `json:"master,omitempty"` // who has the role: a node, or an address; empty: nobody was heard
	Why       string    `json:"why"`              // the role and the priority, in one sentence
	Faults    []string  `json:"faults,omitempty"` // reasons for FAULT
	Addresses []string  `json:"addresses,omitempty"`
	Services  []Service `json:"services,omitempty"`
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
