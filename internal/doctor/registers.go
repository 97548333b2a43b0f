package doctor

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// registers are those of a rule: 64 bytes, of which each can be unknown. What no
// expression has written is, and what has been compared: some expressions the library
// passes over, and the next comparison may be of what one of them has loaded.
type registers struct {
	b      [64]byte
	known  [64]bool
	native [64]bool // the word that begins here is a number in the order of this host
}

// at is where a register begins; beyond the end: there is none of that number.
func at(register uint32) int {
	switch {
	case register >= unix.NFT_REG_1 && register <= unix.NFT_REG_4:
		return int(register-unix.NFT_REG_1) * 16
	case register >= unix.NFT_REG32_00 && register <= unix.NFT_REG32_15:
		return int(register-unix.NFT_REG32_00) * 4
	}
	return 64
}

// load fills a register, and with zeros to the end of its last word.
func (r *registers) load(register uint32, v bytes) {
	from := at(register)
	for i := 0; i < (len(v.b)+3)&^3 && from+i < len(r.b); i++ {
		if i < len(v.b) {
			r.b[from+i], r.known[from+i] = v.b[i], v.known[i]
		} else {
			r.b[from+i], r.known[from+i] = 0, true
		}
		r.native[from+i] = false
	}
}

// loadNumber fills a register with a number in the order of this host.
func (r *registers) loadNumber(register uint32, v bytes) {
	r.load(register, v)
	if from := at(register); from < len(r.native) {
		r.native[from] = true
	}
}

// ordered is what a register has where greater and less count. For that the kernel
// turns a number round, with an expression that the library passes over.
func (r *registers) ordered(register uint32, n int) bytes {
	v := r.read(register, n)
	from := at(register)
	for i := 0; i+4 <= n && from+i < len(r.native); i += 4 {
		if r.native[from+i] && binary.NativeEndian.Uint16([]byte{0, 1}) != 1 {
			slices.Reverse(v.b[i : i+4])
			slices.Reverse(v.known[i : i+4])
		}
	}
	return v
}

// forget takes what has been compared out of a register.
func (r *registers) forget(register uint32, n int) {
	for i := min(at(register), len(r.known)); n > 0 && i < len(r.known); i++ {
		r.known[i] = false
		n--
	}
}

func (r *registers) read(register uint32, n int) bytes {
	from := min(at(register), len(r.b))
	return bytes{r.b[from:], r.known[from:]}.part(0, n)
}

// whole tells whether everything is known.
func (b bytes) whole() bool { return !slices.Contains(b.known, false) }

// simple judges an expression that calls nothing.
func (j *judgement) simple(regs *registers, e expr.Any) truth {
	p := j.packet
	switch e := e.(type) {
	case *expr.Meta:
		if e.SourceRegister {
			j.marked = j.marked || e.Key == expr.MetaKeyMARK
		} else if v := p.meta(e.Key, j.marked); e.Key == expr.MetaKeyIIF || e.Key == expr.MetaKeyOIF || e.Key == expr.MetaKeyMARK {
			regs.loadNumber(e.Register, v)
		} else {
			regs.load(e.Register, v)
		}
	case *expr.Payload:
		if e.OperationType == expr.PayloadLoad {
			regs.load(e.DestRegister, j.payload(e))
		}
	case *expr.Immediate:
		regs.load(e.Register, knownBytes(e.Data...))
	case *expr.Ct:
		if !e.SourceRegister {
			regs.load(e.Register, j.tracked(e.Key))
		}
	case *expr.Fib:
		regs.load(e.Register, j.fib(e))
	case *expr.Bitwise:
		regs.bitwise(e)
	case *expr.Cmp:
		v := regs.read(e.Register, len(e.Data))
		if e.Op != expr.CmpOpEq && e.Op != expr.CmpOpNeq {
			v = regs.ordered(e.Register, len(e.Data))
		}
		if e.Op != expr.CmpOpGte { // the other end of a range follows
			regs.forget(e.Register, len(e.Data))
		}
		return compare(v, e.Op, e.Data)
	case *expr.Range:
		v := regs.ordered(e.Register, len(e.FromData))
		regs.forget(e.Register, len(e.FromData))
		in := min(compare(v, expr.CmpOpGte, e.FromData), compare(v, expr.CmpOpLte, e.ToData))
		if e.Op == expr.CmpOpNeq {
			return yes - in
		}
		return in
	case *expr.Exthdr:
		if e.SourceRegister == 0 {
			regs.load(e.DestRegister, unknownBytes(int(e.Len)))
		}
	case *expr.Numgen:
		regs.load(e.Register, unknownBytes(4))
	case *expr.Hash:
		regs.load(e.DestRegister, unknownBytes(4))
	}
	return yes
}

func (j *judgement) payload(e *expr.Payload) bytes {
	part := j.packet.link()
	switch e.Base {
	case expr.PayloadBaseNetworkHeader:
		part = j.packet.network
	case expr.PayloadBaseTransportHeader:
		part = j.packet.transport
	}
	return part.part(int(e.Offset), int(min(e.Len, 64)))
}

