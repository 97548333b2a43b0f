package test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"baton/internal/lab"
	"baton/test/frame"
	"baton/test/site"
)

// interval is that of most tests: what they show does not depend on it.
const interval = 100 * time.Millisecond

// families are the address lists that most tests run with.
var families = map[string]bool{"ipv4": false, "ipv6": true}

// startPair starts a daemon on both hosts and waits until a holds the addresses of every router.
func startPair(t *testing.T, s *site.Site, kindA, kindB site.Kind, c site.Config) (a, b *site.Node) {
	t.Helper()
	a, b = add(t, s, "a", kindA, c), add(t, s, "b", kindB, c)
	must(t, a.Start())
	for _, r := range c.Routers {
		if r.NoPreempt { // else b keeps the role where it is started first by a hair
			must(t, s.Holders.Await("a", patience, addresses(r.Addresses)...))
		}
	}
	must(t, b.Start())
	settled(t, s, "a", c)
	return a, b
}

// settled waits until one node alone holds every address and advertises every router.
func settled(t *testing.T, s *site.Site, master string, c site.Config) {
	t.Helper()
	for _, r := range c.Routers {
		must(t, s.Holders.Await(master, patience, addresses(r.Addresses)...))
		deadline := time.Now().Add(patience)
		for {
			got := s.Advertisers(uint8(r.VRID), r.Interval*5/2)
			if len(got) == 1 && got[0] == master {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v advertise %s, want %s alone", got, r.Name, master)
			}
			time.Sleep(r.Interval / 4)
		}
		// Another may have had it in between: who advertises late is taken for silent.
		must(t, s.Holders.Await(master, patience, addresses(r.Addresses)...))
	}
}

// spoken waits until master and backup have said which they are, and returns how many changes of role they told.
func spoken(t *testing.T, master, backup *site.Node) int {
	t.Helper()
	_, err := master.AwaitRole("web", "MASTER", time.Time{}, patience)
	must(t, err)
	_, err = backup.AwaitRole("web", "BACKUP", time.Time{}, patience)
	must(t, err)
	return len(master.Changes()) + len(backup.Changes())
}

// readLate is how much later than another's one node's message of an address may be read here.
const readLate = 15 * time.Millisecond

// heldThroughout fails the test when nobody held the address for a time. What a client loses is the finer measure.
func heldThroughout(t *testing.T, s *site.Site, prefix string, from time.Time) {
	t.Helper()
	spans, err := s.Holders.Spans(site.Address(prefix), from, time.Now())
	must(t, err)
	for _, span := range spans {
		if len(span.Hosts) == 0 && span.To.Sub(span.From) > readLate {
			t.Errorf("nobody held %s for a time: %v", prefix, spans)
			return
		}
	}
}

// unmoved fails the test when another than the one node held the address at any time.
func unmoved(t *testing.T, s *site.Site, prefix, node string, from time.Time) {
	t.Helper()
	spans, err := s.Holders.Spans(site.Address(prefix), from, time.Now())
	must(t, err)
	for _, span := range spans {
		for _, h := range span.Hosts {
			if h != node {
				t.Errorf("%s was not with %s all the time: %v", prefix, node, spans)
				return
			}
		}
	}
}

// lost stops a prober, a while after the last event, and returns what it lost.
func lost(t *testing.T, ask func() (int, error)) int {
	t.Helper()
	time.Sleep(200 * time.Millisecond)
	n, err := ask()
	must(t, err)
	return n
}

// asking lets the client ask an address, waits for the first answer, and returns how to end it.
func asking(t *testing.T, s *site.Site, prefix string, port uint16) func() (int, error) {
	t.Helper()
	p, err := s.Ask(prefix, port, 800*time.Millisecond)
	must(t, err)
	for deadline := time.Now().Add(patience); !p.Answers(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer the client", prefix)
		}
	}
	from := time.Now()
	return func() (int, error) {
		r, err := p.Stop()
		if err != nil {
			return 0, err
		}
		r = p.Between(from, time.Now())
		t.Logf("asked %d, lost %d, longest gap %v; the prober was late by at most %v", r.Sent, r.Lost, r.Gap, r.Late)
		for _, w := range r.Windows {
			t.Log(around(s, site.Address(prefix), w))
		}
		return r.Lost, nil
	}
}

