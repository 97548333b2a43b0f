//go:build soak

package test

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
	"baton/test/site"
)

// Forged packets at 20,000 a second, from sources without number, none of which wins an election: the role stays,
// the log stays short, and the daemons obey. Not parallel: it takes a processor.
func TestFlood(t *testing.T) {
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	vip := c.Routers[0].Addresses[0]
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	changes := spoken(t, a, b)
	for _, host := range []string{"a", "b", "client"} {
		s.Wire(host).Close() // or this process decodes each packet three times
	}
	lines := len(a.Process.Lines()) + len(b.Process.Lines())

	from := time.Now()
	end := flood(t, s.Client, forgeries())
	time.Sleep(3 * time.Second)
	unmoved(t, s, vip, "a", from)
	if got := len(a.Changes()) + len(b.Changes()); got != changes {
		t.Errorf("the role changed: %v, %v", a.Changes(), b.Changes())
	}
	// Two kinds of line, each for at most 256 sources and reasons a minute, on two nodes.
	if got := len(a.Process.Lines()) + len(b.Process.Lines()) - lines; got > 1100 {
		t.Errorf("%d lines of log", got)
	}
	// The last one has no successor, but a forgery passes for one: a second later the address goes.
	for _, n := range []*site.Node{b, a} {
		stop := time.Now()
		must(t, n.Stop())
		if took := time.Since(stop); took > 5*time.Second {
			t.Errorf("%s took %v to stop", n.Name, took)
		}
	}
	if sent := end(); sent < 20000 {
		t.Errorf("only %d packets were sent: the test shows nothing", sent)
	}
}

// forgeries are frames that no router may believe, from a thousand sources.
func forgeries() [][]byte {
	var frames [][]byte
	for i := range 1000 {
		source := [4]byte{10, 99, byte(10 + i/250), byte(1 + i%250)}
		for _, p := range []forgery{
			{ttl: 255, vrid: 51, priority: byte(1 + i%180)},        // loses
			{ttl: 255, vrid: 51, priority: 0},                      // leaves
			{ttl: 255, vrid: 51, priority: 250, damaged: true},     // a wrong checksum
			{ttl: byte(i % 255), vrid: 51, priority: 250},          // from another link
			{ttl: 255, vrid: byte(60 + i%190), priority: 250},      // of nobody here
			{ttl: 255, vrid: 51, priority: 250, interval: noValue}, // an interval of zero
		} {
			frames = append(frames, p.frame(source))
		}
	}
	return frames
}

// forgery is an advertisement of version 3; the zero interval is a good one.
type forgery struct {
	ttl, vrid, priority byte
	interval            uint16
	damaged             bool
}

const noValue = 0xffff

func (p forgery) frame(source [4]byte) []byte {
	m := []byte{0x31, p.vrid, p.priority, 1, 0, 10, 0, 0, 10, 99, 1, 1}
	if p.interval == noValue {
		m[5] = 0
	}
	binary.BigEndian.PutUint16(m[6:], checksum(m))
	if p.damaged {
		m[7]++
	}
	ip := []byte{0x45, 0, 0, byte(20 + len(m)), 0, 0, 0, 0, p.ttl, 112, 0, 0}
	ip = append(append(ip, source[:]...), 224, 0, 0, 18)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	frame := []byte{1, 0, 0x5e, 0, 0, 0x12, 2, 0, 0, 9, 9, 9, 8, 0}
	return append(append(frame, ip...), m...)
}

// flood sends the frames in turn, 20,000 a second, until the returned function is called, which says how many.
func flood(t *testing.T, h *lab.Host, frames [][]byte) (end func() int) {
	t.Helper()
	fd := -1
	must(t, h.Do(func() (err error) {
		i, err := net.InterfaceByName(site.Interface)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open a packet socket: %w", err)
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: i.Index})
	}))
	var stop atomic.Bool
	sent, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		defer unix.Close(fd)
		for begin := time.Now(); !stop.Load(); time.Sleep(200 * time.Microsecond) {
			for due := int(time.Since(begin) / (50 * time.Microsecond)); sent < due; sent++ {
				_, _ = unix.Write(fd, frames[sent%len(frames)]) // a full queue is a part of it
			}
		}
	}()
	end = func() int {
		stop.Store(true)
		<-done
		return sent
	}
	t.Cleanup(func() { end() })
	return end
}
