package vrrp_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/vrrp"
)

// The tests of this file hold the sentences of RFC 9568, one section after
// another. docs/protocol.md has the numbers of the items.

// Items 13 to 17 and 21: what cannot be configured.
func TestConfig_6_1_Ranges(t *testing.T) {
	many := func(n int) []netip.Addr {
		var a []netip.Addr
		for i := range n {
			a = append(a, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		}
		return a
	}
	tests := []struct {
		name   string
		change option
		want   string
	}{
		{"items 15 and 51: the ordinary one", func(*vrrp.Config) {}, ""},
		{"item 13: VRID 0", func(c *vrrp.Config) { c.VRID = 0 }, "add router VRID 0 IPv4: VRID 0 is not in 1 to 255"},
		{"item 13: VRID 1", func(c *vrrp.Config) { c.VRID = 1 }, ""},
		{"item 13: VRID 255", func(c *vrrp.Config) { c.VRID = 255 }, ""},
		{"no family", func(c *vrrp.Config) { c.Family = 0 }, "add router VRID 51 no family: no family"},
		{"item 16: priority 0", priority(0), "add router VRID 51 IPv4: priority 0 is not in 1 to 255"},
		{"item 14: priority 255", priority(255), ""},
		{"item 17: no address, for hooks and services only", addresses(), ""},
		{"item 17: 255 addresses", addresses(many(255)...), ""},
		{"item 17: 256 addresses", addresses(many(256)...), "add router VRID 51 IPv4: 256 addresses are not in 0 to 255"},
		{"item 21: interval 0", interval(0), "add router VRID 51 IPv4: interval 0s is not in 10ms to 40.95s in steps of 10ms"},
		{"item 21: 1 cs", interval(10 * ms), ""},
		{"item 21: 4095 cs", interval(40950 * ms), ""},
		{"item 21: 4096 cs", interval(40960 * ms), "add router VRID 51 IPv4: interval 40.96s is not in 10ms to 40.95s in steps of 10ms"},
		{"item 20: not in centiseconds", interval(15 * ms), "add router VRID 51 IPv4: interval 15ms is not in 10ms to 40.95s in steps of 10ms"},
		{"preempt delay below 0", preemptDelay(-1), "add router VRID 51 IPv4: preempt delay -1ns is negative"},
		{"item 25: the other family", addresses(vip, addr("2001:db8::1")), "add router VRID 51 IPv4: address 2001:db8::1 is not plain IPv4"},
		{"item 25: mapped", func(c *vrrp.Config) { ipv6(c); c.Addresses = []netip.Addr{addr("::ffff:192.0.2.1")} }, "add router VRID 51 IPv6: address ::ffff:192.0.2.1 is not plain IPv6"},
		{"item 25: with a zone", func(c *vrrp.Config) { ipv6(c); c.Addresses = []netip.Addr{addr("fe80::1%eth0")} }, "add router VRID 51 IPv6: address fe80::1%eth0 is not plain IPv6"},
		{"item 25: no address at all", func(c *vrrp.Config) { ipv6(c); c.Addresses = []netip.Addr{{}} }, "add router VRID 51 IPv6: address invalid IP is not plain IPv6"},
		{"items 26 and 27: IPv6 without a link-local first is allowed", func(c *vrrp.Config) { ipv6(c); c.Addresses = c.Addresses[1:] }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := vrrp.NewSet().Add(config(tt.change))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestConfig_5_2_3_OneRouterPerVRID(t *testing.T) {
	set := vrrp.NewSet()
	for _, c := range []vrrp.Config{config(), config(ipv6), config(func(c *vrrp.Config) { c.Link = 1 })} {
		if _, err := set.Add(c); err != nil {
			t.Errorf("add %+v: %v", c, err)
		}
	}
	want := "add router VRID 51 IPv4: the VRID is taken on this link"
	if _, err := set.Add(config()); err == nil || err.Error() != want {
		t.Errorf("second router: %v, want %s", err, want)
	}
}

// Items 3, 4, 11, 14, 28: what is sent is what is configured, in its order.
func TestTransmit_7_2_Fields(t *testing.T) {
	if got := vrrp.IPv4.Group(); got != addr("224.0.0.18") {
		t.Errorf("IPv4 group is %s", got)
	}
	if got := vrrp.IPv6.Group(); got != addr("ff02::12") {
		t.Errorf("IPv6 group is %s", got)
	}
	if vrrp.Protocol != 112 {
		t.Errorf("protocol is %d", vrrp.Protocol)
	}
	tests := []struct {
		name     string
		options  []option
		priority uint8
		want     vrrp.Advertisement
	}{
		{"IPv4", []option{addresses(vip2, vip), interval(250 * ms)}, 100,
			vrrp.Advertisement{Version: 3, VRID: 51, Priority: 100, Interval: 250 * ms, Addresses: []netip.Addr{vip2, vip}}},
		{"message only", []option{messageOnly}, 100,
			vrrp.Advertisement{Version: 3, VRID: 51, Priority: 100, Interval: second, Addresses: []netip.Addr{vip}, Checksum: vrrp.MessageOnly}},
		{"owner", []option{priority(255)}, 255,
			vrrp.Advertisement{Version: 3, VRID: 51, Priority: 255, Interval: second, Addresses: []netip.Addr{vip}}},
		{"leaving", nil, 0,
			vrrp.Advertisement{Version: 3, VRID: 51, Priority: 0, Interval: second, Addresses: []netip.Addr{vip}}},
		{"IPv6", []option{ipv6, messageOnly}, 100,
			vrrp.Advertisement{Version: 3, VRID: 51, Priority: 100, Interval: second, Addresses: []netip.Addr{addr("fe80::100"), addr("2001:db8::100")}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, tt.options...)
			dst := n.cfg.Family.Group()
			wire := n.set.AppendAdvertisement(nil, n.id, tt.priority, dst, 0)
			var got vrrp.Advertisement
			if refusal := got.Parse(wire, n.src, dst); refusal != vrrp.Accepted {
				t.Fatal(refusal)
			}
			if d := cmp.Diff(tt.want, got, compareAddrs); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// The configuration is the set's own: a caller that changes its slice later
// changes nothing on the wire.
func TestAdd_CopiesAddresses(t *testing.T) {
	c := config(addresses(vip, vip2))
	set := vrrp.NewSet()
	id, err := set.Add(c)
	if err != nil {
		t.Fatal(err)
	}
	set.Step(0, id, vrrp.Event{Kind: vrrp.Readdressed, Addr: self})
	before := set.AppendAdvertisement(nil, id, 1, vrrp.IPv4.Group(), 0)
	slices.Reverse(c.Addresses)
	if d := cmp.Diff(before, set.AppendAdvertisement(nil, id, 1, vrrp.IPv4.Group(), 0)); d != "" {
		t.Errorf("(-before +after):\n%s", d)
	}
}

// Items 47 to 50: the sums, exact to the nanosecond.
func TestTimers_6_1(t *testing.T) {
	tests := []struct {
		priority uint8
		interval time.Duration
		down     time.Duration // item 49
		skew     time.Duration // item 48
	}{
		{100, second, 3609375 * time.Microsecond, 609375 * time.Microsecond},
		{100, 100 * ms, 360937500, 60937500},
		{100, 10 * ms, 36093750, 6093750}, // item 50: centiseconds would make it 30 or 40 ms
		{254, second, 3007812500, 7812500},
		{254, 10 * ms, 30078125, 78125},
		{1, second, 3996093750, 996093750},
		{1, 10 * ms, 39960937, 9960937},
		{200, 40950 * ms, 131807812500, 8957812500},
		{255, second, 3003906250, 3906250},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d at %s", tt.priority, tt.interval), func(t *testing.T) {
			if tt.priority < 255 {
				newBackup(t, priority(tt.priority), interval(tt.interval)).due(tt.down)
			}
			// An owner is a backup only behind another one.
			n := newNode(t, priority(tt.priority), interval(tt.interval))
			n.step(vrrp.Event{Kind: vrrp.Startup})
			n.now = epoch + second
			n.hear(upper, 255)
			n.is(vrrp.Backup)
			n.after(2 * second).tick() // the addresses it held are let go
			n.hear(upper, 255)
			n.due(tt.down)
			n.hear(upper, 0)
			n.due(tt.skew)
		})
	}
}

// Item 54: there is no other time than the one passed in; a reading of many
// years, and one near zero, are as good as any.
func TestTimers_6_1_AnyEpoch(t *testing.T) {
	for _, now := range []time.Duration{0, 1, 100 * 365 * 24 * time.Hour} {
		n := newNode(t)
		n.now = now
		n.step(vrrp.Event{Kind: vrrp.Startup})
		n.due(3609375 * time.Microsecond)
		check(t, n.expire(), "send priority 100", "hold", "change BACKUP to MASTER: silence, after 3.609375s")
		if d := n.set.Deadline() - n.now; d <= 0 || d > second {
			t.Errorf("next advertisement is in %s", d)
		}
	}
}

// Items 55 to 58.
func TestInitialize_6_4_1_Owner(t *testing.T) {
	n := newNode(t, priority(255))
	check(t, n.step(vrrp.Event{Kind: vrrp.Startup}),
		"send priority 255",            // 55
		"hold",                         // 56, 57: the address worker announces
		"change INIT to MASTER: owner") // 58
	n.due(second)
	n.holds(vrrp.AddressesHeld)
}

// Item 59.
func TestInitialize_6_4_1_Backup(t *testing.T) {
	n := newNode(t, interval(500*ms))
	check(t, n.step(vrrp.Event{Kind: vrrp.Startup}), "change INIT to BACKUP: startup")
	n.due(1804687500)
	n.holds(vrrp.AddressesOff)
}

// Item 60.
func TestInitialize_6_4_1_AdvertisementsHaveNoEffect(t *testing.T) {
	n := newNode(t)
	for _, p := range []uint8{0, 1, 99, 101, 255} {
		check(t, n.hear(upper, p))
	}
	n.is(vrrp.Init)
	if d := n.set.Deadline(); d != vrrp.Never {
		t.Errorf("deadline is %s", d)
	}
	check(t, n.step(vrrp.Event{Kind: vrrp.Startup}), "change INIT to BACKUP: startup")
	n.due(3609375 * time.Microsecond)
}

// Item 66.
func TestBackup_6_4_2_ShutdownIsSilent(t *testing.T) {
	n := newBackup(t)
	check(t, n.step(vrrp.Event{Kind: vrrp.Shutdown}), "change BACKUP to INIT: shutdown")
	if d := n.set.Deadline(); d != vrrp.Never {
		t.Errorf("deadline is %s", d)
	}
}

// Items 67 to 70: the advertisement goes first, then the addresses.
func TestBackup_6_4_2_SilenceMakesMaster(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 150, every(2*second))
	n.due(7218750 * time.Microsecond)
	n.now = n.set.Deadline() - 1
	check(t, n.tick())
	n.is(vrrp.Backup)
	check(t, n.after(1).tick(),
		"send priority 100",
		"hold",
		"change BACKUP to MASTER: silence, rival 192.0.2.11 (150), after 7.21875s")
	n.now = n.set.Deadline()
	check(t, n.tick(), "send priority 100")
	n.due(second) // item 70: our own interval, not the one learned
}

// Item 71, and that a second priority 0 does not put the takeover off.
func TestBackup_6_4_2_PriorityZero(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 150)
	n.after(500*ms).hear(upper, 0)
	n.due(609375 * time.Microsecond)
	n.after(300*ms).hear(upper, 0)
	n.due(309375 * time.Microsecond)
	check(t, n.expire(),
		"send priority 100",
		"hold",
		"change BACKUP to MASTER: left, rival 192.0.2.11 (0), after 609.375ms")
}

// Items 48 and 71: the skew after priority 0 is counted in the interval that
// was learned.
func TestBackup_6_4_2_PriorityZeroLearnedInterval(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 150, every(4*second))
	n.hear(upper, 0, every(4*second))
	n.due(2437500 * time.Microsecond)
}

// Of two masters one leaves: the other one is listened for, as long as it takes
// to speak again.
func TestBackup_6_4_2_PriorityZeroBesideAnother(t *testing.T) {
	const skew = 609375 * time.Microsecond
	n := newBackup(t)
	n.hear(upper, 150)
	n.after(300*ms).hear(lower, 120)
	n.after(200*ms).hear(lower, 0)
	n.due(500*ms + skew)
	n.after(500*ms).hear(upper, 150)
	n.due(3*second + skew)

	n = newBackup(t) // it is silent
	n.hear(lower, 120)
	n.after(900*ms).hear(upper, 150)
	n.after(200*ms).hear(upper, 0)
	n.due(skew)

	n = newBackup(t) // it is worse
	n.hear(lower, 50)
	n.after(300*ms).hear(upper, 150)
	n.after(200*ms).hear(upper, 0)
	n.due(skew)

	n = newBackup(t) // it has left
	n.hear(lower, 120)
	n.after(100*ms).hear(lower, 0)
	n.after(300*ms).hear(upper, 150)
	n.after(200*ms).hear(upper, 0)
	n.due(skew)
}

// A master that comes back after its priority 0 ends the skew.
func TestBackup_6_4_2_PriorityZeroTakenBack(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 150)
	n.hear(upper, 0)
	n.after(100*ms).hear(upper, 150)
	n.due(3609375 * time.Microsecond)
	n.hear(upper, 0)
	n.due(609375 * time.Microsecond)
}

// Items 72 to 76: who is followed, and whose interval counts.
func TestBackup_6_4_2_WhichAdvertisementCounts(t *testing.T) {
	const untouched, restarted, learned = 3309375 * time.Microsecond, 3609375 * time.Microsecond, 721875 * ms / 100
	tests := []struct {
		name     string
		options  []option
		src      netip.Addr
		priority uint8
		every    time.Duration
		want     time.Duration
	}{
		{"item 74: higher", nil, upper, 101, second, restarted},
		{"items 72 and 73: higher, another interval", nil, upper, 101, 2 * second, learned},
		{"item 76: equal, greater address", nil, upper, 100, second, restarted},
		{"item 76: equal, smaller address", nil, lower, 100, second, restarted},
		{"item 75: lower", nil, upper, 99, second, untouched},
		{"item 75: lower, another interval", nil, upper, 99, 2 * second, untouched},
		{"item 72: lower, no-preempt", []option{noPreempt}, upper, 99, second, restarted},
		{"item 72: lower, no-preempt, another interval", []option{noPreempt}, upper, 99, 2 * second, learned},
		{"item 72: lowest, no-preempt", []option{noPreempt}, upper, 1, second, restarted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newBackup(t, tt.options...)
			n.after(300*ms).hear(tt.src, tt.priority, every(tt.every))
			n.is(vrrp.Backup)
			n.due(tt.want)
		})
	}
}

