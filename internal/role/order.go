package role

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"baton/internal/service"
)

// readyEvery is how often a service that was started is asked whether it is ready. The answer comes from memory.
const readyEvery = 100 * time.Millisecond

// item is one place in the order and what became of it.
type item struct {
	Item
	watcher  service.Watcher // nil: its status is polled
	unwatch  context.CancelFunc
	follower Follower // nil: it does not care who is master

	changed atomic.Bool // its watcher has noticed something
	shown   ItemState   // under Sequence.mu

	// Of the goroutine alone.
	level    level
	touched  bool   // a Start has begun it
	silenced uint64 // the wish for which an OnlyAfterSilence was started
	passed   uint64 // the wish for which it was passed over, as nobody could tell whether there is anything to stop
	cleared  bool   // what Begin asks for is done
	monitoring
}

// level is how far an item is up.
type level uint8

const (
	untouched level = iota // nothing was done with it
	down                   // it does not run, or was abandoned
	partial                // something of it may run
	up                     // it is started and ready
	fallen                 // it was up, and does not run any more
)

func newItem(i Item, now time.Time) *item {
	i = i.sensible()
	it := &item{Item: i, shown: ItemState{Name: i.Name, Since: now}}
	it.watcher, _ = i.Control.(service.Watcher)
	it.follower, _ = i.Control.(Follower)
	return it
}

// sensible puts the defaults in.
func (i Item) sensible() Item {
	if i.StartTimeout <= 0 {
		i.StartTimeout = DefaultServiceTimeout
	}
	if i.StopTimeout <= 0 {
		i.StopTimeout = DefaultServiceTimeout
	}
	if i.StatusEvery <= 0 {
		i.StatusEvery = statusEvery
	}
	if i.StatusTimeout <= 0 {
		i.StatusTimeout = statusTimeout
	}
	if i.Revive.Within <= 0 {
		i.Revive.Within = backoffMost
	}
	return i
}

// progress is how far the present wish is done.
type progress struct {
	serial    uint64 // of the wish
	announced bool   // AddressesOn or AddressesOff was reported
	finished  bool   // Ready or Stopped was
	over      bool   // a start has failed, or a service was lost: only another wish is of use
	stuck     *item  // did not stop
}

// work does what is wished for until Close.
func (s *Sequence) work(done chan struct{}) {
	defer close(done)
	watching, cancel := context.WithCancel(s.ctx)
	defer s.watchers.Wait()
	defer cancel()
	s.mu.Lock()
	s.watching = watching
	for _, it := range s.items {
		s.watch(it)
	}
	s.mu.Unlock()
	for {
		s.mu.Lock()
		s.arrange()
		w, closed := s.wish, s.closed || s.dissolves && len(s.leaving) == 0
		s.mu.Unlock()
		if closed {
			return
		}
		if w.serial != s.serial {
			s.turn(w)
		}
		if next, again := s.step(w); !again {
			s.sleep(next)
		}
	}
}

// sleep waits for news, or until next unless that is zero.
func (s *Sequence) sleep(next time.Time) {
	var due <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(time.Until(next))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-s.wake:
	case <-due:
	}
}

// turn begins with another wish. What is up stays so; what died, or did not stop, is taken as a fresh one.
func (s *Sequence) turn(w wish) {
	s.progress = progress{serial: w.serial}
	for _, it := range s.items {
		if it.level == fallen {
			it.level = partial
		}
		it.restart()
		if w.start {
			it.followed = 0
		}
		if w.adopts {
			it.adopt(w)
		}
	}
	s.announced = w.adopts
}

// adopt takes an item for one that was started, and has it asked at once.
func (it *item) adopt(w wish) {
	if it.OnlyAfterSilence {
		if w.t.Takeover != "silence" {
			return
		}
		it.silenced = w.serial
	}
	it.level, it.touched, it.askAt = up, true, time.Now()
}

// step does one thing that is due. again says that there may be more to do at once; else there is nothing before next
// or news.
func (s *Sequence) step(w wish) (next time.Time, again bool) {
	if len(s.leaving) > 0 {
		s.part(w)
		return time.Time{}, true
	}
	if s.begin(w) {
		return time.Time{}, true
	}
	switch {
	case w.serial == 0:
		return time.Time{}, false
	case w.start:
		return s.upward(w)
	}
	return s.downward(w)
}

