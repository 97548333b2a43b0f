package vip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const ms = time.Millisecond

// sim is a table with a simulated kernel: one interface, "eth0", and a journal
// of what the table wanted and said.
type sim struct {
	t       *testing.T
	table   *table
	link    link
	kernel  map[netip.Prefix]bool
	refuse  map[netip.Addr]error
	silent  bool // the kernel does not answer for IPv6 addresses yet
	objects []object
	reject  map[string]error // by the object's name
	journal []string
	now     time.Duration

	vlan       link  // the macvlan, if there is one
	made       int   // macvlans so far
	refuseLink error // of all changes to macvlans
}

func newSim(t *testing.T, routers ...Router) (*sim, []*Handle) {
	s := &sim{t: t, kernel: make(map[netip.Prefix]bool), refuse: make(map[netip.Addr]error), now: time.Hour}
	s.table = newTable(slog.New(slog.DiscardHandler), func(e Event) {
		text := fmt.Sprintf("%s: %s", e.Router, e.Kind)
		if e.Address.IsValid() {
			text += " " + e.Address.String()
		}
		if e.Object != "" {
			text += " " + e.Object
		}
		if e.After > 0 {
			text += " after " + e.After.String()
		}
		s.note("%s", text)
	})
	s.link = link{index: 2, name: "eth0", ethernet: true, up: true, running: true, mac: [6]byte{2, 0, 0, 0, 0, 1}}
	var handles []*Handle
	for _, r := range routers {
		h := newHandle(r, func() {})
		s.table.add(r, h)
		handles = append(handles, h)
	}
	s.resync()
	return s, handles
}

func (s *sim) note(format string, args ...any) {
	s.journal = append(s.journal, fmt.Sprintf(format, args...))
}

func (s *sim) resync() {
	d := dump{}
	if s.link.index != 0 {
		d.links = []link{s.link}
	}
	for p := range s.kernel {
		d.addresses = append(d.addresses, dumped{index: s.link.index, entry: entry{prefix: p, secondary: true}})
	}
	s.table.resync(d)
}

// turn does what a turn of the worker does; it reports whether there was work.
func (s *sim) turn() bool {
	if s.table.drops {
		s.table.tidy()
	}
	s.table.wishes(s.now)
	if k := &s.table.routing; k.stale && s.now >= k.readAt {
		s.table.read(s.objects)
	}
	requests := s.table.plan(s.now)
	for _, q := range requests {
		if q.object != nil {
			s.change(q)
			continue
		}
		if q.kind >= makeLink {
			s.changeLink(q)
			continue
		}
		s.note("%s %s", q.kind, q.prefix)
		err := s.refuse[q.prefix.Addr()]
		switch {
		case err != nil:
		case q.kind == set:
			s.kernel[q.prefix] = true
			e := q.address.form()
			e.assumed, e.secondary = false, true
			s.table.setAddr(q.index, e)
		case q.kind == remove:
			delete(s.kernel, q.prefix)
			s.table.removeAddr(q.index, entry{prefix: q.prefix, peer: q.peer})
		}
		s.table.done(q, err, s.now)
	}
	s.table.paced(requests, 0)
	if addrs := s.table.unsettled(s.now); len(addrs) > 0 {
		local := make([]bool, len(addrs))
		for i := range local {
			local[i] = !s.silent
		}
		s.table.settled(local, s.now)
	}
	sent := 0
	for _, f := range s.table.ifaces {
		for f.speaks() {
			a := f.queue.next(s.now)
			if a == nil {
				break
			}
			sent++
			s.note("announce %s", a.Prefix.Addr())
			s.table.announced(a, s.now)
		}
	}
	s.table.report(s.now)
	return len(requests)+sent > 0
}

// settle takes turns until the table wants to wait, for longer than a gap.
func (s *sim) settle() {
	s.t.Helper()
	for range 10000 {
		s.turn()
		due := s.table.deadline()
		switch {
		case due > s.now+gap:
			return
		case due > s.now:
			s.now = due
		}
	}
	s.t.Fatal("the table never rests")
}

// run lets time pass.
func (s *sim) run(d time.Duration) {
	s.t.Helper()
	end := s.now + d
	for range 100000 {
		s.settle()
		due := s.table.deadline()
		if due > end {
			s.now = end
			return
		}
		s.now = due
	}
	s.t.Fatal("the table never rests")
}

// lose removes an address as another program would.
func (s *sim) lose(prefix string) {
	p := netip.MustParsePrefix(prefix)
	delete(s.kernel, p)
	s.table.removeAddr(s.link.index, entry{prefix: p})
}

