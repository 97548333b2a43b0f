package link

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// alternate sends a batch and reads it, n times.
func TestConn_NoAllocations(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, i := l.a.openVirtual(t, "eth0", ipv6)
		b, _ := l.b.open(t, "eth0", ipv6)
		must(t, b.SetKnown(Known{V3: VRIDs{}.With(51), UnicastV3: VRIDs{}.With(51)}))
		peer := sourceOf(t, l.b.state(t, "eth0"), ipv6)
		src, group, payload, unknown := sourceOf(t, i, ipv6), Group(ipv6), advert(51, make([]byte, 20)...), advert(52)
		claim := arpFrame(broadcast, macB, 1, "10.0.0.9", "10.0.0.9")
		if ipv6 {
			claim = naFrame(macB, 0x20, 255, "fe80::9")
		}
		var err error
		now := time.Duration(0)
		run := func() {
			for range batch / 2 {
				a.SendFrom(VirtualMAC(51, ipv6), src, group, payload, false)
				a.Send(src, peer, payload, false)
			}
			a.Send(src, group, unknown, true)
			err = a.Flush()
			b.Receive(batch)
			now += time.Second
			b.Survey(now, surveyBatch)
			a.Announcements(batch)
		}
		if n := testing.AllocsPerRun(100, func() { l.sendFrame(t, claim); run() }); n != 0 {
			t.Errorf("%v allocations", n)
		}
		must(t, err)
		if s := b.Stats(); s.Received < 100*batch/2 || s.Surveyed < 50 || a.Stats().Announcements < 50 {
			t.Errorf("the test tried nothing: %+v, %+v", s, a.Stats())
		}
	})
}

func BenchmarkConn(b *testing.B) {
	for _, size := range []int{1, 8, batch} {
		for _, ipv6 := range []bool{false, true} {
			name := map[bool]string{false: "IPv4", true: "IPv6"}[ipv6] + "/" + map[int]string{1: "1", 8: "8", batch: "32"}[size]
			b.Run(name, func(b *testing.B) { benchmarkConn(b, ipv6, size, (*Conn).Send) })
			b.Run(name+"/virtual", func(b *testing.B) {
				benchmarkConn(b, ipv6, size, func(c *Conn, src, dst netip.Addr, payload []byte, urgent bool) {
					c.SendFrom(VirtualMAC(51, ipv6), src, dst, payload, urgent)
				})
			})
		}
	}
}

// benchmarkConn times the two directions apart, per packet. On a veth pair Flush
// includes the kernel's whole receive path of the other end.
func benchmarkConn(b *testing.B, ipv6 bool, size int, send func(c *Conn, src, dst netip.Addr, payload []byte, urgent bool)) {
	l := newLAN(b)
	a, i := l.a.openVirtual(b, "eth0", ipv6)
	c, _ := l.b.open(b, "eth0", ipv6)
	must(b, c.SetKnown(Known{V3: VRIDs{}.With(51)}))
	src, group, payload := sourceOf(b, i, ipv6), Group(ipv6), advert(51, make([]byte, 20)...)
	p := newPoller(b)
	var sending, receiving time.Duration
	sent, received := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		start := p.Now()
		for range size {
			send(a, src, group, payload, false)
		}
		if err := a.Flush(); err != nil {
			b.Fatal(err)
		}
		middle := p.Now()
		n := len(c.Receive(size))
		receiving += p.Now() - middle
		sending += middle - start
		sent, received = sent+size, received+n
	}
	if received < sent*9/10 {
		b.Errorf("%d sent, %d received", sent, received)
	}
	b.ReportMetric(float64(sending)/float64(sent), "ns/sent")
	b.ReportMetric(float64(receiving)/float64(received), "ns/received")
}

func BenchmarkPoller_Now(b *testing.B) {
	p := newPoller(b)
	for b.Loop() {
		p.Now()
	}
}

// How late Wait returns, after sleeps of a few milliseconds.
func BenchmarkPoller_Lateness(b *testing.B) {
	p := newPoller(b)
	var late []time.Duration
	ready := make([]uint64, 0, 8)
	for b.Loop() {
		deadline := p.Now() + 3*time.Millisecond
		for p.Now() < deadline {
			ready, _ = p.Wait(deadline, ready)
		}
		late = append(late, p.Now()-deadline)
	}
	reportQuantiles(b, late)
}

// How long from Wake to the return of Wait, in another goroutine.
func BenchmarkPoller_Wake(b *testing.B) {
	p := newPoller(b)
	woken := make(chan time.Duration)
	var over atomic.Bool
	go func() {
		for !over.Load() {
			_, _ = p.Wait(Never, nil)
			woken <- p.Now()
		}
		close(woken)
	}()
	var late []time.Duration
	for b.Loop() {
		start := p.Now()
		p.Wake()
		late = append(late, <-woken-start)
	}
	over.Store(true)
	p.Wake()
	for range woken {
	}
	reportQuantiles(b, late)
}

func BenchmarkMonitor_Dump(b *testing.B) {
	l := newLAN(b)
	for n := range 200 {
		l.a.addAddress(b, "eth0", netipFrom(n))
	}
	m := l.a.monitor(b)
	defer m.Close()
	for b.Loop() {
		if _, err := m.dump(); err != nil {
			b.Fatal(err)
		}
	}
}

func netipFrom(n int) string {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), 32).String()
}

func reportQuantiles(b *testing.B, d []time.Duration) {
	slices.Sort(d)
	b.ReportMetric(float64(d[len(d)/2].Nanoseconds()), "ns-p50")
	b.ReportMetric(float64(d[len(d)*99/100].Nanoseconds()), "ns-p99")
	b.ReportMetric(float64(d[len(d)-1].Nanoseconds()), "ns-max")
}
