package link

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// 255 virtual routers on one link: a burst of adverts arrives whole and in order.
func TestConn_Burst(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, ia := l.a.open(t, "eth0", ipv6)
		b, _ := l.b.open(t, "eth0", ipv6)
		all := VRIDs{}
		for vrid := range 255 {
			all = all.With(uint8(vrid + 1))
			a.Send(sourceOf(t, ia, ipv6), Group(ipv6), advert(uint8(vrid+1)), false)
		}
		must(t, b.SetKnown(Known{V3: all}))
		must(t, a.Flush())
		received, _ := collect(t, b, 255)
		for n, p := range received {
			if p.Payload != string(advert(uint8(n+1))) {
				t.Fatalf("place %d: %q", n, p.Payload)
			}
		}
		if len(received) != 255 {
			t.Errorf("%d received", len(received))
		}
	})
}

// One socket may join a group on 20 interfaces only; a Conn has its own.
func TestConn_ThirtyInterfaces(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		a, b := newNamespace(t), newNamespace(t)
		const interfaces = 30
		var conns []*Conn
		for n := range interfaces {
			name := fmt.Sprintf("eth%d", n)
			addPair(t, a, name, b, name)
			a.addAddress(t, name, fmt.Sprintf("10.0.%d.1/24", n))
			b.addAddress(t, name, fmt.Sprintf("10.0.%d.2/24", n))
		}
		for n := range interfaces {
			name := fmt.Sprintf("eth%d", n)
			c, _ := a.open(t, name, ipv6)
			must(t, c.SetKnown(Known{V3: VRIDs{}.With(uint8(n + 1))}))
			conns = append(conns, c)
		}
		for n := range interfaces {
			s, i := b.open(t, fmt.Sprintf("eth%d", n), ipv6)
			s.Send(sourceOf(t, i, ipv6), Group(ipv6), advert(uint8(n+1)), false)
			must(t, s.Flush())
		}
		for n, c := range conns {
			received, surveyed := collect(t, c, 1)
			if len(received) != 1 || len(surveyed) != 0 || received[0].Payload != string(advert(uint8(n+1))) {
				t.Errorf("eth%d: received %v, surveyed %v", n, received, surveyed)
			}
		}
	})
}

func TestConn_Announcements(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		c, i := l.a.open(t, "eth0", ipv6)
		own := [6]byte(i.MAC)
		claim := func(src [6]byte, n int) []byte {
			if ipv6 {
				return naFrame(src, 0x20, 255, fmt.Sprintf("fe80::%x", n), 2, 1, src[0], src[1], src[2], src[3], src[4], src[5])
			}
			return arpFrame(broadcast, src, 1, fmt.Sprintf("10.0.0.%d", n), fmt.Sprintf("10.0.0.%d", n))
		}
		other := naFrame(macB, 0x60, 255, "fe80::66") // solicited
		if !ipv6 {
			other = arpFrame(broadcast, macB, 1, "10.0.0.2", "10.0.0.1")
		}
		l.sendFrame(t, other)
		l.sendFrame(t, claim(own, 5))
		onBehalf := claim(own, 5) // its sender's Ethernet address is another one
		copy(onBehalf[6:12], macB[:])
		l.sendFrame(t, onBehalf)
		onBehalf = claim(macB, 5)
		copy(onBehalf[6:12], own[:])
		l.sendFrame(t, onBehalf)
		l.a.do(t, func() { // what this host sends itself
			tap := openTap(t, i.Index)
			defer unix.Close(tap)
			_, err := unix.Write(tap, claim(macB, 5))
			must(t, err)
		})
		l.sendFrame(t, claim(macB, 6))
		l.sendFrame(t, claim(macA, 7))
		var got []Announcement
		eventually(t, "announcements", func() bool {
			got = append(got, c.Announcements(batch)...)
			return len(got) >= 2
		})
		want := []Announcement{{netip.MustParseAddr("10.0.0.6"), macB}, {netip.MustParseAddr("10.0.0.7"), macA}}
		if ipv6 {
			want = []Announcement{{netip.MustParseAddr("fe80::6"), macB}, {netip.MustParseAddr("fe80::7"), macA}}
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if s := c.Stats(); s.Announcements != 2 || s.AnnouncementsOwn != 3 {
			t.Errorf("%+v", s)
		}

		// A successor's whole list, at once, read in bounded turns.
		for n := range 250 {
			l.sendFrame(t, claim(macB, n+1))
		}
		total := 0
		eventually(t, "250 announcements", func() bool {
			n := len(c.Announcements(10))
			if n > 10 {
				t.Fatalf("%d in one turn", n)
			}
			total += n
			return total >= 250
		})
	})
}