// tracked is what a rule reads with `ct`.
func (j *judgement) tracked(key expr.CtKey) bytes {
	switch key {
	case expr.CtKeySTATE:
		return knownBytes(binary.NativeEndian.AppendUint32(nil, j.state)...)
	case expr.CtKeySTATUS: // no address of it is translated
		if j.state == expr.CtStateBitNEW {
			return knownBytes(0, 0, 0, 0)
		}
	}
	return unknownBytes(16)
}

// fib is the routing table's answer. The way back to a neighbour is by the interface
// that it came from.
func (j *judgement) fib(e *expr.Fib) bytes {
	p := j.packet
	switch {
	case e.ResultADDRTYPE && e.FlagDADDR:
		return knownBytes(binary.NativeEndian.AppendUint32(nil, p.addressType())...)
	case e.FlagSADDR && p.in && e.FlagPRESENT:
		return knownBytes(1, 0, 0, 0)
	case e.FlagSADDR && p.in && e.ResultOIF:
		return p.meta(expr.MetaKeyIIF, false)
	case e.FlagSADDR && p.in && e.ResultOIFNAME:
		return p.meta(expr.MetaKeyIIFNAME, false)
	}
	return unknownBytes(16)
}

func (r *registers) bitwise(e *expr.Bitwise) {
	v := r.read(e.SourceRegister, int(min(e.Len, 64)))
	for i := range v.b {
		if i >= len(e.Mask) || i >= len(e.Xor) { // a shift, or with another register
			v.known[i] = false
			continue
		}
		v.known[i] = v.known[i] || e.Mask[i] == 0
		v.b[i] = v.b[i]&e.Mask[i] ^ e.Xor[i]
	}
	if from := at(e.SourceRegister); from < len(r.native) && r.native[from] {
		r.loadNumber(e.DestRegister, v)
		return
	}
	r.load(e.DestRegister, v)
}

// compare is maybe where a byte that decides is not known.
func compare(v bytes, op expr.CmpOp, with []byte) truth {
	by := 0
	for i := range with {
		if op == expr.CmpOpEq || op == expr.CmpOpNeq {
			if v.known[i] && v.b[i] != with[i] {
				return truthOf(op == expr.CmpOpNeq)
			}
			continue
		}
		if !v.known[i] {
			return maybe
		}
		if by = int(v.b[i]) - int(with[i]); by != 0 {
			break
		}
	}
	switch op {
	case expr.CmpOpEq, expr.CmpOpNeq:
		if !v.whole() {
			return maybe
		}
		return truthOf(op == expr.CmpOpEq)
	case expr.CmpOpLt:
		return truthOf(by < 0)
	case expr.CmpOpLte:
		return truthOf(by <= 0)
	case expr.CmpOpGt:
		return truthOf(by > 0)
	}
	return truthOf(by >= 0)
}

// lookup judges whether the set has the key. Of a map of verdicts it returns those
// that it leads to, and of another one it loads the value.
func (r *registers) lookup(s *set, e *expr.Lookup) (verdicts []*expr.Verdict, match truth) {
	if s == nil {
		return nil, maybe
	}
	key := r.read(e.SourceRegister, s.size)
	if s.interval {
		key = r.ordered(e.SourceRegister, s.size)
	}
	r.forget(e.SourceRegister, s.size)
	found, match := s.find(key)
	for _, f := range found {
		if f.verdict != nil {
			verdicts = append(verdicts, f.verdict)
		}
	}
	if e.IsDestRegSet && len(verdicts) == 0 && e.DestRegister != unix.NFT_REG_VERDICT {
		v := unknownBytes(16)
		if match == yes && len(found) == 1 {
			v = knownBytes(found[0].value...)
		}
		r.load(e.DestRegister, v)
	}
	if e.Invert {
		match = yes - match
	}
	return verdicts, match
}

// find returns the elements that the key has, or may have.
func (s *set) find(key bytes) (found []element, match truth) {
	var others *element
	for i, el := range s.elements {
		if len(el.key) == 0 && !el.end {
			others = &s.elements[i]
			continue
		}
		in := no
		switch {
		case s.interval && len(s.fields) == 0:
			in = s.between(key, i)
		case s.interval && len(el.keyEnd) == len(el.key):
			in = s.within(key, el)
		case len(el.key) <= len(key.b):
			in = compare(key.part(0, len(el.key)), expr.CmpOpEq, el.key)
		}
		if in != no {
			found, match = append(found, el), max(match, in)
		}
	}
	if others != nil && match != yes {
		return append(found, *others), yes
	}
	return found, match
}

// between judges whether the key is in the range that begins with element i.
func (s *set) between(key bytes, i int) truth {
	el := s.elements[i]
	if el.end || len(el.key) > len(key.b) {
		return no
	}
	k := key.part(0, len(el.key))
	in := compare(k, expr.CmpOpGte, el.key)
	if i+1 < len(s.elements) && len(s.elements[i+1].key) == len(el.key) {
		in = min(in, compare(k, expr.CmpOpLt, s.elements[i+1].key))
	}
	return in
}

// within judges each field of a key by itself.
func (s *set) within(key bytes, el element) truth {
	in, from := yes, 0
	for _, n := range s.fields {
		if from+n > len(el.key) || from+n > len(key.b) {
			return maybe
		}
		k := key.part(from, n)
		in = min(in, compare(k, expr.CmpOpGte, el.key[from:from+n]), compare(k, expr.CmpOpLte, el.keyEnd[from:from+n]))
		from += n
	}
	return in
}
