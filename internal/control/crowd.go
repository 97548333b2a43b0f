package control

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// What visitors may do to the HTTP listener. The protocol loop shares the
// processors with whoever answers them, so all of it together is bounded: a
// connection has one request, and so many of them begin in a second.
const (
	// maxVisitors is how many connections there are at a time. One more takes the
	// place of the oldest whose request has not come.
	maxVisitors = 64
	// visitorRate is how many connections of one source are answered in a second,
	// and visitorBurst how many at once; more are closed unread.
	visitorRate  = 20
	visitorBurst = 40
	// crowdRate is how many are accepted in a second, of all sources, crowdBurst
	// without a pause; the others wait in the kernel, where there are at most 4096.
	// To accept and close one costs some 20 µs.
	crowdRate  = 4000
	crowdBurst = 40
	// maxSources is how many sources are told apart. Beyond that all share one
	// allowance.
	maxSources = 1024
)

// crowd is a listener that does not let visitors wear it down.
type crowd struct {
	net.Listener
	now func() time.Time

	mu      sync.Mutex
	all     []*visitor // oldest first
	sources map[netip.Addr]*allowance
	swept   time.Time // when sources were forgotten last
	next    time.Time // when another one may be accepted
}

// allowance is a bucket of connections.
type allowance struct {
	left float64
	at   time.Time
}

// take tells whether there is one more.
func (a *allowance) take(now time.Time) bool {
	a.left = min(visitorBurst, a.left+max(0, now.Sub(a.at).Seconds())*visitorRate)
	a.at = now
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}

func newCrowd(l net.Listener) *crowd {
	return &crowd{Listener: l, now: time.Now, sources: make(map[netip.Addr]*allowance)}
}

// Accept waits for a connection that may be answered.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		time.Sleep(c.pace())
		if s := c.enter(conn); s != nil {
			return s, nil
		}
		abort(conn)
	}
}

// pace is how long to wait before the next one is accepted.
func (c *crowd) pace() time.Duration {
	now := c.now()
	if c.next.Before(now) {
		c.next = now
	}
	wait := c.next.Sub(now)
	c.next = c.next.Add(time.Second / crowdRate)
	if wait < crowdBurst*time.Second/crowdRate {
		return 0
	}
	return wait
}

// enter lets one in, unless its source has had enough or nobody can go for it.
func (c *crowd) enter(conn net.Conn) *visitor {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.allowanceOf(sourceOf(conn)).take(c.now()) {
		return nil
	}
	if len(c.all) >= maxVisitors && !c.evict() {
		return nil
	}
	s := &visitor{Conn: conn, crowd: c}
	c.all = append(c.all, s)
	return s
}

// evict closes the oldest connection whose request has not come.
func (c *crowd) evict() bool {
	for i, s := range c.all {
		if !s.answered {
			c.all = append(c.all[:i], c.all[i+1:]...)
			abort(s.Conn)
			return true
		}
	}
	return false
}

// allowanceOf is that of a source, or the one that all share where there are too
// many.
func (c *crowd) allowanceOf(source netip.Addr) *allowance {
	now := c.now()
	if a := c.sources[source]; a != nil {
		return a
	}
	if len(c.sources) >= maxSources && now.Sub(c.swept) >= time.Second {
		c.swept = now
		for s, a := range c.sources { // one that is full again is as if it had not been here
			if now.Sub(a.at).Seconds()*visitorRate >= visitorBurst {
				delete(c.sources, s)
			}
		}
	}
	if len(c.sources) >= maxSources {
		source = netip.Addr{}
		if a := c.sources[source]; a != nil {
			return a
		}
	}
	a := &allowance{left: visitorBurst, at: now}
	c.sources[source] = a
	return a
}

func (c *crowd) leave(s *visitor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, o := range c.all {
		if o == s {
			c.all = append(c.all[:i], c.all[i+1:]...)
			return
		}
	}
}

// visitor is a connection of the crowd.
type visitor struct {
	net.Conn
	crowd    *crowd
	answered bool // its request has come; guarded by crowd.mu
}

// Close makes room for another one.
func (s *visitor) Close() error {
	s.crowd.leave(s)
	return s.Conn.Close()
}

// answer keeps its place until it is closed.
func (s *visitor) answer() {
	s.crowd.mu.Lock()
	defer s.crowd.mu.Unlock()
	s.answered = true
}

// sourceOf is who has connected: an IPv4 address, or an IPv6 network, of which one
// host has all addresses.
func sourceOf(c net.Conn) netip.Addr {
	t, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	a := t.AddrPort().Addr().Unmap()
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// abort closes a connection without a farewell, so that the kernel keeps nothing
// of it.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
