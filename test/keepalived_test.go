package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"baton/test/frame"
	"baton/test/site"
)

// TestHarnessWithKeepalived shows that the harness sees what it must see, with a pair whose behaviour is known.
func TestHarnessWithKeepalived(t *testing.T) {
	for _, c := range []struct {
		count int
		ipv6  bool
	}{{1, false}, {200, false}, {1, true}, {200, true}} {
		t.Run(fmt.Sprintf("%d addresses, ipv6 %v", c.count, c.ipv6), func(t *testing.T) {
			t.Parallel()
			keepalivedPair(t, site.Addresses(c.count, c.ipv6))
		})
	}
}

func keepalivedPair(t *testing.T, vips []string) {
	const interval = 100 * time.Millisecond
	s := newSite(t)
	config := site.Pair(interval, vips...)
	a, b := add(t, s, "a", site.Keepalived, config), add(t, s, "b", site.Keepalived, config)
	must(t, a.Start())
	must(t, b.Start())
	addrs := addresses(vips)
	must(t, s.Holders.Await("a", patience, addrs...))

	advert, err := s.AwaitAdvert("a", time.Time{}, patience, func(a *frame.Advert) bool { return a.VRID == 51 })
	must(t, err)
	if advert.Advert.Checksum != frame.Pseudo || advert.TTL != 255 || len(advert.Advert.Addresses) != len(config.Routers[0].Addresses) ||
		advert.Advert.Priority != 200 || advert.Advert.Interval != interval {
		t.Errorf("unexpected: %v", advert)
	}

	last := vips[len(vips)-1]
	p, err := s.Ask(last, 0, 500*time.Millisecond)
	must(t, err)
	_, err = s.Wire("client").Wait(time.Now(), patience, func(p frame.Packet) bool { return p.Advert != nil })
	must(t, err)

	// A planned stop: priority 0, then the skew of b.
	stop := time.Now()
	must(t, a.Stop())
	_, err = s.AwaitAdvert("a", stop, patience, func(a *frame.Advert) bool { return a.Priority == 0 })
	must(t, err)
	must(t, s.Holders.Await("b", patience, addrs...))
	_, err = s.Wire("client").Wait(stop, patience, func(p frame.Packet) bool { return p.Announces() == site.Address(last) })
	must(t, err)
	stopped := time.Now()
	must(t, a.Start())
	must(t, s.Holders.Await("a", patience, addrs...))
	time.Sleep(interval)
	r := p.Between(stop, stopped)
	// A prober that was late may have asked nothing in between.
	if r.Lost > 2000 || r.Lost == 0 && r.Late < 20*time.Millisecond {
		t.Errorf("a keepalived pair lost %d of %d at a planned stop", r.Lost, r.Sent)
	}
	t.Logf("planned stop: lost %d, gap %v; late %v", r.Lost, r.Gap, r.Late)

	// Silence: both hold the address until the link is mended, which the client cannot see.
	cut := time.Now()
	must(t, a.Port.Cut())
	first, err := s.AwaitAdvert("b", cut, patience, nil)
	must(t, err)
	t.Logf("silence: b advertised %v after the cut", first.At.Sub(cut))
	_, err = b.AwaitRole("web", "MASTER", cut, patience)
	must(t, err)
	spans, err := s.Holders.Spans(addrs[0], cut, time.Now())
	must(t, err)
	t.Log(spans)
	must(t, a.Port.Mend())
	must(t, s.Holders.Await("a", patience, addrs...))
}

// TestHarnessSeesRefusals shows that what a daemon refuses is found, by its reason: that nothing was refused means little else.
func TestHarnessSeesRefusals(t *testing.T) {
	t.Parallel()
	with := func(change func(*site.Router)) site.Config {
		c := site.Pair(time.Second, site.Addresses(1, false)...)
		c.Routers[0].Version = 2
		change(&c.Routers[0])
		return c
	}
	plain := with(func(*site.Router) {})
	for _, c := range []struct {
		receiver site.Kind
		what     string
		sends    site.Config // a keepalived's
		receives site.Config
		want     string
	}{
		{site.Keepalived, "another password", with(func(r *site.Router) { r.Password = "one" }), with(func(r *site.Router) { r.Password = "two" }), "Authentication Errors, Failure"},
		{site.Keepalived, "another interval", with(func(r *site.Router) { r.Interval = 2 * time.Second }), plain, "advertisement interval mismatch"},
		{site.Keepalived, "another version", with(func(r *site.Router) { r.Version = 3 }), plain, "wrong version"},
		{site.Keepalived, "more addresses", with(func(r *site.Router) { r.Addresses = site.Addresses(2, false) }), plain, "Packet Errors, Address List"},
		{site.FRR, "another interval", with(func(r *site.Router) { r.Interval = 2 * time.Second }), plain, "advertisement interval"},
		{site.Baton, "another version", plain, with(func(r *site.Router) { r.Version = 3 }), "version"},
	} {
		t.Run(fmt.Sprintf("%v, %s", c.receiver, c.what), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			a, b := add(t, s, "a", site.Keepalived, c.sends), add(t, s, "b", c.receiver, c.receives)
			must(t, b.Start())
			must(t, a.Start())
			var refused map[string]int
			for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
				var err error
				refused, err = b.Refused()
				must(t, err)
				for reason, count := range refused {
					if strings.Contains(reason, c.want) && count > 0 {
						return
					}
				}
				if time.Now().After(deadline) {
					t.Fatalf("refused: %v, want %q", refused, c.want)
				}
			}
		})
	}
}
