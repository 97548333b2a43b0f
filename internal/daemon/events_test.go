package daemon

import (
	"fmt"
	"testing"

	"baton/internal/control"
)

// The newest events are kept, in their order, and a reader misses none of them.
func TestEvents(t *testing.T) {
	e := newEvents()
	none, more := e.after(0)
	if len(none) != 0 {
		t.Errorf("%v before anything happened", none)
	}
	for i := range maxEvents + 10 {
		e.add(control.RouterEvent, "web", fmt.Sprint(i+1), "")
	}
	select {
	case <-more:
	default:
		t.Error("nobody was told of the first event")
	}
	all, more := e.after(3) // older than what is kept
	if len(all) != maxEvents || all[0].Number != 11 || all[0].What != "11" || all[maxEvents-1].What != fmt.Sprint(maxEvents+10) {
		t.Errorf("%d events from %+v", len(all), all[0])
	}
	if newest, _ := e.after(maxEvents + 8); len(newest) != 2 || newest[0].Number != maxEvents+9 {
		t.Errorf("the last two: %v", newest)
	}
	if none, _ = e.after(maxEvents + 10); len(none) != 0 {
		t.Errorf("%v after the newest", none)
	}
	select {
	case <-more:
		t.Error("told of an event that was not")
	default:
	}
	if none, _ = e.after(maxEvents + 99); len(none) != 0 { // of the process before
		t.Errorf("%v of the future", none)
	}
}
