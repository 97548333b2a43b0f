package vip

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// virtual is the virtual MAC of the tests' first router.
var virtual = [6]byte{0, 0, 0x5e, 0, 1, 51}

// virtualRouter returns a router whose addresses go on a macvlan of left.
func virtualRouter(name string, vrid byte, prefixes ...string) Router {
	mac := virtual
	mac[5] = vrid
	return Router{
		Name: name, Interface: "left", Lifetime: time.Minute, Addresses: addresses(prefixes...),
		VirtualMAC: &VirtualMAC{Name: "vrrp." + name, MAC: mac},
	}
}

// there is a macvlan as another program sees it.
type there struct {
	Up    bool
	MAC   string
	Base  int
	Mode  netlink.MacvlanMode
	Alias string
}

func (l *lab) macvlan(name string) there {
	l.t.Helper()
	m, ok := l.link(name).(*netlink.Macvlan)
	if !ok {
		l.t.Fatalf("%s is a %s, want a macvlan", name, l.link(name).Type())
	}
	return seen(m)
}

func seen(m *netlink.Macvlan) there {
	a := m.Attrs()
	return there{Up: a.Flags&net.FlagUp != 0, MAC: a.HardwareAddr.String(), Base: a.ParentIndex, Mode: m.Mode, Alias: a.Alias}
}

// exists reports whether there is an interface of that name.
func (l *lab) exists(name string) bool {
	l.t.Helper()
	_, err := l.kernel.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return false
	}
	l.check(err)
	return true
}

// sysctls reads several settings.
func (l *lab) sysctls(paths ...string) map[string]string {
	l.t.Helper()
	out := make(map[string]string)
	for _, p := range paths {
		out[p] = l.sysctlValue(p)
	}
	return out
}

// frames returns what right has received so far that came from a MAC address.
func (l *lab) frames(mac [6]byte) [][]byte {
	l.t.Helper()
	var out [][]byte
	b := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(l.ear, b, 0)
		if errors.Is(err, unix.EAGAIN) {
			return out
		}
		if errors.Is(err, unix.ENETDOWN) {
			continue
		}
		l.check(err)
		if [6]byte(b[6:12]) == mac {
			out = append(out, append([]byte(nil), b[:n]...))
		}
	}
}

