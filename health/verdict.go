package health

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"baton/internal/command"
)

const (
	// maxText is how much is kept of an answer's text and of its hint, in bytes.
	// Probes say less; but what they quote may come from anywhere.
	maxText = 2048
)

// bounded is at most so many bytes of a text; the rest is not kept in memory.
func bounded(text string, most int) string {
	if len(text) > most {
		return strings.Clone(text[:most])
	}
	return text
}

// take counts an answer and draws the check's own verdict from it.
func (s *Scheduler) take(c *checkState, a Answer, now time.Time) {
	was, wasOwn := c.result, c.own
	s.mu.Lock()
	r := &c.result
	r.Text, r.Hint, r.Output = bounded(a.Text, maxText), bounded(a.Hint, maxText), bounded(a.Output, command.MaxOutput)
	r.At, r.Took, r.Hung = now, now.Sub(c.start), c.hung
	if !a.None {
		c.count(a)
	}
	s.mu.Unlock()

	is := c.result
	if c.forced() && c.own.Verdict != wasOwn.Verdict {
		s.log.Info("forced check changes by itself", "check", c.Name, "forced", c.result.Forced.Verdict.String(),
			"from", wasOwn.Verdict.String(), "to", c.own.Verdict.String(), "text", is.Text)
	}
	changed := s.settle(c, now, Change{Text: is.Text, Hint: is.Hint, Runs: is.Runs, Took: is.Took}, false)
	if !changed && !a.None && !is.OK && (was.OK || is.Text != was.Text) {
		s.log.Debug("check fails", "check", c.Name, "verdict", is.Verdict.String(), "runs", is.Runs, "text", is.Text)
	}
}

// count counts an answer that is an opinion.
func (c *checkState) count(a Answer) {
	r, own := &c.result, &c.own
	if a.OK != r.OK || r.Runs == 0 {
		r.Runs = 0
	}
	r.Runs++
	r.OK = a.OK
	if a.OK {
		r.Passed++
	} else {
		r.Failed++
	}
	// Once numbered, always: while it fails or gives no answer, its number counts
	// for nothing, and the weight itself must not count in its place.
	own.Numbered = own.Numbered || a.Numbered
	switch {
	case a.OK && (own.Verdict == Unknown || c.inherited || own.Verdict == Fail && r.Runs >= c.Rise):
		own.Verdict = Pass
	case !a.OK && (own.Verdict == Unknown || c.inherited || own.Verdict == Pass && r.Runs >= c.Fall):
		own.Verdict, own.Number = Fail, 0
	}
	if c.inherited {
		c.inherited, own.Numbered = false, a.Numbered
	}
	if a.OK && a.Numbered && own.Verdict == Pass {
		own.Number = a.Number
	}
}

// reading is the check's own, or what an operator has made of it.
func (c *checkState) reading() Reading {
	r := c.own
	if c.forced() && r.Verdict != c.result.Forced.Verdict {
		r.Verdict, r.Number = c.result.Forced.Verdict, 0
	}
	return r
}

// settle makes a check's reading what counts. It tells of it where that is
// something new, or always, with the words of ch, and draws the combinations anew
// that the check is in.
func (s *Scheduler) settle(c *checkState, now time.Time, ch Change, always bool) (changed bool) {
	was, is := c.result.Reading(), c.reading()
	if was == is && !always {
		return false
	}
	s.mu.Lock()
	c.result.Verdict, c.result.Number, c.result.Numbered = is.Verdict, is.Number, is.Numbered
	if is.Verdict != was.Verdict {
		c.result.Since = now
		if is.Verdict == Unknown {
			c.result.Since = time.Time{}
		}
	}
	s.mu.Unlock()
	ch.Check, ch.From, ch.To, ch.Number, ch.Numbered = c.Name, was.Verdict, is.Verdict, is.Number, is.Numbered
	s.changed(ch)
	if is.Verdict != was.Verdict {
		for _, p := range c.parents {
			s.combine(p, now, false)
		}
	}
	return true
}

// changed tells of a new verdict or number, the log first.
func (s *Scheduler) changed(ch Change) {
	level := slog.LevelInfo
	if ch.To == Fail {
		level = slog.LevelWarn
	}
	args := []any{"check", ch.Check, "from", ch.From.String(), "to", ch.To.String(), "runs", ch.Runs, "text", ch.Text}
	if ch.Numbered {
		args = append(args, "number", ch.Number)
	}
	if ch.Hint != "" {
		args = append(args, "hint", ch.Hint)
	}
	s.log.Log(context.Background(), level, "check changed", args...)
	s.report(ch)
}
