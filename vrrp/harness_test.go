package vrrp_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/vrrp"
)

const (
	ms     = time.Millisecond
	second = time.Second
	// epoch is when tests begin: a whole number of every interval used, so
	// that the shared phase of advertisements is zero.
	epoch = 1000 * second
)

var (
	addr  = netip.MustParseAddr
	vip   = addr("192.0.2.100")
	vip2  = addr("192.0.2.101")
	self  = addr("192.0.2.10")
	lower = addr("192.0.2.9")  // a peer that loses a tie against self
	upper = addr("192.0.2.11") // a peer that wins it
)

// node drives one router and remembers the time.
type node struct {
	t   *testing.T
	set *vrrp.Set
	id  vrrp.ID
	cfg vrrp.Config
	now time.Duration
	src netip.Addr
}

// option changes a configuration.
type option func(*vrrp.Config)

func priority(p uint8) option          { return func(c *vrrp.Config) { c.Priority = p } }
func interval(d time.Duration) option  { return func(c *vrrp.Config) { c.Interval = d } }
func addresses(a ...netip.Addr) option { return func(c *vrrp.Config) { c.Addresses = a } }
func rivals(best, slowest uint8) option {
	return func(c *vrrp.Config) { c.BestRival, c.SlowestRival = best, slowest }
}
func noPreempt(c *vrrp.Config)   { c.Preempt = false }
func bound(c *vrrp.Config)       { c.Bound = true }
func messageOnly(c *vrrp.Config) { c.Checksum = vrrp.MessageOnly }
func version2(c *vrrp.Config)    { c.Version = 2 }
func password(p string) option {
	return func(c *vrrp.Config) {
		c.Version, c.Password = 2, new([8]byte)
		copy(c.Password[:], p)
	}
}
func peers(a ...netip.Addr) option { return func(c *vrrp.Config) { c.Peers = a } }
func ttl(from, to uint8) option {
	return func(c *vrrp.Config) { c.MinTTL, c.MaxTTL = from, to }
}
func ipv6(c *vrrp.Config) {
	c.Family, c.Addresses = vrrp.IPv6, []netip.Addr{addr("fe80::100"), addr("2001:db8::100")}
}
func config(options ...option) vrrp.Config {
	c := vrrp.Config{
		Family:    vrrp.IPv4,
		VRID:      51,
		Priority:  100,
		Interval:  second,
		Preempt:   true,
		Addresses: []netip.Addr{vip},
	}
	for _, o := range options {
		o(&c)
	}
	return c
}

// newNode returns a node in INIT, at epoch.
func newNode(t *testing.T, options ...option) *node {
	t.Helper()
	n := &node{t: t, set: vrrp.NewSet(), cfg: config(options...), now: epoch, src: self}
	if n.cfg.Family == vrrp.IPv6 {
		n.src = addr("fe80::10")
	}
	var err error
	if n.id, err = n.set.Add(n.cfg); err != nil {
		t.Fatal(err)
	}
	n.step(vrrp.Event{Kind: vrrp.Readdressed, Addr: n.src})
	return n
}

// newBackup returns a node that became BACKUP at epoch.
func newBackup(t *testing.T, options ...option) *node {
	t.Helper()
	n := newNode(t, options...)
	n.step(vrrp.Event{Kind: vrrp.Startup})
	n.is(vrrp.Backup)
	return n
}

// newMaster returns a node that became MASTER by silence, moved to the next
// whole second, when it has just advertised.
func newMaster(t *testing.T, options ...option) *node {
	t.Helper()
	n := newBackup(t, options...)
	n.expire()
	n.is(vrrp.Master)
	for n.now%second != 0 {
		n.expire()
	}
	return n
}

// newFaulty returns a node that is in FAULT because of a check.
func newFaulty(t *testing.T, options ...option) *node {
	t.Helper()
	n := newBackup(t, options...)
	n.step(vrrp.Event{Kind: vrrp.Faulty, Reason: "test"})
	n.is(vrrp.Fault)
	return n
}

func (n *node) after(d time.Duration) *node { n.now += d; return n }

