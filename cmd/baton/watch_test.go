package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/control"
)

// many are so many lines with a name.
func many(name string, n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("%s %d", name, i+1))
	}
	return list
}

func TestScreen_Fit(t *testing.T) {
	head := []string{"head"}
	for name, test := range map[string]struct {
		s      screen
		height int
		want   []string
	}{
		"all has room": {screen{head, many("router", 2), many("problem", 1), many("event", 2)}, 20,
			[]string{"head", "router 1", "router 2", "", "problem 1", "", "event 1", "event 2"}},
		"nothing but a table": {screen{head, many("router", 2), nil, nil}, 20, []string{"head", "router 1", "router 2"}},
		"the last events": {screen{head, many("router", 2), nil, many("event", 12)}, 9,
			[]string{"head", "router 1", "router 2", "", "event 9", "event 10", "event 11", "event 12"}},
		"many routers": {screen{head, many("router", 100), many("problem", 1), many("event", 12)}, 12,
			[]string{"head", "router 1", "router 2", "router 3", "router 4", "... 96 more routers: baton status", "", "problem 1", "", "event 10", "event 11", "event 12"}},
		"many problems": {screen{head, many("router", 1), many("problem", 50), nil}, 12,
			[]string{"head", "router 1", "", "problem 1", "problem 2", "problem 3", "... 47 more lines: baton status"}},
		"hardly any room": {screen{head, many("router", 100), many("problem", 9), many("event", 12)}, 3, []string{"head", "... 100 more routers: baton status", ""}},
		"none":            {screen{head, many("router", 9), many("problem", 9), nil}, 0, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.s.fit(test.height)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCut(t *testing.T) {
	for line, want := range map[string]string{
		"short":                           "short",
		"just as lo":                      "just as lo",
		"longer than it may be":           "longer tha",
		"öäüöäüöäüöäü":                    "öäüöäüöäüö",
		"ab \x1b[31mFAULT\x1b[0m 14s":     "ab \x1b[31mFAULT\x1b[0m 1\x1b[0m",
		"ab \x1b[31mFAULT FAULT\x1b[0m x": "ab \x1b[31mFAULT F\x1b[0m",
		"\x1b[31m0123456789\x1b[0m":       "\x1b[31m0123456789\x1b[0m",
	} {
		if got := cut(line, 10); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// What is on the screen while the daemon answers, and while it does not.
func TestWatch_Text(t *testing.T) {
	w := &watch{follower: newFollower(nil), status: controller3()}
	w.keep([]control.Event{{At: todayAt("14:02:07.411"), Kind: control.RouterEvent, Name: "storage", What: "MASTER to FAULT", Text: "haproxy fails"}})
	text, err := w.text(at(), nil, 74, 40)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"controller-3  baton 1.0.0  up 12d ", "\nstorage       FAULT ", "\nhaproxy has failed for 14s (28 runs): connect /run/haproxy/admin.sock: con\n", "\n14:02:07.411  router    storage  MASTER to FAULT  haproxy fails\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	text, err = w.text(at(), errors.New("no baton runs here"), 200, 40)
	if err != nil || !strings.HasPrefix(text, "waiting for baton; the last that is known:\nno baton runs here\n\nROUTER ") {
		t.Errorf("%v:\n%s", err, text)
	}
	for i := range 30 {
		w.keep([]control.Event{{Number: uint64(i), What: "x"}})
	}
	if len(w.last) != watchedEvents || w.last[watchedEvents-1].Number != 29 {
		t.Errorf("%d events are kept, the last is %+v", len(w.last), w.last[len(w.last)-1])
	}
}

// A screen that is watched ends with its context, and gives the terminal back.
func TestWatch_Run(t *testing.T) {
	dir := t.TempDir()
	end := serveScripted(t, dir)
	out := &onDraw{lines: make(chan string, 100)}
	w := &watch{follower: newFollower(control.Dial(dir)), out: out}
	watching, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.run(watching, terminal{-1}) }()
	if got := <-out.lines; got != enterScreen {
		t.Errorf("begins with %q", got)
	}
	if got := <-out.lines; !strings.HasPrefix(got, "\x1b[H") || !strings.Contains(got, "web     BACKUP") || !strings.HasSuffix(got, "\x1b[J") {
		t.Errorf("draws %q", got)
	}
	if _, err := control.Dial(dir).RunCheck(t.Context(), "promote"); err != nil {
		t.Fatal(err)
	}
	out.await(t, "web     MASTER")
	end()
	out.await(t, "waiting for baton")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var last string
	for len(out.lines) > 0 {
		last = <-out.lines
	}
	if last != leaveScreen {
		t.Errorf("ends with %q", last)
	}
}

// serveScripted serves a new scripted daemon until end is called.
func serveScripted(t *testing.T, dir string) (end func()) {
	t.Helper()
	l, err := control.Listen(control.SocketPath(dir), control.Access{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- control.NewServer(newScripted(), control.Access{}, slog.New(slog.DiscardHandler)).Serve(ctx, l)
	}()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return end
}

// Each event is read once, also of a daemon that is started anew and counts from 1.
func TestFollower(t *testing.T) {
	dir := t.TempDir()
	client := control.Dial(dir)
	run := func(checks ...string) {
		t.Helper()
		for _, name := range checks {
			if _, err := client.RunCheck(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := newFollower(client)
	if _, err := f.now(t.Context()); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("%v", err)
	}
	end := serveScripted(t, dir)
	run("galera", "new")
	var got []string
	note := func(list []control.Event) {
		for _, e := range list {
			got = append(got, fmt.Sprintf("%d %s", e.Number, e.Name))
		}
	}
	list, err := f.now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	note(list)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	more := make(chan int, 10)
	go func() {
		ended <- f.follow(ctx, func(list []control.Event) error { note(list); more <- len(list); return nil })
	}()
	await := func(n int) {
		t.Helper()
		for n > 0 {
			select {
			case got := <-more:
				n -= got
			case <-time.After(20 * time.Second):
				t.Fatal("no more events come")
			}
		}
	}
	run("haproxy")
	await(1)
	end()
	serveScripted(t, dir)
	run("promote", "ready", "majority", "new", "galera") // more than the other had
	await(5)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want := []string{"1 galera", "2 new", "3 haproxy", "1 promote", "2 ready", "3 majority", "4 new", "5 galera"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// onDraw hands on what is written to a screen.
type onDraw struct{ lines chan string }

func (o *onDraw) Write(p []byte) (int, error) {
	select {
	case o.lines <- string(p):
	case <-time.After(20 * time.Second):
		return 0, errors.New("nobody looks")
	}
	return len(p), nil
}

// await waits for a drawing with those words.
func (o *onDraw) await(t *testing.T, words string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case drawn := <-o.lines:
			if strings.Contains(drawn, words) {
				return
			}
		case <-late:
			t.Fatalf("nothing with %q is drawn", words)
		}
	}
}
