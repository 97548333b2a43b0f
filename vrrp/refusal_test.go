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
		make   option
	}{
		{name: "item 29: TTL 254", want: vrrp.RefusedTTL, packet: func() vrrp.Packet { p := good(); p.TTL = 254; return p }()},
		{name: "item 29: TTL 0", want: vrrp.RefusedTTL, packet: func() vrrp.Packet { p := good(); p.TTL = 0; return p }()},
		{name: "item 30: version 2", want: vrrp.RefusedVersion, packet: inVersion2(51, 200, 1, vip)},
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
	for _, r := range strict {
		tests = append(tests, struct {
			name   string
			want   vrrp.Refusal
			packet vrrp.Packet
			link   int
			make   option
		}{name: r.name, want: r.want, packet: r.packet(newNode(t, r.router)), make: r.router})
	}
	seen := map[vrrp.Refusal]bool{vrrp.Accepted: true, vrrp.RefusedReplay: true} // TestReceive_Replay
	for _, tt := range tests {
		seen[tt.want] = true
		for _, start := range settledRoles {
			t.Run(tt.name+"/"+start.name, func(t *testing.T) {
				n := start.make(t, func(c *vrrp.Config) {
					if tt.make != nil {
						tt.make(c)
					}
				})
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

// strict are routers that ask more of their peers than the ordinary one, and
// what each of them refuses. The packets are of epoch.
var strict = []struct {
	name   string
	router option
	want   vrrp.Refusal
	packet func(*node) vrrp.Packet
}{
	{"unicast: to the group", peers(upper), vrrp.RefusedDestination, func(*node) vrrp.Packet { return otherVRID(51, vip) }},
	{"unicast: from a stranger", peers(upper), vrrp.RefusedPeer, func(n *node) vrrp.Packet { return n.packet(lower, 200) }},
	{"unicast: from too far", func(c *vrrp.Config) { peers(upper)(c); ttl(254, 255)(c) }, vrrp.RefusedTTL, func(n *node) vrrp.Packet {
		p := n.packet(upper, 200)
		p.TTL = 253
		return p
	}},
	{"multicast: to a host", func(*vrrp.Config) {}, vrrp.RefusedDestination, func(n *node) vrrp.Packet {
		n.cfg.Peers = []netip.Addr{upper}
		return n.packet(upper, 200)
	}},
	{"version 2: an advertisement of version 3", version2, vrrp.RefusedVersion, func(*node) vrrp.Packet { return otherVRID(51, vip) }},
	{"version 2: with a password", version2, vrrp.RefusedAuthType, func(*node) vrrp.Packet { return inVersion2(51, 200, 1, vip) }},
	{"version 2: without a password", password("secret"), vrrp.RefusedAuthType, func(n *node) vrrp.Packet {
		return n.packet(upper, 200, func(a *vrrp.Advertisement) { a.AuthType = 0 })
	}},
	{"version 2: authentication header", password("secret"), vrrp.RefusedAuthType, func(n *node) vrrp.Packet {
		return n.packet(upper, 200, func(a *vrrp.Advertisement) { a.AuthType = 2 })
	}},
	{"version 2: another password", password("secret"), vrrp.RefusedPassword, func(*node) vrrp.Packet { return inVersion2(51, 200, 1, vip) }},
	{"version 2: another interval", password("password"), vrrp.RefusedMismatch, func(*node) vrrp.Packet { return inVersion2(51, 200, 2, vip) }},
	{"version 2: no interval", password("password"), vrrp.RefusedMismatch, func(*node) vrrp.Packet { return inVersion2(51, 200, 0, vip) }},
	{"version 2: no address", password("password"), vrrp.RefusedCount, func(*node) vrrp.Packet { return inVersion2(51, 200, 1) }},
	{"no keys: a signature", func(*vrrp.Config) {}, vrrp.RefusedSigned, func(n *node) vrrp.Packet {
		return signed(n.packet(upper, 200), 1, key1, stamp(n.wall()))
	}},
	{"keys: no signature", enforced, vrrp.RefusedUnsigned, func(*node) vrrp.Packet { return otherVRID(51, vip) }},
	{"keys: another kind of signature", enforced, vrrp.RefusedTrailer, func(n *node) vrrp.Packet {
		return changed(n.packet(upper, 200), func(trailer []byte) { trailer[0] = 2 })
	}},
	{"keys: the reserved bytes", enforced, vrrp.RefusedTrailer, func(n *node) vrrp.Packet {
		return changed(n.packet(upper, 200), func(trailer []byte) { trailer[3] = 1 })
	}},
	{"keys: another key", enforced, vrrp.RefusedKey, func(n *node) vrrp.Packet {
		return signed(n.packet(upper, 200), 9, key1, stamp(n.wall()))
	}},
	{"keys: too old", enforced, vrrp.RefusedStale, func(n *node) vrrp.Packet {
		return signed(n.packet(upper, 200), 1, key1, stamp(n.wall()-6*second))
	}},
	{"keys: too new", enforced, vrrp.RefusedStale, func(n *node) vrrp.Packet {
		return signed(n.packet(upper, 200), 1, key1, stamp(n.wall()+6*second))
	}},
	{"keys: another secret", enforced, vrrp.RefusedSignature, func(n *node) vrrp.Packet {
		return signed(n.packet(upper, 200), 1, key2, stamp(n.wall()))
	}},
	{"keys: the signature of another source", enforced, vrrp.RefusedSignature, func(n *node) vrrp.Packet {
		p := n.packet(upper, 200, func(a *vrrp.Advertisement) { a.Checksum = vrrp.MessageOnly })
		p.Src = lower
		return p
	}},
	{"permissive keys: another secret", permissive, vrrp.RefusedSignature, func(n *node) vrrp.Packet {
		return signed(n.packet(upper, 200), 1, key2, stamp(n.wall()))
	}},
	{"keys to receive: another secret", receiveOnly, vrrp.RefusedSignature, func(n *node) vrrp.Packet {
		return signed(n.packet(upper, 200), 1, key2, stamp(n.wall()))
	}},
}

// A signature serves once.
func TestReceive_Replay(t *testing.T) {
	for _, start := range settledRoles {
		t.Run(start.name, func(t *testing.T) {
			n := start.make(t, enforced)
			n.now += second
			p := n.packet(upper, 50)
			if _, refusal := n.set.Receive(n.now, 0, p); refusal != vrrp.Accepted {
				t.Fatal(refusal)
			}
			state, deadline := n.state(), n.set.Deadline()
			actions, refusal := n.set.Receive(n.now+10*ms, 0, p)
			if refusal != vrrp.RefusedReplay {
				t.Errorf("refusal is %s", refusal)
			}
			check(t, texts(actions))
			if d := cmp.Diff(state, n.state(), compareAddrs); d != "" || n.set.Deadline() != deadline {
				t.Errorf("state changed:\n%s", d)
			}
		})
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
	n.cfg.HMAC = nil
	p := vrrp.Packet{Src: self, Dst: vrrp.IPv4.Group(), TTL: 1, Message: []byte{0x42, 52, 200, 0, 0xf0, 0, 0x12, 0x34, 192, 0, 2, 100}}
	body := func() []byte { return p.Message }
	again := func(src netip.Addr) { p = raw(src, body()...) }
	sign := func() { p = signed(raw(upper, body()[:8]...), 1, key1, stamp(n.wall())) }
	inOrder(t, n, &p, []stage{
		{vrrp.RefusedTTL, func() { p.TTL = 255 }},
		{vrrp.RefusedVersion, func() { body()[0] = 0x32 }},
		{vrrp.RefusedType, func() { body()[0] = 0x31 }},
		{vrrp.RefusedLength, func() { p.Message = body()[:8] }},
		{vrrp.RefusedChecksum, func() { again(self) }},
		{vrrp.RefusedInterval, func() { body()[5] = 1; again(self) }},
		{vrrp.RefusedVRID, func() { body()[1] = 51; again(self); p.Dst = upper }},
		{vrrp.RefusedChecksum, func() { p.Message[6], p.Message[7] = 0, 0; p.Message = summed(p.Message) }},
		{vrrp.RefusedOwn, func() { p.Src = upper }},
		{vrrp.RefusedDestination, sign},
		{vrrp.RefusedSigned, func() { again(upper); p = raw(upper, body()[:8]...) }},
		{vrrp.RefusedCount, func() { p = raw(upper, 0x31, 51, 200, 1, 0xf0, 1, 0, 0, 192, 0, 2, 100) }},
		{vrrp.Accepted, func() {}},
	})
}

// The same for a router with peers, version 2 and a password.
func TestReceive_7_1_OrderOfChecksUnicastVersion2(t *testing.T) {
	n := newMaster(t, peers(upper), ttl(254, 255), password("secret"))
	a := vrrp.Advertisement{VRID: 51, Priority: 50, Interval: 2 * second}
	p := vrrp.Packet{Src: self, Dst: vrrp.IPv4.Group(), TTL: 1}
	again := func() { p.Message = a.AppendTo(nil, p.Src, p.Dst) }
	again()
	inOrder(t, n, &p, []stage{
		{vrrp.RefusedTTL, func() { p.TTL = 255 }},
		{vrrp.RefusedOwn, func() { p.Src = lower; again() }},
		{vrrp.RefusedDestination, func() { p.Dst, p.TTL = self, 1; again() }},
		{vrrp.RefusedPeer, func() { p.Src = upper; again() }},
		{vrrp.RefusedTTL, func() { p.TTL = 254 }},
		{vrrp.RefusedVersion, func() { a.Version = 2; again(); p = signed(p, 1, key1, 0) }},
		{vrrp.RefusedSigned, again},
		{vrrp.RefusedAuthType, func() { a.AuthType = 1; again() }},
		{vrrp.RefusedPassword, func() { copy(a.Auth[:], "secret"); again() }},
		{vrrp.RefusedMismatch, func() { a.Interval = second; again() }},
		{vrrp.RefusedCount, func() { a.Addresses = []netip.Addr{vip}; again() }},
		{vrrp.Accepted, func() {}},
	})
}

// And of a signature.
func TestReceive_OrderOfChecksSigned(t *testing.T) {
	n := newMaster(t, enforced)
	a := vrrp.Advertisement{VRID: 51, Priority: 50, Interval: second}
	p := packet(&a, upper)
	p.Wall = n.wall()
	again := func(number uint8, key []byte, at time.Duration) {
		p = signed(packet(&a, upper), number, key, stamp(at))
		p.Wall = n.wall()
	}
	inOrder(t, n, &p, []stage{
		{vrrp.RefusedUnsigned, func() {
			again(9, key2, n.wall()-6*second)
			p = changed(p, func(trailer []byte) { trailer[0] = 9 })
		}},
		{vrrp.RefusedTrailer, func() { again(9, key2, n.wall()-6*second) }},
		{vrrp.RefusedKey, func() { again(1, key2, n.wall()-6*second) }},
		{vrrp.RefusedStale, func() { again(1, key2, n.wall()) }},
		{vrrp.RefusedSignature, func() { again(1, key1, n.wall()) }},
		{vrrp.RefusedCount, func() { a.Addresses = n.cfg.Addresses; again(1, key1, n.wall()) }},
		// The mark has moved: whoever sent that one knows the secret.
		{vrrp.RefusedReplay, func() { again(1, key1, n.wall()+ms) }},
		{vrrp.Accepted, func() {}},
	})
}

type stage struct {
	want vrrp.Refusal
	mend func()
}

func inOrder(t *testing.T, n *node, p *vrrp.Packet, steps []stage) {
	t.Helper()
	for i, s := range steps {
		if _, got := n.set.Receive(n.now, 0, *p); got != s.want {
			t.Fatalf("step %d: refusal is %s, want %s", i, got, s.want)
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

// FuzzReceive: whatever is refused changes no state and no deadline, of a
// router of each kind.
func FuzzReceive(f *testing.F) {
	kinds := [][]option{{}, {version2}, {password("password")}, {peers(addr("192.0.2.10"), addr("fe80::10"))}, {enforced}, {receiveOnly, addressless}}
	for _, v := range vectors {
		f.Add(unhex(f, v.wire), uint8(255), v.src.Is6(), uint16(100), uint8(0))
		f.Add(unhex(f, v.wire), uint8(255), v.src.Is6(), uint16(100), uint8(1))
	}
	for i, v := range hmacVectors {
		f.Add(unhex(f, v.wire), uint8(255), v.src.Is6(), uint16(100), uint8(4+i))
	}
	f.Add(unhex(f, "21 33 c8 01 0001 0000 c0000264 0000000000000000"), uint8(255), false, uint16(0), uint8(0))
	f.Add(unhex(f, "31 34 c8 01 0064 a068 c0000264"), uint8(255), false, uint16(1), uint8(0))
	f.Add(unhex(f, "31 33 00 01 0064 6969 c0000264"), uint8(255), false, uint16(1), uint8(3))
	f.Fuzz(func(t *testing.T, message []byte, ttl uint8, six bool, later uint16, kind uint8) {
		set := vrrp.NewSet()
		now := epoch
		options := kinds[int(kind)%len(kinds)]
		for _, family := range []vrrp.Family{vrrp.IPv4, vrrp.IPv6} {
			n := &node{t: t, set: set, now: now, src: lower}
			src := upper
			options := options
			if family == vrrp.IPv6 {
				n.src, src = addr("fe80::9"), addr("fe80::11")
				options = append([]option{ipv6}, options...)
			}
			n.cfg = config(options...)
			if family == vrrp.IPv6 {
				n.cfg.Version, n.cfg.Password = 3, nil
			}
			n.cfg.Peers = slices.DeleteFunc(slices.Clone(n.cfg.Peers), func(a netip.Addr) bool { return a.Is4() != (family == vrrp.IPv4) })
			if len(n.cfg.Peers) > 0 {
				n.cfg.Peers = append(n.cfg.Peers, src)
			}
			var err error
			if n.id, err = set.Add(n.cfg); err != nil {
				t.Fatal(err)
			}
			n.step(vrrp.Event{Kind: vrrp.Readdressed, Addr: n.src})
			n.step(vrrp.Event{Kind: vrrp.Startup})
			n.hear(src, 200) // so that it is not just starting
		}
		before := [2]vrrp.State{set.State(0), set.State(1)}
		deadline := set.Deadline()
		now += time.Duration(later) * ms
		p := vrrp.Packet{Src: addr("192.0.2.10"), Dst: vrrp.IPv4.Group(), TTL: ttl, Message: message, Wall: vectorWall}
		if six {
			p.Src, p.Dst = addr("fe80::10"), vrrp.IPv6.Group()
		}
		if d := set.Destinations(0)[0]; !d.IsMulticast() {
			p.Dst = map[bool]netip.Addr{false: lower, true: addr("fe80::9")}[six]
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

func addressless(c *vrrp.Config) { c.Addresses = nil }