// around tells what happened about the time at which questions were lost.
func around(s *site.Site, addr netip.Addr, w lab.Window) string {
	const margin = 30 * time.Millisecond
	var b strings.Builder
	fmt.Fprintf(&b, "%d lost from %s to %s", w.Lost, w.From.Format("05.000000"), w.To.Format("05.000000"))
	from, to := w.From.Add(-margin), w.To.Add(margin)
	if spans, err := s.Holders.Spans(addr, from, to); err == nil {
		for _, span := range spans {
			fmt.Fprintf(&b, "\n%s %v", span.From.Format("05.000000"), span)
		}
	}
	for _, p := range s.Wire("client").Since(from) {
		if p.At.Before(to) {
			fmt.Fprintf(&b, "\n%v", p)
		}
	}
	return b.String()
}

func TestElectionByPriority(t *testing.T) {
	t.Parallel()
	for name, ipv6 := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(3, ipv6)
			c := site.Pair(interval, vips...)
			a, b := startPair(t, s, site.Baton, site.Baton, c)
			if _, err := a.AwaitRole("web", "MASTER", time.Time{}, patience); err != nil {
				t.Error(err)
			}
			if _, err := b.AwaitRole("web", "BACKUP", time.Time{}, patience); err != nil {
				t.Error(err)
			}
			checkWire(t, s, a, vips, ipv6)
		})
	}
}

// checkWire looks at what a node sent when it became master: RFC 9568, sections 5.1, 5.2 and 6.4.1.
func checkWire(t *testing.T, s *site.Site, n *site.Node, vips []string, ipv6 bool) {
	t.Helper()
	source, dest, mac := "10.99.0.1", "224.0.0.18", "01:00:5e:00:00:12"
	if ipv6 {
		source, dest, mac = "fe80::ff:fe01:1", "ff02::12", "33:33:00:00:00:12"
	}
	for _, v := range addresses(vips) {
		_, err := s.Wire(n.Name).Wait(time.Time{}, patience, func(p frame.Packet) bool { return p.Sent && p.Announces() == v })
		if err != nil {
			t.Errorf("%v was not announced: %v", v, err)
		}
	}
	adverts := 0
	for _, p := range s.Wire(n.Name).Packets() {
		if !p.Sent {
			continue
		}
		if a := p.Advert; a != nil {
			adverts++
			want := addresses(vips)
			good := p.TTL == 255 && p.Source.String() == source && p.Dest.String() == dest && p.To.String() == mac &&
				p.From.String() == n.Port.MAC.String() && a.Version == 3 && a.VRID == 51 && a.Priority == 200 && a.Reserved == 0 &&
				a.Interval == interval && a.Checksum == frame.Pseudo && fmt.Sprint(a.Addresses) == fmt.Sprint(want)
			if !good {
				t.Errorf("advertisement is not as it should be: %v", p)
			}
			continue
		}
		if p.Malformed != "" {
			t.Errorf("sent: %v", p)
		}
		target := p.Announces()
		if !target.IsValid() {
			continue
		}
		if adverts == 0 {
			t.Errorf("announced before the first advertisement: %v", p)
		}
		switch {
		case p.ARP != nil:
			if p.To.String() != "ff:ff:ff:ff:ff:ff" || p.ARP.SenderMAC.String() != n.Port.MAC.String() {
				t.Errorf("gratuitous ARP is not as it should be: %v", p)
			}
		case p.Neighbour != nil:
			na := p.Neighbour
			good := p.TTL == 255 && p.Dest.String() == "ff02::1" && na.Override && na.ChecksumGood &&
				na.LinkAddress.String() == n.Port.MAC.String() && p.To.String() == "33:33:00:00:00:01"
			if !good {
				t.Errorf("neighbour advertisement is not as it should be: %v", p)
			}
		}
	}
	if adverts == 0 {
		t.Error("no advertisement was captured")
	}
}

// With equal priorities the higher address wins, where both are master: RFC 9568, section 6.4.3.
func TestElectionByAddress(t *testing.T) {
	t.Parallel()
	for name, ipv6 := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(1, ipv6)
			c := site.Pair(interval, vips...)
			c.Routers[0].Priority = map[string]int{"a": 100, "b": 100}
			a, b := add(t, s, "a", site.Baton, c), add(t, s, "b", site.Baton, c)
			must(t, a.Start())
			settled(t, s, "a", c)
			must(t, b.Start())
			_, err := b.AwaitRole("web", "BACKUP", time.Time{}, patience)
			must(t, err)
			cut := time.Now()
			must(t, a.Port.Cut())
			_, err = s.AwaitAdvert("b", cut, patience, nil)
			must(t, err)
			must(t, a.Port.Mend())
			settled(t, s, "b", c)
		})
	}
}

