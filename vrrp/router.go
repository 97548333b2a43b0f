package vrrp

import (
	"net/netip"
	"time"
)

// ID names a router within its Set.
type ID uint32

// Config is what stays the same for a virtual router until Reconfigure.
type Config struct {
	// Link is the caller's number for the interface that advertisements are
	// heard and sent on.
	Link   int
	Family Family
	VRID   uint8 // 1 to 255
	// Priority at the start: 1 to 254, or 255 for the address owner. It is
	// changed by Reprioritised.
	Priority uint8
	// Interval between advertisements, MinInterval to MaxInterval in steps of
	// 10 ms (Advertisement_Interval, section 6.1); see Version.
	Interval time.Duration
	// Preempt lets this router take the role from a master of lower priority
	// (Preempt_Mode, section 6.1). An owner always does.
	Preempt bool
	// Addresses are the virtual addresses, in the order in which they are
	// advertised (section 5.2.9): at most 255, all of the family. None: the
	// router decides where hooks and services run.
	Addresses []netip.Addr
	// Excluded are more virtual addresses, of either family, that are held with
	// the others and not advertised.
	Excluded []netip.Addr
	// Checksum is the form that is sent; both are accepted.
	Checksum Checksum
	// BestRival is the highest priority that any other node can reach, and
	// SlowestRival the lowest; 0 where that is not known.
	BestRival, SlowestRival uint8

	// Version is the protocol's: 3 (RFC 9568), or 2 (RFC 3768), which is for
	// IPv4 and intervals of whole seconds, 1 s to 255 s. 0 is 3.
	Version uint8
	// Password is the authentication data of version 2, type 1 (RFC 2338
	// section 5.3.6), padded with zeros; nil: type 0, no authentication.
	Password *[8]byte
	// HMAC signs what is sent and verifies what is heard; nil: neither. It is
	// for both versions, and not beside a Password.
	HMAC *HMAC

	// Peers are where advertisements go instead of to the group, all of the
	// family; none: multicast.
	Peers []netip.Addr
	// AnySource lets a router with peers believe others as well.
	AnySource bool
	// MinTTL and MaxTTL bound the TTL or hop limit of what peers send; both 0:
	// any is good. Multicast must have 255.
	MinTTL, MaxTTL uint8

	// Missed is how many advertisements a backup must miss before its skew
	// begins; 0 is 3, as the RFC has it (section 6.1).
	Missed uint8
	// PreemptDelay is how long a master of lower priority is followed before
	// the role is taken from it, counted from its first advertisement; 0 or
	// more. An owner does not wait. Without Preempt it means nothing.
	PreemptDelay time.Duration
	// Group joins the routers of a set that have the same number, on whatever
	// links: they change their role together. 0: the router is alone. All
	// members are added before the first of them starts, or join later: one that
	// joins a group of masters is master as soon as it starts.
	Group int
	// Together says that the addresses cannot be let go one by one: with a
	// virtual MAC the first frame of the successor takes them all.
	Together bool
	// Bound says that services run where the role is, and take their time to
	// stop: a master whose priority falls just says so, and goes on until it hears
	// a better one.
	Bound bool
	// Nodes are the addresses from which the configured nodes advertise on
	// this link; none where that is not known. An advertisement from elsewhere
	// is noted.
	Nodes []netip.Addr
}

// Times of our own, beside those of the RFC.
const (
	// releaseAfter is how long a master that was replaced keeps an address
	// that its successor has not announced, counted from the successor's first
	// advertisement. keepalived announces the last of 200 addresses hundreds
	// of milliseconds after its advertisement.
	releaseAfter = time.Second
	// handoverMargin is added to the slowest successor's skew and interval:
	// FRR's first IPv6 advertisement comes 1.6 s after it took over.
	handoverMargin = 2 * time.Second
	// reannounceEvery is how often a master announces again while a rival
	// that it beats goes on advertising.
	reannounceEvery = 5 * time.Second
	// conflictQuiet is for how long at least a rival must be silent before a
	// conflict counts as over.
	conflictQuiet = time.Second
	// crossing is how old our own mastership must be before another master
	// counts as a conflict and not as one that began at the same moment.
	crossing = 50 * time.Millisecond
	// answersPerInterval bounds the advertisements that a flood of losing ones,
	// or of priority 0, draws from a master. Its space is half the skew of the
	// best backup (254), so that even an answer that is put off comes in time.
	answersPerInterval = 256
)

