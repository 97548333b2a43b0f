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

// The first bytes of what the receive socket takes: the version, and type 1, an
// advertisement (RFC 9568 sections 5.2.1 and 5.2.2, RFC 3768 section 5.3.1).
const (
	version2 = 0x21
	version3 = 0x31
)

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

// program builds a classic BPF program that leaves for the refusal where a test
// fails, and for the match where no test is left. A load beyond the end of a
// packet ends a program with "drop" whatever it was meant to say, so each load
// that may fail stands behind a test of the length.
type program struct {
	code  []bpf.Instruction
	exit  []int // jumps that leave for the refusal
	found []int // jumps to the last test, needMember's
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

// split goes on where the accumulator has the value. Where not, the program goes
// on at the place that is later given to land.
func (p *program) split(val uint32) (at int) {
	p.add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: val})
	return len(p.code) - 1
}

// land makes the next instruction the target of the jumps at these places.
func (p *program) land(at ...int) {
	for _, at := range at {
		p.aim(at, len(p.code))
	}
}

// aim makes target where a failed test, or a jump, at a place goes. A test
// reaches no further than 255 instructions; the longest program has 135.
func (p *program) aim(at, target int) {
	skip := target - (at + 1)
	switch jump := p.code[at].(type) {
	case bpf.JumpIf:
		jump.SkipFalse = uint8(skip)
		p.code[at] = jump
	case bpf.JumpIfX:
		jump.SkipFalse = uint8(skip)
		p.code[at] = jump
	case bpf.Jump:
		jump.Skip = uint32(skip)
		p.code[at] = jump
	}
}

// refuse leaves for the refusal.
func (p *program) refuse() {
	p.exit = append(p.exit, len(p.code))
	p.add(bpf.Jump{})
}

// Where advert keeps the parts of a message.
const (
	slotVersion = iota // the first byte
	slotWord           // the upper three bits of the VRID: which word of a set has it
)

// needAdvert goes on with adverts of version 3 of the one set, or of version 2 of
// the other. What is empty takes no instruction. It ends a branch of the program.
func (p *program) needAdvert(v3, v2 VRIDs) {
	p.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotVersion})
	for _, of := range []struct {
		version uint32
		set     VRIDs
	}{{version3, v3}, {version2, v2}} {
		if of.set == (VRIDs{}) {
			continue
		}
		other := p.split(of.version)
		p.word(of.set)
		p.land(other)
	}
	p.refuse()
}

// word loads the word of a set that the VRID belongs to, and jumps to the last
// test with it. A word without a VRID is refused.
func (p *program) word(set VRIDs) {
	p.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotWord})
	for w := range uint32(8) {
		bits := uint32(set[w/2] >> (w % 2 * 32))
		if bits == 0 {
			continue
		}
		other := p.split(w)
		p.add(bpf.LoadConstant{Dst: bpf.RegA, Val: bits}, bpf.Jump{})
		p.found = append(p.found, len(p.code)-1)
		p.land(other)
	}
	p.refuse()
}

// needMember is the last test: that the word in the accumulator has the bit whose
// number is in the index register.
func (p *program) needMember() {
	p.land(p.found...)
	p.add(bpf.ALUOpX{Op: bpf.ALUOpShiftRight})
	p.need(bpf.JumpBitsSet, 1)
}

// finish ends the program: match is the verdict where every test held.
func (p *program) finish(match, otherwise uint32) []bpf.Instruction {
	p.add(bpf.RetConstant{Val: match}, bpf.RetConstant{Val: otherwise})
	for _, at := range p.exit {
		p.aim(at, len(p.code)-1)
	}
	return p.code
}

// advertFilter is the program of the receive socket, which takes what is said at
// Known. With refused set it is the survey socket's: exactly what the other one
// drops.
func advertFilter(ipv6 bool, l layout, known Known, refused bool) []bpf.Instruction {
	match, otherwise := uint32(keepAll), uint32(keepNone)
	if refused {
		match, otherwise = otherwise, match
	}
	if ipv6 {
		known.V2, known.UnicastV2 = VRIDs{}, VRIDs{} // there is no such thing
	}
	if known == (Known{}) {
		return []bpf.Instruction{bpf.RetConstant{Val: otherwise}}
	}
	var p program
	var unicast []int
	if ipv6 {
		unicast = p.advert6(l)
	} else {
		unicast = p.advert4(l)
	}
	p.needAdvert(known.V3, known.V2)
	p.land(unicast...)
	p.needAdvert(known.UnicastV3, known.UnicastV2)
	p.needMember()
	return p.finish(match, otherwise)
}

// advert takes the message apart whose first two bytes are loaded by version and
// vrid: the index register gets the number of the VRID's bit in its word, the
// slots the rest.
func (p *program) advert(version, vrid bpf.Instruction) {
	p.add(
		version,
		bpf.StoreScratch{Src: bpf.RegA, N: slotVersion},
		vrid,
		bpf.TAX{},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 5},
		bpf.StoreScratch{Src: bpf.RegA, N: slotWord},
		bpf.TXA{},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 31},
		bpf.TAX{},
	)
}

// advert4 goes on with packets to the group whose TTL is 255 (RFC 9568 section
// 7.1), and elsewhere with those that go to any other address.
func (p *program) advert4(l layout) (unicast []int) {
	p.needLength(l.network + 20)
	// X is the header's length: options are allowed (router alert). With the
	// length minus one above X, both bytes at X can be loaded.
	p.add(
		bpf.LoadMemShift{Off: l.network},
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.ALUOpConstant{Op: bpf.ALUOpSub, Val: l.network + 1},
	)
	p.needX(bpf.JumpGreaterThan)
	p.advert(bpf.LoadIndirect{Off: l.network, Size: 1}, bpf.LoadIndirect{Off: l.network + 1, Size: 1})
	p.add(bpf.LoadAbsolute{Off: l.network + 16, Size: 4})
	unicast = append(unicast, p.split(0xe0000012))
	p.needField(l.network+8, 1, 255)
	return unicast
}

// advert6 is advert4 for IPv6.
func (p *program) advert6(l layout) (unicast []int) {
	p.needLength(l.before + 2)
	p.advert(bpf.LoadAbsolute{Off: l.transport, Size: 1}, bpf.LoadAbsolute{Off: l.transport + 1, Size: 1})
	for i, word := range [4]uint32{0xff020000, 0, 0, 0x12} {
		p.add(bpf.LoadAbsolute{Off: l.network + 24 + 4*uint32(i), Size: 4})
		unicast = append(unicast, p.split(word))
	}
	p.needField(l.network+7, 1, 255)
	return unicast
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
