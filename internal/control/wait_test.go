package control

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"baton/internal/trial"

	"github.com/google/go-cmp/cmp"
)

// inBubble serves d from memory. end ends the server and returns what Serve says.
func inBubble(t *testing.T, d Daemon) (p *trial.Pipes, c *Client, end func() error) {
	t.Helper()
	p = trial.NewPipes()
	c = newClient("/run/baton/control.sock", p.Dial)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewServer(d, Access{}, slog.New(slog.DiscardHandler)).Serve(ctx, p) }()
	return p, c, func() error { cancel(); return <-done }
}

func TestWait(t *testing.T) {
	backup := Router{Name: "web", Role: "BACKUP"}
	master := Router{Name: "web", Role: "MASTER"}
	ready := Router{Name: "web", Role: "MASTER", Ready: true}
	other := Router{Name: "db", Role: "MASTER", Ready: true}
	group := Router{Name: "edge", Group: true, Members: []string{"wan", "lan"}, Role: "FAULT"}
	for _, test := range []struct {
		what string
		want Wait
		not  [][]Router // of which none ends the wait
		end  []Router
		got  Router
	}{
		{"it is", Wait{"web", []string{"MASTER"}, false}, nil, []Router{master}, master},
		{"it becomes", Wait{"web", []string{"MASTER"}, false}, [][]Router{{backup}, {backup, other}}, []Router{other, master}, master},
		{"ready", Wait{"web", []string{"MASTER"}, true}, [][]Router{{backup}, {master}}, []Router{ready}, ready},
		{"one of two", Wait{"web", []string{"MASTER", "BACKUP"}, false}, [][]Router{{{Name: "web", Role: "INIT"}}}, []Router{backup}, backup},
		{"group", Wait{"edge", []string{"FAULT"}, false}, nil, []Router{group}, group},
		{"member", Wait{"lan", []string{"FAULT"}, false}, nil, []Router{other, group}, group},
	} {
		t.Run(test.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newFake(append(test.not, test.end)[0]...)
				_, c, end := inBubble(t, d)
				type answer struct {
					router Router
					err    error
				}
				answers := make(chan answer, 1)
				go func() {
					r, err := c.Wait(context.Background(), test.want)
					answers <- answer{r, err}
				}()
				for _, next := range append(test.not, test.end) {
					time.Sleep(time.Hour) // in the bubble: nothing but a change ends it
					select {
					case a := <-answers:
						if len(test.not) > 0 {
							t.Fatalf("it ended too early: %+v", a)
						}
						answers <- a
					default:
					}
					d.publish(next...)
				}
				a := <-answers
				if a.err != nil {
					t.Fatal(a.err)
				}
				if diff := cmp.Diff(test.got, a.router); diff != "" {
					t.Error(diff)
				}
				if err := end(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A wait whose router is taken out of the configuration ends.
func TestWait_RouterGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake(Router{Name: "web", Role: "BACKUP"})
		_, c, end := inBubble(t, d)
		failed := make(chan error, 1)
		go func() {
			_, err := c.Wait(context.Background(), Wait{Router: "web", States: []string{"MASTER"}})
			failed <- err
		}()
		synctest.Wait()
		d.publish(Router{Name: "db"})
		var e *Error
		if err := <-failed; !errors.As(err, &e) || e.Kind != NotFound {
			t.Error(err)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// The daemon's end ends what is under way, and says so.
func TestServe_EndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake(Router{Name: "web", Role: "BACKUP"})
		d.run = func(ctx context.Context, _ string) (Check, error) {
			<-ctx.Done()
			return Check{}, Errorf(Unavailable, "baton ends")
		}
		p, c, end := inBubble(t, d)
		failed := make(chan error, 2)
		go func() {
			_, err := c.Wait(context.Background(), Wait{Router: "web", States: []string{"MASTER"}})
			failed <- err
		}()
		go func() {
			_, err := c.RunCheck(context.Background(), "haproxy")
			failed <- err
		}()
		hung, err := p.Dial(t.Context(), "", "") // and says nothing
		must(t, err)
		defer hung.Close()
		synctest.Wait()
		began := time.Now()
		if err := end(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 2*endLimit {
			t.Errorf("it took %s", took)
		}
		for range 2 {
			var e *Error
			if err := <-failed; !errors.As(err, &e) || e.Kind != Unavailable || e.Text != "baton ends" {
				t.Error(err)
			}
		}
	})
}

// A daemon's method that does not return is said, and does not hold up the end.
func TestServe_RequestThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake()
		stuck := make(chan struct{})
		d.run = func(context.Context, string) (Check, error) { <-stuck; return Check{}, nil }
		_, c, end := inBubble(t, d)
		failed := make(chan error, 1)
		go func() { _, err := c.RunCheck(context.Background(), "haproxy"); failed <- err }()
		synctest.Wait()
		if err := end(); err == nil || err.Error() != "a request on the control socket did not end" {
			t.Error(err)
		}
		if err := <-failed; err == nil {
			t.Error("the client was told that the check ran")
		}
		close(stuck)
	})
}

