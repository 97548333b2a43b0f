package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// easing is how many times as long as reading the routes took the worker lets
// pass before it reads them again. The kernel walks all routes to find this
// program's: in 13 µs among a hundred, 1.2 ms among 10,000, 62 ms among a million.
const easing = 10

// secondLook is how long after a notification the kernel has surely done what it
// told of: it is some microseconds, unless whoever asked for it loses the processor.
const secondLook = 10 * time.Millisecond

// openRoutes opens the socket for notifications about routes and rules. It is a
// member of no group as long as no router has any.
func (w *Worker) openRoutes() (err error) {
	if w.routes, err = openNetlink(watchBuffer); err != nil {
		return err
	}
	name, err := unix.Getsockname(w.requests.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	if k, ok := name.(*unix.SockaddrNetlink); ok {
		w.table.routing.port = k.Pid
	}
	// So that the kernel picks out routes by protocol; before 4.20 it sends all.
	_ = unix.SetsockoptInt(w.requests.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return nil
}

// watchRoutes has the kernel tell of the kinds of objects that routers have.
func (w *Worker) watchRoutes() {
	if len(w.table.routing.followers) == 0 {
		return
	}
	if err := attach(w.routes, w.table.routing.filter()); err != nil {
		w.log.Warn("each change of a route wakes the address worker", "err", err)
	}
	for _, g := range []struct {
		rule, six bool
		group     int
	}{
		{false, false, unix.RTNLGRP_IPV4_ROUTE},
		{false, true, unix.RTNLGRP_IPV6_ROUTE},
		{true, false, unix.RTNLGRP_IPV4_RULE},
		{true, true, unix.RTNLGRP_IPV6_RULE},
	} {
		if !w.table.routing.has(g.rule, g.six) {
			continue
		}
		if err := unix.SetsockoptInt(w.routes, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g.group); err != nil {
			w.log.Error("routes and rules are not watched", "err", err)
		}
	}
}

// filter lets through what is about a rule, or about a route with one of our
// destination lengths: a host that hears the world's routes need not wake for
// each of their changes.
func (k *routing) filter() []bpf.Instruction {
	const pass = 1 << 18 // bytes, which is more than a message has
	kind := func(t uint16) uint32 {
		return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, t)))
	}
	out := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 2}, // nlmsg_type
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: kind(unix.RTM_NEWROUTE), SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: kind(unix.RTM_DELROUTE), SkipTrue: 1},
		bpf.RetConstant{Val: pass},
		bpf.LoadAbsolute{Off: unix.SizeofNlMsghdr, Size: 2}, // rtm_family, rtm_dst_len
	}
	for i, family := range []uint32{unix.AF_INET, unix.AF_INET6} {
		for length, ours := range k.lengths[i] {
			if ours {
				out = append(out, bpf.JumpIf{Cond: bpf.JumpEqual, Val: family<<8 | uint32(length), SkipFalse: 1}, bpf.RetConstant{Val: pass})
			}
		}
	}
	return append(out, bpf.RetConstant{Val: 0})
}

// attach has the kernel filter what a socket receives.
func attach(fd int, filter []bpf.Instruction) error {
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}))
}

// listenRoutes takes what the kernel has said about routes and rules, and reads
// them again where that, or something else, calls for it.
func (w *Worker) listenRoutes() {
	k := &w.table.routing
	for len(k.followers) > 0 {
		msgs, err := receive(w.routes, w.buf)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil { // some were lost
			k.touch()
			if !errors.Is(err, unix.ENOBUFS) {
				w.log.Error("route notifications not read", "err", err)
				break
			}
		}
		for _, m := range msgs {
			k.hear(m)
		}
	}
	if at := now(); k.stale && at >= k.readAt {
		if err := w.readRoutes(); err != nil {
			w.log.Error("routes and rules not read, will be tried again", "err", err)
			k.stale, k.readAt = true, at+staleRetry
		}
	}
}