func TestMacvlan_HoldAndRelease(t *testing.T) {
	l := newLab(t)
	l.sysctl("ipv4/conf/left/arp_announce", "1")
	before := l.sysctls("ipv4/conf/left/arp_ignore", "ipv4/conf/left/arp_announce")
	r := virtualRouter("web", 51, "10.0.0.100/24", "2001:db8::100/64")
	r.Announce.Count = 3
	h := l.start(r)[0]
	want := there{MAC: "00:00:5e:00:01:33", Base: l.link("left").Attrs().Index, Mode: netlink.MACVLAN_MODE_BRIDGE, Alias: "baton: parent arp_ignore 0 arp_announce 1"}
	if diff := cmp.Diff(want, l.macvlan("vrrp.web")); diff != "" {
		t.Errorf("before it is needed (-want +got):\n%s", diff)
	}
	wantSet := map[string]string{
		"ipv4/conf/left/arp_ignore": "1", "ipv4/conf/left/arp_announce": "2",
		"ipv4/conf/vrrp.web/arp_ignore": "1", "ipv4/conf/vrrp.web/arp_announce": "2", "ipv4/conf/vrrp.web/rp_filter": "0",
		"ipv6/conf/vrrp.web/accept_ra": "0", "ipv6/conf/vrrp.web/autoconf": "0", "ipv6/conf/vrrp.web/accept_dad": "0",
		"ipv6/conf/vrrp.web/addr_gen_mode": "3",
	}
	var paths []string
	for p := range wantSet {
		paths = append(paths, p)
	}
	if diff := cmp.Diff(wantSet, l.sysctls(paths...)); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if got, err := strconv.Atoi(l.sysctlValue("ipv6/conf/vrrp.web/mldv2_unsolicited_report_interval")); err != nil || got > 50 {
		t.Errorf("multicast reports come for %d ms (%v), a successor could have announced by then", got, err)
	}
	if got := l.frames(virtual); len(got) > 0 {
		t.Errorf("%d frames from the virtual MAC before it is held: %x", len(got), got)
	}
	h.Hold(1)
	l.expect(On)
	want.Up = true
	if diff := cmp.Diff(want, l.macvlan("vrrp.web")); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	if got := l.on("vrrp.web"); len(got) != 2 || len(l.on("left")) != 0 {
		t.Errorf("on the macvlan: %v; on left: %v", got, l.on("left"))
	}
	times := make(map[string]int)
	for {
		a, ok := l.hear(300 * time.Millisecond)
		if !ok {
			break
		}
		if !l.has2(a.addr) {
			continue // the link-local address's solicitation, and such
		}
		times[a.addr.String()]++
		if [6]byte(a.raw[6:12]) != virtual {
			t.Errorf("%s is announced from %x", a.addr, a.raw[6:12])
		}
		if a.addr.Is4() && [6]byte(a.raw[22:28]) != virtual {
			t.Errorf("%s is announced at %x", a.addr, a.raw[22:28])
		}
	}
	if diff := cmp.Diff(map[string]int{"10.0.0.100": 3, "2001:db8::100": 3}, times); diff != "" {
		t.Errorf("announced (-want +got):\n%s", diff)
	}
	h.Release()
	l.expect(Off)
	want.Up = false
	if diff := cmp.Diff(want, l.macvlan("vrrp.web")); diff != "" {
		t.Errorf("released (-want +got):\n%s", diff)
	}
	if got := l.on("vrrp.web"); len(got) != 0 {
		t.Errorf("still on: %v", got)
	}
	if got := l.frames(virtual); len(got) > 0 {
		t.Errorf("%d frames from the virtual MAC by the release: %x", len(got), got)
	}
	l.end()
	if l.exists("vrrp.web") {
		t.Error("the macvlan is there after the end")
	}
	if diff := cmp.Diff(before, l.sysctls("ipv4/conf/left/arp_ignore", "ipv4/conf/left/arp_announce")); diff != "" {
		t.Errorf("settings below it after the end (-want +got):\n%s", diff)
	}
	if len(l.events) > 0 {
		t.Errorf("event %+v", l.event())
	}
}

// has2 reports whether the address is one of the tests' on the macvlan.
func (l *lab) has2(a netip.Addr) bool {
	return a == netip.MustParseAddr("10.0.0.100") || a == netip.MustParseAddr("2001:db8::100")
}

func TestMacvlan_StaysWhileHeld(t *testing.T) {
	l := newLab(t)
	h := l.start(virtualRouter("web", 51, "10.0.0.100/24"), virtualRouter("two", 52, "10.0.0.101/24"))
	h[0].Hold(1)
	l.expect(On)
	l.end()
	if !l.macvlan("vrrp.web").Up || len(l.on("vrrp.web")) != 1 {
		t.Error("the end of Run took what is held")
	}
	if l.exists("vrrp.two") {
		t.Error("the macvlan that holds nothing is there after the end")
	}
	if got := l.sysctlValue("ipv4/conf/left/arp_ignore"); got != "1" {
		t.Errorf("arp_ignore below it is %s, want 1", got)
	}
	// The next run adopts it, without a moment of absence, and knows what was before.
	index := l.link("vrrp.web").Attrs().Index
	links := make(chan netlink.LinkUpdate, 100)
	done := make(chan struct{})
	defer close(done)
	l.within(func() { l.check(netlink.LinkSubscribe(links, done)) })
	w := l.newWorker()
	again := w.Add(virtualRouter("web", 51, "10.0.0.100/24"))
	again.Hold(2)
	l.run()
	l.expect(On)
	if got := l.link("vrrp.web").Attrs().Index; got != index {
		t.Error("it was made anew")
	}
	again.Release()
	l.expect(Off)
	l.end()
	if l.exists("vrrp.web") {
		t.Error("the macvlan is there after the end")
	}
	if got := l.sysctlValue("ipv4/conf/left/arp_ignore"); got != "0" {
		t.Errorf("arp_ignore below it is %s, want 0 as before the first run", got)
	}
}

