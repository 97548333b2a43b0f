package daemon

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
	"baton/internal/record"
	"baton/internal/role"
	"baton/internal/webhook"
	"baton/vip"
	"baton/vrrp"
)

type noAddresses struct{}

func (noAddresses) Hold(uint64)           {}
func (noAddresses) Lend()                 {}
func (noAddresses) Release(...netip.Addr) {}

func (noAddresses) Announced(netip.Addr) (int, time.Duration) { return 0, 0 }

type noHooks struct{}

func (noHooks) Tell(role.Transition) {}

func (noHooks) Resume(role.State) {}

func (noHooks) Reconfigure(role.Router) {}

// The whole path of a packet, in and out: socket, link, node, vrrp, and back.
// Of two routers this node is backup of one and master of the other,
// for which it hears a rival that loses, as well as a packet that is refused.
func TestLoop_NoAllocationsInSteadyState(t *testing.T) {
	needNamespace(t)
	cable(t, "steady0", "steady1")
	addAddress(t, "steady0", "10.78.0.1/24")
	const interval = 10 * time.Millisecond
	router := func(name string, vrid, priority uint8, virtual string) config.Router {
		return config.Router{
			Name: name, Interface: "steady0", VRID: vrid, Priority: priority, Interval: interval, Preempt: true,
			Addresses: []config.Address{{Prefix: netip.MustParsePrefix(virtual), Advertise: true}}, TrackLink: true, RetryAfter: time.Minute,
		}
	}
	cfg := &config.Config{Node: "a", Routers: []config.Router{router("backup", 51, 100, "10.78.0.100/24"), router("master", 52, 200, "10.78.0.101/24")}}
	quiet := slog.New(slog.DiscardHandler)
	poller, err := link.NewPoller()
	must(t, err)
	t.Cleanup(func() { _ = poller.Close() })
	l := newLoop(poller, quiet)
	l.node, err = newNode(cfg, quiet, outlets{
		record: func(string, record.State) {},
		send:   l.send, flush: l.flush, wall: wall,
		addresses: func(vip.Router) addresses { return noAddresses{} },
		hooks:     func(role.Router) hooks { return noHooks{} },
		publish:   func(*snapshot) {},
		announce:  func(webhook.Event) {},
		event:     func(control.EventKind, string, string, string) {},
	})
	must(t, err)
	m, err := link.NewMonitor(quiet)
	must(t, err)
	t.Cleanup(m.Close)
	k := newLinks(m, l.node.links, quiet)
	l.discard = k.discard
	for _, up := range k.updates() {
		l.update(poller.Now(), up)
	}
	t.Cleanup(l.close)
	l.node.start(poller.Now())

	peer := netip.MustParseAddr("10.78.0.2")
	w := newWire(t, "steady1")
	frames := [][]byte{
		advertisementFrame(peer, 255, vrrp.Advertisement{VRID: 51, Priority: 250, Interval: time.Second, Addresses: []netip.Addr{netip.MustParseAddr("10.78.0.100")}}),
		advertisementFrame(peer, 255, vrrp.Advertisement{VRID: 52, Priority: 50, Interval: time.Second, Addresses: []netip.Addr{netip.MustParseAddr("10.78.0.101")}}),
		advertisementFrame(peer, 64, vrrp.Advertisement{VRID: 52, Priority: 50, Interval: time.Second, Addresses: []netip.Addr{netip.MustParseAddr("10.78.0.101")}}),
	}
	var ready []uint64
	var failed error
	turns := func() { // an interval of them
		for _, f := range frames {
			if _, err := unix.Write(w.fd, f); err != nil {
				failed = err
			}
		}
		for end := poller.Now() + interval; poller.Now() < end; {
			var err error
			if ready, err = poller.Wait(min(l.node.deadline(), l.socketDeadline(), end), ready); err != nil {
				failed = err
			}
			l.turn(ready)
		}
	}
	role := func(name string) vrrp.Role {
		for _, r := range l.node.routers {
			if r.cfg.Name == name {
				return r.role
			}
		}
		return vrrp.Init
	}
	for end := poller.Now() + 10*time.Second; role("backup") != vrrp.Backup || role("master") != vrrp.Master; {
		if turns(); poller.Now() > end {
			t.Fatalf("%s and %s, want BACKUP and MASTER", role("backup"), role("master"))
		}
	}
	before := l.conns[0].Stats()
	const runs = 100
	if n := testing.AllocsPerRun(runs, turns); n != 0 {
		t.Errorf("%v allocations in an interval", n)
	}
	must(t, failed)
	after := l.conns[0].Stats()
	if after.Received-before.Received < 2*runs || after.Sent-before.Sent < runs || after.Surveyed == before.Surveyed || role("backup") != vrrp.Backup {
		t.Errorf("the test tried nothing: %+v", after)
	}
	if m := l.node.counters.metrics(); m.Links[0].Sent < runs || m.Links[0].Received < 2*runs || m.Links[0].Refused["ttl"] == 0 || m.Lateness.Worst == 0 {
		t.Errorf("not all was counted: %+v", m)
	}
}
