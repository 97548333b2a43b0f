// Package doctor looks for what would keep this host from working as a node, and
// says for each how it is mended.
//
// It changes nothing and sends nothing but the group membership that listening needs.
// It must not know how the daemon works: it asks it as anybody does.
package doctor

import (
	"cmp"
	"context"
	"slices"
	"time"

	"baton/internal/config"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	Problem Level = "problem" // it keeps a router from working, now or when it is to take over
	Advice  Level = "advice"  // it is likely to be a nuisance, or may be on purpose
)

// Finding is something to be mended.
type Finding struct {
	ID      string   `json:"id"` // stands for its kind, and is its heading in docs/doctor.md
	Level   Level    `json:"level"`
	Text    string   `json:"text"`
	Mend    string   `json:"mend,omitempty"`    // what to do, or to look at
	Routers []string `json:"routers,omitempty"` // those that it concerns; none: the node as a whole
}

// Skipped is what could not be looked at.
type Skipped struct {
	What string `json:"what"`
	Why  string `json:"why"` // and what to do
}

// Report is what was found.
type Report struct {
	Node     string    `json:"node"`
	Running  bool      `json:"running"`       // a daemon does
	PID      int       `json:"pid,omitempty"` // of it; 0: it is not known
	Probes   int       `json:"probes"`        // that were made
	Findings []Finding `json:"findings"`      // problems first
	Skipped  []Skipped `json:"skipped"`
}

// Problems is how many findings keep something from working.
func (r *Report) Problems() (n int) {
	for _, f := range r.Findings {
		if f.Level == Problem {
			n++
		}
	}
	return n
}

// Options say what is looked at.
type Options struct {
	Config     *config.Config
	RuntimeDir string
	PID        int // of the daemon that holds its lock; 0: none
	Host       config.Host
	Listen     time.Duration // for advertisements of others; 0: not
	// Scan listens on an interface.
	Scan func(ctx context.Context, iface string, listen time.Duration) ([]Heard, error)
	// Left names what a daemon that died has left on this host.
	Left func(runtimeDir string) ([]string, error)
}

// probes are all of them.
func probes(host config.Host) []func(*facts) []Finding {
	return []func(*facts) []Finding{
		capabilities, interfaces, firewall, collisions, otherPrograms, cluster, neverHeard, leftovers, running, sockets, nonlocalBind,
		reversePath, arpAnswers, sizes, clocks, kernel, scheduling, directory, networkManagers,
		func(f *facts) []Finding { return commands(f, host) },
	}
}

// Examine looks at this host. It takes as long as it listens, and at most some ten
// seconds more. It has to be called in the network namespace of the daemon.
func Examine(ctx context.Context, o Options) *Report {
	f := collect(ctx, o)
	all := probes(o.Host)
	r := &Report{Node: o.Config.Node, Running: f.running, PID: f.pid, Probes: len(all), Findings: []Finding{}, Skipped: []Skipped{}}
	for _, p := range all {
		r.Findings = append(r.Findings, p(f)...)
	}
	r.Skipped = append(r.Skipped, f.skipped...)
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(rank(a.Level), rank(b.Level)) })
	return r
}

func rank(l Level) int {
	if l == Problem {
		return 0
	}
	return 1
}