func TestMacvlan_Leftovers(t *testing.T) {
	for _, c := range []struct {
		name string
		make netlink.Macvlan
		on   string
	}{
		{"other MAC", netlink.Macvlan{Mode: netlink.MACVLAN_MODE_BRIDGE}, "left"},
		{"other mode", netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{HardwareAddr: virtual[:]}, Mode: netlink.MACVLAN_MODE_PRIVATE}, "left"},
		{"passthru", netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{HardwareAddr: virtual[:]}, Mode: netlink.MACVLAN_MODE_PASSTHRU}, "left"},
		{"other interface", netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{HardwareAddr: virtual[:]}, Mode: netlink.MACVLAN_MODE_BRIDGE}, "right"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			c.make.Name, c.make.ParentIndex = "vrrp.web", l.link(c.on).Attrs().Index
			l.check(l.kernel.LinkAdd(&c.make))
			l.check(l.kernel.LinkSetUp(&c.make))
			a, err := netlink.ParseAddr("10.0.0.100/24")
			l.check(err)
			l.check(l.kernel.AddrAdd(l.link("vrrp.web"), a))
			h := l.start(virtualRouter("web", 51, "10.0.0.100/24"))[0]
			want := there{MAC: "00:00:5e:00:01:33", Base: l.link("left").Attrs().Index, Mode: netlink.MACVLAN_MODE_BRIDGE, Alias: "baton: parent arp_ignore 0 arp_announce 0"}
			l.until("it is as it should be", func() bool {
				k, err := l.kernel.LinkByName("vrrp.web")
				m, ok := k.(*netlink.Macvlan)
				return err == nil && ok && seen(m) == want
			})
			if len(l.on("vrrp.web")) != 0 {
				t.Errorf("still on: %v", l.on("vrrp.web"))
			}
			h.Hold(1)
			l.expect(On)
		})
	}
}

func TestMacvlan_RemovesOrphans(t *testing.T) {
	l := newLab(t)
	m := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "vrrp.old", ParentIndex: l.link("left").Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}
	l.check(l.kernel.LinkAdd(m))
	l.check(l.kernel.LinkSetAlias(m, "baton: parent arp_ignore 0 arp_announce 1"))
	l.sysctl("ipv4/conf/left/arp_ignore", "1") // as the earlier run left it
	l.sysctl("ipv4/conf/left/arp_announce", "2")
	other := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "other", ParentIndex: l.link("left").Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}
	l.check(l.kernel.LinkAdd(other))
	l.start(virtualRouter("web", 51, "10.0.0.100/24"))
	l.until("the orphan is gone", func() bool { return !l.exists("vrrp.old") })
	if !l.exists("other") {
		t.Error("somebody else's macvlan is gone")
	}
	l.end()
	want := map[string]string{"ipv4/conf/left/arp_ignore": "0", "ipv4/conf/left/arp_announce": "1"}
	if diff := cmp.Diff(want, l.sysctls("ipv4/conf/left/arp_ignore", "ipv4/conf/left/arp_announce")); diff != "" {
		t.Errorf("settings after the end, other than the orphan remembered (-want +got):\n%s", diff)
	}
}

func TestMacvlan_NameTaken(t *testing.T) {
	l := newLab(t)
	l.check(l.kernel.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "vrrp.web"}}))
	w := l.newWorker()
	h := w.Add(virtualRouter("web", 51, "10.0.0.100/24"))
	h.Hold(1)
	l.run()
	if e := l.expect(Failed); !errors.Is(e.Err, errNotOurs) || !strings.Contains(e.Err.Error(), "vrrp.web") {
		t.Errorf("event %+v", e)
	}
	if got := l.on("vrrp.web"); len(got) != 0 || l.link("vrrp.web").Attrs().Flags&net.FlagUp != 0 {
		t.Errorf("somebody else's interface was touched: %v", got)
	}
	l.check(l.kernel.LinkDel(l.link("vrrp.web")))
	for _, k := range []EventKind{Off, Recovered, On} { // Off: none was on at the start
		if k == Off && len(l.events) > 0 {
			l.expect(Off)
			continue
		}
		if k != Off {
			l.expect(k)
		}
	}
	if !l.macvlan("vrrp.web").Up {
		t.Error("it is not up")
	}
}

