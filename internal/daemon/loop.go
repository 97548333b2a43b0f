package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"baton/internal/link"
	"baton/vrrp"
)

const (
	// perTurn is how many packets of one socket a turn reads when no timer is
	// due, so that a flood on one link does not starve the others.
	perTurn = 32
	// beforeExpiry is how many it reads before it lets a timer expire: all
	// that a receive buffer can hold. An advertisement that waits in the
	// kernel must not become a false takeover.
	beforeExpiry = 8192
	// inboxSize is how many messages of the other goroutines may wait.
	inboxSize = 1024
)

// loop is the protocol loop: it waits, reads, lets timers expire and sends.
// It is the only goroutine that touches the node and the sockets.
type loop struct {
	node   *node
	poller *link.Poller
	log    *slog.Logger
	inbox  chan func(now time.Duration)
	// discard closes sockets elsewhere, as it takes the kernel 10 to 20 ms.
	// With an error they are to be opened anew.
	discard func(*conn, error)
	own     map[link.MAC]bool // of the interfaces of this host
	conns   []*conn           // by the poller's tag / link.ReadyTags; nil where closed

	countAt time.Duration // when the kernel is asked what it has dropped

	flushAt time.Duration // when messages that the kernel had no room for are tried again

	// beat notes that the loop lives, at least each beatEvery: from a turn of it, so
	// that one that hangs does not.
	beat      func(now time.Duration)
	beatEvery time.Duration
	beatAt    time.Duration // Never: it is not asked for
	turns     atomic.Uint64

	successor *successor // makes the loop end; the process goes on as another

	worst time.Duration // the latest that a timer was served
}

// conn is the open sockets of one interface and family.
type conn struct {
	*link.Conn
	uplink *uplink
	ipv6   bool
	queued bool // something waits for flush

	tally   *tally     // of its interface and family
	counted link.Stats // as they are in tally
}

// flushAgain is how soon messages that the kernel had no room for are tried
// again.
const flushAgain = time.Millisecond

func newLoop(poller *link.Poller, log *slog.Logger) *loop {
	return &loop{poller: poller, log: log, inbox: make(chan func(time.Duration), inboxSize), flushAt: vrrp.Never, beatAt: vrrp.Never}
}

// post hands f to the loop, which calls it on its next turn. It waits while
// the inbox is full, and gives up when ctx ends.
func (l *loop) post(ctx context.Context, f func(now time.Duration)) {
	select {
	case l.inbox <- f:
		l.poller.Wake()
	case <-ctx.Done():
	}
}

// run takes turns until the node has left, or the time for that is over.
func (l *loop) run() error {
	var ready []uint64
	for !l.done() {
		var err error
		ready, err = l.poller.Wait(min(l.node.deadline(), l.socketDeadline(), l.node.leaveBy, l.beatAt), ready[:0])
		if err != nil {
			return fmt.Errorf("wait for packets: %w", err)
		}
		l.turn(ready)
	}
	return nil
}

// done tells whether the loop has nothing left to do: it makes way for a successor, or was told to leave, and no
// service runs and no address is on any more, or the slowest handover must be over.
func (l *loop) done() bool {
	return l.successor != nil || l.node.leaving && (l.node.gone() || l.poller.Now() >= l.node.leaveBy && !l.node.stuck())
}

// close closes the sockets, after run.
func (l *loop) close() {
	for _, c := range l.conns {
		if c != nil {
			_ = c.Close() // the process ends
		}
	}
}

// update takes the newest state of an interface, and its sockets.
func (l *loop) update(now time.Duration, up linkUpdate) {
	l.own = up.own
	if up.gone {
		for i, c := range l.conns {
			if c != nil && c.uplink == up.uplink {
				c.Unwatch()
				l.discard(c, nil)
				l.conns[i] = nil
			}
		}
	}
	for _, c := range up.conns {
		i := slices.Index(l.conns, nil)
		if i < 0 {
			i = len(l.conns)
			l.conns = append(l.conns, nil)
		}
		if err := c.Watch(l.poller, uint64(i)*link.ReadyTags); err != nil {
			up.problem[c.ipv6] = fmt.Sprintf("no sockets: %v", err)
			l.discard(c, err)
			continue
		}
		c.tally = l.node.counters.link(up.uplink.name, c.ipv6)
		l.conns[i] = c
	}
	if len(up.conns) > 0 {
		l.relink(up.uplink) // its routers may need other filters by now
	}
	l.node.linkChanged(now, up.uplink, up.state, up.exists, up.problem)
}

// relink has the sockets of an uplink follow what its routers need: they stay, and
// only their filters change. It closes those that nobody needs any more.
func (l *loop) relink(u *uplink) {
	for i, c := range l.conns {
		if c == nil || c.uplink != u {
			continue
		}
		known, wanted := u.known[c.ipv6]
		var err error
		if wanted && u.virtual[c.ipv6] {
			err = c.EnableVirtualMAC()
		}
		if wanted && err == nil {
			err = c.SetKnown(known)
		}
		if !wanted || err != nil {
			c.Unwatch()
			l.discard(c, err)
			l.conns[i] = nil
		}
	}
}

