package frame

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"baton/internal/lab"
)

// Capture collects the decoded frames of one interface.
type Capture struct {
	tap *lab.Tap

	mu      sync.Mutex
	packets []Packet
	more    chan struct{} // closed and replaced when a packet comes
}

// Record captures on an interface of a host until it is closed, or the laboratory is.
func Record(h *lab.Host, ifname string) (*Capture, error) {
	c := &Capture{more: make(chan struct{})}
	tap, err := h.Tap(ifname, func(f lab.Frame) {
		p := Decode(f)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.packets = append(c.packets, p)
		close(c.more)
		c.more = make(chan struct{})
	})
	if err != nil {
		return nil, err
	}
	c.tap = tap
	return c, nil
}

// Close ends the capture. What it has collected stays.
func (c *Capture) Close() { c.tap.Close() }

// Packets returns what was captured so far, in the kernel's order.
func (c *Capture) Packets() []Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.packets[:len(c.packets):len(c.packets)]
}

// Since returns what was captured from a time on.
func (c *Capture) Since(t time.Time) []Packet {
	all := c.Packets()
	for i, p := range all {
		if !p.At.Before(t) {
			return all[i:]
		}
	}
	return nil
}

// Wait returns the first packet from a time on that match accepts.
func (c *Capture) Wait(from time.Time, timeout time.Duration, match func(Packet) bool) (Packet, error) {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for next := 0; ; {
		c.mu.Lock()
		packets, more := c.packets, c.more
		c.mu.Unlock()
		for ; next < len(packets); next++ {
			if p := packets[next]; !p.At.Before(from) && match(p) {
				return p, nil
			}
		}
		select {
		case <-more:
		case <-deadline.C:
			return Packet{}, fmt.Errorf("not captured within %v; the last packets were:\n%s", timeout, tail(packets, 8))
		}
	}
}

// tail writes the last n packets, one in a line.
func tail(packets []Packet, n int) string {
	var b strings.Builder
	for _, p := range packets[max(0, len(packets)-n):] {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}
