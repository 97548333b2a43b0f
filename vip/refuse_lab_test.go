package vip

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nft runs f with a connection to the host's nftables.
func (l *lab) nft(f func(c *nftables.Conn) error) {
	l.t.Helper()
	l.within(func() {
		c, err := nftables.New(nftables.AsLasting())
		l.check(err)
		defer c.CloseLasting()
		l.check(f(c))
	})
}

// tables returns the names of the host's nftables tables.
func (l *lab) tables() []string {
	l.t.Helper()
	var out []string
	l.nft(func(c *nftables.Conn) error {
		list, err := c.ListTables()
		for _, t := range list {
			out = append(out, t.Name)
		}
		return err
	})
	return out
}

// elements returns the addresses of a set of the worker's table.
func (l *lab) elements(name string) []string {
	l.t.Helper()
	var out []string
	l.nft(func(c *nftables.Conn) error {
		list, err := c.GetSetElements(&nftables.Set{Table: &nftables.Table{Name: "baton", Family: nftables.TableFamilyINet}, Name: name})
		for _, e := range list {
			a, _ := netip.AddrFromSlice(e.Key)
			out = append(out, a.String())
		}
		return err
	})
	return out
}

// sets returns the names of the sets of the worker's table.
func (l *lab) sets() []string {
	l.t.Helper()
	var out []string
	l.nft(func(c *nftables.Conn) error {
		list, err := c.GetSets(&nftables.Table{Name: "baton", Family: nftables.TableFamilyINet})
		for _, s := range list {
			out = append(out, s.Name)
		}
		return err
	})
	return out
}

func refusing(r Router) Router {
	r.Refuse = true
	return r
}

func TestRefuse_DropsWhatIsForTheAddresses(t *testing.T) {
	for _, virtual := range []bool{false, true} {
		name := "on the interface"
		if virtual {
			name = "on a macvlan"
		}
		t.Run(name, func(t *testing.T) {
			l, client := newHost(t), newHost(t)
			cable(l, "left", client, "wire")
			l.put("left", "10.0.0.1/24", "2001:db8::1/64")
			client.put("wire", "10.0.0.9/24", "2001:db8::9/64")
			l.nft(func(c *nftables.Conn) error {
				c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "other"})
				// What a crash has left, with something of somebody's in it.
				c.AddSet(&nftables.Set{Table: c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "baton"}), Name: "old", KeyType: nftables.TypeIPAddr}, []nftables.SetElement{{Key: []byte{10, 0, 0, 101}}})
				return c.Flush()
			})
			closed := refusing(virtualRouter("closed", 51, "10.0.0.100/24", "2001:db8::100/64"))
			open := virtualRouter("open", 52, "10.0.0.101/24", "2001:db8::101/64")
			if !virtual {
				closed.VirtualMAC, open.VirtualMAC = nil, nil
			}
			h := l.start(closed, open)
			for _, h := range h {
				h.Hold(1)
				l.expect(On)
			}
			for _, c := range []struct {
				addr, from string
				want       bool
			}{
				{"10.0.0.100", "10.0.0.9", false}, {"2001:db8::100", "2001:db8::9", false},
				{"10.0.0.101", "10.0.0.9", true}, {"2001:db8::101", "2001:db8::9", true},
				{"10.0.0.1", "10.0.0.9", true}, {"2001:db8::1", "2001:db8::9", true},
			} {
				tries := 2
				if c.want {
					tries = 10
				}
				if got := client.pings(c.addr, tries); got != c.want {
					t.Errorf("%s answers a ping: %v, want %v", c.addr, got, c.want)
				}
				if client.neighbour("wire", c.addr) == "" {
					t.Errorf("the client does not know where %s is", c.addr)
				}
				if got := client.macsAnswering("wire", c.from, c.addr, 200*time.Millisecond); len(got) != 1 {
					t.Errorf("%s is answered by %v", c.addr, got)
				}
			}
			l.check(l.kernel.LinkSetUp(l.link("lo")))
			if !l.pings("10.0.0.100", 3) {
				t.Error("the host's packets to itself are refused, which are not meant")
			}
			if diff := cmp.Diff([]string{"10.0.0.100"}, l.elements("refused4")); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"refused4", "refused6"}, l.sets()); diff != "" {
				t.Errorf("sets, with what was left in the table (-want +got):\n%s", diff)
			}
			l.worker.Add(refusing(Router{Name: "late", Interface: "left", Addresses: addresses("10.0.0.102/24")}))
			l.expect(Off)
			if got := l.elements("refused4"); len(got) != 2 {
				t.Errorf("refused: %v, want the one added later too", got)
			}
			for _, h := range h {
				h.Release()
				l.expect(Off)
			}
			l.end()
			if diff := cmp.Diff([]string{"other"}, l.tables()); diff != "" {
				t.Errorf("tables after the end (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefuse_PutsTheTableBack(t *testing.T) {
	l := newLab(t)
	h := l.start(refusing(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24", "2001:db8::100/64")}))[0]
	h.Hold(1)
	l.expect(On)
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "baton"}
	chain := &nftables.Chain{Name: refuseChain, Table: table}
	whole := func() bool {
		var g refusal
		g.wanted = []netip.Addr{netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("2001:db8::100")}
		var err error
		l.within(func() { err = g.check() })
		return err == nil
	}
	if !whole() {
		t.Fatal("it is not there at first")
	}
	for _, c := range []struct {
		name string
		do   func(c *nftables.Conn)
	}{
		{"flush ruleset", func(c *nftables.Conn) { c.FlushRuleset() }},
		{"delete table", func(c *nftables.Conn) { c.DelTable(table) }},
		{"flush chain", func(c *nftables.Conn) { c.FlushChain(chain) }},
		{"flush set", func(c *nftables.Conn) { c.FlushSet(&nftables.Set{Table: table, Name: "refused4"}) }},
	} {
		l.nft(func(k *nftables.Conn) error { c.do(k); return k.Flush() })
		l.until(c.name+": it is back", whole)
	}
	l.end()
	if diff := cmp.Diff([]string{"baton"}, l.tables()); diff != "" {
		t.Errorf("tables after the end, with the addresses on (-want +got):\n%s", diff)
	}
}

// TestRefuse_NoticesBySlowCheck has no notification arrive.
func TestRefuse_NoticesBySlowCheck(t *testing.T) {
	l := newLab(t)
	w := l.newWorker()
	defer w.Close()
	r := refusing(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24")})
	w.table.add(r, newHandle(r, func() {}))
	w.guard(true)
	if err := w.table.refusal; err != nil {
		t.Fatal(err)
	}
	l.nft(func(c *nftables.Conn) error { c.FlushRuleset(); return c.Flush() })
	w.guard(false)
	if len(l.tables()) != 0 {
		t.Error("it looks all the time")
	}
	w.refusal.dueAt = 0 // as after refuseCheck
	w.guard(false)
	if diff := cmp.Diff([]string{"baton"}, l.tables()); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
}

// TestRefuse_KnowsItsOwnChanges holds that it does not answer itself for ever.
func TestRefuse_KnowsItsOwnChanges(t *testing.T) {
	l := newLab(t)
	w := l.newWorker()
	defer w.Close()
	r := refusing(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24")})
	w.table.add(r, newHandle(r, func() {}))
	for range 2 { // the second finds something to replace
		w.refusal.stale, w.refusal.dueAt = true, 0
		w.guard(true)
		if w.hearRefusal(); w.refusal.stale {
			t.Error("it takes its own change for somebody's")
		}
	}
	l.nft(func(c *nftables.Conn) error {
		c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "other"})
		c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "baton"})
		return c.Flush()
	})
	if w.hearRefusal(); w.refusal.stale {
		t.Error("it takes another table for its own")
	}
	l.nft(func(c *nftables.Conn) error { c.FlushRuleset(); return c.Flush() })
	if w.hearRefusal(); !w.refusal.stale {
		t.Error("it does not notice that all is flushed")
	}
}

