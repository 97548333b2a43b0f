package link

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// watched is a Monitor that runs.
type watched struct {
	*Monitor
	tables chan *Table
	cancel func()
	done   chan error
}

func watch(t testing.TB, m *Monitor) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watched{m, make(chan *Table, 1000), cancel, make(chan error, 1)}
	go func() { w.done <- m.Run(ctx, func(t *Table) { w.tables <- t }) }()
	t.Cleanup(func() { w.stop(t) })
	return w
}

func (w *watched) stop(t testing.TB) {
	t.Helper()
	w.cancel()
	select {
	case err, ok := <-w.done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		if ok {
			close(w.done)
		}
	case <-time.After(patience):
		t.Fatal("Run goes on after its context has ended")
	}
}

// until returns the first Table that holds the condition.
func (w *watched) until(t testing.TB, what string, condition func(*Table) bool) *Table {
	t.Helper()
	end := time.After(patience)
	for {
		select {
		case table := <-w.tables:
			if condition(table) {
				return table
			}
		case <-end:
			t.Fatalf("still waiting for %s; now: %+v", what, w.Table().Interfaces())
		}
	}
}

// on makes a condition of one interface.
func on(name string, f func(Interface) bool) func(*Table) bool {
	return func(t *Table) bool {
		i, ok := t.ByName(name)
		return ok && f(i)
	}
}

func addresses(i Interface) []string {
	var all []string
	for _, a := range i.Addresses {
		all = append(all, a.Prefix.String())
	}
	return all
}

func hasAddress(prefix string) func(Interface) bool {
	return func(i Interface) bool {
		for _, a := range addresses(i) {
			if a == prefix {
				return true
			}
		}
		return false
	}
}

func TestMonitor_Link(t *testing.T) {
	l := newLAN(t)
	w := watch(t, l.a.monitor(t))
	first, _ := w.Table().ByName("eth0")
	if !first.Up || !first.AdminUp || !first.Carrier || first.Loopback || first.MTU != 1500 || first.MAC.String() != l.macA.String() {
		t.Errorf("%+v", first)
	}
	if lo, ok := w.Table().ByName("lo"); !ok || !lo.Loopback || lo.Up {
		t.Errorf("%+v", lo)
	}

	must(t, l.b.LinkSetDown(l.b.link(t, "eth0"))) // takes our carrier
	w.until(t, "carrier loss", on("eth0", func(i Interface) bool { return !i.Up && i.AdminUp && !i.Carrier }))
	must(t, l.b.LinkSetUp(l.b.link(t, "eth0")))
	w.until(t, "carrier", on("eth0", func(i Interface) bool { return i.Up && i.Carrier }))
	must(t, l.a.LinkSetDown(l.a.link(t, "eth0")))
	w.until(t, "down", on("eth0", func(i Interface) bool { return !i.Up && !i.AdminUp }))
	must(t, l.a.LinkSetUp(l.a.link(t, "eth0")))
	w.until(t, "up", on("eth0", func(i Interface) bool { return i.Up }))
	must(t, l.a.LinkSetMTU(l.a.link(t, "eth0"), 1400))
	w.until(t, "MTU", on("eth0", func(i Interface) bool { return i.MTU == 1400 }))
	must(t, l.a.LinkSetHardwareAddr(l.a.link(t, "eth0"), macA[:]))
	table := w.until(t, "MAC", on("eth0", func(i Interface) bool { return [6]byte(i.MAC) == macA }))

	if again, _ := table.ByName("eth0"); again.Generation != first.Generation || again.Index != first.Index {
		t.Errorf("another interface: %+v", again)
	}
	if byIndex, ok := table.ByIndex(first.Index); !ok || byIndex.Name != "eth0" {
		t.Errorf("by index: %+v", byIndex)
	}
	if _, ok := table.ByIndex(4711); ok {
		t.Error("found an index that is not there")
	}
	if _, ok := table.ByName("eth9"); ok {
		t.Error("found a name that is not there")
	}
}

