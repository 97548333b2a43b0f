package health

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

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

// Each probe gives up a little before its time is over, and so can say what it
// waited for: the scheduler can only say that there was no answer.
func TestProbes_InTime(t *testing.T) {
	web, err := NewHTTPProbe(HTTP{URL: "http://h/", Socket: "/nonexistent/s", Statuses: ok200})
	must(t, err)
	redis, err := NewDialogueProbe(Dialogue{Network: "unix", Address: "/nonexistent/s"})
	must(t, err)
	haproxy := NewHAProxyProbe("/nonexistent/s", "", 0)
	var asked time.Time // until when
	note := func(ctx context.Context) { asked, _ = ctx.Deadline() }
	for _, d := range []*net.Dialer{&web.(*httpProbe).dialer, &redis.(*dialogueProbe).dialer, &haproxy.(*haproxyProbe).dialer} {
		d.ControlContext = func(ctx context.Context, _, _ string, _ syscall.RawConn) error { note(ctx); return nil }
	}
	for name, p := range map[string]Probe{"http": web, "unix": redis, "haproxy": haproxy, "unit": NewServiceProbe(asking{note: note}, "unit u")} {
		end := time.Now().Add(time.Minute)
		ctx, cancel := context.WithDeadline(t.Context(), end)
		asked = time.Time{}
		p.Probe(ctx)
		cancel()
		if early := end.Sub(asked); early != 100*time.Millisecond {
			t.Errorf("%s: gives up %v before its time is over", name, early)
		}
	}
}

// asking is a service that tells how it is asked.
type asking struct {
	standIn
	note func(context.Context)
}

func (a asking) Status(ctx context.Context) service.Status {
	a.note(ctx)
	return service.Status{}
}
