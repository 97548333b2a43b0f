package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/test/frame"
	"baton/test/site"
)

// TestKeepalivedPeer: a pair of one baton and one keepalived, each of them as the preferred node.
func TestKeepalivedPeer(t *testing.T) {
	t.Parallel()
	for _, count := range []int{1, 200} {
		for name, ipv6 := range families {
			for _, kinds := range [][2]site.Kind{{site.Baton, site.Keepalived}, {site.Keepalived, site.Baton}} {
				t.Run(fmt.Sprintf("%v preferred to %v, %s, %d addresses", kinds[0], kinds[1], name, count), func(t *testing.T) {
					t.Parallel()
					withKeepalived(t, kinds[0], kinds[1], site.Addresses(count, ipv6))
				})
			}
		}
	}
}

func withKeepalived(t *testing.T, kindA, kindB site.Kind, vips []string) {
	s := newSite(t)
	c := site.Pair(interval, vips...)
	last := vips[len(vips)-1]
	a, b := startPair(t, s, kindA, kindB, c)

	// Each of them takes the other's place when it is silent, and gives it back.
	cut := time.Now()
	must(t, a.Port.Cut())
	for _, r := range c.Routers { // each of them, or the last would become master after the cut
		_, err := b.AwaitRole(r.Name, "MASTER", cut, patience)
		must(t, err)
	}
	mend := time.Now()
	must(t, a.Port.Mend())
	settled(t, s, "a", c)
	for _, r := range c.Routers {
		_, err := b.AwaitRole(r.Name, "BACKUP", mend, patience)
		must(t, err)
	}
	_, err := s.Wire("client").Wait(mend, patience, func(p frame.Packet) bool {
		return p.Announces() == site.Address(last) && p.From.String() == a.Port.MAC.String()
	})
	must(t, err)

	// A planned move: baton's own loses nothing.
	end := asking(t, s, last, 0)
	stop := time.Now()
	must(t, a.Stop())
	settled(t, s, "b", c)
	if n := lost(t, end); n > announcedEarly(kindB, last) && kindA == site.Baton {
		t.Errorf("%d lost when a, a baton, was stopped", n)
	}
	for _, r := range c.Routers {
		_, err := s.AwaitAdvert("a", stop, time.Second, func(a *frame.Advert) bool { return a.Priority == 0 && int(a.VRID) == r.VRID })
		if err != nil {
			t.Errorf("%s: no priority 0: %v", r.Name, err)
		}
	}
	// b goes on announcing for a while, and may not be disturbed by it.
	end = asking(t, s, last, 0)
	must(t, a.Start())
	settled(t, s, "a", c)
	if n := lost(t, end); n > announcedEarly(kindA, last) && kindB == site.Baton {
		t.Errorf("%d lost when b, a baton, gave the role back", n)
	}
	for _, n := range []*site.Node{a, b} {
		if n.Kind == site.Baton {
			if role, want := n.Role("web"), map[string]string{"a": "MASTER", "b": "BACKUP"}[n.Name]; role != want {
				t.Errorf("%s is %s", n.Name, role)
			}
		}
	}
}

// announcedEarly returns how many questions may be lost for a reason that is the successor's own: the kernel puts an
// IPv6 address into use some time after it has accepted it, and keepalived announces it at once.
func announcedEarly(successor site.Kind, prefix string) int {
	if successor == site.Keepalived && site.Address(prefix).Is6() {
		return 20
	}
	return 0
}

// A peer that holds our addresses and speaks version 2 cannot be elected with:
// a baton that is starting waits until it has gone.
func TestPeerOfVersion2AtStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(time.Second, site.Addresses(1, false)...)
	vip := c.Routers[0].Addresses[0]
	a, b := add(t, s, "a", site.Keepalived, c), add(t, s, "b", site.Baton, c)
	conf := filepath.Join(a.Dir, "keepalived.conf")
	text, err := os.ReadFile(conf)
	must(t, err)
	version2 := strings.ReplaceAll(string(text), "version 3", "version 2")
	if version2 == string(text) {
		t.Fatal("the peer's file does not name its version")
	}
	must(t, os.WriteFile(conf, []byte(version2), 0o644))
	must(t, a.Start())
	must(t, s.Holders.Await("a", patience, site.Address(vip)))
	from := time.Now()
	must(t, b.Start())
	change, err := b.AwaitRole("web", "INIT", from, patience)
	must(t, err)
	if !strings.Contains(change.Reason, "version 2") {
		t.Errorf("the reason %q does not say what is wrong", change.Reason)
	}
	time.Sleep(5 * time.Second) // longer than baton would wait for silence
	unmoved(t, s, vip, "a", from)
	must(t, a.Stop())
	_, err = b.AwaitRole("web", "MASTER", change.At, patience)
	must(t, err)
	must(t, s.Holders.Await("b", patience, site.Address(vip)))
}
