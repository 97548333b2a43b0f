package health

import (
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// farewell is how long Run waits, once it is told to end, for probes to return.
const farewell = 2 * time.Second

// Scheduler runs checks, each at its interval, and reports changed verdicts.
//
// One goroutine owns all of it and waits for the next start or deadline; each
// run of a probe is a goroutine of its own, at most one per check. A run that
// is overdue counts as failed at its deadline whether or not its probe returns;
// while that one hangs, the next runs are not started but fail at their
// deadlines all the same, or a hung check would keep its old verdict.
type Scheduler struct {
	log    *slog.Logger
	report func(Change)
	checks []*checkState
	queue  byTime
	ended  chan ended

	mu sync.Mutex // guards the result of each checkState
}

// checkState is a check between two slots, waiting for the next, or within a
// run. A probe that hangs lives on beside both.
type checkState struct {
	Check
	index  int // in Scheduler.queue
	result Result

	next    time.Time          // the run's deadline, or the next slot
	slot    time.Time          // when the run was planned to start
	start   time.Time          // when it did
	phase   time.Duration      // from the first slot to the second
	running bool               // within a run
	alive   bool               // a probe has not returned
	hung    bool               // it is that of an earlier, overdue run
	cancel  context.CancelFunc // of the probe
}

// ended is a probe's return.
type ended struct {
	check  *checkState
	answer Answer
}

// NewScheduler makes a scheduler for checks with distinct names. It corrects
// what would make no sense (see Check) instead of refusing. report is called in
// order and from one goroutine, which all checks wait for: it must not block.
func NewScheduler(checks []Check, log *slog.Logger, report func(Change)) *Scheduler {
	s := &Scheduler{log: log, report: report, ended: make(chan ended, len(checks))}
	for i, c := range checks {
		c.Interval = max(c.Interval, MinInterval)
		if c.Timeout <= 0 {
			c.Timeout = c.Interval
		}
		c.Rise, c.Fall = max(c.Rise, 1), max(c.Fall, 1)
		s.checks = append(s.checks, &checkState{
			Check:  c,
			result: Result{Check: c.Name},
			// All first runs begin at once, since routers wait for them. The
			// second ones spread over the interval, and stay apart; many share a
			// start, since to wake up for each costs more than most checks.
			phase: (c.Interval * time.Duration(i+1) / time.Duration(len(checks))).Truncate(MinInterval),
		})
	}
	return s
}

// Results is what is known of each check, in the order in which they were given.
func (s *Scheduler) Results() []Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	rs := make([]Result, len(s.checks))
	for i, c := range s.checks {
		rs[i] = c.result
	}
	return rs
}

// Run runs the checks until ctx ends, then ends the probes and waits for them,
// for at most two seconds: the error names those that hang. Call it once.
func (s *Scheduler) Run(ctx context.Context) error {
	now := time.Now()
	for i, c := range s.checks {
		c.next, c.index = now, i
		s.queue = append(s.queue, c)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
		case e := <-s.ended:
			s.returned(ctx, e, time.Now())
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return s.finish()
		}
		now := time.Now()
		for len(s.queue) > 0 && !s.queue[0].next.After(now) {
			s.due(ctx, s.queue[0], now)
		}
		if len(s.queue) > 0 {
			timer.Reset(s.queue[0].next.Sub(now))
		}
	}
}

// due begins the run whose slot has come, or ends the one whose deadline has.
func (s *Scheduler) due(ctx context.Context, c *checkState, now time.Time) {
	if c.running {
		s.overdue(c, now)
		return
	}
	c.running, c.slot = true, c.next
	s.begin(ctx, c, now)
}

// begin starts the probe of a run. While an earlier probe hangs, the run has its
// deadline and nothing else.
func (s *Scheduler) begin(ctx context.Context, c *checkState, now time.Time) {
	c.start = now
	s.at(c, now.Add(c.Timeout))
	if c.alive {
		return
	}
	c.alive = true
	ctx, c.cancel = context.WithDeadline(ctx, c.next)
	go func() { s.ended <- ended{c, s.ask(ctx, c)} }()
}

// ask asks the probe. One that panics has failed.
func (s *Scheduler) ask(ctx context.Context, c *checkState) (a Answer) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("check panicked", "check", c.Name, "panic", r, "stack", string(debug.Stack()))
			a = Answer{Text: fmt.Sprintf("panic: %v", r)}
		}
	}()
	return c.Probe.Probe(ctx)
}