// want compares the journal, and begins a new one.
func (s *sim) want(lines ...string) {
	s.t.Helper()
	if diff := cmp.Diff(lines, s.journal); diff != "" {
		s.t.Errorf("journal (-want +got):\n%s", diff)
	}
	s.journal = nil
}

func web(prefixes ...string) Router {
	return Router{Name: "web", Interface: "eth0", Addresses: addresses(prefixes...)}
}

func TestTable_InstallsBeforeItAnnounces(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24", "2001:db8::1/64"))
	s.settle()
	s.want("web: off")
	h[0].Hold(1)
	s.settle()
	s.want("add 10.0.0.1/24", "add 2001:db8::1/64", "announce 10.0.0.1", "announce 2001:db8::1", "web: on")
	h[0].Release()
	s.settle()
	s.want("remove 2001:db8::1/64", "remove 10.0.0.1/24", "web: off")
}

// The kernel takes IPv6 addresses off with the link. All of it may be heard at
// once, and in the order in which the kernel tells it.
func TestTable_ALinkDownAndUpIsNobodysRemoval(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24", "2001:db8::1/64"))
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	s.link.up, s.link.running = false, false
	s.table.setLink(s.link)
	s.lose("2001:db8::1/64")
	s.link.up, s.link.running = true, true
	s.table.setLink(s.link)
	s.settle()
	s.want("add 2001:db8::1/64", "announce 10.0.0.1", "announce 2001:db8::1")
	s.lose("2001:db8::1/64")
	s.settle()
	s.want("add 2001:db8::1/64", "announce 2001:db8::1", "web: repaired 2001:db8::1 after 200µs")
}

func TestTable_FlapCostsNothing(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24"))
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	h[0].Release()
	h[0].Hold(1)
	s.settle()
	s.want()
	h[0].Release()
	h[0].Hold(2)
	s.settle()
	s.want("announce 10.0.0.1", "web: on")
	h[0].Hold(3)
	h[0].Release()
	h[0].Release()
	s.settle()
	s.want("remove 10.0.0.1/24", "web: off")
	h[0].Release()
	s.settle()
	s.want("web: off")
}

func TestTable_ReleasesOneByOne(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"))
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	h[0].Release(netip.MustParseAddr("10.0.0.2"))
	s.settle()
	s.want("remove 10.0.0.2/24")
	h[0].Release(netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("192.0.2.1"))
	s.settle()
	s.want("remove 10.0.0.3/24")
	h[0].Release(netip.MustParseAddr("10.0.0.1"))
	s.settle()
	s.want("remove 10.0.0.1/24", "web: off")
	h[0].Release(netip.MustParseAddr("10.0.0.1"))
	s.settle()
	s.want("web: off")
	h[0].Hold(2)
	s.settle()
	s.want("add 10.0.0.1/24", "add 10.0.0.2/24", "add 10.0.0.3/24", "announce 10.0.0.1", "announce 10.0.0.2", "announce 10.0.0.3", "web: on")
}

// TestTable_Pipelines has many addresses installed and announced in turns that
// grow, and installations go before renewals.
func TestTable_Pipelines(t *testing.T) {
	many := Router{Name: "many", Interface: "eth0", Lifetime: time.Minute, Addresses: many(100, false)}
	s, h := newSim(t, many, web("10.0.0.1/24"))
	h[0].Hold(1)
	var shape []string
	count := func() {
		s.journal = nil
		s.turn()
		adds, announced := 0, 0
		for _, line := range s.journal {
			switch {
			case strings.HasPrefix(line, "add"):
				adds++
			case strings.HasPrefix(line, "announce"):
				announced++
			}
		}
		shape = append(shape, fmt.Sprintf("%d+%d", adds, announced))
	}
	for range 6 {
		count()
		s.now += gap
	}
	if diff := cmp.Diff([]string{"4+4", "8+8", "16+16", "32+32", "32+32", "8+8"}, shape); diff != "" {
		t.Errorf("installed+announced by turn (-want +got):\n%s", diff)
	}
	s.settle()
	s.journal = nil
	s.now += 20 * time.Second
	h[1].Hold(1)
	s.turn()
	s.want("add 10.0.0.1/24", "announce 10.0.0.1", "web: on")
	s.turn()
	if len(s.journal) != batch {
		t.Errorf("%d renewals in the turn after, want %d", len(s.journal), batch)
	}
}

