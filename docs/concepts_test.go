package docs_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"baton/vrrp"
)

// example is a pair of nodes as the table of times has it: an interval, and the priority that counts.
type example struct {
	interval time.Duration
	priority uint8
}

var conceptsVIP, conceptsOther = netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("10.0.0.11")

// router is a router of its own set that has just started, at begun.
func (e example) router(t *testing.T, c vrrp.Config) (*vrrp.Set, vrrp.ID) {
	t.Helper()
	c.Family, c.VRID, c.Interval, c.Preempt, c.Addresses = vrrp.IPv4, 51, e.interval, true, []netip.Addr{conceptsVIP}
	s := vrrp.NewSet()
	id, err := s.Add(c)
	if err != nil {
		t.Fatal(err)
	}
	s.Step(begun, id, vrrp.Event{Kind: vrrp.Readdressed, Addr: netip.MustParseAddr("10.0.0.12")})
	s.Step(begun, id, vrrp.Event{Kind: vrrp.Startup})
	return s, id
}

// begun is when routers start: a multiple of each interval.
const begun = 1000 * time.Second

// master is a router that has become master, and when.
func (e example) master(t *testing.T, c vrrp.Config) (*vrrp.Set, vrrp.ID, time.Duration) {
	t.Helper()
	s, id := e.router(t, c)
	now := s.Deadline()
	s.Expire(now)
	if s.State(id).Role != vrrp.Master {
		t.Fatalf("%v after silence", s.State(id).Role)
	}
	return s, id, now
}

// hears has a router receive an advertisement of another node.
func (e example) hears(t *testing.T, s *vrrp.Set, now time.Duration, priority uint8) {
	t.Helper()
	a := vrrp.Advertisement{Version: 3, VRID: 51, Priority: priority, Interval: e.interval, Addresses: []netip.Addr{conceptsVIP}}
	group := vrrp.IPv4.Group()
	_, refusal := s.Receive(now, 0, vrrp.Packet{Src: conceptsOther, Dst: group, TTL: 255, Message: a.AppendTo(nil, conceptsOther, group)})
	if refusal != 0 {
		t.Fatalf("the advertisement is refused: %v", refusal)
	}
}

// times are the rows of the table, and what the protocol's own code says of each.
var times = []struct {
	name string
	of   func(*testing.T, example) time.Duration
}{
	{"skew time", func(t *testing.T, e example) time.Duration {
		s, _ := e.router(t, vrrp.Config{Priority: e.priority})
		e.hears(t, s, begun, 254)
		e.hears(t, s, begun, 0)
		return s.Deadline() - begun
	}},
	{"master down interval", func(t *testing.T, e example) time.Duration {
		s, _ := e.router(t, vrrp.Config{Priority: e.priority})
		return s.Deadline() - begun
	}},
	{"hand-over bound", func(t *testing.T, e example) time.Duration {
		s, id := e.router(t, vrrp.Config{Priority: 254, SlowestRival: e.priority})
		return s.HandoverBound(id)
	}},
	{"last release", func(t *testing.T, e example) time.Duration {
		s, id, now := e.master(t, vrrp.Config{Priority: 254})
		s.Step(now, id, vrrp.Event{Kind: vrrp.Shutdown})
		e.hears(t, s, now, e.priority)
		return s.Deadline() - now
	}},
	{"fast yield", func(t *testing.T, e example) time.Duration {
		s, id, now := e.master(t, vrrp.Config{Priority: 254})
		s.Step(now, id, vrrp.Event{Kind: vrrp.Reprioritised, Priority: e.priority})
		return s.Deadline() - now
	}},
	{"adoption patience", func(t *testing.T, e example) time.Duration {
		s, id := e.router(t, vrrp.Config{Priority: 254, BestRival: e.priority})
		return s.Patience(id)
	}},
}

var conceptsColumn = regexp.MustCompile(`^(\S+), (\d+)$`)

// The figures of the table of times are those of package vrrp, to the digits that are shown.
func TestConcepts_Times(t *testing.T) {
	var columns []example
	found := map[string]bool{}
	for _, line := range strings.Split(read(t, "concepts.md"), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) < 4 {
			continue
		}
		if cells[0] == "Time" {
			columns = nil
			for _, c := range cells[1:] {
				columns = append(columns, column(t, c))
			}
			continue
		}
		for _, row := range times {
			if cells[0] != row.name || len(columns) != len(cells)-1 {
				continue
			}
			found[row.name] = true
			for i, e := range columns {
				if got, want := cells[1+i], row.of(t, e); !same(got, want) {
					t.Errorf("%s with %v and %d: the page has %q, vrrp says %v", row.name, e.interval, e.priority, got, want)
				}
			}
		}
	}
	for _, row := range times {
		if !found[row.name] {
			t.Errorf("concepts.md has no %s", row.name)
		}
	}
}

func column(t *testing.T, head string) example {
	t.Helper()
	m := conceptsColumn.FindStringSubmatch(head)
	if m == nil {
		t.Fatalf("concepts.md: the column %q is no interval and priority", head)
	}
	interval, err := time.ParseDuration(m[1])
	if err != nil {
		t.Fatal(err)
	}
	priority, err := strconv.ParseUint(m[2], 10, 8)
	if err != nil {
		t.Fatal(err)
	}
	return example{interval, uint8(priority)}
}

// same tells whether a text such as "3.258 s" is a time, rounded to the text's digits.
func same(text string, d time.Duration) bool {
	number, unit, _ := strings.Cut(text, " ")
	_, fraction, _ := strings.Cut(number, ".")
	value := d.Seconds()
	switch unit {
	case "ms":
		value *= 1000
	case "s":
	default:
		return false
	}
	return fmt.Sprintf("%.*f", len(fraction), value) == number
}

func TestSame(t *testing.T) {
	for text, want := range map[string]bool{"3.258 s": true, "3.26 s": true, "3258 ms": true, "3.257 s": false, "3.258": false, "3.258 ms": false, "3.2580 s": false} {
		if got := same(text, 3257812500*time.Nanosecond); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
