package role

import (
	"context"
	"errors"
	"fmt"
	"time"

	"baton/internal/service"
)

const (
	// statusEvery and statusTimeout are those of an Item that has none.
	statusEvery   = 5 * time.Second
	statusTimeout = 3 * time.Second
	// guardPause is the least time between two stops of one service that others start; doubled to backoffMost.
	guardPause = 5 * time.Second
	// followPause is the time after which a follow that failed is tried again; doubled to backoffMost.
	followPause = time.Second
	// backoffLeast keeps a service without a backoff from being started in a busy loop.
	backoffLeast = 100 * time.Millisecond
	backoffMost  = time.Minute
)

// monitoring is what the monitor knows of an item.
type monitoring struct {
	askAt time.Time // its status is due; zero: only when the watcher says so
	tryAt time.Time // before, it is left alone; a fallen one is started then. Zero: it is not

	tries  []time.Time // of bringing it back, within Revive.Within
	caught int         // times in a row that it ran although it should not
	mute   bool        // the log was told that its status is unknown

	followed uint64 // the Follow that it was told; 0: none since it was started
	refused  uint64 // the Follow that it cannot be told
	tried    uint64 // the Follow that has failed, and may be tried again at followAt
	followAt time.Time
	followIn time.Duration
}

// restart forgets what was tried on behalf of an older wish.
func (m *monitoring) restart() {
	m.tryAt, m.tries, m.caught = time.Time{}, nil, 0
	m.tried = 0
}

// asked says that the status is known now.
func (it *item) asked() {
	it.askAt = time.Time{}
	if it.watcher == nil {
		it.askAt = time.Now().Add(it.StatusEvery)
	}
}

// due says that something is to be done about an item that is up, down or fallen: to try, or to ask.
func (it *item) due(now time.Time) bool {
	switch {
	case now.Before(it.tryAt):
		return false
	case it.level == fallen && !it.tryAt.IsZero():
		return true
	}
	return it.changed.Load() || !it.askAt.IsZero() && !now.Before(it.askAt)
}

// earlier returns the time at which an item that is not due will be, or next if that is earlier and not zero.
func (it *item) earlier(next, now time.Time) time.Time {
	at := it.askAt
	if it.tryAt.After(now) {
		at = it.tryAt
	}
	if next.IsZero() || !at.IsZero() && at.Before(next) {
		return at
	}
	return next
}

// status asks, within a time limit.
func (s *Sequence) status(ctx context.Context, it *item, w wish) service.Status {
	ctx, cancel := context.WithTimeout(ctx, it.StatusTimeout)
	defer cancel()
	it.changed.Store(false) // before it is asked: what changes meanwhile counts
	it.asked()
	st := it.Control.Status(ctx, w.t)
	if st.State == service.Unknown { // who could not answer may have missed what a watcher told of
		it.askAt = time.Now().Add(it.StatusEvery)
	}
	return st
}

// ask asks an item for its status and shows it. It reports false when another wish came in between, and then the
// item is to be asked again.
func (s *Sequence) ask(it *item, w wish) (st service.Status, ok bool) {
	c, ok := s.call(it, w, it.StatusTimeout, byStart|byStop|byClose|byRemoval)
	if !ok {
		return st, false
	}
	defer c.end()
	st = s.status(c.ctx, it, w)
	if c.superseded() {
		it.askAt = time.Now()
		return st, false
	}
	// Without a text there is nothing that could be asked.
	if st.State == service.Unknown && st.Text != "" && !it.mute {
		it.mute = true
		s.log.Warn("status of the service is unknown: nothing is done about it", "service", it.Name, "status", st.Text, "hint", st.Hint)
	}
	if st.State != service.Unknown && it.mute {
		it.mute = false
		s.log.Info("status of the service is known again", "service", it.Name, "state", st.State.String())
	}
	s.show(it, st.State, st.Text)
	return st, true
}

// gone says that a service does not run, and is not about to.
func gone(st service.Status) bool {
	return st.State == service.Stopped || st.State == service.Failed
}

// watchOver asks an item that is up, and finds out whether it died.
func (s *Sequence) watchOver(it *item, w wish) {
	if st, ok := s.ask(it, w); ok && gone(st) {
		s.plan(it, w, died(it, st))
	}
}

func died(it *item, st service.Status) string {
	text := fmt.Sprintf("%s died: it is %s", it.Name, st.State)
	if st.Text != "" {
		text += ", " + st.Text
	}
	return text
}

