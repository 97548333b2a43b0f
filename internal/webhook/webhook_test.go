package webhook

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/tlsclient"
	"baton/internal/trial"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What servers are sent does not change from version to version.
func TestEncode(t *testing.T) {
	at := time.Date(2026, 11, 19, 14, 2, 7, 670e6, time.FixedZone("CET", 3600))
	var got []byte
	for _, e := range []Event{
		Role{Router: "storage", From: "BACKUP", To: "MASTER", Priority: 190, Reason: "controller-3 left; skew 258ms",
			Master: "controller-1", PreviousMaster: "controller-3", Takeover: "handover"},
		Role{Router: "edge", Group: true, From: "INIT", To: "BACKUP"},
		Check{Check: "haproxy", From: "pass", To: "fail", Text: "connect /run/haproxy/admin.sock: connection refused"},
		Service{Router: "osc", Service: "osc.service", What: "failed", Text: "exit 1: \"no\" <database>"},
	} {
		got = append(got, encode(e, "controller-1", at)...)
	}
	path := filepath.Join("testdata", "events.json")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

// bench is a Sender with one hook and the server behind it, in a bubble.
type bench struct {
	*Sender
	t      *testing.T
	server *httptest.Server
	pipes  *trial.Pipes
	refuse bool // nobody can connect
	log    trial.Log
	began  time.Time

	mu  sync.Mutex
	got []string // what came when, in seconds
}

func (b *bench) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if b.refuse {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return b.pipes.Dial(ctx, network, address)
}

// newBench begins. answer is given the number of each request, from 1.
func newBench(t *testing.T, h Hook, answer func(n int, w http.ResponseWriter, r *http.Request)) *bench {
	b := &bench{t: t, pipes: trial.NewPipes(), began: time.Now()}
	b.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		_, name, _ := strings.Cut(string(text), `"check":"`)
		name, _, _ = strings.Cut(name, `"`)
		b.mu.Lock()
		b.got = append(b.got, fmt.Sprintf("%gs %s", time.Since(b.began).Seconds(), name))
		n := len(b.got)
		b.mu.Unlock()
		answer(n, w, r)
	}))
	b.server.Listener.Close()
	b.server.Listener = b.pipes
	b.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelWarn)
	b.server.Start()
	h.Name, h.URL = "ops", "http://127.0.0.1/secret-path?key=secret-key"
	b.Sender = newSender([]Hook{h}, "lb1", slog.New(slog.NewTextHandler(&b.log, nil)), b.dial)
	return b
}

func (b *bench) tell(names ...string) {
	for _, name := range names {
		b.Tell(Check{Check: name})
	}
}

// end closes the sender within limit, and wants that error of it.
func (b *bench) end(limit time.Duration, want string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	got := ""
	if err := b.Close(ctx); err != nil {
		got = err.Error()
	}
	if got != want {
		b.t.Errorf("Close: %q, want %q", got, want)
	}
	b.server.CloseClientConnections()
	b.server.Close()
	if strings.Contains(b.log.String(), "secret") {
		b.t.Errorf("the log tells secrets: %s", &b.log)
	}
}

func (b *bench) came(want ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if diff := cmp.Diff(want, b.got); diff != "" {
		b.t.Error(diff)
	}
}

// said wants the log to have n lines, one of which has each of the words.
func (b *bench) said(n int, words ...string) {
	b.t.Helper()
	if got := strings.Count(b.log.String(), "\n"); got != n {
		b.t.Errorf("%d lines, want %d:\n%s", got, n, &b.log)
	}
	for _, w := range words {
		if !strings.Contains(b.log.String(), w) {
			b.t.Errorf("%q is not said:\n%s", w, &b.log)
		}
	}
}

func status(codes ...int) func(int, http.ResponseWriter, *http.Request) {
	return func(n int, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(codes[min(n, len(codes))-1])
	}
}