// Item 73: a shorter interval shortens the timer as well.
func TestBackup_6_4_2_LearnsShorterInterval(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 150, every(10*ms))
	n.due(36093750)
}

// Item 75: preemption takes at most the master down interval, however often
// the worse master is heard.
func TestBackup_6_4_2_Preempts(t *testing.T) {
	n := newBackup(t)
	for range 3 {
		n.after(second).hear(upper, 99)
	}
	n.due(609375 * time.Microsecond)
	check(t, n.expire(),
		"send priority 100",
		"hold",
		"change BACKUP to MASTER: preempt, rival 192.0.2.11 (99)")
}

// Item 51: an owner preempts whatever Preempt_Mode says.
func TestBackup_6_1_OwnerPreempts(t *testing.T) {
	n := newNode(t, priority(255), noPreempt)
	n.step(vrrp.Event{Kind: vrrp.Startup})
	n.after(second).hear(upper, 255) // beaten by an owner with a greater address
	n.is(vrrp.Backup)
	n.after(second).tick()
	n.hear(upper, 254)
	n.due(2003906250)
}

// Item 84.
func TestMaster_6_4_3_Shutdown(t *testing.T) {
	n := newMaster(t)
	check(t, n.step(vrrp.Event{Kind: vrrp.Shutdown}),
		"send priority 0",
		"change MASTER to INIT: shutdown")
	check(t, n.step(vrrp.Event{Kind: vrrp.Shutdown}))
	check(t, n.step(vrrp.Event{Kind: vrrp.Startup}))
	n.is(vrrp.Init)
}