// grip is how the router holds its virtual addresses.
type grip uint8

const (
	released grip = iota // not on this host by our wish
	held                 // the role's own
	lent                 // no longer master; kept until the successor has them
)

// router is the state machine of one virtual router (RFC 9568 section 6).
type router struct {
	id           ID
	cfg          Config
	local        netip.Addr   // source address of our advertisements
	destinations []netip.Addr // where they go
	priority     uint8        // effective
	phase        time.Duration
	burst        int           // of its link, that it advertises with
	offset       time.Duration // of the burst: the phase before the interval bounds it

	role Role
	// since is when the role began.
	since time.Duration
	// timer is Adver_Timer in MASTER, Active_Down_Timer in BACKUP, the hold
	// by an unelectable rival in INIT, and in FAULT the time at which the link
	// counts as vacant.
	timer time.Duration
	// settled is true once an advertisement has been accepted or the router
	// has been master, and stays so: from then on an unelectable rival does not
	// hold it, or a packet could switch it off after each FAULT.
	settled bool
	waived  bool          // handed over to a backup: no preemption until it has been master again
	started bool          // nothing of its own holds the router in INIT any more
	adopts  bool          // and then it is master: this host was until just now
	adopted time.Duration // and has been since then
	stopped bool          // Shutdown has been seen
	faulted bool          // there is a reason of its own for FAULT
	deaf    bool          // the reason is the own link

	// masterInterval is Active_Adver_Interval (section 6.1).
	masterInterval time.Duration
	accepted       time.Duration // when listening began, or an advertisement began it anew
	left           Rival         // who sent priority 0 since then; zero: nobody
	leftAt         time.Duration
	master         Rival // who holds the role, as far as was heard; zero: unknown, or ourselves
	masterAt       time.Duration
	relistened     bool // this silence has been listened to twice

	// BACKUP only.
	ready     bool          // the timer has run out, and the other members of the group are waited for
	preemptAt time.Duration // until then a worse master is followed; Never: there is none
	owes      bool          // a last word to the master that has not been heard yet

	// MASTER only.
	sent       time.Duration // when the last advertisement was sent
	quiet      quiet         // why no advertisement is sent until timer
	quietSince time.Duration
	conflict   conflict
	announceAt time.Duration // from when on a conflict may draw an announcement
	fresh      bool          // the addresses were off when the role began
	lostSince  time.Duration // since when a tie is lost that another member decides
	lostAt     time.Duration // when it was lost last

	grip    grip
	heir    bool // a successor has been heard
	lentTil time.Duration
	holds   []netip.Addr // advertised and excluded
	gone    []bool       // by index of holds: released while lent
	goneN   int

	peers      peers
	signatures *signatures // nil: neither signed nor verified

	group    *group
	set      *Set
	deadline time.Duration
	position int // in the set's heap
}

// quiet is why a master does not advertise.
type quiet uint8

const (
	speaking    quiet = iota
	yielding          // our priority fell: whoever is best now may speak first
	relistening       // we were late by more than the peers' patience
	handing           // we hand over: whoever takes over is heard
)

// skew is Skew_Time (section 6.1), exact: the RFC's centiseconds would make
// all skews equal at an interval of 10 ms.
func (r *router) skew(priority uint8, interval time.Duration) time.Duration {
	return time.Duration(256-int(priority)) * r.cfg.skewUnit(interval) / 256
}

// downInterval is Active_Down_Interval (section 6.1).
func (r *router) downInterval() time.Duration {
	return r.missed()*r.masterInterval + r.skew(r.priority, r.masterInterval)
}

// missed is how many intervals of silence a backup bears before its skew.
func (r *router) missed() time.Duration {
	if r.cfg.Missed == 0 {
		return 3
	}
	return time.Duration(r.cfg.Missed)
}

// yieldTime is how long a master whose priority fell to the present value is
// silent: its own skew, so that every better peer speaks first, less half a
// priority step, so that no worse one does; and 1 ms below the skew as FRR
// cuts it, to 10 ms.
func (r *router) yieldTime() time.Duration {
	s := r.skew(r.priority, r.cfg.Interval)
	return max(0, min(s-r.cfg.skewUnit(r.cfg.Interval)/512, s.Truncate(10*time.Millisecond)-time.Millisecond))
}

