package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns atomic.Uint64
		var hung, alive atomic.Int32
		w := watchdog{
			turns: turns.Load, hung: func() { hung.Add(1) },
			alive: func() { alive.Add(1) }, aliveEvery: 4,
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go w.run(ctx)
		synctest.Wait()
		for range 40 { // a loop that turns before each look
			turns.Add(1)
			time.Sleep(watchEvery)
			synctest.Wait()
		}
		if got := alive.Load(); got != 10 {
			t.Errorf("told alive %d times in 40 looks, want 10", got)
		}
		time.Sleep((hungAfter - 1) * watchEvery)
		synctest.Wait()
		turns.Add(1)                       // late, and not too late
		time.Sleep(hungAfter * watchEvery) // the first look sees the turn
		synctest.Wait()
		if hung.Load() != 0 {
			t.Fatal("counts as hung before its time")
		}
		before := alive.Load()
		time.Sleep(5 * watchEvery)
		synctest.Wait()
		if hung.Load() != 1 {
			t.Errorf("hung was called %d times, want 1", hung.Load())
		}
		if alive.Load() != before {
			t.Error("the service manager was told that a hung loop lives")
		}
	})
}

// The stacks of all goroutines are shown, also of one that never yields.
func TestAbort(t *testing.T) {
	if os.Getenv("BATON_TEST_ABORT") != "" {
		go spinForEver()
		time.Sleep(50 * time.Millisecond)
		abort(slog.New(slog.NewTextHandler(os.Stderr, nil)))
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestAbort$")
	cmd.Env = append(os.Environ(), "BATON_TEST_ABORT=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGABRT {
		t.Errorf("ended with %v, want by SIGABRT", err)
	}
	for _, want := range []string{"the protocol loop hangs", "spinForEver", "daemon.abort"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
}

//go:noinline
func spinForEver() {
	for i := 0; ; i++ {
		if i < 0 {
			i = 0
		}
	}
}
