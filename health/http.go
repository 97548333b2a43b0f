package health

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/sys/unix"

	"baton/internal/tlsclient"
)

const (
	// maxHeader bounds a status line and the headers after it.
	maxHeader = 64 << 10
	// maxBody bounds what is read of a body, to match it and to keep the connection.
	maxBody = 64 << 10
	// maxKept is how long a connection is used again. A server that takes no new
	// ones, or whose certificate has expired, is found out after so long at most.
	maxKept = 10 * time.Second
	// maxInterim is how many 1xx responses may come before the final one.
	maxInterim = 5
)

// HTTP is a request, and what its answer must be.
type HTTP struct {
	URL      string            // http or https
	Socket   string            // a Unix socket to send it to; empty: where URL says
	Method   string            // GET, HEAD, ...
	Headers  map[string]string // Host among them
	User     string            // of basic authentication; empty: none
	Password string            // secret
	Statuses [][2]int          // ranges of accepted statuses, both ends included; at least one
	Match    string            // a regular expression that the body must match; empty: any body
	TLS      tlsclient.Options
}

// NewHTTPProbe asks a server by a request of HTTP/1.1. It passes when the status
// is accepted, the response is complete, or longer than 64 KiB, and the first
// 64 KiB of its body match. Redirects are not followed, proxies not used. The
// connection is kept between runs, for at most 10 s.
func NewHTTPProbe(h HTTP) (Probe, error) {
	u, err := url.Parse(h.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("parse URL: %w", errors.Unwrap(err)) // without the URL: it may have a password
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("URL %s: neither http nor https", u.Redacted())
	case u.Hostname() == "":
		return nil, fmt.Errorf("URL %s: it has no host", u.Redacted())
	}
	if h.Method == "" {
		h.Method = http.MethodGet
	}
	user := u.User
	u.User, u.Fragment = nil, ""
	p := &httpProbe{name: h.Method + " " + withoutQuery(u.String()), statuses: h.Statuses, now: time.Now}
	if p.request, err = http.NewRequest(h.Method, u.String(), nil); err != nil {
		return nil, err
	}
	p.request.Header.Set("User-Agent", "baton")
	if h.User != "" {
		user = url.UserPassword(h.User, h.Password)
	}
	if password, _ := user.Password(); user != nil {
		p.request.SetBasicAuth(user.Username(), password)
	}
	for name, value := range h.Headers {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("header %q: it or its value has characters that no header has", name)
		}
		if p.request.Header.Set(name, value); strings.EqualFold(name, "Host") {
			p.request.Host = value
		}
	}
	var b bytes.Buffer // the same at each run
	if err := p.request.Write(&b); err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	p.bytes = b.Bytes()
	if h.Match != "" {
		if p.match, err = regexp.Compile(h.Match); err != nil {
			return nil, fmt.Errorf("match: %w", err)
		}
	}
	network, address, port := "tcp", h.Socket, u.Port()
	var secure *tlsClient
	if u.Scheme == "https" {
		if secure, err = newTLSClient(h.TLS, u.Hostname(), "http/1.1"); err != nil {
			return nil, err
		}
	}
	switch {
	case address != "":
		network = "unix"
	case port == "" && secure != nil:
		address = net.JoinHostPort(u.Hostname(), "443")
	case port == "":
		address = net.JoinHostPort(u.Hostname(), "80")
	default:
		address = net.JoinHostPort(u.Hostname(), port)
	}
	p.endpoint = newEndpoint(network, address, secure)
	return p, nil
}

// withoutQuery is a URL as texts show it: a query may have a token in it.
func withoutQuery(url string) string {
	if before, _, cut := strings.Cut(url, "?"); cut {
		return before + "?..."
	}
	return url
}

type httpProbe struct {
	endpoint
	name     string // of the request, for texts
	request  *http.Request
	bytes    []byte // the request as sent
	statuses [][2]int
	match    *regexp.Regexp
	now      func() time.Time

	mu   sync.Mutex
	kept *httpConn
}