func (n *node) step(e vrrp.Event) []string {
	return texts(n.set.Step(n.now, n.id, e))
}

// expire moves to the deadline and handles what is due.
func (n *node) expire() []string {
	n.t.Helper()
	d := n.set.Deadline()
	if d == vrrp.Never {
		n.t.Fatal("expire: no deadline")
	}
	n.now = max(n.now, d)
	return n.tick()
}

// tick handles what is due now.
func (n *node) tick() []string { return texts(n.set.Expire(n.now)) }

// advert changes an advertisement before it is heard.
type advert func(*vrrp.Advertisement)

func every(d time.Duration) advert { return func(a *vrrp.Advertisement) { a.Interval = d } }

// hear receives an advertisement for the router with the priority.
func (n *node) hear(src netip.Addr, priority uint8, changes ...advert) []string {
	n.t.Helper()
	actions, refusal := n.receive(src, priority, changes...)
	if refusal != vrrp.Accepted {
		n.t.Fatalf("advertisement was refused: %s", refusal)
	}
	return actions
}

func (n *node) receive(src netip.Addr, priority uint8, changes ...advert) ([]string, vrrp.Refusal) {
	actions, refusal := n.set.Receive(n.now, n.cfg.Link, n.packet(src, priority, changes...))
	return texts(actions), refusal
}

// packet is what a peer with the router's own configuration would send.
func (n *node) packet(src netip.Addr, priority uint8, changes ...advert) vrrp.Packet {
	a := vrrp.Advertisement{
		Version:   n.cfg.Version,
		VRID:      n.cfg.VRID,
		Priority:  priority,
		Interval:  n.cfg.Interval,
		Addresses: n.cfg.Addresses,
		Checksum:  n.cfg.Checksum,
	}
	if n.cfg.Password != nil {
		a.AuthType, a.Auth = 1, *n.cfg.Password
	}
	for _, c := range changes {
		c(&a)
	}
	p := packet(&a, src)
	if len(n.cfg.Peers) > 0 {
		p.Dst = n.src
		p.Message = a.AppendTo(nil, p.Src, p.Dst)
	}
	p.Wall = n.wall()
	if h := n.cfg.HMAC; h != nil && h.Mode != vrrp.HMACReceiveOnly {
		p = signed(p, h.Send, h.Keys[h.Send], stamp(p.Wall))
	}
	return p
}

// wall is the wall clock: 14 November 2023, and what has passed since epoch.
func (n *node) wall() time.Duration { return 1_700_000_000*second + n.now - epoch }

// packet is an advertisement as src multicasts it.
func packet(a *vrrp.Advertisement, src netip.Addr) vrrp.Packet {
	dst := vrrp.IPv4.Group()
	if src.Is6() {
		dst = vrrp.IPv6.Group()
	}
	return vrrp.Packet{Src: src, Dst: dst, TTL: 255, Message: a.AppendTo(nil, src, dst)}
}

func (n *node) state() vrrp.State { return n.set.State(n.id) }

func (n *node) is(role vrrp.Role) {
	n.t.Helper()
	if got := n.state().Role; got != role {
		n.t.Fatalf("role is %s, want %s", got, role)
	}
}

func (n *node) holds(want vrrp.AddressState) {
	n.t.Helper()
	if got := n.state().Addresses; got != want {
		n.t.Errorf("addresses are %d, want %d", got, want)
	}
}

// due checks how far away the deadline is.
func (n *node) due(want time.Duration) {
	n.t.Helper()
	if got := n.set.Deadline() - n.now; got != want {
		n.t.Errorf("deadline is in %s, want %s", got, want)
	}
}

func texts(actions []vrrp.Action) []string {
	s := make([]string, 0, len(actions))
	for _, a := range actions {
		text := a.String()
		if a.Router != 0 {
			text = fmt.Sprintf("router %d: %s", a.Router, text)
		}
		s = append(s, text)
	}
	return s
}

// check compares actions with the lines that a trace would show.
func check(t *testing.T, got []string, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("actions (-want +got):\n%s", d)
	}
}
