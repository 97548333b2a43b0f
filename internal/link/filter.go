package link

import (
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A filter's verdict: how many bytes of the packet to keep.
const (
	keepAll  = 1 << 18
	keepNone = 0
)

// versionType is the first byte of what the receive socket takes: VRRP version
// 3, type 1 (RFC 9568 sections 5.2.1 and 5.2.2).
const versionType = 0x31

// layout tells a program where it finds the headers of a packet.
type layout struct {
	network   uint32 // offset of the IP header
	transport uint32 // offset of the VRRP message; for IPv4 the header's own length is added
	before    uint32 // bytes of the packet's length that come before the VRRP message (IPv6)
}

var (
	// A raw IPv4 socket's filter sees the packet from its IP header on.
	rawLayout4 = layout{}
	// A raw IPv6 socket's filter sees only the payload; the header is reached by
	// the kernel's ancillary offset SKF_NET_OFF.
	rawLayout6 = layout{network: 0xfff00000}
)

// program builds a classic BPF program of tests that must all hold. A load
// beyond the end of a packet ends a program with "drop" whatever it was meant to
// say, so each load that may fail stands behind a test of the length.
type program struct {
	code []bpf.Instruction
	exit []int // tests that leave for the refusal when they fail
}

func (p *program) add(code ...bpf.Instruction) {
	p.code = append(p.code, code...)
}

// need goes on only where the accumulator stands the test.
func (p *program) need(cond bpf.JumpTest, val uint32) {
	p.exit = append(p.exit, len(p.code))
	p.add(bpf.JumpIf{Cond: cond, Val: val})
}

// needX goes on only where accumulator and index register stand the test.
func (p *program) needX(cond bpf.JumpTest) {
	p.exit = append(p.exit, len(p.code))
	p.add(bpf.JumpIfX{Cond: cond})
}

// needField goes on only where the packet has this value at this offset.
func (p *program) needField(off uint32, size int, val uint32) {
	p.add(bpf.LoadAbsolute{Off: off, Size: size})
	p.need(bpf.JumpEqual, val)
}

// needLength goes on only with packets of at least n bytes.
func (p *program) needLength(n uint32) {
	p.add(bpf.LoadExtension{Num: bpf.ExtLen})
	p.need(bpf.JumpGreaterOrEqual, n)
}

// needMember goes on only where the accumulator, a byte, is in the set: the set
// is eight words, one of which is picked by the upper three bits.
func (p *program) needMember(set VRIDs) {
	p.add(
		bpf.StoreScratch{Src: bpf.RegA},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 31},
		bpf.TAX{},
		bpf.LoadScratch{Dst: bpf.RegA},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 5},
	)
	const words = 8
	for w := uint32(0); w < words; w++ {
		p.add(
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: w, SkipTrue: 2},
			bpf.LoadConstant{Dst: bpf.RegA, Val: uint32(set[w/2] >> (w % 2 * 32))},
			bpf.Jump{Skip: 3 * (words - 1 - w)},
		)
	}
	p.add(bpf.ALUOpX{Op: bpf.ALUOpShiftRight})
	p.need(bpf.JumpBitsSet, 1)
}

// finish ends the program: match is the verdict where every test held.
func (p *program) finish(match, otherwise uint32) []bpf.Instruction {
	p.add(bpf.RetConstant{Val: match}, bpf.RetConstant{Val: otherwise})
	for _, at := range p.exit {
		skip := uint8(len(p.code) - 1 - (at + 1))
		switch test := p.code[at].(type) {
		case bpf.JumpIf:
			test.SkipFalse = skip
			p.code[at] = test
		case bpf.JumpIfX:
			test.SkipFalse = skip
			p.code[at] = test
		}
	}
	return p.code
}

// advertFilter is the program of the receive socket: TTL or hop limit 255,
// destination the group, version 3 type 1, a known VRID (RFC 9568 section 7.1).
// With refused set it is the survey socket's: exactly what the other one drops.
func advertFilter(ipv6 bool, l layout, known VRIDs, refused bool) []bpf.Instruction {
	var p program
	if ipv6 {
		p.advertTests6(l)
	} else {
		p.advertTests4(l)
	}
	p.needMember(known)
	if refused {
		return p.finish(keepNone, keepAll)
	}
	return p.finish(keepAll, keepNone)
}

