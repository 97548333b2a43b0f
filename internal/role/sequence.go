package role

import (
	"context"
	"log/slog"
	"time"

	"baton/internal/service"
)

// Control is how one service of a Sequence is started, stopped and asked about.
// t is the change of role on whose behalf it is done. What service.Service says
// of its methods holds for these. A Control can be a service.Watcher, too.
type Control interface {
	Start(ctx context.Context, t Transition) error
	Stop(ctx context.Context, t Transition) error
	Status(ctx context.Context, t Transition) service.Status
}

// Follower is a Control that wants to know who the master is while this node is
// not.
type Follower interface {
	Follow(ctx context.Context, t Transition) error
}

// Item is one place in the order of a Sequence: a service, or the mark at which
// the virtual addresses go on.
type Item struct {
	Addresses bool // the mark; nothing else of it counts

	Name             string
	Control          Control
	OnlyAfterSilence bool          // started only where nobody gave the role away
	StartTimeout     time.Duration // bounds the start, and with it Ready
	StopTimeout      time.Duration
	// Ready tells whether a check has passed that began after a moment, or in
	// which way it has not; nil: it is ready as soon as it is started.
	Ready   func(after time.Time) (ok bool, text string)
	Revive  Revive
	AtStart AtStart
}

// Revive is how a service that died is brought back.
type Revive struct {
	Tries   int           // within Within; 0: not at all
	Within  time.Duration //
	Backoff time.Duration // before the first try; doubled for each more, to at most a minute
}

// AtStart is what happens to a service when the daemon starts.
type AtStart uint8

// The choices.
const (
	// Decide leaves it alone until it is certain which role this node has.
	Decide AtStart = iota
	// StopFirst stops it at once.
	StopFirst
	// Leave leaves it alone until this node has been master.
	Leave
)

// Report is what a Sequence has to say. Order is the one of the Start or Stop
// that it belongs to.
type Report struct {
	Order   uint64
	Kind    ReportKind
	Service string // its name; empty where it is about all
	Text    string // one line: how it failed, or what was done about it
}

// ReportKind is what a Report says.
type ReportKind uint8

// The reports.
const (
	_ ReportKind = iota
	// AddressesOn: the mark is reached. The sequence goes on when Placed is called.
	AddressesOn
	// AddressesOff: the mark is passed on the way back; the sequence goes on by itself.
	AddressesOff
	// Ready: everything runs, and is ready. It comes once for each Start.
	Ready
	// Stopped: nothing runs any more that a Stop has to stop. It comes once for
	// each Stop.
	Stopped
	// StartFailed: Service did not start. The sequence waits for a Stop, which
	// rolls it back.
	StartFailed
	// Lost: Service died and could not be brought back. The sequence waits for a Stop.
	Lost
	// StopFailed: Service did not stop, or nobody can tell. The sequence waits for
	// Start, or for Abandon.
	StopFailed
)

// Options say what a Sequence does, and for whom.
type Options struct {
	Router Router // for the variables of its commands
	Items  []Item
	// Everywhere is for services that run on every node: they are brought back
	// for ever, and Close leaves them running.
	Everywhere bool
	Report     func(Report) // must not block; called from the sequence's goroutine
	Log        *slog.Logger
}