// begin stops what Begin asks for, one item in each call.
func (s *Sequence) begin(w wish) (again bool) {
	s.mu.Lock()
	begun, left := s.begun, s.left
	s.mu.Unlock()
	if !begun {
		return false
	}
	if w.serial == 0 {
		w.t = Transition{To: Backup, From: Init, Reason: "baton starts"}
	}
	for i := len(s.items) - 1; i >= 0; i-- {
		it := s.items[i]
		wanted := it.AtStart == StopFirst || left && it.AtStart == Decide
		if it.Addresses || it.OnlyAfterSilence && left || !wanted || it.level != untouched || it.cleared {
			continue
		}
		if st, ok := s.ask(it, w); !ok || st.State == service.Stopped {
			it.cleared = ok
			return true
		}
		if err := s.stop(it, w); !errors.Is(err, errSuperseded) {
			it.cleared = true
			if err != nil {
				s.log.Warn("service was not stopped at the start of baton", "service", it.Name, "err", err)
			}
		}
		return true
	}
	return false
}

// upward starts the next item that is not up, and watches over those that are.
func (s *Sequence) upward(w wish) (next time.Time, again bool) {
	now := time.Now()
	if s.over {
		return time.Time{}, false
	}
	if now.Before(w.from) {
		return w.from, false
	}
	held := false // something is not up: what comes after it is not started
	for _, it := range s.items {
		switch {
		case it.Addresses:
			held = held || !s.place(w)
		case it.OnlyAfterSilence && (w.t.Takeover != "silence" || it.silenced == w.serial):
		case it.level == fallen:
			held = held || !s.o.Everywhere
			if it.due(now) {
				s.revive(it, w)
				return time.Time{}, true
			}
			next = it.earlier(next, now)
		case it.level == up && !it.OnlyAfterSilence:
			if it.due(now) {
				s.watchOver(it, w)
				return time.Time{}, true
			}
			next = it.earlier(next, now)
		case !held:
			s.begunBy(it, w)
			return time.Time{}, true
		}
	}
	if !held && !s.finished {
		s.finished = true
		s.report(w, Ready, nil, "")
	}
	return next, false
}

// place asks for the addresses, once, and says whether they are on.
func (s *Sequence) place(w wish) bool {
	if s.o.Everywhere {
		return true
	}
	if !s.announced {
		s.announced = true
		s.report(w, AddressesOn, nil, "")
	}
	return w.placed
}

// begunBy starts an item on behalf of a Start.
func (s *Sequence) begunBy(it *item, w wish) {
	err := s.start(it, w)
	switch {
	case err == nil:
		it.silenced = w.serial
	case errors.Is(err, errSuperseded):
	case s.o.Everywhere:
		s.log.Warn("service did not start", "service", it.Name, "err", err)
		s.plan(it, w, err.Error())
	default:
		s.over = true
		s.report(w, StartFailed, it, err.Error())
	}
}

// start brings an item up, and waits until it is ready. The error is errSuperseded when another wish came in between.
func (s *Sequence) start(it *item, w wish) error {
	c, ok := s.call(it, w, it.StartTimeout, byStop|byClose|byRemoval)
	if !ok {
		return errSuperseded
	}
	defer c.end()
	began := time.Now()
	it.level, it.touched = partial, true
	s.show(it, service.Starting, "")
	s.log.Info("service is being started", "service", it.Name)
	err := it.Control.Start(c.ctx, w.t)
	if err == nil {
		err = s.ready(c.ctx, it, w)
	}
	switch {
	case err == nil:
		it.level = up
		it.asked()
		s.show(it, service.Running, "")
		s.log.Info("service runs", "service", it.Name, "took", time.Since(began).Round(time.Millisecond))
		return nil
	case c.superseded():
		s.log.Info("start of the service was cancelled", "service", it.Name)
		return errSuperseded
	case c.late():
		err = fmt.Errorf("%s did not start within %s: %w", it.Name, short(it.StartTimeout), err)
	default:
		err = fmt.Errorf("%s did not start: %w", it.Name, err)
	}
	s.show(it, service.Failed, err.Error())
	return err
}

