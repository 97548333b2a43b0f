package vip

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestWorker_HoldInstallsAndReleaseRemoves(t *testing.T) {
	l := newLab(t)
	l.add("10.0.0.11/24")
	l.add("2001:db8::11/64")
	l.until("the host's own address is no longer tentative", func() bool {
		return l.on("left")[netip.MustParseAddr("2001:db8::11")].Flags&unix.IFA_F_TENTATIVE == 0
	})
	before := l.on("left")
	h := l.start(Router{
		Name: "web", Interface: "left", Lifetime: time.Minute,
		Addresses: addresses("10.0.0.100/24", "10.9.9.9/32", "2001:db8::100/64", "2001:db8:9::1/128", "fe80::100/64"),
	})[0]
	h.Hold(7)
	if e := l.expect(On); e.Router != "web" || e.Seq != 7 {
		t.Errorf("event %+v, want router web and seq 7", e)
	}
	const six = unix.IFA_F_NODAD
	want := map[string]dumpedAddr{
		"10.0.0.100":    {Prefix: "10.0.0.100/24", Valid: 60, Preferred: 60, Proto: Protocol, Flags: unix.IFA_F_SECONDARY},
		"10.9.9.9":      {Prefix: "10.9.9.9/32", Valid: 60, Preferred: 60, Proto: Protocol},
		"2001:db8::100": {Prefix: "2001:db8::100/64", Valid: 60, Proto: Protocol, Flags: six | unix.IFA_F_NOPREFIXROUTE},
		"2001:db8:9::1": {Prefix: "2001:db8:9::1/128", Valid: 60, Proto: Protocol, Flags: six},
		"fe80::100":     {Prefix: "fe80::100/64", Valid: 60, Proto: Protocol, Flags: six | unix.IFA_F_NOPREFIXROUTE, Scope: 253},
	}
	got := make(map[string]dumpedAddr)
	for a, d := range l.on("left") {
		if _, ok := before[a]; !ok {
			got[a.String()] = d
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	h.Release(netip.MustParseAddr("10.9.9.9"), netip.MustParseAddr("2001:db8::100"))
	l.until("two released", func() bool { return len(l.on("left")) == len(before)+3 })
	if l.has("10.9.9.9") || l.has("2001:db8::100") {
		t.Error("others than those asked for were released")
	}
	h.Release()
	l.expect(Off)
	if diff := cmp.Diff(before, l.on("left")); diff != "" {
		t.Errorf("released (-want +got):\n%s", diff)
	}
}

func TestWorker_LifetimeZeroIsForEver(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24", "2001:db8::100/64")})[0]
	h.Hold(1)
	l.expect(On)
	for _, a := range l.on("left") {
		if uint32(a.Valid) != forever {
			t.Errorf("%s is valid for %d s, want for ever", a.Prefix, a.Valid)
		}
	}
	h.Release()
	l.expect(Off)
}

func TestWorker_ManyAddressesOfBothFamilies(t *testing.T) {
	l := newLab(t)
	h := l.start(
		Router{Name: "four", Interface: "left", Lifetime: time.Minute, Addresses: many(255, false)},
		Router{Name: "six", Interface: "left", Lifetime: time.Minute, Addresses: many(255, true)},
	)
	for _, h := range h {
		h.Hold(1)
	}
	l.expect(On)
	l.expect(On)
	if n := len(l.on("left")); n != 510 {
		t.Errorf("%d addresses are on, want 510", n)
	}
	times := make(map[netip.Addr]int)
	for {
		a, ok := l.hear(0)
		if !ok {
			break
		}
		times[a.addr]++
	}
	if len(times) != 510 {
		t.Errorf("%d addresses were announced, want 510", len(times))
	}
	for a, n := range times {
		if n != 1 {
			t.Errorf("%s was announced %d times, want once", a, n)
		}
	}
	for _, h := range h {
		h.Release()
	}
	l.expect(Off)
	l.expect(Off)
	if n := len(l.on("left")); n != 0 {
		t.Errorf("%d addresses are on after the release", n)
	}
}

func TestWorker_RepairsWhatOthersRemove(t *testing.T) {
	for _, vip := range []string{"10.0.0.100/24", "2001:db8::100/64"} {
		t.Run(vip, func(t *testing.T) {
			l := newLab(t)
			h := l.start(Router{Name: "web", Interface: "left", Lifetime: time.Minute, Addresses: addresses(vip)})[0]
			h.Hold(1)
			l.expect(On)
			l.silence()
			l.del(vip)
			e := l.expect(Repaired)
			if e.Address != netip.MustParsePrefix(vip).Addr() || e.After <= 0 {
				t.Errorf("event %+v, want the address and a positive time", e)
			}
			t.Logf("back and announced %v after it was noticed", e.After)
			if !l.has(e.Address.String()) {
				t.Error("it is not back")
			}
			if a, ok := l.hear(0); !ok || a.addr != e.Address {
				t.Error("it was not announced")
			}
		})
	}
}

func TestWorker_LeavesRemovedWithoutRepair(t *testing.T) {
	l := newLab(t)
	r := Router{Name: "web", Interface: "left", Lifetime: time.Minute, Addresses: addresses("10.0.0.100/24", "10.0.0.101/24")}
	r.Addresses[0].Repair = false
	h := l.start(r)[0]
	h.Hold(1)
	l.expect(On)
	l.sysctl("ipv4/conf/left/promote_secondaries", "1")
	l.del("10.0.0.100/24")
	if e := l.expect(Removed); e.Address.String() != "10.0.0.100" {
		t.Errorf("event %+v", e)
	}
	h.Hold(2)
	l.expect(On)
	if !l.has("10.0.0.100") {
		t.Error("the next Hold did not bring it back")
	}
}

func TestWorker_BacksOffWhenContested(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{Name: "web", Interface: "left", Lifetime: time.Minute, Addresses: addresses("10.0.0.100/32")})[0]
	h.Hold(1)
	l.expect(On)
	a, err := netlink.ParseAddr("10.0.0.100/32")
	l.check(err)
	left := l.link("left")
	removed := 0
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); {
		if l.kernel.AddrDel(left, a) == nil {
			removed++
		}
	}
	// Five at once, then after 50, 100, 200, 400, 800 ms.
	if removed < 7 || removed > 12 {
		t.Errorf("removed %d times in 1.5 s, want about 10", removed)
	}
	kinds := make(map[EventKind]int)
	for len(l.events) > 0 {
		kinds[l.event().Kind]++
	}
	if kinds[Contested] != 1 || kinds[Repaired] > fightFree {
		t.Errorf("events %v, want one contested and at most %d repaired", kinds, fightFree)
	}
	l.until("it is back", func() bool { return l.has("10.0.0.100") })
}

