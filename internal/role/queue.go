package role

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"baton/internal/command"
)

// A hook that failed is run again after retryFirst, and then after double the time, to at most retryMost.
const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
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
//     that has lost the role already. For the same reason a hook that failed is then not run again.
//   - A state equal to the newest one told is no news and is ignored. One that comes back after another state
//     is told again, also when nobody heard of the other: MASTER, BACKUP, MASTER while the first hook runs
//     ends in a second MASTER, since a peer may have had the role, and run its hooks, in between.
//   - A reassertion waits behind the state that waits, replaces an older reassertion, and is dropped
//     when a newer state comes or the router is not master.
//   - The first state is told, too. INIT is never told.
//   - The named pipe, where there is one, waits for no hook: it has a line for each change, in order, and that
//     line is written before hooks of the change are run.
//
// So the hooks of the router's newest state are always the last that were run, all of them, in order.
type Queue struct {
	// Ended, where it is set before the first Tell, is called at the end of each hook with the list that it stands in and
	// its command, which of an `any` hook ends with keepalived's four arguments.
	Ended func(list string, argv []string, r command.Result)

	words words
	run   RunFunc
	base  *slog.Logger // without the router
	log   *slog.Logger
	fifo  *fifo // nil: none

	// Finished, set before the first Tell, is called when the hooks of a state have
	// run, here or, as Resume has it, elsewhere; nil: nobody cares.
	Finished func(State)

	ctx    context.Context // of every hook; ends when Close gives up
	cancel context.CancelFunc

	mu       sync.Mutex    // guards words, log and fifo as well
	newest   State         // the newest state told to the queue
	heard    State         // the newest state whose hooks were begun
	pending  *Transition   // the state that waits
	reassert *Transition   // the reassertion that waits, behind pending
	passed   int           // transitions replaced since hooks were last begun
	news     chan struct{} // holds one where a newer state has come
	idle     chan struct{} // closed when the worker ends; nil while there is none
	closed   bool
}

// New returns the queue of router r. It starts nothing: there is a goroutine only while hooks run or the pipe is
// written to; but it makes the named pipe, so that somebody can read it before the first change.
// lookup may be nil where no nodes are configured.
func New(r Router, run RunFunc, log *slog.Logger, lookup Lookup) *Queue {
	q := &Queue{words: newWords(r, lookup), run: run, base: log, log: log.With("router", r.Name), news: make(chan struct{}, 1)}
	if path := r.Hooks.FIFO; path != "" {
		q.fifo = newFIFO(path, q.log)
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q
}

// Reconfigure gives the queue other hooks, for a router of perhaps another name or with other addresses. Nothing is
// told again: a transition that waits is told to the new hooks, one whose hooks run is finished with the old.
func (q *Queue) Reconfigure(r Router) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	was := q.words.router.Hooks.FIFO
	q.words.router = r
	q.log = q.base.With("router", r.Name)
	if path := r.Hooks.FIFO; path != was {
		if q.fifo != nil {
			q.fifo.close()
			q.fifo = nil
		}
		if path != "" {
			q.fifo = &fifo{path: path, log: q.log.With("fifo", path), fd: -1}
			q.fifo.write("") // makes it, beside the caller
		}
	}
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
		if q.newest != Master {
			return
		}
		if !q.words.router.Group { // keepalived has no such event for its groups
			q.line("MASTER_RX_LOWER_PRI", t)
		}
		if len(q.words.router.Hooks.Reassert) == 0 {
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
		q.line(string(t.To), t)
		select {
		case q.news <- struct{}{}:
		default:
		}
	default:
		return
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.work(q.idle)
	}
}

// Resume says that the hooks were told this state last, by another process. It comes before the first Tell.
func (q *Queue) Resume(s State) {
	q.mu.Lock()
	q.newest, q.heard = s, s
	q.mu.Unlock()
	if q.Finished != nil {
		q.Finished(s)
	}
}

// Busy says whether a hook runs, or waits to.
func (q *Queue) Busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.idle != nil
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
	if q.fifo != nil {
		defer q.fifo.close()
	}
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
		return fmt.Errorf("finish hooks of router %s: those for %s were not begun: %w", q.words.router.Name, q.newest, ctx.Err())
	}
	return fmt.Errorf("finish hooks of router %s: those for %s were cut short: %w", q.words.router.Name, q.heard, ctx.Err())
}

