package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/health"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
	"baton/internal/record"
	"baton/internal/role"
	"baton/internal/webhook"
	"baton/vip"
	"baton/vrrp"
)

var (
	ownAddr   = netip.MustParseAddr("10.0.0.1")
	peerAddr  = netip.MustParseAddr("10.0.0.2")
	thirdAddr = netip.MustParseAddr("10.0.0.3")
	virtual   = netip.MustParseAddr("10.0.0.100")
)

// webRouter is a router of node a, which is preferred to b.
func webRouter() config.Router {
	return config.Router{
		Name:         "web",
		Interface:    "eth0",
		VRID:         51,
		Priority:     200,
		Priorities:   map[string]uint8{"a": 200, "b": 190},
		BestRival:    190,
		SlowestRival: 190,
		Interval:     time.Second,
		Version:      3,
		Missed:       3,
		Preempt:      true,
		Accept:       true,
		TrackLink:    true,
		Addresses:    []config.Address{{Prefix: netip.PrefixFrom(virtual, 24), Repair: true, Advertise: true}},
		RetryAfter:   5 * time.Minute,
	}
}

// pair is the configuration of node a of two, with the routers, or else web.
func pair(routers ...config.Router) *config.Config {
	if len(routers) == 0 {
		routers = []config.Router{webRouter()}
	}
	return &config.Config{
		Node:    "a",
		Nodes:   []config.Node{{Name: "a", Cluster: ownAddr}, {Name: "b", Cluster: peerAddr}},
		Routers: routers,
	}
}

// stage is a node with nothing real around it. What it does is written down
// in order.
type stage struct {
	t     *testing.T
	n     *node
	now   time.Duration
	did   []string
	told  []role.Transition
	waits int // advertisements that wait for flush
	log   bytes.Buffer

	events   []webhook.Event
	kept     []control.Event // the events that those who ask are told of
	recorded map[string]record.State
	lent     map[string]bool   // by router: its addresses are not announced
	held     map[string]uint64 // by router: the newest Hold
	status   *control.Status   // newest that was published
	snapshot *snapshot         // which it was read from
	saved    savedStandby      // that outlives the process
	question confirmation      // the newest of a previous master
	order    uint64            // of the newest wish to services
	asked    role.Transition   // that came with it
}

