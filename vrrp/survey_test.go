package vrrp_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/vrrp"
)

// Whatever is spoken on the link is listed, by VRID, family and source.
func TestSurvey_Speakers(t *testing.T) {
	var s vrrp.Survey
	at := epoch
	hear := func(p vrrp.Packet) {
		at += 100 * ms
		s.Hear(at, p)
	}
	two := inVersion2(51, 100, 5, vip2, vip)
	hear(two)
	hear(otherVRID(52, vip))
	hear(otherVRID(52, vip))
	six := vrrp.Advertisement{VRID: 51, Priority: 200, Interval: 100 * ms, Addresses: []netip.Addr{addr("fe80::100")}}
	hear(packet(&six, addr("fe80::11%eth0")))
	unicast := vrrp.Advertisement{VRID: 9, Priority: 0, Interval: second}
	toHost := vrrp.Packet{Src: lower, Dst: self, TTL: 64, Message: unicast.AppendTo(nil, lower, self)}
	hear(toHost)
	hear(signed(otherVRID(0, vip), 3, key2, 7))
	header := vrrp.Advertisement{Version: 2, VRID: 52, Priority: 1, Interval: second, AuthType: 2}
	hear(packet(&header, lower))
	odd := vrrp.Advertisement{Version: 2, VRID: 53, Priority: 1, Interval: second, AuthType: 7}
	hear(packet(&odd, lower))
	rfc := vrrp.Advertisement{VRID: 54, Priority: 1, Interval: second, Addresses: []netip.Addr{vip}, Checksum: vrrp.MessageOnly}
	hear(packet(&rfc, lower))

	// None of these says anything.
	broken := otherVRID(60, vip)
	broken.Message[2]++
	hear(broken)
	hear(raw(upper, 0x41, 61, 200, 1, 0, 100, 0, 0, 192, 0, 2, 100))
	hear(raw(upper, 0x32, 62, 200, 1, 0, 100, 0, 0, 192, 0, 2, 100))
	hear(raw(upper, 0x31, 63, 200, 1, 0, 0, 0, 0, 192, 0, 2, 100))
	hear(vrrp.Packet{Src: upper, Dst: vrrp.IPv4.Group(), TTL: 255})

	tenth := func(n time.Duration) time.Duration { return epoch + n*100*ms }
	want := []vrrp.Speaker{
		{VRID: 0, Family: vrrp.IPv4, Source: upper, Version: 3, Priority: 150, Interval: 2 * second, Addresses: []netip.Addr{vip},
			Authentication: vrrp.SignatureAuthentication, Count: 1, First: tenth(6), Last: tenth(6)},
		{VRID: 9, Family: vrrp.IPv4, Source: lower, Version: 3, Unicast: true, Interval: second, Count: 1, First: tenth(5), Last: tenth(5)},
		{VRID: 51, Family: vrrp.IPv4, Source: upper, Version: 2, Priority: 100, Interval: 5 * second, Addresses: []netip.Addr{vip2, vip},
			Authentication: vrrp.PasswordAuthentication, Count: 1, First: tenth(1), Last: tenth(1)},
		{VRID: 51, Family: vrrp.IPv6, Source: addr("fe80::11"), Version: 3, Priority: 200, Interval: 100 * ms, Addresses: []netip.Addr{addr("fe80::100")},
			Count: 1, First: tenth(4), Last: tenth(4)},
		{VRID: 52, Family: vrrp.IPv4, Source: lower, Version: 2, Priority: 1, Interval: second,
			Authentication: vrrp.AHAuthentication, Count: 1, First: tenth(7), Last: tenth(7)},
		{VRID: 52, Family: vrrp.IPv4, Source: upper, Version: 3, Priority: 150, Interval: 2 * second, Addresses: []netip.Addr{vip},
			Count: 2, First: tenth(2), Last: tenth(3)},
		{VRID: 53, Family: vrrp.IPv4, Source: lower, Version: 2, Priority: 1, Interval: second,
			Authentication: vrrp.UnknownAuthentication, Count: 1, First: tenth(8), Last: tenth(8)},
		{VRID: 54, Family: vrrp.IPv4, Source: lower, Version: 3, Priority: 1, Interval: second, Addresses: []netip.Addr{vip},
			Count: 1, First: tenth(9), Last: tenth(9)},
	}
	got := s.Speakers()
	if d := cmp.Diff(want, got, compareAddrs); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}

	// What was returned stays as it was.
	changed := vrrp.Advertisement{VRID: 54, Priority: 2, Interval: second, Addresses: []netip.Addr{vip2}}
	hear(packet(&changed, lower))
	if d := cmp.Diff(want, got, compareAddrs); d != "" {
		t.Errorf("an old answer changed (-want +got):\n%s", d)
	}
	if last := s.Speakers()[7]; last.Priority != 2 || last.Addresses[0] != vip2 || last.Count != 2 {
		t.Errorf("the new answer is %+v", last)
	}
}

