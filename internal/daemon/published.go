package daemon

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"baton/internal/control"
)

// snapshot is what the node looks like from outside. Nobody changes it any more; but
// what is read through it of a peer and of an announcement is the newest, so that an
// advertisement costs no new one.
type snapshot struct {
	status control.Status // without its routers
	groups []*shown       // by name; shared with the snapshot before where nothing has changed
}

// shown is a group as it is published.
type shown struct {
	router control.Router
	since  time.Duration // of the role: of the loop's clock, as the other may be set
	parts  []shownPart   // of router.Parts
}

// shownPart is what of a part is read anew for whoever asks.
type shownPart struct {
	heard     []*heardPeer // those that stand first among its peers
	addresses addresses
	virtual   []netip.Addr // those of its addresses
}

// read is the snapshot at a moment, by the loop's clock and by the wall's.
func (s *snapshot) read(clock time.Duration, wall time.Time) *control.Status {
	status := s.status
	status.Routers = make([]control.Router, len(s.groups))
	for i, g := range s.groups {
		status.Routers[i] = g.read(clock, wall)
	}
	return &status
}

func (g *shown) read(clock time.Duration, wall time.Time) control.Router {
	r := g.router
	r.Since = wall.Add(g.since - clock)
	r.Parts = slices.Clone(r.Parts)
	for i, live := range g.parts {
		p := &r.Parts[i]
		p.Peers, p.Addresses = slices.Clone(p.Peers), slices.Clone(p.Addresses)
		for j, h := range live.heard {
			p.Peers[j].Priority = int(h.priority.Load())
			p.Peers[j].LastHeard = wall.Add(time.Duration(h.at.Load()) - clock)
		}
		for j, addr := range live.virtual {
			if p.Addresses[j].State == addressOff {
				continue
			}
			if times, last := live.addresses.Announced(addr); times > 0 {
				p.Addresses[j].Announced, p.Addresses[j].LastAnnounced = times, wall.Add(last-clock)
			}
		}
	}
	return r
}

// published hands the newest status from the protocol loop to whoever asks. The
// loop never waits for a reader.
type published struct {
	newest atomic.Pointer[edition]
}

// edition is a snapshot, and the news that it is the newest no more.
type edition struct {
	snapshot *snapshot
	passed   chan struct{}
}

func newPublished(first *snapshot) *published {
	p := new(published)
	p.newest.Store(&edition{first, make(chan struct{})})
	return p
}

// publish is called from one goroutine.
func (p *published) publish(s *snapshot) {
	close(p.newest.Swap(&edition{s, make(chan struct{})}).passed)
}

func (p *published) snapshot() *snapshot { return p.newest.Load().snapshot }

// changed is closed when there is a newer status than the one that was the
// newest at the call.
func (p *published) changed() <-chan struct{} { return p.newest.Load().passed }