func TestTable_RenewsAtAThirdOfTheLifetime(t *testing.T) {
	r := web("10.0.0.1/24")
	r.Lifetime = time.Minute
	s, h := newSim(t, r)
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	s.run(19 * time.Second)
	s.want()
	s.run(time.Second)
	s.want("add 10.0.0.1/24")
	s.run(40 * time.Second)
	s.want("add 10.0.0.1/24", "add 10.0.0.1/24")
}

func TestTable_Repairs(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24", "10.0.0.2/24"))
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	s.lose("10.0.0.1/24")
	s.settle()
	s.want("add 10.0.0.1/24", "announce 10.0.0.1", "web: repaired 10.0.0.1")
}

// TestTable_StaleDeletion has the kernel's messages about our own removal and
// installation come late: they are told together, and nobody else was at work.
func TestTable_StaleDeletion(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24"))
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	s.lose("10.0.0.1/24")
	p := netip.MustParsePrefix("10.0.0.1/24")
	s.kernel[p] = true
	s.table.setAddr(2, entry{prefix: p, proto: Protocol})
	s.settle()
	s.want()
}

func TestTable_Contested(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24"))
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	start := s.now
	for s.now < start+10*time.Second { // a fight: whenever it is on, it is removed
		if s.kernel[netip.MustParsePrefix("10.0.0.1/24")] {
			s.lose("10.0.0.1/24")
		}
		s.settle()
		s.now += ms
	}
	got := make(map[string]int)
	for _, line := range s.journal {
		got[line]++
	}
	want := map[string]int{"web: contested 10.0.0.1": 1, "web: repaired 10.0.0.1": fightFree}
	adds := got["add 10.0.0.1/24"]
	delete(got, "add 10.0.0.1/24")
	delete(got, "announce 10.0.0.1")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	if adds < 12 || adds > 22 {
		t.Errorf("put back %d times in 10 s, want 5 at once and then about one a second", adds)
	}
	// Peace, and then a single accident.
	s.run(2 * fightCalm)
	s.journal = nil
	s.lose("10.0.0.1/24")
	s.settle()
	s.want("add 10.0.0.1/24", "announce 10.0.0.1", "web: repaired 10.0.0.1")
}

func TestTable_RetriesWithBackOff(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24"))
	s.settle()
	s.journal = nil
	a := netip.MustParseAddr("10.0.0.1")
	s.refuse[a] = unix.EPERM
	h[0].Hold(1)
	s.run(700 * ms) // at 0, 100, 300, 700
	s.want("add 10.0.0.1/24", "web: failed 10.0.0.1", "add 10.0.0.1/24", "add 10.0.0.1/24", "add 10.0.0.1/24")
	s.refuse[a] = unix.EACCES
	s.run(60 * time.Second)
	if n := len(s.journal); s.journal[1] != "web: failed 10.0.0.1" || n < 13 || n > 16 {
		t.Errorf("another error: %v, want it said once, and a try every 5 s", s.journal)
	}
	s.journal = nil
	delete(s.refuse, a)
	s.run(retryLast)
	s.want("add 10.0.0.1/24", "web: recovered 10.0.0.1", "announce 10.0.0.1", "web: on")
	s.refuse[a] = unix.EPERM
	h[0].Release()
	s.run(150 * ms)
	s.want("remove 10.0.0.1/24", "web: failed 10.0.0.1", "remove 10.0.0.1/24")
	s.refuse[a] = unix.EADDRNOTAVAIL // nothing there to remove
	s.run(time.Second)
	s.want("remove 10.0.0.1/24", "web: off")
}

func TestTable_Leftovers(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24", "2001:db8::1/64"))
	for _, p := range []string{"10.0.0.1/32", "10.0.0.11/24", "2001:db8::1/128"} {
		s.kernel[netip.MustParsePrefix(p)] = true
	}
	s.resync()
	s.settle()
	s.want("remove 2001:db8::1/128", "remove 10.0.0.1/32", "web: off")
	// What others put there later stays until it stands in the way.
	s.kernel[netip.MustParsePrefix("10.0.0.1/32")] = true
	s.resync()
	s.settle()
	s.want()
	h[0].Hold(1)
	s.settle()
	s.want("remove 10.0.0.1/32", "add 10.0.0.1/24", "add 2001:db8::1/64", "announce 10.0.0.1", "announce 2001:db8::1", "web: on")
}