// step handles one event of this host.
func (r *router) step(now time.Duration, e Event) {
	switch e.Kind {
	case Startup:
		r.started, r.adopts, r.adopted = true, e.Adopt, e.Since
		r.group.enter(now, r, CauseStartup)
	case Shutdown:
		r.shutdown(now, e)
	case Faulty:
		r.faulty(now, e)
	case Recovered:
		r.recovered(now)
	case Reprioritised:
		r.reprioritise(now, e.Priority)
	case Readdressed:
		r.local = e.Addr.WithZone("")
	case Announced:
		r.announced(now, e.Addr)
	case Succeeded:
		if r.role == Master && r.quiet == speaking && !r.stalled(now) {
			r.send(now, r.priority)
		}
	case Unelectable:
		r.unelectable(now, e)
	case HandOver:
		r.group.handOver(now, e.To, e.Reason)
	case TakeOver:
		r.group.takeOnce(now, r, e.Reason)
	}
}

// shutdown leaves for good: a master says so with priority 0 and keeps its
// addresses until it has a successor (section 6.4.3), a backup is silent
// (6.4.2). The caller shuts down the other members of the group in the same
// turn; one that is left behind is master no longer than for an interval.
func (r *router) shutdown(now time.Duration, e Event) {
	if r.stopped {
		return
	}
	r.stopped = true
	switch {
	case e.Alone:
		r.release()
	case r.role == Master:
		r.leaveWord(now)
	case r.grip == lent: // perhaps for longer than a stop may take
		r.lentTil = min(r.lentTil, now+r.handoverBound())
	}
	if r.role == Init {
		r.timer = Never // an unelectable rival may have held it
		return
	}
	r.becomeInit(now, Action{Cause: CauseShutdown})
}

// faulty takes the router out of the election, and its group with it.
func (r *router) faulty(now time.Duration, e Event) {
	if r.stopped {
		return
	}
	r.started, r.faulted = true, true
	switch {
	case e.Deaf:
		r.release() // nobody can be heard, so no successor would ever be known
	case e.Alone:
		r.leaveAlone(now)
	case r.role != Master:
	case e.Mute: // the others miss their advertisements before their skew begins
		r.lend(now, r.missed()*r.cfg.Interval+r.handoverBound())
	default:
		r.leaveWord(now)
	}
	why := Action{Cause: CauseFault, Reason: e.Reason}
	switch {
	case r.role != Fault:
		r.becomeFault(now, why)
	case r.deaf && !e.Deaf:
		r.listen(now) // what was not heard until now says nothing of the link
	}
	r.deaf = e.Deaf
	r.group.fail(now, r, why, e.Alone)
}

// leaveAlone lets the addresses go: the successor may be one that cannot be
// heard. Services that still stop are no reason to call for it.
func (r *router) leaveAlone(now time.Duration) {
	if r.role == Master && !r.cfg.Bound {
		r.send(now, 0)
	}
	r.release()
}

// leaveWord says that a master leaves, and keeps its addresses until it has a
// successor.
func (r *router) leaveWord(now time.Duration) {
	r.send(now, 0)
	r.lend(now, r.handoverBound())
}

// recovered lets the router leave FAULT, if it was the last of its group that
// had a reason for it.
func (r *router) recovered(now time.Duration) {
	if r.role == Fault && r.deaf {
		r.listen(now)
	}
	r.faulted, r.deaf = false, false
	r.group.enter(now, r, CauseRecovered)
}

// reprioritise changes the effective priority. A backup's running timer moves
// with its skew; a master whose priority falls yields.
func (r *router) reprioritise(now time.Duration, priority uint8) {
	old := r.priority
	if priority == 0 || priority == old {
		return
	}
	r.priority = priority
	switch r.role {
	case Backup, Fault:
		if r.timer != Never { // of a ready member
			r.timer += r.skew(priority, r.masterInterval) - r.skew(old, r.masterInterval)
		}
	case Master:
		if r.quiet == yielding || r.quiet == speaking && priority < old && !r.cfg.Bound && r.mayMove() {
			r.group.yield(now)
		}
	}
}

