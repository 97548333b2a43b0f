package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
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
	current map[*uplink]*opened
	poke    chan struct{}
	asks    chan func() // for run
	dead    chan discarded

	mu     sync.Mutex
	wanted []want
}

// want is what the routers need of an uplink.
type want struct {
	uplink  *uplink
	known   map[bool]link.Known
	virtual map[bool]bool
}

// opened is what the loop has been given of one interface.
type opened struct {
	index      int
	generation uint64
	problem    map[bool]string
	have       map[bool]bool // sockets of a family
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
	k := &links{
		monitor: m,
		log:     log,
		current: make(map[*uplink]*opened),
		poke:    make(chan struct{}, 1),
		asks:    make(chan func()),
		dead:    make(chan discarded, maxDead),
	}
	for _, u := range wanted {
		k.want(u)
	}
	return k
}

// want takes note of what is needed of an uplink now. Of one that needs nothing the
// sockets are the loop's to discard.
func (k *links) want(u *uplink) {
	w := want{u, maps.Clone(u.known), maps.Clone(u.virtual)}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted = slices.DeleteFunc(slices.Clone(k.wanted), func(o want) bool { return o.uplink == u })
	if len(w.known) > 0 {
		k.wanted = append(k.wanted, w)
	}
}

// wants is what is needed at this moment.
func (k *links) wants() []want {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wanted
}

// prepare opens the sockets for families and uplinks that will be needed, and returns
// them with the state of their uplinks; false: ctx has ended. The next want says
// whether they are.
func (k *links) prepare(ctx context.Context, more []want) (updates []linkUpdate, ok bool) {
	done := make(chan []linkUpdate, 1)
	ask := func() {
		k.mu.Lock()
		for _, w := range more {
			k.wanted = slices.DeleteFunc(slices.Clone(k.wanted), func(o want) bool { return o.uplink == w.uplink })
			k.wanted = append(k.wanted, w)
		}
		k.mu.Unlock()
		done <- k.updates()
	}
	select {
	case k.asks <- ask:
		return <-done, true
	case <-ctx.Done():
		return nil, false
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
		case ask := <-k.asks:
			ask()
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
		delete(o.have, d.conn.ipv6)
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
	wanted := k.wants()
	for u := range k.current {
		if !slices.ContainsFunc(wanted, func(w want) bool { return w.uplink == u }) {
			delete(k.current, u)
		}
	}
	for _, w := range wanted {
		u := w.uplink
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
				o = &opened{index: up.state.Index, generation: up.state.Generation, problem: make(map[bool]string), have: make(map[bool]bool)}
				k.current[u] = o
			}
			o.need(w.known)
			up.conns = k.open(w, up.state, o)
			up.problem = maps.Clone(o.problem) // the loop's own
		}
		all = append(all, up)
	}
	return all
}

// need notes which families are wanted: before the first try it is the problem of a
// new one that it is not open.
func (o *opened) need(known map[bool]link.Known) {
	for _, ipv6 := range []bool{false, true} {
		_, wanted := known[ipv6]
		_, tried := o.problem[ipv6]
		switch {
		case !wanted:
			delete(o.problem, ipv6)
			delete(o.have, ipv6)
		case !tried && !o.have[ipv6]:
			o.problem[ipv6] = "not open yet"
		}
	}
}

// open opens the sockets that are not open yet.
func (k *links) open(w want, i link.Interface, o *opened) []*conn {
	u := w.uplink
	var conns []*conn
	for ipv6, before := range o.problem {
		c, err := link.Open(i, ipv6, k.log)
		if err == nil {
			if err = k.equip(c, w, ipv6); err != nil {
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
		o.have[ipv6] = true
		conns = append(conns, &conn{Conn: c, uplink: u, ipv6: ipv6})
	}
	return conns
}

// equip makes sockets ready for the routers of their link.
func (k *links) equip(c *link.Conn, w want, ipv6 bool) error {
	if w.virtual[ipv6] {
		if err := c.EnableVirtualMAC(); err != nil {
			return err
		}
	}
	return c.SetKnown(w.known[ipv6])
}
