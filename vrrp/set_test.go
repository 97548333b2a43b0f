package vrrp_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"baton/vrrp"
)

// newSet returns n masters that have all spoken, and the time.
func newSet(t testing.TB, n int, options ...option) (*vrrp.Set, time.Duration) {
	t.Helper()
	set := vrrp.NewSet()
	for i := range n {
		c := config(options...)
		c.Link, c.VRID = i/255, uint8(i%255+1)
		id, err := set.Add(c)
		if err != nil {
			t.Fatal(err)
		}
		set.Step(epoch, id, vrrp.Event{Kind: vrrp.Readdressed, Addr: self})
		set.Step(epoch, id, vrrp.Event{Kind: vrrp.Startup})
	}
	now := epoch + 5*second
	set.Expire(now - second)
	set.Expire(now)
	return set, now
}

// Advertisements of one link leave in bursts of at most 32, 1 ms apart, and
// never later than an interval after the one before.
func TestSet_Bursts(t *testing.T) {
	for _, i := range []time.Duration{10 * ms, 100 * ms, second} {
		t.Run(i.String(), func(t *testing.T) {
			set, now := newSet(t, 255, interval(i))
			last := make(map[vrrp.ID]time.Duration)
			var at []time.Duration
			count := make(map[time.Duration]int)
			for end := now + 10*i; now < end; {
				now = set.Deadline()
				for _, a := range set.Expire(now) {
					if a.Kind != vrrp.Send {
						t.Fatal(a)
					}
					if before, ok := last[a.Router]; ok && now-before != i {
						t.Errorf("router %d spoke after %s", a.Router, now-before)
					}
					last[a.Router] = now
					count[now]++
				}
				at = append(at, now)
			}
			if len(last) != 255 {
				t.Errorf("%d routers spoke", len(last))
			}
			for k, now := range at {
				if count[now] > 32 {
					t.Errorf("%d advertisements at once", count[now])
				}
				if k > 0 && now-at[k-1] < ms {
					t.Errorf("bursts %s apart", now-at[k-1])
				}
			}
		})
	}
}

// From whatever moment a router becomes master, its next advertisement is
// within the interval, and those after it are an interval apart.
func TestSet_AlignmentNeverLengthens(t *testing.T) {
	for offset := time.Duration(0); offset < second; offset += 13*ms + 7 {
		n := newNode(t, func(c *vrrp.Config) { c.Link = 5 })
		n.now += offset
		n.step(vrrp.Event{Kind: vrrp.Startup})
		n.expire()
		n.is(vrrp.Master)
		for k := range 3 {
			before := n.now
			n.expire()
			if d := n.now - before; d <= 0 || d > second || k > 0 && d != second {
				t.Errorf("offset %s: advertisement %d after %s", offset, k, d)
			}
		}
	}
}

// Links do not all speak at the same moment.
func TestSet_LinksApart(t *testing.T) {
	set := vrrp.NewSet()
	for link := range 4 {
		id, err := set.Add(config(priority(255), func(c *vrrp.Config) { c.Link = link }))
		if err != nil {
			t.Fatal(err)
		}
		set.Step(epoch, id, vrrp.Event{Kind: vrrp.Startup})
	}
	for range 4 {
		if got := set.Expire(set.Deadline()); len(got) != 1 {
			t.Errorf("%d advertisements at once", len(got))
		}
	}
}

// Deadline is the earliest of all, and Expire serves them in order of time.
func TestSet_Deadline(t *testing.T) {
	set := vrrp.NewSet()
	if d := set.Deadline(); d != vrrp.Never {
		t.Errorf("deadline of an empty set is %s", d)
	}
	for i, p := range []uint8{50, 200, 100} {
		id, err := set.Add(config(priority(p), func(c *vrrp.Config) { c.VRID = uint8(i + 1) }))
		if err != nil {
			t.Fatal(err)
		}
		if set.Deadline() != vrrp.Never && i == 0 {
			t.Error("a router in INIT has a deadline")
		}
		set.Step(epoch, id, vrrp.Event{Kind: vrrp.Startup})
	}
	if got := set.Deadline() - epoch; got != 3218750*time.Microsecond {
		t.Errorf("deadline is %s", got)
	}
	if got := set.Expire(set.Deadline() - 1); len(got) > 0 {
		t.Errorf("too early: %v", got)
	}
	var order []vrrp.ID
	for _, a := range set.Expire(epoch + 4*second) {
		if a.Kind == vrrp.Hold {
			order = append(order, a.Router)
		}
	}
	if fmt.Sprint(order) != "[1 2 0]" {
		t.Errorf("order of takeover is %v", order)
	}
}

// A refused or unknown thing does not keep old actions alive.
func TestSet_ActionsAreOfThisCall(t *testing.T) {
	n := newNode(t)
	n.step(vrrp.Event{Kind: vrrp.Startup})
	if got := n.set.Step(n.now, n.id, vrrp.Event{}); len(got) != 0 {
		t.Errorf("left over: %v", got)
	}
	n.expire()
	if got := n.set.Expire(n.now); len(got) != 0 {
		t.Errorf("left over: %v", got)
	}
	n.expire()
	if got, _ := n.set.Receive(n.now, 9, packet(&vrrp.Advertisement{VRID: 1, Interval: second, Addresses: []netip.Addr{vip}}, upper)); len(got) != 0 {
		t.Errorf("left over: %v", got)
	}
}

