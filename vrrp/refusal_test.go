package vrrp_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"baton/vrrp"
)

// raw builds a message of any shape with a right checksum (pseudo-header).
func raw(src netip.Addr, message ...byte) vrrp.Packet {
	dst := vrrp.IPv4.Group()
	s, d := src.As4(), dst.As4()
	message[6], message[7] = 0, 0
	covered := slices.Concat(s[:], d[:], []byte{0, 112, byte(len(message) >> 8), byte(len(message))}, message)
	sum := onesComplement(covered)
	message[6], message[7] = byte(sum>>8), byte(sum)
	return vrrp.Packet{Src: src, Dst: dst, TTL: 255, Message: message}
}

// Items 29 to 34, 36, 38, 39 and 46: one packet for each reason, in each role.
func TestReceive_7_1_Refusals(t *testing.T) {
	good := func() vrrp.Packet { return raw(upper, 0x31, 51, 200, 1, 0, 100, 0, 0, 192, 0, 2, 100) }
	tests := []struct {
		name   string
		want   vrrp.Refusal
		packet vrrp.Packet
		link   int
	}{
		{name: "item 29: TTL 254", want: vrrp.RefusedTTL, packet: func() vrrp.Packet { p := good(); p.TTL = 254; return p }()},
		{name: "item 29: TTL 0", want: vrrp.RefusedTTL, packet: func() vrrp.Packet { p := good(); p.TTL = 0; return p }()},
		{name: "item 30: version 2", want: vrrp.RefusedVersion, packet: raw(upper, 0x21, 51, 200, 1, 0, 100, 0, 0, 192, 0, 2, 100)},
		{name: "item 30: version 4", want: vrrp.RefusedVersion, packet: raw(upper, 0x41, 51, 200, 1, 0, 100, 0, 0, 192, 0, 2, 100)},
		{name: "item 31: type 0", want: vrrp.RefusedType, packet: raw(upper, 0x30, 51, 200, 1, 0, 100, 0, 0, 192, 0, 2, 100)},
		{name: "item 31: type 2", want: vrrp.RefusedType, packet: raw(upper, 0x32, 51, 200, 1, 0, 100, 0, 0, 192, 0, 2, 100)},
		{name: "item 32: nothing", want: vrrp.RefusedLength, packet: vrrp.Packet{Src: upper, Dst: vrrp.IPv4.Group(), TTL: 255}},
		{name: "item 32: seven bytes", want: vrrp.RefusedLength, packet: vrrp.Packet{Src: upper, Dst: vrrp.IPv4.Group(), TTL: 255, Message: []byte{0x31, 51, 200, 1, 0, 100, 0}}},
		{name: "item 32: an address is missing", want: vrrp.RefusedLength, packet: raw(upper, 0x31, 51, 200, 2, 0, 100, 0, 0, 192, 0, 2, 100)},
		{name: "item 32: a byte is missing", want: vrrp.RefusedLength, packet: raw(upper, 0x31, 51, 200, 1, 0, 100, 0, 0, 192, 0, 2)},
		{name: "item 32: bytes follow", want: vrrp.RefusedLength, packet: raw(upper, 0x31, 51, 200, 1, 0, 100, 0, 0, 192, 0, 2, 100, 0)},
		{name: "item 33: a bit flipped", want: vrrp.RefusedChecksum, packet: func() vrrp.Packet { p := good(); p.Message[2] ^= 1; return p }()},
		{name: "item 33: another source", want: vrrp.RefusedChecksum, packet: func() vrrp.Packet { p := good(); p.Src = lower; return p }()},
		{name: "item 34: VRID is not ours", want: vrrp.RefusedVRID, packet: raw(upper, 0x31, 52, 200, 1, 0, 100, 0, 0, 192, 0, 2, 100)},
		{name: "item 34: our VRID on another link", want: vrrp.RefusedVRID, packet: good(), link: 1},
		{name: "item 13: VRID 0", want: vrrp.RefusedVRID, packet: raw(upper, 0x31, 0, 200, 1, 0, 100, 0, 0, 192, 0, 2, 100)},
		{name: "item 36: no address", want: vrrp.RefusedCount, packet: raw(upper, 0x31, 51, 200, 0, 0, 100, 0, 0)},
		{name: "item 38: interval 0", want: vrrp.RefusedInterval, packet: raw(upper, 0x31, 51, 200, 1, 0, 0, 0, 0, 192, 0, 2, 100)},
		{name: "items 19 and 38: interval 0 beside a reserved nibble", want: vrrp.RefusedInterval, packet: raw(upper, 0x31, 51, 200, 1, 0xf0, 0, 0, 0, 192, 0, 2, 100)},
		{name: "item 91: our own address", want: vrrp.RefusedOwn, packet: raw(self, 0x31, 51, 200, 1, 0, 100, 0, 0, 192, 0, 2, 100)},
		{name: "items 45 and 91: our own address and priority", want: vrrp.RefusedOwn, packet: raw(self, 0x31, 51, 100, 1, 0, 100, 0, 0, 192, 0, 2, 100)},
	}
	seen := map[vrrp.Refusal]bool{vrrp.Accepted: true}
	for _, tt := range tests {
		seen[tt.want] = true
		for _, start := range settledRoles {
			t.Run(tt.name+"/"+start.name, func(t *testing.T) {
				n := start.make(t)
				state, deadline := n.state(), n.set.Deadline()
				actions, got := n.set.Receive(n.now+300*ms, tt.link, tt.packet)
				if got != tt.want {
					t.Errorf("refusal is %s, want %s", got, tt.want)
				}
				check(t, texts(actions))
				if d := cmp.Diff(state, n.state(), compareAddrs); d != "" {
					t.Errorf("state changed:\n%s", d)
				}
				if n.set.Deadline() != deadline {
					t.Errorf("deadline moved from %s to %s", deadline, n.set.Deadline())
				}
				if p := n.set.Peers(n.id); len(p) > 1 {
					t.Errorf("a refused packet left a peer: %+v", p)
				}
			})
		}
	}
	for r := vrrp.Accepted; int(r) < vrrp.Refusals; r++ {
		if !seen[r] {
			t.Errorf("no packet is refused for %s", r)
		}
	}
}

