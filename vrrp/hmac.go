package vrrp

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash"
	"net/netip"
	"time"
)

// HMAC is how advertisements are signed and verified: the trailer of
// draft-cassen-vrrp-auth-hmac, HMAC-SHA256 cut to 128 bits, as keepalived 2.4.1
// and later speak it.
type HMAC struct {
	// Keys are the secrets by their number, 1 to 255; each has 32 to 64 bytes.
	// What is signed with any of them is accepted.
	Keys map[uint8][]byte
	// Send is the number of the key that signs; in mode HMACReceiveOnly it is
	// not used.
	Send uint8
	Mode HMACMode
	// Window is how far the sender's wall clock may differ from ours, 1 s to
	// 300 s; 0: clocks are not compared, and only the order of a sender's
	// advertisements counts.
	Window time.Duration
}

// HMACMode says what is signed and what must be.
type HMACMode uint8

// The modes, in the order in which a running pair goes through them, from the
// last to the first. In each of them a signature that is there must be right.
const (
	HMACEnforce     HMACMode = iota // signs, and refuses what is not signed
	HMACPermissive                  // signs, and accepts what is not signed
	HMACReceiveOnly                 // does not sign, and accepts what is not signed
)

// The trailer: type, key, two bytes of zero, eight of the sequence, the tag.
const (
	trailerLen  = 28
	trailerType = 1 // HMAC-SHA256, cut to 128 bits
	sequenceAt  = 4
	tagAt       = 12
	tagLen      = trailerLen - tagAt

	// minKeyLen and maxKeyLen are those of keepalived; a longer key would be
	// hashed first.
	minKeyLen, maxKeyLen = 32, 64

	maxWindow = 300 * time.Second
	// maxSenders bounds whose last sequence a router remembers.
	maxSenders = 8
)

func (h *HMAC) check() error {
	if len(h.Keys) == 0 {
		return fmt.Errorf("no key to sign or verify with")
	}
	for n, key := range h.Keys {
		switch {
		case n == 0:
			return fmt.Errorf("key 0 is not in 1 to 255")
		case len(key) < minKeyLen || len(key) > maxKeyLen:
			return fmt.Errorf("key %d has %d bytes, not %d to %d", n, len(key), minKeyLen, maxKeyLen)
		}
	}
	switch {
	case h.Mode > HMACReceiveOnly:
		return fmt.Errorf("no such mode of signatures")
	case h.Mode != HMACReceiveOnly && h.Keys[h.Send] == nil:
		return fmt.Errorf("key %d, which signs, is not among the keys", h.Send)
	case h.Window < 0 || h.Window > maxWindow || h.Window%time.Second != 0:
		return fmt.Errorf("window %s is not in 0s to %s in steps of 1s", h.Window, maxWindow)
	}
	return nil
}

// signatures signs what a router sends and verifies what it hears.
type signatures struct {
	mode   HMACMode
	send   uint8
	window int64 // in units of a sequence; 0: clocks are not compared
	keys   map[uint8]hash.Hash

	sent    uint64 // the last sequence, once hasSent
	hasSent bool

	senders []sender
	// off is by how much the wall clock of the packet just verified differs,
	// where that is more than half the window; else 0.
	off time.Duration

	buffer [sha256.Size]byte // of what is hashed, and of the hash
	zeros  [tagLen]byte
}

// sender is one whose signature was right.
type sender struct {
	addr netip.Addr
	mark uint64 // its last sequence
	at   time.Duration
}

func newSignatures(h *HMAC) *signatures {
	if h == nil {
		return nil
	}
	s := &signatures{
		mode:    h.Mode,
		send:    h.Send,
		window:  int64(sequence(h.Window)),
		keys:    make(map[uint8]hash.Hash, len(h.Keys)),
		senders: make([]sender, 0, maxSenders),
	}
	for n, key := range h.Keys {
		s.keys[n] = hmac.New(sha256.New, key)
	}
	return s
}

// sequence is a wall clock as a sequence: 32 bits of seconds, 16 of 1/65536
// seconds, 16 of a counter. So the difference of two is a time, and counted in
// 64 bits with sign it stays right when the seconds begin again at zero.
func sequence(wall time.Duration) uint64 {
	wall = max(wall, 0)
	seconds, rest := uint64(wall/time.Second), uint64(wall%time.Second)
	return seconds<<32 | rest<<16/uint64(time.Second)<<16
}

