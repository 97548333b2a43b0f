package health

import (
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"baton/internal/command"
)

// farewell is how long Run waits, once it is told to end, for probes to return.
const farewell = 2 * time.Second

const (
	// stride is what the slots of checks are apart. Those that share one cost one
	// waking of the daemon, which is dearer than a native check: on a busy machine
	// 500 file checks at 1 s took 6 to 8 % of a core without it, 3.4 % at 10 ms,
	// 2.7 % at 20 ms.
	stride = 20 * time.Millisecond
	// together is how many runs begin at a moment. More of them would make the
	// protocol wait: so the slots of very many checks are closer, to firstStride.
	together = 10
	// firstStride is what the first slots are apart, of so many checks each. Where 5,000
	// of them asked one server at once, up to half found its queue full and failed.
	firstStride = time.Millisecond
)

// Scheduler runs checks, each at its interval, and reports changed verdicts.
//
// One goroutine owns all of it and waits for the next start or deadline; each
// run of a probe is a goroutine of its own, at most one per check, and so is each
// Watcher's Watch. A run that is overdue counts as failed at its deadline whether
// or not its probe returns; while that one hangs, the next runs are not started
// but fail at their deadlines all the same, or a hung check would keep its old
// verdict.
type Scheduler struct {
	log    *slog.Logger
	report func(Change)
	checks []*checkState
	byName map[string]*checkState
	queue  byTime

	ctx       context.Context // of Run
	retired   []*checkState   // that Replace has ended, and of which something runs
	ended     chan ended
	stirred   chan struct{}    // has an element when a watcher has told of a change
	unwatched chan *checkState // Watch has returned
	orders    chan func(now time.Time)
	over      chan struct{} // closed when Run begins to end
	left      chan struct{} // closed when it has ended: nobody listens any more

	mu sync.Mutex // guards checks and byName, which Run alone changes, and the result of each checkState
}

// checkState is a check between two slots, waiting for the next, or within a
// run. A probe that hangs lives on beside both.
type checkState struct {
	Check
	index  int // in Scheduler.queue
	result Result
	own    Reading // the check's own, which a forced verdict hides

	next     time.Time          // when to look at it: the first of the moments below
	slot     time.Time          // when the next run is planned
	start    time.Time          // of the last run
	deadline time.Time          // of the run, while running
	until    time.Time          // end of the forced verdict, while there is one
	first    time.Duration      // from the beginning to the first slot
	phase    time.Duration      // from the first slot to the second; 0: the interval
	running  bool               // within a run
	alive    bool               // a probe has not returned
	retired  bool               // Replace has ended it
	hung     bool               // it is that of an earlier, overdue run
	cancel   context.CancelFunc // of the probe

	wanted   bool        // a run out of turn
	told     atomic.Bool // the watcher has told of a change, and no run has begun since
	heard    bool        // and Run has taken notice
	watching bool        // Watch has not returned
	unwatch  context.CancelFunc
	asked    *outcome // of the next run, where somebody waits for it
	answers  *outcome // of this run

	inherited bool // the verdict is that of another probe: the first answer decides

	members []*checkState // of a combination; nil for a name that no check has
	parents []*checkState // combinations that this check is in
}

// ended is a probe's return.
type ended struct {
	check  *checkState
	answer Answer
}

// NewScheduler makes a scheduler for checks with distinct names. It corrects
// what would make no sense (see Check) instead of refusing. report is called in
// order and from one goroutine, which all checks wait for: it must not block, and
// must not call Force or RunNow.
func NewScheduler(checks []Check, log *slog.Logger, report func(Change)) *Scheduler {
	s := &Scheduler{
		log: log, report: report, byName: make(map[string]*checkState, len(checks)),
		ended:     make(chan ended),
		stirred:   make(chan struct{}, 1),
		unwatched: make(chan *checkState),
		orders:    make(chan func(time.Time)),
		over:      make(chan struct{}),
		left:      make(chan struct{}),
	}
	for i, c := range checks {
		c = c.sensible()
		state := &checkState{
			Check:  c,
			result: Result{Check: c.Name, Interval: c.Interval},
			// All first runs begin as soon as can be, since routers wait for them.
			// The second ones spread over the interval, and stay apart.
			first: time.Duration(i/together) * firstStride,
		}
		share := c.Interval / time.Duration(len(checks))
		apart := min(max(together*share, firstStride), stride)
		second := min((share*time.Duration(i+1) + apart - 1).Truncate(apart), c.Interval)
		state.phase = max(second-state.first, 0)
		s.checks = append(s.checks, state)
		s.byName[c.Name] = state
	}
	s.connect()
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

// Result is what is known of one check; false: there is none of that name.
func (s *Scheduler) Result(check string) (Result, bool) {
	s.mu.Lock()
	c, ok := s.byName[check]
	s.mu.Unlock()
	if !ok {
		return Result{}, false
	}
	return s.resultOf(c), true
}

func (s *Scheduler) resultOf(c *checkState) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.result
}

