package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

const (
	// askLimit bounds a request that the daemon answers from its memory.
	askLimit = 10 * time.Second
	// maxAnswer bounds what is read of an answer; a status with 4096 routers has
	// about 2 MiB.
	maxAnswer = 32 << 20
)

// Client asks the daemon of a runtime directory. Its errors are ErrNotRunning,
// an *Error with what the daemon said, or tell how the socket failed.
type Client struct {
	path string
	http *http.Client
}

// Dial returns a client of the daemon of that runtime directory. It connects at
// each request, and holds nothing between them.
func Dial(runtimeDir string) *Client {
	path := SocketPath(runtimeDir)
	return newClient(path, func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	})
}

func newClient(path string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Client {
	return &Client{path: path, http: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DialContext: dial},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Status returns the newest snapshot.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var s Status
	if err := c.ask(ctx, http.MethodGet, "/v1/status", nil, &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// Checks returns all checks of the node, by name.
func (c *Client) Checks(ctx context.Context) ([]Check, error) {
	var all []Check
	err := c.ask(ctx, http.MethodGet, "/v1/checks", nil, &all)
	return all, err
}

// RunCheck runs a check now and returns what is known after it. It takes up to
// the check's timeout.
func (c *Client) RunCheck(ctx context.Context, name string) (Check, error) {
	var check Check
	err := c.do(ctx, http.MethodPost, "/v1/checks/"+escape(name)+"/run", nil, &check)
	return check, err
}

// ForceCheck sets the verdict of a check, pass or fail, for ShortestForce to
// LongestForce. The reason is one line of at most 200 bytes.
func (c *Client) ForceCheck(ctx context.Context, name, verdict string, d time.Duration, reason string) (Check, error) {
	var check Check
	err := c.ask(ctx, http.MethodPost, "/v1/checks/"+escape(name)+"/force", force{verdict, d, reason}, &check)
	return check, err
}

// ReleaseCheck ends what ForceCheck has set.
func (c *Client) ReleaseCheck(ctx context.Context, name string) (Check, error) {
	return c.ForceCheck(ctx, name, "", 0, "")
}

// Wait waits until a router is what is wanted, and returns it. Only ctx bounds
// the wait.
func (c *Client) Wait(ctx context.Context, want Wait) (Router, error) {
	q := url.Values{"router": {want.Router}, "state": {strings.Join(want.States, ",")}}
	if want.Ready {
		q.Set("ready", "true")
	}
	var r Router
	err := c.do(ctx, http.MethodGet, "/v1/wait?"+q.Encode(), nil, &r)
	return r, err
}

// escape makes a name one segment of a path, whatever it is.
func escape(name string) string {
	if strings.Trim(name, ".") == "" {
		return strings.ReplaceAll(name, ".", "%2E") // or it would be cleaned away
	}
	return url.PathEscape(name)
}

// ask is do for what the daemon answers at once.
func (c *Client) ask(ctx context.Context, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, askLimit, fmt.Errorf("the daemon does not answer within %s", askLimit))
	defer cancel()
	return c.do(ctx, method, path, body, into)
}

// do sends one request and decodes its answer.
func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("write the request as JSON: %w", err)
		}
		sent = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://baton"+path, sent)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.http.Do(r)
	if err != nil {
		return c.explain(ctx, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return c.explain(ctx, err)
	}
	if answer.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("read the answer of the daemon: %w", err)
		}
		return nil
	}
	var said Error
	if json.Unmarshal(text, &said) != nil || said.Text == "" {
		return fmt.Errorf("the daemon answered %s: is it of another version?", answer.Status)
	}
	return &said
}

// explain says in words why a request got no answer.
func (c *Client) explain(ctx context.Context, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var errno syscall.Errno
	if errors.As(err, &errno) { // what stands around it is said by us
		err = errno
	}
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: connect %s: %w", ErrNotRunning, c.path, err)
	case ctx.Err() != nil:
		return fmt.Errorf("ask on %s: %w", c.path, context.Cause(ctx))
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("connect %s: %w: %s", c.path, err, whoMay(c.path))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Errorf(Unavailable, "the daemon broke off: it ended, or its log says why")
	}
	return fmt.Errorf("ask on %s: %w", c.path, err)
}
