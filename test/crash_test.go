//go:build soak

package test

import (
	"testing"
	"time"

	"baton/test/site"
)

// SIGKILL at a hundred random moments, with either backup.
func TestCrash_Hundred(t *testing.T) {
	for _, peer := range []site.Kind{site.Baton, site.Keepalived} {
		t.Run(peer.String(), func(t *testing.T) {
			s := newSite(t)
			c := site.Pair(time.Second, site.Addresses(1, false)...)
			a, b := startPair(t, s, site.Baton, peer, c)
			killAtRandom(t, s, a, b, c, 100)
		})
	}
}

// At which intervals does a crash, with a restart at once, go unnoticed? It measures and asserts nothing; docs/adoption.md has
// the figures.
func TestCrash_SmallestInterval(t *testing.T) {
	const times = 20
	for _, every := range []time.Duration{20, 30, 40, 50, 70, 100, 200} {
		every *= time.Millisecond
		t.Run(every.String(), func(t *testing.T) {
			s := newSite(t)
			c := site.Pair(every, site.Addresses(1, false)...)
			a, b := startPair(t, s, site.Baton, site.Baton, c)
			_, err := b.AwaitRole("web", "BACKUP", time.Time{}, patience)
			must(t, err)
			moved := 0
			var worst time.Duration
			for i := range times {
				settled(t, s, "a", c)
				time.Sleep(every*3 + every*time.Duration(i)/times) // another moment of the interval each time
				before, from := len(b.Changes()), time.Now()
				must(t, a.Crash())
				must(t, a.Start())
				_, err := a.AwaitRole("web", "MASTER", time.Time{}, patience)
				must(t, err)
				time.Sleep(4 * every)
				worst = max(worst, longestGap(s, "a", from.Add(-every)))
				if len(b.Changes()) > before {
					moved++
				}
			}
			t.Logf("%d of %d crashes moved the role; at most %v between two advertisements", moved, times, worst.Round(time.Millisecond))
		})
	}
}