// settledRoles are a router in each role, none of them just starting.
var settledRoles = []struct {
	name string
	make func(*testing.T, ...option) *node
}{
	{"INIT", newNode},
	{"BACKUP", func(t *testing.T, o ...option) *node {
		n := newBackup(t, o...)
		n.hear(upper, 255)
		return n
	}},
	{"MASTER", newMaster},
	{"FAULT", newFaulty},
}

// The order of the checks: everything is wrong with the packet, and one thing
// after another is mended.
func TestReceive_7_1_OrderOfChecks(t *testing.T) {
	n := newMaster(t)
	p := vrrp.Packet{Src: self, Dst: vrrp.IPv4.Group(), TTL: 1, Message: []byte{0x22, 52, 200, 0, 0xf0, 0, 0x12, 0x34, 192, 0, 2, 100}}
	body := func() []byte { return p.Message }
	steps := []struct {
		want vrrp.Refusal
		mend func()
	}{
		{vrrp.RefusedTTL, func() { p.TTL = 255 }},
		{vrrp.RefusedVersion, func() { body()[0] = 0x32 }},
		{vrrp.RefusedType, func() { body()[0] = 0x31 }},
		{vrrp.RefusedLength, func() { p.Message = body()[:8] }},
		{vrrp.RefusedChecksum, func() { p = raw(self, body()...) }},
		{vrrp.RefusedCount, func() { p = raw(self, append([]byte{0x31, 52, 200, 1, 0xf0, 0, 0, 0}, 192, 0, 2, 100)...) }},
		{vrrp.RefusedInterval, func() { body()[5] = 1; p = raw(self, body()...) }},
		{vrrp.RefusedVRID, func() { body()[1] = 51; p = raw(self, body()...) }},
		{vrrp.RefusedOwn, func() { p = raw(upper, body()...) }},
		{vrrp.Accepted, func() {}},
	}
	for _, s := range steps {
		if _, got := n.set.Receive(n.now, 0, p); got != s.want {
			t.Fatalf("refusal is %s, want %s", got, s.want)
		}
		s.mend()
	}
}

