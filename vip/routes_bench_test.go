package vip

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkReadRoutes measures how long this program's routes are looked for
// among those of a routing daemon, and what a change of one of those costs.
func BenchmarkReadRoutes(b *testing.B) {
	for _, n := range []int{100, 10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := newLab(b)
			w := l.newWorker()
			defer w.Close()
			r := gateway()
			r.Routes, r.Rules = r.Routes[:1], nil
			w.Add(r)
			w.take()
			l.within(func() {
				fd, err := openNetlink(1 << 20)
				l.check(err)
				defer unix.Close(fd)
				s := &requests{fd: fd}
				var batch []byte
				for i := range n {
					to := netip.PrefixFrom(netip.AddrFrom4([4]byte{20 + byte(i>>16), byte(i >> 8), byte(i), 0}), 24)
					batch = append(batch, foreignRoute(to)...)
					if i%1000 == 999 || i == n-1 {
						l.check(s.send(batch))
						batch = batch[:0]
					}
				}
			})
			var took time.Duration
			for b.Loop() {
				start := time.Now()
				l.check(w.readRoutes())
				took += time.Since(start)
			}
			b.ReportMetric(took.Seconds()*1000/float64(b.N), "ms/read")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func foreignRoute(to netip.Prefix) []byte {
	m := with(route(to.String(), ""), func(r *Route) { r.Type = unix.RTN_BLACKHOLE }).object().message(set)
	m.Flags |= unix.NLM_F_REQUEST
	b := m.Serialize()
	b[unix.SizeofNlMsghdr+5] = unix.RTPROT_BGP
	return b
}
