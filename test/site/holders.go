package site

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"baton/internal/lab"
)

// Holders knows which hosts have held which address, and when, from the kernels' own messages.
type Holders struct {
	mu      sync.Mutex
	changes []lab.AddressChange
	err     error
	more    chan struct{} // closed and replaced at each change
}

func newHolders() *Holders { return &Holders{more: make(chan struct{})} }

func (h *Holders) note(c lab.AddressChange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changes = append(h.changes, c)
	close(h.more)
	h.more = make(chan struct{})
}

func (h *Holders) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
	}
}

// Span is a time in which the same hosts held an address.
type Span struct {
	From, To time.Time
	Hosts    []string
}

func (s Span) String() string {
	who := "nobody"
	if len(s.Hosts) > 0 {
		who = strings.Join(s.Hosts, "+")
	}
	return fmt.Sprintf("%s for %v", who, s.To.Sub(s.From).Round(10*time.Microsecond))
}

// Spans tells who held an address from one time to another, without gaps; it fails when a message was lost.
func (h *Holders) Spans(addr netip.Addr, from, to time.Time) ([]Span, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return nil, h.err
	}
	spans := []Span{{From: from, To: to}}
	for _, c := range h.ordered(addr) {
		if c.At.After(to) {
			break
		}
		last := &spans[len(spans)-1]
		hosts := slices.DeleteFunc(slices.Clone(last.Hosts), func(name string) bool { return name == c.Host })
		if c.Present {
			hosts = append(hosts, c.Host)
			slices.Sort(hosts)
		}
		if !c.At.After(from) {
			last.Hosts = hosts
			continue
		}
		last.To = c.At
		spans = append(spans, Span{From: c.At, To: to, Hosts: hosts})
	}
	return spans, nil
}

// ordered returns the changes of one address by time: those of different hosts come by different ways.
func (h *Holders) ordered(addr netip.Addr) []lab.AddressChange {
	var list []lab.AddressChange
	for _, c := range h.changes {
		if c.Prefix.Addr() == addr {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b lab.AddressChange) int { return a.At.Compare(b.At) })
	return list
}

// Now returns the hosts that hold an address.
func (h *Holders) Now(addr netip.Addr) []string {
	now := time.Now()
	spans, err := h.Spans(addr, now, now)
	if err != nil {
		return nil
	}
	return spans[0].Hosts
}

// Longest returns the longest time during which exactly n hosts held the address.
func (h *Holders) Longest(addr netip.Addr, n int, from, to time.Time) (time.Duration, error) {
	spans, err := h.Spans(addr, from, to)
	var longest time.Duration
	for _, s := range spans {
		if len(s.Hosts) == n {
			longest = max(longest, s.To.Sub(s.From))
		}
	}
	return longest, err
}

// Await waits until exactly the given host, and no other, holds each of the addresses.
func (h *Holders) Await(host string, timeout time.Duration, addrs ...netip.Addr) error {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		h.mu.Lock()
		more, err := h.more, h.err
		h.mu.Unlock()
		if err != nil {
			return err
		}
		wrong, who := netip.Addr{}, []string(nil)
		for _, a := range addrs {
			if hosts := h.Now(a); len(hosts) != 1 || hosts[0] != host {
				wrong, who = a, hosts
				break
			}
		}
		if !wrong.IsValid() {
			return nil
		}
		select {
		case <-more:
		case <-deadline.C:
			return fmt.Errorf("%v is held by %v after %v, want %s alone", wrong, who, timeout, host)
		}
	}
}

// When returns the time of the first change from a time on that put the address on the host, or took it off.
func (h *Holders) When(host string, addr netip.Addr, present bool, from time.Time) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.ordered(addr) {
		if c.Host == host && c.Present == present && !c.At.Before(from) {
			return c.At, true
		}
	}
	return time.Time{}, false
}
