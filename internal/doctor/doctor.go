// Package doctor looks for what would keep baton from working on this host: each
// finding says what it is and how it is mended.
//
// It changes nothing, sends nothing, and needs no right for what can be known
// without: what it could not look at is a finding, too. It must not judge the
// configuration: that is for validate.
package doctor

import (
	"cmp"
	"slices"

	"baton/internal/config"
	"baton/internal/control"
)

// Finding is something that an operator should know.
type Finding struct {
	Topic string `json:"topic"` // one of those in docs/doctor.md
	Level Level  `json:"level"`
	Text  string `json:"text"`
	Mend  string `json:"mend,omitempty"`
}

// Level says how bad a finding is.
type Level string

// The levels.
const (
	Bad     Level = "bad"     // baton does not work, or not as it has to
	Doubt   Level = "doubt"   // it may, under load or one day, not work
	Unknown Level = "unknown" // it could not be looked at
)

// Patient is whom to look at.
type Patient struct {
	Config *config.Config
	Status *control.Status // of the running daemon; nil: none runs, or it cannot be asked
	PID    int             // of the daemon; 0: none runs
	Dir    string          // its runtime directory
}

// Examine looks at everything that can be known at once, the worst first.
func Examine(p Patient) []Finding {
	h := newHost()
	var all []Finding
	for _, look := range []func(Patient, host) []Finding{
		interfaces, firewall, nonlocalBind, sockets, process, leftovers, clocks, others, managers, heard,
	} {
		all = append(all, look(p, h)...)
	}
	order := []Level{Bad, Doubt, Unknown}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Compare(slices.Index(order, a.Level), slices.Index(order, b.Level))
	})
	return all
}
