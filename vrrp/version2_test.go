package vrrp_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"baton/vrrp"
)

// RFC 3768 section 6.1 and 5.3.7.
func TestVersion2_Config(t *testing.T) {
	tests := []struct {
		name   string
		router option
		want   string
	}{
		{"the ordinary one", version2, ""},
		{"with a password", password("secret"), ""},
		{"version 3", func(c *vrrp.Config) { c.Version = 3 }, ""},
		{"version 1", func(c *vrrp.Config) { c.Version = 1 }, "version 1 is not 2 or 3"},
		{"version 4", func(c *vrrp.Config) { c.Version = 4 }, "version 4 is not 2 or 3"},
		{"IPv6", func(c *vrrp.Config) { ipv6(c); version2(c) }, "version 2 is for IPv4"},
		{"255 s", func(c *vrrp.Config) { version2(c); c.Interval = 255 * second }, ""},
		{"256 s", func(c *vrrp.Config) { version2(c); c.Interval = 256 * second }, "interval 4m16s is not in 1s to 4m15s in steps of 1s, as version 2 has it"},
		{"less than a second", func(c *vrrp.Config) { version2(c); c.Interval = 990 * ms }, "interval 990ms is not in 1s to 4m15s in steps of 1s, as version 2 has it"},
		{"no interval", func(c *vrrp.Config) { version2(c); c.Interval = 0 }, "interval 0s is not in 1s to 4m15s in steps of 1s, as version 2 has it"},
		{"a second and a half", func(c *vrrp.Config) { version2(c); c.Interval = 1500 * ms }, "interval 1.5s is not in 1s to 4m15s in steps of 1s, as version 2 has it"},
		{"a password in version 3", func(c *vrrp.Config) { c.Password = new([8]byte) }, "a password is for version 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantError(t, config(tt.router), tt.want) })
	}
}

// RFC 3768 section 6.1: the skew is a part of one second, whatever the
// interval; 3 intervals and it are the master down interval.
func TestVersion2_6_1_Timers(t *testing.T) {
	for _, tt := range []struct {
		priority             uint8
		interval, skew, down time.Duration
	}{
		{100, second, 609375 * time.Microsecond, 3609375 * time.Microsecond},
		{100, 5 * second, 609375 * time.Microsecond, 15609375 * time.Microsecond},
		{254, 255 * second, 7812500, 765007812500},
		{1, 2 * second, 996093750, 6996093750},
	} {
		t.Run(fmt.Sprintf("priority %d every %s", tt.priority, tt.interval), func(t *testing.T) {
			n := newBackup(t, version2, priority(tt.priority), interval(tt.interval))
			n.due(tt.down)
			n.hear(upper, 255)
			n.due(tt.down)
			n.hear(upper, 0)
			n.due(tt.skew)
			if got, want := n.set.HandoverBound(n.id), tt.interval+2*second+time.Duration(255)*second/256; got != want {
				t.Errorf("handover bound is %s, want %s", got, want)
			}
		})
	}
}

// A priority that changes moves the timer by parts of a second.
func TestVersion2_Reprioritised(t *testing.T) {
	n := newBackup(t, version2, interval(10*second))
	n.due(30*second + 609375*time.Microsecond)
	n.step(vrrp.Event{Kind: vrrp.Reprioritised, Priority: 200})
	n.due(30*second + 218750*time.Microsecond)
}

// The silence of a fast yield is the skew of version 2, less half of its step.
func TestVersion2_Yield(t *testing.T) {
	for _, tt := range []struct {
		priority uint8
		want     time.Duration
	}{
		{50, 799 * ms},  // skew 804.7 ms, cut to 800
		{51, 798828125}, // skew 800.8 ms: half a step below is less
		{254, 0},        // skew 7.8 ms, cut to 0
	} {
		n := newNode(t, version2, priority(255), interval(10*second))
		n.step(vrrp.Event{Kind: vrrp.Startup})
		check(t, n.step(vrrp.Event{Kind: vrrp.Reprioritised, Priority: tt.priority}), "send priority 0")
		n.due(tt.want)
	}
}

// Answers to a flood are closer together than the skew of the best backup,
// which in version 2 is no part of the interval.
func TestVersion2_AnswersInTime(t *testing.T) {
	n := newMaster(t, version2, interval(10*second))
	n.expire()
	check(t, n.hear(lower, 0)) // we have just spoken
	n.due(second / 256)
	check(t, n.expire(), "send priority 100")
}

// A master answers a losing advertisement at once, in version 2 as well.
func TestVersion2_6_4_3_AnswersLosing(t *testing.T) {
	n := newMaster(t, version2)
	n.now += 300 * ms
	check(t, n.hear(lower, 50), "send priority 100", "notice: two masters, rival 192.0.2.9 (50)", "announce")
	n.is(vrrp.Master)
	n.hear(upper, 200)
	n.is(vrrp.Backup)
}

// Two that agree elect, with and without password.
func TestVersion2_Agree(t *testing.T) {
	for name, router := range map[string]option{
		"no password": version2, "password": password("secret"), "eight characters": password("password"),
	} {
		t.Run(name, func(t *testing.T) {
			sender, receiver := newNode(t, router), newBackup(t, router)
			group := vrrp.IPv4.Group()
			receiver.step(vrrp.Event{Kind: vrrp.Readdressed, Addr: lower})
			p := vrrp.Packet{Src: self, Dst: group, TTL: 255, Message: sender.set.AppendAdvertisement(nil, sender.id, 150, group, 0)}
			actions, refusal := receiver.set.Receive(receiver.now, 0, p)
			if refusal != vrrp.Accepted {
				t.Fatal(refusal)
			}
			check(t, texts(actions)) // nothing is noted of the checksum, which has one form
			if got := receiver.state().Master.Addr; got != self {
				t.Errorf("master is %s", got)
			}
		})
	}
}

// What follows the addresses means nothing without a kind of authentication.
func TestVersion2_DataWithoutType(t *testing.T) {
	n := newBackup(t, version2)
	n.hear(upper, 150, func(a *vrrp.Advertisement) { copy(a.Auth[:], "password") })
}

// A password is the caller's own until it is given, and the set's from then.
func TestVersion2_CopiesPassword(t *testing.T) {
	n := newBackup(t, password("secret"))
	p := n.packet(upper, 150)
	clear(n.cfg.Password[:])
	if _, got := n.set.Receive(n.now, 0, p); got != vrrp.Accepted {
		t.Errorf("refusal is %s", got)
	}
}

// The start waits for a holder that we cannot elect with, in whichever way.
func TestForeign_EachWay(t *testing.T) {
	v3 := otherVRID(51, vip)
	tests := []struct {
		name   string
		router option
		packet func(*node) vrrp.Packet
		want   string // nothing: no wait
	}{
		{"version 3 at version 2", version2, func(*node) vrrp.Packet { return v3 }, "it advertises 192.0.2.100 in version 3"},
		{"version 3, another VRID, at version 2", version2, func(*node) vrrp.Packet { return otherVRID(9, vip) }, "it advertises 192.0.2.100 in version 3"},
		{"another VRID", version2, func(*node) vrrp.Packet { return inVersion2(52, 150, 1, vip) }, "it advertises 192.0.2.100 as VRID 52"},
		{"another password", password("secret"), func(*node) vrrp.Packet { return inVersion2(51, 150, 1, vip) }, "it advertises 192.0.2.100 with another password"},
		{"a password", version2, func(*node) vrrp.Packet { return inVersion2(51, 150, 1, vip) }, "it advertises 192.0.2.100 with another kind of authentication"},
		{"another interval", password("password"), func(*node) vrrp.Packet { return inVersion2(51, 150, 5, vip) }, "it advertises 192.0.2.100 every 5s"},
		{"version 2 over IPv6 is nothing", func(c *vrrp.Config) { ipv6(c); c.Addresses = []netip.Addr{addr("fe80::100")} }, func(*node) vrrp.Packet {
			a := vrrp.Advertisement{VRID: 51, Priority: 150, Interval: second, Addresses: []netip.Addr{addr("fe80::100")}}
			p := packet(&a, addr("fe80::11"))
			p.Message[0] = 0x21
			return resummed(p, 0)
		}, ""},
		{"signed", func(*vrrp.Config) {}, func(*node) vrrp.Packet { return signed(v3, 1, key1, 0) }, "it advertises 192.0.2.100 with a signature"},
		{"another secret", receiveOnly, func(n *node) vrrp.Packet { return signed(n.packet(upper, 150), 1, key2, stamp(n.wall())) },
			"it advertises 192.0.2.100 with another signature"},
		{"another key", receiveOnly, func(n *node) vrrp.Packet { return signed(n.packet(upper, 150), 9, key2, stamp(n.wall())) },
			"it advertises 192.0.2.100 with another signature"},
		{"another kind of signature", receiveOnly, func(n *node) vrrp.Packet {
			return changed(signed(n.packet(upper, 150), 1, key1, stamp(n.wall())), func(trailer []byte) { trailer[0] = 2 })
		}, "it advertises 192.0.2.100 with another signature"},
		{"another time", receiveOnly, func(n *node) vrrp.Packet { return signed(n.packet(upper, 150), 1, key1, stamp(n.wall()-second*9)) },
			"it advertises 192.0.2.100 with a signature of another time"},
		{"unsigned, enforced", enforced, func(*node) vrrp.Packet { return v3 }, ""},
		{"another secret, enforced", enforced, func(n *node) vrrp.Packet { return signed(v3, 1, key2, stamp(n.wall())) }, ""},
		{"another VRID, enforced", enforced, func(*node) vrrp.Packet { return otherVRID(52, vip) }, ""},
		{"version 2, enforced", enforced, func(*node) vrrp.Packet { return inVersion2(51, 150, 1, vip) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newBackup(t, tt.router)
			// What was heard before must not be taken for this packet's.
			other := n.cfg
			other.Link = 1
			if _, err := n.set.Add(other); err != nil {
				t.Fatal(err)
			}
			n.set.Receive(n.now, 1, n.packet(map[bool]netip.Addr{false: upper, true: addr("fe80::11")}[n.src.Is6()], 150))
			p := tt.packet(n)
			p.Wall = n.wall()
			actions, refusal := n.set.Receive(n.now, 0, p)
			if refusal == vrrp.Accepted {
				t.Fatal("accepted")
			}
			got := ""
			for _, a := range actions {
				got += a.Reason
			}
			if got != tt.want {
				t.Errorf("reason %q, want %q", got, tt.want)
			}
			want := vrrp.Init
			if tt.want == "" {
				want = vrrp.Backup
			}
			n.is(want)
		})
	}
}
