package health

import (
	"fmt"
	"math"
	"time"
)

// When says in which role of a router an effect counts.
type When uint8

const (
	// Always is in every role.
	Always When = iota
	// Master is while the router is master: "am I serving?"
	Master
	// Backup is while it is not: "may I take over?"
	Backup
)

// String is the word of the configuration.
func (w When) String() string {
	switch w {
	case Always:
		return "always"
	case Master:
		return "master"
	case Backup:
		return "backup"
	}
	return fmt.Sprintf("When(%d)", uint8(w))
}

// EffectKind is what a check does to a router.
type EffectKind uint8

const (
	// Fault holds the router out of the election while the check fails.
	Fault EffectKind = iota
	// Weight changes its priority.
	Weight
	// Report does nothing; the check is shown.
	Report
)

// String is the word of the configuration.
func (k EffectKind) String() string {
	switch k {
	case Fault:
		return "fault"
	case Weight:
		return "weight"
	case Report:
		return "report"
	}
	return fmt.Sprintf("EffectKind(%d)", uint8(k))
}

// Effect is what a verdict does to a router that tracks the check.
type Effect struct {
	Kind EffectKind
	// Weight, of kind Weight: a negative one is taken off while the check fails,
	// a positive one put on while it passes. Of a check that has a number it counts
	// that many times while it passes, whatever its sign.
	Weight int
	When   When
	// Grace is for how long after the router became master, or with When Backup
	// ceased to be, the effect does not count. Out of the role an effect of
	// When Always has none: it would be over and begin again with each role that
	// it costs.
	Grace time.Duration
}

// Track is a check that a router follows.
type Track struct {
	Check  string
	Effect Effect
}

// HoldsInit tells whether a router waits in INIT for the check's first answer:
// it could fault the router there and then.
func (t Track) HoldsInit() bool {
	return t.Effect.Kind == Fault && t.Effect.When != Master
}

// State is what of a router decides which effects count.
type State struct {
	Master bool
	Since  time.Duration // the moment since which Master is as it is, on now's clock
}

// Term is one check's part in the priority.
type Term struct {
	Check  string
	Amount int // not 0
}

// Never is an Outcome's Next when no grace period is running out.
const Never = time.Duration(math.MaxInt64)

// Outcome is what the verdicts come to.
type Outcome struct {
	// Priority is the effective one: the base and all terms, and only the sum is
	// bound to 1..254, so that what a weight took off comes back exactly. The
	// base 255, the address owner's, stays 255.
	Priority int
	// Faults names the checks that fault the router now, in the order tracked.
	Faults []string
	// Waiting names the checks that keep the router in INIT: they could fault it
	// when it leaves INIT and have not answered yet.
	Waiting []string
	// Terms is the arithmetic, in the order tracked.
	Terms []Term
	// Next is when a grace period ends that holds an effect back now, or Never.
	Next time.Duration
}

// Evaluate computes what the verdicts mean for a router of the given base
// priority (1..255) at the moment now. It is to be asked again when a verdict or
// the state changes, and at Outcome.Next.
//
// A check without a verdict changes no priority. An effect of a role that the
// router does not have now counts for nothing, and holds nothing up; INIT is
// not master, so what counts in BACKUP counts there.
func Evaluate(base int, tracks []Track, reading func(check string) Reading, s State, now time.Duration) Outcome {
	o := Outcome{Next: Never}
	sum := base
	for _, t := range tracks {
		e, v := t.Effect, reading(t.Check)
		if t.HoldsInit() && v.Verdict == Unknown {
			o.Waiting = append(o.Waiting, t.Check)
		}
		if !e.active(v) || !e.When.holds(s.Master) {
			continue
		}
		if counts := s.Since + e.Grace; e.Grace > 0 && now < counts && (s.Master || e.When == Backup) {
			o.Next = min(o.Next, counts)
			continue
		}
		switch e.Kind {
		case Fault:
			o.Faults = append(o.Faults, t.Check)
		case Weight:
			amount := e.amount(v)
			sum += amount
			o.Terms = append(o.Terms, Term{t.Check, amount})
		}
	}
	o.Priority = min(max(sum, 1), 254)
	if base == 255 {
		o.Priority = 255
	}
	return o
}

// active tells whether a reading brings the effect about.
func (e Effect) active(v Reading) bool {
	switch {
	case e.Kind == Fault:
		return v.Verdict == Fail
	case e.Kind != Weight:
		return false
	case v.Numbered:
		return v.Verdict == Pass && v.Number != 0
	}
	return v.Verdict == Fail && e.Weight < 0 || v.Verdict == Pass && e.Weight > 0
}

// mostAmount bounds what one check adds or takes: more than all priorities.
const mostAmount = 254

// amount is what an active weight comes to: of a check with a number, that many
// times the weight.
func (e Effect) amount(v Reading) int {
	if !v.Numbered {
		return e.Weight
	}
	number := min(max(v.Number, -mostAmount), mostAmount) // the product must not overflow
	return min(max(e.Weight*number, -mostAmount), mostAmount)
}

func (w When) holds(master bool) bool {
	return w == Always || (w == Master) == master
}
