package daemon

import (
	"testing"
	"time"
	"unsafe"

	"baton/health"
)

// setClock is a time as it would have been noted before the wall clock was set
// forward: of its two readings the monotonic one stays.
func setClock(t time.Time, forward time.Duration) time.Time {
	const nanoseconds = 30 // bits of the wall reading below the seconds
	*(*uint64)(unsafe.Pointer(&t)) -= uint64(forward/time.Second) << nanoseconds
	return t
}

// What is shown of a check is right by a clock that was set meanwhile.
func TestCheckOf_ClockWasSet(t *testing.T) {
	const year = 365 * 24 * time.Hour
	now := time.Now()
	before := func(d time.Duration) time.Time { return setClock(now.Add(d), year) }
	if before(0).Round(0).Sub(now.Round(0)) != -year || !before(0).Equal(before(0)) || now.Sub(before(0)) != 0 {
		t.Fatal("the times of this test are not what they should be")
	}
	c := checkOf(health.Result{
		Check: "c", Since: before(-time.Hour), At: before(-time.Second),
		Forced: health.Force{Verdict: health.Fail, Until: before(time.Minute)},
	})
	if c.Forced == nil {
		t.Fatal("no longer forced")
	}
	for what, tt := range map[string]struct{ got, want time.Time }{
		"since": {c.Since, now.Add(-time.Hour)}, "at": {c.At, now.Add(-time.Second)}, "until": {c.Forced.Until, now.Add(time.Minute)},
	} {
		if off := tt.got.Round(0).Sub(tt.want.Round(0)).Abs(); off > 10*time.Second {
			t.Errorf("%s: %v, want %v", what, tt.got, tt.want)
		}
	}
	if c := checkOf(health.Result{Check: "c"}); !c.Since.IsZero() || !c.At.IsZero() {
		t.Errorf("a check without an answer: %+v", c)
	}
}