// mayMove tells whether any other node can be better than we are now; an equal
// one would hear us before its own skew is over. Without knowledge of the
// nodes it always may.
func (r *router) mayMove() bool {
	return r.cfg.BestRival == 0 || r.cfg.BestRival > r.priority
}

// expire handles what is due at now.
func (r *router) expire(now time.Duration) {
	if now >= r.timer {
		late := now - r.timer
		switch r.role {
		case Init:
			r.timer = Never
			r.group.enter(now, r, CauseStartup)
		case Backup:
			r.expireBackup(now, late)
		case Master:
			r.expireMaster(now)
		case Fault:
			r.timer = now + r.downInterval()
			r.master = Rival{}
			if r.group.vacant(now) {
				r.act(Action{Kind: Vacant, Elapsed: now - r.accepted})
			}
		}
	}
	if r.role == Master && r.conflict.since != 0 && now >= r.conflict.until {
		r.conflictOver(now)
	}
	if r.grip == lent && now >= r.lentTil {
		r.release()
	}
}

// expireBackup is the expiry of Active_Down_Timer (section 6.4.2).
func (r *router) expireBackup(now, late time.Duration) {
	if late > r.masterInterval && !r.relistened {
		// A whole interval late: perhaps the host stood still, and the master
		// advertised to nobody. It is heard within one interval if it lives.
		r.group.listenOnce(now, r)
		r.act(Action{Kind: Notice, Note: NoteLate, Elapsed: late})
		return
	}
	r.ready, r.timer = true, Never
	r.group.takeOver(now, r)
}

// takeoverCause is why a backup's timer ran out.
func (r *router) takeoverCause(now time.Duration) Action {
	switch {
	case r.left.Addr.IsValid():
		return Action{Cause: CauseLeft, Rival: r.left, Elapsed: now - r.leftAt}
	case r.master.Addr.IsValid() && r.master.Priority < r.priority && now-r.masterAt <= 2*r.masterInterval:
		return Action{Cause: CausePreempt, Rival: r.master}
	}
	return Action{Cause: CauseSilence, Rival: r.master, Elapsed: now - r.accepted}
}

// expireMaster is the expiry of Adver_Timer (section 6.4.3), or the end of a
// silence of ours.
func (r *router) expireMaster(now time.Duration) {
	switch {
	case r.group.forsaken(now):
		return
	case r.stalled(now):
		r.relisten(now)
		return
	case r.quiet == yielding:
		r.act(Action{Kind: Yielded, Elapsed: now - r.quietSince})
	case r.quiet == handing:
		r.unheard(now)
	}
	r.quiet = speaking
	r.send(now, r.priority)
	r.timer = r.nextAdvertisement(now)
}

// stalled tells whether a master has been silent for longer than the fastest
// peer waits, without meaning to: somebody else may serve by now. Every timer
// is served a little late: where peers miss a single advertisement, that is no
// stall yet.
func (r *router) stalled(now time.Duration) bool {
	return r.quiet == speaking && now-r.sent > max(r.missed(), 2)*r.cfg.Interval
}

// relisten makes a stalled master listen for one interval before it speaks:
// who took over is heard within that.
func (r *router) relisten(now time.Duration) {
	r.quiet, r.quietSince = relistening, now
	r.timer = now + r.cfg.Interval
	r.act(Action{Kind: Notice, Note: NoteLate, Elapsed: now - r.sent - r.cfg.Interval})
}

// nextAdvertisement is when Adver_Timer expires next. Routers of one link
// share a phase so that their advertisements leave in one batch; that may
// shorten an interval, never lengthen it.
func (r *router) nextAdvertisement(now time.Duration) time.Duration {
	next := now + r.cfg.Interval
	return next - (next-r.phase)%r.cfg.Interval
}

func (r *router) send(now time.Duration, priority uint8) {
	r.sent = now
	r.act(Action{Kind: Send, Priority: priority})
}

func (r *router) act(a Action) {
	a.Router = r.id
	r.set.actions = append(r.set.actions, a)
}

// next is the earliest time at which expire has something to do.
func (r *router) next() time.Duration {
	d := r.timer
	if r.grip == lent {
		d = min(d, r.lentTil)
	}
	if r.role == Master && r.conflict.since != 0 {
		d = min(d, r.conflict.until)
	}
	return d
}