func TestMacvlan_CannotBeMade(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(l *lab)
		want  []string
	}{
		{"port of a bridge", func(l *lab) {
			bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bridge"}}
			l.check(l.kernel.LinkAdd(bridge))
			l.check(l.kernel.LinkSetMaster(l.link("left"), bridge))
		}, []string{"vrrp.web on left", "bridge"}},
		{"MAC in use", func(l *lab) {
			m := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "rival", ParentIndex: l.link("left").Attrs().Index, HardwareAddr: virtual[:]}, Mode: netlink.MACVLAN_MODE_BRIDGE}
			l.check(l.kernel.LinkAdd(m))
			l.check(l.kernel.LinkSetUp(m))
		}, []string{"vrrp.web on left", "00:00:5e:00:01:33", "another VRRP program"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			c.setup(l)
			w := l.newWorker()
			h := w.Add(virtualRouter("web", 51, "10.0.0.100/24"))
			h.Hold(1)
			l.run()
			e := l.expect(Failed)
			for _, s := range c.want {
				if !strings.Contains(e.Err.Error(), s) {
					t.Errorf("error %q, want one with %q", e.Err, s)
				}
			}
			h.Hold(2)                                         // whoever asks again is told again
			for e = l.event(); e.Kind == Off; e = l.event() { // none was on at the start
			}
			if e.Kind != Failed || e.Seq != 2 {
				t.Errorf("event %+v, want Failed of the second Hold", e)
			}
			h.Release()
			for e = l.event(); e.Kind != Off; e = l.event() {
				if e.Kind == On {
					t.Fatalf("event %+v", e)
				}
			}
		})
	}
}

func TestMacvlan_RepairsWhatOthersDo(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(l *lab, m netlink.Link)
	}{
		{"delete", func(l *lab, m netlink.Link) { l.check(l.kernel.LinkDel(m)) }},
		{"down", func(l *lab, m netlink.Link) { l.check(l.kernel.LinkSetDown(m)) }},
		{"MAC", func(l *lab, m netlink.Link) { l.check(l.kernel.LinkSetHardwareAddr(m, []byte{2, 0, 0, 0, 0, 9})) }},
		{"mode", func(l *lab, m netlink.Link) {
			l.check(l.kernel.LinkModify(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: m.Attrs().Name, Index: m.Attrs().Index}, Mode: netlink.MACVLAN_MODE_PRIVATE}))
		}},
		{"rename", func(l *lab, m netlink.Link) { l.check(l.kernel.LinkSetName(m, "elsewhere")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			h := l.start(virtualRouter("web", 51, "10.0.0.100/24", "2001:db8::100/64"))[0]
			h.Hold(1)
			l.expect(On)
			want := l.macvlan("vrrp.web")
			l.silence()
			c.do(l, l.link("vrrp.web"))
			e := l.event()
			for e.Kind == Repaired && e.Address.IsValid() { // of one that went before its interface did
				e = l.event()
			}
			if e.Kind != Repaired || e.After <= 0 {
				t.Fatalf("event %v %+v, want repaired", e.Kind, e)
			}
			t.Logf("mended %v after it was noticed", e.After)
			if diff := cmp.Diff(want, l.macvlan("vrrp.web")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := l.on("vrrp.web"); len(got) != 2 {
				t.Errorf("on: %v", got)
			}
			if c.name != "mode" {
				for _, f := range []int{4, 6} {
					a, ok := l.hear(patience)
					for ok && !l.has2(a.addr) {
						a, ok = l.hear(patience)
					}
					if !ok || [6]byte(a.raw[6:12]) != virtual {
						t.Errorf("IPv%d: announced: %v, from %x", f, ok, a.raw)
					}
				}
			}
			if l.exists("elsewhere") {
				t.Error("the renamed one is still there")
			}
			h.Release()
			for e := l.event(); e.Kind != Off; e = l.event() {
				if e.Kind != On { // again, as of an interface that was made anew
					t.Errorf("event %v %+v", e.Kind, e)
				}
			}
		})
	}
}

