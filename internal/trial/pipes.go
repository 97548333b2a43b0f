package trial

import (
	"context"
	"net"
	"sync"
)

// Pipes is a listener in memory: in a synctest bubble, where a socket would keep
// the clock from moving.
type Pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// NewPipes returns a listener that Dial reaches.
func NewPipes() *Pipes { return &Pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

// Accept waits for the next Dial.
func (p *Pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial. It may be called again.
func (p *Pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Addr is of no use.
func (p *Pipes) Addr() net.Addr { return &net.UnixAddr{} }

// Dial connects, whatever the address. As with a real listener, whose kernel
// answers, it does not wait for Accept; after Close the other end is closed.
func (p *Pipes) Dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		select {
		case p.conns <- theirs:
		case <-p.done:
			theirs.Close()
		}
	}()
	return ours, nil
}