// Run runs the checks until ctx ends, then ends the probes and waits for them,
// for at most two seconds: the error names those that hang. Call it once.
func (s *Scheduler) Run(ctx context.Context) error {
	now := time.Now()
	for i, c := range s.checks {
		c.slot = now.Add(c.first)
		c.next, c.index = c.slot, i
		s.queue = append(s.queue, c)
	}
	s.ctx = ctx
	for _, c := range s.checks {
		s.watch(ctx, c)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
		case e := <-s.ended:
			s.returned(ctx, e, time.Now())
		case <-s.stirred:
			s.hear()
		case c := <-s.unwatched:
			c.watching = false
			s.forget()
		case order := <-s.orders:
			order(time.Now())
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

// due does what the moment of a check has come for: the end of a forced verdict,
// a run's deadline, or the start of one.
func (s *Scheduler) due(ctx context.Context, c *checkState, now time.Time) {
	if c.forced() && !c.until.After(now) {
		s.release(c, now)
	}
	switch {
	case c.running:
		if !c.deadline.After(now) {
			s.overdue(c, now)
		}
	case !c.slot.After(now):
		step := c.Interval
		if c.phase > 0 {
			step, c.phase = c.phase, 0
		}
		c.slot = c.slot.Add(step)
		s.begin(ctx, c, now)
	case c.wanted && !c.earliest().After(now):
		s.begin(ctx, c, now)
	}
	s.plan(c)
}

// begin begins a run.
func (s *Scheduler) begin(ctx context.Context, c *checkState, now time.Time) {
	c.wanted = false
	if c.heard { // and not while the word is still in the queue, where there is room for one
		c.heard = false
		c.told.Store(false)
	}
	if len(c.Of) > 0 {
		c.start = now
		c.keepSlot(now)
		s.combine(c, now, true)
		return
	}
	c.running = true
	c.answers, c.asked = c.asked, nil
	s.launch(ctx, c, now)
}

// launch starts the probe of a run. While an earlier probe hangs, the run has its
// deadline and nothing else.
func (s *Scheduler) launch(ctx context.Context, c *checkState, now time.Time) {
	c.start, c.deadline = now, now.Add(c.Timeout)
	if c.alive {
		return
	}
	c.alive = true
	ctx, c.cancel = context.WithDeadline(ctx, c.deadline)
	go func() {
		select {
		case s.ended <- ended{c, s.ask(ctx, c)}:
		case <-s.left:
		}
	}()
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
	if c.retired {
		s.forget()
		return
	}
	switch {
	case ctx.Err() != nil: // it was told to stop, and that is no failure
	case c.hung:
		c.hung = false
		s.comeLate(c, e.answer)
		if c.running { // the run that could not start does so now
			c.slot = now.Add(c.Interval)
			s.launch(ctx, c, now)
		}
	case !now.Before(c.deadline):
		s.overdue(c, now)
		s.comeLate(c, e.answer)
	default:
		s.decide(c, e.answer, now)
	}
	s.plan(c)
}

// comeLate notes the words of an answer that came after its deadline. They
// change no verdict, but tell more than that there was no answer.
func (s *Scheduler) comeLate(c *checkState, a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.result.Hung = false
	if !a.OK && a.Text != "" {
		c.result.Text, c.result.Hint, c.result.Output = bounded(a.Text, maxText), bounded(a.Hint, maxText), bounded(a.Output, command.MaxOutput)
	}
}

// decide ends a run with an answer.
func (s *Scheduler) decide(c *checkState, a Answer, now time.Time) {
	c.running = false
	c.keepSlot(now)
	s.take(c, a, now)
	if c.answers != nil {
		c.answers.result = c.result
		close(c.answers.done)
		c.answers = nil
	}
}

// keepSlot gives up the slots that a run has missed, or that the host has slept
// through.
func (c *checkState) keepSlot(now time.Time) {
	if c.slot.Before(now) {
		c.slot = now
	}
}

// plan sets when a check is looked at next.
func (s *Scheduler) plan(c *checkState) {
	c.next = c.slot
	switch {
	case c.running:
		c.next = c.deadline
	case c.wanted && c.earliest().Before(c.slot):
		c.next = c.earliest()
	}
	if c.forced() && c.until.Before(c.next) {
		c.next = c.until
	}
	heap.Fix(&s.queue, c.index)
}

// finish waits for the probes and the watchers, whose context has ended.
func (s *Scheduler) finish() error {
	close(s.over)
	defer close(s.left)
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	for {
		var left []string
		for _, c := range slices.Concat(s.checks, s.retired) {
			if c.alive || c.watching {
				left = append(left, c.Name)
			}
		}
		if len(left) == 0 {
			return nil
		}
		select {
		case e := <-s.ended:
			e.check.alive = false
			e.check.cancel()
		case c := <-s.unwatched:
			c.watching = false
		case <-timer.C:
			return fmt.Errorf("end checks: %s did not end within %v", strings.Join(left, ", "), farewell)
		}
	}
}

// byTime is a heap of checks, the next to be looked at first.
type byTime []*checkState

func (q byTime) Len() int           { return len(q) }
func (q byTime) Less(i, j int) bool { return q[i].next.Before(q[j].next) }
func (q byTime) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *byTime) Push(x any) {
	c := x.(*checkState)
	c.index = len(*q)
	*q = append(*q, c)
}
func (q *byTime) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	*q = (*q)[:last]
	return c
}
