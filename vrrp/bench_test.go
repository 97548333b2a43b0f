package vrrp_test

import (
	"fmt"
	"net/netip"
	"testing"

	"baton/vrrp"
)

var sizes = []int{1, 100, 4096}

// BenchmarkReceive is a backup that hears its master.
func BenchmarkReceive(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("routers=%d", size), func(b *testing.B) {
			set := vrrp.NewSet()
			packets := make([]vrrp.Packet, size)
			for i := range size {
				c := config()
				c.Link, c.VRID = i/255, uint8(i%255+1)
				id, err := set.Add(c)
				if err != nil {
					b.Fatal(err)
				}
				set.Step(epoch, id, vrrp.Event{Kind: vrrp.Startup})
				a := vrrp.Advertisement{VRID: c.VRID, Priority: 200, Interval: second, Addresses: c.Addresses}
				packets[i] = packet(&a, upper)
				set.Receive(epoch, c.Link, packets[i])
			}
			now := epoch
			b.ReportAllocs()
			for i := 0; b.Loop(); i = (i + 1) % size {
				if i == 0 {
					now += second
				}
				if _, refusal := set.Receive(now, i/255, packets[i]); refusal != vrrp.Accepted {
					b.Fatal(refusal)
				}
			}
		})
	}
}

// BenchmarkExpire is one advertisement of a master that is due, and its
// message.
func BenchmarkExpire(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("routers=%d", size), func(b *testing.B) {
			set, _ := newSet(b, size)
			buf := make([]byte, 0, vrrp.MaxAdvertisementLen)
			group := vrrp.IPv4.Group()
			sent := 0
			b.ReportAllocs()
			for b.Loop() {
				if sent > 0 {
					sent--
					continue
				}
				actions := set.Expire(set.Deadline())
				for _, a := range actions {
					buf = set.AppendAdvertisement(buf[:0], a.Router, a.Priority, group, 0)
				}
				sent = len(actions) - 1
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	a := vrrp.Advertisement{VRID: 51, Priority: 200, Interval: second, Addresses: []netip.Addr{vip}}
	p := packet(&a, upper)
	b.ReportAllocs()
	for b.Loop() {
		a.Parse(p.Message, p.Src, p.Dst)
	}
}

// BenchmarkReceiveSigned is what a true and what a forged signature cost.
func BenchmarkReceiveSigned(b *testing.B) {
	c := config(keys(vrrp.HMACEnforce, 0))
	set := vrrp.NewSet()
	id, err := set.Add(c)
	if err != nil {
		b.Fatal(err)
	}
	set.Step(epoch, id, vrrp.Event{Kind: vrrp.Startup})
	a := vrrp.Advertisement{VRID: 51, Priority: 200, Interval: second, Addresses: c.Addresses}
	for _, bb := range []struct {
		name string
		key  []byte
		want vrrp.Refusal
	}{{"true", key1, vrrp.RefusedReplay}, {"forged", key2, vrrp.RefusedSignature}} {
		b.Run(bb.name, func(b *testing.B) {
			p := signed(packet(&a, upper), 1, bb.key, 1)
			set.Receive(epoch, 0, p)
			b.ReportAllocs()
			for b.Loop() {
				if _, refusal := set.Receive(epoch, 0, p); refusal != bb.want {
					b.Fatal(refusal)
				}
			}
		})
	}
}
