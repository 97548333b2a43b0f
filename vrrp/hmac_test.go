package vrrp_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/vrrp"
)

// The secrets of the tests. key1 is that of the draft's vectors.
var (
	key1 = counted(0, 32)
	key2 = counted(100, 64)
)

func counted(from byte, n int) []byte {
	key := make([]byte, n)
	for i := range key {
		key[i] = from + byte(i)
	}
	return key
}

// keys lets a router sign with key 1 and accept both, in a window of 5 s.
func keys(mode vrrp.HMACMode, window time.Duration) option {
	return func(c *vrrp.Config) {
		c.HMAC = &vrrp.HMAC{Keys: map[uint8][]byte{1: key1, 2: key2}, Send: 1, Mode: mode, Window: window}
	}
}

func enforced(c *vrrp.Config)    { keys(vrrp.HMACEnforce, 5*second)(c) }
func permissive(c *vrrp.Config)  { keys(vrrp.HMACPermissive, 5*second)(c) }
func receiveOnly(c *vrrp.Config) { keys(vrrp.HMACReceiveOnly, 5*second)(c) }

// stamp is a wall clock as the sequence of a signature.
func stamp(wall time.Duration) uint64 {
	return uint64(wall/second)<<32 | uint64((wall%second)*65536/second)<<16
}

// signed is the packet with a trailer in place of the one it has, written down
// from the draft and not from the code.
func signed(p vrrp.Packet, number uint8, key []byte, sequence uint64) vrrp.Packet {
	length := 8 + int(p.Message[3])*p.Src.BitLen()/8
	if p.Message[0]>>4 == 2 {
		length += 8
	}
	message := slices.Clone(p.Message[:length])
	zeroed := slices.Clone(message)
	zeroed[6], zeroed[7] = 0, 0
	trailer := binary.BigEndian.AppendUint64([]byte{1, number, 0, 0}, sequence)
	pseudo := make([]byte, 20)
	pseudo[0], pseudo[1], pseudo[2] = 4, message[0]>>4, message[1]
	if p.Src.Is6() {
		pseudo[0] = 6
	}
	copy(pseudo[4:], p.Src.AsSlice())
	h := hmac.New(sha256.New, key)
	h.Write(slices.Concat(pseudo, zeroed, trailer, make([]byte, 16)))
	p.Message = slices.Concat(message, trailer, h.Sum(nil)[:16])
	if p.Src.Is6() {
		p = resummed(p, 0)
	}
	return p
}

// changed is a signed packet whose trailer was changed on the way, by one who
// mends the checksum.
func changed(p vrrp.Packet, change func(trailer []byte)) vrrp.Packet {
	p.Message = slices.Clone(p.Message)
	change(p.Message[len(p.Message)-28:])
	if p.Src.Is6() {
		p = resummed(p, 0)
	}
	return p
}

// resummed is the packet with a right checksum: for IPv6 over all, for IPv4
// over all but the trailer and without pseudo-header.
func resummed(p vrrp.Packet, trailer int) vrrp.Packet {
	p.Message = slices.Clone(p.Message)
	p.Message[6], p.Message[7] = 0, 0
	covered := p.Message[:len(p.Message)-trailer]
	if p.Src.Is6() {
		covered = slices.Concat(p.Src.AsSlice(), p.Dst.AsSlice(), []byte{0, 112, byte(len(covered) >> 8), byte(len(covered))}, covered)
	}
	sum := onesComplement(covered)
	p.Message[6], p.Message[7] = byte(sum>>8), byte(sum)
	return p
}

// summed is an IPv4 message with a right checksum over itself alone.
func summed(message []byte) []byte {
	sum := onesComplement(message)
	message[6], message[7] = byte(sum>>8), byte(sum)
	return message
}

// hmacVectors are those of the draft's appendix.
var hmacVectors = []struct {
	name     string
	src, dst netip.Addr
	config   option
	wire     string
}{
	{
		"IPv4", addr("198.51.100.10"), addr("224.0.0.18"), messageOnly,
		"31 33 c8 01 0064 4402 c0000264" +
			"01 01 0000 6800000080000000 1b84bc4e8e43892dc6d98448f8ee2265",
	}, {
		"IPv6", addr("fe80::10"), addr("fe80::20"), func(c *vrrp.Config) {
			ipv6(c)
			c.Addresses, c.Peers = c.Addresses[:1], []netip.Addr{addr("fe80::20")}
		},
		"31 33 c8 01 0064 a2e9 fe800000000000000000000000000100" +
			"01 01 0000 6800000080000000 c8c56146ebfd66ee10ec4d8186461b78",
	},
}

