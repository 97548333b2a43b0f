package vip

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// macvlan is a router's VirtualMAC with what has been done of it. It is made as
// soon as there is something to put it on, and stays down until an address is
// wished. It goes down before its addresses go: the removal of an address from
// an interface that is up makes the kernel send from the virtual MAC, and the
// switch learns the wrong port again. 1,300 to 1,550 packets were lost by that.
type macvlan struct {
	VirtualMAC
	router *router
	base   *iface // the router's interface
	self   *iface

	tuned int  // index of the interface that was tuned
	made  bool // by us, and not yet seen to be right
	ready bool // it was as wished, and up

	upkeep
	failure error // what keeps it from being as wished; reportLink tells it
}

// opening is how an interface answers for the addresses of others: the values
// of net.ipv4.conf.NAME.arp_ignore and arp_announce.
type opening struct{ ignore, announce uint32 }

// closed answers for its own addresses only, and never asks in the name of others.
var closed = opening{ignore: 1, announce: 2}

// atLeast returns the stricter of both; the kernel, too, knows more or less strict.
func (o opening) atLeast(p opening) opening {
	return opening{ignore: max(o.ignore, p.ignore), announce: max(o.announce, p.announce)}
}

const (
	macvlanKind = "macvlan"
	// lastRoute is the metric of the routes that an address on a macvlan brings:
	// worse than any of the interface below, so that the host's own traffic goes
	// on by that one and its reverse path filter finds what it expects. With
	// equal metrics the older route counts, which after a flap is the macvlan's.
	lastRoute = 1 << 20
)

var errNotOurs = errors.New("an interface of that name exists and is no macvlan: rename or remove it, or name the virtual MAC's interface otherwise")

// errElsewhere is for the kernel's own ideas of where to put a macvlan.
var errElsewhere = errors.New("the kernel has put it on another interface")

// settings are changes to an interface; Request tune.
type settings struct {
	alias string           // IFLA_IFALIAS; empty: as it is
	inet  []devconfSetting // net.ipv4.conf.NAME
	mode6 int              // net.ipv6.conf.NAME.addr_gen_mode; below 0: as it is
	// files are settings of net.ipv6.conf.NAME that netlink does not reach.
	files []fileSetting
	// otherwise is what follows where they cannot be made.
	otherwise string
}

type devconfSetting struct {
	which uint16 // IPV4_DEVCONF_..., linux/ip.h
	value uint32
}

type fileSetting struct{ name, value string }

// describe is the text that keeps the base's former values over a crash, as the
// macvlan's alias.
func (o opening) describe() string { return fmt.Sprintf(aliasFormat, o.ignore, o.announce) }

const aliasFormat = "baton: parent arp_ignore %d arp_announce %d"

// described reads an alias that describe wrote.
func described(alias string) (o opening, ok bool) {
	n, err := fmt.Sscanf(alias, aliasFormat, &o.ignore, &o.announce)
	return o, err == nil && n == 2
}

// addMacvlan registers a router's virtual MAC.
func (t *table) addMacvlan(r *router) {
	r.macvlan = &macvlan{VirtualMAC: *r.VirtualMAC, router: r, base: t.interfaceNamed(r.Interface), self: r.iface}
	r.macvlan.base.macvlans = append(r.macvlan.base.macvlans, r.macvlan)
	r.iface.macvlan = r.macvlan
	r.iface.queue.pace = r.macvlan.base.queue.pace
}

// wanted reports whether the macvlan is to be up.
func (m *macvlan) wanted() bool {
	return slices.ContainsFunc(m.router.addresses, func(a *address) bool { return a.wished })
}

// stands reports whether the macvlan is there and as it should be, up or down.
func (m *macvlan) stands() bool {
	own := m.self.link
	return own.index != 0 && own.kind == macvlanKind && own.base == m.ground() && own.mode == nl.MACVLAN_MODE_BRIDGE && own.mac == m.MAC
}

// ground is the index of the interface that carries the macvlan; 0: none. The
// kernel does not put one macvlan on another, but beside it.
func (m *macvlan) ground() int {
	if m.base.link.kind == macvlanKind {
		return m.base.link.base
	}
	return m.base.link.index
}

