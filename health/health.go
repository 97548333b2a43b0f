// Package health runs checks and turns their verdicts into what the protocol
// needs: an effective priority and reasons for FAULT.
//
// Checks are run by the Scheduler; the rest, Evaluate and Hold, is pure. The
// package must not know virtual routers, sockets of the protocol or addresses,
// and does not import vrrp: whoever asks says what role a router has.
package health

import (
	"context"
	"fmt"
	"time"
)

// Verdict is what is held of a check's subject, after rise and fall.
type Verdict uint8

const (
	// Unknown is the verdict before the first answer or timeout.
	Unknown Verdict = iota
	// Pass means that it is well.
	Pass
	// Fail means that it is not, or that nobody could tell.
	Fail
)

// String is the word that status and logs show.
func (v Verdict) String() string {
	switch v {
	case Unknown:
		return "unknown"
	case Pass:
		return "pass"
	case Fail:
		return "fail"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Answer is what one run of a check says.
type Answer struct {
	OK bool
	// Text is the check's own words, one line: on failure what was attempted
	// and how it failed.
	Text string
	// Hint says what an administrator can do about a failure; may be empty.
	Hint string
	// Output is all that a command wrote, at most 4 KiB; empty for other probes.
	Output string
	// Number multiplies the weight of the routers that track the check, where
	// Numbered; of a pass.
	Number   int
	Numbered bool
	// None is no opinion: it counts neither as a pass nor as a failure.
	None bool
}

// Probe asks once. The deadline of ctx is the check's timeout: an answer after
// it is not counted, but a probe returns only when nothing of it runs any more,
// since the next run begins only then.
type Probe interface {
	Probe(ctx context.Context) Answer
}

// Watcher is a Probe that knows when its answer may have changed.
type Watcher interface {
	Probe
	// Watch calls changed, which does not block, until ctx ends: the check is
	// then asked at once and not at the next interval.
	Watch(ctx context.Context, changed func())
}

// Reading is what a router makes its priority from.
type Reading struct {
	Verdict  Verdict
	Number   int // of a pass, where Numbered
	Numbered bool
}

// Force is a verdict that an operator has set in place of the check's own.
type Force struct {
	Verdict Verdict // Pass or Fail; Unknown: none
	Until   time.Time
	Reason  string
	By      string // who set it
}

// Check says what to ask, how often, and how many answers change the verdict.
type Check struct {
	Name     string
	Interval time.Duration // from start to start; at least MinInterval
	Timeout  time.Duration // no answer by then is a failure; 0 means Interval
	Rise     int           // passes in a row from Fail to Pass; at least 1
	Fall     int           // failures in a row from Pass to Fail; at least 1
	Probe    Probe         // nil of a combination
	// Continues says, for Replace, that Probe asks what that of the present check of
	// the name asks: what was counted goes on.
	Continues bool

	// Of makes a combination: a verdict on other checks, named here, of which at
	// least Least must pass. It is drawn anew at once when one of theirs changes,
	// and at the interval, so that Rise and Fall mean the same as elsewhere.
	Of    []string
	Least int
}

// MinInterval is the shortest interval of a check.
const MinInterval = 50 * time.Millisecond

// Change is a new verdict, or a new number beside the same one.
type Change struct {
	Check    string
	From, To Verdict
	Number   int // of To, where Numbered
	Numbered bool
	Text     string        // of the answer that decided
	Hint     string        // of that answer
	Runs     int           // answers alike in a row that decided
	Took     time.Duration // by the run that decided
}

// Reading is what a router makes of it.
func (c Change) Reading() Reading {
	return Reading{Verdict: c.To, Number: c.Number, Numbered: c.Numbered}
}

// Result is what is known of a check now.
type Result struct {
	Check    string
	Interval time.Duration
	Verdict  Verdict
	Since    time.Time // of the verdict; zero while it is Unknown
	Number   int       // of a pass, where Numbered
	Numbered bool
	OK       bool          // the last answer that was an opinion; it can differ from the verdict
	Text     string        // of the last answer
	Hint     string        // of the last answer
	Runs     int           // answers alike in a row, those without an opinion left out
	Passed   uint64        // answers so far, those without an opinion left out
	Failed   uint64        // the same
	At       time.Time     // of the last answer; zero before the first
	Took     time.Duration // by the last answer
	Hung     bool          // a run is past its deadline and has not ended
	Output   string        // of the last answer; at most 4 KiB
	Forced   Force         // the verdict is an operator's, and the check's own goes on beside it
}

// Reading is what a router makes of it.
func (r Result) Reading() Reading {
	return Reading{Verdict: r.Verdict, Number: r.Number, Numbered: r.Numbered}
}
