package vrrp_test

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"baton/vrrp"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{})

// vectors are whole messages with checksums computed elsewhere. Those of
// keepalived were captured from version 2.2.7.
var vectors = []struct {
	name     string
	src, dst netip.Addr
	wire     string
	want     vrrp.Advertisement
}{
	{
		name: "IPv4 with pseudo-header",
		src:  addr("192.0.2.10"), dst: addr("224.0.0.18"),
		wire: "31 33 c8 01 0064 a168 c0000264",
		want: vrrp.Advertisement{Version: 3, VRID: 51, Priority: 200, Interval: second, Addresses: []netip.Addr{vip}},
	}, {
		name: "IPv4 message only",
		src:  addr("192.0.2.10"), dst: addr("224.0.0.18"),
		wire: "31 33 c8 01 0064 4402 c0000264",
		want: vrrp.Advertisement{Version: 3, VRID: 51, Priority: 200, Interval: second, Addresses: []netip.Addr{vip}, Checksum: vrrp.MessageOnly},
	}, {
		name: "IPv6",
		src:  addr("fe80::10"), dst: addr("ff02::12"),
		wire: "31 33 c8 02 0064 d9ed fe800000000000000000000000000100 20010db8000000000000000000000100",
		want: vrrp.Advertisement{Version: 3, VRID: 51, Priority: 200, Interval: second, Addresses: []netip.Addr{addr("fe80::100"), addr("2001:db8::100")}},
	}, {
		name: "version 2 with a password",
		src:  addr("192.0.2.10"), dst: addr("224.0.0.18"),
		wire: "21 33 c8 01 01 01 85bc c0000264 70617373776f7264",
		want: vrrp.Advertisement{
			Version: 2, VRID: 51, Priority: 200, Interval: second, Addresses: []netip.Addr{vip},
			Checksum: vrrp.MessageOnly, AuthType: 1, Auth: [8]byte([]byte("password")),
		},
	}, {
		name: "version 2 with a short password, from keepalived",
		src:  addr("192.0.2.10"), dst: addr("224.0.0.18"),
		wire: "21 33 c8 02 01 01 54b2 c0000264 c0000265 7365637265740000",
		want: vrrp.Advertisement{
			Version: 2, VRID: 51, Priority: 200, Interval: second, Addresses: []netip.Addr{vip, vip2},
			Checksum: vrrp.MessageOnly, AuthType: 1, Auth: [8]byte{'s', 'e', 'c', 'r', 'e', 't'},
		},
	}, {
		name: "version 2 without authentication, from keepalived",
		src:  addr("192.0.2.10"), dst: addr("224.0.0.18"),
		wire: "21 34 64 01 00 02 b859 c000026e 0000000000000000",
		want: vrrp.Advertisement{
			Version: 2, VRID: 52, Priority: 100, Interval: 2 * second, Addresses: []netip.Addr{addr("192.0.2.110")}, Checksum: vrrp.MessageOnly,
		},
	}, {
		name: "to a host, from keepalived",
		src:  addr("192.0.2.10"), dst: addr("192.0.2.11"),
		wire: "31 35 64 01 0032 238c c0000278",
		want: vrrp.Advertisement{Version: 3, VRID: 53, Priority: 100, Interval: 500 * ms, Addresses: []netip.Addr{addr("192.0.2.120")}},
	},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(string(slices.DeleteFunc([]byte(s), func(c byte) bool { return c == ' ' })))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Items 11 to 28, but for the kernel's: what is sent and how it is read.
func TestAdvertisement_5_2_Vectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			wire := unhex(t, v.wire)
			if d := cmp.Diff(wire, v.want.AppendTo(nil, v.src, v.dst)); d != "" {
				t.Errorf("AppendTo (-want +got):\n%s", d)
			}
			var got vrrp.Advertisement
			if refusal := got.Parse(wire, v.src, v.dst); refusal != vrrp.Accepted {
				t.Fatalf("Parse: %s", refusal)
			}
			if d := cmp.Diff(v.want, got, compareAddrs); d != "" {
				t.Errorf("Parse (-want +got):\n%s", d)
			}
		})
	}
}

// Item 24: IPv6 has the pseudo-header whatever is asked for, and a sum
// without it is refused.
func TestChecksum_5_2_8_IPv6AlwaysPseudoHeader(t *testing.T) {
	v := vectors[2]
	a := v.want
	a.Checksum = vrrp.MessageOnly
	wire := a.AppendTo(nil, v.src, v.dst)
	if d := cmp.Diff(unhex(t, v.wire), wire); d != "" {
		t.Errorf("AppendTo (-want +got):\n%s", d)
	}
	wire[6], wire[7] = 0, 0
	sum := onesComplement(wire)
	wire[6], wire[7] = byte(sum>>8), byte(sum)
	if got := a.Parse(wire, v.src, v.dst); got != vrrp.RefusedChecksum {
		t.Errorf("Parse without pseudo-header: %s, want checksum", got)
	}
}

// Version 2 has no pseudo-header, in no form (RFC 3768 section 5.3.8).
func TestChecksum_Version2NoPseudoHeader(t *testing.T) {
	v := vectors[3]
	a := v.want
	a.Checksum = vrrp.PseudoHeader
	wire := a.AppendTo(nil, v.src, v.dst)
	if d := cmp.Diff(unhex(t, v.wire), wire); d != "" {
		t.Errorf("AppendTo (-want +got):\n%s", d)
	}
	if got := a.Parse(raw(v.src, wire...).Message, v.src, v.dst); got != vrrp.RefusedChecksum {
		t.Errorf("Parse with pseudo-header: %s, want checksum", got)
	}
}

