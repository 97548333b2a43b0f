package config

import (
	"cmp"
	"net/netip"
	"slices"
)

// Host answers what the configuration cannot know: what is on this host.
type Host interface {
	// Interface tells why there is no interface of that name.
	Interface(name string) error
	// Command tells why a command cannot or must not be run as a user; the empty user is who runs baton. The error names the
	// path and what to do.
	Command(argv []string, user string) error
	// Socket tells why nothing can be asked at a path.
	Socket(path string) error
	// Address tells why an address is not one of this host.
	Address(a netip.Addr) error
}

type questionKind uint8

const (
	_ questionKind = iota
	askInterface
	askCommand
	askSocket
	askAddress
)

// question is something in the file that only the host can answer.
type question struct {
	kind  questionKind
	at    place
	path  string
	name  string // of an interface or a socket
	argv  []string
	user  string
	addr  netip.Addr
	unmet string // what a no means; empty: what it means for a check, or of an interface for a router
}

func (c *Config) ask(q question) { c.questions = append(c.questions, q) }

// CheckHost asks this host for what the configuration names. What may still come (an interface, a socket, an address) is a
// warning; a command that cannot be run is an error.
func (c *Config) CheckHost(h Host) []Diagnostic {
	found := newCollector()
	type what struct { // one value of the defaults serves many; one of unicast gives an address of each family
		at   place
		addr netip.Addr
	}
	asked := map[what]bool{}
	for _, q := range c.questions {
		if asked[what{q.at, q.addr}] {
			continue
		}
		asked[what{q.at, q.addr}] = true
		switch q.kind {
		case askInterface:
			if err := h.Interface(q.name); err != nil {
				found.warnAt(q.at, q.path, cmp.Or(q.unmet, "baton waits for it: the router is in FAULT")+" until it is there", "%v", err)
			}
		case askCommand:
			if err := h.Command(slices.Clone(q.argv), q.user); err != nil {
				found.errorAt(q.at, q.path, cmp.Or(q.unmet, inCheck.unmet)+" until this is mended", "%v", err)
			}
		case askSocket:
			if err := h.Socket(q.name); err != nil {
				found.warnAt(q.at, q.path, cmp.Or(q.unmet, inCheck.unmet)+" as long as nothing answers there", "%v", err)
			}
		case askAddress:
			if err := h.Address(q.addr); err != nil {
				found.warnAt(q.at, q.path, cmp.Or(q.unmet, "no advertisement can be sent from it"), "%v", err)
			}
		}
	}
	return found.report(nil).Diagnostics
}
