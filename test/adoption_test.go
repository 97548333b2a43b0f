package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/internal/lab"
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

// upgrade has a node's daemon replaced by its own binary.
func upgrade(t *testing.T, n *site.Node, more ...string) string {
	t.Helper()
	out, err := n.Host.Run(patience, append([]string{batonBinary, "upgrade", "--runtime-dir", filepath.Join(n.Dir, "run")}, more...)...)
	must(t, err)
	return out
}

// safeBinary is a copy of the binary where nobody but root can change it, as a package's is.
func safeBinary(t *testing.T, h *lab.Host) string {
	t.Helper()
	text, err := os.ReadFile(batonBinary)
	must(t, err)
	must(t, os.WriteFile(h.Path("/run/baton-binary"), text, 0o755))
	return "/run/baton-binary"
}

// An upgrade is as little noticed: the same process, no role changed, no packet lost; and at 1 s no advertisement is missed.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	for name, every := range map[string]time.Duration{"1s": time.Second, "100ms": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(2, false)
			c := site.Pair(every, vips...)
			c.Routers[0].Notify = "{any: /run/hook}"
			a, err := s.Add("a", site.Baton, safeBinary(t, s.Ports["a"].Host), c)
			must(t, err)
			b := add(t, s, "b", site.Baton, c)
			must(t, os.WriteFile(a.Host.Path("/run/hook"), []byte("#!/bin/sh\nsleep 1\necho $3 >>/run/told\n"), 0o755))
			must(t, a.Start())
			settled(t, s, "a", c)
			must(t, b.Start())
			_, err = b.AwaitRole("web", "BACKUP", time.Time{}, patience)
			must(t, err)
			changes := len(b.Changes())
			end := asking(t, s, vips[0], 0)
			from := time.Now()
			descriptors := 0
			for i := range 3 {
				t.Log(strings.TrimSpace(upgrade(t, a)))
				all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.Process.PID))
				must(t, err)
				if i > 0 && len(all) > descriptors+2 {
					t.Errorf("%d descriptors after another upgrade, before it %d", len(all), descriptors)
				}
				descriptors = len(all)
			}
			_, err = s.AwaitAdvert("a", time.Now(), patience, nil)
			must(t, err)
			if n := lost(t, end); n != 0 {
				t.Errorf("%d lost", n)
			}
			if got := b.Changes(); len(got) != changes {
				t.Errorf("b changed its role: %v", got[changes:])
			}
			unmoved(t, s, vips[0], "a", from)
			heldThroughout(t, s, vips[0], from)
			if gap := longestGap(s, "a", from); every == time.Second && gap > every+50*time.Millisecond {
				t.Errorf("%v between two advertisements", gap)
			} else {
				t.Logf("at most %v between two advertisements", gap)
			}
			told, err := os.ReadFile(a.Host.Path("/run/told"))
			must(t, err)
			if got := string(told); strings.Count(got, "MASTER") != 1 {
				t.Errorf("hooks were told %q, want MASTER once", got)
			}
			children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", a.Process.PID, a.Process.PID))
			if err == nil && len(strings.Fields(string(children))) > 1 { // the watcher of the state files
				t.Errorf("children %s are left", children)
			}
			must(t, a.Stop()) // and the last one leaves in order
			must(t, s.Holders.Await("b", patience, addresses(vips)...))
		})
	}
}

// longestGap is the longest time between two advertisements of a node.
func longestGap(s *site.Site, node string, from time.Time) (longest time.Duration) {
	last := from
	for _, p := range s.Wire(node).Since(from) {
		if p.Sent && p.Advert != nil {
			longest, last = max(longest, p.At.Sub(last)), p.At
		}
	}
	return longest
}