// Item 85: an advertisement each interval, and no drift.
func TestMaster_6_4_3_Advertises(t *testing.T) {
	for _, i := range []time.Duration{10 * ms, 100 * ms, second, 40950 * ms} {
		n := newMaster(t, interval(i))
		n.expire()
		start := n.now
		for range 100 {
			n.now += 50 * time.Microsecond // the caller is a little late each time
			check(t, n.expire(), "send priority 100")
		}
		if got := n.now - start; got != 100*i {
			t.Errorf("100 intervals of %s took %s", i, got)
		}
	}
}

// Item 86.
func TestMaster_6_4_3_PriorityZero(t *testing.T) {
	n := newMaster(t)
	n.now += 300 * ms
	check(t, n.hear(upper, 0), "send priority 100")
	n.is(vrrp.Master)
	if d := n.set.Deadline() - n.now; d <= 0 || d > second {
		t.Errorf("next advertisement is in %s", d)
	}
}

// Item 86: Adver_Timer begins anew, also where it was due.
func TestMaster_6_4_3_PriorityZeroRestartsTimer(t *testing.T) {
	n := newMaster(t)
	n.now = n.set.Deadline() + 10*ms
	check(t, n.hear(upper, 0), "send priority 100")
	n.due(990 * ms)
}

// Items 47 and 59: what was learned is forgotten with the role.
func TestInitialize_6_4_1_OwnIntervalAgain(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 150, every(4*second))
	n.step(faulty("test", false))
	n.due(3609375 * time.Microsecond)
	n.hear(upper, 150, every(4*second))
	n.step(vrrp.Event{Kind: vrrp.Recovered})
	n.due(3609375 * time.Microsecond)
}

