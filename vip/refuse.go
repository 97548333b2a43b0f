package vip

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// refuseTable is the nftables table, of family inet, that drops what comes
	// for addresses of routers with Refuse. Nobody else's table is touched.
	refuseTable = "baton"
	refuseChain = "input"
	// refusePriority is shortly before the usual filters (0).
	refusePriority = -1
	// refuseCheck is how often the table is looked at, should a notification
	// have told nothing.
	refuseCheck = 10 * time.Second
	// refuseRest is the least time between two repairs.
	refuseRest = 50 * time.Millisecond
)

var errNotYet = errors.New("packets to the addresses are not refused yet")

// refusal is what the worker knows of its nftables table.
type refusal struct {
	watch   int    // socket with the notifications of nftables
	port    uint32 // of the last transaction of ours, by which its notifications are known
	wanted  []netip.Addr
	stale   bool // the table may not be as wanted
	repair  bool // it was, and others have changed it
	dueAt   time.Duration
	backoff time.Duration
}

// refused returns the addresses that packets are refused to. An owner accepts
// packets always (RFC 9568 section 6.4.3).
func (t *table) refused() []netip.Addr {
	var out []netip.Addr
	for _, r := range t.routers {
		for _, a := range r.addresses {
			if r.refuses() {
				out = append(out, a.Prefix.Addr())
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

func (r Router) refuses() bool { return r.Refuse && !r.Native }

// unguarded returns why packets to the router's addresses would be accepted
// although they are to be refused; nil when they would not.
func (r *router) unguarded() error {
	if r.refusal == nil {
		return nil
	}
	return *r.refusal
}

// becomeGuarded notes whether packets are refused; err is nil when they are.
func (t *table) becomeGuarded(err error) {
	if err != nil && t.refusal != nil && err.Error() == t.refusal.Error() {
		return
	}
	t.refusal = err
	for _, r := range t.routers {
		r.dirty = r.dirty || r.refusal != nil
	}
}

// guard brings the table nearer to what is wanted. It comes before any address
// is put on.
func (w *Worker) guard(added bool) {
	g := &w.refusal
	if added {
		if wanted := w.table.refused(); !slices.Equal(wanted, g.wanted) || w.table.refusal != nil {
			ends := len(wanted) == 0 && len(g.wanted) > 0
			g.wanted, g.stale, g.dueAt = wanted, true, 0
			if ends {
				w.leaveRefusal()
			}
		}
	}
	if len(g.wanted) == 0 || now() < g.dueAt {
		return
	}
	w.stuck.Reset(stuckAfter)
	defer w.stuck.Stop()
	if !g.stale {
		g.dueAt = now() + refuseCheck
		if w.inside(g.check) == nil {
			return
		}
		g.repair = true
	}
	if err := w.inside(g.install); err != nil {
		g.backoff = min(max(2*g.backoff, retryFirst), retryLast)
		g.stale, g.dueAt = true, now()+g.backoff
		w.table.becomeGuarded(explainRefusal(err))
		return
	}
	if g.repair {
		w.log.Warn("nftables table was changed by others: put back", "table", "inet "+refuseTable)
	}
	g.stale, g.repair, g.backoff, g.dueAt = false, false, 0, now()+refuseCheck
	w.table.becomeGuarded(nil)
}

// explainRefusal makes the kernel's refusal one that a person can act on.
func explainRefusal(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		err = fmt.Errorf("%w, or another program owns the table inet %s", missing(unix.EPERM, "CAP_NET_ADMIN"), refuseTable)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("%w: this kernel has no nf_tables, or not all of it: load its module, or accept packets", err)
	}
	return fmt.Errorf("refuse packets to the addresses by nftables: %w", err)
}

// hearRefusal takes what nftables has told. Whoever changes our table, if only
// to flush all, is undone.
func (w *Worker) hearRefusal() {
	g := &w.refusal
	for g.watch >= 0 {
		msgs, err := receive(g.watch, w.buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil: // ENOBUFS: some were lost
			g.suspect()
			if !errors.Is(err, unix.ENOBUFS) {
				return
			}
		}
		for _, m := range msgs {
			if m.Header.Pid != g.port && concerns(m) {
				g.suspect()
			}
		}
	}
}

// suspect has the table be made anew.
func (g *refusal) suspect() {
	if g.stale {
		return
	}
	since := g.dueAt - refuseCheck // when it was last made, or looked at
	g.stale, g.repair, g.dueAt = true, true, since+refuseRest
}

// concerns reports whether a message of nftables is about our table.
func concerns(m syscall.NetlinkMessage) bool {
	const header = 4 // struct nfgenmsg: the family first
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Header.Type&0xff == unix.NFT_MSG_NEWGEN || len(m.Data) < header || m.Data[0] != unix.NFPROTO_INET {
		return false
	}
	// NFTA_TABLE_NAME, NFTA_CHAIN_TABLE and so on all have this number.
	return unix.ByteSliceToString(nested(m.Data[header:], unix.NFTA_TABLE_NAME)) == refuseTable
}

// connect prepares a transaction; it belongs to the calling thread's namespace.
func (g *refusal) connect() (*nftables.Conn, error) {
	return nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var name unix.Sockaddr
		if e := raw.Control(func(fd uintptr) { name, err = unix.Getsockname(int(fd)) }); e != nil || err != nil {
			return errors.Join(e, err)
		}
		if k, ok := name.(*unix.SockaddrNetlink); ok {
			g.port = k.Pid
		}
		return c.SetDeadline(time.Now().Add(answerIn))
	}))
}

