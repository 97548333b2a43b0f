package test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"baton/test/frame"
	"baton/test/site"
)

// TestRollingReplacement replaces the nodes of a keepalived pair by baton, one at a time, while it serves a client.
func TestRollingReplacement(t *testing.T) {
	t.Parallel()
	version2 := site.Pair(time.Second, site.Addresses(1, false)...)
	version2.Routers[0].Version, version2.Routers[0].Password = 2, "baton+ka"
	for name, c := range map[string]site.Config{
		"version 2 with a password": version2,
		"version 3":                 site.Pair(interval, site.Addresses(1, false)...),
		"version 3, ipv6":           site.Pair(interval, site.Addresses(1, true)...),
		"a group on two links":      groupOnTwoLinks(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rollingReplacement(t, c)
		})
	}
}

// groupOnTwoLinks are two routers that change their role together, one on each of a host's interfaces.
func groupOnTwoLinks() site.Config {
	priority := map[string]int{"a": 200, "b": 190}
	return site.Config{
		Routers: []site.Router{
			{Name: "front", VRID: 51, Interval: interval, Addresses: []string{"10.99.1.1/16"}},
			{Name: "back", VRID: 52, Interval: interval, Addresses: []string{"10.97.1.1/16"}, Interface: site.Second},
		},
		Groups: []site.Group{{Name: "edge", Members: []string{"front", "back"}, Priority: priority}},
	}
}

func rollingReplacement(t *testing.T, c site.Config) {
	s := newSite(t)
	if len(c.Groups) > 0 {
		must(t, s.AddLink())
	}
	a, b := startPair(t, s, site.Keepalived, site.Keepalived, c)
	from := time.Now().Add(-2 * interval)
	interval := c.Routers[0].Interval
	// during does something while the client asks every address, and fails the test when one lost more than it may.
	during := func(what string, most time.Duration, f func()) {
		t.Helper()
		var ends []func() (int, error)
		for _, r := range c.Routers {
			ends = append(ends, asking(t, s, r.Addresses[0], 0))
		}
		f()
		for i, end := range ends {
			n := lost(t, end)
			t.Logf("%s: %s lost %d", what, c.Routers[i].Addresses[0], n)
			if time.Duration(n)*time.Millisecond > most {
				t.Errorf("%s: %s lost %d, want at most %v", what, c.Routers[i].Addresses[0], n, most)
			}
		}
	}
	during("b, a backup, is replaced", 0, func() {
		must(t, b.Stop())
		b = add(t, s, "b", site.Baton, c)
		must(t, b.Start())
		for _, r := range c.Routers {
			_, err := b.AwaitRole(r.Name, "BACKUP", time.Time{}, patience)
			must(t, err)
		}
		time.Sleep(4 * interval) // b would be master by now, had it not understood a
		settled(t, s, "a", c)
	})
	refusedBy(t, b)

	// keepalived says goodbye and lets the addresses go: b has them when its skew is over.
	skew := interval * (256 - 190) / 256
	during("a, the master, is stopped", skew+250*time.Millisecond, func() {
		must(t, a.Stop())
		settled(t, s, "b", c)
	})
	most := time.Duration(0)
	if *standin {
		most = time.Second // a keepalived does not wait for its successor
	}
	during("a is back", most, func() {
		a = add(t, s, "a", site.Baton, c)
		must(t, a.Start())
		settled(t, s, "a", c)
	})
	refusedBy(t, a)
	refusedBy(t, b)
	for _, r := range c.Routers {
		oneMaster(t, s, r, from, "a", "b", "a")
	}
}

// wire returns the capture on a router's link.
func wire(s *site.Site, r site.Router, host string) *frame.Capture {
	if r.Interface == site.Second {
		return s.SecondWire(host)
	}
	return s.Wire(host)
}

// lastWord is for how long a master that has heard its successor may be on the wire: by a word that crosses with the
// successor's first, or answers it, so that it announces its addresses once more.
const lastWord = 20 * time.Millisecond

// oneMaster fails the test unless the given nodes, one after the other and never two at a time, advertised a router since
// a time; or when two hosts had an address otherwise than lent: from the successor's first advertisement on, while its
// predecessor advertises no more.
func oneMaster(t *testing.T, s *site.Site, r site.Router, from time.Time, turns ...string) {
	t.Helper()
	type advert struct {
		host string
		at   time.Time
	}
	var sent []advert
	for host := range s.Nodes {
		for _, p := range wire(s, r, host).Since(from) {
			if p.Sent && p.Advert != nil && int(p.Advert.VRID) == r.VRID && p.Advert.Priority > 0 {
				sent = append(sent, advert{host, p.At})
			}
		}
	}
	slices.SortFunc(sent, func(a, b advert) int { return a.at.Compare(b.at) })
	var got []string
	var turn time.Time
	for _, p := range sent {
		n := len(got)
		if n > 0 && got[n-1] == p.host || n > 1 && got[n-2] == p.host && p.at.Sub(turn) < lastWord {
			continue
		}
		got, turn = append(got, p.host), p.at
	}
	if !slices.Equal(got, turns) {
		t.Errorf("%s was advertised by %v one after the other, want %v", r.Name, got, turns)
	}
	spans, err := s.Holders.Spans(site.Address(r.Addresses[0]), from, time.Now())
	must(t, err)
	for i, span := range spans {
		if len(span.Hosts) < 2 {
			continue
		}
		if i == 0 || len(spans[i-1].Hosts) != 1 || len(span.Hosts) > 2 {
			t.Errorf("%v have %s: %v", span.Hosts, r.Addresses[0], spans)
			continue
		}
		old := spans[i-1].Hosts[0]
		announced, late := false, time.Time{}
		for _, p := range sent {
			switch {
			case p.host == old && p.at.After(span.From.Add(readLate)) && p.at.Before(span.To.Add(-readLate)):
				late = p.at
			case p.host != old && p.at.Before(span.From.Add(readLate)) && p.at.After(span.From.Add(-r.Interval)):
				announced = true
			}
		}
		if !announced || !late.IsZero() {
			t.Errorf("%v: the successor had advertised: %v; %s went on advertising: %v", span, announced, old, !late.IsZero())
		}
	}
	if t.Failed() {
		t.Log(fmt.Sprint(spans))
	}
}