// A priority 0 is forgotten with the role that it gave.
func TestBackup_6_4_2_PriorityZeroOfLongAgo(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 150)
	n.hear(upper, 0)
	n.expire()
	n.is(vrrp.Master)
	n.after(second).hear(upper, 150)
	n.is(vrrp.Backup)
	n.expire() // the addresses go
	check(t, n.expire(), "send priority 100", "hold", "change BACKUP to MASTER: silence, rival 192.0.2.11 (150), after 3.609375s")
}

// Items 87 to 91: who wins, whatever Preempt_Mode says.
func TestMaster_6_4_3_Elections(t *testing.T) {
	better := func(cause string) []string {
		return []string{"send priority 100", "change MASTER to BACKUP: " + cause}
	}
	six := addr("fe80::11")
	tests := []struct {
		name     string
		options  []option
		src      netip.Addr
		priority uint8
		want     []string
		role     vrrp.Role
	}{
		{"item 87: higher", nil, lower, 101, better("better, rival 192.0.2.9 (101)"), vrrp.Backup},
		{"item 87: owner", nil, lower, 255, better("better, rival 192.0.2.9 (255)"), vrrp.Backup},
		{"items 87 and 90: higher, no-preempt", []option{noPreempt}, lower, 101, better("better, rival 192.0.2.9 (101)"), vrrp.Backup},
		{"item 88: equal, greater address", nil, upper, 100,
			[]string{"notice: equal priority, rival 192.0.2.11 (100)", "send priority 100", "change MASTER to BACKUP: tie, rival 192.0.2.11 (100)"}, vrrp.Backup},
		{"item 88: addresses compare unsigned", nil, addr("223.0.0.1"), 100,
			[]string{"notice: equal priority, rival 223.0.0.1 (100)", "send priority 100", "change MASTER to BACKUP: tie, rival 223.0.0.1 (100)"}, vrrp.Backup},
		{"item 88: IPv6 by link-local", []option{ipv6}, six, 100,
			[]string{"notice: equal priority, rival fe80::11 (100)", "send priority 100", "change MASTER to BACKUP: tie, rival fe80::11 (100)"}, vrrp.Backup},
		{"item 89: equal, smaller address", nil, lower, 100,
			[]string{"notice: equal priority, rival 192.0.2.9 (100)", "send priority 100", "notice: two masters, rival 192.0.2.9 (100)", "announce"}, vrrp.Master},
		{"item 89: lower", nil, upper, 99, []string{"send priority 100", "notice: two masters, rival 192.0.2.11 (99)", "announce"}, vrrp.Master},
		{"items 89 and 90: lower, no-preempt", []option{noPreempt}, upper, 1, []string{"send priority 100", "notice: two masters, rival 192.0.2.11 (1)", "announce"}, vrrp.Master},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newMaster(t, tt.options...)
			n.now += 300 * ms
			check(t, n.hear(tt.src, tt.priority), tt.want...)
			n.is(tt.role)
		})
	}
}

