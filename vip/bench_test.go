package vip

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// BenchmarkTakeover measures, from Hold: until the first and the last address
// has been heard on the wire, until On, and the removal of all from Release to
// Off. The time per operation is that of a takeover and a release.
func BenchmarkTakeover(b *testing.B) {
	for _, six := range []bool{false, true} {
		for _, n := range []int{1, 32, 200, 1000} {
			family := "IPv4"
			if six {
				family = "IPv6"
			}
			b.Run(fmt.Sprintf("%s/%d", family, n), func(b *testing.B) { benchmarkTakeover(b, n, six) })
		}
	}
}

func benchmarkTakeover(b *testing.B, n int, six bool) {
	var first, last, off time.Duration
	for b.Loop() {
		// Anew each time: the kernel remembers the multicast groups of IPv6
		// addresses that were removed, which makes the next ones dearer.
		l := newLab(b)
		h := l.start(Router{Name: "web", Interface: "left", Lifetime: time.Minute, Addresses: many(n, six)})[0]
		l.silence()
		start := time.Now()
		h.Hold(1)
		seen := make(map[netip.Addr]bool)
		for len(seen) < n {
			a, ok := l.hear(patience)
			if !ok {
				b.Fatalf("heard %d of %d", len(seen), n)
			}
			if len(seen) == 0 {
				first += a.at.Sub(start)
			}
			seen[a.addr] = true
		}
		last += time.Since(start)
		l.expect(On)
		start = time.Now()
		h.Release()
		l.expect(Off)
		off += time.Since(start)
		l.end()
	}
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(b.N) }
	b.ReportMetric(ms(first), "ms/first")
	b.ReportMetric(ms(last), "ms/last")
	b.ReportMetric(ms(off), "ms/off")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkInstall compares the time per address of batches with that of the
// library's client, which makes one round trip each.
func BenchmarkInstall(b *testing.B) {
	const n = 256
	for _, size := range []int{1, 8, batch, 256} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			l := newLab(b)
			w := l.newWorker()
			defer w.Close()
			index := l.link("left").Attrs().Index
			run := func(k requestKind) {
				for i := 0; i < n; i += size {
					var msgs []request
					for _, a := range many(n, false)[i : i+size] {
						msgs = append(msgs, request{kind: k, index: index, name: "left", prefix: a.Prefix, lifetime: time.Minute})
					}
					w.table.ifaces = nil
					w.do(msgs)
				}
			}
			var add, del time.Duration
			for b.Loop() {
				start := time.Now()
				run(set)
				add += time.Since(start)
				start = time.Now()
				run(remove)
				del += time.Since(start)
			}
			b.ReportMetric(add.Seconds()*1e6/float64(b.N*n), "µs/add")
			b.ReportMetric(del.Seconds()*1e6/float64(b.N*n), "µs/del")
			b.ReportMetric(0, "ns/op")
		})
	}
	b.Run("library", func(b *testing.B) {
		l := newLab(b)
		left := l.link("left")
		var list []*netlink.Addr
		for _, a := range many(n, false) {
			k, err := netlink.ParseAddr(a.Prefix.String())
			l.check(err)
			list = append(list, k)
		}
		var add, del time.Duration
		for b.Loop() {
			start := time.Now()
			for _, a := range list {
				l.check(l.kernel.AddrAdd(left, a))
			}
			add += time.Since(start)
			start = time.Now()
			for i := range list {
				l.check(l.kernel.AddrDel(left, list[len(list)-1-i]))
			}
			del += time.Since(start)
		}
		b.ReportMetric(add.Seconds()*1e6/float64(b.N*n), "µs/add")
		b.ReportMetric(del.Seconds()*1e6/float64(b.N*n), "µs/del")
		b.ReportMetric(0, "ns/op")
	})
}
