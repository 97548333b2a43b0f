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
	if len(none.Events) != 0 || none.Newest != 0 {
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
	if list := all.Events; len(list) != maxEvents || list[0].Number != 11 || list[0].What != "11" || list[maxEvents-1].What != fmt.Sprint(maxEvents+10) {
		t.Errorf("%d events from %+v", len(list), list[0])
	}
	if all.Newest != maxEvents+10 || all.Since.IsZero() || all.Since != none.Since {
		t.Errorf("newest %d, kept since %s", all.Newest, all.Since)
	}
	if newest, _ := e.after(maxEvents + 8); len(newest.Events) != 2 || newest.Events[0].Number != maxEvents+9 {
		t.Errorf("the last two: %v", newest)
	}
	if none, _ = e.after(maxEvents + 10); len(none.Events) != 0 {
		t.Errorf("%v after the newest", none)
	}
	select {
	case <-more:
		t.Error("told of an event that was not")
	default:
	}
	if all, _ := e.after(maxEvents + 99); len(all.Events) != maxEvents { // a number of the process before
		t.Errorf("%d events after a number that is not reached yet", len(all.Events))
	}
}