func TestFailback(t *testing.T) {
	t.Parallel()
	for name, ipv6 := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(1, ipv6)
			c := site.Pair(interval, vips...)
			a, _ := startPair(t, s, site.Baton, site.Baton, c)
			must(t, a.Stop())
			settled(t, s, "b", c)
			end := asking(t, s, vips[0], 0)
			from := time.Now()
			must(t, a.Start())
			settled(t, s, "a", c)
			if n := lost(t, end); n != 0 {
				t.Errorf("%d lost while a came back", n)
			}
			heldThroughout(t, s, vips[0], from)
		})
	}
}

func TestNoPreempt(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vips := site.Addresses(1, false)
	c := site.Pair(interval, vips...)
	c.Routers[0].NoPreempt = true
	a, _ := startPair(t, s, site.Baton, site.Baton, c)
	must(t, a.Stop())
	settled(t, s, "b", c)
	from := time.Now()
	must(t, a.Start())
	_, err := a.AwaitRole("web", "BACKUP", from, patience)
	must(t, err)
	time.Sleep(10 * interval)
	unmoved(t, s, vips[0], "b", from)
	if role := a.Role("web"); role != "BACKUP" {
		t.Errorf("a is %s", role)
	}
}

func TestSilentCut(t *testing.T) {
	t.Parallel()
	for name, ipv6 := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(1, ipv6)
			c := site.Pair(interval, vips...)
			a, b := startPair(t, s, site.Baton, site.Baton, c)
			cut := time.Now()
			must(t, a.Port.Cut())
			_, err := b.AwaitRole("web", "MASTER", cut, patience)
			must(t, err)
			asking(t, s, vips[0], 0) // b answers
			if role := a.Role("web"); role != "MASTER" {
				t.Errorf("a, which hears nobody, is %s", role)
			}
			mend := time.Now()
			must(t, a.Port.Mend())
			settled(t, s, "a", c)
			// The client's neighbour cache points to b until a announces again.
			_, err = s.Wire("client").Wait(mend, patience, func(p frame.Packet) bool {
				return p.Announces() == site.Address(vips[0]) && p.From.String() == a.Port.MAC.String()
			})
			must(t, err)
		})
	}
}

func TestCarrierLoss(t *testing.T) {
	t.Parallel()
	for name, ipv6 := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(1, ipv6)
			c := site.Pair(interval, vips...)
			a, b := startPair(t, s, site.Baton, site.Baton, c)
			down := time.Now()
			must(t, a.Port.Down())
			change, err := a.AwaitRole("web", "FAULT", down, patience)
			must(t, err)
			if change.Reason == "" {
				t.Error("no reason is given for FAULT")
			}
			_, err = b.AwaitRole("web", "MASTER", down, patience)
			must(t, err)
			must(t, s.Holders.Await("b", patience, site.Address(vips[0])))
			if both, err := s.Holders.Longest(site.Address(vips[0]), 2, down, time.Now()); err != nil || both != 0 {
				t.Errorf("both held the address for %v: %v", both, err)
			}
			must(t, a.Port.Up())
			settled(t, s, "a", c)
		})
	}
}

// A node that loses its own address can advertise no more, but it hears its
// successor, and answers until that has the virtual address.
func TestOwnAddressLost(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vip := site.Addresses(1, false)[0]
	c := site.Pair(interval, vip)
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	own := prefix("10.99.0.1/16")
	if there, err := a.Host.Holds(site.Interface, own.Addr()); err != nil || !there {
		t.Fatalf("a's own address is not %v: %v", own, err)
	}
	end := asking(t, s, vip, 0)
	gone := time.Now()
	must(t, a.Host.RemoveAddress(site.Interface, own))
	change, err := a.AwaitRole("web", "FAULT", gone, patience)
	must(t, err)
	if !strings.Contains(change.Reason, "no IPv4 address") {
		t.Errorf("the reason %q does not say what is missing", change.Reason)
	}
	_, err = b.AwaitRole("web", "MASTER", gone, patience)
	must(t, err)
	must(t, s.Holders.Await("b", patience, site.Address(vip)))
	must(t, a.Host.AddAddress(site.Interface, own))
	settled(t, s, "a", c)
	if n := lost(t, end); n != 0 {
		t.Errorf("%d lost", n)
	}
}

func TestPlannedStop(t *testing.T) {
	t.Parallel()
	for name, ipv6 := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(2, ipv6)
			c := site.Pair(interval, vips...)
			a, _ := startPair(t, s, site.Baton, site.Baton, c)
			end := asking(t, s, vips[1], 0)
			stop := time.Now()
			must(t, a.Stop())
			if status, err := a.Process.Wait(0); err != nil || status != 0 {
				t.Errorf("baton exited %d: %v", status, err)
			}
			settled(t, s, "b", c)
			if n := lost(t, end); n != 0 {
				t.Errorf("%d lost", n)
			}
			for _, v := range vips {
				heldThroughout(t, s, v, stop)
			}
			if _, err := s.AwaitAdvert("a", stop, time.Second, func(a *frame.Advert) bool { return a.Priority == 0 }); err != nil {
				t.Errorf("no priority 0: %v", err)
			}
		})
	}
}

