package health

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/tlsclient"
	"baton/internal/trial"
)

var ok200 = [][2]int{{200, 200}}

// fakeAPI answers as the path says.
func fakeAPI(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/ok":
		io.WriteString(w, "OK\n")
	case "/down":
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "Database down\nsince noon\x00")
	case "/html":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, "<html>\n<h1>502 Bad Gateway</h1>\nNo server is <b>available</b>.</html>")
	case "/moved":
		http.Redirect(w, r, "/ok", http.StatusFound)
	case "/elsewhere":
		http.Redirect(w, r, "/login?"+r.URL.RawQuery, http.StatusFound)
	case "/choices":
		w.WriteHeader(http.StatusMultipleChoices)
	case "/login":
		if user, password, _ := r.BasicAuth(); user != "baton" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="osc"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	case "/echo":
		fmt.Fprintf(w, "%s %s %s %s %s %q", r.Proto, r.Method, r.Host, r.UserAgent(), r.Header.Get("X-Token"), r.URL.RawQuery)
	case "/forever":
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	case "/interim":
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "OK")
	case "/big":
		io.WriteString(w, strings.Repeat("x", maxBody)+"end")
	case "/stalls":
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "abc")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case "/breaks":
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "abc")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case "/hangs":
		<-r.Context().Done()
	}
}

