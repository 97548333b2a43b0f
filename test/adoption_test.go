package test

import (
	"strings"
	"testing"
	"time"

	"baton/test/site"
)

// A daemon that is killed and started again, within the patience of the others, goes on as if nothing had been: no role
// changes, no packet is lost, no address leaves the host.
func TestAdoption(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		peer   site.Kind
		ipv6   bool
		change func(*site.Config)
	}{
		{name: "baton", peer: site.Baton},
		{name: "keepalived", peer: site.Keepalived},
		{name: "ipv6", peer: site.Baton, ipv6: true},
		{name: "virtual MAC", peer: site.Baton, change: func(c *site.Config) { c.Routers[0].VirtualMAC = true }},
		{name: "group", peer: site.Baton, change: func(c *site.Config) {
			more := c.Routers[0]
			more.Name, more.VRID, more.Addresses = "other", 52, site.Addresses(5, false)[4:]
			c.Routers = append(c.Routers, more)
			c.Groups = []site.Group{{Name: "both", Members: []string{"web", "other"}, Priority: c.Routers[0].Priority}}
			c.Routers[0].Priority, c.Routers[1].Priority = nil, nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(3, tt.ipv6)
			c := site.Pair(time.Second, vips...)
			if tt.change != nil {
				tt.change(&c)
			}
			a, b := startPair(t, s, site.Baton, tt.peer, c)
			_, err := b.AwaitRole("web", "BACKUP", time.Time{}, patience)
			must(t, err)
			changes := len(b.Changes())
			end := asking(t, s, vips[0], 0)
			from := time.Now()
			for range 3 {
				must(t, a.Crash())
				must(t, a.Start())
				change, err := a.AwaitRole("web", "MASTER", time.Time{}, patience)
				must(t, err)
				if !strings.HasPrefix(change.Reason, "adopted") || change.From != "INIT" {
					t.Fatalf("became master from %s: %s", change.From, change.Reason)
				}
				_, err = s.AwaitAdvert("a", time.Now(), patience, nil)
				must(t, err)
			}
			if n := lost(t, end); n != 0 {
				t.Errorf("%d lost", n)
			}
			if got := b.Changes(); len(got) != changes {
				t.Errorf("b changed its role: %v", got[changes:])
			}
			for _, v := range vips {
				unmoved(t, s, v, "a", from)
				heldThroughout(t, s, v, from)
			}
		})
	}
}