// listen opens the socket with the notifications, in the calling thread's namespace.
func (g *refusal) listen() error {
	if g.watch >= 0 {
		return nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open nfnetlink socket: %w", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES)
	}
	if err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("hear of changes: %w", err)
	}
	g.watch = fd
	return nil
}

// install makes the table, or replaces what is there, in one transaction.
func (g *refusal) install() error {
	if err := g.listen(); err != nil {
		return err
	}
	c, err := g.connect()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: refuseTable}
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	c.AddTable(t)
	sets := g.sets(t)
	for _, s := range sets {
		if err := c.AddSet(s.Set, s.elements); err != nil {
			return fmt.Errorf("add set %s: %w", s.Name, err)
		}
	}
	policy := nftables.ChainPolicyAccept
	chain := c.AddChain(&nftables.Chain{
		Name: refuseChain, Table: t, Type: nftables.ChainTypeFilter, Policy: &policy,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityRef(refusePriority),
	})
	for _, e := range refuseRules(sets) {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: e})
	}
	return c.Flush()
}

// check reports, by an error, that the table is not as install made it.
func (g *refusal) check() error {
	c, err := g.connect()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: refuseTable}
	sets := g.sets(t)
	rules, err := c.GetRules(t, &nftables.Chain{Name: refuseChain, Table: t})
	if err == nil && len(rules) != len(refuseRules(sets)) {
		err = errors.New("rules are missing")
	}
	for _, s := range sets {
		if err == nil {
			var found []nftables.SetElement
			if found, err = c.GetSetElements(s.Set); err == nil && len(found) != len(s.elements) {
				err = errors.New("addresses are missing")
			}
		}
	}
	return err
}

// remove takes the table away.
func (g *refusal) remove() error {
	c, err := g.connect()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	c.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: refuseTable})
	if err = c.Flush(); errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// refuseSet is a set of the table with its addresses.
type refuseSet struct {
	*nftables.Set
	elements []nftables.SetElement
}

// sets returns the sets, that of IPv4 first.
func (g *refusal) sets(t *nftables.Table) [2]refuseSet {
	out := [2]refuseSet{
		{Set: &nftables.Set{Table: t, Name: "refused4", KeyType: nftables.TypeIPAddr}},
		{Set: &nftables.Set{Table: t, Name: "refused6", KeyType: nftables.TypeIP6Addr}},
	}
	for _, a := range g.wanted {
		s := &out[0]
		if a.Is6() {
			s = &out[1]
		}
		s.elements = append(s.elements, nftables.SetElement{Key: a.AsSlice()})
	}
	return out
}

// refuseRules drop what comes for the addresses, save for neighbour discovery
// (types 135 and 136, RFC 4861), and what the host says to itself. ARP does not
// come by here.
func refuseRules(sets [2]refuseSet) [][]expr.Any {
	const destination4, destination6 = 16, 24 // offsets in the headers
	to := func(s refuseSet, family byte, offset, length uint32) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
			&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID},
		}
	}
	name := append([]byte("lo"), bytes.Repeat([]byte{0}, unix.IFNAMSIZ-2)...)
	lo := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
	four := to(sets[0], unix.NFPROTO_IPV4, destination4, 4)
	six := to(sets[1], unix.NFPROTO_IPV6, destination6, 16)
	discovery := append(slices.Clone(six),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{135}, ToData: []byte{136}},
		&expr.Verdict{Kind: expr.VerdictAccept},
	)
	drop := []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
	return [][]expr.Any{lo, append(four, drop...), discovery, append(six, drop...)}
}

// leaveRefusal takes the table away, at the start where nothing is refused and
// at the end where nothing that was refused is on: what goes on without this
// process, to be taken over by the next, goes on to be refused.
func (w *Worker) leaveRefusal() {
	for _, r := range w.table.routers {
		if r.refuses() && slices.ContainsFunc(r.addresses, func(a *address) bool { return len(a.iface.seen[a.Prefix.Addr()]) > 0 }) {
			return
		}
	}
	if err := w.inside(w.refusal.remove); err != nil {
		w.log.Debug("nftables table not removed", "table", "inet "+refuseTable, "err", err)
	}
}
