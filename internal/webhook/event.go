package webhook

import "time"

// Event is what a hook is told: a Role, a Check or a Service. Its names in JSON
// are an interface to the world, and stay.
type Event interface {
	kind() string
	body(head) any
}

// head is what all events have.
type head struct {
	Event string    `json:"event"` // role, check or service
	Time  time.Time `json:"time"`
	Node  string    `json:"node"` // who tells
}

// Role tells that a router or group has another role.
type Role struct {
	Router         string `json:"router"`
	Group          bool   `json:"group"` // router is the name of a group
	From           string `json:"from"`  // INIT, BACKUP, MASTER or FAULT
	To             string `json:"to"`    // or STOP
	Priority       int    `json:"priority"`
	Reason         string `json:"reason"`          // in words
	Master         string `json:"master"`          // a node, or an address; empty: nobody was heard
	PreviousMaster string `json:"previous_master"` // the same
	Takeover       string `json:"takeover"`        // of a new master: election, handover or silence; else empty
}

// Check tells that a check has another verdict.
type Check struct {
	Check string `json:"check"`
	From  string `json:"from"` // pass, fail or unknown
	To    string `json:"to"`
	Text  string `json:"text"` // of the answer that decided
}

// Service tells what became of a service.
type Service struct {
	Router  string `json:"router"` // or group; empty: it runs on every node
	Service string `json:"service"`
	What    string `json:"what"` // one word: started, stopped, failed ...
	Text    string `json:"text"`
}

func (Role) kind() string    { return "role" }
func (Check) kind() string   { return "check" }
func (Service) kind() string { return "service" }

func (r Role) body(h head) any {
	return struct {
		head
		Role
	}{h, r}
}

func (c Check) body(h head) any {
	return struct {
		head
		Check
	}{h, c}
}

func (s Service) body(h head) any {
	return struct {
		head
		Service
	}{h, s}
}