// vectorWall is the wall clock at which the draft's vectors were signed.
const vectorWall = 0x68000000*second + second/2

// What is sent is the draft's, byte for byte.
func TestHMAC_VectorsSent(t *testing.T) {
	for _, v := range hmacVectors {
		t.Run(v.name, func(t *testing.T) {
			n := newNode(t, v.config, enforced, priority(200))
			n.step(vrrp.Event{Kind: vrrp.Readdressed, Addr: v.src})
			got := n.set.AppendAdvertisement(nil, n.id, 200, v.dst, vectorWall)
			if d := cmp.Diff(unhex(t, v.wire), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// vectorReceiver is a router that accepts a vector.
func vectorReceiver(t *testing.T, i int, window time.Duration) (*node, vrrp.Packet) {
	v := hmacVectors[i]
	n := newBackup(t, v.config, keys(vrrp.HMACEnforce, window), func(c *vrrp.Config) {
		if len(c.Peers) > 0 {
			c.Peers = []netip.Addr{v.src}
		}
	})
	n.step(vrrp.Event{Kind: vrrp.Readdressed, Addr: map[bool]netip.Addr{false: self, true: v.dst}[v.src.Is6()]})
	return n, vrrp.Packet{Src: v.src, Dst: v.dst, TTL: 255, Message: unhex(t, v.wire), Wall: vectorWall}
}

// And it is accepted, once.
func TestHMAC_VectorsReceived(t *testing.T) {
	for i, v := range hmacVectors {
		t.Run(v.name, func(t *testing.T) {
			n, p := vectorReceiver(t, i, 5*second)
			for _, want := range []vrrp.Refusal{vrrp.Accepted, vrrp.RefusedReplay, vrrp.RefusedReplay} {
				if _, got := n.set.Receive(n.now, 0, p); got != want {
					t.Errorf("refusal is %s, want %s", got, want)
				}
			}
		})
	}
}

// Each bit of a signed advertisement and of its source matters. Damage is
// found by the checksum where that covers it; who mends the checksum after a
// change is found by the signature at the latest.
func TestHMAC_EachBit(t *testing.T) {
	for i, v := range hmacVectors {
		for _, window := range []time.Duration{0, second} {
			t.Run(fmt.Sprintf("%s/window %s", v.name, window), func(t *testing.T) {
				n, good := vectorReceiver(t, i, window)
				size := len(good.Message) - 28
				for bit := range 8 * len(good.Message) {
					at := bit / 8
					flipped := good
					flipped.Message = slices.Clone(good.Message)
					flipped.Message[at] ^= 1 << (bit % 8)

					mended, shape := vrrp.RefusedSignature, false // does the checksum come after it?
					switch {
					case at == 0 && bit < 4:
						mended, shape = vrrp.RefusedType, true
					case at == 0 && flipped.Message[0] == 0x21 && v.src.Is4(), at == 3:
						mended, shape = vrrp.RefusedLength, true
					case at == 0:
						mended, shape = vrrp.RefusedVersion, true
					case at == 1:
						mended = vrrp.RefusedVRID
					case at == size, at == size+2, at == size+3:
						mended = vrrp.RefusedTrailer
					case at == size+1 && flipped.Message[at] != 2: // key 2 is known
						mended = vrrp.RefusedKey
					case at >= size+4 && at < size+8 && window > 0 && bit != 8*(size+7): // one second is in the window
						mended = vrrp.RefusedStale
					}
					damaged := mended
					if !shape && (at < size || v.src.Is6()) {
						damaged = vrrp.RefusedChecksum
					}
					if _, got := n.set.Receive(n.now, 0, flipped); got != damaged {
						t.Errorf("byte %d bit %d: %s, want %s", at, bit%8, got, damaged)
					}
					if at == 6 || at == 7 {
						continue // the checksum itself
					}
					if _, got := n.set.Receive(n.now, 0, resummed(flipped, trailerOf(v.src))); got != mended {
						t.Errorf("byte %d bit %d, checksum mended: %s, want %s", at, bit%8, got, mended)
					}
				}
				damaged, mended := vrrp.RefusedSignature, vrrp.RefusedSignature
				if v.src.Is6() {
					damaged, mended = vrrp.RefusedChecksum, vrrp.RefusedPeer
				}
				for bit := range v.src.BitLen() {
					src := v.src.AsSlice()
					src[bit/8] ^= 1 << (bit % 8)
					other := good
					other.Src, _ = netip.AddrFromSlice(src)
					if _, got := n.set.Receive(n.now, 0, other); got != damaged {
						t.Errorf("bit %d of the source: %s, want %s", bit, got, damaged)
					}
					if _, got := n.set.Receive(n.now, 0, resummed(other, trailerOf(v.src))); got != mended {
						t.Errorf("bit %d of the source, checksum mended: %s, want %s", bit, got, mended)
					}
				}
				if _, got := n.set.Receive(n.now, 0, good); got != vrrp.Accepted {
					t.Errorf("the good one after all that: %s", got)
				}
			})
		}
	}
}

// trailerOf is how much of a signed message no checksum covers.
func trailerOf(src netip.Addr) int {
	if src.Is4() {
		return 28
	}
	return 0
}

// A source of another bit that is believed without the list of peers fails on
// its signature in IPv6 too.
func TestHMAC_SourceIPv6(t *testing.T) {
	n := newBackup(t, ipv6, enforced)
	p := n.packet(addr("fe80::11"), 150)
	p.Src = addr("fe80::12")
	if _, got := n.set.Receive(n.now, 0, resummed(p, 0)); got != vrrp.RefusedSignature {
		t.Errorf("refusal is %s", got)
	}
}

// Both forms of the IPv4 checksum go with a signature, and none covers it.
func TestHMAC_Checksums(t *testing.T) {
	for _, checksum := range []vrrp.Checksum{vrrp.PseudoHeader, vrrp.MessageOnly} {
		for _, version := range []uint8{2, 3} {
			t.Run(fmt.Sprintf("version %d %s", version, checksum), func(t *testing.T) {
				configure := func(c *vrrp.Config) { enforced(c); c.Checksum, c.Version = checksum, version }
				n := newBackup(t, configure)
				group := vrrp.IPv4.Group()
				wire := n.set.AppendAdvertisement(nil, n.id, 100, group, n.wall())
				a := vrrp.Advertisement{Version: version, VRID: 51, Priority: 100, Interval: second, Addresses: n.cfg.Addresses, Checksum: checksum}
				plain := vrrp.Packet{Src: self, Dst: group, TTL: 255, Message: a.AppendTo(nil, self, group)}
				if d := cmp.Diff(signed(plain, 1, key1, stamp(n.wall())).Message, wire); d != "" {
					t.Errorf("sent (-want +got):\n%s", d)
				}
				check(t, n.hear(upper, 150))
				if got := n.state().Master.Addr; got != upper {
					t.Errorf("master is %s", got)
				}
			})
		}
	}
}

// What each mode signs and what it takes.
func TestHMAC_Modes(t *testing.T) {
	tests := []struct {
		mode            option
		length          int
		unsigned, other vrrp.Refusal
	}{
		{enforced, 40, vrrp.RefusedUnsigned, vrrp.RefusedSignature},
		{permissive, 40, vrrp.Accepted, vrrp.RefusedSignature},
		{receiveOnly, 12, vrrp.Accepted, vrrp.RefusedSignature},
		{func(*vrrp.Config) {}, 12, vrrp.Accepted, vrrp.RefusedSigned},
	}
	for i, tt := range tests {
		n := newBackup(t, tt.mode)
		if got := len(n.set.AppendAdvertisement(nil, n.id, 100, vrrp.IPv4.Group(), n.wall())); got != tt.length {
			t.Errorf("mode %d sends %d bytes, want %d", i, got, tt.length)
		}
		plain := otherVRID(51, vip)
		plain.Wall = n.wall()
		for _, p := range []struct {
			name   string
			packet vrrp.Packet
			want   vrrp.Refusal
		}{
			{"unsigned", plain, tt.unsigned},
			{"another secret", signed(plain, 1, key2, stamp(n.wall())), tt.other},
			{"key 1", signed(plain, 1, key1, stamp(n.wall())), map[bool]vrrp.Refusal{true: vrrp.RefusedSigned}[i == 3]},
			{"key 2", signed(plain, 2, key2, stamp(n.wall())+1), map[bool]vrrp.Refusal{true: vrrp.RefusedSigned}[i == 3]},
		} {
			if _, got := n.set.Receive(n.now, 0, p.packet); got != p.want {
				t.Errorf("mode %d, %s: %s, want %s", i, p.name, got, p.want)
			}
		}
	}
}

// Two advertisements are never signed alike, whatever the clock does.
func TestHMAC_Sequence(t *testing.T) {
	const start = 1_700_000_000 * second
	tests := []struct {
		name   string
		window time.Duration
		walls  []time.Duration
		want   []uint64
	}{
		{"the clock goes", 5 * second, []time.Duration{start, start + 250*ms, start + second},
			[]uint64{stamp(start), stamp(start + 250*ms), stamp(start + second)}},
		{"the clock stands", 5 * second, []time.Duration{start, start, start + time.Microsecond},
			[]uint64{stamp(start), stamp(start) + 1, stamp(start) + 2}},
		{"a small step back", 5 * second, []time.Duration{start, start - 5*second, start - 5*second, start + second},
			[]uint64{stamp(start), stamp(start) + 1, stamp(start - 5*second), stamp(start + second)}},
		{"a step back by more than the window", 5 * second, []time.Duration{start, start - 6*second, start - 6*second},
			[]uint64{stamp(start), stamp(start - 6*second), stamp(start-6*second) + 1}},
		{"without a window it never goes back", 0, []time.Duration{start, start - 3600*second, start - 3600*second},
			[]uint64{stamp(start), stamp(start) + 1, stamp(start) + 2}},
		{"a step ahead", 5 * second, []time.Duration{start, start + 3600*second}, []uint64{stamp(start), stamp(start + 3600*second)}},
		{"no clock", 0, []time.Duration{0, 0, 0}, []uint64{0, 1, 2}},
		{"before 1970", 0, []time.Duration{-second, -ms}, []uint64{0, 1}},
		{"after 2038", 0, []time.Duration{3_000_000_000 * second, 3_000_000_000 * second},
			[]uint64{3_000_000_000 << 32, 3_000_000_000<<32 + 1}},
		{"in 2106, when the seconds begin again", 5 * second, []time.Duration{(1<<32)*second - ms, (1 << 32) * second, (1<<32)*second + ms},
			[]uint64{stamp((1<<32)*second - ms), 0, stamp(ms)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, keys(vrrp.HMACEnforce, tt.window))
			var got []uint64
			for _, wall := range tt.walls {
				wire := n.set.AppendAdvertisement(nil, n.id, 100, vrrp.IPv4.Group(), wall)
				got = append(got, binary.BigEndian.Uint64(wire[len(wire)-24:]))
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// heardAt is one signed advertisement: when it says that it was signed, and
// what the clock here says.
type heardAt struct {
	stamp, wall time.Duration
	want        vrrp.Refusal
	clock       string // how much the clock is said to differ
}

// The window, replays and steps of either clock.
func TestHMAC_Clocks(t *testing.T) {
	const start, hour = 1_700_000_000 * second, 3600 * second
	tests := []struct {
		name   string
		window time.Duration
		heard  []heardAt
	}{
		{"in time", 5 * second, []heardAt{{stamp: start, wall: start}, {stamp: start + second, wall: start + second}}},
		{"at the edges of the window", 5 * second, []heardAt{
			{stamp: start, wall: start + 5*second + ms, want: vrrp.RefusedStale},
			{stamp: start, wall: start + 5*second, clock: "by 5s"},
			{stamp: start + 10*second, wall: start + 5*second - ms, want: vrrp.RefusedStale},
			{stamp: start + 10*second, wall: start + 5*second},
		}},
		{"half the window is said once, until it has gone", 4 * second, []heardAt{
			{stamp: start, wall: start + 2*second},
			{stamp: start + second, wall: start + 3250*ms, clock: "by 2.25s"},
			{stamp: start + 2*second, wall: start + 5*second},
			{stamp: start + 3*second, wall: start + 3*second},
			{stamp: start + 8*second, wall: start + 5*second, clock: "by 3s"},
		}},
		{"replays", 5 * second, []heardAt{
			{stamp: start + second, wall: start + second},
			{stamp: start + second, wall: start + second, want: vrrp.RefusedReplay},
			{stamp: start, wall: start + second, want: vrrp.RefusedReplay},
			{stamp: start + 2*second, wall: start + 2*second},
		}},
		{"our clock steps ahead and back", 5 * second, []heardAt{
			{stamp: start, wall: start},
			{stamp: start + second, wall: start + hour, want: vrrp.RefusedStale},
			{stamp: start + 2*second, wall: start + 2*second},
			{stamp: start + second, wall: start + 2*second, want: vrrp.RefusedReplay},
		}},
		{"its clock was ahead as ours was, and both are set right", 5 * second, []heardAt{
			{stamp: start + hour, wall: start + hour},
			{stamp: start, wall: start},
			{stamp: start, wall: start, want: vrrp.RefusedReplay},
			{stamp: start + hour + second, wall: start + second, want: vrrp.RefusedStale},
		}},
		{"its clock was behind, and is set right", 5 * second, []heardAt{
			{stamp: start - hour, wall: start, want: vrrp.RefusedStale},
			{stamp: start, wall: start},
		}},
		{"without a window only the order counts", 0, []heardAt{
			{stamp: start, wall: start + hour},
			{stamp: start + second, wall: 0},
			{stamp: start + hour, wall: 0},
			{stamp: start + second, wall: start + second, want: vrrp.RefusedReplay},
			{stamp: start + hour, wall: start + 2*hour, want: vrrp.RefusedReplay},
			{stamp: start + 2*hour, wall: start},
		}},
		{"the seconds begin again", 5 * second, []heardAt{
			{stamp: (1<<32)*second - second, wall: (1<<32)*second - second},
			{stamp: (1 << 32) * second, wall: (1 << 32) * second},
			{stamp: (1<<32)*second - second, wall: (1 << 32) * second, want: vrrp.RefusedReplay},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newBackup(t, keys(vrrp.HMACEnforce, tt.window))
			plain := otherVRID(51, vip)
			for i, h := range tt.heard {
				p := signed(plain, 1, key1, stamp(h.stamp))
				p.Wall = h.wall
				actions, got := n.set.Receive(n.now, 0, p)
				if got != h.want {
					t.Errorf("%d: %s, want %s", i, got, h.want)
				}
				clock := ""
				for _, a := range actions {
					if a.Note == vrrp.NoteClock {
						clock = a.Reason
					}
				}
				if clock != h.clock {
					t.Errorf("%d: the clock differs %q, want %q", i, clock, h.clock)
				}
			}
		})
	}
}

// A forged advertisement moves nobody's mark: the next true one is heard.
func TestHMAC_ForgeriesMoveNoMark(t *testing.T) {
	n := newBackup(t, enforced)
	n.hear(upper, 150)
	for i := range 100 {
		forged := signed(n.packet(upper, 150), 1, key2, stamp(n.wall()+4*second)+uint64(i))
		if _, got := n.set.Receive(n.now, 0, forged); got != vrrp.RefusedSignature {
			t.Fatal(got)
		}
		other := signed(n.packet(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 20)}), 150), 1, key2, stamp(n.wall()))
		if _, got := n.set.Receive(n.now, 0, other); got != vrrp.RefusedSignature {
			t.Fatal(got)
		}
	}
	replayed := n.packet(upper, 150)
	if _, got := n.set.Receive(n.now, 0, replayed); got != vrrp.RefusedReplay {
		t.Errorf("replay: %s", got)
	}
	n.now += second
	n.hear(upper, 150)
}

// Marks are kept by source, for the eight heard last.
func TestHMAC_MarksBySource(t *testing.T) {
	n := newBackup(t, enforced)
	var packets []vrrp.Packet
	for i := range 9 {
		n.now += ms
		packets = append(packets, n.packet(netip.AddrFrom4([4]byte{192, 0, 2, byte(20 + i)}), 150))
	}
	receive := func(i int) vrrp.Refusal {
		n.now += ms
		packets[i].Wall = n.wall()
		_, refusal := n.set.Receive(n.now, 0, packets[i])
		return refusal
	}
	for i := range 8 {
		if got := receive(i); got != vrrp.Accepted {
			t.Errorf("source %d: %s", i, got)
		}
	}
	for i := range 8 {
		if got := receive(i); got != vrrp.RefusedReplay {
			t.Errorf("source %d again: %s", i, got)
		}
	}
	if got := receive(8); got != vrrp.Accepted {
		t.Errorf("source 8: %s", got)
	}
	for i := range 8 {
		if got := receive(i + 1); got != vrrp.RefusedReplay {
			t.Errorf("source %d: %s; only the first was forgotten", i+1, got)
		}
	}
	if got := receive(0); got != vrrp.Accepted {
		t.Errorf("the forgotten one: %s", got)
	}
}

// Two that sign hear each other, through a change of the key.
func TestHMAC_Rotation(t *testing.T) {
	sender := newMaster(t, func(c *vrrp.Config) {
		c.HMAC = &vrrp.HMAC{Keys: map[uint8][]byte{2: key2}, Send: 2}
	})
	receiver := newBackup(t, enforced)
	receiver.step(vrrp.Event{Kind: vrrp.Readdressed, Addr: lower})
	group := vrrp.IPv4.Group()
	p := vrrp.Packet{
		Src: self, Dst: group, TTL: 255, Wall: receiver.wall(),
		Message: sender.set.AppendAdvertisement(nil, sender.id, 150, group, receiver.wall()),
	}
	if _, got := receiver.set.Receive(receiver.now, 0, p); got != vrrp.Accepted {
		t.Errorf("refusal is %s", got)
	}
}

func TestHMAC_Config(t *testing.T) {
	tests := []struct {
		name   string
		change func(*vrrp.Config)
		want   string
	}{
		{"the ordinary one", func(*vrrp.Config) {}, ""},
		{"no key", func(c *vrrp.Config) { c.HMAC.Keys = nil }, "no key to sign or verify with"},
		{"key 0", func(c *vrrp.Config) { c.HMAC.Keys = map[uint8][]byte{0: key1} }, "key 0 is not in 1 to 255"},
		{"a short key", func(c *vrrp.Config) { c.HMAC.Keys[1] = counted(0, 31) }, "key 1 has 31 bytes, not 32 to 64"},
		{"a long key", func(c *vrrp.Config) { c.HMAC.Keys[2] = counted(0, 65) }, "key 2 has 65 bytes, not 32 to 64"},
		{"no such key", func(c *vrrp.Config) { c.HMAC.Send = 3 }, "key 3, which signs, is not among the keys"},
		{"a key that does not sign", func(c *vrrp.Config) { c.HMAC.Send, c.HMAC.Mode = 3, vrrp.HMACReceiveOnly }, ""},
		{"no such mode", func(c *vrrp.Config) { c.HMAC.Mode = 3 }, "no such mode of signatures"},
		{"no window", func(c *vrrp.Config) { c.HMAC.Window = 0 }, ""},
		{"window of 300 s", func(c *vrrp.Config) { c.HMAC.Window = 300 * second }, ""},
		{"window of 301 s", func(c *vrrp.Config) { c.HMAC.Window = 301 * second }, "window 5m1s is not in 0s to 5m0s in steps of 1s"},
		{"window below zero", func(c *vrrp.Config) { c.HMAC.Window = -second }, "window -1s is not in 0s to 5m0s in steps of 1s"},
		{"window of half a second", func(c *vrrp.Config) { c.HMAC.Window = second / 2 }, "window 500ms is not in 0s to 5m0s in steps of 1s"},
		{"version 2", func(c *vrrp.Config) { c.Version = 2 }, ""},
		{"version 2 with a password", func(c *vrrp.Config) { password("secret")(c) }, "a password and signatures exclude each other"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantError(t, config(enforced, tt.change), tt.want)
		})
	}
}

// wantError adds a router and checks what is said of it.
func wantError(t *testing.T, c vrrp.Config, want string) {
	t.Helper()
	_, err := vrrp.NewSet().Add(c)
	got := ""
	if err != nil {
		_, got, _ = strings.Cut(err.Error(), ": ")
	}
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// The secrets are the set's own once it has them.
func TestHMAC_CopiesKeys(t *testing.T) {
	key := bytes.Clone(key1)
	n := newBackup(t, func(c *vrrp.Config) { c.HMAC = &vrrp.HMAC{Keys: map[uint8][]byte{1: key}, Send: 1} })
	p := n.packet(upper, 150)
	clear(key)
	clear(n.cfg.HMAC.Keys)
	if _, got := n.set.Receive(n.now, 0, p); got != vrrp.Accepted {
		t.Errorf("refusal is %s", got)
	}
}
