package daemon

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"baton/health"
	"baton/internal/config"
	"baton/internal/role"
	"baton/vrrp"
)

// What the log and the hooks are told, in words.

// reason says in words why a role changed; of a change that another router of
// the group began it names that one, unless its reason is that of them all.
func (r *router) reason(a vrrp.Action) string {
	if a.Cause != vrrp.CauseGroup {
		return r.why(a)
	}
	by := r.node.byID[a.Member]
	a.Cause = a.Of
	text := by.why(a)
	switch a.Of {
	case vrrp.CauseStartup, vrrp.CauseAdopted, vrrp.CauseOwner, vrrp.CauseRecovered, vrrp.CauseShutdown, vrrp.CauseHandover, vrrp.CauseTakeover, vrrp.CauseRegrouped:
		return text
	case vrrp.CauseFault:
		if a.Reason == strings.Join(r.group.common, "; ") {
			return text
		}
	}
	return by.name + ": " + text
}

// why says it of a change that the router began itself.
func (r *router) why(a vrrp.Action) string {
	rival := r.nameOf(a.Rival)
	priority := r.node.set.State(r.id).Priority
	switch a.Cause {
	case vrrp.CauseStartup:
		if r.heldBy != "" {
			return r.heldBy + ", which could not be elected with, is no longer heard"
		}
		if slices.ContainsFunc(r.group.tracks, health.Track.HoldsInit) {
			return "every check that could fault it has answered"
		}
		return "started"
	case vrrp.CauseOwner:
		return "owns the addresses (priority 255)"
	case vrrp.CauseSilence:
		return "heard nobody for " + round(a.Elapsed)
	case vrrp.CauseLeft:
		return fmt.Sprintf("%s left (priority 0); skew %s", rival, round(a.Elapsed))
	case vrrp.CausePreempt:
		return fmt.Sprintf("%d beats %d of %s", priority, a.Rival.Priority, rival)
	case vrrp.CauseBetter:
		return fmt.Sprintf("%s is higher: %d above %d", rival, a.Rival.Priority, priority)
	case vrrp.CauseTie:
		return fmt.Sprintf("%s has priority %d as well, and the higher address", rival, a.Rival.Priority)
	case vrrp.CauseStalled:
		return fmt.Sprintf("this host stood still for %s, and %s took over", round(a.Elapsed), rival)
	case vrrp.CauseRecovered:
		return "no reason for FAULT is left"
	case vrrp.CauseShutdown:
		return r.group.goodbye()
	case vrrp.CauseHandover:
		return fmt.Sprintf("%s; %s was heard after %s", a.Reason, rival, round(a.Elapsed))
	case vrrp.CauseRegrouped:
		return "the configuration has given its group another shape"
	case vrrp.CauseTakeover:
		return fmt.Sprintf("%d beats %d of %s, and %s ordered to take over", priority, a.Rival.Priority, rival, a.Reason)
	case vrrp.CauseAdopted:
		return "adopted: the process before was master, and nobody can have missed it yet"
	case vrrp.CauseUnelectable:
		return fmt.Sprintf("%s holds addresses of ours and cannot be elected with: %s", rival, a.Reason)
	}
	return a.Reason
}

// noticeKey is what one finding is about.
type noticeKey struct {
	router vrrp.ID
	note   vrrp.Note
	peer   netip.Addr
}

// notice logs a finding about a peer, or about ourselves.
func (r *router) notice(a vrrp.Action) {
	rival := slog.String("peer", r.nameOf(a.Rival))
	switch a.Note {
	case vrrp.NoteInterval:
		r.log.Warn("a peer has another advertisement interval; the master's counts", rival)
	case vrrp.NoteAddresses:
		r.log.Warn("a peer has other virtual addresses: give every node the same list", rival)
	case vrrp.NoteChecksum:
		r.log.Warn("a peer sends the other IPv4 checksum, and may refuse ours: see checksum", rival)
	case vrrp.NoteOwners:
		r.log.Warn("a peer has priority 255 as well: only one node can own the addresses", rival)
	case vrrp.NoteEqualPriority:
		r.log.Info("a peer has the same priority: the higher address decides", rival, "priority", a.Rival.Priority)
	case vrrp.NoteConflict:
		r.log.Warn("a peer is master as well: it is told that this node is better", rival, "peer_priority", a.Rival.Priority)
	case vrrp.NoteLate:
		r.log.Warn("this process was late: it listens before it acts", "late", round(a.Elapsed))
	case vrrp.NoteCollision:
		r.log.Error("VRID collision: a peer with none of our addresses has our VRID; choose another one (baton scan lists those in use)", rival, "peer_priority", a.Rival.Priority)
	case vrrp.NoteStranger:
		r.log.Warn("VRID collision? a peer that is not among the nodes has our VRID", rival, "peer_priority", a.Rival.Priority)
	case vrrp.NoteClock:
		r.log.Warn("a peer's clock differs by more than half of the window: signatures will soon be refused", rival, "differs", a.Reason)
	}
}

// nameOf returns the node that an advertisement came from: by its address; or
// by a priority that only one node has, where no check moves priorities; or
// else the address.
func (r *router) nameOf(rival vrrp.Rival) string {
	if !rival.Addr.IsValid() {
		return ""
	}
	nodes := r.node.cfg.Nodes
	if i := slices.IndexFunc(nodes, func(n config.Node) bool { return n.Has(rival.Addr) }); i >= 0 {
		return nodes[i].Name
	}
	name := ""
	for other, priority := range r.cfg.Priorities {
		if other != r.node.cfg.Node && priority == r.priorityOf(rival) {
			if name != "" {
				return rival.Addr.String()
			}
			name = other
		}
	}
	if name == "" || r.weighted() {
		return rival.Addr.String()
	}
	return name
}

// priorityOf is the rival's priority; of one that leaves, the last before.
func (r *router) priorityOf(rival vrrp.Rival) uint8 {
	if rival.Priority == 0 {
		for _, p := range r.node.set.Peers(r.id) {
			if p.Addr == rival.Addr {
				return p.Priority
			}
		}
	}
	return rival.Priority
}

// weighted tells whether a check can move the router's priority, here or on
// the other nodes, which have the same file.
func (r *router) weighted() bool {
	return slices.ContainsFunc(r.group.tracks, func(t health.Track) bool { return t.Effect.Kind == health.Weight })
}

// takeover is the hooks' word for how the role was got.
func takeover(c vrrp.Cause) string {
	switch c {
	case vrrp.CauseLeft:
		return "handover"
	case vrrp.CauseSilence:
		return "silence"
	}
	return "election"
}

// state is the hooks' word for a role.
func state(r vrrp.Role) role.State { return role.State(r.String()) }

// round gives a duration as a line in the log shows it.
func round(d time.Duration) string {
	if d < time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return fmt.Sprint(d.Round(time.Millisecond))
}
