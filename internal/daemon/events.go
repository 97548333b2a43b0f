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
	mu     sync.Mutex
	number uint64
	kept   []control.Event // a ring once it is full: the newest is number-1 modulo maxEvents
	more   chan struct{}   // closed by the next event
}

func newEvents() *events { return &events{more: make(chan struct{})} }

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

// after returns the events that are kept and have a greater number, oldest first,
// and what is closed when there are more.
func (e *events) after(number uint64) ([]control.Event, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := max(number, e.number-uint64(len(e.kept)))
	var list []control.Event
	for n := first; n < e.number; n++ {
		list = append(list, e.kept[n%maxEvents])
	}
	return list, e.more
}
