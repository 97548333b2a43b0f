package test

import (
	"testing"
	"time"

	"baton/test/frame"
	"baton/test/site"
)

// policyPair is the usual pair with more keys for baton and for keepalived.
func policyPair(more, moreKeepalived string) site.Config {
	c := site.Pair(interval, site.Addresses(1, false)...)
	c.Routers[0].More, c.Routers[0].MoreKeepalived = more, moreKeepalived
	return c
}

// A better node that returns leaves the role where it is, until that is given up.
func TestPolicy_NoPreempt(t *testing.T) {
	t.Parallel()
	inPairs(t, func(t *testing.T, kindA, kindB site.Kind) {
		s := newSite(t)
		c := policyPair("", "")
		c.Routers[0].NoPreempt = true
		a, b := startPair(t, s, kindA, kindB, c)
		from := time.Now().Add(-2 * interval)
		must(t, a.Stop())
		settled(t, s, "b", c)
		back := time.Now()
		must(t, a.Start())
		_, err := a.AwaitRole("web", "BACKUP", back, patience)
		must(t, err)
		time.Sleep(10 * interval)
		unmoved(t, s, c.Routers[0].Addresses[0], "b", back)
		must(t, b.Stop())
		settled(t, s, "a", c)
		oneMaster(t, s, c.Routers[0], from, "a", "b", "a")
		refusedBy(t, a)
	})
}

// A master that fails gives way to a worse node, and to one that preempts nobody; it does not take the role back while that
// is well.
func TestPolicy_FaultGivesWay(t *testing.T) {
	t.Parallel()
	inPairs(t, func(t *testing.T, kindA, kindB site.Kind) {
		c := checked(0)
		c.Routers[0].NoPreempt = true
		s := startChecked(t, kindA, kindB, c)
		failed := time.Now()
		setHealthy(t, s, "a", false)
		_, err := s.Nodes["a"].AwaitRole("web", "FAULT", failed, patience)
		must(t, err)
		settled(t, s, "b", c)
		well := time.Now()
		setHealthy(t, s, "a", true)
		_, err = s.Nodes["a"].AwaitRole("web", "BACKUP", well, patience)
		must(t, err)
		time.Sleep(10 * interval)
		unmoved(t, s, c.Routers[0].Addresses[0], "b", well)
		setHealthy(t, s, "b", false)
		settled(t, s, "a", c)
	})
}

// A better node follows a worse master for preempt_delay before it takes the role; the end of that master it does not
// wait for.
func TestPolicy_PreemptDelay(t *testing.T) {
	t.Parallel()
	const delay = 2 * time.Second
	inPairs(t, func(t *testing.T, kindA, kindB site.Kind) {
		s := newSite(t)
		c := policyPair("preempt_delay: 2s", "preempt_delay 2")
		a, b := add(t, s, "a", kindA, c), add(t, s, "b", kindB, c)
		must(t, b.Start())
		settled(t, s, "b", c)
		must(t, a.Start())
		follows, err := a.AwaitRole("web", "BACKUP", time.Time{}, patience)
		must(t, err)
		_, err = a.AwaitRole("web", "MASTER", follows.At, patience)
		must(t, err)
		settled(t, s, "a", c)
		took, err := s.AwaitAdvert("a", follows.At, patience, nil)
		must(t, err)
		// keepalived counts from the first advertisement that it hears.
		if waited := took.At.Sub(follows.At); waited < delay-interval || waited > delay+patience/4 {
			t.Errorf("a followed for %v, want %v", waited, delay)
		}
		must(t, a.Stop())
		settled(t, s, "b", c)
		again := time.Now()
		must(t, a.Start())
		_, err = a.AwaitRole("web", "BACKUP", again, patience)
		must(t, err)
		gone := time.Now()
		must(t, b.Crash())
		took, err = s.AwaitAdvert("a", again, patience, nil)
		must(t, err)
		if waited := took.At.Sub(gone); waited > delay/2 {
			t.Errorf("a waited for %v after the end of b", waited)
		}
	})
}

// A node that starts is in INIT for start_delay, and silent.
func TestPolicy_StartDelay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := policyPair("start_delay: 1s", "")
	a := add(t, s, "a", site.Baton, c)
	start := time.Now()
	must(t, a.Start())
	settled(t, s, "a", c)
	first, err := s.AwaitAdvert("a", start, patience, nil)
	must(t, err)
	backup, err := a.AwaitRole("web", "BACKUP", start, patience)
	must(t, err)
	if waited := backup.At.Sub(start); waited < time.Second {
		t.Errorf("BACKUP after %v, want 1s at least", waited)
	}
	if waited := first.At.Sub(start); waited < time.Second+3*interval {
		t.Errorf("advertised after %v, want the delay and a time of silence at least", waited)
	}
}

// A backup waits for as many advertisements as it is told to.
func TestPolicy_MissedAdvertisements(t *testing.T) {
	t.Parallel()
	inPairs(t, func(t *testing.T, kindA, kindB site.Kind) {
		s := newSite(t)
		c := policyPair("missed_advertisements: 10", "down_timer_adverts 10")
		a, b := startPair(t, s, kindA, kindB, c)
		_, err := b.AwaitRole("web", "BACKUP", time.Time{}, patience)
		must(t, err)
		cut := time.Now()
		must(t, a.Port.Cut())
		took := becameMaster(t, s, b, cut)
		heard := lastHeard(t, s, b, took, func(a *frame.Advert) bool { return a.Priority == 200 })
		if waited := took.Sub(heard); waited < 10*interval || waited > 10*interval+2*time.Second {
			t.Errorf("b took over after %v of silence, want 10 intervals and the skew", waited)
		}
		must(t, a.Port.Mend())
		settled(t, s, "a", c)
	})
}

// With track_link: false a node whose link is lost stays what it is.
func TestPolicy_LinkNotTracked(t *testing.T) {
	t.Parallel()
	inPairs(t, func(t *testing.T, kindA, kindB site.Kind) {
		s := newSite(t)
		c := policyPair("track_link: false", "dont_track_primary")
		a, b := startPair(t, s, kindA, kindB, c)
		_, err := a.AwaitRole("web", "MASTER", time.Time{}, patience)
		must(t, err)
		before := len(a.Changes())
		down := time.Now()
		must(t, a.Port.Down())
		_, err = b.AwaitRole("web", "MASTER", down, patience)
		must(t, err)
		if got := a.Changes(); len(got) != before {
			t.Errorf("a changed its role: %v", got[before:])
		}
		must(t, a.Port.Up())
		settled(t, s, "a", c)
		_, err = b.AwaitRole("web", "BACKUP", down, patience)
		must(t, err)
	})
}
