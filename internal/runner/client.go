package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/command"
)

const (
	// DefaultSocket is where the runner of the package listens.
	DefaultSocket = "/run/baton-runner.sock"

	// helloLimit bounds the wait for a runner's first word, so that one that hangs is
	// noticed long before the time of a start is over.
	helloLimit = 2 * time.Second
	// absence is how long a runner may be away, while it is started anew, at most half
	// the time of the request.
	absence = time.Second
	// dialPause is between two attempts to connect.
	dialPause = 20 * time.Millisecond
	// margin is how long after its end a command's result may come.
	margin = 2 * time.Second
	// firstRetry and lastRetry are how long after its loss a watch is taken up again.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Client asks a runner. Its methods may be called from any goroutine.
type Client struct {
	socket string // its path; an abstract one begins with @
	mend   string // what an administrator can do about a runner that is not there
	log    *slog.Logger
	owner  uint32 // who the runner must be: root, but in a test

	mu     sync.Mutex
	conns  map[*net.UnixConn]struct{}
	closed bool
	away   error // why the runner could not be asked the last time; nil: it could
}

// NewClient returns a client of the runner that listens at a path. mend is the end
// of each error about a runner that is not there. Nothing is connected: each
// request is a connection. The caller closes it.
func NewClient(socket, mend string, log *slog.Logger) *Client {
	return &Client{socket: socket, mend: mend, log: log, conns: map[*net.UnixConn]struct{}{}}
}

// Close ends all connections. It ends no command.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.conns {
		conn.Close()
	}
}

// Away is why the runner could not be asked the last time; nil where it could, or
// was not asked yet.
func (c *Client) Away() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away
}

// Run is command.Runner.Run in the other process. Where nobody can tell how a
// command ended, since the runner has ended, it has failed.
func (c *Client) Run(ctx context.Context, s command.Spec) command.Result {
	began := time.Now()
	if len(s.Argv) == 0 {
		return command.Result{Err: errors.New("no command")}
	}
	if u := s.User; u != nil && u.Name == "" && u.UID == 0 {
		return command.Result{Err: command.ErrNameless}
	}
	if s.Timeout <= 0 {
		return command.Result{Err: fmt.Errorf("run %s: no timeout", s.Argv[0])}
	}
	res := c.run(ctx, s, began)
	res.Took = time.Since(began)
	return res
}

func (c *Client) run(ctx context.Context, s command.Spec, began time.Time) command.Result {
	fail := func(err error) command.Result {
		return command.Result{Err: fmt.Errorf("run %s: %w", s.Argv[0], err)}
	}
	end := began.Add(min(s.Timeout, longestTimeout))
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	r := request{Kind: runCommand, Argv: raw(s.Argv), Env: raw(s.Env), Dir: s.Dir, Kill: s.Kill}
	if s.User != nil {
		r.User = s.User.String()
	}
	conn, err := c.connect(ctx, end)
	if err == nil {
		// What the way has taken is part of it: both ends are done at the same time.
		r.Timeout = max(time.Until(end), time.Millisecond).Round(time.Millisecond)
		err = c.send(conn, r)
	}
	if err != nil {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			err = context.Cause(ctx)
		}
		return fail(err)
	}
	left := false
	defer func() {
		if !left {
			c.drop(conn)
		}
	}()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) { // at its deadline the runner ends it by itself
			c.cancel(conn)
			_ = conn.SetReadDeadline(time.Now().Add(s.Kill + margin))
		}
	})()
	_ = conn.SetReadDeadline(end.Add(s.Kill + margin))
	if errors.Is(ctx.Err(), context.Canceled) {
		_ = conn.SetReadDeadline(time.Now().Add(s.Kill + margin))
	}
	var a answer
	if err := read(conn, &a); err != nil {
		if !isTimeout(err) {
			return fail(c.lost(err))
		}
		left = true // whatever it does: nothing is run beside it
		res := fail(fmt.Errorf("the runner hangs, and does not say how it ended: %s", c.mend))
		res.Left = c.gone(conn)
		return res
	}
	if a.Result == nil {
		return fail(a.err())
	}
	res := command.Result{
		TimedOut: a.Result.TimedOut, Timeout: a.Result.Timeout, Exit: a.Result.Exit, Signal: a.Result.Signal, Output: a.Result.Output,
		Err: a.err(),
	}
	switch {
	case res.TimedOut:
		res.Timeout = min(s.Timeout, end.Sub(began)).Round(time.Millisecond)
	case res.Err != nil && errors.Is(ctx.Err(), context.Canceled):
		res.Err = fmt.Errorf("run %s: %w", s.Argv[0], context.Cause(ctx))
	}
	if a.Result.Left {
		left = true
		res.Left = c.gone(conn)
	}
	return res
}

// gone is closed when the runner says that a process is gone, or is gone itself.
func (c *Client) gone(conn *net.UnixConn) <-chan struct{} {
	gone := make(chan struct{})
	_ = conn.SetReadDeadline(time.Time{})
	go func() {
		defer close(gone)
		defer c.drop(conn)
		var a answer
		for read(conn, &a) == nil && a.Result != nil && a.Result.Left { // a late result, and then the end
			a = answer{}
		}
	}()
	return gone
}

// lost words the loss of a connection in the middle of a request.
func (c *Client) lost(err error) error {
	if isEnd(err) {
		return fmt.Errorf("the runner has ended, and nobody knows whether it was done: %s", c.mend)
	}
	return fmt.Errorf("the runner's answer: %w", err)
}

