package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"
)

// inTime ends a little before ctx does. A probe that gives up by itself can say
// what it waited for; the scheduler knows only that there was no answer.
func inTime(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(time.Until(deadline)/10, 100*time.Millisecond)))
}

// bound has whatever waits on conn end with ctx, until free is called. Where free
// returns false, conn is of no more use: its deadline may yet be set to the past.
func bound(ctx context.Context, conn net.Conn) (free func() bool) {
	deadline, _ := ctx.Deadline() // the zero time is none
	_ = conn.SetDeadline(deadline)
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// timedOut tells whether a wait was ended by its deadline, and not by the kernel's.
func timedOut(err error) bool {
	var no syscall.Errno
	if errors.As(err, &no) {
		return false
	}
	var e net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) && e.Timeout()
}

// endpoint is where a probe connects to.
type endpoint struct {
	network string // tcp or unix
	address string // HOST:PORT, or a path
	tls     *tlsClient
	dialer  net.Dialer
}

func newEndpoint(network, address string, secure *tlsClient) endpoint {
	return endpoint{network, address, secure, net.Dialer{
		Resolver:  &net.Resolver{PreferGo: true}, // the C library's waits for no context
		KeepAlive: -1,                            // each run asks, which shows more
	}}
}

// connect connects, and speaks TLS where it is to. Where conn is nil, the Answer
// says why.
func (e *endpoint) connect(ctx context.Context) (conn net.Conn, a Answer) {
	var config *tls.Config
	if e.tls != nil { // what cannot be read need not trouble the server
		if config, a = e.tls.read(); config == nil {
			return nil, a
		}
	}
	conn, err := e.dialer.DialContext(ctx, e.network, e.address)
	if err != nil {
		return nil, e.unreachable(err)
	}
	if config == nil {
		return conn, Answer{}
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, e.tls.refused(e.address, err)
	}
	return secure, Answer{}
}

// silent is the failure of who is connected and does not answer.
func (e *endpoint) silent(who string) Answer {
	return Answer{
		Text: who + " took the connection but does not answer",
		Hint: "the service hangs, or its host is overloaded",
	}
}

// unreachable is the failure to connect, with what can be done about it.
func (e *endpoint) unreachable(err error) Answer {
	if a, ok := unresolved(err); ok {
		return a
	}
	a := Answer{Text: fmt.Sprintf("connect %s: %v", e.address, plain(err))}
	switch {
	case e.network == "unix" && errors.Is(err, syscall.ECONNREFUSED):
		a.Hint = "nothing listens on the socket: does the service run?"
	case e.network == "unix" && errors.Is(err, fs.ErrNotExist):
		a.Hint = "the service does not run, or has its socket elsewhere"
	case e.network == "unix" && errors.Is(err, fs.ErrPermission):
		a.Hint = socketGroup(e.address, "")
	case errors.Is(err, syscall.EAGAIN): // of a Unix socket
		a.Hint = "its queue of connections is full: the service hangs"
	case errors.Is(err, syscall.ECONNREFUSED):
		a.Hint = "nothing listens there: does the service run, and on this address?"
	case errors.Is(err, fs.ErrPermission):
		a.Hint = "a firewall of this host forbids it"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		a.Hint = "this host has no local port left, or not the address to connect from"
	case timedOut(err):
		a.Hint = "its host is down, or a firewall drops the packets"
	}
	return a
}

// unresolved is the failure to find the address of a name.
func unresolved(err error) (Answer, bool) {
	var e *net.DNSError
	if !errors.As(err, &e) {
		return Answer{}, false
	}
	a := Answer{Text: fmt.Sprintf("resolve %s: %s", e.Name, e.Err), Hint: "write an address, or put the name into /etc/hosts"}
	if e.IsTimeout {
		a.Text = fmt.Sprintf("resolve %s: no answer in time from the name server", e.Name)
	}
	return a, true
}

// socketGroup says how baton comes to be allowed to use a Unix socket. group is
// the usual one of the service, or empty.
func socketGroup(path, group string) string {
	owner := ""
	if fi, err := os.Stat(path); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			group = strconv.FormatUint(uint64(st.Gid), 10)
			if g, err := user.LookupGroupId(group); err == nil {
				group = g.Name
			}
			owner = fmt.Sprintf("the socket is for its owner and group %s (%s): ", group, fi.Mode().Perm())
		}
	}
	if group == "" {
		return "baton may not enter the folder of the socket: SupplementaryGroups=GROUP in its unit, with the folder's group"
	}
	return owner + "baton must be in that group: SupplementaryGroups=" + group + " in its unit"
}