func TestSender(t *testing.T) {
	for _, test := range []struct {
		what    string
		retries int
		answer  func(int, http.ResponseWriter, *http.Request)
		came    []string
		lines   int
		said    []string
	}{
		{"order", 3, status(200), []string{"0s a", "0s b", "0s c"}, 0, nil},
		{"500 then 200", 3, status(500, 204), []string{"0s a", "1s a", "1s b", "1s c"}, 0, nil},
		{"500 for ever", 2, status(500, 500, 500, 200), []string{"0s a", "1s a", "3s a", "3s b", "3s c"}, 1,
			[]string{`msg="webhook failed" webhook=ops event=check tries=3 err="the server answers 500 Internal Server Error"`}},
		{"back-off", 9, status(503, 503, 503, 503, 503, 503, 503, 503, 200),
			[]string{"0s a", "1s a", "3s a", "7s a", "15s a", "31s a", "61s a", "91s a", "121s a", "121s b", "121s c"}, 0, nil},
		{"400", 3, func(_ int, w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no such\x1b channel\nmore", 400)
		}, []string{"0s a", "0s b", "0s c"}, 3, []string{`tries=1 err="the server answers 400 Bad Request: no such  channel"`}},
		{"408 and 429", 3, status(408, 429, 200), []string{"0s a", "1s a", "3s a", "3s b", "3s c"}, 0, nil},
		{"redirect", 3, func(_ int, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/secret-elsewhere", http.StatusFound)
		}, []string{"0s a", "0s b", "0s c"}, 3, []string{"the server answers 302 Found, which would send it elsewhere"}},
		{"hangs", 1, func(n int, w http.ResponseWriter, r *http.Request) {
			if n <= 2 {
				<-r.Context().Done()
			}
		}, []string{"0s a", "6s a", "11s b", "11s c"}, 1, []string{`tries=2 err="no answer within 5s"`}},
		{"sends for ever", 0, func(n int, w http.ResponseWriter, r *http.Request) {
			for w.WriteHeader(200); ; {
				if _, err := w.Write(make([]byte, 512)); err != nil {
					return
				}
			}
		}, []string{"0s a", "0s b", "0s c"}, 0, nil},
		{"head for ever", 0, func(n int, w http.ResponseWriter, r *http.Request) {
			for i := range 1000 {
				w.Header().Set("X-"+strconv.Itoa(i), strings.Repeat("x", 100))
			}
		}, []string{"0s a", "0s b", "0s c"}, 3, []string{"server response headers exceeded"}},
		{"drips", 0, func(n int, w http.ResponseWriter, r *http.Request) {
			if n > 1 {
				return
			}
			for w.WriteHeader(500); ; time.Sleep(time.Second) {
				if _, err := w.Write([]byte("x")); err != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		}, []string{"0s a", "5s b", "5s c"}, 1, []string{"the server answers 500 Internal Server Error: xxxxx"}},
		{"hangs up", 0, func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				panic(http.ErrAbortHandler)
			}
		}, []string{"0s a", "0s b", "0s c"}, 1, []string{"err=EOF"}},
	} {
		t.Run(test.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Hook{Retries: test.retries, Timeout: 5 * time.Second}, test.answer)
				b.tell("a", "b", "c")
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				b.came(test.came...)
				b.said(test.lines, test.said...)
				b.end(time.Second, "")
			})
		})
	}
}

func TestSender_Refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Hook{Retries: 2}, status(200))
		b.refuse = true
		b.tell("a")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		b.came()
		b.said(1, `tries=3 err="dial tcp: connection refused"`)
		b.end(time.Second, "")
	})
}

// A hook that does not keep up loses the oldest events, and nobody waits for it.
func TestSender_QueueFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		b := newBench(t, Hook{Timeout: time.Hour}, func(n int, _ http.ResponseWriter, _ *http.Request) { <-hang })
		b.tell("first")
		synctest.Wait()
		var want []string
		for i := range queueLength + 10 {
			b.tell(strconv.Itoa(i))
			if i >= 10 {
				want = append(want, fmt.Sprintf("0s %d", i))
			}
		}
		if time.Since(b.began) > 0 {
			t.Error("Tell has waited")
		}
		b.said(1, "webhook events dropped", "dropped=1")
		close(hang)
		synctest.Wait()
		b.came(append([]string{"0s first"}, want...)...)
		b.end(time.Second, "")
		b.said(2, "dropped=9")
	})
}

// The end gives each event that waits one more try, without pauses.
func TestSender_Close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Hook{Retries: 100}, status(500, 500, 500, 200, 500, 200))
		b.tell("a", "b", "c", "d")
		time.Sleep(4 * time.Second) // in the pause after the third try
		b.end(time.Second, "webhook events not delivered: 1")
		b.came("0s a", "1s a", "3s a", "4s a", "4s b", "4s c", "4s d")
		b.tell("late")
		synctest.Wait()
		b.said(1, "webhook failed")
	})
}

// A server that does not answer is not waited for once for each event.
func TestSender_CloseWithoutAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Hook{Retries: 100, Timeout: 2 * time.Second}, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		b.tell("a", "b", "c", "d")
		time.Sleep(time.Second)
		b.end(time.Minute, "webhook events not delivered: 4")
		if took := time.Since(b.began); took != 4*time.Second {
			t.Errorf("after %s", took)
		}
		b.came("0s a", "2s a")
		b.said(1, "no answer within 2s")
	})
}

