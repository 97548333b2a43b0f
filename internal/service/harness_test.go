package service

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/internal/service/servicetest"
)

// logged collects log lines; it may be read while others write.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// shortDir is a folder whose path is short enough for a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "baton-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// needRoot skips on a laptop; in CI the test must run.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("needs root, and CI must run it as root")
	}
	t.Skip("needs root")
}

// eventually polls a condition that somebody else brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within 20s: %s", what)
		}
	}
}

// leavesNothing fails the test when it leaves goroutines behind. It comes first,
// so that it looks last.
func leavesNothing(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		eventually(t, "no goroutine is left", func() bool {
			buf := make([]byte, 1<<20)
			stacks := string(buf[:runtime.Stack(buf, true)])
			return !strings.Contains(stacks, "baton/internal/service.(") && !strings.Contains(stacks, "godbus/dbus/v5.(")
		})
	})
}

// in returns a context for something that should not take long.
func in(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// background runs f beside the test and returns what it will have returned.
func background[T any](f func() T) <-chan T {
	done := make(chan T, 1)
	go func() { done <- f() }()
	return done
}

// fakeSystemd starts a systemd for tests with these units, and returns it and
// what is under test.
func fakeSystemd(t testing.TB, units ...servicetest.Unit) (*servicetest.Systemd, *Systemd) {
	t.Helper()
	leavesNothing(t)
	fake, err := servicetest.NewSystemd(shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fake.Close() })
	fake.Add(units...)
	s := NewSystemd(fake.Address(), slog.New(slog.NewTextHandler(new(logged), nil)))
	t.Cleanup(s.Close)
	return fake, s
}
