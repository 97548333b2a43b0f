package role

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"baton/internal/command"
)

// reapTime is how long Close waits, beyond its context, for a hook that it had to end.
const reapTime = time.Second

// Queue runs the hooks of one virtual router, one at a time.
//
// What is told when a router changes faster than its hooks run:
//
//   - One transition waits at most. A newer one takes its place, and the hooks never hear of the older.
//   - A hook that runs is left to finish (or to reach its time limit; one that even then does not die, since it
//     hangs in the kernel, is not waited for). Hooks of the same transition that have not
//     begun by the time a newer state is known are not begun: a cloud address must not be moved to a node
//     that has lost the role already.
//   - A state equal to the newest one told is no news and is ignored. One that comes back after another state
//     is told again, also when nobody heard of the other: MASTER, BACKUP, MASTER while the first hook runs
//     ends in a second MASTER, since a peer may have had the role, and run its hooks, in between.
//   - A reassertion waits behind the state that waits, replaces an older reassertion, and is dropped
//     when a newer state comes or the router is not master.
//   - The first state is told, too. INIT is never told.
//
// So the hooks of the router's newest state are always the last that were run, all of them, in order.
type Queue struct {
	router Router
	run    RunFunc
	log    *slog.Logger
	lookup Lookup

	ctx    context.Context // of every hook; ends when Close gives up
	cancel context.CancelFunc

	mu       sync.Mutex
	newest   State         // the newest state told to the queue
	heard    State         // the newest state whose hooks were begun
	pending  *Transition   // the state that waits
	reassert *Transition   // the reassertion that waits, behind pending
	passed   int           // transitions replaced since hooks were last begun
	idle     chan struct{} // closed when the worker ends; nil while there is none
	closed   bool
}

// New returns the queue of router r. It starts nothing: there is a goroutine only while hooks run.
// lookup may be nil where no nodes are configured.
func New(r Router, run RunFunc, log *slog.Logger, lookup Lookup) *Queue {
	if lookup == nil {
		lookup = func(string, string) (string, bool) { return "", false }
	}
	q := &Queue{router: r, run: run, log: log.With("router", r.Name), lookup: lookup}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q
}

// Tell hands a transition to the hooks and returns at once; see Queue for which are run. After Close it does nothing.
func (q *Queue) Tell(t Transition) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	switch {
	case t.Reassert:
		if q.newest != Master || len(q.router.Hooks.Reassert) == 0 {
			return
		}
		q.reassert = &t
	case t.To == q.newest:
		return
	case t.To == Master, t.To == Backup, t.To == Fault, t.To == Stop:
		if q.pending != nil {
			q.passed++
		}
		q.newest, q.pending, q.reassert = t.To, &t, nil
	default:
		return
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.work(q.idle)
	}
}

// Close takes no more transitions and waits until the hooks of those already told have run. When ctx ends first, it
// ends the hook that runs, begins no other and returns an error that wraps ctx's, within a second. Tell STOP
// before, and leave time for a hook that may be running at that moment. It may be called again.
func (q *Queue) Close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	idle := q.idle
	q.mu.Unlock()
	defer q.cancel()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-idle: // both at once
		return nil
	default:
	}
	// A command that cannot even be killed (it hangs in the kernel) must not hold the daemon: hence the limit.
	q.cancel()
	reap := time.NewTimer(reapTime)
	defer reap.Stop()
	select {
	case <-idle:
	case <-reap.C:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.heard != q.newest {
		return fmt.Errorf("finish hooks of router %s: those for %s were not begun: %w", q.router.Name, q.newest, ctx.Err())
	}
	return fmt.Errorf("finish hooks of router %s: those for %s were cut short: %w", q.router.Name, q.heard, ctx.Err())
}

// work runs what waits until nothing does. There is one at a time.
func (q *Queue) work(idle chan struct{}) {
	for {
		t, ok := q.take(idle)
		if !ok {
			return
		}
		for i, j := range q.router.Hooks.of(t) {
			if i > 0 && q.outdated() {
				q.log.Info("hooks left out, a newer state waits", "state", t.To, "hook", j.list)
				break
			}
			argv, env := q.words(j, t), q.environment(j.hook, t)
			hook := j.hook
			if hook.Timeout <= 0 {
				hook.Timeout = DefaultTimeout
			}
			q.report(j, t, q.run(q.ctx, hook, argv, env))
		}
	}
}

// take returns what is to be told next. When nothing is, it ends the worker, under the lock: a Tell that comes
// later starts another.
func (q *Queue) take(idle chan struct{}) (Transition, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctx.Err() == nil {
		switch {
		case q.pending != nil:
			t := *q.pending
			q.pending = nil
			if q.passed > 0 {
				q.log.Info("hooks were not told of every change, a newer state replaced it", "state", t.To, "changes", q.passed)
				q.passed = 0
			}
			// What the hooks heard last is what a script needs to know it comes from; the router's own previous
			// state may be one that they never heard of.
			if q.heard != "" {
				t.From = q.heard
			}
			q.heard = t.To
			return t, true
		case q.reassert != nil:
			t := *q.reassert
			q.reassert = nil
			t.To, t.From = Master, Master
			return t, true
		}
	}
	q.idle = nil
	close(idle)
	return Transition{}, false
}

// outdated says whether hooks of the present transition that have not begun are to be left out.
func (q *Queue) outdated() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending != nil || q.ctx.Err() != nil
}

// report logs how a hook ended.
func (q *Queue) report(j job, t Transition, r command.Result) {
	level, message := slog.LevelInfo, "hook ran"
	if !r.OK() {
		level, message = slog.LevelWarn, "hook failed"
	}
	attrs := []any{"state", t.To, "hook", j.list, "command", j.hook.Argv[0]}
	if r.Err == nil && !r.TimedOut && r.Signal == "" {
		attrs = append(attrs, "exit", r.Exit)
	}
	attrs = append(attrs, "took", r.Took.Round(100*time.Microsecond))
	if line := r.FirstLine(); line != "" {
		attrs = append(attrs, "output", line)
	}
	if r.Err != nil || r.TimedOut || r.Signal != "" {
		attrs = append(attrs, "err", r.String())
	}
	q.log.Log(context.Background(), level, message, attrs...)
}