// Item 23 against the field: both forms of the IPv4 sum are accepted, and
// counted by peer.
func TestReceive_5_2_8_BothChecksums(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 200)
	n.hear(upper, 200)
	check(t, n.hear(upper, 200, func(a *vrrp.Advertisement) { a.Checksum = vrrp.MessageOnly }),
		"notice: checksum form differs, rival 192.0.2.11 (200)")
	want := []vrrp.Peer{{
		Addr: upper, Priority: 200, Interval: second, LastHeard: epoch,
		Checksum: vrrp.MessageOnly, Heard: [2]uint64{vrrp.PseudoHeader: 2, vrrp.MessageOnly: 1},
	}}
	if d := cmp.Diff(want, n.set.Peers(n.id), compareAddrs, cmpopts.IgnoreUnexported(vrrp.Peer{})); d != "" {
		t.Errorf("peers (-want +got):\n%s", d)
	}
}

// Item 13: the same VRID in both families, and on two links, is independent
// routers.
func TestReceive_5_2_3_FamiliesAndLinksApart(t *testing.T) {
	set := vrrp.NewSet()
	var ids []vrrp.ID
	for _, c := range []vrrp.Config{
		config(), config(ipv6), config(func(c *vrrp.Config) { c.Link = 7 }),
	} {
		id, err := set.Add(c)
		if err != nil {
			t.Fatal(err)
		}
		set.Step(epoch, id, vrrp.Event{Kind: vrrp.Startup})
		ids = append(ids, id)
	}
	six := config(ipv6)
	a := vrrp.Advertisement{VRID: 51, Priority: 200, Interval: second, Addresses: six.Addresses}
	if _, refusal := set.Receive(epoch, 0, packet(&a, addr("fe80::11%eth0"))); refusal != vrrp.Accepted {
		t.Fatal(refusal)
	}
	var heard []int
	for _, id := range ids {
		heard = append(heard, len(set.Peers(id)))
	}
	if d := cmp.Diff([]int{0, 1, 0}, heard); d != "" {
		t.Errorf("peers of each router (-want +got):\n%s", d)
	}
	if got := set.Peers(ids[1])[0].Addr; got != addr("fe80::11") {
		t.Errorf("the peer's address is %s: the zone belongs to the link", got)
	}
}

// FuzzReceive: whatever is refused changes no state and no deadline.
func FuzzReceive(f *testing.F) {
	for _, v := range vectors {
		f.Add(unhex(f, v.wire), uint8(255), v.src.Is6(), uint16(100))
	}
	f.Add(unhex(f, "21 33 c8 01 0001 0000 c0000264 0000000000000000"), uint8(255), false, uint16(0))
	f.Add(unhex(f, "31 34 c8 01 0064 a068 c0000264"), uint8(255), false, uint16(1))
	f.Add(unhex(f, "31 33 00 01 0064 6969 c0000264"), uint8(255), false, uint16(1))
	f.Fuzz(func(t *testing.T, message []byte, ttl uint8, six bool, later uint16) {
		set := vrrp.NewSet()
		now := epoch
		for _, c := range []vrrp.Config{config(), config(ipv6)} {
			id, err := set.Add(c)
			if err != nil {
				t.Fatal(err)
			}
			local := lower
			if c.Family == vrrp.IPv6 {
				local = addr("fe80::9")
			}
			set.Step(now, id, vrrp.Event{Kind: vrrp.Readdressed, Addr: local})
			set.Step(now, id, vrrp.Event{Kind: vrrp.Startup})
			// One advertisement, so that neither is just starting.
			a := vrrp.Advertisement{VRID: 51, Priority: 200, Interval: second, Addresses: c.Addresses}
			src := upper
			if c.Family == vrrp.IPv6 {
				src = addr("fe80::11")
			}
			if _, refusal := set.Receive(now, 0, packet(&a, src)); refusal != vrrp.Accepted {
				t.Fatal(refusal)
			}
		}
		before := [2]vrrp.State{set.State(0), set.State(1)}
		deadline := set.Deadline()
		now += time.Duration(later) * ms
		p := vrrp.Packet{Src: addr("192.0.2.10"), Dst: vrrp.IPv4.Group(), TTL: ttl, Message: message}
		if six {
			p.Src, p.Dst = addr("fe80::10"), vrrp.IPv6.Group()
		}
		actions, refusal := set.Receive(now, 0, p)
		if refusal == vrrp.Accepted {
			if set.Deadline() <= now && deadline > now {
				t.Errorf("an advertisement made a timer due at once")
			}
			return
		}
		if len(actions) > 0 || set.Deadline() != deadline || before != [2]vrrp.State{set.State(0), set.State(1)} {
			t.Errorf("refused for %s, and yet: %v", refusal, actions)
		}
	})
}