// A stopped node that nobody succeeds lets the address go all the same.
func TestStopAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vips := site.Addresses(1, false)
	a := add(t, s, "a", site.Baton, site.Pair(interval, vips...))
	must(t, a.Start())
	must(t, s.Holders.Await("a", patience, site.Address(vips[0])))
	must(t, a.Stop())
	if got := s.Holders.Now(site.Address(vips[0])); len(got) != 0 {
		t.Errorf("the address is left on %v", got)
	}
}

func TestCrash(t *testing.T) {
	t.Parallel()
	t.Run("stays away", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		vips := site.Addresses(1, false)
		c := site.Pair(interval, vips...)
		a, b := startPair(t, s, site.Baton, site.Baton, c)
		crash := time.Now()
		must(t, a.Crash())
		_, err := b.AwaitRole("web", "MASTER", crash, patience)
		must(t, err)
		end := asking(t, s, vips[0], 0)
		must(t, a.Start())
		settled(t, s, "a", c)
		if n := lost(t, end); n != 0 {
			t.Errorf("%d lost while a came back with a leftover address", n)
		}
	})
	t.Run("is back at once", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		vips := site.Addresses(1, false)
		c := site.Pair(interval, vips...)
		a, _ := startPair(t, s, site.Baton, site.Baton, c)
		crash := time.Now()
		must(t, a.Crash())
		must(t, a.Start())
		_, err := a.AwaitRole("web", "MASTER", crash, patience)
		must(t, err)
		settled(t, s, "a", c)
		asking(t, s, vips[0], 0)
		both, err := s.Holders.Longest(site.Address(vips[0]), 2, crash, time.Now())
		must(t, err)
		if both > 2*interval {
			t.Errorf("both held the address for %v", both)
		}
	})
}

func TestAddressDeletedByHand(t *testing.T) {
	t.Parallel()
	for name, ipv6 := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(2, ipv6)
			c := site.Pair(interval, vips...)
			a, b := startPair(t, s, site.Baton, site.Baton, c)
			changes := spoken(t, a, b)
			deleted := time.Now()
			must(t, a.Host.RemoveAddress(site.Interface, prefix(vips[1])))
			must(t, s.Holders.Await("a", patience, addresses(vips)...))
			_, err := s.Wire("client").Wait(deleted, patience, func(p frame.Packet) bool { return p.Announces() == site.Address(vips[1]) })
			must(t, err)
			time.Sleep(5 * interval)
			gone, wasGone := s.Holders.When("a", site.Address(vips[1]), false, deleted)
			back, isBack := s.Holders.When("a", site.Address(vips[1]), true, gone)
			if !wasGone || !isBack || back.Sub(gone) > 100*time.Millisecond {
				t.Errorf("gone: %v; back: %v, after %v", wasGone, isBack, back.Sub(gone))
			}
			if got := len(a.Changes()) + len(b.Changes()); got != changes {
				t.Errorf("the role changed: %v, %v", a.Changes(), b.Changes())
			}
			unmoved(t, s, vips[0], "a", deleted)
		})
	}
}

func TestTenRoutersSplitOverTwoNodes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var c site.Config
	byNode := make(map[string][]string)
	for i, vip := range site.Addresses(10, false) {
		owner := []string{"a", "b"}[i%2]
		priority := map[string]int{"a": 190, "b": 190, owner: 200}
		byNode[owner] = append(byNode[owner], vip)
		c.Routers = append(c.Routers, site.Router{
			Name: fmt.Sprintf("r%d", i), VRID: 100 + i, Interval: interval, Addresses: []string{vip}, Priority: priority,
		})
	}
	a, b := add(t, s, "a", site.Baton, c), add(t, s, "b", site.Baton, c)
	must(t, s.StartAll())
	split := func() {
		t.Helper()
		must(t, s.Holders.Await("a", patience, addresses(byNode["a"])...))
		must(t, s.Holders.Await("b", patience, addresses(byNode["b"])...))
	}
	split()
	end := asking(t, s, byNode["b"][4], 0)
	must(t, b.Stop())
	settled(t, s, "a", c)
	must(t, b.Start())
	split()
	if n := lost(t, end); n != 0 {
		t.Errorf("%d lost", n)
	}
	for _, vip := range byNode["a"] {
		heldThroughout(t, s, vip, a.Changes()[len(a.Changes())-1].At)
	}
}
