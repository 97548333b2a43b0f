package service

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"baton/internal/service/servicetest"
	"baton/internal/trial"
)

// eventually waits for what somebody else brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	trial.Await(t, 20*time.Second, what, ok)
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
	fake, err := servicetest.NewSystemd(trial.ShortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fake.Close() })
	fake.Add(units...)
	s := NewSystemd(fake.Address(), slog.New(slog.NewTextHandler(new(trial.Log), nil)))
	t.Cleanup(s.Close)
	return fake, s
}