// serveHTTP serves fakeAPI, and counts the connections.
func serveHTTP(t testing.TB, l net.Listener) (connections *atomic.Int64) {
	connections = new(atomic.Int64)
	s := &http.Server{Handler: http.HandlerFunc(fakeAPI), ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
	return connections
}

func TestHTTP(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:5000")
	must(t, err)
	serveHTTP(t, l)
	socket := filepath.Join(trial.ShortDir(t), "s")
	l, err = net.Listen("unix", socket)
	must(t, err)
	serveHTTP(t, l)
	raw := func(port, says string) {
		fakeAt(t, "tcp", "127.0.0.1:"+port, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, says)
		})
	}
	raw("5001", "SSH-2.0-OpenSSH_9.2\r\n\r\n")
	raw("5002", "")
	raw("5003", "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", maxHeader)+"\r\n\r\n")
	raw("5004", "HTTP/1.1 200 OK\r\nX: y")
	raw("5005", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 20))
	raw("5006", "HTTP/1.0 200 "+strings.Repeat("\x1b", 500)+"\r\n\r\n")
	raw("5007", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1\r\nx\r\n", 3*maxBody)+"0\r\n\r\n")

	const at = "http://127.0.0.1:5000"
	tests := map[string]struct {
		http HTTP
		want Answer
	}{
		"ok":            {HTTP{URL: at + "/ok"}, Answer{OK: true, Text: "200 OK"}},
		"HEAD":          {HTTP{URL: at + "/ok", Method: "HEAD"}, Answer{OK: true, Text: "200 OK"}},
		"early hints":   {HTTP{URL: at + "/interim", Match: "^OK$"}, Answer{OK: true, Text: "200 OK"}},
		"down":          {HTTP{URL: at + "/down"}, Answer{Text: "GET http://127.0.0.1:5000/down: 503 Service Unavailable: Database down since noon."}},
		"HTML":          {HTTP{URL: at + "/html"}, Answer{Text: "GET http://127.0.0.1:5000/html: 502 Bad Gateway: 502 Bad Gateway No server is available ."}},
		"a range":       {HTTP{URL: at + "/choices", Statuses: [][2]int{{200, 200}, {204, 300}}}, Answer{OK: true, Text: "300 Multiple Choices"}},
		"beyond it":     {HTTP{URL: at + "/choices", Statuses: [][2]int{{200, 299}, {301, 399}}}, Answer{Text: "GET http://127.0.0.1:5000/choices: 300 Multiple Choices"}},
		"moved, wanted": {HTTP{URL: at + "/moved", Statuses: [][2]int{{302, 302}}}, Answer{OK: true, Text: "302 Found"}},
		"moved": {HTTP{URL: at + "/moved"}, Answer{
			Text: "GET http://127.0.0.1:5000/moved: 302 Found: to /ok", Hint: "redirects are not followed: ask the other URL, or accept the status"}},
		"token in it": {HTTP{URL: at + "/down?token=secret"}, Answer{
			Text: "GET http://127.0.0.1:5000/down?...: 503 Service Unavailable: Database down since noon."}},
		"moved, token": {HTTP{URL: at + "/elsewhere?token=secret"}, Answer{
			Text: "GET http://127.0.0.1:5000/elsewhere?...: 302 Found: to /login?...", Hint: "redirects are not followed: ask the other URL, or accept the status"}},
		"login":        {HTTP{URL: at + "/login", User: "baton", Password: "secret"}, Answer{OK: true, Text: "200 OK"}},
		"login in URL": {HTTP{URL: "http://baton:secret@127.0.0.1:5000/login"}, Answer{OK: true, Text: "200 OK"}},
		"wrong password": {HTTP{URL: "http://baton:other@127.0.0.1:5000/login"}, Answer{
			Text: `GET http://127.0.0.1:5000/login: 401 Unauthorized: Basic realm="osc"`, Hint: "user and password of the check"}},
		"what is sent": {HTTP{URL: at + "/echo?a=b#c", Method: "POST", Headers: map[string]string{"host": "api.example", "X-Token": "t"}, Match: `^HTTP/1\.1 POST api\.example baton t "a=b"$`},
			Answer{OK: true, Text: "200 OK"}},
		"own agent": {HTTP{URL: at + "/echo", Headers: map[string]string{"User-Agent": "me"}, Match: ` 127\.0\.0\.1:5000 me `}, Answer{OK: true, Text: "200 OK"}},
		"socket":    {HTTP{URL: "http://localhost/echo", Socket: socket, Match: "GET localhost baton"}, Answer{OK: true, Text: "200 OK"}},
		"no match": {HTTP{URL: at + "/ok", Match: "^Well"}, Answer{
			Text: `GET http://127.0.0.1:5000/ok: 200 OK, but the body does not match "^Well": OK`}},
		"empty, no match": {HTTP{URL: at + "/", Match: "x"}, Answer{Text: `GET http://127.0.0.1:5000/: 200 OK, but the body, which must match "x", is empty`}},
		"forever":         {HTTP{URL: at + "/forever"}, Answer{OK: true, Text: "200 OK"}},
		"forever, no match": {HTTP{URL: at + "/forever", Match: "x"}, Answer{
			Text: `GET http://127.0.0.1:5000/forever: 200 OK, but the first 64 KiB of the body do not match "x": ` + strings.Repeat(".", maxWords) + "..."}},
		"beyond 64 KiB": {HTTP{URL: at + "/big", Match: "e"}, Answer{
			Text: `GET http://127.0.0.1:5000/big: 200 OK, but the first 64 KiB of the body do not match "e": ` + strings.Repeat("x", maxWords) + "..."}},
		"stalls": {HTTP{URL: at + "/stalls"}, Answer{
			Text: "GET http://127.0.0.1:5000/stalls: 200 OK, but the body does not end: 3 bytes so far",
			Hint: "the service hangs in the middle of its answer, or sends a stream: ask another URL"}},
		"breaks": {HTTP{URL: at + "/breaks"}, Answer{
			Text: "GET http://127.0.0.1:5000/breaks: 200 OK, but the body breaks off after 3 bytes: unexpected EOF"}},
		"hangs": {HTTP{URL: at + "/hangs"}, Answer{
			Text: "GET http://127.0.0.1:5000/hangs: the server took the connection but does not answer", Hint: "the service hangs, or its host is overloaded"}},
		"no HTTP": {HTTP{URL: "http://127.0.0.1:5001/"}, Answer{
			Text: `GET http://127.0.0.1:5001/: the server does not answer in HTTP: malformed HTTP response "SSH-2.0-OpenSSH_9.2"`}},
		"closes": {HTTP{URL: "http://127.0.0.1:5002/"}, Answer{
			Text: "GET http://127.0.0.1:5002/: the server closed the connection without an answer", Hint: "it stops, or wants TLS: an https URL"}},
		"headers": {HTTP{URL: "http://127.0.0.1:5003/"}, Answer{Text: "GET http://127.0.0.1:5003/: the server sends headers of more than 64 KiB"}},
		"half of the headers": {HTTP{URL: "http://127.0.0.1:5004/"}, Answer{
			Text: "GET http://127.0.0.1:5004/: the server closed the connection within its headers", Hint: "it stops, or wants TLS: an https URL"}},
		"interim for ever": {HTTP{URL: "http://127.0.0.1:5005/"}, Answer{Text: "GET http://127.0.0.1:5005/: the server: more than 5 interim responses"}},
		"odd status":       {HTTP{URL: "http://127.0.0.1:5006/"}, Answer{OK: true, Text: "200 " + strings.Repeat(".", maxWords-4) + "..."}},
		"tiny chunks":      {HTTP{URL: "http://127.0.0.1:5007/"}, Answer{OK: true, Text: "200 OK"}},
		"refused": {HTTP{URL: "http://127.0.0.1:9/"}, Answer{
			Text: "connect 127.0.0.1:9: connection refused", Hint: "nothing listens there: does the service run, and on this address?"}},
		"no socket": {HTTP{URL: "http://localhost/", Socket: "/nonexistent/s"}, Answer{
			Text: "connect /nonexistent/s: no such file or directory", Hint: "the service does not run, or has its socket elsewhere"}},
		"no route": {HTTP{URL: "http://192.0.2.1/"}, Answer{Text: "connect 192.0.2.1:80: network is unreachable"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.http.Statuses == nil {
				tt.http.Statuses = ok200
			}
			within := time.Hour // longer than the test may take
			if name == "stalls" || name == "hangs" {
				within = 300 * time.Millisecond
			}
			p, err := NewHTTPProbe(tt.http)
			if got := probeIn(t, probeMust(t, p, err), within); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestHTTP_Wrong(t *testing.T) {
	tests := map[string]struct {
		http HTTP
		want string
	}{
		"scheme":        {HTTP{URL: "ftp://u:secret@h/"}, "URL ftp://u:xxxxx@h/: neither http nor https"},
		"no host":       {HTTP{URL: "http:///x"}, "URL http:///x: it has no host"},
		"no URL":        {HTTP{URL: "http://u:secret@h:x/"}, `parse URL: invalid port ":x" after host`},
		"method":        {HTTP{URL: "http://h/", Method: "A B"}, `net/http: invalid method "A B"`},
		"header":        {HTTP{URL: "http://h/", Headers: map[string]string{"A B": "c"}}, `header "A B": it or its value has characters that no header has`},
		"value":         {HTTP{URL: "http://h/", Headers: map[string]string{"A": "secret\r\nX: y"}}, `header "A": it or its value has characters that no header has`},
		"match":         {HTTP{URL: "http://h/", Match: "("}, "match: error parsing regexp: missing closing ): `(`"},
		"half a pair":   {HTTP{URL: "https://h/", TLS: tlsclient.Options{CertFile: "/c"}}, "cert_file and key_file go together"},
		"no error here": {HTTP{URL: "https://h/", TLS: tlsclient.Options{CAFile: "/nonexistent"}}, "<nil>"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.http.Statuses = ok200
			if _, err := NewHTTPProbe(tt.http); fmt.Sprint(err) != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// The connection is kept, and given up where it is of no use any more.
func TestHTTP_Keep(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:80")
	must(t, err)
	count := serveHTTP(t, l)
	expect := func(p Probe, ok bool, connections int64) {
		t.Helper()
		before := count.Load()
		if a := probeIn(t, p, time.Hour); a.OK != ok {
			t.Error(a)
		}
		if got := count.Load() - before; got != connections {
			t.Errorf("made %d connections, want %d", got, connections)
		}
	}
	newProbe := func(path string) *httpProbe {
		p, err := NewHTTPProbe(HTTP{URL: "http://127.0.0.1" + path, Statuses: ok200})
		return probeMust(t, p, err).(*httpProbe)
	}
	p := newProbe("/ok")
	expect(p, true, 1)
	expect(p, true, 0)
	expect(p, true, 0)
	now := time.Now()
	p.now = func() time.Time { return now.Add(maxKept) }
	expect(p, true, 1)

	p = newProbe("/down") // a failure does not end it
	expect(p, false, 1)
	expect(p, false, 0)

	p = newProbe("/forever") // what is not read to its end does
	expect(p, true, 1)
	expect(p, true, 1)

	// A run that is told to end does no harm to the next.
	p = newProbe("/ok")
	expect(p, true, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := p.Probe(ctx); a.OK {
		t.Error("it passes though it was told to end")
	}
	expect(p, true, 0) // nobody was asked over it
}

// A kept connection that has died is no failure: another one is tried.
func TestHTTP_Dead(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	drop := unix.SockFilter{Code: unix.BPF_RET} // nothing gets in: no acknowledgment gets out
	// What the server does with the first connection after it has answered once;
	// idle is called when the next run may begin.
	tests := map[string]func(c *net.TCPConn, r *bufio.Reader, idle func()){
		"closes idle": func(c *net.TCPConn, _ *bufio.Reader, idle func()) { c.Close(); idle() },
		"resets idle": func(c *net.TCPConn, _ *bufio.Reader, idle func()) { _ = c.SetLinger(0); c.Close(); idle() },
		"speaks unasked": func(c *net.TCPConn, r *bufio.Reader, idle func()) {
			_, _ = io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
			idle()
			_, _ = http.ReadRequest(r)
		},
		"closes when asked": func(_ *net.TCPConn, r *bufio.Reader, idle func()) { idle(); _, _ = http.ReadRequest(r) },
		"resets when asked": func(c *net.TCPConn, r *bufio.Reader, idle func()) {
			idle()
			_, _ = http.ReadRequest(r)
			_ = c.SetLinger(0)
		},
		"is gone": func(c *net.TCPConn, r *bufio.Reader, idle func()) {
			s, err := c.SyscallConn()
			must(t, err)
			must(t, s.Control(func(fd uintptr) {
				err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
			}))
			must(t, err)
			idle()
			_, _ = http.ReadRequest(r)
		},
	}
	port := 5000
	for name, later := range tests {
		port++
		t.Run(name, func(t *testing.T) {
			var connections atomic.Int64
			idle := make(chan struct{})
			fakeAt(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port), func(c net.Conn) {
				n, r := connections.Add(1), bufio.NewReader(c)
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				if n == 1 {
					later(c.(*net.TCPConn), r, func() { close(idle) })
				}
			})
			p, err := NewHTTPProbe(HTTP{URL: fmt.Sprintf("http://127.0.0.1:%d/", port), Statuses: ok200})
			probeMust(t, p, err)
			if a := probeIn(t, p, time.Second); !a.OK {
				t.Fatal(a)
			}
			<-idle
			if a := probeIn(t, p, time.Second); !a.OK {
				t.Error(a)
			}
			if n := connections.Load(); n != 2 {
				t.Errorf("%d connections", n)
			}
		})
	}
}
