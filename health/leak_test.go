package health

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"baton/internal/service"
	"baton/internal/tlsclient"
	"baton/internal/trial"
)

// misbehaving are servers that do what none should.
var misbehaving = map[string]func(net.Conn){
	"closes": func(net.Conn) {},
	"resets": func(c net.Conn) {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
	},
	"silent":   func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
	"garbage":  func(c net.Conn) { _, _ = c.Write([]byte("\x00\xff\x15\x03\n\n")) },
	"for ever": func(c net.Conn) { _, _ = io.Copy(c, endless{}) },
	"head":     answers("HTTP/1.1 200 OK\r\nX: y"),
	"body":     answers("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
	"unasked":  answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOKHTTP/1.1 500 No\r\n\r\n"),
	"keeps":    answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"),
	"switches": answers("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
}

// answers is a server that says the same to each who asks, and goes on.
func answers(says string) func(net.Conn) {
	return func(c net.Conn) {
		for b := make([]byte, 4096); ; {
			if _, err := c.Read(b); err != nil {
				return
			}
			if _, err := io.WriteString(c, says); err != nil {
				return
			}
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, strings.Repeat("x\n", 2048)), nil }

// Whatever a server does, nothing is left of the runs but what is kept on purpose.
func TestProbes_LeaveNothing(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const runs = 4
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it closes what is forgotten
	files, routines := openFiles(t), runtime.NumGoroutine()
	kept := 0
	for _, serve := range misbehaving {
		socket := filepath.Join(trial.ShortDir(t), "s")
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		fake(t, l, serve)
		fakeAt(t, "unix", socket, serve)
		for _, p := range probesOf(t, l.Addr().String(), socket) {
			for range runs {
				probeIn(t, p, 20*time.Millisecond)
			}
			if h, ok := p.(*httpProbe); ok && h.kept != nil {
				kept++
				h.kept.Close()
			}
		}
	}
	listening := 2 * len(misbehaving)
	eventually(t, "all files are closed", func() bool { return openFiles(t) <= files+listening+1 }) // and the runtime's own, once
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= routines+listening })
	if kept == 0 {
		t.Error("no connection was kept: this test looks at nothing")
	}
}

// Who is asked when the time is over already answers at once, and asks nobody.
func TestProbes_TooLate(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	socket := filepath.Join(trial.ShortDir(t), "s")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	fake(t, l, misbehaving["keeps"])
	fakeAt(t, "unix", socket, misbehaving["keeps"])
	ended, end := context.WithCancel(t.Context())
	end()
	past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Hour))
	defer cancel()
	for name, p := range probesOf(t, l.Addr().String(), socket) {
		for _, ctx := range []context.Context{ended, past} {
			if a := p.Probe(ctx); a.OK || a.Text == "" {
				t.Errorf("%s: %+v", name, a)
			}
		}
	}
}

func probesOf(t *testing.T, address, socket string) map[string]Probe {
	t.Helper()
	all := map[string]Probe{
		"haproxy":   NewHAProxyProbe(socket, "b", 1),
		"container": NewServiceProbe(service.NewContainer(socket, "c"), "container c"),
		"ping":      NewPingProbe(Ping{Address: netip.MustParseAddr("127.0.0.1")}),
		"route":     NewRouteProbe(Presence{To: netip.MustParsePrefix("10.0.0.0/8")}),
	}
	skip := tlsclient.Options{Use: true, SkipVerify: true}
	for _, h := range []HTTP{{URL: "http://" + address}, {URL: "https://" + address, TLS: skip}, {URL: "http://h", Socket: socket}} {
		h.Statuses = ok200
		p, err := NewHTTPProbe(h)
		all[fmt.Sprint(h.URL, h.Socket)] = probeMust(t, p, err)
	}
	for _, d := range []Dialogue{{Network: "tcp", Address: address}, {Network: "tcp", Address: address, TLS: skip}, {Network: "unix", Address: socket}} {
		d.Steps = []Step{{"PING\r\n", "+PONG"}}
		p, err := NewDialogueProbe(d)
		all[fmt.Sprint(d.Network, d.TLS.Use)] = probeMust(t, p, err)
	}
	return all
}

// openFiles is how many files this process has open.
func openFiles(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(all)
}