func TestMonitor_RenameDeleteRecreate(t *testing.T) {
	l := newLAN(t)
	w := watch(t, l.a.monitor(t))
	first, _ := w.Table().ByName("eth0")

	must(t, l.a.LinkSetDown(l.a.link(t, "eth0")))
	must(t, l.a.LinkSetName(l.a.link(t, "eth0"), "wan0"))
	table := w.until(t, "the new name", on("wan0", func(Interface) bool { return true }))
	if _, ok := table.ByName("eth0"); ok {
		t.Error("the old name is still there")
	}
	if i, _ := table.ByName("wan0"); i.Index != first.Index || i.Generation != first.Generation {
		t.Errorf("a renamed interface is another one: %+v", i)
	}
	must(t, l.a.LinkSetUp(l.a.link(t, "wan0"))) // of a name given while it is down the kernel says nothing
	must(t, l.a.LinkAddAltName(l.a.link(t, "wan0"), "a-rather-long-alternative-name"))
	w.until(t, "the alternative name", on("a-rather-long-alternative-name", func(i Interface) bool { return i.Name == "wan0" }))

	must(t, l.a.LinkDel(l.a.link(t, "wan0")))
	w.until(t, "deletion", func(t *Table) bool { _, ok := t.ByName("wan0"); return !ok })

	l.addEth0(t, first.Index)
	table = w.until(t, "the interface again", on("eth0", func(Interface) bool { return true }))
	if second, _ := table.ByName("eth0"); second.Index != first.Index || second.Generation == first.Generation {
		t.Errorf("made again: %+v, before: %+v", second, first)
	}
}

// addEth0 makes the LAN's link again, down, under an index.
func (l *lan) addEth0(t testing.TB, index int) {
	t.Helper()
	must(t, l.a.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "eth0", Index: index},
		PeerName:  "eth0", PeerNamespace: netlink.NsFd(l.b.fd),
	}))
}

// An interface that was deleted and made again between two Tables is another one,
// although it looks the same.
func TestMonitor_RecreatedAtOnce(t *testing.T) {
	l := newLAN(t)
	m := l.a.monitor(t)
	defer m.Close()
	first, _ := m.Table().ByName("eth0")
	must(t, l.a.LinkDel(l.a.link(t, "eth0")))
	l.addEth0(t, first.Index)
	must(t, m.discard())
	table, err := m.dump()
	must(t, err)
	second, ok := table.ByName("eth0")
	if !ok || second.Index != first.Index || second.Generation == first.Generation {
		t.Errorf("made again: %+v, before: %+v", second, first)
	}
	m.publish(table)
	if table, err = m.dump(); err != nil || !table.equal(m.Table()) {
		t.Errorf("another generation without a reason: %+v, %v", table, err)
	}
}