// plan decides how an item goes on that is down although it should be up; why says how it came.
func (s *Sequence) plan(it *item, w wish, why string) {
	it.level, it.tryAt = fallen, time.Time{}
	now := time.Now()
	for len(it.tries) > 0 && now.Sub(it.tries[0]) >= it.Revive.Within {
		it.tries = it.tries[1:]
	}
	var wait time.Duration
	switch {
	case len(it.tries) < it.Revive.Tries:
		wait = max(it.Revive.Backoff, backoffLeast)
		for range it.tries {
			wait = max(wait, min(2*wait, backoffMost))
		}
	case !s.o.Everywhere:
		if len(it.tries) > 0 {
			why = fmt.Sprintf("%s (tried to bring it back %d times within %s)", why, len(it.tries), short(it.Revive.Within))
		}
		s.over = true
		s.report(w, Lost, it, why)
		return
	case it.Revive.Tries == 0:
		s.log.Warn("service does not run, and is not to be brought back (revive)", "service", it.Name, "why", why)
		return
	default:
		wait = it.Revive.Within // by then no try counts any more
	}
	it.tryAt = now.Add(wait)
	s.finished = false // not all is ready any more
	s.report(w, Died, it, why)
	s.log.Warn("service died, it is started again", "service", it.Name, "why", why,
		"try", fmt.Sprintf("%d of %d", len(it.tries)+1, it.Revive.Tries), "in", wait)
}

// revive starts an item again that died. One that is not to be brought back is only asked, since others may do it.
func (s *Sequence) revive(it *item, w wish) {
	if it.tryAt.IsZero() {
		if st, ok := s.ask(it, w); ok && st.State == service.Running {
			it.level = up
			s.log.Info("service is back", "service", it.Name)
		}
		return
	}
	tries := append(it.tries, time.Now())
	err := s.start(it, w)
	if errors.Is(err, errSuperseded) {
		return
	}
	it.tries = tries
	if err != nil {
		s.plan(it, w, err.Error())
		return
	}
	s.log.Info("service is back", "service", it.Name, "tries", len(tries))
}

// guard watches, once everything is down, that nothing comes up by other hands: enabled at boot, started by somebody.
// And it tells followers who is master.
func (s *Sequence) guard(w wish) (next time.Time, again bool) {
	now := time.Now()
	for i := len(s.items) - 1; i >= 0; i-- {
		it := s.items[i]
		if it.Addresses || it.OnlyAfterSilence || it.leftAlone() {
			continue
		}
		if it.due(now) {
			s.check(it, w)
			return time.Time{}, true
		}
		next = it.earlier(next, now)
	}
	return s.tell(w, now, next)
}

// check stops an item that runs although it should not.
func (s *Sequence) check(it *item, w wish) {
	st, ok := s.ask(it, w)
	switch {
	case !ok:
		return
	case st.State == service.Stopped:
		it.level, it.caught = down, 0
		return
	case st.State != service.Running && st.State != service.Starting:
		return
	case it.follower != nil && it.followed == 0:
		// What was demoted while nobody knew the new master keeps its role until it is told whom to follow.
		return
	}
	it.followed = 0
	s.log.Warn("service runs although this node is not master, it is stopped: is it enabled at boot, or started by something else?",
		"service", it.Name, "status", st.Text)
	pause := guardPause
	for range it.caught {
		pause = min(2*pause, backoffMost)
	}
	it.caught++
	err := s.stop(it, w)
	if errors.Is(err, errSuperseded) {
		return
	}
	if err != nil {
		s.log.Warn("service that runs although this node is not master was not stopped", "service", it.Name, "err", err)
	}
	it.tryAt = time.Now().Add(pause)
	it.askAt = it.tryAt
}

// tell tells the next follower that has to know it who is master.
func (s *Sequence) tell(w wish, now, next time.Time) (time.Time, bool) {
	s.mu.Lock()
	told := s.told
	var t Transition
	if s.follow == nil {
		told = 0
	} else {
		t = *s.follow
	}
	s.mu.Unlock()
	if told == 0 {
		return next, false
	}
	for _, it := range s.items {
		switch {
		case it.follower == nil || it.leftAlone() || it.followed == told || it.refused == told:
			continue
		case it.tried == told && now.Before(it.followAt):
			if next.IsZero() || it.followAt.Before(next) {
				next = it.followAt
			}
			continue
		}
		s.tellOne(it, w, t, told)
		return time.Time{}, true
	}
	return next, false
}

func (s *Sequence) tellOne(it *item, w wish, t Transition, told uint64) {
	c, ok := s.call(it, w, it.StartTimeout, byStart|byStop|byFollow|byClose)
	if !ok {
		return
	}
	defer c.end()
	err := it.follower.Follow(c.ctx, t)
	switch {
	case err == nil:
		it.followed = told
		s.log.Info("service follows", "service", it.Name, "master", printable(t.Master))
	case c.superseded():
	case errors.Is(err, errNobodyToFollow):
		it.refused = told
		s.log.Warn("service is not told whom to follow", "service", it.Name, "err", err)
	default:
		if it.followIn = min(2*it.followIn, backoffMost); it.tried != told {
			it.tried, it.followIn = told, followPause
		}
		it.followAt = time.Now().Add(it.followIn)
		s.log.Warn("service was not told whom to follow", "service", it.Name, "master", printable(t.Master), "err", err, "again_in", it.followIn)
	}
}