// plan adds to p what is to be done for the macvlan, and reports whether it is
// the turn of its addresses.
func (m *macvlan) plan(t *table, p *plan, now time.Duration) bool {
	r := m.router
	out, ready := m.step(t, now)
	switch {
	case ready:
		m.ready = m.wanted()
		m.made = false
	case m.ready && m.wanted() && m.base.link.up:
		m.becomeMissing(now)
		m.ready = false
	default:
		m.ready = false
	}
	if m.base.link.index == 0 {
		m.missing = false // it went with the base
	}
	if !ready {
		for _, a := range r.addresses {
			if a.onMacvlan() && a.installed && !a.present() {
				a.becomeMissing(now) // quietly: the interface is down, or gone
			}
		}
	}
	if len(out) == 0 {
		if !m.foreign() {
			m.failure = nil
			m.accepted()
		}
		return ready
	}
	if now < m.retryAt {
		r.due = min(r.due, m.retryAt)
		return ready
	}
	r.pending = true
	p.links = append(p.links, out...)
	return ready
}

// announce starts announcing an address once all of the router's are in use, and
// with the last one those that have waited: the first announcement takes the
// frames to all of them, as they have one MAC. 5 to 12 questions to the second
// of two IPv6 addresses were lost. One that cannot be put on is not waited for.
func (m *macvlan) announce(a *address) {
	a.announced = false
	if !m.allIn() {
		return
	}
	m.self.queue.start(a)
	for _, other := range m.self.wanted {
		if other != a && other.installed && !other.announced {
			m.self.queue.start(other)
		}
	}
}

// announceWaiting announces what has waited for an address that cannot be put on.
func (m *macvlan) announceWaiting() {
	for _, a := range m.self.wanted {
		if a.installed && !a.announced && !a.settling && !a.router.wish.lent {
			m.announce(a)
			return
		}
	}
}

// allIn reports whether all addresses that are wished, and can be, are in use.
func (m *macvlan) allIn() bool {
	return !slices.ContainsFunc(m.self.wanted, func(a *address) bool {
		return a.wished && (!a.installed || a.settling) && a.err == "" && !a.given
	})
}

// foreign reports whether something else has the macvlan's name.
func (m *macvlan) foreign() bool {
	return m.self.link.index != 0 && m.self.link.kind != macvlanKind
}

// step compares what is wished of the macvlan with what the kernel has, and
// returns what is to be done, and whether it is as wished.
func (m *macvlan) step(t *table, now time.Duration) (out []request, ready bool) {
	base, own, up := &m.base.link, &m.self.link, m.wanted()
	ask := func(k requestKind) request {
		return request{kind: k, macvlan: m, index: own.index, name: m.Name, base: *base}
	}
	switch {
	case m.foreign():
		m.becomeFailed(fmt.Errorf("make the virtual MAC's interface %s on %s: %w", m.Name, m.base.name, errNotOurs), now)
		return nil, false // its message will come when it has gone
	case own.index != 0 && (own.base != m.ground() || own.mode == nl.MACVLAN_MODE_PASSTHRU):
		if m.made {
			m.made = false
			m.becomeFailed(fmt.Errorf("make the virtual MAC's interface %s on %s: %w", m.Name, m.base.name, errElsewhere), now)
		}
		return t.dismiss(*own), false
	case base.index == 0:
		return nil, false
	case own.index == 0:
		return []request{ask(makeLink)}, false
	case !up && own.up:
		return []request{ask(downLink)}, false
	case !m.stands():
		return []request{ask(mendLink)}, false
	}
	if m.tuned != own.index {
		out = m.tuning(t.filters)
	}
	if up && !own.up {
		if !base.up {
			return out, false
		}
		return append(out, ask(upLink)), false
	}
	return out, true
}