// httpConn is a connection, idle or within an exchange.
type httpConn struct {
	net.Conn
	socket syscall.RawConn // beneath TLS
	since  time.Time
	config *tls.Config // as it was made with
	left   io.LimitedReader
	r      *bufio.Reader
}

func (p *httpProbe) Probe(ctx context.Context) Answer {
	ctx, cancel := inTime(ctx)
	defer cancel()
	if ctx.Err() == nil { // else nobody is asked: to connect fails
		if c := p.take(); c != nil {
			if a, ok := p.ask(ctx, c); ok {
				return a
			}
		}
	}
	conn, a := p.connect(ctx)
	if conn == nil {
		return a
	}
	a, _ = p.ask(ctx, p.newConn(ctx, conn))
	return a
}

// newConn makes conn ready for exchanges.
func (p *httpProbe) newConn(ctx context.Context, conn net.Conn) *httpConn {
	c := &httpConn{Conn: conn, since: p.now()}
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
		c.config, _ = p.tls.Config()
	}
	if s, ok := conn.(syscall.Conn); ok {
		c.socket, _ = s.SyscallConn()
	}
	deadline, ok := ctx.Deadline()
	if p.network == "tcp" && ok && c.socket != nil {
		// A peer that has gone without a word is found out in time to connect
		// anew; one that is slow still acknowledges.
		_ = c.socket.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(time.Until(deadline)/2/time.Millisecond))
		})
	}
	c.left.R = c.Conn
	c.r = bufio.NewReader(&c.left)
	return c
}

// take returns the kept connection, if it is still good.
func (p *httpProbe) take() *httpConn {
	p.mu.Lock()
	c := p.kept
	p.kept = nil
	p.mu.Unlock()
	if c == nil {
		return nil
	}
	good := p.now().Sub(c.since) < maxKept && c.quiet()
	if good && p.tls != nil {
		config, err := p.tls.Config()
		good = err == nil && config == c.config
	}
	if !good {
		c.Close()
		return nil
	}
	return c
}

