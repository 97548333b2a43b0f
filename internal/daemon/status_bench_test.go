package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"baton/health"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
	"baton/internal/record"
	"baton/internal/role"
	"baton/internal/webhook"
	"baton/vip"
)

// thousand is a node with a thousand virtual routers, on five links.
func thousand(b testing.TB, publish func(*snapshot)) *node {
	b.Helper()
	cfg := &config.Config{Node: "a"}
	for i := range 1000 {
		cfg.Routers = append(cfg.Routers, config.Router{
			Name: fmt.Sprintf("router-%04d", i), Interface: fmt.Sprintf("eth%d", i/200), VRID: uint8(i%200 + 1), Version: 3,
			Priority: 200, Priorities: map[string]uint8{"a": 200, "b": 190}, Interval: time.Second, Missed: 3, Preempt: true,
			Addresses: []config.Address{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i%250 + 1)}), 24), Advertise: true}},
			Announce:  config.Announce{Count: 1}, RetryAfter: time.Minute,
		})
	}
	n, err := newNode(cfg, slog.New(slog.DiscardHandler), outlets{
		send: func(*uplink, link.MAC, netip.Addr, netip.Addr, []byte, bool) {}, flush: func() {}, wall: wall,
		addresses: func(vip.Router) addresses { return noAddresses{} },
		hooks:     func(role.Router) hooks { return noHooks{} },
		publish:   publish,
		announce:  func(webhook.Event) {},
		event:     func(control.EventKind, string, string, string) {},
		record:    func(string, record.State) {},
	})
	if err != nil {
		b.Fatal(err)
	}
	n.start(time.Second)
	return n
}

// What a change of one router of a thousand costs the protocol loop.
func BenchmarkPublish1000(b *testing.B) {
	n := thousand(b, func(*snapshot) {})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n.groups[i%len(n.groups)].touch()
		n.settle(time.Minute)
	}
}

// askThousand serves the status of a thousand routers, and calls ask with a client of it.
func askThousand(b testing.TB, ask func(get func() *control.Status)) {
	b.Helper()
	p := newPublished(&snapshot{})
	n := thousand(b, p.publish)
	poller, err := link.NewPoller()
	if err != nil {
		b.Fatal(err)
	}
	defer poller.Close()
	quiet := slog.New(slog.DiscardHandler)
	l := newLoop(poller, quiet)
	l.node = n
	d := &daemon{
		cfg: n.cfg, loop: l, published: p, events: newEvents(), host: new(host), listener: new(control.Listener), standbyFile: newStandbyFile(b.TempDir(), quiet),
		scheduler: health.NewScheduler(nil, quiet, func(health.Change) {}),
	}
	for _, r := range n.routers { // each has heard its master
		r.heardFrom(time.Second, netip.AddrFrom4([4]byte{10, 0, 0, 254}), 250)
	}
	n.settle(time.Minute)
	dir := b.TempDir()
	socket, err := control.Listen(control.SocketPath(dir), control.Access{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- control.NewServer(d, control.Access{}, quiet).Serve(ctx, socket) }()
	client := control.Dial(dir)
	ask(func() *control.Status {
		s, err := client.Status(ctx)
		if err != nil {
			b.Fatal(err)
		}
		return s
	})
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

// The status of a thousand routers arrives whole.
func TestStatus_Thousand(t *testing.T) {
	askThousand(t, func(get func() *control.Status) {
		s := get()
		if len(s.Routers) != 1000 || s.Routers[999].Name != "router-0999" || s.Routers[999].Parts[0].Peers[0].Priority != 250 {
			t.Errorf("%d routers, the last is %+v", len(s.Routers), s.Routers[len(s.Routers)-1])
		}
	})
}

// What `baton status` costs with a thousand routers: the daemon's answer over its
// socket, read by the client. The protocol loop has no part in it.
func BenchmarkStatus1000(b *testing.B) {
	askThousand(b, func(get func() *control.Status) {
		for b.Loop() {
			get()
		}
	})
}
