package control

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"baton/internal/trial"
)

// from connects from an address of this host.
func from(t *testing.T, source, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 5 * time.Second}
	c, err := d.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// asks sends a request, and returns the first line of the answer.
func asks(c net.Conn, request string) (string, error) {
	if _, err := io.WriteString(c, request); err != nil {
		return "", err
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

const healthz = "GET /healthz HTTP/1.1\r\nHost: baton\r\n\r\n"

// Whoever holds connections without asking makes room for those who ask.
func TestListener_SlowVisitorsMakeRoom(t *testing.T) {
	_, url := listening(t, full(), ListenOptions{})
	to := strings.TrimPrefix(url, "http://")
	var slow []net.Conn
	for i := range 2 * maxVisitors { // fewer of each source than it may have
		c := from(t, fmt.Sprintf("127.0.1.%d", 1+i%8), to)
		if _, err := io.WriteString(c, "GET /heal"); err != nil {
			continue // it has been closed
		}
		slow = append(slow, c)
	}
	for range 10 {
		if line, err := asks(from(t, "127.0.0.2", to), healthz); !strings.Contains(line, "200") {
			t.Fatalf("beside %d slow connections: %q, %v", len(slow), line, err)
		}
	}
	open := 0
	for _, c := range slow {
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err != nil && isTimeout(err) {
			open++
		}
	}
	if open > maxVisitors {
		t.Errorf("%d connections are open, at most %d are", open, maxVisitors)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// One source has its share, and others are answered beside it.
func TestListener_OneSourceIsBounded(t *testing.T) {
	_, url := listening(t, full(), ListenOptions{})
	to := strings.TrimPrefix(url, "http://")
	refused := 0
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}, Timeout: 5 * time.Second}
	for range 3 * visitorBurst {
		c, err := d.Dial("tcp", to)
		if err != nil {
			refused++ // it was closed before this end had heard that it is open
			continue
		}
		if line, _ := asks(c, healthz); !strings.Contains(line, "200") {
			refused++
		}
		c.Close()
	}
	if refused == 0 {
		t.Error("a source that asks as fast as it can is never refused")
	}
	if line, err := asks(from(t, "127.0.0.4", to), healthz); !strings.Contains(line, "200") {
		t.Errorf("another source: %q, %v", line, err)
	}
}

func TestCrowd_Allowance(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newCrowd(nil)
	c.now = func() time.Time { return now }
	takes := func(source netip.Addr) (n int) {
		for c.allowanceOf(source).take(now) {
			n++
		}
		return n
	}
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for _, tc := range []struct {
		after time.Duration
		from  netip.Addr
		want  int
	}{{0, a, visitorBurst}, {0, a, 0}, {0, b, visitorBurst}, {time.Second, a, visitorRate}, {time.Hour, a, visitorBurst}} {
		now = now.Add(tc.after)
		if got := takes(tc.from); got != tc.want {
			t.Errorf("%s after %s: %d, want %d", tc.from, tc.after, got, tc.want)
		}
	}
	// A flood of sources takes no more memory, and one who comes later has a share of it.
	flood := netip.MustParseAddr("10.1.0.0")
	for range 3 * maxSources {
		flood = flood.Next()
		c.allowanceOf(flood).take(now)
	}
	if len(c.sources) > maxSources+1 {
		t.Errorf("%d sources are kept, at most %d", len(c.sources), maxSources)
	}
	now = now.Add(time.Minute)
	if got := takes(netip.MustParseAddr("10.9.0.1")); got != visitorBurst || len(c.sources) > maxSources {
		t.Errorf("after the flood %d, and %d sources", got, len(c.sources))
	}
}

// A head that does not come, and an answer that is not read, end in time; the next
// answer does not wait for it.
func TestListener_TimeLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := full()
		o.status.Routers[0].Why = strings.Repeat("x", 1<<20)
		l := NewListener(o, slog.New(slog.DiscardHandler))
		pipes := trial.NewPipes()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.serve(ctx, pipes, ListenOptions{}) }()
		dial := func() net.Conn {
			c, err := pipes.Dial(ctx, "", "")
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		lasts := func(what, request string, most time.Duration) {
			t.Helper()
			c, began := dial(), time.Now()
			defer c.Close()
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			time.Sleep(most + time.Second) // reads nothing
			if line, err := asks(dial(), healthz); !strings.Contains(line, "200") {
				t.Errorf("beside %s: %q, %v", what, line, err)
			}
			if _, err := c.Write([]byte("x")); err == nil {
				t.Errorf("%s lasts longer than %s", what, time.Since(began))
			}
		}
		lasts("half a head", "GET /healthz HTTP/1.1\r\nHost:", requestLimit)
		lasts("nothing", "", requestLimit)
		lasts("an answer that is not read", "GET /v1/status HTTP/1.1\r\nHost: baton\r\n\r\n", replyLimit)

		held := dial()
		if _, err := io.WriteString(held, "GET /v1/status HTTP/1.1\r\nHost: baton\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		if line, err := asks(dial(), "GET /metrics HTTP/1.1\r\nHost: baton\r\n\r\n"); !strings.Contains(line, "200") || time.Since(began) > makeLimit/2 {
			t.Errorf("beside an answer that is not read: %q, %v after %s", line, err, time.Since(began))
		}
		held.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = pipes.Close()
	})
}

// Each connection is one request: so the rate of connections is that of requests.
func TestListener_OneRequestEach(t *testing.T) {
	_, url := listening(t, full(), ListenOptions{})
	c := from(t, "127.0.0.1", strings.TrimPrefix(url, "http://"))
	if _, err := io.WriteString(c, healthz+healthz); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	all, err := io.ReadAll(c)
	if n := strings.Count(string(all), "HTTP/1.1 "); n != 1 || err != nil && isTimeout(err) {
		t.Errorf("%d answers, %v", n, err)
	}
	long := "GET /healthz HTTP/1.1\r\nHost: baton\r\nX: " + strings.Repeat("x", 2*maxVisitorHeader+(8<<10)) + "\r\n\r\n"
	if line, err := asks(from(t, "127.0.0.1", strings.TrimPrefix(url, "http://")), long); !strings.Contains(line, "431") {
		t.Errorf("a long head: %q, %v", line, err)
	}
}
