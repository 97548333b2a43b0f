package role

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
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
	What             string // of two arrangements of the same Name says whether they are one service; see Rearrange
	Control          Control
	OnlyAfterSilence bool          // started only where nobody gave the role away, and then once for each Start; not monitored
	StartTimeout     time.Duration // bounds the start, and with it Ready; 0 or less: DefaultServiceTimeout
	StopTimeout      time.Duration // likewise
	// Ready tells whether a check has passed that began after a moment, or in
	// which way it has not, with the check's name; nil: it is ready as soon as it is
	// started. It is called from the sequence's goroutine and must not wait.
	Ready   func(after time.Time) (ok bool, text string)
	Revive  Revive
	AtStart AtStart
	// StatusEvery is how often it is asked for its status where it does not tell of
	// changes, 0: each 5 s; StatusTimeout bounds an answer, 0: 3 s. Nothing else is
	// done meanwhile, but a Stop interrupts it.
	StatusEvery   time.Duration
	StatusTimeout time.Duration
}

// Revive is how a service that died is brought back.
type Revive struct {
	Tries   int           // within Within; 0: not at all
	Within  time.Duration // 0 or less: a minute
	Backoff time.Duration // before the first try; doubled for each more, to at most a minute
}

// DefaultServiceTimeout is the time limit of a service's start and of its stop where it has none.
const DefaultServiceTimeout = 90 * time.Second

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
	// Ready: everything runs, and is ready. It comes once for each Start, and again
	// when what Died is back.
	Ready
	// Stopped: nothing runs any more that a Stop has to stop. It comes once for
	// each Stop.
	Stopped
	// StartFailed: Service did not start. The sequence waits for a Stop, which
	// rolls it back.
	StartFailed
	// Died: Service died, or did not start again, and will be started again.
	Died
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
	// for ever, one that does not start holds up no other for longer than its start
	// may take, and nothing is reported. Start is called once.
	Everywhere bool
	Report     func(Report) // must not block; called from the sequence's goroutine. Never called where Everywhere
	Log        *slog.Logger
}

// ItemState is what is known of one service.
type ItemState struct {
	Name  string
	State service.State
	Since time.Time // of the state
	Text  string    // one line, in the words of whoever runs it, or how it failed; may be empty
}

// Sequence starts and stops the services that are bound to the role of one
// virtual router or group, one after the other, and watches over them in between.
//
// It is told what shall be, by Start and Stop, and the newest of them counts: what
// is under way for an older Start is cancelled by a Stop, what is under way for a
// Stop is finished, and then it goes the other way from where it is. So one item
// at a time is started, stopped or asked, and never anything by two.
//
// Before the first Start or Stop it touches nothing, except what Begin says. While
// this node is master it brings back what dies. While it is not, it stops what
// runs nevertheless.
type Sequence struct {
	o     Options
	log   *slog.Logger
	items []*item

	ctx    context.Context // of every call of a Control; ends when Close gives up
	cancel context.CancelFunc
	wake   chan struct{} // holds one where there is news for the goroutine

	mu     sync.Mutex
	begun  bool // Begin was called
	left   bool // StopLeft was called
	wish   wish
	follow *Transition // the newest of Follow since the last Start
	told   uint64      // how many calls of Follow there were
	now    *call       // what is under way
	next   *arrangement
	done   chan struct{}
	closed bool

	dissolves bool // it ends once nothing is left

	watching context.Context // of the watchers; nil while there is no goroutine
	watchers sync.WaitGroup
	leaving  []*item // that Rearrange has removed, and that are to be stopped; of the goroutine alone
	progress         // of the goroutine alone
}

// wish is the newest Start or Stop.
type wish struct {
	serial uint64 // of all wishes; 0: there was none
	start  bool
	order  uint64
	t      Transition
	from   time.Time // a start does not begin before
	chosen bool      // of a stop

	adopts    bool // an earlier process has started everything
	placed    bool // Placed was called
	abandoned bool // Abandon was called
}

// NewSequence returns a sequence. It starts nothing: its goroutine begins with the
// first Begin, Start or Stop, and ends with Close.
func NewSequence(o Options) *Sequence {
	s := &Sequence{o: o, log: o.Log, wake: make(chan struct{}, 1)}
	if o.Router.Name != "" {
		s.log = s.log.With("router", o.Router.Name)
	}
	now := time.Now()
	for _, i := range o.Items {
		s.items = append(s.items, newItem(i, now))
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Begin says that the daemon has started: services with StopFirst are stopped, if
// nothing was done with them before, and nothing else is touched.
func (s *Sequence) Begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = true
	s.run()
}

// StopLeft is Begin where an earlier process was killed that had started the
// services, and this node has not kept the role: those with Decide are stopped,
// too, and before a Start begins anything.
func (s *Sequence) StopLeft() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun, s.left = true, true
	s.run()
}

