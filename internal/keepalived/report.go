package keepalived

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
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
	Text    string // may be empty for Converted
	Node    string // whose file it is, where there are several

	words []Pos // where each word stands that it accounts for; none: it is about no word, or about lines that Read has dealt with
}

// Report is the list of findings.
type Report struct {
	Findings []Finding
}

// add tells of something at a place. It accounts for no word of the tree.
func (r *Report) add(o Outcome, at Pos, what, text string) {
	r.Findings = append(r.Findings, Finding{Outcome: o, Pos: at, What: what, Text: text})
}

// words accounts for words that stand together; there is at least one. The finding is
// for its caller to amend, until the next one is added.
func (r *Report) words(o Outcome, text string, words ...Word) *Finding {
	f := Finding{Outcome: o, Pos: words[0].Pos, Text: text}
	var what []string
	for _, w := range words {
		f.words = append(f.words, w.Pos)
		what = append(what, w.Text)
	}
	f.What = short(strings.Join(what, " "))
	if len(words) > 1 && secretWord.MatchString(what[0]) {
		f.What = short(what[0]) + " ..."
	}
	r.Findings = append(r.Findings, f)
	return &r.Findings[len(r.Findings)-1]
}

// secretWord is a keyword, or one that was meant for it, whose value is not shown.
var secretWord = regexp.MustCompile(`(?i)pas|psa|secret|key|^auth_[^t]`)

// line accounts for the words of a line, and for nothing below it.
func (r *Report) line(o Outcome, b *Block, text string) *Finding {
	return r.words(o, text, b.Words...)
}

// block accounts for a line and for all that is below it.
func (r *Report) block(o Outcome, b *Block, text string) *Finding {
	f := r.line(o, b, text)
	f.words = append(f.words, positions(b.Children)...)
	return f
}

// positions are those of all words.
func positions(blocks []*Block) (all []Pos) {
	for _, b := range blocks {
		for _, w := range b.Words {
			all = append(all, w.Pos)
		}
		all = append(all, positions(b.Children)...)
	}
	return all
}

// amend changes what has become of the words that begin at a place. It tells whether
// there is such a finding.
func (r *Report) amend(at Pos, o Outcome, text string) bool {
	for i := len(r.Findings) - 1; i >= 0; i-- { // as a rule it is one of the last
		if f := &r.Findings[i]; f.Pos == at && len(f.words) > 0 {
			f.Outcome, f.Text = o, text
			return true
		}
	}
	return false
}

// short makes a piece of a file fit to stand in one line of a report.
func short(s string) string {
	const most = 60
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(s, "?"))
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return s
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