// ready waits until a service that was started is ready, and not for one that has died.
func (s *Sequence) ready(ctx context.Context, it *item, w wish) error {
	it.asked()
	if it.Ready == nil {
		return nil
	}
	after := time.Now()
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		ok, text := it.Ready(after)
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			if text == "" {
				text = "it is not ready"
			}
			return errors.New(text)
		case <-tick.C:
		}
		if it.OnlyAfterSilence || !it.due(time.Now()) {
			continue
		}
		if st := s.status(ctx, it, w); ctx.Err() == nil && gone(st) {
			return fmt.Errorf("it is %s before it was ready: %s", st.State, st.Text)
		}
	}
}

// downward stops the next item that is not down; when there is none it watches that it stays so.
func (s *Sequence) downward(w wish) (next time.Time, again bool) {
	if s.finished {
		return s.guard(w)
	}
	for i := len(s.items) - 1; i >= 0; i-- {
		it := s.items[i]
		switch {
		case it.Addresses:
			if w.chosen && !s.announced {
				s.announced = true
				s.report(w, AddressesOff, nil, "")
			}
		case it.level == down || it.passed == w.serial || it.leftAlone():
		case it == s.stuck && !w.abandoned:
			return time.Time{}, false
		case it == s.stuck:
			it.level, s.stuck = down, nil
			it.askAt = time.Now().Add(it.StatusEvery)
			s.log.Warn("service counts as stopped, although it did not stop", "service", it.Name)
			return time.Time{}, true
		default:
			s.takeDown(it, w)
			return time.Time{}, true
		}
	}
	s.finished = true
	s.report(w, Stopped, nil, "")
	return time.Time{}, true
}

// leftAlone says that the item is none of the sequence's business yet.
func (it *item) leftAlone() bool { return it.AtStart == Leave && !it.touched }

// takeDown stops an item on behalf of a Stop. One with which nothing was done is asked before: it may not run at all.
// When nobody can tell, a stop that fails most likely had nothing to stop: that is no reason to reboot a standby.
func (s *Sequence) takeDown(it *item, w wish) {
	unknown := false
	if it.level == untouched {
		st, ok := s.ask(it, w)
		if !ok {
			return
		}
		if st.State == service.Stopped {
			it.level = down
			return
		}
		unknown = st.State == service.Unknown
	}
	err := s.stop(it, w)
	switch {
	case err == nil, errors.Is(err, errSuperseded):
		return
	case unknown:
		it.level, it.passed = untouched, w.serial
		it.askAt = time.Now().Add(statusEvery)
		s.log.Warn("service of which nothing is known was not stopped: most likely it does not run", "service", it.Name, "err", err)
		return
	}
	s.mu.Lock()
	if s.wish.serial == w.serial {
		s.wish.abandoned = false // that was about another
	}
	s.mu.Unlock()
	s.stuck = it
	s.report(w, StopFailed, it, err.Error())
}

// stop takes an item down. Nothing but the end of Close cuts it short; with errSuperseded it was not begun, or that did.
func (s *Sequence) stop(it *item, w wish) error {
	c, ok := s.call(it, w, it.StopTimeout, 0)
	if !ok {
		return errSuperseded
	}
	defer c.end()
	began := time.Now()
	it.level = partial
	s.show(it, service.Stopping, "")
	err := it.Control.Stop(c.ctx, w.t)
	it.asked()
	switch {
	case err == nil:
		it.level = down
		s.show(it, service.Stopped, "")
		if it.OnlyAfterSilence { // it did not run
			return nil
		}
		s.log.Info("service is stopped", "service", it.Name, "took", time.Since(began).Round(time.Millisecond))
		return nil
	case c.superseded(): // by the end of Close alone
		return errSuperseded
	case c.late():
		err = fmt.Errorf("%s did not stop within %s: %w", it.Name, short(it.StopTimeout), err)
	default:
		err = fmt.Errorf("%s did not stop: %w", it.Name, err)
	}
	s.show(it, service.Unknown, err.Error())
	return err
}

// report says something about a wish.
func (s *Sequence) report(w wish, kind ReportKind, it *item, text string) {
	if s.o.Everywhere {
		return
	}
	r := Report{Order: w.order, Kind: kind, Text: text}
	if it != nil {
		r.Service = it.Name
	}
	s.o.Report(r)
}

// show publishes what an item is doing.
func (s *Sequence) show(it *item, state service.State, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it.shown.State != state {
		it.shown.State, it.shown.Since = state, time.Now()
	}
	it.shown.Text = text
}