// advertTests4 leaves the VRID in the accumulator.
func (p *program) advertTests4(l layout) {
	p.needLength(l.network + 20)
	p.needField(l.network+8, 1, 255)
	p.needField(l.network+16, 4, 0xe0000012)
	// X is the header's length: options are allowed (router alert). With the
	// length minus one above X, both bytes at X can be loaded.
	p.add(
		bpf.LoadMemShift{Off: l.network},
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.ALUOpConstant{Op: bpf.ALUOpSub, Val: l.network + 1},
	)
	p.needX(bpf.JumpGreaterThan)
	p.add(bpf.LoadIndirect{Off: l.network, Size: 1})
	p.need(bpf.JumpEqual, versionType)
	p.add(bpf.LoadIndirect{Off: l.network + 1, Size: 1})
}

// advertTests6 leaves the VRID in the accumulator.
func (p *program) advertTests6(l layout) {
	p.needLength(l.before + 2)
	p.needField(l.network+7, 1, 255)
	for i, word := range [4]uint32{0xff020000, 0, 0, 0x12} {
		p.needField(l.network+24+4*uint32(i), 4, word)
	}
	p.needField(l.transport, 1, versionType)
	p.add(bpf.LoadAbsolute{Off: l.transport + 1, Size: 1})
}

// Sizes and offsets in an Ethernet frame.
const (
	etherARP     = 14      // the ARP message
	arpSenderMAC = 14 + 8  // sender hardware address
	arpSender    = 14 + 14 // sender protocol address
	arpTarget    = 14 + 24 // target protocol address
	arpEnd       = 14 + 28
	etherIPv6    = 14
	naMessage    = 14 + 40 // the ICMPv6 message
	naTarget     = 14 + 40 + 8
	naEnd        = 14 + 40 + 24
	naSolicited  = 0x40
	icmpv6NA     = 136
	neighborTLLA = 2 // option: target link-layer address
)

// announcementFilter4 is the program of the packet socket for IPv4: ARP over
// Ethernet whose sender claims its own address to everybody, as request or as
// reply. An ARP probe (sender 0.0.0.0) claims nothing.
func announcementFilter4() []bpf.Instruction {
	var p program
	p.needLength(arpEnd)
	p.needField(12, 2, unix.ETH_P_ARP)
	p.needField(etherARP, 2, 1)               // Ethernet
	p.needField(etherARP+2, 2, unix.ETH_P_IP) // IPv4
	p.needField(etherARP+4, 2, 0x0604)        // address lengths
	p.add(bpf.LoadAbsolute{Off: 20, Size: 2}) // 1 request, 2 reply
	p.need(bpf.JumpGreaterOrEqual, 1)
	p.need(bpf.JumpLessOrEqual, 2)
	p.add(bpf.LoadAbsolute{Off: arpSender, Size: 4})
	p.need(bpf.JumpNotEqual, 0)
	p.add(bpf.TAX{}, bpf.LoadAbsolute{Off: arpTarget, Size: 4})
	p.needX(bpf.JumpEqual)
	return p.finish(keepAll, keepNone)
}

// announcementFilter6 is the program of the packet socket for IPv6: a neighbour
// advertisement that nobody asked for. A hop limit of 255 proves that no router
// passed it on (RFC 4861 section 7.1.2).
func announcementFilter6() []bpf.Instruction {
	var p program
	p.needLength(naEnd)
	p.needField(12, 2, unix.ETH_P_IPV6)
	p.needField(etherIPv6+6, 1, unix.IPPROTO_ICMPV6)
	p.needField(etherIPv6+7, 1, 255)
	p.needField(naMessage, 2, icmpv6NA<<8) // type and code 0
	p.add(bpf.LoadAbsolute{Off: naMessage + 4, Size: 1})
	p.need(bpf.JumpBitsNotSet, naSolicited)
	return p.finish(keepAll, keepNone)
}

// nothing is the program that takes no packet at all.
func nothing() []bpf.Instruction {
	return []bpf.Instruction{bpf.RetConstant{Val: keepNone}}
}

// attach makes program the socket's filter. The kernel swaps filters in one
// step: no packet meets none.
func attach(fd int, code []bpf.Instruction) error {
	raw, err := bpf.Assemble(code)
	if err != nil {
		return fmt.Errorf("assemble the packet filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
		return fmt.Errorf("attach the packet filter: %w", err)
	}
	return nil
}
