package health

import (
	"context"
	"fmt"
	"time"
)

// Force puts an operator's verdict in the place of a check's own until f.Until,
// or, with the verdict Unknown, ends one. It counts at once and is reported as a
// Change. The check goes on being asked beside it; when the force ends, its own
// verdict counts again, as it is then. It fails when there is no such check, when
// Until is not in the future, and when Run ends. Before Run it waits for it. Any
// goroutine but report's may call it.
func (s *Scheduler) Force(check string, f Force) error {
	_, err := s.find(check)
	switch {
	case err != nil:
		return fmt.Errorf("force a check: %w", err)
	case f.Verdict > Fail:
		return fmt.Errorf("force check %s: %v is no verdict", check, f.Verdict)
	case f.Verdict != Unknown && !f.Until.After(time.Now()):
		return fmt.Errorf("force check %s: until %s: that has passed", check, f.Until.Format(time.DateTime))
	}
	err = s.order(context.Background(), func(now time.Time) {
		c := s.byName[check]
		if c == nil { // it was removed just now
			return
		}
		if f.Verdict == Unknown {
			s.release(c, now)
		} else {
			s.force(c, f, now)
		}
		s.plan(c)
	})
	if err != nil {
		return fmt.Errorf("force check %s: %w", check, err)
	}
	return nil
}

// Resume makes a check begin with what another process knew of it: a verdict, with
// its words, since a moment. It holds until as many answers as Rise or Fall ask
// for say otherwise. A verdict that was forced is forced again, for what is left
// of its time. It is called before Run, which reports nothing of it. A check
// that does not exist any more is passed over.
func (s *Scheduler) Resume(check string, r Reading, text, hint string, since time.Time, f Force) {
	c := s.byName[check]
	if c == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	res := &c.result
	res.Verdict, res.Number, res.Numbered, res.Since, res.Text, res.Hint = r.Verdict, r.Number, r.Numbered, since, text, hint
	res.OK = r.Verdict == Pass
	if now := time.Now(); f.Verdict != Unknown && f.Until.After(now) {
		res.Forced, c.until = f, now.Add(f.Until.Sub(now))
		return // its own verdict is not known
	}
	c.own = r
}

func (c *checkState) forced() bool { return c.result.Forced.Verdict != Unknown }

// force sets a verdict. It is told of even where it is none new: the reason is.
func (s *Scheduler) force(c *checkState, f Force, now time.Time) {
	c.until = now.Add(f.Until.Sub(now)) // on the monotonic clock, whatever clock Until was read from
	s.mu.Lock()
	c.result.Forced = f
	s.mu.Unlock()
	s.settle(c, now, Change{Text: f.text(now)}, true)
}

// release ends a forced verdict, if there is one.
func (s *Scheduler) release(c *checkState, now time.Time) {
	if !c.forced() {
		return
	}
	f := c.result.Forced
	s.mu.Lock()
	c.result.Forced = Force{}
	s.mu.Unlock()
	r := c.result
	text := "no longer forced to " + f.Verdict.String()
	if r.Text != "" {
		text += ": " + r.Text
	}
	if !s.settle(c, now, Change{Text: text, Hint: r.Hint, Runs: r.Runs, Took: r.Took}, false) {
		s.log.Info("forced verdict ends, and is the check's own", "check", c.Name, "verdict", r.Verdict.String(), "text", text)
	}
}

// text is for logs and for whoever asks why.
func (f Force) text(now time.Time) string {
	until := "15:04:05"
	if f.Until.Sub(now) >= 24*time.Hour {
		until = "2006-01-02 15:04"
	}
	text := "forced to " + f.Verdict.String()
	if f.By != "" {
		text += " by " + f.By
	}
	text += " until " + f.Until.Format(until)
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	return text
}
