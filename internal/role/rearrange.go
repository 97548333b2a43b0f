package role

import (
	"context"
	"errors"
	"slices"
	"time"

	"baton/internal/service"
)

// arrangement is other items for a sequence that runs.
type arrangement struct {
	router Router
	items  []Item
}

// Rearrange gives the sequence other items, for a router of perhaps another name.
// One is known by its Name and by What: it stays as it is, watched and with its
// history, whatever else of it has changed; where it brings no Control it keeps that,
// too. While this node is master what is new is started in its place, Ready follows
// anew, and what is missing is stopped, in reverse and before all else; a service
// that does not stop is left to itself. While it is not, what is new is stopped if it
// runs. Services that run on every node are not stopped.
func (s *Sequence) Rearrange(r Router, items []Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = &arrangement{r, items}
	if s.now != nil && !slices.ContainsFunc(items, s.now.it.like) {
		s.interrupt(byRemoval)
	}
	if s.done == nil {
		s.arrange()
		return
	}
	s.poke()
}

// Dissolve stops what of the services runs, as Rearrange does with no items at all,
// and ends the sequence. It waits for that until ctx ends, and is Close then.
func (s *Sequence) Dissolve(ctx context.Context) error {
	s.mu.Lock()
	r := s.o.Router
	s.mu.Unlock()
	s.Rearrange(r, nil)
	s.mu.Lock()
	s.dissolves = true
	done := s.done
	s.poke()
	s.mu.Unlock()
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	return s.Close(ctx)
}

// like tells whether an item is the one of the same name in another arrangement.
func (it *item) like(i Item) bool {
	return !i.Addresses && !it.Addresses && i.Name == it.Name && (i.Control == nil || i.What == it.What)
}

// arrange makes the newest arrangement the present one. It is called by the
// sequence's goroutine, or before there is one; s.mu is held.
func (s *Sequence) arrange() {
	next := s.next
	if next == nil {
		return
	}
	s.next = nil
	s.o.Router = next.router
	if next.router.Name != "" {
		s.log = s.o.Log.With("router", next.router.Name)
	}
	left, now := s.items, time.Now()
	s.items = nil
	for _, i := range next.items {
		at := slices.IndexFunc(left, func(it *item) bool { return it.Addresses && i.Addresses || it.like(i) })
		if at < 0 {
			it := newItem(i, now)
			s.items = append(s.items, it)
			s.watch(it)
			s.finished = false
			continue
		}
		it := left[at]
		left = slices.Delete(slices.Clone(left), at, at+1)
		s.items = append(s.items, it)
		if i.Addresses {
			continue
		}
		if i.Control == nil {
			i.Control = it.Control
			it.Item = i.sensible()
			continue
		}
		it.Item = i.sensible()
		s.unwatch(it)
		it.know()
		s.watch(it)
	}
	for _, it := range left {
		s.unwatch(it)
		if it == s.stuck {
			s.stuck = nil
			continue // it was tried
		}
		if !it.Addresses && !s.o.Everywhere && (it.level == partial || it.level == up || it.level == fallen) {
			s.leaving = append(s.leaving, it)
		}
	}
}

// know finds out what the Control of an item can do.
func (it *item) know() {
	it.watcher, _ = it.Control.(service.Watcher)
	it.follower, _ = it.Control.(Follower)
	it.askAt = time.Now()
}

// watch begins to watch an item that tells of its changes, once there is a
// goroutine.
func (s *Sequence) watch(it *item) {
	if it.watcher == nil || s.watching == nil {
		return
	}
	ctx, cancel := context.WithCancel(s.watching)
	it.unwatch = cancel
	watcher := it.watcher
	s.watchers.Go(func() {
		watcher.Watch(ctx, func() {
			it.changed.Store(true)
			s.poke()
		})
	})
}

func (s *Sequence) unwatch(it *item) {
	if it.unwatch != nil {
		it.unwatch()
		it.unwatch = nil
	}
}

// part stops the next item that the sequence does not have any more.
func (s *Sequence) part(w wish) {
	last := len(s.leaving) - 1
	it := s.leaving[last]
	err := s.stop(it, w)
	if errors.Is(err, errSuperseded) {
		return
	}
	s.leaving = s.leaving[:last]
	if err != nil {
		s.log.Error("service that is not configured any more did not stop: it is left to itself", "service", it.Name, "err", err)
	}
}