// turn is one round of the loop.
func (l *loop) turn(ready []uint64) {
	now := l.poller.Now()
	l.takeInbox(now)
	for _, tag := range ready {
		l.read(now, tag)
	}
	now = l.poller.Now()
	if deadline := l.node.deadline(); deadline <= now {
		l.worst = max(l.worst, now-deadline)
		l.node.counters.lateness.add(now - deadline)
		for _, c := range l.conns {
			if c != nil {
				l.receive(now, c, beforeExpiry)
			}
		}
		l.node.expire(now)
	}
	l.attend(now)
	l.turns.Add(1)
	if l.beatAt <= now {
		l.beat(l.poller.Now())
		l.beatAt = now + l.beatEvery
	}
}

// takeInbox runs what the other goroutines have posted.
func (l *loop) takeInbox(now time.Duration) {
	for range inboxSize {
		select {
		case f := <-l.inbox:
			f(now)
		default:
			return
		}
	}
}

// read reads the socket that the poller found ready.
func (l *loop) read(now time.Duration, tag uint64) {
	c := l.conns[tag/link.ReadyTags]
	if c == nil {
		return // closed by a message of this turn
	}
	switch tag % link.ReadyTags {
	case link.ReadyReceive:
		l.receive(now, c, perTurn)
	case link.ReadySurvey:
		l.survey(now, c)
	case link.ReadyAnnouncements:
		for _, a := range c.Announcements(perTurn) {
			// Else another interface of ours on the same LAN. A virtual MAC is as
			// much the successor's as ours.
			if !l.own[a.MAC] || a.MAC.Virtual() {
				l.node.announcement(now, c.uplink, a.Address)
			}
		}
	}
}

// receive hands the packets that wait in the socket to the node, at most
// limit of them.
func (l *loop) receive(now time.Duration, c *conn, limit int) {
	for limit > 0 {
		packets := c.Receive(perTurn)
		if len(packets) == 0 {
			return
		}
		for _, p := range packets {
			l.node.packet(now, c.uplink, p)
		}
		limit -= len(packets)
	}
}

// survey looks at packets that the kernel's filter refused, so that each
// refusal has a counted reason.
func (l *loop) survey(now time.Duration, c *conn) {
	for _, p := range c.Survey(now, perTurn) {
		l.node.packet(now, c.uplink, p)
	}
}

// send queues an advertisement.
func (l *loop) send(u *uplink, mac link.MAC, src, dst netip.Addr, message []byte, urgent bool) {
	for _, c := range l.conns {
		if c != nil && c.uplink == u && c.ipv6 == src.Is6() {
			if mac == (link.MAC{}) {
				c.Send(src, dst, message, urgent)
			} else {
				c.SendFrom(mac, src, dst, message, urgent)
			}
			c.queued = true
			return
		}
	}
}

// flush sends what is queued on every link.
func (l *loop) flush() {
	for _, c := range l.conns {
		if c == nil || !c.queued {
			continue
		}
		if err := c.Flush(); err != nil {
			l.node.sendFailed(l.poller.Now(), err)
		}
		c.queued = c.Pending() > 0
		if c.queued {
			l.flushAt = min(l.flushAt, l.poller.Now()+flushAgain)
		}
	}
}

// socketDeadline is when a socket wants attention that the poller will not
// call for.
func (l *loop) socketDeadline() time.Duration {
	at := l.flushAt
	for _, c := range l.conns {
		if c == nil {
			continue
		}
		if until, paused := c.SurveyPaused(); paused {
			at = min(at, until)
		}
	}
	return at
}

// attend gives sockets the attention that is due.
func (l *loop) attend(now time.Duration) {
	if l.flushAt <= now {
		l.flushAt = vrrp.Never
		l.flush()
	}
	for _, c := range l.conns {
		if c == nil {
			continue
		}
		if until, paused := c.SurveyPaused(); paused && until <= now {
			l.survey(now, c)
		}
	}
	l.count(now)
}

// countEvery is how often the kernel is asked what it has dropped.
const countEvery = time.Second

// count brings the counters up to date. The kernel's own cost system calls.
func (l *loop) count(now time.Duration) {
	ask := now >= l.countAt
	if ask {
		l.countAt = now + countEvery
	}
	for _, c := range l.conns {
		if c != nil {
			c.count(ask)
		}
	}
}

// count adds to the tally what is new.
func (c *conn) count(ask bool) {
	s := c.Counted()
	s.ReceiveOverflow, s.SurveyOverflow, s.AnnouncementsLost = c.counted.ReceiveOverflow, c.counted.SurveyOverflow, c.counted.AnnouncementsLost
	if ask {
		s = c.Stats()
	}
	if s != c.counted {
		c.tally.count(s, c.counted)
		c.counted = s
	}
}