func TestConn_ReceiveThatFailsYieldsNothing(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	must(t, c.SetKnown(Known{V3: VRIDs{}.With(51)}))
	l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0)
	eventually(t, "the advert", func() bool { return len(c.Receive(batch)) == 1 })
	fd := c.receive.fd
	c.receive.fd = -1
	if got := c.Receive(batch); len(got) != 0 || c.Stats().ReceiveErrors == 0 {
		t.Errorf("%d packets of an earlier call, %+v", len(got), c.Stats())
	}
	c.receive.fd = fd
}

func TestConn_KernelDrops(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	must(t, c.SetKnown(Known{V3: VRIDs{}.With(51)}))
	must(t, unix.SetsockoptInt(c.receive.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10))
	const packets = 1000
	for range packets {
		l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0)
	}
	received := uint64(0)
	eventually(t, "every packet to be accounted for", func() bool {
		received += uint64(len(c.Receive(batch)))
		return received+c.Stats().ReceiveOverflow == packets
	})
	if received == packets || received == 0 {
		t.Errorf("%d of %d received: the test overflowed nothing, or all", received, packets)
	}
}

// The large buffer holds what a stopped process would miss.
func TestConn_LargeBuffer(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	must(t, c.SetKnown(Known{V3: VRIDs{}.With(51)}))
	const packets = 5000
	for range packets {
		l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0)
	}
	received := 0
	eventually(t, "all adverts", func() bool { received += len(c.Receive(batch)); return received == packets })
	if s := c.Stats(); s.ReceiveOverflow != 0 {
		t.Errorf("%+v", s)
	}
}

func TestConn_Truncated(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, i := l.a.open(t, "eth0", ipv6)
		b, _ := l.b.open(t, "eth0", ipv6)
		must(t, b.SetKnown(Known{V3: VRIDs{}.With(51)}))
		src := sourceOf(t, i, ipv6)
		a.Send(src, Group(ipv6), advert(51, make([]byte, longestAdvert)...), false)
		a.Send(src, Group(ipv6), advert(51, 1), false)
		must(t, a.Flush())
		received, _ := collect(t, b, 1)
		if len(received) != 1 || received[0].Payload != string(advert(51, 1)) || b.Stats().ReceiveTruncated != 1 {
			t.Errorf("received %d, %+v", len(received), b.Stats())
		}
	})
}

func TestConn_SurveyRate(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	p, err := NewPoller()
	must(t, err)
	defer p.Close()
	must(t, c.Watch(p, 8))

	const seconds = 10
	flood := func() { // 1000 packets a second, ten times what is read
		for range 10 {
			l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0)
		}
	}
	read, turns, wakes := 0, 0, 0
	for now := time.Duration(0); now < seconds*time.Second; now += 10 * time.Millisecond {
		flood()
		turns++
		until, paused := c.SurveyPaused()
		ready, err := p.Wait(1, nil) // does not sleep
		must(t, err)
		if paused && slices.Contains(ready, 8+ReadySurvey) {
			t.Fatalf("at %s: reported although paused until %s", now, until)
		}
		if slices.Contains(ready, 8+ReadySurvey) || paused && now >= until {
			wakes++
			for {
				n := len(c.Survey(now, surveyBatch))
				read += n
				if n == 0 {
					break
				}
			}
		}
	}
	if limit := surveyBurst + seconds*surveyRate; read > limit || read < limit*8/10 {
		t.Errorf("%d read in %d s, want at most %d and not much less", read, seconds, limit)
	}
	if wakes > 10*seconds {
		t.Errorf("woken %d times in %d s", wakes, seconds)
	}
	s := c.Stats()
	if s.SurveyPauses == 0 || s.Surveyed != uint64(read) || s.SurveyOverflow == 0 {
		t.Errorf("%+v", s)
	}
	if waiting := uint64(turns*10) - s.Surveyed - s.SurveyOverflow; waiting > 200 {
		t.Errorf("%d packets neither read nor counted as dropped: the survey's buffer is not small", waiting)
	}
	if len(c.Receive(batch)) != 0 {
		t.Error("refused packets were received")
	}

	// Quiet again: it comes back by itself.
	for now := (seconds + 1) * time.Second; ; now += time.Second {
		if len(c.Survey(now, surveyBatch)) == 0 {
			break
		}
	}
	flood()
	eventually(t, "the survey to be reported", func() bool {
		ready, err := p.Wait(1, nil)
		must(t, err)
		return slices.Contains(ready, 8+ReadySurvey)
	})
}
