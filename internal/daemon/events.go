package daemon

import (
	"sync"
	"time"

	"baton/internal/control"
)

// maxEvents is how many events are kept in memory.
const maxEvents = 2000

// events are the last things that happened, for those who ask. Its methods may be
// called from any goroutine, and none of them waits for a reader.
type events struct {
	since  time.Time
	mu     sync.Mutex // the protocol loop takes it: held for a copy at most
	number uint64
	kept   []control.Event // a ring once it is full: the newest is number-1 modulo maxEvents
	more   chan struct{}   // closed by the next event
}

func newEvents() *events { return &events{since: time.Now(), more: make(chan struct{})} }

// add notes that something has happened now.
func (e *events) add(kind control.EventKind, name, what, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.number++
	event := control.Event{Number: e.number, At: time.Now(), Kind: kind, Name: name, What: what, Text: text}
	if len(e.kept) < maxEvents {
		e.kept = append(e.kept, event)
	} else {
		e.kept[(e.number-1)%maxEvents] = event
	}
	close(e.more)
	e.more = make(chan struct{})
}

// after returns the events that are kept and have a greater number, oldest first, and
// what is closed when there are more. A number that is not reached yet is one of an
// earlier process: then all are returned.
func (e *events) after(number uint64) (control.Events, <-chan struct{}) {
	list := make([]control.Event, 0, e.count(number)) // before the lock is taken
	e.mu.Lock()
	defer e.mu.Unlock()
	for n := e.first(number); n < e.number; n++ {
		list = append(list, e.kept[n%maxEvents])
	}
	return control.Events{Since: e.since, Newest: e.number, Events: list}, e.more
}

func (e *events) count(number uint64) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return int(e.number - e.first(number))
}

// first is the place of the first event that is kept after a number.
func (e *events) first(number uint64) uint64 {
	if number > e.number {
		number = 0
	}
	return max(number, e.number-uint64(len(e.kept)))
}
