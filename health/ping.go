package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Ping is who must answer an ICMP echo.
type Ping struct {
	Address   netip.Addr
	Interface string // to send on; empty: as routed
}

// NewPingProbe sends an ICMP echo request, and a second one when half of the time
// is over, or at once when an error came: a lost packet is no failure. It needs
// CAP_NET_RAW.
func NewPingProbe(p Ping) Probe {
	return newPing(p)
}

func newPing(p Ping) *pingProbe {
	p.Address = p.Address.Unmap()
	if zone := p.Address.Zone(); zone != "" {
		if p.Interface == "" {
			p.Interface = zone
		}
		p.Address = p.Address.WithZone("") // bound to the interface, the socket needs no number of it
	}
	return &pingProbe{p}
}

type pingProbe struct{ Ping }

func (p *pingProbe) Probe(ctx context.Context) Answer {
	ctx, cancel := inTime(ctx)
	defer cancel()
	err := p.echo(ctx)
	if err == nil {
		return Answer{OK: true, Text: "reply from " + p.where()}
	}
	a := Answer{Text: fmt.Sprintf("ping %s: %v", p.where(), plain(err))}
	var op *net.OpError
	switch {
	case timedOut(err):
		a.Text = fmt.Sprintf("ping %s: no reply", p.where())
	case errors.Is(err, syscall.EPERM) && errors.As(err, &op) && op.Op == "dial":
		a.Text = fmt.Sprintf("ping %s: open a raw socket: %v", p.where(), plain(err))
		a.Hint = "baton needs AmbientCapabilities=CAP_NET_RAW in its unit"
	case errors.Is(err, syscall.EPERM):
		a.Hint = "a firewall of this host forbids it"
	case errors.Is(err, syscall.ENODEV):
		a.Text = fmt.Sprintf("ping %v: no interface %s", p.Address, p.Interface)
	case errors.Is(err, syscall.ENETUNREACH):
		a.Hint = "this host, or a router on the way, has no route there"
	case errors.Is(err, syscall.EHOSTUNREACH):
		a.Hint = "it is down, or not on this network"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		a.Hint = "this host has no address there to ask from"
	case errors.Is(err, syscall.EINVAL) && p.Address.IsLinkLocalUnicast():
		a.Hint = "a link-local address needs an interface"
	}
	return a
}

// where is whom it asks, and on which interface.
func (p *pingProbe) where() string {
	if p.Interface == "" {
		return p.Address.String()
	}
	return p.Address.String() + " on " + p.Interface
}

// echo asks until there is a reply.
func (p *pingProbe) echo(ctx context.Context) error {
	network := "ip4:1"
	if p.Address.Is6() {
		network = "ip6:58"
	}
	// Connected, the socket gets what comes from that address alone, and what
	// routers say of packets to it, as errors.
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = p.prepare(int(fd)) }), err)
	}}
	conn, err := d.DialContext(ctx, network, p.Address.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	// The kernel gives each raw socket a copy of each reply: the cookie tells ours
	// from those of other probes and other programs.
	e := icmp.Echo{ID: rand.IntN(1 << 16), Data: make([]byte, 56)}
	binary.NativeEndian.PutUint64(e.Data, rand.Uint64())
	deadline, timed := ctx.Deadline()
	var first error
	if timed {
		e.Seq = 1
		first = p.exchange(ctx, conn.(*net.IPConn), &e, time.Now().Add(time.Until(deadline)/2))
		if first == nil || ctx.Err() != nil {
			return first
		}
	}
	e.Seq++
	err = p.exchange(ctx, conn.(*net.IPConn), &e, deadline)
	if timedOut(err) && first != nil {
		return first // routers do not say it a second time so soon
	}
	return err
}

// prepare binds the socket to the interface, and has the kernel pass on nothing
// but echo replies, and what routers say.
func (p *pingProbe) prepare(fd int) error {
	if p.Interface != "" {
		if err := unix.BindToDevice(fd, p.Interface); err != nil {
			return err
		}
	}
	if p.Address.Is4() {
		const solRaw, icmpFilter = 255, 1
		return errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1),
			unix.SetsockoptInt(fd, solRaw, icmpFilter, ^(1<<int(ipv4.ICMPTypeEchoReply))),
		)
	}
	var f unix.ICMPv6Filter
	for i := range f.Data {
		f.Data[i] = ^uint32(0)
	}
	f.Data[ipv6.ICMPTypeEchoReply/32] &^= 1 << (ipv6.ICMPTypeEchoReply % 32)
	return errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1),
		unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &f),
	)
}

// exchange sends a request and waits for a reply, which may be to an earlier one.
func (p *pingProbe) exchange(ctx context.Context, conn *net.IPConn, e *icmp.Echo, until time.Time) error {
	request, reply, protocol := icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply), unix.IPPROTO_ICMP
	if p.Address.Is6() { // the kernel makes the checksum
		request, reply, protocol = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, unix.IPPROTO_ICMPV6
	}
	b, err := (&icmp.Message{Type: request, Body: e}).Marshal(nil)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(until); err != nil {
		return err
	}
	if ctx.Err() != nil { // its end came before the deadline that was just set
		return ctx.Err()
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	buffer := make([]byte, 256)
	for {
		n, _, err := conn.ReadFromIP(buffer) // without the IPv4 header
		if err != nil {
			return err
		}
		m, err := icmp.ParseMessage(protocol, buffer[:n])
		if err != nil || m.Type != reply {
			continue
		}
		if r, ok := m.Body.(*icmp.Echo); ok && r.ID == e.ID && bytes.Equal(r.Data, e.Data) {
			return nil
		}
	}
}