func TestWorker_RemovesLeftovers(t *testing.T) {
	l := newLab(t)
	l.add("10.0.0.11/24")
	l.add("10.0.0.100/32") // with another prefix length
	l.add("10.0.0.100/24")
	l.add("2001:db8::100/64")
	l.start(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24", "2001:db8::100/64")})
	if got := l.on("left"); len(got) != 1 || !l.has("10.0.0.11") {
		t.Errorf("on: %v, want the host's own only", got)
	}
}

func TestWorker_AdoptsWhatIsHeldAtStart(t *testing.T) {
	l := newLab(t)
	l.add("10.0.0.100/32")
	changes := make(chan netlink.AddrUpdate, 100)
	done := make(chan struct{})
	defer close(done)
	l.within(func() { l.check(netlink.AddrSubscribe(changes, done)) })
	w := l.newWorker()
	h := w.Add(Router{Name: "web", Interface: "left", Lifetime: time.Minute, Addresses: addresses("10.0.0.100/32")})
	h.Hold(3)
	l.run()
	l.expect(On)
	if got := l.on("left")[netip.MustParseAddr("10.0.0.100")]; got.Valid != 60 || got.Proto != Protocol {
		t.Errorf("on as %+v, want with our lifetime and protocol", got)
	}
	l.end()
	if !l.has("10.0.0.100") {
		t.Error("the end of Run took the address off")
	}
	for len(changes) > 0 {
		if c := <-changes; !c.NewAddr {
			t.Errorf("%v was off in between", c.LinkAddress)
		}
	}
}

func TestWorker_NativeAddressesAreTheHosts(t *testing.T) {
	l := newLab(t)
	l.add("10.0.0.1/24")
	before := l.on("left")
	h := l.start(Router{Name: "gw", Interface: "left", Native: true, Lifetime: time.Minute, Addresses: addresses("10.0.0.1/24", "10.0.0.2/24")})[0]
	if diff := cmp.Diff(before, l.on("left")); diff != "" {
		t.Errorf("at start (-want +got):\n%s", diff)
	}
	h.Hold(1)
	l.expect(On)
	held := l.on("left")
	if diff := cmp.Diff(before[netip.MustParseAddr("10.0.0.1")], held[netip.MustParseAddr("10.0.0.1")]); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	if got := held[netip.MustParseAddr("10.0.0.2")]; got.Proto != Protocol || got.Valid != 60 {
		t.Errorf("the one that was absent is on as %+v", got)
	}
	announced := make(map[string]bool)
	for range 2 {
		if a, ok := l.hear(patience); ok {
			announced[a.addr.String()] = true
		}
	}
	if len(announced) != 2 {
		t.Errorf("announced %v, want both", announced)
	}
	h.Release()
	l.expect(Off)
	if diff := cmp.Diff(before, l.on("left")); diff != "" {
		t.Errorf("released (-want +got):\n%s", diff)
	}
}

// TestWorker_SparesSecondaries has a virtual address that is the primary one of
// its network while promote_secondaries is off: with it the kernel would remove
// all the others.
func TestWorker_SparesSecondaries(t *testing.T) {
	l := newLab(t)
	l.sysctl("ipv4/conf/left/promote_secondaries", "0")
	h := l.start(
		Router{Name: "one", Interface: "left", Addresses: addresses("10.0.0.100/24")},
		Router{Name: "two", Interface: "left", Addresses: addresses("10.0.0.101/24")},
	)
	h[0].Hold(1)
	l.expect(On)
	h[1].Hold(1)
	l.expect(On)
	l.add("10.0.0.11/24") // somebody else's
	if got := l.on("left")[netip.MustParseAddr("10.0.0.11")]; got.Flags&unix.IFA_F_SECONDARY == 0 {
		t.Fatalf("the host's address is %+v: this tests nothing", got)
	}
	l.sysctl("ipv4/conf/left/promote_secondaries", "0") // again, for the worker has seen to it
	l.silence()
	h[0].Release()
	l.expect(Off)
	if !l.has("10.0.0.11") || !l.has("10.0.0.101") || l.has("10.0.0.100") {
		t.Errorf("on: %v, want all but 10.0.0.100", l.on("left"))
	}
	if len(l.events) > 0 {
		t.Errorf("event %+v: the second address was off in between", l.event())
	}
}

// TestWorker_SparesSecondariesOfTheDead has the end of a lifetime, not of a wish,
// remove the primary address.
func TestWorker_SparesSecondariesOfTheDead(t *testing.T) {
	l := newLab(t)
	l.sysctl("ipv4/conf/left/promote_secondaries", "0")
	h := l.start(Router{Name: "web", Interface: "left", Lifetime: 2 * time.Second, Addresses: addresses("10.0.0.100/24")})[0]
	h.Hold(1)
	l.expect(On)
	l.add("10.0.0.11/24")
	l.until("promote_secondaries is set", func() bool { return l.sysctlValue("ipv4/conf/left/promote_secondaries") == "1" })
	l.end()
	l.until("the virtual address dies", func() bool { return !l.has("10.0.0.100") })
	if !l.has("10.0.0.11") {
		t.Error("the host's address died with it")
	}
}

func TestWorker_RenewsUntilItEnds(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{Name: "web", Interface: "left", Lifetime: 2 * time.Second, Addresses: addresses("10.0.0.100/24", "2001:db8::100/64")})[0]
	h.Hold(1)
	l.expect(On)
	l.silence()
	for start := time.Now(); time.Since(start) < 4*time.Second; runtime.Gosched() {
		if got := l.on("left"); len(got) != 2 {
			t.Fatalf("on after %v: %v, want both", time.Since(start), got)
		}
	}
	if a, ok := l.hear(0); ok {
		t.Errorf("%s was announced by its renewal", a.addr)
	}
	if len(l.events) > 0 {
		t.Errorf("event %+v by a renewal", l.event())
	}
	l.end()
	l.until("both die with the worker", func() bool { return len(l.on("left")) == 0 })
}

