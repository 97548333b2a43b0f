package link

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
)

// The VM knows no ancillary offsets, so its IPv6 packets begin with their header.
var vmLayout6 = layout{network: 0, transport: 40, before: 40}

func vmLayout(ipv6 bool) layout {
	if ipv6 {
		return vmLayout6
	}
	return rawLayout4
}

// packet4 is an IPv4 packet with VRRP in it; options are 4-byte words.
func packet4(dst string, ttl byte, options int, payload ...byte) []byte {
	b := make([]byte, 20+4*options, 64)
	b[0] = 0x40 | byte(5+options)
	b[8], b[9] = ttl, protocol
	copy(b[12:], []byte{192, 0, 2, 10})
	copy(b[16:], netip.MustParseAddr(dst).AsSlice())
	for i := 20; i < len(b); i++ {
		b[i] = 1 // no-operation
	}
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func header6(dst string, hops byte, payload ...byte) []byte {
	b := make([]byte, 40, 64)
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6], b[7] = protocol, hops
	copy(b[8:], netip.MustParseAddr("fe80::10").AsSlice())
	copy(b[24:], netip.MustParseAddr(dst).AsSlice())
	return append(b, payload...)
}

func vm(t *testing.T, code []bpf.Instruction) func([]byte) bool {
	t.Helper()
	if _, err := bpf.Assemble(code); err != nil {
		t.Fatalf("assemble: %v", err)
	}
	m, err := bpf.NewVM(code)
	if err != nil {
		t.Fatalf("VM: %v", err)
	}
	return func(b []byte) bool {
		t.Helper()
		n, err := m.Run(b)
		if err != nil {
			t.Fatalf("run: %v", err)
		}
		return n > 0
	}
}

