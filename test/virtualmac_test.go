package test

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/lab"
	"baton/test/frame"
	"baton/test/site"
)

// virtualMAC is the address of VRID 51: RFC 9568, section 7.3.
func virtualMAC(ipv6 bool) net.HardwareAddr {
	mac := net.HardwareAddr{0, 0, 0x5e, 0, 1, 51}
	if ipv6 {
		mac[4] = 2
	}
	return mac
}

func virtualPair(ipv6 bool) site.Config {
	c := site.Pair(interval, site.Addresses(2, ipv6)...)
	c.Routers[0].VirtualMAC = true
	return c
}

// inFamilies runs a test with IPv4 and with IPv6.
func inFamilies(t *testing.T, f func(t *testing.T, ipv6 bool)) {
	for name, ipv6 := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, ipv6)
		})
	}
}

// macvlan is what a test wants to know of an interface with a virtual MAC address.
type macvlan struct {
	name string
	up   bool
}

// macvlans returns the interfaces of a host that have a virtual MAC address.
func macvlans(t *testing.T, h *lab.Host, mac net.HardwareAddr) []macvlan {
	t.Helper()
	links, err := h.Netlink().LinkList()
	must(t, err)
	var list []macvlan
	for _, l := range links {
		if a := l.Attrs(); a.HardwareAddr.String() == mac.String() {
			list = append(list, macvlan{a.Name, a.Flags&net.FlagUp != 0})
		}
	}
	return list
}

// awaitMacvlan waits until the host has exactly one interface with the MAC address, up or down.
func awaitMacvlan(t *testing.T, h *lab.Host, mac net.HardwareAddr, up bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		list := macvlans(t, h, mac)
		if len(list) == 1 && list[0].up == up {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has %v with %v, want one that is up: %v", h.Name, list, mac, up)
		}
	}
}

// The client sees the addresses at the virtual MAC alone, and the advertisements come from it, with the sender's own
// IP address.
func TestVirtualMAC_OnTheWire(t *testing.T) {
	t.Parallel()
	inFamilies(t, func(t *testing.T, ipv6 bool) {
		s := newSite(t)
		c := virtualPair(ipv6)
		a, b := startPair(t, s, site.Baton, site.Baton, c)
		mac := virtualMAC(ipv6)
		for _, vip := range c.Routers[0].Addresses {
			answers(t, s, vip)
		}
		awaitMacvlan(t, a.Host, mac, true)
		awaitMacvlan(t, b.Host, mac, false)
		must(t, a.Stop())
		settled(t, s, "b", c)
		for _, vip := range c.Routers[0].Addresses {
			answers(t, s, vip)
		}
		awaitMacvlan(t, b.Host, mac, true)
		checkVirtualMAC(t, s, mac, addresses(c.Routers[0].Addresses))
	})
}

// checkVirtualMAC looks at all that the client has received.
func checkVirtualMAC(t *testing.T, s *site.Site, mac net.HardwareAddr, vips []netip.Addr) {
	t.Helper()
	adverts, replies := 0, 0
	for _, p := range s.Wire("client").Packets() {
		if p.Sent {
			continue
		}
		for _, vip := range vips {
			switch {
			case p.ARP != nil && p.ARP.SenderIP == vip:
				replies++
				if p.From.String() != mac.String() || p.ARP.SenderMAC.String() != mac.String() {
					t.Errorf("not from %v: %v of %v", mac, p, p.From)
				}
			case p.Neighbour != nil && p.Neighbour.Type == 136 && p.Neighbour.Target == vip:
				replies++
				if p.From.String() != mac.String() || p.Neighbour.LinkAddress.String() != mac.String() {
					t.Errorf("not from %v: %v of %v", mac, p, p.From)
				}
			}
		}
		if p.Advert != nil {
			adverts++
			if p.From.String() != mac.String() || p.TTL != 255 || p.Source == vips[0] {
				t.Errorf("not as it should be: %v of %v", p, p.From)
			}
		}
	}
	if adverts == 0 || replies == 0 {
		t.Errorf("%d advertisements and %d announcements or replies: the test looks in the wrong place", adverts, replies)
	}
}

// With advertise_from: interface the addresses alone have the virtual MAC.
func TestVirtualMAC_AdvertiseFromInterface(t *testing.T) {
	t.Parallel()
	inFamilies(t, func(t *testing.T, ipv6 bool) {
		s := newSite(t)
		c := virtualPair(ipv6)
		c.Routers[0].VirtualMAC = false
		c.Routers[0].More = "virtual_mac: {name: vip0, advertise_from: interface}"
		a, _ := startPair(t, s, site.Baton, site.Baton, c)
		vip := c.Routers[0].Addresses[0]
		answers(t, s, vip)
		advert, err := s.AwaitAdvert("a", time.Now(), patience, nil)
		must(t, err)
		if advert.From.String() != a.Port.MAC.String() {
			t.Errorf("advertisements come from %v, want %v", advert.From, a.Port.MAC)
		}
		_, err = s.Wire("client").Wait(time.Time{}, patience, func(p frame.Packet) bool {
			return p.Announces() == site.Address(vip) && p.From.String() == virtualMAC(ipv6).String()
		})
		must(t, err)
		if got := macvlans(t, a.Host, virtualMAC(ipv6)); len(got) != 1 || got[0].name != "vip0" {
			t.Errorf("a has %v, want vip0", got)
		}
	})
}

