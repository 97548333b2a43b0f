package control

import (
	"context"
	"net"
	"os/user"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// bounded is a listener with at most as many connections at a time as it has
// slots. Others wait in the kernel's queue. (That of golang.org/x/net hides the
// connection, which would have to be asked for the peer.)
type bounded struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func newBounded(l net.Listener, most int) *bounded {
	return &bounded{Listener: l, slots: make(chan struct{}, most), done: make(chan struct{})}
}

func (b *bounded) Accept() (net.Conn, error) {
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
	return &conn{Conn: c, release: sync.OnceFunc(func() { <-b.slots })}, nil
}

func (b *bounded) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Listener.Close()
}

// conn is a connection that has a slot.
type conn struct {
	net.Conn
	release func()
}

func (c *conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// peerKey finds the uid of the client in the context of a request.
type peerKey struct{}

// withPeer asks the kernel who has connected: what a client says of itself
// counts nothing.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if wrapped, ok := c.(*conn); ok {
		c = wrapped.Conn
	}
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, cred.Uid)
}

// userOf is the name of the user who has sent the request.
func userOf(ctx context.Context) string {
	uid, known := ctx.Value(peerKey{}).(uint32)
	if !known {
		return "an unknown user"
	}
	number := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(number); err == nil && u.Username != "" {
		return u.Username
	}
	return "user " + number
}
