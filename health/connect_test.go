package health

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/service"
)

func TestWords(t *testing.T) {
	tests := map[string]string{
		"":                                    "",
		" \n\t ":                              "",
		"\n Database  down\r\n!":              "Database down !",
		"a\x00\x1b[2J\xffb":                   "a..[2J.b",
		"größer":                              "größer",
		strings.Repeat("x", maxWords):         strings.Repeat("x", maxWords),
		strings.Repeat("x", maxWords) + "\n":  strings.Repeat("x", maxWords),
		strings.Repeat("x", maxWords) + "\ny": strings.Repeat("x", maxWords) + "...",
		strings.Repeat("ä", maxWords+1):       strings.Repeat("ä", maxWords) + "...",
	}
	for said, want := range tests {
		if got := words(said); got != want {
			t.Errorf("%q: got %q, want %q", said, got, want)
		}
	}
}

func TestUnreachable(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	deadline, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, late := (&net.Dialer{}).DialContext(deadline, "unix", "/nonexistent/s")
	tests := map[string]struct {
		network string
		err     error
		want    Answer
	}{
		"timeout":   {"tcp", late, Answer{Text: "connect W: timeout", Hint: "its host is down, or a firewall drops the packets"}},
		"kernel's":  {"tcp", dial(syscall.ETIMEDOUT), Answer{Text: "connect W: connection timed out"}},
		"host":      {"tcp", dial(syscall.EHOSTUNREACH), Answer{Text: "connect W: no route to host"}},
		"firewall":  {"tcp", dial(syscall.EPERM), Answer{Text: "connect W: operation not permitted", Hint: "a firewall of this host forbids it"}},
		"ports":     {"tcp", dial(syscall.EADDRNOTAVAIL), Answer{Text: "connect W: cannot assign requested address", Hint: "this host has no local port left, or not the address to connect from"}},
		"queue":     {"unix", dial(syscall.EAGAIN), Answer{Text: "connect W: resource temporarily unavailable", Hint: "its queue of connections is full: the service hangs"}},
		"no name":   {"tcp", dial(&net.DNSError{Name: "db", Err: "no such host", IsNotFound: true}), Answer{Text: "resolve db: no such host", Hint: "write an address, or put the name into /etc/hosts"}},
		"no server": {"tcp", dial(&net.DNSError{Name: "db", Err: "i/o timeout", IsTimeout: true}), Answer{Text: "resolve db: no answer in time from the name server", Hint: "write an address, or put the name into /etc/hosts"}},
		"told":      {"tcp", dial(context.Canceled), Answer{Text: "connect W: context canceled"}},
		"another":   {"tcp", dial(errors.New("no suitable address")), Answer{Text: "connect W: no suitable address"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(tt.network, "W", nil)
			if got := e.unreachable(tt.err); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// A probe has something to say before it is out of time.
func TestInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for within, want := range map[time.Duration]time.Duration{
			50 * time.Millisecond: 45 * time.Millisecond,
			time.Second:           900 * time.Millisecond,
			10 * time.Second:      9900 * time.Millisecond,
			-time.Second:          0,
		} {
			outer, cancel := context.WithTimeout(t.Context(), within)
			ctx, end := inTime(outer)
			deadline, _ := ctx.Deadline()
			if got := time.Until(deadline); within > 0 && got != want || within <= 0 && ctx.Err() == nil {
				t.Errorf("%v: %v", within, got)
			}
			end()
			cancel()
		}
		ctx, end := inTime(t.Context())
		defer end()
		if _, ok := ctx.Deadline(); ok {
			t.Error("a deadline out of nothing")
		}
	})
}

// A probe that waits in vain says for what, before the scheduler can only say that
// there was no answer.
func TestScheduler_SilentServers(t *testing.T) {
	socket := filepath.Join(shortDir(t), "s")
	fakeAt(t, "unix", socket, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	web, err := NewHTTPProbe(HTTP{URL: "http://h/", Socket: socket, Statuses: ok200})
	must(t, err)
	redis, err := NewDialogueProbe(Dialogue{Network: "unix", Address: socket, Steps: []Step{{"PING\r\n", "+PONG"}}})
	must(t, err)
	want := map[string]string{
		"haproxy": socket + " took the connection but does not answer",
		"http":    "GET http://h/: the server took the connection but does not answer",
		"unix":    socket + " took the connection but does not answer",
		"unit":    "unit u: systemd does not answer",
	}
	probes := map[string]Probe{"haproxy": NewHAProxyProbe(socket, "", 0), "http": web, "unix": redis, "unit": NewServiceProbe(silent{}, "unit u")}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var checks []Check
	for name, p := range probes {
		checks = append(checks, Check{Name: name, Interval: 300 * time.Millisecond, Probe: p})
	}
	got := map[string]string{}
	s := NewScheduler(checks, slog.New(slog.DiscardHandler), func(c Change) {
		if got[c.Check] = c.Text; len(got) == len(checks) {
			cancel()
		}
	})
	must(t, s.Run(ctx))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// silent is a service whose manager does not answer.
type silent struct{ standIn }

func (silent) Status(ctx context.Context) service.Status {
	<-ctx.Done()
	return service.Status{Text: "systemd does not answer"}
}