func newStage(t *testing.T, cfg *config.Config) *stage {
	t.Helper()
	s := &stage{t: t, now: 1000 * time.Second, recorded: make(map[string]record.State), lent: make(map[string]bool), held: make(map[string]uint64)}
	log := slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	var err error
	s.n, err = newNode(cfg, log, outlets{
		send:      s.send,
		flush:     s.flush,
		wall:      func() time.Duration { return s.now },
		addresses: func(r vip.Router) addresses { return &stageAddresses{s, r.Name} },
		hooks:     func(r role.Router) hooks { return &stageHooks{s, r.Name} },
		services:  func(_ config.Router, r role.Router) services { return &stageServices{s: s, name: r.Name} },
		readdress: s.readdress,
		retire:    s.retire,
		relinked:  func(*uplink) {},
		structure: func() {},
		announce:  func(e webhook.Event) { s.events = append(s.events, e) },
		event: func(kind control.EventKind, name, what, text string) {
			s.kept = append(s.kept, control.Event{Kind: kind, Name: name, What: what, Text: text})
		},
		keep:    func(saved savedStandby) { s.saved = saved },
		record:  func(election string, st record.State) { s.recorded[election] = st },
		publish: func(sn *snapshot) { s.snapshot, s.status = sn, sn.read(s.now, time.Unix(0, int64(s.now))) },
		reboot:  func(group string) { s.note("reboot for %s", group) },
		confirm: func(q confirmation, within time.Duration) {
			s.question = q
			s.note("ask %s for %s of %s within %s", q.node, strings.Join(q.services, ", "), q.group, within)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stage) note(format string, args ...any) { s.did = append(s.did, fmt.Sprintf(format, args...)) }

func (s *stage) send(u *uplink, mac link.MAC, src, dst netip.Addr, message []byte, urgent bool) {
	var a vrrp.Advertisement
	if refusal := a.Parse(message, src, dst); refusal != vrrp.Accepted {
		s.t.Errorf("the node sends what a peer refuses: %s", refusal)
	}
	if urgent != (a.Priority == 0) {
		s.t.Errorf("advertisement with priority %d: urgent is %t", a.Priority, urgent)
	}
	s.waits++
	to := ""
	if mac != (link.MAC{}) {
		to += fmt.Sprintf(" by %x", mac)
	}
	if dst != link.Group(src.Is6()) {
		to += " to " + dst.String()
	}
	s.note("send %s vrid %d priority %d from %s%s", u.name, a.VRID, a.Priority, src, to)
}

func (s *stage) flush() {
	if s.waits == 0 {
		s.t.Error("flush with nothing to send")
	}
	s.waits = 0
	s.note("flush")
}

type stageAddresses struct {
	s    *stage
	name string
}

func (a *stageAddresses) Announced(netip.Addr) (int, time.Duration) { return 5, a.s.now }

func (a *stageAddresses) Hold(seq uint64) {
	a.s.lent[a.name] = false
	if seq == a.s.held[a.name] {
		return // announces again what was lent
	}
	a.s.held[a.name] = seq
	a.s.note("hold %s %d", a.name, seq)
}

func (a *stageAddresses) Lend() { a.s.lent[a.name] = true }

func (a *stageAddresses) Release(addrs ...netip.Addr) {
	if len(addrs) == 0 {
		a.s.note("release %s", a.name)
		return
	}
	a.s.note("release %s %v", a.name, addrs)
}

type stageHooks struct {
	s    *stage
	name string
}

func (h *stageHooks) Tell(t role.Transition) {
	what := string(t.To)
	if t.Reassert {
		what = "reassert"
	}
	h.s.note("tell %s %s", h.name, what)
	h.s.told = append(h.s.told, t)
}

type stageServices struct {
	s     *stage
	name  string
	order uint64
}

func (h *stageHooks) Resume(st role.State) { h.s.note("resume %s %s", h.name, st) }

func (v *stageServices) StopLeft() { v.s.note("stop left services of %s", v.name) }

func (v *stageServices) Adopt(order uint64, t role.Transition) {
	v.order, v.s.order, v.s.asked = order, order, t
	v.s.note("adopt services of %s", v.name)
}

func (v *stageServices) Begin() { v.s.note("begin services of %s", v.name) }

func (v *stageServices) Start(order uint64, t role.Transition, delay time.Duration) {
	v.order, v.s.order, v.s.asked = order, order, t
	v.s.note("start services of %s after %s", v.name, delay)
}

func (v *stageServices) Stop(order uint64, t role.Transition, chosen bool) {
	v.order, v.s.order, v.s.asked = order, order, t
	v.s.note("stop services of %s, chosen %t", v.name, chosen)
}

func (v *stageServices) Placed(order uint64) {
	if order != v.order {
		v.s.t.Errorf("Placed with order %d, the newest is %d", order, v.order)
	}
	v.s.note("placed %s", v.name)
}

func (v *stageServices) StartNow(order uint64) {
	if order != v.s.order {
		v.s.t.Errorf("StartNow with order %d, the newest is %d", order, v.s.order)
	}
	v.s.note("start services of %s now", v.name)
}

func (v *stageServices) Abandon() { v.s.note("abandon services of %s", v.name) }

func (v *stageServices) Follow(t role.Transition) {
	v.s.asked = t
	v.s.note("services of %s follow %s", v.name, t.Master)
}

// report brings what the services say of the newest wish.
func (s *stage) report(kind role.ReportKind, service, text string) {
	s.n.serviceReport(s.now, "web", role.Report{Order: s.order, Kind: kind, Service: service, Text: text})
}

// eth is the uplink eth0 as the kernel would show it.
func eth(up bool, addrs ...string) link.Interface {
	i := link.Interface{Index: 2, Name: "eth0", Up: up, AdminUp: true, Carrier: up}
	for _, a := range addrs {
		i.Addresses = append(i.Addresses, link.Address{Prefix: netip.MustParsePrefix(a)})
	}
	return i
}

// link gives eth0 a new state.
func (s *stage) link(state link.Interface) { s.linkNamed("eth0", state) }

func (s *stage) linkNamed(name string, state link.Interface) {
	state.Name = name
	s.n.linkChanged(s.now, s.n.uplink(name), state, true, nil)
}

// start starts the node with a link that works.
func (s *stage) start() {
	s.link(eth(true, "10.0.0.1/24"))
	s.n.start(s.now)
}

// master starts the node, and goes on to where it is master of everything
// that it can get, with all addresses on; what was done until then is forgotten.
func (s *stage) master() {
	s.t.Helper()
	s.start()
	s.advance(3700 * time.Millisecond) // between two advertisements
	for _, r := range s.n.routers {
		if r.role != vrrp.Master {
			s.t.Fatalf("%s is %s, want MASTER", r.cfg.Name, r.role)
		}
		s.on(r.cfg.Name)
	}
	s.forget()
}

// advance lets time pass.
func (s *stage) advance(d time.Duration) {
	s.t.Helper()
	until := s.now + d
	for range 10000 {
		next := s.n.deadline()
		if next > until {
			s.now = until
			return
		}
		s.now = max(s.now, next)
		s.n.expire(s.now)
	}
	s.t.Fatal("a deadline that expire does not move")
}

// hear brings an advertisement of web.
func (s *stage) hear(from netip.Addr, priority uint8) { s.hearVRID(from, 51, priority) }

func (s *stage) hearVRID(from netip.Addr, vrid, priority uint8) {
	a := vrrp.Advertisement{VRID: vrid, Priority: priority, Interval: time.Second, Addresses: []netip.Addr{virtual}}
	s.packet(from, a.AppendTo(nil, from, vrrp.IPv4.Group()), 255)
}

func (s *stage) packet(from netip.Addr, message []byte, ttl uint8) {
	s.n.packet(s.now, s.n.uplink("eth0"), link.Packet{Src: from, Dst: vrrp.IPv4.Group(), TTL: ttl, Payload: message})
}

func (s *stage) verdict(check string, to health.Verdict, text string) {
	s.n.verdict(s.now, health.Change{Check: check, To: to, Text: text})
}

// on says that all addresses of the newest Hold are on.
func (s *stage) on(name string) {
	for _, r := range s.n.routers {
		if r.name == name {
			s.n.addressEvent(s.now, vip.Event{Router: name, Kind: vip.On, Seq: r.holds})
			return
		}
	}
	s.t.Fatalf("no router %s", name)
}

// event brings an event of the address worker about web's address.
func (s *stage) event(kind vip.EventKind, err error) {
	e := vip.Event{Router: "web", Kind: kind, Err: err, Seq: s.router("web").holds}
	if kind != vip.On && kind != vip.Off {
		e.Address = virtual
	}
	s.n.addressEvent(s.now, e)
}

func (s *stage) router(name string) *router {
	for _, r := range s.n.routers {
		if r.cfg.Name == name {
			return r
		}
	}
	s.t.Fatalf("no router %s", name)
	return nil
}

func (s *stage) forget() {
	s.did, s.told = nil, nil
	s.log.Reset()
}

// wantDone compares what was done since the last call.
func (s *stage) wantDone(want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.did); diff != "" {
		s.t.Errorf("what the node did (-want +got):\n%s", diff)
	}
	s.did = nil
}

// wantRole compares web's role, and the reason in the newest log line about a
// role.
func (s *stage) wantRole(want vrrp.Role, reason string) {
	s.t.Helper()
	if got := s.n.set.State(s.router("web").id).Role; got != want {
		s.t.Errorf("role %s, want %s", got, want)
	}
	var last string
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, "msg=role ") {
			last = line
		}
	}
	if !strings.Contains(last, "to="+want.String()) || !strings.Contains(last, "reason="+quoted(reason)+" ") {
		s.t.Errorf("log says %q, want %s because of %q", last, want, reason)
	}
}