// TestWorker_PrefixRoutes holds that a virtual address neither leaves a route
// behind nor puts an end to the one that the host has by its own address.
func TestWorker_PrefixRoutes(t *testing.T) {
	l := newLab(t)
	// As by a router advertisement: an address and a route with lifetimes.
	a, err := netlink.ParseAddr("2001:db8:5::11/64")
	l.check(err)
	a.ValidLft, a.PreferedLft = 86400, 86400
	l.check(l.kernel.AddrAdd(l.link("left"), a))
	l.add("2001:db8:7::11/128") // as by DHCPv6: the network's route comes from elsewhere
	before := l.routes6()
	h := l.start(Router{
		Name: "web", Interface: "left", Lifetime: time.Minute,
		Addresses: addresses("2001:db8:5::100/64", "2001:db8:6::100/64", "2001:db8:6::101/64", "2001:db8:7::100/64"),
	})[0]
	h.Hold(1)
	l.expect(On)
	host, own := netip.MustParsePrefix("2001:db8:5::/64"), netip.MustParsePrefix("2001:db8:6::/64")
	held := l.routes6()
	if len(held) != len(before)+1 || held[own] == 0 || held[own] > 60 {
		t.Errorf("routes: %v, want %v and %s for a minute", held, before, own)
	}
	if held[host] < 3600 {
		t.Errorf("the host's route expires in %d s", held[host])
	}
	h.Release()
	l.expect(Off)
	if after := l.routes6(); len(after) != len(before) || after[host] < 3600 {
		t.Errorf("routes after the release: %v, want %v", after, before)
	}
}

