package vrrp_test

import (
	"net/netip"
	"testing"
	"time"

	"baton/vrrp"
)

// inVersion2 is an advertisement of version 2 (RFC 2338, RFC 3768).
func inVersion2(vrid, priority, seconds byte, addrs ...netip.Addr) vrrp.Packet {
	m := []byte{0x21, vrid, priority, byte(len(addrs)), 1, seconds, 0, 0}
	for _, a := range addrs {
		b := a.As4()
		m = append(m, b[:]...)
	}
	m = append(m, "password"...)
	sum := onesComplement(m)
	m[6], m[7] = byte(sum>>8), byte(sum)
	return vrrp.Packet{Src: upper, Dst: vrrp.IPv4.Group(), TTL: 255, Message: m}
}

// otherVRID is an advertisement that fits, but for its VRID.
func otherVRID(vrid uint8, addrs ...netip.Addr) vrrp.Packet {
	a := vrrp.Advertisement{VRID: vrid, Priority: 150, Interval: 2 * second, Addresses: addrs}
	return packet(&a, upper)
}

func (n *node) foreign(p vrrp.Packet) []string {
	n.t.Helper()
	actions, refusal := n.set.Receive(n.now, n.cfg.Link, p)
	if refusal == vrrp.Accepted {
		n.t.Fatal("accepted")
	}
	return texts(actions)
}

// A router that is just starting waits in INIT for a holder of its addresses
// that it cannot elect with, until three intervals of silence.
func TestForeign_HoldsTheStart(t *testing.T) {
	tests := []struct {
		name   string
		packet vrrp.Packet
		reason string
		until  time.Duration
	}{
		{"version 2", inVersion2(51, 100, 1, vip), "it advertises 192.0.2.100 in version 2", 3 * second},
		{"version 2, another VRID", inVersion2(9, 100, 5, vip2, vip), "it advertises 192.0.2.100 in version 2", 15 * second},
		{"version 2, the slowest", inVersion2(51, 100, 255, vip), "it advertises 192.0.2.100 in version 2", 765 * second},
		{"version 2 without interval", inVersion2(51, 100, 0, vip), "it advertises 192.0.2.100 in version 2", 3 * second},
		{"another VRID", otherVRID(52, vip2, vip), "it advertises 192.0.2.100 as VRID 52", 6 * second},
		{"VRID 0", otherVRID(0, vip), "it advertises 192.0.2.100 as VRID 0", 6 * second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newBackup(t)
			n.now += second
			got := n.foreign(tt.packet)
			if len(got) != 1 {
				t.Fatalf("actions: %v", got)
			}
			n.is(vrrp.Init)
			n.due(tt.until)
			check(t, n.step(vrrp.Event{Kind: vrrp.Startup})) // no way around it
			n.after(500 * ms)
			check(t, n.foreign(tt.packet))
			n.due(tt.until)
			check(t, n.expire(), "change INIT to BACKUP: startup")
			n.due(3609375 * time.Microsecond)
			got = n.foreign(tt.packet)
			want := "change BACKUP to INIT: unelectable, rival 192.0.2.11 (" + map[bool]string{true: "100", false: "150"}[tt.packet.Message[0] == 0x21] + ") (" + tt.reason + ")"
			check(t, got, want)
		})
	}
}