func TestAdvertFilter(t *testing.T) {
	known := Known{
		V3: VRIDs{}.With(51).With(1).With(255).With(64), V2: VRIDs{}.With(61),
		UnicastV3: VRIDs{}.With(71), UnicastV2: VRIDs{}.With(81).With(61),
	}
	tests := []struct {
		name   string
		ipv6   bool
		packet []byte
		want   bool
	}{
		{"v4", false, packet4("224.0.0.18", 255, 0, 0x31, 51, 200, 1), true},
		{"v4 lowest VRID", false, packet4("224.0.0.18", 255, 0, 0x31, 1, 200, 1), true},
		{"v4 highest VRID", false, packet4("224.0.0.18", 255, 0, 0x31, 255, 200, 1), true},
		{"v4 first bit of a word", false, packet4("224.0.0.18", 255, 0, 0x31, 64, 200, 1), true},
		{"v4 unknown VRID", false, packet4("224.0.0.18", 255, 0, 0x31, 52, 200, 1), false},
		{"v4 unknown VRID, same bit in the next word", false, packet4("224.0.0.18", 255, 0, 0x31, 51+32, 200, 1), false},
		{"v4 VRID 0", false, packet4("224.0.0.18", 255, 0, 0x31, 0, 200, 1), false},
		{"v4 router alert", false, packet4("224.0.0.18", 255, 1, 0x31, 51, 200, 1), true},
		{"v4 longest header", false, packet4("224.0.0.18", 255, 10, 0x31, 51, 200, 1), true},
		{"v4 options, unknown VRID", false, packet4("224.0.0.18", 255, 10, 0x31, 52, 200, 1), false},
		{"v4 options that look like an advert", false, with(with(packet4("224.0.0.18", 255, 1, 0x21, 51), 20, 0x31), 21, 51), false},
		{"v4 TTL 254", false, packet4("224.0.0.18", 254, 0, 0x31, 51, 200, 1), false},
		{"v4 other group", false, packet4("224.0.0.19", 255, 0, 0x31, 51, 200, 1), false},
		{"v4 unicast", false, packet4("192.0.2.1", 255, 0, 0x31, 51, 200, 1), false},
		{"v4 version 2", false, packet4("224.0.0.18", 255, 0, 0x21, 51, 200, 1), false},
		{"v4 type 2", false, packet4("224.0.0.18", 255, 0, 0x32, 51, 200, 1), false},
		{"v4 one byte", false, packet4("224.0.0.18", 255, 0, 0x31), false},
		{"v4 two bytes", false, packet4("224.0.0.18", 255, 0, 0x31, 51), true},
		{"v4 no payload", false, packet4("224.0.0.18", 255, 0), false},
		{"v4 options cut off", false, packet4("224.0.0.18", 255, 10, 0x31, 51)[:30], false},
		{"v4 header cut off", false, packet4("224.0.0.18", 255, 0)[:19], false},
		{"v4 empty", false, nil, false},
		{"v4 version 2, known in it", false, packet4("224.0.0.18", 255, 0, 0x21, 61, 200, 1), true},
		{"v4 version 2, TTL 254", false, packet4("224.0.0.18", 254, 0, 0x21, 61, 200, 1), false},
		{"v4 version 3, known in version 2", false, packet4("224.0.0.18", 255, 0, 0x31, 61, 200, 1), false},
		{"v4 unicast, known", false, packet4("192.0.2.1", 255, 0, 0x31, 71, 200, 1), true},
		{"v4 unicast, TTL 1", false, packet4("192.0.2.1", 1, 0, 0x31, 71, 200, 1), true},
		{"v4 unicast, router alert", false, packet4("192.0.2.1", 64, 1, 0x31, 71, 200, 1), true},
		{"v4 unicast, unknown VRID", false, packet4("192.0.2.1", 255, 0, 0x31, 72, 200, 1), false},
		{"v4 unicast, no payload", false, packet4("192.0.2.1", 255, 0), false},
		{"v4 unicast, type 2", false, packet4("192.0.2.1", 255, 0, 0x32, 71, 200, 1), false},
		{"v4 unicast, version 2", false, packet4("192.0.2.1", 64, 0, 0x21, 81, 200, 1), true},
		{"v4 unicast, version 2, VRID of version 3", false, packet4("192.0.2.1", 64, 0, 0x21, 71, 200, 1), false},
		{"v4 unicast, version 3, VRID of version 2", false, packet4("192.0.2.1", 64, 0, 0x31, 81, 200, 1), false},
		{"v4 multicast, VRID of unicast", false, packet4("224.0.0.18", 255, 0, 0x31, 71, 200, 1), false},
		{"v4 version 2 multicast, VRID of unicast", false, packet4("224.0.0.18", 255, 0, 0x21, 81, 200, 1), false},
		{"v6", true, header6("ff02::12", 255, 0x31, 51, 200, 1), true},
		{"v6 version 2, known in it", true, header6("ff02::12", 255, 0x21, 61, 200, 1), false},
		{"v6 unicast, known", true, header6("fe80::1", 255, 0x31, 71, 200, 1), true},
		{"v6 unicast, hop limit 1", true, header6("2001:db8::1", 1, 0x31, 71, 200, 1), true},
		{"v6 unicast, version 2", true, header6("fe80::1", 255, 0x21, 81, 200, 1), false},
		{"v6 unicast, no payload", true, header6("fe80::1", 255), false},
		{"v6 multicast, VRID of unicast", true, header6("ff02::12", 255, 0x31, 71, 200, 1), false},
		{"v6 unknown VRID", true, header6("ff02::12", 255, 0x31, 50, 200, 1), false},
		{"v6 hop limit 64", true, header6("ff02::12", 64, 0x31, 51, 200, 1), false},
		{"v6 all nodes", true, header6("ff02::1", 255, 0x31, 51, 200, 1), false},
		{"v6 wider scope", true, header6("ff05::12", 255, 0x31, 51, 200, 1), false},
		{"v6 group with other middle", true, header6("ff02:0:0:1::12", 255, 0x31, 51, 200, 1), false},
		{"v6 unicast", true, header6("fe80::1", 255, 0x31, 51, 200, 1), false},
		{"v6 version 2", true, header6("ff02::12", 255, 0x21, 51, 200, 1), false},
		{"v6 type 3", true, header6("ff02::12", 255, 0x33, 51, 200, 1), false},
		{"v6 one byte", true, header6("ff02::12", 255, 0x31), false},
		{"v6 two bytes", true, header6("ff02::12", 255, 0x31, 51), true},
		{"v6 no payload", true, header6("ff02::12", 255), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := vmLayout(tt.ipv6)
			if got := vm(t, advertFilter(tt.ipv6, l, known, false))(tt.packet); got != tt.want {
				t.Errorf("receive filter: %v, want %v", got, tt.want)
			}
			if got := vm(t, advertFilter(tt.ipv6, l, known, true))(tt.packet); got == tt.want {
				t.Errorf("survey filter: %v, want %v", got, !tt.want)
			}
		})
	}
}