func TestWorker_ReplacesOtherPrefixLength(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{Name: "web", Interface: "left", Lifetime: time.Minute, Addresses: addresses("10.0.0.100/24", "2001:db8::100/64")})[0]
	l.add("10.0.0.100/32")
	l.add("2001:db8::100/128")
	h.Hold(1)
	l.expect(On)
	for _, a := range l.on("left") {
		if strings.HasSuffix(a.Prefix, "/32") || strings.HasSuffix(a.Prefix, "/128") || a.Valid != 60 {
			t.Errorf("%+v is on", a)
		}
	}
}

func TestWorker_IPv6Disabled(t *testing.T) {
	l := newLab(t)
	l.sysctl("ipv6/conf/left/disable_ipv6", "1")
	h := l.start(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24", "2001:db8::100/64")})[0]
	h.Hold(1)
	e := l.expect(Failed)
	if !strings.Contains(e.Err.Error(), "net.ipv6.conf.left.disable_ipv6") || e.Address.String() != "2001:db8::100" {
		t.Errorf("event %+v (%v)", e, e.Err)
	}
	if a, ok := l.hear(500 * time.Millisecond); !ok || !a.addr.Is4() {
		t.Error("the IPv4 address does not go on without the other")
	}
	for {
		a, ok := l.hear(300 * time.Millisecond)
		if !ok {
			break
		}
		if a.addr.Is6() {
			t.Errorf("%s is announced although it is not on", a.addr)
		}
	}
	if len(l.events) > 0 {
		t.Errorf("event %+v: told twice", l.event())
	}
	l.sysctl("ipv6/conf/left/disable_ipv6", "0")
	l.expect(Recovered)
	l.expect(On)
}

// TestWorker_LostAnswers has a receive buffer that holds few of a batch's answers.
func TestWorker_LostAnswers(t *testing.T) {
	l := newLab(t)
	w := l.newWorker()
	l.check(unix.SetsockoptInt(w.requests.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)) // the least there is
	h := w.Add(Router{Name: "web", Interface: "left", Addresses: many(8, false)})
	l.run()
	l.expect(Off)
	h.Hold(1)
	failed := 0
	for {
		e := l.event()
		if e.Kind == On {
			break
		}
		if e.Kind == Failed && errors.Is(e.Err, errNoAnswer) {
			failed++
		}
	}
	if failed == 0 {
		t.Error("no answer was lost: this tests nothing")
	}
	if n := len(l.on("left")); n != 8 {
		t.Errorf("%d are on, want 8", n)
	}
}

func TestWorker_LostNotifications(t *testing.T) {
	l := newLab(t)
	w := l.newWorker()
	l.check(unix.SetsockoptInt(w.watch, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)) // the least there is
	h := w.Add(Router{Name: "web", Interface: "left", Addresses: many(64, false)})
	l.run()
	l.expect(Off)
	h.Hold(1)
	l.expect(On)
	left := l.link("left")
	for _, a := range many(64, false) { // all at once: far more than the buffer holds
		k, err := netlink.ParseAddr(a.Prefix.String())
		l.check(err)
		if err := l.kernel.AddrDel(left, k); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			t.Fatal(err)
		}
	}
	l.until("all are back", func() bool { return len(l.on("left")) == 64 })
	h.Release()
	for l.event().Kind != Off {
	}
	if n := len(l.on("left")); n != 0 {
		t.Errorf("%d are on after the release", n)
	}
}

