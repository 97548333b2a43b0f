package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Frame is an Ethernet frame that a host received or sent.
type Frame struct {
	At   time.Time // the kernel's stamp, on the machine's wall clock
	Host string
	Sent bool   // by this host
	Data []byte // from the destination address on
}

// Tap records frames of one interface.
type Tap struct {
	socket *os.File
	done   chan struct{}
	once   sync.Once
}

// Tap calls f, one at a time, for each ARP, VRRP and neighbour discovery frame on the interface, in the order in
// which the kernel saw them, until the tap or the laboratory is closed. Other frames are not seen, so that a client
// asking each millisecond costs nothing.
func (h *Host) Tap(ifname string, f func(Frame)) (*Tap, error) {
	link, err := h.space.nl.LinkByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("host %s: tap %s: %w", h.Name, ifname, err)
	}
	t := &Tap{done: make(chan struct{})}
	err = h.Do(func() error { return t.open(link.Attrs().Index) })
	if err != nil {
		return nil, fmt.Errorf("host %s: tap %s: %w", h.Name, ifname, err)
	}
	h.lab.onClose(t.Close)
	go t.read(h.Name, f)
	return t, nil
}

func (t *Tap) open(index int) error {
	// No protocol until the filter stands and the socket is bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open a packet socket: %w", err)
	}
	t.socket = os.NewFile(uintptr(fd), "tap")
	err = attachFilter(fd)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}
	if err == nil {
		// The larger buffer is for the machine's root; the default one holds some hundred frames.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index})
	}
	if err != nil {
		t.socket.Close()
		return err
	}
	return nil
}

// attachFilter lets ARP, VRRP and neighbour solicitations and advertisements pass.
func attachFilter(fd int) error {
	const (
		pass, drop                    = 13, 14 // instructions
		ipv4Proto, ipv6Next, icmpType = 14 + 9, 14 + 6, 14 + 40
	)
	// skip returns how many instructions lie between instruction i and the target.
	skip := func(i, target int) uint8 { return uint8(target - i - 1) }
	program, err := bpf.Assemble([]bpf.Instruction{
		0:    bpf.LoadAbsolute{Off: 12, Size: 2},
		1:    bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: skip(1, pass)},
		2:    bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipFalse: skip(2, 5)},
		3:    bpf.LoadAbsolute{Off: ipv4Proto, Size: 1},
		4:    bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoVRRP, SkipTrue: skip(4, pass), SkipFalse: skip(4, drop)},
		5:    bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipFalse: skip(5, drop)},
		6:    bpf.LoadAbsolute{Off: ipv6Next, Size: 1},
		7:    bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoVRRP, SkipTrue: skip(7, pass)},
		8:    bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMPV6, SkipFalse: skip(8, drop)},
		9:    bpf.LoadAbsolute{Off: icmpType, Size: 1},
		10:   bpf.JumpIf{Cond: bpf.JumpEqual, Val: neighbourSolicitation, SkipTrue: skip(10, pass)},
		11:   bpf.JumpIf{Cond: bpf.JumpEqual, Val: neighbourAdvertisement, SkipTrue: skip(11, pass)},
		12:   bpf.Jump{Skip: uint32(skip(12, drop))},
		pass: bpf.RetConstant{Val: 1 << 16},
		drop: bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return fmt.Errorf("assemble the filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("attach the filter: %w", err)
	}
	return nil
}

// Protocol numbers (RFC 9568, section 5.1.1.4) and ICMPv6 types (RFC 4861, sections 4.3 and 4.4).
const (
	protoVRRP              = 112
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
)

func (t *Tap) read(host string, f func(Frame)) {
	defer close(t.done)
	conn, err := t.socket.SyscallConn()
	if err != nil {
		return
	}
	buf, oob := make([]byte, 1<<16), make([]byte, 256)
	for {
		var frame Frame
		var readErr error
		err := conn.Read(func(fd uintptr) bool {
			frame, readErr = receive(int(fd), buf, oob)
			return !errors.Is(readErr, unix.EAGAIN)
		})
		if err != nil { // closed
			return
		}
		if readErr != nil { // the interface is down or gone: it may come back
			if errors.Is(readErr, unix.ENETDOWN) {
				continue
			}
			return
		}
		frame.Host = host
		f(frame)
	}
}

func receive(fd int, buf, oob []byte) (Frame, error) {
	n, oobn, _, from, err := unix.Recvmsg(fd, buf, oob, 0)
	if err != nil {
		return Frame{}, err
	}
	frame := Frame{Data: append([]byte(nil), buf[:n]...)}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok {
		frame.Sent = ll.Pkttype == unix.PACKET_OUTGOING
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return Frame{}, err
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			frame.At = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return frame, nil
}

// Close ends the tap; f is not called any more when it returns.
func (t *Tap) Close() {
	t.once.Do(func() {
		t.socket.Close()
		<-t.done
	})
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