// wanted is what the receive filter is meant to take, in plain words.
func wanted(ipv6 bool, b []byte, known Known) bool {
	header, least := 40, 42
	if !ipv6 {
		if len(b) < 20 {
			return false
		}
		header = int(b[0]&0x0f) * 4
		least = header + 2
	}
	if len(b) < least {
		return false
	}
	dst, ttl := string(b[16:20]), b[8]
	if ipv6 {
		dst, ttl = string(b[24:40]), b[7]
		known.V2, known.UnicastV2 = VRIDs{}, VRIDs{}
	}
	v2, v3 := known.UnicastV2, known.UnicastV3
	if dst == string(Group(ipv6).AsSlice()) {
		if ttl != 255 {
			return false
		}
		v2, v3 = known.V2, known.V3
	}
	vrid := b[header+1]
	switch b[header] {
	case 0x21:
		return v2[vrid/64]>>(vrid%64)&1 == 1
	case 0x31:
		return v3[vrid/64]>>(vrid%64)&1 == 1
	}
	return false
}

// eachAdvert is adverts of every VRID in each of the four ways.
func eachAdvert(ipv6 bool) [][]byte {
	var all [][]byte
	for vrid := range 256 {
		for _, version := range []byte{0x21, 0x31} {
			if ipv6 {
				all = append(all, header6("ff02::12", 255, version, byte(vrid)), header6("fe80::1", 64, version, byte(vrid)))
			} else {
				all = append(all, packet4("224.0.0.18", 255, 0, version, byte(vrid)), packet4("192.0.2.1", 64, 0, version, byte(vrid)))
			}
		}
	}
	return all
}

// Each single VRID is let in by the set it is in, and no other: every VRID has
// been in every set.
func TestAdvertFilter_EachVRID(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		packets := eachAdvert(ipv6)
		for vrid := range uint8(255) {
			one := func(n uint8) VRIDs { return VRIDs{}.With(vrid + n) }
			for _, known := range []Known{{V3: one(0)}, {V2: one(0), V3: one(1), UnicastV2: one(2), UnicastV3: one(3)}} {
				run := vm(t, advertFilter(ipv6, vmLayout(ipv6), known, false))
				for _, b := range packets {
					if got := run(b); got != wanted(ipv6, b, known) {
						t.Fatalf("ipv6 %v: known %v: taken %v: % x", ipv6, known, got, b)
					}
				}
			}
		}
	}
}

// The longest program there is stays within what a jump can reach, and the
// shortest asks nothing.
func TestAdvertFilter_Size(t *testing.T) {
	full := VRIDs{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	tests := []struct {
		name  string
		ipv6  bool
		known Known
		most  int
	}{
		{"nothing", false, Known{}, 1},
		{"nothing, IPv6", true, Known{V2: full, UnicastV2: full}, 1},
		{"one", false, Known{V3: VRIDs{}.With(51)}, 35},
		{"all", false, Known{full, full, full, full}, 140},
		{"all, IPv6", true, Known{full, full, full, full}, 140},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, refused := range []bool{false, true} {
				code := advertFilter(tt.ipv6, vmLayout(tt.ipv6), tt.known, refused)
				if len(code) > tt.most {
					t.Errorf("%d instructions, at most %d expected", len(code), tt.most)
				}
				run := vm(t, code)
				for _, b := range eachAdvert(tt.ipv6) {
					if got := run(b); got != (wanted(tt.ipv6, b, tt.known) != refused) {
						t.Fatalf("refused %v: taken %v: % x", refused, got, b)
					}
				}
			}
		})
	}
}

