package control

import (
	"context"
	"net"
	"sync"
)

// bounded is a listener with at most as many connections at a time as it has
// slots. Others wait in the kernel's queue. (That of golang.org/x/net hides the
// connection, which would have to be asked for the peer.) One user who only may
// read has at most maxOfUser of them, so that root always finds room; more of his
// are closed.
type bounded struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once

	mu     sync.Mutex
	ofUser map[uint32]int // by uid
}

func newBounded(l net.Listener, most int) *bounded {
	return &bounded{Listener: l, slots: make(chan struct{}, most), done: make(chan struct{}), ofUser: make(map[uint32]int)}
}

func (b *bounded) Accept() (net.Conn, error) {
	for {
		select {
		case b.slots <- struct{}{}:
		case <-b.done:
			return nil, net.ErrClosed
		}
		c, err := b.Listener.Accept()
		if err != nil {
			<-b.slots
			return nil, err
		}
		p, err := peerOf(c)
		if b.enter(p) {
			return &conn{Conn: c, known: known{p, err}, release: sync.OnceFunc(func() { b.exit(p); <-b.slots })}, nil
		}
		_ = c.Close()
		<-b.slots
	}
}

// enter counts a connection of a user, unless he has too many.
func (b *bounded) enter(p peer) bool {
	if p.own {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ofUser[p.uid] == maxOfUser {
		return false
	}
	b.ofUser[p.uid]++
	return true
}

func (b *bounded) exit(p peer) {
	if p.own {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ofUser[p.uid]--; b.ofUser[p.uid] == 0 {
		delete(b.ofUser, p.uid)
	}
}

func (b *bounded) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Listener.Close()
}

// conn is a connection that has a slot.
type conn struct {
	net.Conn
	known   known
	release func()
}

func (c *conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// peerKey finds who has connected in the context of a request.
type peerKey struct{}

// known is who has connected, or why that is not known.
type known struct {
	peer peer
	err  error
}

// withPeer keeps who has connected for the requests of the connection.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if wrapped, ok := c.(*conn); ok {
		return context.WithValue(ctx, peerKey{}, wrapped.known)
	}
	return ctx
}

func peerIn(ctx context.Context) peer {
	k, _ := ctx.Value(peerKey{}).(known)
	return k.peer
}

// peerError says why it is not known who has sent a request.
func peerError(ctx context.Context) error {
	k, ok := ctx.Value(peerKey{}).(known)
	switch {
	case !ok:
		return Errorf(Forbidden, "it is not known who asks")
	case k.err != nil:
		return Errorf(Forbidden, "it is not known who asks: %v", k.err)
	}
	return nil
}

// userOf is the name of the user who has sent the request.
func userOf(ctx context.Context) string { return peerIn(ctx).name() }