// Packets that hold nobody.
func TestForeign_Ignored(t *testing.T) {
	broken := inVersion2(51, 100, 1, vip)
	broken.Message[2]++
	short := inVersion2(51, 100, 1, vip)
	short.Message = short.Message[:12]
	distant := inVersion2(51, 100, 1, vip)
	distant.TTL = 64
	stale := vrrp.Packet{Src: upper, Dst: vrrp.IPv4.Group(), TTL: 255, Message: nil}
	for name, p := range map[string]vrrp.Packet{
		"other addresses":      inVersion2(51, 100, 1, vip2),
		"no addresses":         inVersion2(51, 100, 1),
		"leaving":              inVersion2(51, 0, 1, vip),
		"wrong sum":            broken,
		"cut short":            short,
		"from beyond the link": distant,
		"other VRID, leaving": func() vrrp.Packet {
			a := vrrp.Advertisement{VRID: 52, Interval: second, Addresses: []netip.Addr{vip}}
			return packet(&a, upper)
		}(),
		"other VRID, other addresses": otherVRID(52, vip2),
		"empty":                       stale,
	} {
		t.Run(name, func(t *testing.T) {
			n := newBackup(t)
			// What was parsed before must not be mistaken for this packet's.
			other := n.cfg
			other.Link = 1
			if _, err := n.set.Add(other); err != nil {
				t.Fatal(err)
			}
			a := vrrp.Advertisement{VRID: 51, Priority: 150, Interval: second, Addresses: []netip.Addr{vip}}
			if _, refusal := n.set.Receive(n.now, 1, packet(&a, upper)); refusal != vrrp.Accepted {
				t.Fatal(refusal)
			}
			deadline := n.set.Deadline()
			check(t, n.foreign(p))
			n.is(vrrp.Backup)
			if n.set.Deadline() != deadline {
				t.Error("deadline moved")
			}
		})
	}
}

// On another link, or of another family, nobody is held.
func TestForeign_ThisLinkAndFamily(t *testing.T) {
	n := newBackup(t)
	if got, _ := n.set.Receive(n.now, 1, inVersion2(51, 100, 1, vip)); len(got) > 0 {
		t.Errorf("from another link: %v", got)
	}
	n = newBackup(t, ipv6)
	check(t, n.foreign(inVersion2(51, 100, 1, vip)))
	n.is(vrrp.Backup)
}

// An IPv6 router is held by another VRID as well.
func TestForeign_IPv6(t *testing.T) {
	n := newBackup(t, ipv6)
	a := vrrp.Advertisement{VRID: 52, Priority: 150, Interval: second, Addresses: []netip.Addr{addr("2001:db8::100")}}
	check(t, n.foreign(packet(&a, addr("fe80::11"))),
		"change BACKUP to INIT: unelectable, rival fe80::11 (150) (it advertises 2001:db8::100 as VRID 52)")
}

// Nothing on the wire is an off switch: once settled, a router is not held,
// not even on its way back from FAULT.
func TestForeign_NeverOnceSettled(t *testing.T) {
	for _, s := range settledRoles[1:] {
		t.Run(s.name, func(t *testing.T) {
			n := s.make(t)
			if s.name == "FAULT" {
				n.step(vrrp.Event{Kind: vrrp.Recovered})
				n.hear(upper, 150)
				n.step(vrrp.Event{Kind: vrrp.Faulty})
			}
			role := n.state().Role
			check(t, n.foreign(inVersion2(51, 100, 1, vip)))
			check(t, n.foreign(otherVRID(52, vip)))
			n.is(role)
			n.step(vrrp.Event{Kind: vrrp.Faulty})
			n.step(vrrp.Event{Kind: vrrp.Recovered})
			n.is(vrrp.Backup)
			check(t, n.foreign(inVersion2(51, 100, 1, vip)))
			n.is(vrrp.Backup)
		})
	}
}

// A router that came to its start by way of FAULT is just starting still.
func TestForeign_StartByWayOfFault(t *testing.T) {
	n := newNode(t)
	n.step(vrrp.Event{Kind: vrrp.Faulty, Reason: "no interface", Deaf: true})
	n.step(vrrp.Event{Kind: vrrp.Recovered})
	n.is(vrrp.Backup)
	if got := n.foreign(inVersion2(51, 100, 1, vip)); len(got) != 1 {
		t.Errorf("actions: %v", got)
	}
	n.is(vrrp.Init)
}

// A stop ends the wait.
func TestForeign_ShutdownWhileHeld(t *testing.T) {
	n := newBackup(t)
	n.foreign(inVersion2(51, 100, 1, vip))
	check(t, n.step(vrrp.Event{Kind: vrrp.Shutdown}))
	if d := n.set.Deadline(); d != vrrp.Never {
		t.Errorf("deadline is %s", d)
	}
	check(t, n.foreign(inVersion2(51, 100, 1, vip)))
	if d := n.set.Deadline(); d != vrrp.Never {
		t.Errorf("deadline is %s", d)
	}
}