// Whatever comes, exactly one of the two sockets takes it, and it is the right
// one.
func TestAdvertFilter_Complement(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	set := func() VRIDs {
		return [...]VRIDs{{}, {1: rnd.Uint64()}, {rnd.Uint64(), rnd.Uint64(), rnd.Uint64(), rnd.Uint64()}}[rnd.IntN(3)]
	}
	for _, ipv6 := range []bool{false, true} {
		taken := 0
		const sets, packets = 500, 100 // many sets: few of them leave it to chance how much is taken
		for range sets {
			known := Known{V2: set(), V3: set(), UnicastV2: set(), UnicastV3: set()}
			receive := vm(t, advertFilter(ipv6, vmLayout(ipv6), known, false))
			survey := vm(t, advertFilter(ipv6, vmLayout(ipv6), known, true))
			for range packets {
				b := randomPacket(rnd, ipv6)
				r, s := receive(b), survey(b)
				if r == s || r != wanted(ipv6, b, known) {
					t.Fatalf("ipv6 %v: known %v: receive %v, survey %v: % x", ipv6, known, r, s, b)
				}
				if r {
					taken++
				}
			}
		}
		if all := sets * packets; taken < all/20 || taken > all*19/20 {
			t.Errorf("ipv6 %v: %d of %d taken: the packets try nothing", ipv6, taken, all)
		}
	}
}

// randomPacket is nearly an advert.
func randomPacket(rnd *rand.Rand, ipv6 bool) []byte {
	to := rnd.IntN(4)
	version := []byte{0x21, 0x31}[rnd.IntN(2)]
	ttl := []byte{255, 64}[rnd.IntN(2)]
	b := packet4([]string{"224.0.0.18", "224.0.0.18", "192.0.2.1", "224.0.0.1"}[to], ttl, rnd.IntN(11), version, 51, 200, 1)
	if ipv6 {
		b = header6([]string{"ff02::12", "ff02::12", "fe80::1", "ff02::1"}[to], ttl, version, 51, 200, 1)
	}
	b[len(b)-3] = byte(rnd.Uint32()) // VRID
	for range rnd.IntN(3) {
		b[rnd.IntN(len(b))] = byte(rnd.Uint32())
	}
	if rnd.IntN(4) == 0 {
		b = b[:rnd.IntN(len(b)+1)]
	}
	return b
}

var (
	macA      = [6]byte{2, 0, 0, 0, 0, 0xa}
	macB      = [6]byte{2, 0, 0, 0, 0, 0xb}
	broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = [6]byte{0x33, 0x33, 0, 0, 0, 1}
)

func arpFrame(dst, src [6]byte, op byte, sender, target string) []byte {
	b := append([]byte(nil), dst[:]...)
	b = append(b, src[:]...)
	b = append(b, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, op)
	b = append(b, src[:]...)
	b = append(b, netip.MustParseAddr(sender).AsSlice()...)
	b = append(b, broadcast[:]...)
	b = append(b, netip.MustParseAddr(target).AsSlice()...)
	return append(b, make([]byte, 18)...) // padding to 60 bytes
}

func naFrame(src [6]byte, flags, hops byte, target string, option ...byte) []byte {
	b := append([]byte(nil), allNodes[:]...)
	b = append(b, src[:]...)
	b = append(b, 0x86, 0xdd)
	body := append([]byte{136, 0, 0, 0, flags, 0, 0, 0}, netip.MustParseAddr(target).AsSlice()...)
	body = append(body, option...)
	ip := header6("ff02::1", hops, body...)
	ip[6] = 58
	return append(b, ip...)
}

// with changes one byte of a frame.
func with(b []byte, at int, value byte) []byte {
	b = append([]byte(nil), b...)
	b[at] = value
	return b
}