// Adopt is Start where an earlier process of this host had started everything, and
// this node has kept the role: what runs is watched over from now on and not
// started again, and what does not has died. Placed is not asked for.
func (s *Sequence) Adopt(order uint64, t Transition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wish = wish{serial: s.wish.serial + 1, start: true, order: order, t: t, from: time.Now(), placed: true, adopts: true}
	s.follow = nil
	s.run()
}

// Start says that this node is master: after delay all items are started in order.
// What runs already is started, too, since that does no harm, and may have to be
// promoted. A Start that comes while an older one has begun does not wait again.
func (s *Sequence) Start(order uint64, t Transition, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := wish{serial: s.wish.serial + 1, start: true, order: order, t: t, from: time.Now().Add(delay)}
	if s.wish.start && s.wish.from.Before(w.from) {
		w.from = s.wish.from
	}
	s.wish, s.follow = w, nil
	s.interrupt(byStart)
	s.run()
}

// StartNow ends the delay of a Start of that order: what it was for is certain. One of
// an older order is ignored.
func (s *Sequence) StartNow(order uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.wish.start && s.wish.order == order && s.wish.from.After(now) {
		s.wish.from = now
		s.poke()
	}
}

// Stop says that this node is not, or must not be, master: what runs, or may run,
// is stopped in reverse order. chosen: AddressesOff is reported in the mark's place,
// once; else the mark is passed silently, since the addresses follow their own rules.
// A Stop after one of which a service did not stop tries again.
func (s *Sequence) Stop(order uint64, t Transition, chosen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wish = wish{serial: s.wish.serial + 1, order: order, t: t, chosen: chosen}
	s.interrupt(byStop)
	s.run()
}

// Placed says that the addresses are on, for which AddressesOn has asked in the
// same order. One of an older order is ignored.
func (s *Sequence) Placed(order uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wish.start && s.wish.order == order {
		s.wish.placed = true
		s.poke()
	}
}

// Abandon says, after StopFailed, that the service is to count as stopped: the
// sequence goes on downwards. Each StopFailed needs its own.
func (s *Sequence) Abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wish.abandoned = true
	s.poke()
}

// Follow says that t.Master has become master while this node is not. Followers
// are told once nothing is being stopped, again and again until it is done or who
// is master changes. A Start ends it.
func (s *Sequence) Follow(t Transition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told++
	s.follow = &t
	s.interrupt(byFollow)
	s.poke()
}

// States returns what is known of each service, in order; of one that is started
// only after silence, while it is started and after that. It may be called from any
// goroutine, and never waits for a service.
func (s *Sequence) States() []ItemState {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := make([]ItemState, 0, len(s.items))
	for _, it := range s.items {
		idle := it.OnlyAfterSilence && (it.shown.State == service.Stopped || it.shown.State == service.Unknown)
		if !it.Addresses && !idle {
			states = append(states, it.shown)
		}
	}
	return states
}

// Changing names the service that is being started or stopped; empty: none.
func (s *Sequence) Changing() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || s.now.it.shown.State != service.Starting && s.now.it.shown.State != service.Stopping {
		return ""
	}
	return s.now.it.Name
}

// Close ends the monitoring, and a start that is under way; it stops no service. A
// stop that is under way may go on until ctx ends. Then it is ended, too, and Close
// returns an error that wraps ctx's, within a second. It may be called again.
func (s *Sequence) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.interrupt(byClose)
	s.poke()
	done := s.done
	s.mu.Unlock()
	defer s.cancel()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	reap := time.NewTimer(reapTime)
	defer reap.Stop()
	select {
	case <-done:
	case <-reap.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		return fmt.Errorf("end the services of %s: %s does not return: %w", s.o.Router.Name, s.now.it.Name, ctx.Err())
	}
	return fmt.Errorf("end the services of %s: cut short: %w", s.o.Router.Name, ctx.Err())
}

// run starts the goroutine unless it runs, and tells it that there is news. s.mu is held.
func (s *Sequence) run() {
	if s.done == nil && !s.closed {
		s.done = make(chan struct{})
		go s.work(s.done)
	}
	s.poke()
}

func (s *Sequence) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