// tuning returns what makes a new macvlan, and the interface below, answer each
// for its own addresses only, and keeps it free of all others.
func (m *macvlan) tuning(filters bool) []request {
	f, own := m.base, m.self.link
	if f.former == nil {
		f.former = f.formerly()
	}
	filter := uint32(0)
	if filters {
		filter = 2 // loose: the way back is by the interface below
	}
	here := &settings{
		alias: f.former.describe(),
		inet: []devconfSetting{
			{devconfARPIgnore, closed.ignore}, {devconfARPAnnounce, closed.announce},
			{devconfRPFilter, filter}, {devconfForwarding, boolean(f.link.forward4)},
		},
		mode6:     -1,
		otherwise: "it may answer ARP for other addresses than its own, a filter may drop what comes for its addresses, and it may not forward",
	}
	out := []request{{kind: tune, macvlan: m, index: own.index, name: m.Name, settings: here}}
	if own.six {
		out = append(out, request{kind: tune, macvlan: m, index: own.index, name: m.Name, settings: &settings{
			mode6: m.linkLocal(),
			files: []fileSetting{
				{"accept_ra", "0"}, {"autoconf", "0"}, {"accept_dad", "0"},
				// Or reports of multicast listeners are sent for seconds after it went up: also
				// after a successor has announced the addresses, at whose port it steals the MAC.
				{"mldv1_unsolicited_report_interval", "10"}, {"mldv2_unsolicited_report_interval", "10"},
				{"forwarding", fmt.Sprint(boolean(f.link.forward6))},
			},
			otherwise: "it may have an address of its own that another node has too, or by router advertisements, and may not forward IPv6",
		}})
	}
	if want := f.link.opening.atLeast(closed); want != f.link.opening {
		out = append(out, ground(f.link, want, "it may answer ARP for virtual addresses, with its own address"))
	}
	return out
}

// linkLocal says how the kernel chooses a link-local address for the macvlan.
// By the MAC all nodes would choose the same one. Where it forwards IPv6 it
// needs one that differs: neighbours are asked from it.
func (m *macvlan) linkLocal() int {
	six, own := false, false
	for _, a := range m.router.Addresses {
		six = six || a.Prefix.Addr().Is6()
		own = own || a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast()
	}
	if six && !own {
		return addrGenModeRandom
	}
	return addrGenModeNone
}

// ground is a request that sets how an interface under macvlans answers.
func ground(l link, want opening, otherwise string) request {
	return request{kind: tune, index: l.index, name: l.name, settings: &settings{
		inet:  []devconfSetting{{devconfARPIgnore, want.ignore}, {devconfARPAnnounce, want.announce}},
		mode6: -1, otherwise: otherwise,
	}}
}

// formerly returns how an interface answered before it carried macvlans: what
// one of them remembers, or else what is so now.
func (f *iface) formerly() *opening {
	for _, m := range f.macvlans {
		if o, ok := described(m.self.link.alias); ok && m.self.link.base == m.ground() {
			return &o
		}
	}
	o := f.link.opening
	return &o
}

// dismiss returns what takes away a macvlan that is of no use, and puts back
// what was changed below it.
func (t *table) dismiss(l link) []request {
	out := []request{{kind: dropLink, index: l.index, name: l.name}}
	former, ok := described(l.alias)
	f := t.iface(l.base)
	switch {
	case !ok || l.base <= 0:
	case f == nil || len(f.macvlans) == 0:
		out = append(out, ground(link{index: l.base, name: fmt.Sprintf("interface %d", l.base)}, former, "it answers ARP for its own addresses only"))
	case f.former == nil:
		f.former = &former
	}
	return out
}

// orphan notes a macvlan of ours that no router has, of an earlier run or by
// another name: up, it would answer for addresses that are elsewhere by now.
func (t *table) orphan(l link) {
	if _, ours := described(l.alias); ours && l.kind == macvlanKind && t.named(l) == nil && !t.dismissed(l.index) {
		t.log.Warn("virtual MAC's interface that no router has: removed", "interface", l.name)
		t.strays = append(t.strays, t.dismiss(l)...)
	}
}

// becomeMissing notes that the macvlan is not as it was, by somebody else.
func (m *macvlan) becomeMissing(now time.Duration) {
	if m.lost(now) {
		m.router.say(Event{Kind: Contested, Err: fmt.Errorf("keep the virtual MAC's interface %s on %s: %w", m.Name, m.base.name, errTampered)})
	}
}

var errTampered = errors.New("somebody removes or changes it again and again")

// becomeFailed notes that something could not be done for the macvlan.
func (m *macvlan) becomeFailed(err error, now time.Duration) {
	if m.refused(err, now) {
		m.failure = err
	}
}

// repaired notes that the addresses are on and announced again.
func (m *macvlan) repaired(now time.Duration) {
	if !m.missing {
		return
	}
	m.missing = false
	if m.fights <= fightFree {
		m.router.say(Event{Kind: Repaired, After: now - m.noticed})
	}
}

