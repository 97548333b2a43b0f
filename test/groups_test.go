package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"baton/test/frame"
	"baton/test/site"
)

// pairsOfKinds are the pairs in which a baton takes part, by their kinds as node a and b.
var pairsOfKinds = [][2]site.Kind{{site.Baton, site.Baton}, {site.Baton, site.Keepalived}, {site.Keepalived, site.Baton}}

// inPairs runs a test with each pair of daemons.
func inPairs(t *testing.T, f func(t *testing.T, kindA, kindB site.Kind)) {
	for _, kinds := range pairsOfKinds {
		t.Run(fmt.Sprintf("%v preferred to %v", kinds[0], kinds[1]), func(t *testing.T) {
			t.Parallel()
			f(t, kinds[0], kinds[1])
		})
	}
}

// startGroup starts a pair with a group on two links.
func startGroup(t *testing.T, kindA, kindB site.Kind) (s *site.Site, a, b *site.Node, c site.Config) {
	t.Helper()
	s = newSite(t)
	must(t, s.AddLink())
	c = groupOnTwoLinks()
	a, b = startPair(t, s, kindA, kindB, c)
	return s, a, b, c
}

// A backup that hears the master on one link and not on the other takes nothing: half a group would be no use.
func TestGroup_SilentCutOfOneLink(t *testing.T) {
	t.Parallel()
	inPairs(t, func(t *testing.T, kindA, kindB site.Kind) {
		s, a, b, c := startGroup(t, kindA, kindB)
		cut := time.Now()
		must(t, s.Seconds["a"].Cut())
		time.Sleep(12 * interval)
		for _, r := range c.Routers {
			unmoved(t, s, r.Addresses[0], "a", cut)
		}
		must(t, s.Seconds["a"].Mend())
		time.Sleep(5 * interval)
		settled(t, s, "a", c)
		for _, r := range c.Routers {
			unmoved(t, s, r.Addresses[0], "a", cut)
		}
		refusedBy(t, a)
		refusedBy(t, b)
	})
}

// The loss of one link takes the whole group away, as fast as a goodbye on the other.
func TestGroup_CarrierLossOfOneLink(t *testing.T) {
	t.Parallel()
	inPairs(t, func(t *testing.T, kindA, kindB site.Kind) {
		s, a, b, c := startGroup(t, kindA, kindB)
		down := time.Now()
		must(t, s.Seconds["a"].Down())
		zero, err := s.AwaitAdvert("a", down, patience, func(a *frame.Advert) bool { return a.Priority == 0 && a.VRID == 51 })
		must(t, err)
		first, err := s.AwaitAdvert("b", zero.At, patience, nil)
		must(t, err)
		t.Logf("b advertised %v after the priority 0", first.At.Sub(zero.At))
		// The other link says nothing, and its silence is not over by then.
		for _, r := range c.Routers {
			must(t, s.Holders.Await("b", patience, site.Address(r.Addresses[0])))
		}
		_, err = a.AwaitRole("front", "FAULT", down, patience)
		must(t, err)
		must(t, s.Seconds["a"].Up())
		settled(t, s, "a", c)
		refusedBy(t, a)
		refusedBy(t, b)
	})
}

// A group moves as a whole when its master stops and when it comes back.
func TestGroup_StopAndReturn(t *testing.T) {
	t.Parallel()
	inPairs(t, func(t *testing.T, kindA, kindB site.Kind) {
		s, a, b, c := startGroup(t, kindA, kindB)
		from := time.Now().Add(-2 * interval)
		ask := func() (ends []func() (int, error)) {
			for _, r := range c.Routers {
				ends = append(ends, asking(t, s, r.Addresses[0], 0))
			}
			return ends
		}
		ends := ask()
		must(t, a.Stop())
		settled(t, s, "b", c)
		for _, end := range ends {
			if n := lost(t, end); n != 0 && a.Kind == site.Baton {
				t.Errorf("%d lost when a, a baton, was stopped", n)
			}
		}
		ends = ask()
		must(t, a.Start())
		settled(t, s, "a", c)
		for _, end := range ends {
			if n := lost(t, end); n != 0 && b.Kind == site.Baton {
				t.Errorf("%d lost when b, a baton, gave the role back", n)
			}
		}
		for _, r := range c.Routers {
			oneMaster(t, s, r, from, "a", "b", "a")
		}
		refusedBy(t, a)
		refusedBy(t, b)
	})
}

// Two families in one router's addresses are a group: they move together, and a hook is told once.
func TestGroup_TwoFamiliesInOneRouter(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, "10.99.1.1/16", "fd99::100/64")
	c.Routers[0].Notify = "{any: /run/hook}"
	for _, name := range []string{"a", "b"} {
		script := "#!/bin/sh\necho \"$3\" >>/run/told\n"
		must(t, os.WriteFile(s.Ports[name].Host.Path("/run/hook"), []byte(script), 0o755))
	}
	a, b := add(t, s, "a", site.Baton, c), add(t, s, "b", site.Baton, c)
	must(t, a.Start())
	settled(t, s, "a", c) // or b may be master first, by a hair
	must(t, b.Start())
	_, err := b.AwaitRole("web", "BACKUP", time.Time{}, patience)
	must(t, err)
	told := func(node, want string) {
		t.Helper()
		var text []byte
		for deadline := time.Now().Add(patience); ; time.Sleep(interval / 10) {
			text, _ = os.ReadFile(s.Ports[node].Host.Path("/run/told"))
			if strings.HasSuffix(string(text), want) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the hook on %s was told %q, want %q at the end", node, text, want)
			}
		}
		time.Sleep(2 * interval)
		if text, _ = os.ReadFile(s.Ports[node].Host.Path("/run/told")); !strings.HasSuffix(string(text), want) || strings.Count(string(text), "MASTER") != 1 {
			t.Errorf("the hook on %s was told %q, want %q at the end and MASTER once", node, text, want)
		}
	}
	told("a", "MASTER\n")
	stop := time.Now()
	must(t, a.Stop())
	settled(t, s, "b", c)
	told("b", "MASTER\n")
	for _, address := range c.Routers[0].Addresses {
		heldThroughout(t, s, address, stop)
	}
}