// work runs what waits until nothing does. There is one at a time.
func (q *Queue) work(idle chan struct{}) {
	for {
		r, ok := q.take(idle)
		if !ok {
			return
		}
		if r.fifo != nil {
			r.fifo.wait()
		}
		for i, j := range r.words.router.Hooks.of(r.t) {
			if i > 0 && q.outdated() {
				r.log.Info("hooks left out, a newer state waits", "state", r.t.To, "hook", j.list)
				break
			}
			q.perform(j, r)
		}
		if q.Finished != nil && q.ctx.Err() == nil {
			q.Finished(r.t.To)
		}
	}
}

// round is a transition whose hooks are run, and what they are told it with.
type round struct {
	t     Transition
	words words
	log   *slog.Logger
	fifo  *fifo
}

// perform runs one hook, and again as often as it may be when it fails and no newer state waits.
func (q *Queue) perform(j job, r round) {
	hook := j.hook
	if hook.Timeout <= 0 {
		hook.Timeout = DefaultTimeout
	}
	argv, env := r.argv(j), r.words.environment(hook.Env, r.t)
	pause := retryFirst
	for try := 0; ; try++ {
		ended := q.run(q.ctx, hook, argv, env)
		if q.Ended != nil {
			q.Ended(j.list, argv, ended)
		}
		if ended.OK() || try >= hook.Retries || q.outdated() {
			r.report(j, ended)
			return
		}
		r.report(j, ended, "again_in", pause)
		if !q.pause(pause) {
			r.log.Info("hook is not run again, a newer state waits", "state", r.t.To, "hook", j.list, "command", hook.Argv[0])
			return
		}
		pause = min(2*pause, retryMost)
	}
}

// pause waits, and reports false as soon as the present transition is outdated.
func (q *Queue) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for !q.outdated() {
		select {
		case <-timer.C:
			return !q.outdated()
		case <-q.news: // may be an old one
		case <-q.ctx.Done():
		}
	}
	return false
}

// argv returns the command of a hook with its variables replaced; an `any` hook gets keepalived's four arguments after
// its own.
func (r round) argv(j job) []string {
	argv, _ := r.words.argv(j.hook.Argv, r.t)
	if j.list == "any" {
		argv = append(argv, r.words.arguments(string(r.t.To), r.t)...)
	}
	return argv
}

// line writes a change to the named pipe, in due course.
func (q *Queue) line(state string, t Transition) {
	if q.fifo == nil {
		return
	}
	a := q.words.arguments(state, t)
	q.fifo.write(fmt.Sprintf("%s \"%s\" %s %s\n", a[0], printable(a[1]), a[2], a[3]))
}

// take returns what is to be told next. When nothing is, it ends the worker, under the lock: a Tell that comes
// later starts another.
func (q *Queue) take(idle chan struct{}) (round, bool) {
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
			return round{t, q.words, q.log, q.fifo}, true
		case q.reassert != nil:
			t := *q.reassert
			q.reassert = nil
			t.To, t.From = Master, Master
			return round{t, q.words, q.log, q.fifo}, true
		}
	}
	q.idle = nil
	close(idle)
	return round{}, false
}

// outdated says whether hooks of the present transition that have not begun are to be left out.
func (q *Queue) outdated() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending != nil || q.ctx.Err() != nil
}

// report logs how a hook ended.
func (r round) report(j job, ended command.Result, more ...any) {
	level, message := slog.LevelInfo, "hook ran"
	if !ended.OK() {
		level, message = slog.LevelWarn, "hook failed"
	}
	attrs := []any{"state", r.t.To, "hook", j.list, "command", j.hook.Argv[0]}
	if ended.Err == nil && !ended.TimedOut && ended.Signal == "" {
		attrs = append(attrs, "exit", ended.Exit)
	}
	attrs = append(attrs, "took", ended.Took.Round(100*time.Microsecond))
	if line := ended.FirstLine(); line != "" {
		attrs = append(attrs, "output", line)
	}
	if ended.Err != nil || ended.TimedOut || ended.Signal != "" {
		attrs = append(attrs, "err", ended.String())
	}
	attrs = append(attrs, more...)
	r.log.Log(context.Background(), level, message, attrs...)
}