func TestSender_CloseInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Hook{Retries: 100, Timeout: time.Minute}, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		b.tell("a", "b", "c")
		synctest.Wait()
		b.end(3*time.Second, "webhook events not delivered: 3")
		if took := time.Since(b.began); took != 3*time.Second {
			t.Errorf("after %s", took)
		}
		b.came("0s a")
	})
}

// Each hook is told of what it wants, in its own time, with what it needs.
func TestSender_Hooks(t *testing.T) {
	type request struct{ Method, Path, Host, Agent, Type, Authorization, Custom, Body string }
	requests := make(chan request, 4)
	all := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		_, body, _ := strings.Cut(string(text), `"node":`)
		requests <- request{r.Method, r.URL.String(), r.Host, r.UserAgent(), r.Header.Get("Content-Type"), r.Header.Get("Authorization"), r.Header.Get("X-Custom"), body}
	}))
	defer all.Close()
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice that the client goes
		<-r.Context().Done()
	}))
	defer hang.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: all.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	told := make(deliveries, 8)
	s := New([]Hook{
		{Name: "slow", URL: hang.URL, Timeout: time.Hour},
		{Name: "ops", URL: all.URL + "/hook?a=b", Token: "t0ken", Events: []string{"role", "service"}, TLS: tlsclient.Options{CAFile: ca, ServerName: "example.com"},
			Headers: map[string]string{"X-Custom": "yes", "host": "ops.example"}},
	}, "lb1", slog.New(slog.NewTextHandler(told, &slog.HandlerOptions{Level: slog.LevelDebug})))
	s.Tell(Role{Router: "web", From: "BACKUP", To: "MASTER", Priority: 200})
	s.Tell(Check{Check: "haproxy"})
	s.Tell(Service{Service: "redis", What: "started"})
	for _, body := range []string{
		`"lb1","router":"web","group":false,"from":"BACKUP","to":"MASTER","priority":200,"reason":"","master":"","previous_master":"","takeover":""}` + "\n",
		`"lb1","router":"","service":"redis","what":"started","text":""}` + "\n",
	} {
		want := request{"POST", "/hook?a=b", "ops.example", "baton", "application/json", "Bearer t0ken", "yes", body}
		if diff := cmp.Diff(want, <-requests); diff != "" {
			t.Error(diff)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(ctx); err == nil || !strings.HasPrefix(err.Error(), "webhook events not delivered: ") { // to slow at least
		t.Error(err)
	}
	if len(requests) > 0 {
		t.Errorf("also: %+v", <-requests)
	}
}

// A server that is not who it should be is not told; each reason has its words.
func TestSend_TLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelWarn)
	dir := t.TempDir()
	empty, pipe := filepath.Join(dir, "empty.pem"), filepath.Join(dir, "pipe.pem")
	if err := errors.Join(os.WriteFile(empty, nil, 0o600), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		what string
		tls  tlsclient.Options
		want string
	}{
		{"stranger", tlsclient.Options{}, "tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		{"not verified", tlsclient.Options{SkipVerify: true}, ""},
		{"no file", tlsclient.Options{CAFile: "/no/such/ca.pem"}, "read ca_file /no/such/ca.pem: no such file or directory"},
		{"empty file", tlsclient.Options{CAFile: empty}, "read ca_file " + empty + ": it has no certificate in PEM"},
		{"pipe", tlsclient.Options{CAFile: pipe}, "read ca_file: " + pipe + " is a named pipe, not a regular file"},
		{"no key", tlsclient.Options{CertFile: "/no/such/cert.pem"}, "read cert_file /no/such/cert.pem: no such file or directory"},
	} {
		h := newHook(Hook{URL: server.URL, Timeout: time.Minute, TLS: test.tls}, slog.New(slog.DiscardHandler), nil)
		again, err := h.send(t.Context(), event{body: []byte("{}")})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want || again != (err != nil) {
			t.Errorf("%s: %q, again %t", test.what, got, again)
		}
	}
}

func TestSend_BadURL(t *testing.T) {
	h := newHook(Hook{URL: "http://secret\x7f", Timeout: time.Minute}, slog.New(slog.DiscardHandler), nil)
	again, err := h.send(t.Context(), event{})
	if again || err == nil || strings.Contains(err.Error(), "secret") || errors.Unwrap(err) != nil {
		t.Errorf("%t, %v", again, err)
	}
}

// deliveries is a log of which the deliveries are counted.
type deliveries chan struct{}

func (d deliveries) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("webhook told")) {
		d <- struct{}{}
	}
	return len(line), nil
}