// next is the sequence for the next advertisement: the clock, or one more
// than the last where the clock has not gone on since. After a step back by
// more than the window nobody would take the old count; it begins anew.
func (s *signatures) next(wall time.Duration) uint64 {
	clock := sequence(wall)
	ahead := int64(s.sent - clock)
	if !s.hasSent || ahead < 0 || s.window > 0 && ahead > s.window {
		s.sent, s.hasSent = clock, true
	} else {
		s.sent++
	}
	return s.sent
}

func (s *signatures) signs() bool { return s != nil && s.mode != HMACReceiveOnly }

// appendTo appends the signature of b[start:], an advertisement from src.
func (s *signatures) appendTo(b []byte, start int, src netip.Addr, wall time.Duration) []byte {
	b = append(b, trailerType, s.send, 0, 0)
	b = binary.BigEndian.AppendUint64(b, s.next(wall))
	b = append(b, s.zeros[:]...)
	copy(b[len(b)-tagLen:], s.tag(s.keys[s.send], b[start:], src))
	return b
}

// tag returns what the tag of a message with its trailer should be. Hashed
// are who sent it and for which router, then the message, with zeros for the
// checksum, since kernels write that, and for the tag itself.
func (s *signatures) tag(key hash.Hash, message []byte, src netip.Addr) []byte {
	family, addr := byte(6), src.As16()
	if src.Is4() {
		v4 := src.As4()
		family, addr = 4, [16]byte{}
		copy(addr[:], v4[:])
	}
	key.Reset()
	b := append(s.buffer[:0], family, message[0]>>4, message[1], 0)
	key.Write(append(b, addr[:]...))
	key.Write(message[:checksumAt])
	key.Write(s.zeros[:2])
	key.Write(message[checksumAt+2 : len(message)-tagLen])
	key.Write(s.zeros[:])
	return key.Sum(s.buffer[:0])[:tagLen]
}

// verify checks the signature of a packet, or whether it needs one. The time
// is looked at before anything is hashed, so that a flood of old packets costs
// little, and what is remembered of a sender moves only once its tag was right.
func (s *signatures) verify(now time.Duration, p Packet, signed bool) Refusal {
	s.off = 0
	if !signed {
		if s.mode == HMACEnforce {
			return RefusedUnsigned
		}
		return Accepted
	}
	trailer := p.Message[len(p.Message)-trailerLen:]
	if trailer[0] != trailerType || trailer[2] != 0 || trailer[3] != 0 {
		return RefusedTrailer
	}
	key := s.keys[trailer[1]]
	if key == nil {
		return RefusedKey
	}
	clock, seq := sequence(p.Wall), binary.BigEndian.Uint64(trailer[sequenceAt:])
	if !s.inWindow(seq, clock) {
		return RefusedStale
	}
	if subtle.ConstantTimeCompare(trailer[tagAt:], s.tag(key, p.Message, p.Src)) == 0 {
		return RefusedSignature
	}
	from := s.find(p.Src)
	// A mark outside the window orders only what the window refuses anyway. Its
	// sender, or we, had a wrong clock: it is forgotten, or that sender would
	// not be heard again until its clock comes to where it was.
	if from.addr.IsValid() && s.inWindow(from.mark, clock) && int64(seq-from.mark) <= 0 {
		return RefusedReplay
	}
	*from = sender{addr: p.Src, mark: seq, at: now}
	if d := max(int64(seq-clock), int64(clock-seq)); s.window > 0 && d > s.window/2 {
		s.off = time.Duration(d>>16) * time.Second >> 16
	}
	return Accepted
}

// inWindow tells whether two times are near enough to each other.
func (s *signatures) inWindow(a, b uint64) bool {
	d := int64(a - b)
	return s.window == 0 || -s.window <= d && d <= s.window
}

// find returns what is known of a sender. One that is not known gets the place
// of the one not heard for longest, with the zero Addr where that is free.
func (s *signatures) find(src netip.Addr) *sender {
	oldest := 0
	for i := range s.senders {
		if s.senders[i].addr == src {
			return &s.senders[i]
		}
		if s.senders[i].at < s.senders[oldest].at {
			oldest = i
		}
	}
	if len(s.senders) < maxSenders {
		s.senders = append(s.senders, sender{})
		return &s.senders[len(s.senders)-1]
	}
	s.senders[oldest] = sender{}
	return &s.senders[oldest]
}