// Item 87: the winner's interval is adopted and both sums follow from it.
func TestMaster_6_4_3_AdoptsInterval(t *testing.T) {
	n := newMaster(t)
	n.hear(upper, 101, every(2*second))
	n.due(second) // the addresses are lent
	n.expire()
	n.due(6218750 * time.Microsecond)
}

// Item 89: the answer does not restart Adver_Timer.
func TestMaster_6_4_3_AnswerLeavesTimer(t *testing.T) {
	n := newMaster(t)
	n.now += 300 * ms
	n.hear(upper, 99)
	n.due(700 * ms)
}

// Items 35 and 109: two owners settle, and each is told once.
func TestOwners_6_4_3_Settle(t *testing.T) {
	n := newNode(t, priority(255))
	n.step(vrrp.Event{Kind: vrrp.Startup})
	n.now += second
	check(t, n.hear(lower, 255),
		"notice: two owners, rival 192.0.2.9 (255)",
		"send priority 255",
		"notice: two masters, rival 192.0.2.9 (255)",
		"announce")
	check(t, n.hear(upper, 255),
		"notice: two owners, rival 192.0.2.11 (255)",
		"change MASTER to BACKUP: tie, rival 192.0.2.11 (255)")
	for range 10 {
		check(t, n.after(second).hear(upper, 255))
	}
	n.is(vrrp.Backup)
}

