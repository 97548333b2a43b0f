package test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
	"baton/test/site"
)

// watched is checked(0) with a check that is told of a change at once and takes no time, so that a busy machine does not
// make it fail.
func watched() site.Config {
	c := checked(0)
	c.Checks[0] = site.Check{Name: "chk", Keys: "type: file, want: present, path: " + healthy, Interval: interval, Rise: 1, Fall: 1}
	return c
}

// told collects what a test was told, in its order.
type told struct {
	mu      sync.Mutex
	list    []string
	awaited int // how many of the list were, with those before them
}

func (o *told) add(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, text)
}

func (o *told) all() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.list)
}

// await waits until it is told that after what was awaited before.
func (o *told) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		all := o.all()
		if i := slices.Index(all[o.awaited:], text); i >= 0 {
			o.awaited += i + 1
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q is missing after the first %d:\n%s", text, o.awaited, strings.Join(all, "\n"))
		}
	}
}

// openPort opens a port on the client's host.
func openPort(t *testing.T, s *site.Site, port int) net.Listener {
	t.Helper()
	var l net.Listener
	must(t, s.Client.Do(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf("%v:%d", clientAddress(false), port))
		return err
	}))
	t.Cleanup(func() { l.Close() })
	return l
}

// hookServer takes webhooks on the client's host. The first request is answered with 503.
func hookServer(t *testing.T, s *site.Site, port int) *told {
	t.Helper()
	o := &told{}
	first := true
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first { // one comes after the other
			first = false
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var e struct{ Event, Node, Router, From, To, Check, Service, What string }
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil || r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer secret" || e.Node != "a" {
			o.add(fmt.Sprintf("%s with %v: %v, %+v", r.Method, r.Header, err, e))
		}
		switch e.Event {
		case "role":
			o.add(fmt.Sprintf("role %s %s to %s", e.Router, e.From, e.To))
		case "check":
			o.add(fmt.Sprintf("check %s %s to %s", e.Check, e.From, e.To))
		default:
			o.add(fmt.Sprintf("%s %s of %s: %s", e.Event, cmp.Or(e.Service, "all"), e.Router, e.What))
		}
	})}
	l := openPort(t, s, port)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Shutdown(context.Background()) })
	return o
}

// Webhooks are told of everything, in its order, also after a server that was not well at first.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := watched()
	c.Routers[0].NoPreempt = true
	c.Routers[0].More = "services: [{name: job, command: {start: 'true', stop: 'true', status: 'true'}}, addresses]\n"
	c.More = fmt.Sprintf("webhooks: {ops: {url: {a: 'http://%v:8080/baton'}, token: secret, events: [role, check, service], timeout: 5s, retries: 3}}\n", clientAddress(false))
	setHealthy(t, s, "a", true)
	setHealthy(t, s, "b", true)
	server := hookServer(t, s, 8080)
	a, _ := startPair(t, s, site.Baton, site.Baton, c)
	server.await(t, "service all of web: ready")
	setHealthy(t, s, "a", false)
	settled(t, s, "b", c)
	server.await(t, "role web MASTER to FAULT")
	setHealthy(t, s, "a", true)
	server.await(t, "role web FAULT to BACKUP")
	must(t, a.Stop())
	server.await(t, "role web BACKUP to STOP")
	want := []string{
		"check chk unknown to pass",
		"role web INIT to BACKUP",
		"role web BACKUP to MASTER",
		"service all of web: ready",
		"check chk pass to fail",
		"service all of web: stopped",
		"role web MASTER to FAULT",
		"check chk fail to pass",
		"role web FAULT to BACKUP",
		"role web BACKUP to STOP",
	}
	if got := server.all(); !slices.Equal(got, want) {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A server that accepts and never answers changes nothing but the log, and so does a reader of the named pipe that
// does not read.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := watched()
	c.Routers[0].Notify = "{fifo: /run/notify}"
	c.More = fmt.Sprintf("webhooks: {ops: {url: 'http://%v:8080/', events: [role, check], timeout: 1s, retries: 0}}\n", clientAddress(false))
	openPort(t, s, 8080)
	for _, name := range []string{"a", "b"} {
		setHealthy(t, s, name, true)
		fillPipe(t, s.Ports[name].Host, "/run/notify")
	}
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	spoken(t, a, b)
	vip := c.Routers[0].Addresses[0]
	end := asking(t, s, vip, 0)
	for range 3 {
		setHealthy(t, s, "a", false)
		settled(t, s, "b", c)
		setHealthy(t, s, "a", true)
		settled(t, s, "a", c)
	}
	for _, words := range []string{"webhook failed", "line for the named pipe dropped"} {
		_, _, err := a.Process.WaitLine(0, patience, func(line string) bool { return strings.Contains(line, words) })
		if err != nil {
			t.Errorf("%q: %v", words, err)
		}
	}
	must(t, a.Stop())
	settled(t, s, "b", c)
	if n := lost(t, end); n != 0 {
		t.Errorf("%d lost", n)
	}
}

