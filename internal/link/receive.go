package link

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Receive reads up to limit adverts (at most 32) of known virtual routers. It
// returns none only when none is waiting, or when nothing but broken ones came
// in a row. Copies of own adverts that the network brings back are among them.
// The result is good until the next call of Receive.
func (c *Conn) Receive(limit int) []Packet {
	const attempts = 4 // of 32 broken packets each; the rest must wait for the next turn
	c.packets = c.packets[:0]
	for range attempts {
		n, errno := c.receive.read(limit)
		if errno != 0 {
			c.stats.ReceiveErrors++
			continue
		}
		c.packets = c.parse(c.receive, n, c.packets, &c.stats.ReceiveTruncated, &c.stats.ReceiveMalformed)
		if n == 0 || len(c.packets) > 0 {
			break
		}
	}
	c.stats.Received += uint64(len(c.packets))
	return c.packets
}

// parse appends what the last read of n messages brought.
func (c *Conn) parse(r *reader, n int, to []Packet, truncated, malformed *uint64) []Packet {
	for i := range n {
		data, cut := r.message(i)
		if cut {
			*truncated++
			continue
		}
		p, ok := Packet{}, false
		if c.ipv6 {
			p, ok = r.packet6(i, data)
		} else {
			p, ok = parse4(data)
		}
		if !ok {
			*malformed++
			continue
		}
		to = append(to, p)
	}
	return to
}

// parse4 takes an IPv4 packet apart. What follows the total length is padding of
// the link (RFC 894).
func parse4(b []byte) (Packet, bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return Packet{}, false
	}
	header := int(b[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || total < header || total > len(b) {
		return Packet{}, false
	}
	return Packet{
		Src:     netip.AddrFrom4([4]byte(b[12:16])),
		Dst:     netip.AddrFrom4([4]byte(b[16:20])),
		TTL:     b[8],
		Payload: b[header:total],
	}, true
}

// packet6 is the i-th message of an IPv6 socket, which comes without its header.
func (r *reader) packet6(i int, payload []byte) (Packet, bool) {
	hops, dst, ok := r.ancillary(i)
	if !ok || r.names[i].Family != unix.AF_INET6 {
		return Packet{}, false
	}
	return Packet{
		Src:     netip.AddrFrom16(r.names[i].Addr),
		Dst:     netip.AddrFrom16(dst),
		TTL:     hops,
		Payload: payload,
	}, true
}

// The survey's rate. Whoever floods the link with refused packets costs the
// protocol loop at most this much.
const (
	surveyRate  = 200 // packets per second
	surveyBurst = 50
	// A paused survey comes back with this many, so that under a flood the loop
	// is woken eight times a second, not 200 times.
	surveyResume = 25
)

// bucket limits the survey.
type bucket struct {
	tokens float64
	last   time.Duration
	paused bool
	until  time.Duration // end of the pause
}

func (b *bucket) refill(now time.Duration) {
	if now > b.last {
		b.tokens = min(surveyBurst, b.tokens+(now-b.last).Seconds()*surveyRate)
	}
	b.last = now
}

// Survey reads up to limit packets (at most 8) of protocol 112 that the receive
// filter refused: another version, TTL, destination or type, an unknown VRID. It
// reads 200 a second and, after a quiet time, 50 at once; over that it pauses,
// and the kernel discards and counts. The result is good until the next call of
// Survey.
func (c *Conn) Survey(now time.Duration, limit int) []Packet {
	b := &c.rate
	if b.paused {
		if now < b.until {
			return nil
		}
		b.paused = false
		c.setSurvey((*Poller).Enable)
	}
	b.refill(now)
	n, errno := c.survey.read(min(limit, int(b.tokens)))
	if errno != 0 {
		c.stats.ReceiveErrors++
	}
	b.tokens -= float64(n)
	if b.tokens < 1 {
		b.paused = true
		b.until = now + surveyResume*time.Second/surveyRate
		c.stats.SurveyPauses++
		c.setSurvey((*Poller).Disable)
	}
	c.refused = c.parse(c.survey, n, c.refused[:0], &c.stats.SurveyTruncated, &c.stats.SurveyMalformed)
	c.stats.Surveyed += uint64(len(c.refused))
	return c.refused
}

func (c *Conn) setSurvey(set func(*Poller, int) error) {
	if c.poller == nil {
		return
	}
	if err := set(c.poller, c.survey.fd); err != nil {
		c.stats.ReceiveErrors++
	}
}

// SurveyPaused tells whether the survey is over its rate, and until when. A
// paused survey is not reported by the Poller; call Survey at that time.
func (c *Conn) SurveyPaused() (until time.Duration, paused bool) {
	return c.rate.until, c.rate.paused
}
