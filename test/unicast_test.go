package test

import (
	"testing"
	"time"

	"baton/test/frame"
	"baton/test/site"
)

// Two nodes in different networks, with a router between, are a pair by unicast: the TTL is no longer 255 when an
// advertisement comes, and nothing is sent to a group.
func TestUnicast_AcrossARouter(t *testing.T) {
	t.Parallel()
	inFamilies(t, func(t *testing.T, ipv6 bool) {
		s, err := site.NewRouted(t.TempDir(), "a", "b")
		must(t, err)
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(s.Report())
			}
			must(t, s.Close())
		})
		vip := "192.0.2.1/32"
		if ipv6 {
			vip = "2001:db8::1/128"
		}
		c := site.Pair(interval, vip)
		c.Routers[0].Unicast = true
		a, b := startPair(t, s, site.Baton, site.Baton, c)
		from := time.Now().Add(-2 * interval)
		_, err = b.AwaitRole("web", "BACKUP", time.Time{}, patience)
		must(t, err)

		must(t, a.Stop())
		settled(t, s, "b", c)
		must(t, a.Start())
		settled(t, s, "a", c)
		oneMaster(t, s, c.Routers[0], from, "a", "b", "a")

		cut := time.Now()
		must(t, a.Port.Cut())
		took := becameMaster(t, s, b, cut)
		silence := took.Sub(lastHeard(t, s, b, took, func(a *frame.Advert) bool { return a.Priority == 200 }))
		if silence < 5*interval/2 || silence > 3*interval+2*time.Second {
			t.Errorf("b took over after %v of silence", silence)
		}
		must(t, a.Port.Mend())
		settled(t, s, "a", c)

		heard := 0
		for _, p := range s.Wire("b").Packets() {
			if p.Advert == nil {
				continue
			}
			if p.Dest.IsMulticast() || p.Sent && p.TTL != 255 || !p.Sent && p.TTL != 254 {
				t.Errorf("not as it should be: %v", p)
			}
			if !p.Sent {
				heard++
			}
		}
		if heard == 0 {
			t.Error("b has received nothing: the test looks in the wrong place")
		}
		refusedBy(t, a)
		refusedBy(t, b)
	})
}