// Clients that hang are cut off, so that others find room.
func TestServe_ClientsThatHang(t *testing.T) {
	for what, words := range map[string]string{
		"says nothing":     "",
		"half a head":      "GET /v1/status HTTP/1.1\r\nHost: ba",
		"half a body":      "POST /v1/checks/haproxy/force HTTP/1.1\r\nHost: baton\r\nContent-Length: 70\r\n\r\n{",
		"unused body":      "POST /v1/checks/haproxy/run HTTP/1.1\r\nHost: baton\r\nContent-Length: 70\r\n\r\n{",
		"does not read":    "GET /v1/status HTTP/1.1\r\nHost: baton\r\n\r\n",
		"keeps connection": "keep",
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, c, end := inBubble(t, newFake(Router{Name: "web", Role: "BACKUP"}))
				var hung []net.Conn
				for range maxConnections {
					conn, err := p.Dial(t.Context(), "", "")
					must(t, err)
					hung = append(hung, conn)
					if words == "keep" {
						go io.Copy(io.Discard, conn)
						go conn.Write([]byte("GET /v1/status HTTP/1.1\r\nHost: baton\r\n\r\n"))
					} else {
						go conn.Write([]byte(words))
					}
				}
				synctest.Wait()
				if _, err := c.Status(context.Background()); err != nil {
					t.Error(err)
				}
				if err := end(); err != nil {
					t.Error(err)
				}
				for _, conn := range hung {
					conn.Close()
				}
			})
		})
	}
}

// Those who wait leave room for those who ask.
func TestServe_ManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, end := inBubble(t, newFake(Router{Name: "web", Role: "BACKUP"}))
		ctx, cancel := context.WithCancel(context.Background())
		failed := make(chan error, maxWaits+1)
		for range maxWaits + 1 {
			go func() {
				_, err := c.Wait(ctx, Wait{Router: "web", States: []string{"MASTER"}})
				failed <- err
			}()
		}
		if err := <-failed; err == nil || err.Error() != "48 others wait already" {
			t.Error(err)
		}
		if _, err := c.Status(context.Background()); err != nil {
			t.Error(err)
		}
		cancel()
		for range maxWaits {
			if err := <-failed; !strings.HasSuffix(err.Error(), "context canceled") {
				t.Error(err)
			}
		}
		synctest.Wait()
		if _, err := c.Wait(context.Background(), Wait{Router: "web", States: []string{"BACKUP"}}); err != nil {
			t.Errorf("after they have gone: %v", err)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// A panic costs the request, and is logged.
func TestServe_Panic(t *testing.T) {
	d := newFake()
	d.run = func(context.Context, string) (Check, error) { panic("out of cheese") }
	c := serve(t, d)
	var e *Error
	if _, err := c.RunCheck(t.Context(), "haproxy"); !errors.As(err, &e) || e.Text != "the daemon broke off: it ended, or its log says why" {
		t.Error(err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(c.log.String(), "out of cheese") {
		t.Errorf("log: %s", c.log)
	}
}

// A daemon that hangs does not hang who asks.
func TestClient_DaemonHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := trial.NewPipes()
		c := newClient("/run/baton/control.sock", p.Dial)
		_, err := c.Status(context.Background())
		if want := "ask on /run/baton/control.sock: the daemon does not answer within 10s"; err == nil || err.Error() != want {
			t.Error(err)
		}
		p.Close()
	})
}