// A planned move loses nothing, in either direction: the switch must learn the new port at the right time.
//
// Of IPv6 some questions may be lost, before the addresses are in use on an interface that comes up: none in most moves, 9 to
// 13 in 3 of 45 on a busy machine.
func TestVirtualMAC_PlannedMove(t *testing.T) {
	t.Parallel()
	inFamilies(t, func(t *testing.T, ipv6 bool) {
		s := newSite(t)
		c := virtualPair(ipv6)
		a, _ := startPair(t, s, site.Baton, site.Baton, c)
		from := time.Now().Add(-2 * interval)
		for _, move := range []struct {
			what, master string
			do           func() error
		}{{"a is stopped", "b", a.Stop}, {"a is back", "a", a.Start}} {
			end := asking(t, s, c.Routers[0].Addresses[1], 0)
			must(t, move.do())
			settled(t, s, move.master, c)
			n := lost(t, end)
			t.Logf("%s: lost %d", move.what, n)
			if n > spokenEarly(ipv6) {
				t.Errorf("%s: %d lost", move.what, n)
			}
		}
		oneMaster(t, s, c.Routers[0], from, "a", "b", "a")
	})
}

// spokenEarly returns how many questions may be lost for that.
func spokenEarly(ipv6 bool) int {
	if ipv6 {
		return 20
	}
	return 0
}

// A cut that is mended leaves the switch with two ports for one MAC address, and the client with an answer all the same.
func TestVirtualMAC_SilentCut(t *testing.T) {
	t.Parallel()
	inFamilies(t, func(t *testing.T, ipv6 bool) {
		s := newSite(t)
		c := virtualPair(ipv6)
		a, b := startPair(t, s, site.Baton, site.Baton, c)
		vip := c.Routers[0].Addresses[0]
		cut := time.Now()
		must(t, a.Port.Cut())
		_, err := b.AwaitRole("web", "MASTER", cut, patience)
		must(t, err)
		answers(t, s, vip)
		must(t, a.Port.Mend())
		settled(t, s, "a", c)
		answers(t, s, vip)
		awaitMacvlan(t, b.Host, virtualMAC(ipv6), false)
	})
}

// What a killed daemon has left is mended by the next one, which starts as a backup here.
func TestVirtualMAC_Leftover(t *testing.T) {
	t.Parallel()
	inFamilies(t, func(t *testing.T, ipv6 bool) {
		s := newSite(t)
		c := virtualPair(ipv6)
		c.Routers[0].NoPreempt = true
		a, b := startPair(t, s, site.Baton, site.Baton, c)
		mac := virtualMAC(ipv6)
		awaitMacvlan(t, a.Host, mac, true)
		crash := time.Now()
		must(t, a.Crash())
		_, err := b.AwaitRole("web", "MASTER", crash, patience)
		must(t, err)
		awaitMacvlan(t, a.Host, mac, true) // nobody has taken it away
		must(t, a.Start())
		settled(t, s, "b", c)
		awaitMacvlan(t, a.Host, mac, false)
		for _, vip := range c.Routers[0].Addresses {
			answers(t, s, vip)
		}
		must(t, b.Stop())
		settled(t, s, "a", c)
		answers(t, s, c.Routers[0].Addresses[0])
	})
}

// When the daemon has ended in order, the host is as it was before.
func TestVirtualMAC_NothingIsLeft(t *testing.T) {
	t.Parallel()
	inFamilies(t, func(t *testing.T, ipv6 bool) {
		s := newSite(t)
		c := virtualPair(ipv6)
		h := s.Ports["a"].Host
		before := settings(t, h)
		a := add(t, s, "a", site.Baton, c)
		must(t, a.Start())
		settled(t, s, "a", c)
		must(t, a.Stop())
		if diff := cmp.Diff(before, settings(t, h)); diff != "" {
			t.Errorf("settings of the kernel before and after:\n%s", diff)
		}
		if got := macvlans(t, h, virtualMAC(ipv6)); len(got) != 0 {
			t.Errorf("left: %v", got)
		}
	})
}

// settings returns the kernel's settings for a host's interfaces.
func settings(t *testing.T, h *lab.Host) map[string]string {
	t.Helper()
	all := make(map[string]string)
	must(t, h.Do(func() error {
		for _, dir := range []string{"/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"} {
			err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				// Some can only be written, others change by themselves or have no value yet.
				if text, err := os.ReadFile(path); err == nil && filepath.Base(path) != "stable_secret" {
					all[path] = string(text)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("read the settings: %w", err)
			}
		}
		return nil
	}))
	if len(all) < 50 {
		t.Fatalf("%d settings: the test looks in the wrong place", len(all))
	}
	return all
}