func TestRefuse_RemovesLeftoverTable(t *testing.T) {
	l := newLab(t)
	l.nft(func(c *nftables.Conn) error {
		c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "baton"})
		c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "baton"})
		return c.Flush()
	})
	l.start(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24")})
	if got := l.tables(); len(got) != 1 {
		t.Errorf("tables: %v, want that of the other family alone", got)
	}
}

// TestRefuse_FailsClosed has somebody own the table, so that it cannot be replaced.
func TestRefuse_FailsClosed(t *testing.T) {
	l := newLab(t)
	var owner *netlink.Conn
	l.within(func() {
		var err error
		owner, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		l.check(err)
	})
	const flagOwner = 2 // NFT_TABLE_F_OWNER, linux/netfilter/nf_tables.h
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: []byte("baton\x00")},
		{Type: unix.NFTA_TABLE_FLAGS, Data: []byte{0, 0, 0, flagOwner}},
	})
	l.check(err)
	batch := func(kind uint16) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request}, Data: []byte{0, 0, 0, unix.NFNL_SUBSYS_NFTABLES}}
	}
	_, err = owner.SendMessages([]netlink.Message{
		batch(unix.NFNL_MSG_BATCH_BEGIN),
		{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE, Flags: netlink.Request | netlink.Create},
			Data:   append([]byte{unix.NFPROTO_INET, 0, 0, 0}, attrs...),
		},
		batch(unix.NFNL_MSG_BATCH_END),
	})
	l.check(err)
	if len(l.tables()) != 1 {
		t.Fatal("nobody owns the table: this tests nothing")
	}
	h := l.start(
		refusing(Router{Name: "closed", Interface: "left", Addresses: addresses("10.0.0.100/24")}),
		Router{Name: "open", Interface: "left", Addresses: addresses("10.0.0.101/24")},
	)
	h[0].Hold(1)
	e := l.expect(Failed)
	if e.Router != "closed" || !strings.Contains(e.Err.Error(), "nftables") || !strings.Contains(e.Err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("event %+v", e)
	}
	h[1].Hold(1)
	if e := l.expect(On); e.Router != "open" {
		t.Errorf("event %+v", e)
	}
	if l.has("10.0.0.100") {
		t.Error("the address is on although packets to it are not refused")
	}
	l.check(owner.Close()) // and the table goes
	l.expect(Recovered)
	l.expect(On)
	if got := l.elements("refused4"); len(got) != 1 {
		t.Errorf("refused: %v", got)
	}
}

// The address that is still on is not on the router's interface.
func TestRefuse_StaysForAnAddressElsewhere(t *testing.T) {
	l := newLab(t)
	h := l.start(refusing(Router{
		Name: "web", Interface: "left", Addresses: []Address{option("10.0.0.100/24", func(a *Address) { a.Interface = "right" })},
	}))[0]
	h.Hold(1)
	l.expect(On)
	l.end()
	if diff := cmp.Diff([]string{"baton"}, l.tables()); diff != "" {
		t.Errorf("tables after the end (-want +got):\n%s", diff)
	}
}
