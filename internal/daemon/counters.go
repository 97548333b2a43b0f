package daemon

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"baton/internal/command"
	"baton/internal/control"
	"baton/internal/link"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

// counters are what the metrics count. Whoever counts waits for nobody: each is one
// atomic addition. What a status has already, such as the roles, is not here.
type counters struct {
	lateness       lateness
	twoMasters     atomic.Uint64
	twoMastersFor  atomic.Int64 // nanoseconds
	addresses      [vip.Stuck]atomic.Uint64
	services       [role.StopFailed + 1]atomic.Uint64
	hooks          [hookResults]atomic.Uint64
	reloads        [2]atomic.Uint64 // by whether they failed
	lastReloadFail atomic.Bool

	mu    sync.Mutex // held only to find an entry, or to list them
	links map[linkKey]*tally
}

// linkKey is an interface and a family.
type linkKey struct {
	iface string
	ipv6  bool
}

// tally is what one interface has carried of one family, whatever became of its
// sockets meanwhile.
type tally struct {
	sent, unsent, received, broken, lost atomic.Uint64
	refused                              [vrrp.Refusals]atomic.Uint64
}

func newCounters() *counters { return &counters{links: make(map[linkKey]*tally)} }

// link is the tally of an interface and a family.
func (c *counters) link(iface string, ipv6 bool) *tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.links[linkKey{iface, ipv6}]
	if t == nil {
		t = new(tally)
		c.links[linkKey{iface, ipv6}] = t
	}
	return t
}

// count adds what a Conn has counted since it had counted before.
func (t *tally) count(s, before link.Stats) {
	t.sent.Add(s.Sent - before.Sent)
	t.unsent.Add(s.SendDropped + s.SendFailed - before.SendDropped - before.SendFailed)
	t.received.Add(s.Received - before.Received)
	broken := func(s link.Stats) uint64 {
		return s.ReceiveTruncated + s.ReceiveMalformed + s.SurveyTruncated + s.SurveyMalformed
	}
	t.broken.Add(broken(s) - broken(before))
	t.lost.Add(s.ReceiveOverflow - before.ReceiveOverflow)
}

// The bounds of the buckets of lateness. A timer is 0.06 ms late as a rule; an
// interval of 10 ms has a skew of as little.
var latenessBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
}

// lateness is a histogram of how long after its deadline the loop served a timer.
type lateness struct {
	counts [len(latenessBounds) + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
	worst  atomic.Int64
}

// add is called by the loop alone.
func (l *lateness) add(d time.Duration) {
	i := 0
	for i < len(latenessBounds) && d > latenessBounds[i] {
		i++
	}
	l.counts[i].Add(1)
	l.sum.Add(int64(d))
	if int64(d) > l.worst.Load() {
		l.worst.Store(int64(d))
	}
}

// reassert counts a rival that was heard and beaten.
func (c *counters) reassert(d time.Duration) {
	c.twoMasters.Add(1)
	c.twoMastersFor.Add(int64(d))
}

// address counts what befell an address, a route or a rule.
func (c *counters) address(k vip.EventKind) {
	if k > vip.Off && k < vip.Stuck {
		c.addresses[k].Add(1)
	}
}

// service counts what went wrong with one.
func (c *counters) service(k role.ReportKind) {
	if failures[k] != "" {
		c.services[k].Add(1)
	}
}

// failures are the reports that are failures, in a word.
var failures = map[role.ReportKind]string{role.StartFailed: "not started", role.Died: "died", role.Lost: "lost", role.StopFailed: "not stopped"}

// How a hook ended.
const (
	hookOK = iota
	hookFailed
	hookTimedOut
	hookResults
)

func (c *counters) hook(r command.Result) {
	switch {
	case r.OK():
		c.hooks[hookOK].Add(1)
	case r.TimedOut:
		c.hooks[hookTimedOut].Add(1)
	default:
		c.hooks[hookFailed].Add(1)
	}
}

// reload counts a reload of the configuration, by whether it changed anything but
// failed.
func (c *counters) reload(err error) {
	i := 0
	if err != nil {
		i = 1
	}
	c.reloads[i].Add(1)
	c.lastReloadFail.Store(err != nil)
}

// metrics are the counters as they are now.
func (c *counters) metrics() control.Metrics {
	m := control.Metrics{
		Links:           c.linkMetrics(),
		TwoMasters:      c.twoMasters.Load(),
		TwoMastersFor:   time.Duration(c.twoMastersFor.Load()),
		Addresses:       make(map[string]uint64),
		ServiceFailures: make(map[string]uint64),
		Hooks:           map[string]uint64{"success": c.hooks[hookOK].Load(), "failure": c.hooks[hookFailed].Load(), "timeout": c.hooks[hookTimedOut].Load()},
		Reloads:         map[string]uint64{"success": c.reloads[0].Load(), "failure": c.reloads[1].Load()},
		ReloadFailed:    c.lastReloadFail.Load(),
		Lateness:        control.Lateness{Sum: time.Duration(c.lateness.sum.Load()).Seconds(), Worst: time.Duration(c.lateness.worst.Load()).Seconds()},
	}
	for _, b := range latenessBounds {
		m.Lateness.Bounds = append(m.Lateness.Bounds, b.Seconds())
	}
	for i := range c.lateness.counts {
		m.Lateness.Counts = append(m.Lateness.Counts, c.lateness.counts[i].Load())
	}
	for k := vip.Failed; k < vip.Stuck; k++ {
		m.Addresses[k.String()] = c.addresses[k].Load()
	}
	for k, word := range failures {
		m.ServiceFailures[word] = c.services[k].Load()
	}
	return m
}

func (c *counters) linkMetrics() []control.LinkMetrics {
	c.mu.Lock()
	links := maps.Clone(c.links)
	c.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(links), func(a, b linkKey) int {
		return cmp.Or(cmp.Compare(a.iface, b.iface), cmp.Compare(familyOf(a.ipv6), familyOf(b.ipv6)))
	})
	var all []control.LinkMetrics
	for _, k := range keys {
		t := links[k]
		l := control.LinkMetrics{
			Interface: k.iface, Family: familyOf(k.ipv6).String(), Sent: t.sent.Load(), Unsent: t.unsent.Load(), Received: t.received.Load(),
			Refused: make(map[string]uint64), Broken: t.broken.Load(), Lost: t.lost.Load(),
		}
		for r := vrrp.Accepted + 1; int(r) < vrrp.Refusals; r++ {
			l.Refused[r.String()] = t.refused[r].Load()
		}
		all = append(all, l)
	}
	return all
}

func familyOf(ipv6 bool) vrrp.Family {
	if ipv6 {
		return vrrp.IPv6
	}
	return vrrp.IPv4
}