func TestTable_Native(t *testing.T) {
	r := web("10.0.0.1/24", "10.0.0.2/24")
	r.Native = true
	r.Lifetime = time.Minute
	s, h := newSim(t, r)
	s.kernel[netip.MustParsePrefix("10.0.0.1/16")] = true
	s.resync()
	s.settle()
	s.want("web: off")
	h[0].Hold(1)
	s.settle()
	s.want("add 10.0.0.2/24", "announce 10.0.0.1", "announce 10.0.0.2", "web: on")
	s.run(20 * time.Second)
	s.want("add 10.0.0.2/24")
	s.lose("10.0.0.1/16") // then it is ours to put on, and to take off
	s.settle()
	s.want("add 10.0.0.1/24", "announce 10.0.0.1", "web: repaired 10.0.0.1")
	h[0].Release()
	s.settle()
	s.want("remove 10.0.0.2/24", "remove 10.0.0.1/24", "web: off")
}

func TestTable_LinkChanges(t *testing.T) {
	change := func(s *sim, f func(*link)) {
		f(&s.link)
		s.table.setLink(s.link)
		s.settle()
	}
	up := func(v bool) func(*link) { return func(l *link) { l.up, l.running = v, v } }
	s, h := newSim(t, web("10.0.0.1/24", "2001:db8::1/64"))
	h[0].Hold(1)
	s.settle()
	s.journal = nil

	change(s, up(false))
	s.want()
	s.lose("2001:db8::1/64") // the kernel does
	s.settle()
	s.want("web: failed")
	change(s, up(true))
	s.want("add 2001:db8::1/64", "announce 10.0.0.1", "web: recovered", "announce 2001:db8::1")
	change(s, func(l *link) { l.mac[5]++ })
	s.want("announce 10.0.0.1", "announce 2001:db8::1")
	change(s, func(l *link) { l.running = false })
	s.want()
	change(s, func(l *link) { l.running = true })
	s.want("announce 10.0.0.1", "announce 2001:db8::1")
	change(s, func(l *link) { l.promote = true })
	s.want()

	s.table.removeLink(2)
	s.settle()
	s.want("web: failed", "web: off")
	clear(s.kernel)
	change(s, func(l *link) { l.index = 3 })
	s.want("add 10.0.0.1/24", "add 2001:db8::1/64", "announce 10.0.0.1", "web: recovered", "announce 2001:db8::1", "web: on")
	change(s, func(l *link) { l.name = "eth1" })
	s.want("remove 10.0.0.1/24", "remove 2001:db8::1/64", "web: failed", "web: off")
}

func TestTable_NotEthernet(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/32"))
	s.link.ethernet = false
	s.resync()
	h[0].Hold(1)
	s.settle()
	s.want("add 10.0.0.1/32", "web: on")
}

// TestTable_PrefixRoute has only the last address of a network take its route along.
func TestTable_PrefixRoute(t *testing.T) {
	s, h := newSim(t, web("2001:db8::1/64", "2001:db8::2/64", "2001:db8:1::1/64"))
	h[0].Hold(1)
	s.settle()
	routes := func(list []request) (out []string) {
		for _, q := range list {
			if !q.noRoute {
				out = append(out, q.prefix.String())
			}
		}
		return out
	}
	h[0].Release()
	s.table.wishes(s.now)
	if diff := cmp.Diff([]string{"2001:db8:1::1/64", "2001:db8::1/64"}, routes(s.table.plan(s.now))); diff != "" {
		t.Errorf("removed with their route (-want +got):\n%s", diff)
	}
	s.table.setAddr(2, entry{prefix: netip.MustParsePrefix("2001:db8::11/128")})
	s.table.routers[0].dirty = true
	if diff := cmp.Diff([]string{"2001:db8:1::1/64"}, routes(s.table.plan(s.now))); diff != "" {
		t.Errorf("removed with their route beside the host's (-want +got):\n%s", diff)
	}
}

func TestTable_Promotes(t *testing.T) {
	for _, c := range []struct {
		prefix   string
		lifetime time.Duration
		link     bool
		want     bool
	}{
		{"10.0.0.1/24", time.Minute, false, true},
		{"10.0.0.1/24", time.Minute, true, false},
		{"10.0.0.1/24", 0, false, false},
		{"10.0.0.1/32", time.Minute, false, false},
		{"2001:db8::1/64", time.Minute, false, false},
	} {
		r := web(c.prefix)
		r.Lifetime = c.lifetime
		s, h := newSim(t, r)
		s.link.promote = c.link
		s.resync()
		h[0].Hold(1)
		s.settle()
		p := netip.MustParsePrefix(c.prefix)
		s.table.setAddr(2, entry{prefix: p, proto: Protocol}) // it is a primary one
		s.journal = nil
		s.settle()
		if got := slices.Contains(s.journal, promote.String()+" invalid Prefix"); got != c.want {
			t.Errorf("%+v: promote_secondaries set: %t", c, got)
		}
	}
}

