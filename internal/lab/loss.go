package lab

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Direction says which half of a cable is meant.
type Direction int

// The zero Direction is none, and is refused.
const (
	FromHost Direction = iota + 1 // what the host sends
	ToHost                        // what the host would receive
)

func (d Direction) String() string {
	switch d {
	case FromHost:
		return "from the host"
	case ToHost:
		return "to the host"
	}
	return fmt.Sprintf("Direction(%d)", int(d))
}

// Lose drops a share of the frames in one direction, by chance; 1 is a cut that only one side suffers, 0 ends the
// loss of both directions. It needs to be root outside any user namespace, as every loader of BPF programs does.
func (p *Port) Lose(d Direction, share float64) error {
	if err := p.lose(d, share); err != nil {
		return fmt.Errorf("lose %v of the frames %v %s: %w", share, d, p.Host.Name, err)
	}
	return nil
}

func (p *Port) lose(d Direction, share float64) error {
	if share < 0 || share > 1 {
		return errors.New("a share is from 0 to 1")
	}
	nl := p.sw.space.nl
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: p.end.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if share == 0 {
		if !p.lossy {
			return nil
		}
		p.lossy = false
		return nl.QdiscDel(qdisc)
	}
	parent := uint32(netlink.HANDLE_MIN_INGRESS)
	switch d {
	case FromHost:
	case ToHost:
		parent = netlink.HANDLE_MIN_EGRESS
	default:
		return errors.New("no direction")
	}
	prog, err := loadDropper(share)
	if err != nil {
		return err
	}
	defer unix.Close(prog) // the filter holds the program
	if !p.lossy {
		if err := nl.QdiscAdd(qdisc); err != nil {
			return fmt.Errorf("add the qdisc: %w", err)
		}
		p.lossy = true
	}
	return nl.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: p.end.Attrs().Index, Parent: parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1,
		},
		Fd: prog, Name: "loss", DirectAction: true,
	})
}

// insn is one instruction of the kernel's BPF machine.
type insn struct {
	code byte
	regs byte // destination in the low half, source in the high one
	off  int16
	imm  int32
}

// loadDropper loads a traffic classifier that drops a share of what it sees and returns its descriptor.
func loadDropper(share float64) (int, error) {
	const randomU32 = 7 // bpf_get_prandom_u32
	// The random number is halved: the comparison with an immediate is of a signed one.
	threshold := int32(share * float64(1<<31-1))
	program := []insn{
		{code: unix.BPF_JMP | unix.BPF_CALL, imm: randomU32},
		{code: unix.BPF_ALU64 | unix.BPF_RSH | unix.BPF_K, imm: 1},
		{code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, off: 2, imm: threshold},
		{code: unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K, imm: 2}, // TC_ACT_SHOT
		{code: unix.BPF_JMP | unix.BPF_EXIT},
		{code: unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K, imm: 0}, // TC_ACT_OK
		{code: unix.BPF_JMP | unix.BPF_EXIT},
	}
	license := []byte("Apache-2.0\x00")
	attr := struct {
		kind, count      uint32
		insns            uint64
		license          uint64
		level, size      uint32
		log              uint64
		version, flags   uint32
		_                [16]byte
		ifindex, attachT uint32
	}{
		kind: unix.BPF_PROG_TYPE_SCHED_CLS, count: uint32(len(program)),
		insns:   uint64(uintptr(unsafe.Pointer(&program[0]))),
		license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(program)
	runtime.KeepAlive(license)
	if errno != 0 {
		return -1, fmt.Errorf("load a BPF program: %w", errno)
	}
	return int(fd), nil
}