// In steady state nothing is allocated.
func TestAllocations(t *testing.T) {
	none := func(name string, f func()) {
		t.Helper()
		f()
		if got := testing.AllocsPerRun(200, f); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
	for _, v := range vectors {
		a := v.want
		buf := make([]byte, 0, vrrp.MaxAdvertisementLen)
		none("AppendTo "+v.name, func() { buf = a.AppendTo(buf[:0], v.src, v.dst) })
		wire := unhex(t, v.wire)
		var b vrrp.Advertisement
		none("Parse "+v.name, func() { b.Parse(wire, v.src, v.dst) })
	}

	masters, now := newSet(t, 64)
	none("Expire of masters", func() {
		now = masters.Deadline()
		masters.Expire(now)
	})
	buf := make([]byte, 0, vrrp.MaxAdvertisementLen)
	none("AppendAdvertisement", func() { buf = masters.AppendAdvertisement(buf[:0], 3, 100, vrrp.IPv4.Group(), 0) })
	beaten := packet(&vrrp.Advertisement{VRID: 1, Priority: 50, Interval: second, Addresses: []netip.Addr{vip}}, upper)
	none("Receive of a losing advertisement", func() {
		now += 20 * ms
		masters.Receive(now, 0, beaten)
	})
	unknown := packet(&vrrp.Advertisement{VRID: 200, Priority: 50, Interval: second, Addresses: []netip.Addr{vip}}, upper)
	none("Receive of an unknown VRID", func() { masters.Receive(now, 0, unknown) })

	n := newBackup(t)
	p := packet(&vrrp.Advertisement{VRID: 51, Priority: 150, Interval: second, Addresses: []netip.Addr{vip}}, upper)
	none("Receive of a backup", func() {
		n.now += second
		n.set.Receive(n.now, 0, p)
	})
	g := newGrouped(t)
	none("Receive of a backup in a group", func() {
		g.now += second
		g.set.Receive(g.now, 0, p)
	})
	g.hearOther(upper, 150)
	none("Expire, and a member is ready and is not", func() {
		g.now = g.set.Deadline()
		g.set.Expire(g.now)
		g.set.Receive(g.now, 0, p)
	})
	for g.state().Role != vrrp.Master {
		g.expire()
	}
	none("Expire of masters in a group", func() {
		g.now = g.set.Deadline()
		g.set.Expire(g.now)
	})
	for name, router := range map[string]option{"version 2": password("secret"), "unicast": peers(upper), "signed": enforced, "signed, without window": keys(vrrp.HMACPermissive, 0)} {
		n := newBackup(t, router)
		packets := make([]vrrp.Packet, 300)
		for i := range packets {
			n.now += second
			packets[i] = n.packet(upper, 150)
		}
		n.now = epoch
		i := 0
		none("Receive of a backup, "+name, func() {
			n.now += second
			if _, refusal := n.set.Receive(n.now, 0, packets[i]); refusal != vrrp.Accepted {
				t.Fatal(refusal)
			}
			i++
		})
		dst := n.set.Destinations(n.id)[0]
		none("AppendAdvertisement, "+name, func() { buf = n.set.AppendAdvertisement(buf[:0], n.id, 100, dst, n.wall()) })
		forged := signed(packets[299], 1, key2, stamp(n.wall()))
		none("Receive of a forgery, "+name, func() { n.set.Receive(n.now, 0, forged) })
	}
	p.TTL = 1
	none("Receive refused", func() { n.set.Receive(n.now, 0, p) })
	none("Step of a lent address", func() { n.set.Step(n.now, n.id, vrrp.Event{Kind: vrrp.Announced, Addr: vip}) })
}

// What a trace shows; the words of an unknown value.
func TestStrings(t *testing.T) {
	for got, want := range map[fmt.Stringer]string{
		vrrp.Init: "INIT", vrrp.Backup: "BACKUP", vrrp.Master: "MASTER", vrrp.Fault: "FAULT", vrrp.Role(9): "role(9)",
		vrrp.NoCause: "none", vrrp.CauseGroup: "group", vrrp.Cause(99): "cause(99)",
		vrrp.NoAction: "none", vrrp.Notice: "notice", vrrp.ActionKind(99): "action(99)",
		vrrp.NoNote: "none", vrrp.NoteLate: "late", vrrp.Note(99): "note(99)",
		vrrp.Family(0): "no family", vrrp.PseudoHeader: "pseudo-header", vrrp.MessageOnly: "rfc9568",
		vrrp.Accepted: "accepted", vrrp.RefusedOwn: "own", vrrp.Refusal(99): "unknown",
		vrrp.RefusedMismatch: "interval mismatch", vrrp.RefusedReplay: "replay",
		vrrp.NoAuthentication: "none", vrrp.UnknownAuthentication: "unknown", vrrp.Authentication(9): "authentication(9)",
	} {
		if got.String() != want {
			t.Errorf("%T: %q, want %q", got, got, want)
		}
	}
	// Each value has a word of its own.
	seen := make(map[string]bool)
	for c := vrrp.NoCause; c <= vrrp.CauseGroup; c++ {
		seen["cause "+c.String()] = true
	}
	for k := vrrp.NoAction; k <= vrrp.Notice; k++ {
		seen["kind "+k.String()] = true
	}
	for n := vrrp.NoNote; n <= vrrp.NoteClock; n++ {
		seen["note "+n.String()] = true
	}
	for r := vrrp.Accepted; int(r) < vrrp.Refusals; r++ {
		seen["refusal "+r.String()] = true
	}
	if want := 15 + 10 + 11 + vrrp.Refusals; len(seen) != want {
		t.Errorf("%d words for %d values", len(seen), want)
	}
}
