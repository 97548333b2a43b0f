package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Quorum is who must answer, more than half of them and this node.
type Quorum struct {
	Nodes     []QuorumNode // the others
	Witnesses []netip.Addr // that vote beside the nodes
	Port      int          // a TCP port that nodes accept connections on; 0: they are pinged, as witnesses are
}

// QuorumNode is another node.
type QuorumNode struct {
	Name string
	Addr netip.Addr
}

// NewQuorumProbe asks all nodes and witnesses at once, and passes when more than
// half of them answer, this node counted as one that does. It waits for all, so
// that it can name those that do not. An address counts once, and one of this
// host not as an answer. What is asked by ICMP needs CAP_NET_RAW.
func NewQuorumProbe(q Quorum) Probe {
	p := &quorumProbe{of: "nodes"}
	seen := map[netip.Addr]bool{}
	add := func(name string, addr netip.Addr, port int) bool {
		if addr = addr.Unmap(); seen[addr] {
			return false
		}
		seen[addr] = true
		v := voter{name: addr.String(), ping: newPing(Ping{Address: addr})}
		if name != "" {
			v.name = fmt.Sprintf("%s (%v)", name, addr)
		}
		if port != 0 {
			e := newEndpoint("tcp", net.JoinHostPort(addr.String(), strconv.Itoa(port)), nil)
			v.port = &e
		}
		p.voters = append(p.voters, v)
		return true
	}
	for _, n := range q.Nodes {
		add(n.Name, n.Addr, q.Port)
	}
	for _, w := range q.Witnesses {
		if add("", w, 0) {
			p.of = "nodes and witnesses"
		}
	}
	return p
}

type quorumProbe struct {
	voters []voter
	of     string // what they are
}

// voter is who may answer.
type voter struct {
	name string
	port *endpoint // nil: it is pinged
	ping *pingProbe
}

func (p *quorumProbe) Probe(ctx context.Context) Answer {
	ctx, cancel := inTime(ctx)
	defer cancel()
	errs := make([]error, len(p.voters))
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return Answer{Text: fmt.Sprintf("ask the kernel for its addresses: open a netlink socket: %v", err)}
	}
	defer h.Close()
	var wg sync.WaitGroup
	for i, v := range p.voters {
		if own(h, v.ping.Address) {
			errs[i] = errOwn
			continue
		}
		wg.Go(func() { errs[i] = v.ask(ctx) })
	}
	wg.Wait()
	reached, all := 1, 1+len(p.voters) // this node
	var silent []string
	for i, v := range p.voters {
		if errs[i] == nil {
			reached++
			continue
		}
		silent = append(silent, fmt.Sprintf("%s does not answer: %v", v.name, plain(errs[i])))
	}
	a := Answer{OK: 2*reached > all, Text: fmt.Sprintf("%d of %d %s", reached, all, p.of)}
	if !a.OK {
		a.Text += ", no majority"
		a.Hint = "this node may be cut off, or the others are down"
	}
	for _, err := range errs {
		if errors.Is(err, syscall.EPERM) {
			a.Hint = "to ping, baton needs AmbientCapabilities=CAP_NET_RAW in its unit"
		}
	}
	if len(silent) > 0 {
		a.Text += "; " + some(silent)
	}
	return a
}

// ask returns no error when the voter answers.
func (v voter) ask(ctx context.Context) error {
	if v.port == nil {
		return v.ping.echo(ctx)
	}
	conn, err := v.port.dialer.DialContext(ctx, v.port.network, v.port.address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// errOwn says that an answer would prove nothing, as of a virtual address that is
// held here.
var errOwn = errors.New("it is an address of this host")

// own tells whether packets to an address do not leave this host.
func own(h *netlink.Handle, addr netip.Addr) bool {
	routes, err := h.RouteGet(addr.AsSlice())
	return err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
}