func TestRequest_Explain(t *testing.T) {
	four, six := netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("2001:db8::1/64")
	for _, c := range []struct {
		q    request
		err  error
		want string
	}{
		{request{kind: set, prefix: four}, &kernelError{errno: unix.EPERM}, "add 10.0.0.1/24 on eth0: operation not permitted: CAP_NET_ADMIN is missing"},
		{request{kind: set, prefix: six}, &kernelError{errno: unix.EACCES, text: "IPv6 is disabled on this device"}, "add 2001:db8::1/64 on eth0: permission denied (IPv6 is disabled on this device): net.ipv6.conf.eth0.disable_ipv6 is 1, or CAP_NET_ADMIN is missing"},
		{request{kind: remove, prefix: six}, &kernelError{errno: unix.EPERM}, "remove 2001:db8::1/64 on eth0: operation not permitted: CAP_NET_ADMIN is missing"},
		{request{kind: promote}, &kernelError{errno: unix.EINVAL}, "set promote_secondaries for eth0: invalid argument"},
	} {
		c.q.name = "eth0"
		err := c.q.explain(c.err)
		if err.Error() != c.want {
			t.Errorf("%q\nwant %q", err, c.want)
		}
		if e := c.err.(*kernelError); !errors.Is(err, e.errno) {
			t.Errorf("%q does not wrap %v", err, e.errno)
		}
	}
}

func TestTable_AnnouncesIPv6OnlyWhenItIsAnswered(t *testing.T) {
	vip := Router{Name: "web", Interface: "eth0", Addresses: []Address{{Prefix: netip.MustParsePrefix("fd00::100/64")}}}
	announcements := func(s *sim) int {
		n := 0
		for _, line := range s.journal {
			if strings.HasPrefix(line, "announce ") {
				n++
			}
		}
		return n
	}
	s, h := newSim(t, vip)
	s.silent = true
	h[0].Hold(1)
	for range 10 {
		s.turn()
		s.now += settleFirst
	}
	if n := announcements(s); n != 0 {
		t.Fatalf("announced %d times before the kernel answers", n)
	}
	if due := s.table.deadline(); due > s.now+settlePause {
		t.Errorf("looks again in %s, want within %s", due-s.now, settlePause)
	}
	s.silent = false
	s.now += settlePause
	s.turn()
	if n := announcements(s); n != 1 {
		t.Errorf("announced %d times when the kernel answers, want 1", n)
	}

	t.Run("waits no longer than it must", func(t *testing.T) {
		s, h := newSim(t, vip)
		s.silent = true
		h[0].Hold(1)
		s.turn()
		s.now += settleLast
		s.turn()
		if n := announcements(s); n != 1 {
			t.Errorf("announced %d times after %s, want 1", n, settleLast)
		}
	})
	t.Run("asks ever less often", func(t *testing.T) {
		s, h := newSim(t, vip)
		s.silent = true
		h[0].Hold(1)
		asked := 0
		for end := s.now + settleLast/2; s.now < end; asked++ {
			s.turn()
			s.now = max(s.now, s.table.deadline())
		}
		if most := int(settleLast/2/settlePause) + 10; asked > most {
			t.Errorf("asked %d times in %s, want at most %d", asked, settleLast/2, most)
		}
	})
	t.Run("forgets what is released meanwhile", func(t *testing.T) {
		s, h := newSim(t, vip)
		s.silent = true
		h[0].Hold(1)
		s.turn()
		h[0].Release()
		s.silent = false
		s.now += settlePause
		s.turn()
		if n := announcements(s); n != 0 || len(s.table.settling) != 0 {
			t.Errorf("announced %d times, %d addresses still settle, want none", n, len(s.table.settling))
		}
	})
}

// A router may call its interface by an alternative name, which stays while
// the first one changes.
func TestTable_AlternativeName(t *testing.T) {
	r := web("10.0.0.1/24")
	r.Interface = "lan0"
	s, h := newSim(t, r)
	h[0].Hold(1)
	s.settle()
	s.want("web: failed", "web: off")
	s.link.others = []string{"enx0", "lan0"}
	s.table.setLink(s.link)
	s.settle()
	s.want("add 10.0.0.1/24", "announce 10.0.0.1", "web: recovered", "web: on")
	s.link.name = "eth1"
	s.table.setLink(s.link)
	s.resync()
	s.settle()
	s.want()
	s.link.others = nil // now nobody would renew the address, or take it off
	s.table.setLink(s.link)
	s.settle()
	s.want("remove 10.0.0.1/24", "web: failed", "web: off")
}
