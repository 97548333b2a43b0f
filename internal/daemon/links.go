package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"baton/internal/link"
)

// reopenAfter is how soon sockets that could not be opened are tried again.
const reopenAfter = time.Second

// maxDead is how many sockets may wait to be closed.
const maxDead = 256

// links opens the sockets of the interfaces that routers advertise on, beside
// the protocol loop, and hands them to it.
type links struct {
	monitor *link.Monitor
	log     *slog.Logger
	wanted  []*uplink // read only: number, name and vrids
	current map[*uplink]*opened
	poke    chan struct{}
	dead    chan discarded
}

// opened is what the loop has been given of one interface.
type opened struct {
	index      int
	generation uint64
	problem    map[bool]string
}

// linkUpdate is the newest state of an interface, for the loop.
type linkUpdate struct {
	uplink  *uplink
	state   link.Interface
	exists  bool
	problem map[bool]string
	// gone tells that the sockets which the loop has are of no use any more.
	gone  bool
	conns []*conn           // new ones
	own   map[link.MAC]bool // hardware addresses of all interfaces of this host
}

func newLinks(m *link.Monitor, wanted []*uplink, log *slog.Logger) *links {
	return &links{
		monitor: m,
		log:     log,
		wanted:  wanted,
		current: make(map[*uplink]*opened),
		poke:    make(chan struct{}, 1),
		dead:    make(chan discarded, maxDead),
	}
}

// changed is called by the monitor with each new table.
func (k *links) changed(*link.Table) {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// run hands updates to deliver until ctx ends.
func (k *links) run(ctx context.Context, deliver func(linkUpdate)) {
	retry := time.NewTimer(reopenAfter)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-k.dead:
			if k.close(d); d.err != nil {
				retry.Reset(reopenAfter)
			}
			continue
		case <-k.poke:
		case <-retry.C:
			if !k.incomplete() {
				continue
			}
		}
		for _, u := range k.updates() {
			deliver(u)
		}
		retry.Reset(reopenAfter)
	}
}

// discarded is sockets that the loop has let go of, and why they are needed
// again; nil: they are not.
type discarded struct {
	conn *conn
	err  error
}

// discard takes sockets that the loop has let go of. It does not wait.
func (k *links) discard(c *conn, err error) {
	select {
	case k.dead <- discarded{c, err}:
	default: // more interfaces went at once than a host has: the loop pays
		_ = c.Close()
	}
}

// close closes discarded sockets and notes why they are needed again.
func (k *links) close(d discarded) {
	if err := d.conn.Close(); err != nil {
		k.log.Warn("sockets of an interface that has gone", "err", err)
	}
	if o := k.current[d.conn.uplink]; o != nil && d.err != nil {
		k.log.Error("sockets of an interface could not be watched", "interface", d.conn.uplink.name, "err", d.err)
		o.problem[d.conn.ipv6] = d.err.Error()
	}
}

// incomplete tells whether some sockets could not be opened.
func (k *links) incomplete() bool {
	for _, o := range k.current {
		if len(o.problem) > 0 {
			return true
		}
	}
	return false
}

// updates compares the newest table with what the loop has, and opens what is
// missing.
func (k *links) updates() []linkUpdate {
	table := k.monitor.Table()
	var all []linkUpdate
	own := make(map[link.MAC]bool)
	for _, i := range table.Interfaces() {
		if len(i.MAC) == len(link.MAC{}) {
			own[link.MAC(i.MAC)] = true
		}
	}
	for _, u := range k.wanted {
		up := linkUpdate{uplink: u, own: own}
		up.state, up.exists = table.ByName(u.name)
		o := k.current[u]
		if o != nil && (!up.exists || o.index != up.state.Index || o.generation != up.state.Generation) {
			up.gone = true
			delete(k.current, u)
			o = nil
		}
		if up.exists {
			if o == nil {
				o = &opened{index: up.state.Index, generation: up.state.Generation, problem: u.unopened()}
				k.current[u] = o
			}
			up.conns = k.open(u, up.state, o)
			up.problem = maps.Clone(o.problem) // the loop's own
		}
		all = append(all, up)
	}
	return all
}

// unopened is the problem of each family that is wanted, before the first try.
func (u *uplink) unopened() map[bool]string {
	problem := make(map[bool]string)
	for ipv6 := range u.vrids {
		problem[ipv6] = "not open yet"
	}
	return problem
}

// open opens the sockets that are not open yet.
func (k *links) open(u *uplink, i link.Interface, o *opened) []*conn {
	var conns []*conn
	for ipv6, before := range o.problem {
		c, err := link.Open(i, ipv6, k.log)
		if err == nil {
			err = c.SetKnown(link.Known{V3: u.vrids[ipv6]})
			if err != nil {
				_ = c.Close() // the first error is the one to tell
			}
		}
		if err != nil {
			o.problem[ipv6] = fmt.Sprintf("no sockets: %v", err)
			if o.problem[ipv6] != before {
				k.log.Error("sockets of an interface could not be opened", "interface", u.name, "err", err)
			}
			continue
		}
		delete(o.problem, ipv6)
		conns = append(conns, &conn{Conn: c, uplink: u, ipv6: ipv6})
	}
	return conns
}