// connect connects and listens to the runner's first word, until end. A runner that
// is not there is waited for, for a while.
func (c *Client) connect(ctx context.Context, end time.Time) (*net.UnixConn, error) {
	began := time.Now()
	until := began.Add(min(absence, end.Sub(began)/2))
	for {
		conn, err := c.attempt(end)
		var away *absent
		if err == nil || !errors.As(err, &away) || time.Now().Add(dialPause).After(until) {
			c.note(err)
			return conn, err
		}
		select {
		case <-time.After(dialPause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// absent is the error of a runner that is not there, so that nothing was done.
type absent struct{ err error }

func (e *absent) Error() string { return e.err.Error() }
func (e *absent) Unwrap() error { return e.err }

// attempt connects once. To connect to a Unix socket never blocks.
func (c *Client) attempt(end time.Time) (*net.UnixConn, error) {
	limit := time.Now().Add(helloLimit)
	if end.Before(limit) {
		limit = end
	}
	raw, err := (&net.Dialer{Deadline: limit}).Dial("unix", c.socket)
	if err != nil {
		return nil, &absent{fmt.Errorf("the runner is not there (connect %s: %w): %s", c.socket, bare(err), c.mend)}
	}
	conn := raw.(*net.UnixConn)
	if !c.hold(conn) {
		conn.Close()
		return nil, errors.New("baton is shutting down")
	}
	if err = c.greet(conn, limit); err != nil {
		c.drop(conn)
		return nil, err
	}
	return conn, nil
}

func (c *Client) greet(conn *net.UnixConn, limit time.Time) error {
	cred, err := credentials(conn)
	if err != nil {
		return fmt.Errorf("who is the runner at %s: %w", c.socket, err)
	}
	if cred.Uid != c.owner {
		return fmt.Errorf("at %s listens user %d, and the runner is root: somebody else has taken its place", c.socket, cred.Uid)
	}
	_ = conn.SetDeadline(limit)
	var h hello
	switch err := read(conn, &h); {
	case err == nil:
	case isTimeout(err):
		return fmt.Errorf("the runner does not answer: %s", c.mend)
	case isEnd(err):
		return &absent{fmt.Errorf("the runner is not there (%s: it has closed the connection): %s", c.socket, c.mend)}
	default:
		return fmt.Errorf("the runner's first word: %w", err)
	}
	switch {
	case h.Version != Version:
		return fmt.Errorf("the runner is of another release of baton (it speaks version %d, this baton %d): systemctl restart baton-runner", h.Version, Version)
	case h.Refused != "":
		return fmt.Errorf("the runner refuses this baton: %s", h.Refused)
	}
	return nil
}

// send sends a request.
func (c *Client) send(conn *net.UnixConn, r request) error {
	_ = conn.SetWriteDeadline(time.Now().Add(talkLimit))
	err := write(conn, r)
	if err != nil {
		c.drop(conn)
		if isEnd(err) || isTimeout(err) {
			err = c.lost(io.EOF)
		}
	}
	return err
}

// cancel asks the runner to end what it does for a request.
func (c *Client) cancel(conn *net.UnixConn) {
	_ = conn.SetWriteDeadline(time.Now().Add(talkLimit))
	_ = write(conn, request{Kind: cancelCommand}) // a runner that is gone does nothing any more
}

func (c *Client) hold(conn *net.UnixConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.conns[conn] = struct{}{}
	}
	return !c.closed
}

func (c *Client) drop(conn *net.UnixConn) {
	conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

// followEvery is how often a client looks whether its runner is there.
const followEvery = 5 * time.Second

// Follow looks now and then whether the runner is there, until ctx ends, so that its
// loss is known before a hook needs it.
func (c *Client) Follow(ctx context.Context) error {
	for {
		if conn, err := c.connect(ctx, time.Now().Add(2*absence)); err == nil {
			c.drop(conn)
		}
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

// note logs when the runner goes, and when it is back.
func (c *Client) note(err error) {
	c.mu.Lock()
	before := c.away
	c.away = err
	c.mu.Unlock()
	switch {
	case err != nil && before == nil:
		c.log.Error("the runner cannot be asked: hooks, services and checks of other users fail", "err", err)
	case err == nil && before != nil:
		c.log.Info("the runner can be asked again")
	}
}

// ask makes a request that has one answer.
func (c *Client) ask(ctx context.Context, r request) (answer, error) {
	var a answer
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(longestTimeout)
	}
	conn, err := c.connect(ctx, end)
	if err != nil {
		return a, err
	}
	r.Timeout = min(max(time.Until(end), time.Millisecond), longestTimeout)
	if err := c.send(conn, r); err != nil {
		return a, err
	}
	defer c.drop(conn)
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			c.cancel(conn)
		}
		// As each service does, it returns within a second of the end.
		_ = conn.SetReadDeadline(time.Now().Add(900 * time.Millisecond))
	})()
	_ = conn.SetReadDeadline(end.Add(margin))
	if err := read(conn, &a); err != nil {
		switch {
		case isTimeout(err) && ctx.Err() != nil:
			return a, fmt.Errorf("the runner has not answered: %w", ctx.Err())
		case isTimeout(err):
			return a, fmt.Errorf("the runner hangs: %s", c.mend)
		}
		return a, c.lost(err)
	}
	return a, a.err()
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// isEnd tells that the other end has closed the connection, or was closed here.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET)
}

// bare is an error without what the net package puts around it.
func bare(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no
	}
	return err
}
