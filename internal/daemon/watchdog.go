package daemon

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

const (
	// watchEvery is how often the watchdog looks whether the loop has taken a turn,
	// which it does each mostBeat at least.
	watchEvery = 500 * time.Millisecond
	// hungAfter is how many times in a row it has not, when it counts as hung: 5 s.
	hungAfter = 10
)

// watchdog sees to it that a loop that hangs does not keep its addresses for ever.
//
// It counts its own looks, and reads no clock: where the process was stopped or the
// host suspended, or somebody takes all of the processor, it has not looked either.
type watchdog struct {
	turns func() uint64 // of the loop
	// alive is called at least each aliveEvery looks while the loop turns; 0: never.
	alive      func()
	aliveEvery int
	hung       func() // called once
}

// run looks until ctx ends.
func (w *watchdog) run(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last, missed, sinceAlive := w.turns(), 0, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sinceAlive++
		if turns := w.turns(); turns == last {
			missed++
		} else {
			last, missed = turns, 0
		}
		switch {
		case missed == hungAfter:
			w.hung()
		case missed == 0 && w.aliveEvery > 0 && sinceAlive >= w.aliveEvery:
			sinceAlive = 0
			w.alive()
		}
	}
}

// watch runs the watchdog of the loop. The service manager is told as often as it
// asks for, twice in its time.
func (d *daemon) watch(ctx context.Context) error {
	w := watchdog{turns: d.loop.turns.Load, alive: func() { d.notify(sd.SdNotifyWatchdog) }, hung: func() { abort(d.log) }}
	if within, err := sd.SdWatchdogEnabled(false); err != nil {
		d.log.Warn("the service manager's watchdog is not understood", "err", err)
	} else if within > 0 {
		w.aliveEvery = max(1, int(within/2/watchEvery))
	}
	w.run(ctx)
	return nil
}

// abort ends the process with the stacks of all goroutines, of those that run as
// well, which only a process that is about to crash can show. There is no core:
// it would have the secrets.
func abort(log *slog.Logger) {
	log.Error("the protocol loop hangs: baton writes all stacks and aborts, to be started again", "turns_missed_for", hungAfter*watchEvery)
	time.Sleep(100 * time.Millisecond) // the line above is written by another goroutine
	debug.SetTraceback("crash")
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = unix.Kill(os.Getpid(), unix.SIGABRT)
	time.Sleep(time.Second)
	_ = unix.Kill(os.Getpid(), unix.SIGKILL) // whatever kept it from dying
}