// wantLog looks for a piece of the log.
func (s *stage) wantLog(piece string) {
	s.t.Helper()
	if !strings.Contains(s.log.String(), piece) {
		s.t.Errorf("log has no %q:\n%s", piece, s.log.String())
	}
}

// quoted is a value as slog's text has it.
func quoted(s string) string {
	if strings.ContainsAny(s, " \"=") {
		return fmt.Sprintf("%q", s)
	}
	return s
}

func track(check string, effect config.EffectKind, weight int, when config.When) config.Track {
	return config.Track{Check: check, Effect: effect, Weight: weight, When: when}
}

func (h *stageHooks) Reconfigure(r role.Router) {
	h.s.note("hooks of %s are those of %s", h.name, r.Name)
	h.name = r.Name
}

func (v *stageServices) Rebind(c config.Router, r role.Router) {
	var names []string
	for _, s := range c.Services {
		names = append(names, s.Name)
	}
	v.s.note("services of %s are %v of %s", v.name, names, r.Name)
	v.name = r.Name
}

func (s *stage) readdress(changes []addressChange) {
	for _, c := range changes {
		a := c.of.(*stageAddresses)
		if c.remove {
			s.note("addresses of %s end", a.name)
			continue
		}
		var list []string
		for _, v := range c.router.Addresses {
			list = append(list, v.Prefix.String())
		}
		s.note("addresses of %s are %v of %s", a.name, list, c.router.Name)
		a.name = c.router.Name
	}
}

func (s *stage) retire(h hooks, v services) {
	if h, ok := h.(*stageHooks); ok {
		s.note("hooks of %s end", h.name)
	}
	if v, ok := v.(*stageServices); ok {
		s.note("services of %s end", v.name)
	}
}