// onesComplement is RFC 1071 as its section 4.1 writes it.
func onesComplement(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// Items 22 and 23: the sum of the largest message, by the slow way.
func TestChecksum_5_2_8_LargestMessage(t *testing.T) {
	for _, checksum := range []vrrp.Checksum{vrrp.PseudoHeader, vrrp.MessageOnly} {
		a := vrrp.Advertisement{VRID: 255, Priority: 255, Interval: vrrp.MaxInterval, Checksum: checksum}
		for i := range 255 {
			a.Addresses = append(a.Addresses, netip.AddrFrom4([4]byte{255, 255, byte(i), 255}))
		}
		src, dst := addr("192.0.2.10"), vrrp.IPv4.Group()
		wire := a.AppendTo(nil, src, dst)
		covered := slices.Clone(wire)
		if checksum == vrrp.PseudoHeader {
			s, d := src.As4(), dst.As4()
			covered = slices.Concat(s[:], d[:], []byte{0, 112, byte(len(wire) >> 8), byte(len(wire))}, wire)
		}
		if got := onesComplement(covered); got != 0 {
			t.Errorf("%s: the sum over all is %#04x, want 0", checksum, got)
		}
	}
}

// Items 18 and 19: the reserved nibble is zero when sent and ignored when
// received.
func TestReserved_5_2_6(t *testing.T) {
	for _, v := range vectors {
		if v.want.Version == 2 {
			continue // there is no such nibble
		}
		a := v.want
		a.Interval = vrrp.MaxInterval
		wire := a.AppendTo(nil, v.src, v.dst)
		if wire[4] != 0x0f || wire[5] != 0xff {
			t.Errorf("%s: interval field is %x, want 0fff", v.name, wire[4:6])
		}
		wire[4] |= 0xf0
		// A change in one word changes the sum by as much.
		sum := uint32(wire[6])<<8 | uint32(wire[7])
		sum += ^uint32(0xf000) & 0xffff
		sum = sum&0xffff + sum>>16
		wire[6], wire[7] = byte(sum>>8), byte(sum)
		var got vrrp.Advertisement
		if refusal := got.Parse(wire, v.src, v.dst); refusal != vrrp.Accepted {
			t.Fatalf("%s: Parse: %s", v.name, refusal)
		}
		if got.Interval != vrrp.MaxInterval {
			t.Errorf("%s: interval is %s, want %s", v.name, got.Interval, vrrp.MaxInterval)
		}
	}
}

// Items 20, 25 and 28: every interval survives, and so does the order.
func TestAdvertisement_5_2_RoundTrip(t *testing.T) {
	src, dst := addr("192.0.2.10"), vrrp.IPv4.Group()
	for i := vrrp.MinInterval; i <= vrrp.MaxInterval; i += vrrp.MinInterval {
		want := vrrp.Advertisement{Version: 3, VRID: 1, Priority: 1, Interval: i, Addresses: []netip.Addr{vip2, vip}}
		var got vrrp.Advertisement
		if refusal := got.Parse(want.AppendTo(nil, src, dst), src, dst); refusal != vrrp.Accepted {
			t.Fatalf("%s: %s", i, refusal)
		}
		if d := cmp.Diff(want, got, compareAddrs); d != "" {
			t.Fatalf("%s (-want +got):\n%s", i, d)
		}
	}
}

// Item 13: VRID 0 is refused, last of all, with the rest filled in.
func TestAdvertisement_5_2_3_VRIDZero(t *testing.T) {
	v := vectors[0]
	want := v.want
	want.VRID = 0
	var got vrrp.Advertisement
	if refusal := got.Parse(want.AppendTo(nil, v.src, v.dst), v.src, v.dst); refusal != vrrp.RefusedVRID {
		t.Errorf("Parse: %s, want vrid", refusal)
	}
	if d := cmp.Diff(want, got, compareAddrs); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// AppendTo leaves alone what the buffer held before.
func TestAppendTo_KeepsPrefix(t *testing.T) {
	v := vectors[0]
	got := v.want.AppendTo([]byte{1, 2, 3}, v.src, v.dst)
	if d := cmp.Diff(append([]byte{1, 2, 3}, unhex(t, v.wire)...), got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add(unhex(f, v.wire), v.src.Is6())
	}
	for _, v := range hmacVectors {
		f.Add(unhex(f, v.wire), v.src.Is6())
	}
	f.Add([]byte{}, false)
	f.Add(unhex(f, "21 33 c8 01 0101 0000 c0000264 0000000000000000"), false)
	f.Add(unhex(f, "31 00 c8 00 0000 0000"), true)
	f.Fuzz(func(t *testing.T, message []byte, six bool) {
		src, dst := addr("192.0.2.10"), vrrp.IPv4.Group()
		if six {
			src, dst = addr("fe80::10"), vrrp.IPv6.Group()
		}
		kept := slices.Clone(message)
		var first, second vrrp.Advertisement
		if first.Parse(message, src, dst) != vrrp.Accepted {
			return
		}
		if trailer := len(message) - 8 - len(first.Addresses)*src.BitLen()/8; first.Signed != (trailer >= 28) {
			t.Errorf("signed: %v, with %d bytes behind the addresses", first.Signed, trailer)
		}
		first.Signed = false // AppendTo writes no signature
		wire := first.AppendTo(nil, src, dst)
		if len(wire) > vrrp.MaxAdvertisementLen {
			t.Errorf("%d bytes", len(wire))
		}
		if refusal := second.Parse(wire, src, dst); refusal != vrrp.Accepted {
			t.Fatalf("what AppendTo wrote was refused: %s", refusal)
		}
		if d := cmp.Diff(first, second, compareAddrs); d != "" {
			t.Errorf("Parse, AppendTo, Parse (-first +second):\n%s", d)
		}
		if !slices.Equal(kept, message) {
			t.Error("Parse changed the message")
		}
	})
}