func TestAnnouncementFilter(t *testing.T) {
	garp := arpFrame(broadcast, macB, 1, "10.0.0.9", "10.0.0.9")
	na := naFrame(macB, 0xa0, 255, "fe80::9", 2, 1, 2, 0, 0, 0, 0, 0xc)
	tests := []struct {
		name  string
		ipv6  bool
		frame []byte
		want  bool
	}{
		{"request", false, garp, true},
		{"reply", false, arpFrame(broadcast, macB, 2, "10.0.0.9", "10.0.0.9"), true},
		{"reply to one station", false, arpFrame(macA, macB, 2, "10.0.0.9", "10.0.0.9"), true},
		{"without padding", false, garp[:42], true},
		{"question", false, arpFrame(broadcast, macB, 1, "10.0.0.9", "10.0.0.1"), false},
		{"answer", false, arpFrame(macA, macB, 2, "10.0.0.9", "10.0.0.1"), false},
		{"probe", false, arpFrame(broadcast, macB, 1, "0.0.0.0", "10.0.0.9"), false},
		{"all zero", false, arpFrame(broadcast, macB, 1, "0.0.0.0", "0.0.0.0"), false},
		{"reverse ARP", false, arpFrame(broadcast, macB, 3, "10.0.0.9", "10.0.0.9"), false},
		{"operation 0", false, arpFrame(broadcast, macB, 0, "10.0.0.9", "10.0.0.9"), false},
		{"no ARP", false, with(garp, 13, 0), false},
		{"no Ethernet", false, with(garp, 15, 6), false},
		{"no IPv4", false, with(garp, 16, 9), false},
		{"odd address length", false, with(garp, 19, 16), false},
		{"cut", false, garp[:41], false},
		{"advertisement", true, na, true},
		{"without option", true, naFrame(macB, 0x20, 255, "fe80::9"), true},
		{"solicited", true, naFrame(macB, 0x60, 255, "fe80::9"), false},
		{"routed", true, naFrame(macB, 0xa0, 254, "fe80::9"), false},
		{"solicitation", true, with(na, 54, 135), false},
		{"code 1", true, with(na, 55, 1), false},
		{"no ICMPv6", true, with(na, 20, 17), false},
		{"no IPv6", true, with(na, 13, 0), false},
		{"cut", true, na[:77], false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code := announcementFilter4()
			if tt.ipv6 {
				code = announcementFilter6()
			}
			if got := vm(t, code)(tt.frame); got != tt.want {
				t.Errorf("taken: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestParse4(t *testing.T) {
	good := packet4("224.0.0.18", 255, 1, 0x31, 51, 200, 1)
	tests := []struct {
		name string
		b    []byte
		want string // payload; "-" when refused
	}{
		{"plain", packet4("224.0.0.18", 255, 0, 0x31, 51), "\x31\x33"},
		{"options", good, "\x31\x33\xc8\x01"},
		{"padded", append(good[:len(good):len(good)], 0, 0, 0, 0), "\x31\x33\xc8\x01"},
		{"empty", packet4("224.0.0.18", 255, 0), ""},
		{"cut", good[:len(good)-1], "-"},
		{"version 6", with(good, 0, 0x66), "-"},
		{"header of 16 bytes", with(good, 0, 0x44), "-"},
		{"header longer than the packet", with(good, 3, 23), "-"},
		{"nothing", nil, "-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, ok := parse4(tt.b)
			got := "-"
			if ok {
				got = string(p.Payload)
			}
			if got != tt.want {
				t.Errorf("payload %q, want %q", got, tt.want)
			}
		})
	}
}

func TestParseNA(t *testing.T) {
	tests := []struct {
		name   string
		option []byte
		want   [6]byte
	}{
		{"none", nil, macB},
		{"target link-layer address", []byte{2, 1, 2, 0, 0, 0, 0, 0xa}, macA},
		{"behind another", []byte{14, 1, 9, 9, 9, 9, 9, 9, 2, 1, 2, 0, 0, 0, 0, 0xa}, macA},
		{"length 0", []byte{14, 0, 9, 9, 9, 9, 9, 9, 2, 1, 2, 0, 0, 0, 0, 0xa}, macB},
		{"length beyond the end", []byte{14, 9, 9, 9, 9, 9, 9, 9}, macB},
		{"cut", []byte{2, 1, 2, 0, 0, 0, 0}, macB},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, ok := parseNA(naFrame(macB, 0x20, 255, "fe80::9", tt.option...))
			if !ok || a.Address != netip.MustParseAddr("fe80::9") || a.MAC != tt.want {
				t.Errorf("%v %+v, want fe80::9 at %x", ok, a, tt.want)
			}
		})
	}
}