// doneLink is done for what is asked of interfaces.
func (t *table) doneLink(q request, err error, now time.Duration) {
	f, m := t.iface(q.index), q.macvlan
	if m != nil {
		m.router.dirty = true
	}
	switch {
	case q.kind == tune:
		t.doneTune(q, err)
	case m == nil: // a stray
		if err != nil && !errors.Is(err, unix.ENODEV) {
			t.log.Warn("interface of an earlier run could not be removed", "interface", q.name, "err", err)
		}
	case errors.Is(err, unix.ENODEV): // its message will come
		m.retryAt = now + retryFirst
	case err != nil:
		m.becomeFailed(err, now)
	default:
		m.retryAt, m.backoff = 0, 0
		switch {
		case q.kind == makeLink:
			m.made = true
		case q.kind == mendLink && f != nil: // of what is down the kernel says nothing
			f.link.mac, f.link.mode = m.MAC, nl.MACVLAN_MODE_BRIDGE
		}
	}
}

// doneTune notes the answer to settings. Where they cannot be made, it goes on
// without.
func (t *table) doneTune(q request, err error) {
	switch {
	case err == nil:
	case errors.Is(err, unix.ENODEV), errors.Is(err, errNoAnswer):
		return // once more
	case !t.told[q.name+q.settings.otherwise]:
		t.told[q.name+q.settings.otherwise] = true
		t.log.Warn("interface could not be set up for a virtual MAC", "interface", q.name, "err", err, "consequence", q.settings.otherwise)
	}
	if q.macvlan != nil {
		q.macvlan.tuned = q.index
	}
	if f := t.iface(q.index); f != nil {
		for _, c := range q.settings.inet {
			switch c.which {
			case devconfARPIgnore:
				f.link.opening.ignore = c.value
			case devconfARPAnnounce:
				f.link.opening.announce = c.value
			}
		}
		if q.settings.alias != "" {
			f.link.alias = q.settings.alias
		}
	}
}

// leaving returns what is left to do at the end: to take away the macvlans that
// hold nothing, and to put back what was changed below them.
func (t *table) leaving() []request {
	var out []request
	for _, r := range t.routers {
		if m := r.macvlan; m != nil && m.self.link.index != 0 && !m.foreign() && !m.holds() {
			out = append(out, request{kind: dropLink, index: m.self.link.index, name: m.Name})
		}
	}
	for _, f := range t.ifaces {
		if f.former == nil || f.link.index == 0 || slices.ContainsFunc(f.macvlans, func(m *macvlan) bool { return m.self.link.index != 0 && !m.foreign() }) {
			continue
		}
		if f.link.opening == f.former.atLeast(closed) { // else somebody has set something else
			out = append(out, ground(f.link, *f.former, "it answers ARP for its own addresses only"))
		}
	}
	return out
}

// holds reports whether addresses of the router are wished or on.
func (m *macvlan) holds() bool {
	return m.wanted() || slices.ContainsFunc(m.router.addresses, func(a *address) bool { return len(m.self.seen[a.Prefix.Addr()]) > 0 })
}

// explainLink makes the kernel's refusal of q one that a person can act on.
func (q request) explainLink(err error) error {
	what := fmt.Sprintf("%s %s", q.kind, q.name)
	if q.base.name != "" {
		what += " on " + q.base.name
	}
	hint := ""
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w", what, missing(err, "CAP_NET_ADMIN"))
	case errors.Is(err, unix.EBUSY):
		hint = "the interface is a port of a bridge, bond or team, or has others on top that leave no room: give the router that bridge or bond"
	case q.kind == makeLink && errors.Is(err, unix.EOPNOTSUPP):
		hint = "this kernel has no macvlan: load its module, or do without virtual_mac"
	case q.kind == makeLink && errors.Is(err, unix.EINVAL):
		hint = "virtual MACs need an Ethernet interface, without a macvlan in passthru mode on it"
	case errors.Is(err, unix.EADDRINUSE):
		hint = fmt.Sprintf("another interface there has the address %s: does another VRRP program run?", net.HardwareAddr(q.macvlan.MAC[:]))
	}
	if hint == "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %s", what, err, hint)
}

func boolean(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