// Item 91: our own address with our own priority never changes a role.
func TestMaster_6_4_3_OwnAddress(t *testing.T) {
	for _, p := range []uint8{0, 99, 100, 101, 255} {
		n := newMaster(t)
		actions, refusal := n.receive(self, p)
		check(t, actions)
		if refusal != vrrp.RefusedOwn {
			t.Errorf("priority %d: %s", p, refusal)
		}
		n.is(vrrp.Master)
	}
}

// Items 42 to 44, 109 and 110: what differs is said once, until it has gone,
// and drops nothing.
func TestReceive_7_1_Differences(t *testing.T) {
	tests := []struct {
		name    string
		options []option
		differ  advert
		want    string
	}{
		{"item 43: interval", nil, every(2 * second), "notice: interval differs, rival 192.0.2.11 (150)"},
		{"item 44: addresses", nil, func(a *vrrp.Advertisement) { a.Addresses = []netip.Addr{vip2, vip} }, "notice: addresses differ, rival 192.0.2.11 (150)"},
		{"item 44: none in common", []option{addresses(vip)}, func(a *vrrp.Advertisement) { a.Addresses = []netip.Addr{vip2} }, "notice: another virtual router has our VRID, rival 192.0.2.11 (150)"},
		{"item 44: order of addresses", []option{addresses(vip, vip2)}, func(a *vrrp.Advertisement) { a.Addresses = []netip.Addr{vip2, vip} }, "notice: addresses differ, rival 192.0.2.11 (150)"},
		{"item 44: number of addresses", []option{addresses(vip, vip2)}, func(a *vrrp.Advertisement) { a.Addresses = []netip.Addr{vip} }, "notice: addresses differ, rival 192.0.2.11 (150)"},
		{"checksum", nil, func(a *vrrp.Advertisement) { a.Checksum = vrrp.MessageOnly }, "notice: checksum form differs, rival 192.0.2.11 (150)"},
		{"item 110: equal priority", []option{priority(99)}, func(a *vrrp.Advertisement) { a.Priority = 99 }, "notice: equal priority, rival 192.0.2.11 (99)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newBackup(t, tt.options...)
			check(t, n.hear(upper, 150))
			check(t, n.hear(upper, 150, tt.differ), tt.want)
			check(t, n.hear(upper, 150, tt.differ))
			check(t, n.hear(upper, 150))
			check(t, n.hear(upper, 150, tt.differ), tt.want)
			n.is(vrrp.Backup)
			if got := n.state().Master.Addr; got != upper {
				t.Errorf("master is %s: a difference is no reason to drop", got)
			}
		})
	}
}