// overdue ends a run at its deadline: a failure.
func (s *Scheduler) overdue(c *checkState, now time.Time) {
	text := fmt.Sprintf("no answer within %v", c.Timeout)
	if c.hung {
		text += ": an earlier run hangs"
	}
	c.hung = c.alive
	s.decide(c, Answer{Text: text}, now)
}

// returned takes a probe's answer.
func (s *Scheduler) returned(ctx context.Context, e ended, now time.Time) {
	c := e.check
	c.alive = false
	c.cancel()
	switch {
	case ctx.Err() != nil: // it was told to stop, and that is no failure
	case c.hung:
		c.hung = false
		s.comeLate(c, e.answer)
		if c.running { // the run that could not start does so now
			c.slot = now
			s.begin(ctx, c, now)
		}
	case !now.Before(c.next):
		s.overdue(c, now)
	default:
		s.decide(c, e.answer, now)
	}
}

// comeLate notes the words of an answer that came after its deadline. They
// change no verdict, but tell more than that there was no answer.
func (s *Scheduler) comeLate(c *checkState, a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.result.Hung = false
	if !a.OK && a.Text != "" {
		c.result.Text, c.result.Hint = a.Text, a.Hint
	}
}

// decide ends a run with an answer: it counts it, draws the verdict and plans
// the next slot.
func (s *Scheduler) decide(c *checkState, a Answer, now time.Time) {
	c.running = false
	step := c.Interval
	if c.phase > 0 {
		step, c.phase = c.phase, 0
	}
	next := c.slot.Add(step)
	if next.Before(now) {
		next = now // the run took longer, or the host slept
	}
	s.at(c, next)

	s.mu.Lock()
	was := c.result
	r := &c.result
	if a.OK != was.OK || was.Runs == 0 {
		r.Runs = 0
	}
	r.Runs++
	r.OK, r.Text, r.Hint, r.At, r.Took, r.Hung = a.OK, a.Text, a.Hint, now, now.Sub(c.start), c.hung
	switch {
	case a.OK && (was.Verdict == Unknown || was.Verdict == Fail && r.Runs >= c.Rise):
		r.Verdict = Pass
	case !a.OK && (was.Verdict == Unknown || was.Verdict == Pass && r.Runs >= c.Fall):
		r.Verdict = Fail
	}
	if r.Verdict != was.Verdict {
		r.Since = now
	}
	is := *r
	s.mu.Unlock()

	if is.Verdict == was.Verdict {
		if !is.OK && (was.OK || is.Text != was.Text) {
			s.log.Debug("check fails", "check", c.Name, "verdict", is.Verdict.String(), "runs", is.Runs, "text", is.Text)
		}
		return
	}
	s.changed(Change{Check: c.Name, From: was.Verdict, To: is.Verdict, Text: is.Text, Hint: is.Hint, Runs: is.Runs, Took: is.Took})
}

// changed tells of a new verdict, the log first.
func (s *Scheduler) changed(ch Change) {
	level := slog.LevelInfo
	if ch.To == Fail {
		level = slog.LevelWarn
	}
	args := []any{"check", ch.Check, "from", ch.From.String(), "to", ch.To.String(), "runs", ch.Runs, "text", ch.Text}
	if ch.Hint != "" {
		args = append(args, "hint", ch.Hint)
	}
	s.log.Log(context.Background(), level, "check changed", args...)
	s.report(ch)
}

// at sets when a check is looked at next.
func (s *Scheduler) at(c *checkState, t time.Time) {
	c.next = t
	heap.Fix(&s.queue, c.index)
}

// finish waits for the probes, whose context has ended.
func (s *Scheduler) finish() error {
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	alive := 0
	for _, c := range s.checks {
		if c.alive {
			alive++
		}
	}
	for alive > 0 {
		select {
		case e := <-s.ended:
			e.check.alive = false
			e.check.cancel()
			alive--
		case <-timer.C:
			var names []string
			for _, c := range s.checks {
				if c.alive {
					names = append(names, c.Name)
				}
			}
			return fmt.Errorf("end checks: %s did not end within %v", strings.Join(names, ", "), farewell)
		}
	}
	return nil
}

// byTime is a heap of checks, the next to be looked at first.
type byTime []*checkState

func (q byTime) Len() int           { return len(q) }
func (q byTime) Less(i, j int) bool { return q[i].next.Before(q[j].next) }
func (q byTime) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *byTime) Push(any) { panic("checks are not added") }
func (q *byTime) Pop() any { panic("checks are not removed") }