func TestWorker_AddDuringRun(t *testing.T) {
	l := newLab(t)
	l.start(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24")})[0].Hold(1)
	l.expect(On)
	left, err := netlink.ParseAddr("10.0.1.100/24")
	l.check(err)
	l.check(l.kernel.AddrAdd(l.link("right"), left))
	h := l.worker.Add(Router{Name: "late", Interface: "right", Addresses: addresses("10.0.1.100/24")})
	if e := l.expect(Off); e.Router != "late" || len(l.on("right")) != 0 {
		t.Errorf("event %+v; on: %v", e, l.on("right"))
	}
	h.Hold(1)
	if e := l.expect(On); e.Router != "late" {
		t.Errorf("event %+v", e)
	}
}

func TestNew_NamesMissingCapability(t *testing.T) {
	l := newLab(t)
	for _, c := range []struct {
		bit  uint
		want string
	}{{unix.CAP_NET_RAW, "CAP_NET_RAW"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}} {
		t.Run(c.want, func(t *testing.T) {
			l.within(func() {
				header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
				var whole [2]unix.CapUserData
				l.check(unix.Capget(&header, &whole[0]))
				less := whole
				less[0].Effective &^= 1 << c.bit
				l.check(unix.Capset(&header, &less[0]))
				w, err := New(Options{})
				l.check(unix.Capset(&header, &whole[0]))
				if err == nil {
					w.Close()
					t.Fatal("no error")
				}
				if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %q, want one that names %s", err, c.want)
				}
			})
		})
	}
}

func TestWorker_ReportsStuckKernel(t *testing.T) {
	l := newLab(t)
	w := l.newWorker()
	defer w.Close()
	w.stuck.Reset(0) // as when a request has been under way for stuckAfter
	if e := l.expect(Stuck); !errors.Is(e.Err, errNoAnswer) || e.After != stuckAfter {
		t.Errorf("event %+v", e)
	}
}

func TestHandle_HarmlessAfterRun(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24")})[0]
	l.end()
	h.Hold(1)
	h.Release()
	if l.has("10.0.0.100") {
		t.Error("something still works")
	}
}