// fillPipe makes a named pipe that is full, and has a reader who does not read.
func fillPipe(t *testing.T, h *lab.Host, path string) {
	t.Helper()
	must(t, unix.Mkfifo(h.Path(path), 0o600))
	fd, err := unix.Open(h.Path(path), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	for {
		if _, err := unix.Write(fd, make([]byte, 4096)); errors.Is(err, unix.EAGAIN) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// A program that reads keepalived's pipe reads baton's: one line for each change, and no end between them.
func TestFIFO(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := watched()
	c.Routers[0].Notify = "{fifo: /run/notify}"
	setHealthy(t, s, "a", true)
	setHealthy(t, s, "b", true)
	path := s.Ports["a"].Host.Path("/run/notify")
	must(t, unix.Mkfifo(path, 0o600))
	pipe, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // O_NONBLOCK: there is no writer yet
	must(t, err)
	defer pipe.Close()
	must(t, unix.SetNonblock(int(pipe.Fd()), true)) // Fd has ended that
	lines := &told{}
	a, _ := startPair(t, s, site.Baton, site.Baton, c)
	read := make(chan error, 1)
	go func() {
		scan := bufio.NewScanner(pipe)
		for scan.Scan() {
			lines.add(scan.Text())
		}
		read <- scan.Err()
	}()
	lines.await(t, `INSTANCE "web" MASTER 200`)
	setHealthy(t, s, "a", false)
	lines.await(t, `INSTANCE "web" FAULT 200`)
	setHealthy(t, s, "a", true)
	lines.await(t, `INSTANCE "web" MASTER 200`)
	must(t, a.Stop())
	lines.await(t, `INSTANCE "web" STOP 200`)
	if err := <-read; err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("the end of the daemon is the end of the file: %v", err)
	}
	// A change that is over before its line is begun is left out, as with hooks.
	got := slices.DeleteFunc(lines.all(), func(l string) bool { return l == `INSTANCE "web" BACKUP 200` })
	want := []string{`INSTANCE "web" MASTER 200`, `INSTANCE "web" FAULT 200`, `INSTANCE "web" MASTER 200`, `INSTANCE "web" STOP 200`}
	if !slices.Equal(got, want) {
		t.Errorf("read:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A hook that fails is run again, and no more once the role has changed.
func TestHookRetries(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := watched()
	c.Routers[0].Notify = "{master: {command: /run/hook, retries: 5}, fault: {command: /run/hook, retries: 5}, backup: /run/hook}"
	// A third try as MASTER succeeds, as FAULT none does.
	script := `#!/bin/sh
echo "$BATON_STATE" >>/run/hooked
[ "$BATON_STATE" = BACKUP ] || [ "$(grep -c MASTER /run/hooked)" = 3 ] && [ "$BATON_STATE" != FAULT ]
`
	for _, name := range []string{"a", "b"} {
		setHealthy(t, s, name, true)
		must(t, os.WriteFile(s.Ports[name].Host.Path("/run/hook"), []byte(script), 0o755))
	}
	a, _ := startPair(t, s, site.Baton, site.Baton, c)
	logged := func(from int, words ...string) int {
		t.Helper()
		_, next, err := a.Process.WaitLine(from, patience, func(line string) bool {
			return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
		})
		if err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		return next
	}
	next := logged(0, `"hook failed"`, `"state":"MASTER"`, `"again_in":1000000000`)
	next = logged(next, `"hook failed"`, `"state":"MASTER"`, `"again_in":2000000000`)
	next = logged(next, `"hook ran"`, `"state":"MASTER"`)
	setHealthy(t, s, "a", false)
	next = logged(next, `"hook failed"`, `"state":"FAULT"`, `"again_in":1000000000`)
	setHealthy(t, s, "a", true)
	next = logged(next, "hook is not run again, a newer state waits")
	logged(next, `"hook ran"`, `"state":"BACKUP"`)
}