// quiet tells whether the server has neither closed the connection nor said
// something on it unasked, which would be taken for the answer.
func (c *httpConn) quiet() bool {
	if c.socket == nil || c.r.Buffered() > 0 {
		return false
	}
	var err error
	failed := c.socket.Control(func(fd uintptr) {
		_, _, err = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return failed == nil && errors.Is(err, unix.EAGAIN)
}

// keep puts the connection away for the next run.
func (p *httpProbe) keep(c *httpConn) {
	p.mu.Lock()
	c, p.kept = p.kept, c
	p.mu.Unlock()
	if c != nil { // of a run beside this one
		c.Close()
	}
}

// ask has one exchange. Not ok: the connection was dead before anything came of
// an answer, and a new one should be tried.
func (p *httpProbe) ask(ctx context.Context, c *httpConn) (a Answer, ok bool) {
	free := bound(ctx, c)
	keep := false
	defer func() {
		if free() && keep {
			p.keep(c)
		} else {
			c.Close()
		}
	}()
	c.left.N = maxHeader
	if _, err := c.Write(p.bytes); err != nil {
		return p.broken(c, err), timedOut(err) || ctx.Err() != nil
	}
	response, err := p.response(c)
	if err != nil {
		return p.broken(c, err), timedOut(err) || ctx.Err() != nil || c.left.N < maxHeader
	}
	// Body.Close would read a body to its end, which may never come; what is left
	// of one ends with the connection.
	c.left.N = math.MaxInt64 // the body has its own bound
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	keep = err == nil && len(body) <= maxBody && !response.Close && response.StatusCode != http.StatusSwitchingProtocols
	return p.judge(response, body, err), true
}

// response reads the final response's head.
func (p *httpProbe) response(c *httpConn) (*http.Response, error) {
	for range maxInterim + 1 {
		r, err := http.ReadResponse(c.r, p.request)
		if err != nil || r.StatusCode >= 200 || r.StatusCode == http.StatusSwitchingProtocols {
			return r, err
		}
	}
	return nil, fmt.Errorf("more than %d interim responses", maxInterim)
}

// judge draws the verdict from a response, of which no more was read than counts.
func (p *httpProbe) judge(r *http.Response, body []byte, err error) Answer {
	status, more := words(r.Status), len(body) > maxBody
	if more {
		body = body[:maxBody]
	}
	accepted := false
	for _, s := range p.statuses {
		accepted = accepted || s[0] <= r.StatusCode && r.StatusCode <= s[1]
	}
	if !accepted {
		a := Answer{Text: p.name + ": " + status}
		if to := r.Header.Get("Location"); to != "" {
			a.Text += ": to " + words(withoutQuery(to))
			a.Hint = "redirects are not followed: ask the other URL, or accept the status"
			return a
		}
		switch said := bodyWords(r, body); {
		case said != "":
			a.Text += ": " + said
		case r.StatusCode == http.StatusUnauthorized:
			a.Text += ": " + words(r.Header.Get("Www-Authenticate"))
		}
		if r.StatusCode == http.StatusUnauthorized {
			a.Hint = "user and password of the check"
		}
		return a
	}
	switch {
	case err != nil && timedOut(err):
		return Answer{
			Text: fmt.Sprintf("%s: %s, but the body does not end: %d bytes so far", p.name, status, len(body)),
			Hint: "the service hangs in the middle of its answer, or sends a stream: ask another URL",
		}
	case err != nil:
		return Answer{Text: fmt.Sprintf("%s: %s, but the body breaks off after %d bytes: %v", p.name, status, len(body), plain(err))}
	case p.match == nil || p.match.Match(body):
		return Answer{OK: true, Text: status}
	case more:
		return Answer{Text: fmt.Sprintf("%s: %s, but the first %d KiB of the body do not match %q: %s", p.name, status, maxBody>>10, p.match, bodyWords(r, body))}
	case len(body) == 0:
		return Answer{Text: fmt.Sprintf("%s: %s, but the body, which must match %q, is empty", p.name, status, p.match)}
	}
	return Answer{Text: fmt.Sprintf("%s: %s, but the body does not match %q: %s", p.name, status, p.match, bodyWords(r, body))}
}

// broken is the failure of an exchange without a response.
func (p *httpProbe) broken(c *httpConn, err error) Answer {
	where := p.name + ": the server"
	switch {
	case timedOut(err):
		return p.silent(where)
	case c.left.N <= 0:
		return Answer{Text: fmt.Sprintf("%s sends headers of more than %d KiB", where, maxHeader>>10)}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if c.left.N < maxHeader {
			return Answer{Text: where + " closed the connection within its headers", Hint: "it stops, or wants TLS: an https URL"}
		}
		return Answer{Text: where + " closed the connection without an answer", Hint: "it stops, or wants TLS: an https URL"}
	case tlsHint(err) != "":
		return Answer{Text: fmt.Sprintf("%s: %v", where, plain(err)), Hint: tlsHint(err)}
	case strings.HasPrefix(err.Error(), "malformed HTTP"): // net/http has no type for it
		return Answer{Text: where + " does not answer in HTTP: " + words(err.Error())}
	}
	return Answer{Text: fmt.Sprintf("%s: %v", where, plain(err))}
}

// bodyWords are the first words of a body, without tags where it is HTML.
func bodyWords(r *http.Response, body []byte) string {
	text := string(body[:min(len(body), 4<<10)])
	if !strings.Contains(r.Header.Get("Content-Type"), "html") {
		return words(text)
	}
	var b strings.Builder
	for part := range strings.SplitSeq(text, "<") {
		if _, after, ok := strings.Cut(part, ">"); ok {
			part = after
		}
		b.WriteString(part + " ")
	}
	return words(b.String())
}