func TestMonitor_Addresses(t *testing.T) {
	l := newLAN(t)
	w := watch(t, l.a.monitor(t))
	l.a.addAddress(t, "eth0", "10.0.0.9/24")
	l.a.addAddress(t, "eth0", "10.7.0.1/16")
	table := w.until(t, "the address", on("eth0", hasAddress("10.7.0.1/16")))
	i, _ := table.ByName("eth0")
	var got []Address
	for _, a := range i.Addresses {
		if a.Prefix.Addr().Is4() {
			got = append(got, a)
		}
	}
	want := []Address{ // in the kernel's order: secondary ones last
		{Prefix: netip.MustParsePrefix("10.0.0.1/24"), Permanent: true},
		{Prefix: netip.MustParsePrefix("10.7.0.1/16"), Permanent: true},
		{Prefix: netip.MustParsePrefix("10.0.0.9/24"), Permanent: true, Secondary: true},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	l.a.delAddress(t, "eth0", "10.0.0.1/24") // takes its secondary along
	table = w.until(t, "the deletion", on("eth0", func(i Interface) bool { return !hasAddress("10.0.0.1/24")(i) }))
	i, _ = table.ByName("eth0")
	if src := sourceOf(t, i, false); src.String() != "10.7.0.1" {
		t.Errorf("source %s of %v", src, addresses(i))
	}

	l.a.addAddress(t, "eth0", "2001:db8::1/64")
	w.until(t, "the address", on("eth0", hasAddress("2001:db8::1/64")))
	a, err := netlink.ParseAddr("2001:db8::1/64")
	must(t, err)
	a.ValidLft, a.PreferedLft, a.Flags = 1000, 0, unix.IFA_F_NODAD
	must(t, l.a.AddrReplace(l.a.link(t, "eth0"), a))
	w.until(t, "deprecation", on("eth0", func(i Interface) bool {
		for _, a := range i.Addresses {
			if a.Prefix.String() == "2001:db8::1/64" {
				return a.Deprecated && !a.Permanent
			}
		}
		return false
	}))
}

func TestMonitor_Tentative(t *testing.T) {
	l := newLAN(t)
	l.a.do(t, func() { must(t, os.WriteFile("/proc/sys/net/ipv6/conf/eth0/accept_dad", []byte("1"), 0)) })
	w := watch(t, l.a.monitor(t))
	a, err := netlink.ParseAddr("fe80::7/64")
	must(t, err)
	must(t, l.a.AddrAdd(l.a.link(t, "eth0"), a))
	state := func(tentative bool) func(*Table) bool {
		return on("eth0", func(i Interface) bool {
			for _, a := range i.Addresses {
				if a.Prefix.String() == "fe80::7/64" {
					return a.Tentative == tentative
				}
			}
			return false
		})
	}
	w.until(t, "a tentative address", state(true))
	w.until(t, "the address", state(false))
}

// A new lifetime is no change.
func TestMonitor_Renewal(t *testing.T) {
	l := newLAN(t)
	address := func(text string) *netlink.Addr {
		a, err := netlink.ParseAddr(text)
		must(t, err)
		a.ValidLft, a.PreferedLft, a.Flags = 60, 60, unix.IFA_F_NODAD
		return a
	}
	eth0 := l.a.link(t, "eth0")
	must(t, l.a.AddrAdd(eth0, address("10.0.0.9/32")))
	must(t, l.a.AddrAdd(eth0, address("2001:db8::9/128")))
	w := watch(t, l.a.monitor(t))
	for lifetime := range 50 {
		for _, text := range []string{"10.0.0.9/32", "2001:db8::9/128"} {
			a := address(text)
			a.ValidLft, a.PreferedLft = 100+lifetime, 100+lifetime
			must(t, l.a.AddrReplace(eth0, a))
		}
	}
	l.a.addAddress(t, "eth0", "10.0.0.10/32")
	w.until(t, "the last change", func(table *Table) bool {
		if i, _ := table.ByName("eth0"); !hasAddress("10.0.0.10/32")(i) {
			t.Errorf("changed was called for a renewal: %+v", i)
		}
		return true
	})
}

// Lost messages cost nothing: what is true is read anew.
func TestMonitor_Overrun(t *testing.T) {
	l := newLAN(t)
	m := l.a.monitor(t)
	conn, err := m.events.SyscallConn()
	must(t, err)
	must(t, conn.Control(func(fd uintptr) {
		must(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1))
	}))
	for n := range 250 { // nobody reads yet
		l.a.addAddress(t, "eth0", fmt.Sprintf("10.0.1.%d/32", n))
	}
	w := watch(t, m)
	w.until(t, "all addresses", on("eth0", func(i Interface) bool {
		n := 0
		for _, a := range i.Addresses {
			if a.Prefix.Addr().Is4() {
				n++
			}
		}
		return n == 251
	}))
	if w.Overruns() == 0 {
		t.Error("nothing was lost: the test tried nothing")
	}
	l.a.delAddress(t, "eth0", "10.0.1.7/32")
	w.until(t, "the deletion", on("eth0", func(i Interface) bool { return !hasAddress("10.0.1.7/32")(i) }))
}

