package role

import (
	"context"
	"errors"
	"strings"
	"time"
)

// cause is what may end a call of a Control before its time.
type cause uint8

const (
	byStart cause = 1 << iota
	byStop
	byFollow
	byRemoval // of the item by Rearrange
	byClose
)

// errSuperseded says that something was not done, or not finished, since another wish came.
var errSuperseded = errors.New("superseded")

// call is one call of a Control that is under way. There is one at a time.
type call struct {
	sequence *Sequence
	it       *item
	ctx      context.Context // for the Control
	whole    context.Context // the same without the time limit
	until    cause
	cancel   context.CancelFunc
	free     context.CancelFunc
}

// call begins a call on behalf of w, unless that is not the newest wish any more. limit bounds it, and what until names
// ends it. The caller must end it.
func (s *Sequence) call(it *item, w wish, limit time.Duration, until cause) (c *call, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.wish.serial != w.serial {
		return nil, false
	}
	c = &call{sequence: s, it: it, until: until}
	c.whole, c.cancel = context.WithCancel(s.ctx)
	c.ctx, c.free = context.WithTimeout(c.whole, limit)
	s.now = c
	return c, true
}

// interrupt ends the call that is under way if why is among what may. s.mu is held.
func (s *Sequence) interrupt(why cause) {
	if s.now != nil && s.now.until&why != 0 {
		s.now.cancel()
	}
}

// end is called when the Control has returned.
func (c *call) end() {
	c.sequence.mu.Lock()
	c.sequence.now = nil
	c.sequence.mu.Unlock()
	c.free()
	c.cancel()
}

// superseded says that it was ended by what may end it, or by Close.
func (c *call) superseded() bool { return c.whole.Err() != nil }

// late says that its time is up.
func (c *call) late() bool { return errors.Is(c.ctx.Err(), context.DeadlineExceeded) }

// short writes a duration as the configuration does: 4m, not 4m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