// readRoutes reads this program's routes, and all rules, into the table.
func (w *Worker) readRoutes() error {
	k := &w.table.routing
	if len(k.followers) == 0 && !k.everywhere {
		return nil
	}
	start := now()
	w.stuck.Reset(stuckAfter)
	defer w.stuck.Stop()
	var objects []object
	for _, six := range []bool{false, true} {
		if k.has(false, six) || k.everywhere {
			if err := w.requests.routes(six, Protocol, func(o object) { objects = append(objects, o) }); err != nil {
				return fmt.Errorf("read routes: %w", err)
			}
		}
		if k.has(true, six) || k.everywhere {
			if err := w.requests.rules(six, func(o object) { objects = append(objects, o) }); err != nil {
				return fmt.Errorf("read rules: %w", err)
			}
		}
	}
	w.table.read(objects)
	end := now()
	k.readAt = end + easing*(end-start)
	if k.stale {
		k.readAt = max(k.readAt, end+secondLook)
	}
	return nil
}

// routes calls f for each route of a family that a protocol has made. Whether
// others changed meanwhile does not matter: the kernel resumes by destination.
func (s *requests) routes(six bool, protocol uint8, f func(object)) error {
	body := object{key: key{six: six}}.header()
	body.Protocol = protocol
	_, err := s.dump(unix.RTM_GETROUTE, body, func(m syscall.NetlinkMessage) {
		if len(m.Data) < unix.SizeofRtMsg || m.Data[5] != protocol {
			return
		}
		if o, ok := parseObject(m); ok && o.six == six {
			f(o)
		}
	})
	return err
}

// rules calls f for each rule of a family, whoever has made it.
func (s *requests) rules(six bool, f func(object)) error {
	_, err := s.dump(unix.RTM_GETRULE, object{key: key{six: six}}.header(), func(m syscall.NetlinkMessage) {
		if o, ok := parseObject(m); ok && o.six == six {
			f(o)
		}
	})
	return err
}

// rival explains why what a request is to make exists already. The answer is kept, for on a host with very many routes the search
// takes its time.
func (w *Worker) rival(q request) error {
	f := q.follower
	switch {
	case f.rule: // ours, then; of others' the kernel does not mind, or they are known
		w.table.routing.touched()
		return errors.New("exists already")
	case f.rival != nil:
		return f.rival
	}
	f.rival = errors.New("exists, made by another program: give it another metric")
	for _, p := range []uint8{
		Protocol, unix.RTPROT_BOOT, unix.RTPROT_STATIC, unix.RTPROT_DHCP, unix.RTPROT_KERNEL, unix.RTPROT_RA,
		unix.RTPROT_KEEPALIVED, unix.RTPROT_ZEBRA, unix.RTPROT_BIRD,
	} {
		found := false
		err := w.requests.routes(f.six, p, func(o object) { found = found || o.key == f.key })
		if err != nil || !found {
			continue
		}
		if p == Protocol { // what is it like? then it is adopted or replaced
			w.table.routing.touched()
			f.rival = nil
			return errors.New("exists, made for another router: give it another metric")
		}
		f.rival = fmt.Errorf("exists, made by protocol %s: give it another metric", protocolName(p))
		break
	}
	return f.rival
}

// protocolName is what ip(8) calls a route's origin.
func protocolName(p uint8) string {
	switch p {
	case unix.RTPROT_BOOT:
		return "boot"
	case unix.RTPROT_STATIC:
		return "static"
	case unix.RTPROT_DHCP:
		return "dhcp"
	case unix.RTPROT_KERNEL:
		return "kernel"
	case unix.RTPROT_RA:
		return "ra"
	case unix.RTPROT_KEEPALIVED:
		return "keepalived"
	case unix.RTPROT_ZEBRA:
		return "zebra"
	case unix.RTPROT_BIRD:
		return "bird"
	}
	return fmt.Sprint(p)
}