func TestMonitor_RunEnds(t *testing.T) {
	n := newNamespace(t)
	for range 50 {
		w := watch(t, n.monitor(t))
		w.stop(t)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for range 200 {
		done := make(chan error)
		m := n.monitor(t)
		go func() { done <- m.Run(ended, func(*Table) {}) }()
		select {
		case err := <-done:
			must(t, err)
		case <-time.After(patience):
			t.Fatal("Run does not see that its context has ended before")
		}
	}
}

func TestInterface_Source(t *testing.T) {
	p := netip.MustParsePrefix
	i := Interface{Addresses: []Address{
		{Prefix: p("10.0.0.9/24"), Secondary: true},
		{Prefix: p("10.0.0.1/24")},
		{Prefix: p("10.0.1.1/24")},
		{Prefix: p("2001:db8::1/64")},
		{Prefix: p("fe80::1/64"), Tentative: true},
		{Prefix: p("fe80::2/64")},
		{Prefix: p("fe80::3/64")},
	}}
	tests := []struct {
		name    string
		ipv6    bool
		exclude []string
		want    string
	}{
		{"primary", false, nil, "10.0.0.1"},
		{"the primary is a virtual address", false, []string{"10.0.0.1"}, "10.0.1.1"},
		{"all primaries are", false, []string{"10.0.0.1", "10.0.1.1"}, "10.0.0.9"},
		{"all are", false, []string{"10.0.0.1", "10.0.1.1", "10.0.0.9"}, "invalid IP"},
		{"link-local", true, nil, "fe80::2"},
		{"the first is a virtual address", true, []string{"fe80::2"}, "fe80::3"},
		{"both are", true, []string{"fe80::2", "fe80::3"}, "invalid IP"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := i.Source(tt.ipv6, func(a netip.Addr) bool {
				for _, x := range tt.exclude {
					if a.String() == x {
						return true
					}
				}
				return false
			})
			if got.String() != tt.want || ok != got.IsValid() {
				t.Errorf("%s, %v; want %s", got, ok, tt.want)
			}
		})
	}
}

func TestInterface_SourceTo(t *testing.T) {
	p := netip.MustParsePrefix
	i := Interface{Addresses: []Address{
		{Prefix: p("10.0.0.1/24"), Permanent: true},
		{Prefix: p("10.0.1.1/24"), Permanent: true},
		{Prefix: p("10.0.1.2/24"), Permanent: true, Secondary: true},
		{Prefix: p("2001:db8:1::9/64"), Permanent: true, Tentative: true},
		{Prefix: p("2001:db8:1::5/64"), Permanent: true, Deprecated: true},
		{Prefix: p("2001:db8:1::6/64")},
		{Prefix: p("2001:db8:1::7/64"), Permanent: true},
		{Prefix: p("2001:db8:1::8/64"), Permanent: true},
		{Prefix: p("2001:db8:2::5/64"), Deprecated: true},
		{Prefix: p("fe80::1/64"), Permanent: true, Tentative: true},
		{Prefix: p("fe80::2/128"), Permanent: true},
		{Prefix: p("fe80::3/64"), Permanent: true},
	}}
	tests := []struct {
		name    string
		peer    string
		exclude []string
		want    string
	}{
		{"in the first network", "10.0.0.7", nil, "10.0.0.1"},
		{"in the second network", "10.0.1.7", nil, "10.0.1.1"},
		{"behind a router", "192.0.2.1", nil, "10.0.0.1"},
		{"the best is a virtual address", "10.0.1.7", []string{"10.0.1.1"}, "10.0.0.1"},
		{"all primaries are", "10.0.1.7", []string{"10.0.0.1", "10.0.1.1"}, "10.0.1.2"},
		{"all are", "10.0.1.7", []string{"10.0.0.1", "10.0.1.1", "10.0.1.2"}, "invalid IP"},
		{"IPv6", "2001:db8:1::20", nil, "2001:db8:1::7"},
		{"IPv6, virtual addresses", "2001:db8:1::20", []string{"2001:db8:1::7", "2001:db8:1::8"}, "2001:db8:1::6"},
		{"IPv6, none but a deprecated one", "2001:db8:2::20", nil, "2001:db8:2::5"},
		{"IPv6, behind a router", "2001:db8:ffff::1", nil, "2001:db8:1::7"},
		{"IPv6, link-local", "fe80::20", nil, "fe80::3"},
		{"IPv6, link-local with a zone", "fe80::20%eth0", nil, "fe80::3"},
		{"IPv6, no link-local one", "fe80::20", []string{"fe80::2", "fe80::3"}, "invalid IP"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := i.SourceTo(netip.MustParseAddr(tt.peer), func(a netip.Addr) bool {
				return slices.Contains(tt.exclude, a.String())
			})
			if got.String() != tt.want || ok != got.IsValid() {
				t.Errorf("%s, %v; want %s", got, ok, tt.want)
			}
		})
	}
	if got, ok := (Interface{}).SourceTo(netip.MustParseAddr("10.0.0.1"), nil); ok {
		t.Errorf("an interface without addresses sends from %s", got)
	}
}