// forger is a host that has no end of addresses.
type forger uint32

func (f *forger) next() netip.Addr {
	*f++
	return netip.AddrFrom4([4]byte{10, byte(*f >> 16), byte(*f >> 8), byte(*f)})
}

func said(src netip.Addr, interval time.Duration) vrrp.Packet {
	return packet(&vrrp.Advertisement{VRID: 7, Priority: 100, Interval: interval, Addresses: []netip.Addr{vip}}, src)
}

// A flood of forged sources, each heard once or each time again, drives nobody
// out who is heard regularly, and costs no more memory than the table.
func TestSurvey_Flood(t *testing.T) {
	for _, repeats := range []int{1, 3} {
		for _, interval := range []time.Duration{10 * ms, vrrp.MaxInterval} {
			t.Run(fmt.Sprintf("%d times, interval %s", repeats, interval), func(t *testing.T) {
				var s vrrp.Survey
				var f forger
				now := epoch
				for i := range 10 {
					now += second
					s.Hear(now, said(upper, second))
					s.Hear(now, said(lower, second))
					if i == 0 {
						continue // it begins when they have been heard twice
					}
					for range 1000 {
						src := f.next()
						for range repeats {
							now += 10 * time.Microsecond
							s.Hear(now, said(src, interval))
						}
					}
				}
				all := s.Speakers()
				if len(all) != 256 {
					t.Errorf("%d speakers", len(all))
				}
				regular := 0
				for _, k := range all {
					if k.Source == upper || k.Source == lower {
						regular++
						if k.Count != 10 || k.First != epoch+second {
							t.Errorf("%s was dropped meanwhile: %+v", k.Source, k)
						}
					}
				}
				if regular != 2 {
					t.Errorf("%d of 2 regular speakers are left", regular)
				}
			})
		}
	}
}

// In a full table who has fallen silent goes first, then who was heard once,
// the oldest of each; else there is no place.
func TestSurvey_WhoGoes(t *testing.T) {
	var s vrrp.Survey
	var f forger
	var sources []netip.Addr
	for i := range 256 {
		src := f.next()
		sources = append(sources, src)
		s.Hear(epoch+time.Duration(i)*ms, said(src, 10*second))
		if i != 5 && i != 6 {
			s.Hear(epoch+time.Duration(i)*ms, said(src, 10*second))
		}
	}
	has := func(src netip.Addr) bool {
		for _, k := range s.Speakers() {
			if k.Source == src {
				return true
			}
		}
		return false
	}
	s.Hear(epoch+2*second, said(upper, 10*second))
	if has(sources[5]) || !has(sources[6]) || !has(upper) {
		t.Error("the one heard once, and before the other, was to go")
	}
	for range 2 {
		s.Hear(epoch+3*second, said(sources[6], 10*second))
		s.Hear(epoch+3*second, said(upper, 10*second))
	}
	s.Hear(epoch+4*second, said(lower, 10*second))
	if has(lower) {
		t.Error("all were heard regularly: nobody was to go")
	}
	s.Hear(epoch+30*second+ms, said(lower, 10*second))
	if has(sources[0]) || !has(sources[1]) || !has(lower) {
		t.Error("the one that was silent longest was to go")
	}
}

// A speaker that is heard again costs no memory.
func TestSurvey_Allocations(t *testing.T) {
	var s vrrp.Survey
	p := inVersion2(51, 100, 5, vip2, vip)
	s.Hear(epoch, p)
	if got := testing.AllocsPerRun(100, func() { s.Hear(epoch, p) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func FuzzSurvey(f *testing.F) {
	for _, v := range vectors {
		f.Add(unhex(f, v.wire), v.src.Is6(), false)
	}
	for _, v := range hmacVectors {
		f.Add(unhex(f, v.wire), v.src.Is6(), v.src.Is6())
	}
	f.Fuzz(func(t *testing.T, message []byte, six, toHost bool) {
		var s vrrp.Survey
		p := vrrp.Packet{Src: addr("192.0.2.10"), Dst: vrrp.IPv4.Group(), TTL: 1, Message: message}
		if toHost {
			p.Dst = upper
		}
		if six {
			p.Src, p.Dst = addr("fe80::10"), vrrp.IPv6.Group()
			if toHost {
				p.Dst = addr("fe80::20")
			}
		}
		s.Hear(epoch, p)
		s.Hear(epoch+1, p)
		for _, k := range s.Speakers() {
			if k.Count != 2 || k.Source != p.Src || len(k.Addresses) != int(message[3]) || k.VRID != message[1] || k.Unicast != toHost {
				t.Errorf("%+v", k)
			}
		}
	})
}
