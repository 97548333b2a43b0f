package link

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newPoller(t testing.TB) *Poller {
	t.Helper()
	p, err := NewPoller()
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// wait fails the test where Wait does.
func wait(t testing.TB, p *Poller, deadline time.Duration) []uint64 {
	t.Helper()
	ready, err := p.Wait(deadline, nil)
	must(t, err)
	return ready
}

// newPipe returns a descriptor to read from and one to write to.
func newPipe(t testing.TB) (r, w int) {
	t.Helper()
	var fds [2]int
	must(t, unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC))
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func TestPoller_Now(t *testing.T) {
	p := newPoller(t)
	var ts unix.Timespec
	must(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts))
	a, b := time.Duration(ts.Nano()), p.Now()
	if b < a || b > a+patience || a == 0 {
		t.Errorf("%s after %s", b, a)
	}
}

func TestPoller_Deadline(t *testing.T) {
	p := newPoller(t)
	for _, d := range []time.Duration{5 * time.Millisecond, time.Millisecond, 0, -time.Second} {
		deadline := p.Now() + d
		for range 3 { // also when asked again for a deadline that has passed
			if ready := wait(t, p, deadline); len(ready) != 0 {
				t.Errorf("%v ready", ready)
			}
			if now := p.Now(); now < deadline {
				t.Errorf("%s early", deadline-now)
			} else if now > deadline+patience {
				t.Errorf("%s late", now-deadline)
			}
		}
	}
	for _, d := range []time.Duration{0, -1} { // long gone, and 0 disarms a timer
		wait(t, p, d)
	}
}

// A deadline that was put off must not fire at its old time, nor one that was
// taken back.
func TestPoller_DeadlineMoved(t *testing.T) {
	p := newPoller(t)
	r, w := newPipe(t)
	must(t, p.Add(r, 7))
	first := p.Now() + 20*time.Millisecond
	p.Wake()
	wait(t, p, first) // arms it, returns at once
	second := first + 40*time.Millisecond
	wait(t, p, second)
	if now := p.Now(); now < second {
		t.Errorf("woken at %s, the deadline is %s", now, second)
	}

	p.Wake()
	wait(t, p, p.Now()+10*time.Millisecond)
	end := time.AfterFunc(50*time.Millisecond, func() { _, _ = unix.Write(w, []byte{1}) })
	defer end.Stop()
	if ready := wait(t, p, Never); !slices.Equal(ready, []uint64{7}) {
		t.Errorf("woken by %v, want only the pipe", ready)
	}
}

func TestPoller_Tags(t *testing.T) {
	p := newPoller(t)
	tags := []uint64{0, 1, 1<<31 + 5, 1 << 32, reservedTags - 1}
	for _, tag := range tags {
		r, w := newPipe(t)
		must(t, p.Add(r, tag))
		_, err := unix.Write(w, []byte{1})
		must(t, err)
	}
	ready := wait(t, p, Never)
	slices.Sort(ready)
	if !slices.Equal(ready, tags) {
		t.Errorf("ready %v, want %v", ready, tags)
	}
	r, _ := newPipe(t)
	for _, tag := range []uint64{timerTag, wakeTag} {
		if err := p.Add(r, tag); err == nil {
			t.Errorf("tag %#x was accepted", tag)
		}
	}
}

func TestPoller_EnableDisableRemove(t *testing.T) {
	p := newPoller(t)
	r, w := newPipe(t)
	must(t, p.Add(r, 3))
	_, err := unix.Write(w, []byte{1})
	must(t, err)
	steps := []struct {
		name string
		do   func() error
		want int
	}{
		{"added", func() error { return nil }, 1},
		{"still", func() error { return nil }, 1},
		{"disabled", func() error { return p.Disable(r) }, 0},
		{"disabled twice", func() error { return p.Disable(r) }, 0},
		{"enabled", func() error { return p.Enable(r) }, 1},
		{"enabled twice", func() error { return p.Enable(r) }, 1},
		{"removed", func() error { p.Remove(r); return nil }, 0},
		{"removed twice", func() error { p.Remove(r); return nil }, 0},
	}
	for _, s := range steps {
		must(t, s.do())
		p.Wake()
		if ready := wait(t, p, Never); len(ready) != s.want {
			t.Errorf("%s: ready %v", s.name, ready)
		}
	}
	if err := p.Enable(r); err == nil {
		t.Error("enabled what was removed")
	}
}

// However Wake and Wait meet, nothing queued before a Wake stays unseen.
func TestPoller_Wake(t *testing.T) {
	p := newPoller(t)
	const each = 20000
	var queued atomic.Int64
	for range 2 {
		go func() {
			for range each {
				queued.Add(1)
				p.Wake()
			}
		}()
	}
	deadline := p.Now() + patience
	for seen := int64(0); seen < 2*each; seen = queued.Load() {
		wait(t, p, deadline)
		if p.Now() >= deadline {
			t.Fatalf("%d of %d seen: a wake was lost", seen, 2*each)
		}
	}
}

func TestPoller_WakeOnce(t *testing.T) {
	p := newPoller(t)
	for range 100 {
		p.Wake()
	}
	wait(t, p, Never)
	deadline := p.Now() + 5*time.Millisecond
	wait(t, p, deadline)
	if p.Now() < deadline {
		t.Error("a hundred wakes before one Wait ended two of them")
	}
}

func TestPoller_NoAllocations(t *testing.T) {
	p := newPoller(t)
	r, w := newPipe(t)
	must(t, p.Add(r, 3))
	_, err := unix.Write(w, []byte{1})
	must(t, err)
	ready := make([]uint64, 0, 8)
	if n := testing.AllocsPerRun(1000, func() {
		p.Wake()
		ready, err = p.Wait(p.Now()+time.Hour, ready)
	}); n != 0 || err != nil || len(ready) != 1 {
		t.Errorf("%v allocations, ready %v, %v", n, ready, err)
	}
}

// Close may come from another goroutine, and must not meet the Poller then.
func TestConn_WatchThatFailsLeavesNothingBehind(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	p := newPoller(t)
	if err := c.Watch(p, reservedTags-1); err == nil {
		t.Fatal("a reserved tag was taken")
	}
	if len(p.tags) != 0 || c.poller != nil {
		t.Errorf("%d descriptors are watched still", len(p.tags))
	}
}
