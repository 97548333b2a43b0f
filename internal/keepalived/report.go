package keepalived

import (
	"cmp"
	"slices"
)

// Outcome is what has become of a part of the input.
type Outcome uint8

// The outcomes, from good to bad.
const (
	Converted    Outcome = iota
	NotNeeded            // baton does it by itself, or it has no effect: Text says why
	Approximated         // it is in the output in another form: Text says how it differs
	Unsupported          // it is not in the output: Text says what to do instead
	Ignored              // keepalived itself ignores it, a misspelt word for instance: Text says what was meant
	outcomes
)

// String returns the outcome as the report has it.
func (o Outcome) String() string {
	return [...]string{"converted", "not needed", "approximated", "not supported", "ignored by keepalived"}[o]
}

// Finding is what has become of some words of the input, which stand together.
type Finding struct {
	Outcome Outcome
	Pos     Pos
	What    string // the words, shortened; no secret
	Text    string // empty for Converted
	Node    string // whose file it is, where there are several
}

// Report is the list of findings.
type Report struct {
	Findings []Finding
}

// add accounts for words, and for all lines below the block where one is given whole.
func (r *Report) add(o Outcome, at Pos, what, text string) {
	r.Findings = append(r.Findings, Finding{Outcome: o, Pos: at, What: what, Text: text})
}

// Complete tells whether all that the input says is in the output: nothing was
// approximated, unsupported or ignored.
func (r *Report) Complete() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Outcome > NotNeeded })
}

// Sort orders the findings as the input has them.
func (r *Report) Sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Pos.File, b.Pos.File), a.Pos.Line-b.Pos.Line, a.Pos.Column-b.Pos.Column)
	})
}