func TestMacvlan_BaseGoneAndBack(t *testing.T) {
	l := newLab(t)
	h := l.start(virtualRouter("web", 51, "10.0.0.100/24", "2001:db8::100/64"))[0]
	h.Hold(1)
	l.expect(On)
	l.check(l.kernel.LinkDel(l.link("left")))
	for off, gone := false, false; !off || !gone; {
		switch e := l.event(); {
		case e.Kind == Off:
			off = true
		case e.Kind == Failed && errors.Is(e.Err, ErrNoInterface):
			gone = true
		case e.Kind != Failed || !errors.Is(e.Err, ErrLinkDown):
			t.Errorf("event %+v, want no interface", e)
		}
	}
	l.veth()
	l.expectUp()
	l.expect(On)
	if len(l.on("vrrp.web")) != 2 || !l.macvlan("vrrp.web").Up {
		t.Errorf("on: %v, want both addresses", l.on("vrrp.web"))
	}
	if _, ok := l.hear(patience); !ok {
		t.Error("nothing is announced on the new interface")
	}
	if len(l.events) > 0 {
		t.Errorf("event %+v", l.event())
	}
}

func TestMacvlan_BaseRenamed(t *testing.T) {
	l := newLab(t)
	h := l.start(virtualRouter("web", 51, "10.0.0.100/24"))[0]
	h.Hold(1)
	l.expect(On)
	left := l.link("left")
	l.check(l.kernel.LinkSetName(left, "elsewhere"))
	l.until("nothing is left behind", func() bool {
		return !l.exists("vrrp.web") && l.sysctlValue("ipv4/conf/elsewhere/arp_ignore") == "0"
	})
	l.check(l.kernel.LinkSetName(left, "left"))
	l.until("it is back", func() bool { return l.exists("vrrp.web") && len(l.on("vrrp.web")) == 1 })
	for e := l.event(); e.Kind != On; e = l.event() {
		if e.Kind == Repaired {
			t.Errorf("event %+v", e)
		}
	}
}

func TestMacvlan_BaseFlaps(t *testing.T) {
	l := newLab(t)
	h := l.start(virtualRouter("web", 51, "10.0.0.100/24", "2001:db8::100/64"))[0]
	h.Hold(1)
	l.expect(On)
	carrier := func() bool { return l.link("vrrp.web").Attrs().RawFlags&unix.IFF_RUNNING != 0 }
	for _, c := range []struct {
		name     string
		down, up func() error
	}{
		{"carrier", func() error { return l.kernel.LinkSetDown(l.link("right")) }, func() error { return l.kernel.LinkSetUp(l.link("right")) }},
		{"down", func() error { return l.kernel.LinkSetDown(l.link("left")) }, func() error { return l.kernel.LinkSetUp(l.link("left")) }},
	} {
		l.until("carrier", carrier)
		l.check(c.down())
		l.until("no carrier", func() bool { return !carrier() })
		l.silence()
		l.check(c.up())
		got := make(map[netip.Addr]bool)
		for len(got) < 2 {
			a, ok := l.hear(patience)
			if !ok {
				t.Fatalf("%s: announced %v, want both addresses", c.name, got)
			}
			if l.has2(a.addr) && [6]byte(a.raw[6:12]) == virtual {
				got[a.addr] = true
			}
		}
	}
	if len(l.on("vrrp.web")) != 2 {
		t.Errorf("on: %v", l.on("vrrp.web"))
	}
	if len(l.events) > 0 {
		t.Errorf("event %+v: nothing was off", l.event())
	}
}

func TestMacvlan_ManyOnOneInterface(t *testing.T) {
	l := newLab(t)
	six := virtualRouter("six", 51, "2001:db8::100/64", "fe80::100/64")
	six.VirtualMAC.MAC[4] = 2
	h := l.start(virtualRouter("web", 51, "10.0.0.100/24"), virtualRouter("two", 52, "10.0.0.101/24"), six)
	for _, h := range h {
		h.Hold(1)
		l.expect(On)
	}
	for name, n := range map[string]int{"vrrp.web": 1, "vrrp.two": 1, "vrrp.six": 2} {
		if got := l.on(name); len(got) != n {
			t.Errorf("on %s: %v, want %d", name, got, n)
		}
	}
	if got := l.sysctlValue("ipv6/conf/vrrp.six/addr_gen_mode"); got != "1" {
		t.Errorf("addr_gen_mode is %s where there is a link-local virtual address, want 1 (none)", got)
	}
	h[1].Release()
	l.expect(Off)
	if !l.macvlan("vrrp.web").Up || l.macvlan("vrrp.two").Up {
		t.Error("the release of one did not take down that one alone")
	}
}