// Whose advertisement comes from an address that no node of the configuration
// has is said once, until it has gone. Where our own is not among them either
// they are no measure.
func TestPeers_Stranger(t *testing.T) {
	third := addr("192.0.2.12")
	nodes := func(a ...netip.Addr) option { return func(c *vrrp.Config) { c.Nodes = a } }
	for name, tt := range map[string]struct {
		router option
		want   []string
	}{
		"a node":          {nodes(self, upper), nil},
		"no node":         {nodes(self, lower), []string{"notice: not a configured node, rival 192.0.2.11 (150)"}},
		"no nodes":        {nodes(), nil},
		"other addresses": {nodes(lower, third), nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := newBackup(t, tt.router)
			check(t, n.hear(upper, 150), tt.want...)
			check(t, n.hear(upper, 150))
			if got := n.state().Master.Addr; got != upper {
				t.Errorf("master is %s: a stranger is noted, not refused", got)
			}
		})
	}
}

// Lists with nothing in common are another virtual router's, one with
// something is a mistake of ours or theirs; each is said for itself.
func TestPeers_Collision(t *testing.T) {
	third := addr("192.0.2.102")
	list := func(a ...netip.Addr) advert { return func(ad *vrrp.Advertisement) { ad.Addresses = a } }
	n := newBackup(t, addresses(vip, vip2))
	check(t, n.hear(upper, 150, list(third)), "notice: another virtual router has our VRID, rival 192.0.2.11 (150)")
	check(t, n.hear(upper, 150, list(third)))
	check(t, n.hear(upper, 150, list(third, vip2)), "notice: addresses differ, rival 192.0.2.11 (150)")
	check(t, n.hear(upper, 150, list(third, vip2)))
	check(t, n.hear(upper, 150, list(third)), "notice: another virtual router has our VRID, rival 192.0.2.11 (150)")
	check(t, n.hear(upper, 150))
	check(t, n.hear(lower, 150, list(third)), "notice: another virtual router has our VRID, rival 192.0.2.9 (150)")
}

// An IPv6 peer has no other form of checksum than the one, whatever is
// configured for IPv4.
func TestReceive_5_2_8_NoChecksumNoteIPv6(t *testing.T) {
	n := newBackup(t, ipv6, messageOnly)
	check(t, n.hear(addr("fe80::11"), 150))
}

// Peers remembers a bounded number, and forgets who was not heard for longest.
func TestPeers_Bounded(t *testing.T) {
	n := newBackup(t)
	for i := range 20 {
		n.now += ms
		n.hear(upper, 200)
		n.hear(netip.AddrFrom4([4]byte{192, 0, 2, byte(20 + i)}), 150)
	}
	peers := n.set.Peers(n.id)
	if len(peers) != 8 {
		t.Fatalf("%d peers", len(peers))
	}
	for _, p := range peers {
		if p.Addr == upper {
			if p.Heard[vrrp.PseudoHeader] != 20 || p.Priority != 200 || p.LastHeard != n.now {
				t.Errorf("the one heard all the time is %+v", p)
			}
			return
		}
	}
	t.Error("the one heard all the time was forgotten")
}
