package vrrp

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
)

// Never is the deadline of something that waits for no time.
const Never time.Duration = math.MaxInt64

// Role is what a virtual router is on this node.
type Role uint8

// The roles (RFC 9568 section 6.4; MASTER is what the RFC calls Active).
// FAULT is ours: held out of the election by a check, a link or an operator.
const (
	Init Role = iota
	Backup
	Master
	Fault
)

// String returns the role as operators write it.
func (r Role) String() string {
	switch r {
	case Init:
		return "INIT"
	case Backup:
		return "BACKUP"
	case Master:
		return "MASTER"
	case Fault:
		return "FAULT"
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// Cause is why a router changed its role.
type Cause uint8

// The causes. What else an Action carries depends on them.
const (
	NoCause          Cause = iota
	CauseStartup           // INIT ended
	CauseOwner             // address owner: master at once (section 6.4.1)
	CauseSilence           // no advertisement for Elapsed; Rival was the master, if one was heard
	CauseLeft              // Rival left with priority 0, Elapsed ago
	CausePreempt           // our priority is above the one Rival advertises
	CauseBetter            // Rival's priority is higher than ours
	CauseTie               // Rival has our priority and the greater address
	CauseStalled           // this process was late by Elapsed; Rival serves meanwhile
	CauseFault             // Reason
	CauseRecovered         // no reason for FAULT is left
	CauseShutdown          // this node leaves
	CauseUnelectable       // Rival holds our addresses but cannot be elected with: Reason
	CauseAdopted           // an earlier process of this host was master until just now
	CauseGroup             // Member, of the same group, changed; the rest of the Action tells why
	CauseHandover          // HandOver, Elapsed ago, and Rival was heard; Reason is the event's
	CauseTakeover          // TakeOver from Rival; Reason is the event's
	CauseRegrouped         // the group has taken another shape: see Reconfigure
)

var causeNames = [...]string{
	"none", "startup", "owner", "silence", "left", "preempt", "better", "tie", "stalled",
	"fault", "recovered", "shutdown", "unelectable", "adopted", "group", "handover", "takeover", "regrouped",
}

// String returns the cause in one word.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return fmt.Sprintf("cause(%d)", uint8(c))
}

// ActionKind is what the caller has to do.
type ActionKind uint8

// The kinds of actions, with the fields of Action each of them uses.
const (
	NoAction ActionKind = iota
	// Send one advertisement with Priority, now. With 0 it gives the role away: what
	// addresses are on are not to be announced any more, until Hold or Unheard.
	Send
	// Hold the virtual addresses: put them on and announce each.
	Hold
	// Announce the virtual addresses again.
	Announce
	// Release Addr, or every virtual address where Addr is the zero Addr.
	Release
	// Change: the role went from From to To because of Cause.
	Change
	// Reassert: Rival was master beside us for Elapsed and was beaten.
	Reassert
	// Vacant: nobody has held the role on this link for a whole master down
	// interval (Elapsed), and we are in FAULT.
	Vacant
	// Yielded: after our priority fell, nobody took over within Elapsed, and
	// this router goes on as master.
	Yielded
	// Notice: something worth a line in the log: Note, Rival.
	Notice
	// Unheard: after HandOver nobody took over within Elapsed, and this router
	// goes on as master.
	Unheard
)

var kindNames = [...]string{
	"none", "send", "hold", "announce", "release", "change", "reassert", "vacant", "yielded", "notice", "unheard",
}

// String returns the kind in one word.
func (k ActionKind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("action(%d)", uint8(k))
}

// Note is a finding about a peer or about ourselves that changes nothing.
type Note uint8

// The notes. The RFC asks that each be logged, rate-limited.
const (
	NoNote            Note = iota
	NoteInterval           // Rival's interval differs from ours (section 7.1)
	NoteAddresses          // Rival's address list differs from ours (section 7.1)
	NoteChecksum           // Rival's IPv4 checksum has the other form
	NoteOwners             // Rival is address owner as well (section 8.3.2)
	NoteEqualPriority      // Rival has our priority (section 8.3.2)
	NoteConflict           // Rival is master beside us
	NoteLate               // we acted Elapsed too late and listen first (section 2.5)
	NoteCollision          // Rival has none of our addresses: another virtual router has our VRID
	NoteStranger           // Rival is none of the configured nodes
	NoteClock              // Rival's wall clock differs by more than half the window of signatures
	notes
)

var noteNames = [notes]string{
	"none", "interval differs", "addresses differ", "checksum form differs", "two owners",
	"equal priority", "two masters", "late", "another virtual router has our VRID", "not a configured node",
	"clock differs",
}

// String returns the note in a few words.
func (n Note) String() string {
	if int(n) < len(noteNames) {
		return noteNames[n]
	}
	return fmt.Sprintf("note(%d)", uint8(n))
}

// Rival is the other router that an action speaks of.
type Rival struct {
	Addr     netip.Addr // source address of its advertisement
	Priority uint8
}

// Action is one thing for the caller to do. Actions are plain values and
// compare with ==.
type Action struct {
	Router   ID
	Kind     ActionKind
	Priority uint8      // Send
	Addr     netip.Addr // Release
	From, To Role       // Change
	Cause    Cause      // Change
	Member   ID         // Change because of CauseGroup: the member that changed by itself
	Of       Cause      // and why it did; Rival, Elapsed and Reason are of that
	Note     Note       // Notice
	Rival    Rival
	Elapsed  time.Duration
	Reason   string
}

// String returns the action in one line, as golden traces show it.
func (a Action) String() string {
	var b strings.Builder
	b.WriteString(a.Kind.String())
	switch a.Kind {
	case Send:
		fmt.Fprintf(&b, " priority %d", a.Priority)
	case Release:
		if a.Addr.IsValid() {
			fmt.Fprintf(&b, " %s", a.Addr)
		} else {
			b.WriteString(" all")
		}
	case Change:
		fmt.Fprintf(&b, " %s to %s: %s", a.From, a.To, a.Cause)
		if a.Cause == CauseGroup {
			fmt.Fprintf(&b, ", %s of router %d", a.Of, a.Member)
		}
	case Notice:
		fmt.Fprintf(&b, ": %s", a.Note)
	}
	if a.Rival.Addr.IsValid() {
		fmt.Fprintf(&b, ", rival %s (%d)", a.Rival.Addr, a.Rival.Priority)
	}
	if a.Elapsed != 0 {
		fmt.Fprintf(&b, ", after %s", a.Elapsed)
	}
	if a.Reason != "" {
		fmt.Fprintf(&b, " (%s)", a.Reason)
	}
	return b.String()
}

// EventKind is what happened on this host to one virtual router.
type EventKind uint8

// The events of [Set.Step], with the fields of Event each of them uses.
const (
	NoEvent EventKind = iota
	// Startup: nothing holds the router in INIT any more (section 6.4.1). Adopt
	// says that this host was master until just now and still has the addresses:
	// another process of it ended without a word, and no backup can have missed it
	// yet. The router is then master at once, as it has been since Since.
	Startup
	// Shutdown: the router leaves the election for good; Alone: without a word,
	// and its addresses go at once.
	Shutdown
	// Faulty: there is a reason to be in FAULT: Reason. Deaf says that the own
	// link is the reason, so nobody can be heard and nobody hears us; Mute that
	// we hear and cannot send, so that the successor waits for our silence;
	// Alone that most of the other nodes are cut off from this one, or that nobody
	// is to take this for an orderly leave: the addresses go at once.
	Faulty
	// Recovered: no reason to be in FAULT is left.
	Recovered
	// Reprioritised: the effective priority is now Priority, 1 to 255.
	Reprioritised
	// Readdressed: the address that advertisements are sent from is now Addr.
	// It comes before the first Startup: a tie is decided by it.
	Readdressed
	// Announced: another host announced Addr by gratuitous ARP or unsolicited
	// neighbour advertisement.
	Announced
	// Succeeded: this process ends, and another one of this host is about to adopt
	// what it has: a master advertises once more, so that it has a whole interval
	// for that.
	Succeeded
	// Unelectable: a packet of Rival showed that it holds addresses of ours,
	// and Reason says why it cannot be elected with. It repeats each Interval.
	Unelectable
	// HandOver: an operator has a master, and its group, give the role away. It is
	// To, BACKUP or FAULT, once somebody else was heard as master, in FAULT with
	// that Reason; where nobody is within the HandoverBound, it stays master. Such a
	// BACKUP does not preempt until it has been master again.
	HandOver
	// TakeOver: an operator has a backup, and its group, take the role once from a
	// master that loses to it, whether or not it preempts. Reason is for the log.
	TakeOver
)

// Event is one thing that happened to a router on this host.
type Event struct {
	Kind     EventKind
	Priority uint8
	Deaf     bool
	Mute     bool
	Alone    bool
	Adopt    bool
	Since    time.Duration
	To       Role
	Addr     netip.Addr
	Interval time.Duration
	Rival    Rival
	Reason   string
}