// TestMacvlan_SettingsAreFiles has the worker's sockets in another namespace than
// that of the threads it runs on.
func TestMacvlan_SettingsAreFiles(t *testing.T) {
	l := newLab(t)
	w := l.newWorker()
	defer w.Close()
	w.write(request{name: "absent", settings: &settings{files: []fileSetting{{"accept_ra", "0"}}}})
	if len(w.table.told) > 0 {
		t.Error("a setting of an interface that is not there was told")
	}
	q := request{name: "left", settings: &settings{files: []fileSetting{{"accept_ra", "not a number"}}, otherwise: "what follows"}}
	w.write(q)
	w.write(q)
	if !w.table.told["left"] {
		t.Error("a setting that could not be made was not told")
	}
	if got := l.sysctlValue("ipv6/conf/left/accept_ra"); got != "1" {
		t.Errorf("accept_ra of left is %s", got)
	}
	w.write(request{name: "left", settings: &settings{files: []fileSetting{{"accept_ra", "0"}}}})
	if got := l.sysctlValue("ipv6/conf/left/accept_ra"); got != "0" {
		t.Errorf("accept_ra of left is %s in the worker's namespace, want 0", got)
	}
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/left"); err == nil {
		t.Error("this test has to run elsewhere")
	}
}

func TestAnnounce_AlsoOnOtherInterfaces(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{
		Name: "web", Interface: "far", Addresses: addresses("10.0.0.100/24", "2001:db8::100/64"),
		Announce: Announce{AlsoOn: []string{"absent", "down", "left", "lo"}},
	})[0]
	l.check(l.kernel.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "down"}, PeerName: "further"}))
	l.check(l.kernel.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "far"}, PeerName: "farther"}))
	l.check(l.kernel.LinkSetUp(l.link("lo")))
	l.check(l.kernel.LinkSetUp(l.link("farther")))
	l.check(l.kernel.LinkSetUp(l.link("far")))
	h.Hold(1)
	for e := l.event(); e.Kind != On; e = l.event() {
		if e.Address.IsValid() {
			t.Errorf("event %+v", e)
		}
	}
	for range 2 {
		a, ok := l.hear(patience)
		for ok && !l.has2(a.addr) {
			a, ok = l.hear(patience)
		}
		if !ok {
			t.Fatal("not announced on the further interface")
		}
		if diff := cmp.Diff([]byte(l.link("far").Attrs().HardwareAddr), a.raw[6:12]); diff != "" {
			t.Errorf("%s comes from another address there:\n%s", a.addr, diff)
		}
	}
}

func TestAnnounce_AlsoOnItsOwnInterfaceIsOnce(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24"), Announce: Announce{AlsoOn: []string{"left"}}})[0]
	h.Hold(1)
	l.expect(On)
	if _, ok := l.hear(patience); !ok {
		t.Error("not announced")
	}
	if a, ok := l.hear(0); ok {
		t.Errorf("announced twice: %x", a.raw)
	}
}

// The address is on another interface than its router.
func TestAnnounce_AlsoOnTheRoutersInterface(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{
		Name: "web", Interface: "left", Addresses: []Address{option("10.0.0.100/24", func(a *Address) { a.Interface = "far" })},
		Announce: Announce{AlsoOn: []string{"left"}},
	})[0]
	l.check(l.kernel.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "far"}, PeerName: "farther"}))
	l.check(l.kernel.LinkSetUp(l.link("farther")))
	l.check(l.kernel.LinkSetUp(l.link("far")))
	h.Hold(1)
	for e := l.event(); e.Kind != On; e = l.event() {
	}
	if a, ok := l.hear(patience); !ok || a.addr != netip.MustParseAddr("10.0.0.100") {
		t.Errorf("heard %+v, %v on the router's interface", a, ok)
	}
}
