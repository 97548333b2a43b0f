package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"baton/health"
	"baton/internal/command"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
	"baton/internal/record"
	"baton/internal/role"
	"baton/internal/runner"
	"baton/internal/statefile"
	"baton/internal/webhook"
	"baton/vip"
)

// Options say what to run.
type Options struct {
	Config     string // path of baton.yaml
	Node       string // which node of it this host is; empty: find out
	StateDir   string // for what outlives a restart of the host; made where it does not exist
	RuntimeDir string // for the lock file; made where it does not exist
	// SocketGroup may read on the control socket, and AdminGroup change something as
	// well: see control.FindAccess.
	SocketGroup, AdminGroup string
	Log                     io.Writer
	Journal                 bool   // Log is the journal's: lines begin with their priority
	LogFormat               string // text or json, in place of the configuration's; empty: that
	// User is whom the daemon becomes, who has two capabilities and no more; empty:
	// it stays who it is. Before, root starts a runner, unless Runner says what else.
	User string
	// Runner is the socket of the process that does what takes root: a path, or
	// RunnerNone. Empty: for root, RunnerNone; for others the package's where it is
	// there.
	Runner string
	// StateWatcher is the command line of statefile.Watch in a process of its own,
	// which removes the state files of a daemon that was killed; none: they stay.
	StateWatcher []string
	// Signals begins to catch SIGTERM and SIGINT (leave; a second one: at once)
	// and SIGHUP. Run calls it once, when the program will not be executed
	// again: a signal that was caught before would be lost with it, and the
	// daemon run on.
	Signals func() <-chan os.Signal
}

// ConfigError says that the configuration has mistakes.
type ConfigError struct{ Report *config.Report }

// Error counts the mistakes; the report tells them.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("%d mistakes in the configuration", e.Report.Errors())
}

const (
	// leaveMargin is how much longer than the slowest handover leaving may
	// take before the daemon ends though an address is still on.
	leaveMargin = 5 * time.Second
	// hooksLimit bounds the wait for the hooks that are told of the end, and for a
	// service that is being stopped; their own time limits are shorter as a rule.
	hooksLimit = time.Minute
	// closeLimit bounds the wait for each part that ends.
	closeLimit = 5 * time.Second
)

// Run runs the daemon until a signal ends it. It returns a *ConfigError, with
// nothing started, where the configuration has mistakes, and a *RunningError
// where another daemon is there already.
func Run(o Options) error {
	cfg, report := config.Load(o.Config, config.Options{Node: o.Node, Exposed: Host{}.Exposed})
	var mistakes *ConfigError // that the file has; it is run with what was kept of it
	if cfg == nil {
		mistakes = &ConfigError{report}
		if cfg, report = lastGood(o); cfg == nil {
			return errors.Join(mistakes, releaseAfter(o))
		}
	}
	if err := missingCapabilities(); err != nil {
		return err
	}
	if err := o.becomeUser(); err != nil { // executes the program again, as another user
		return err
	}
	realtimeErr := becomeRealtime() // may execute the program again
	ambientErr := clearAmbient()
	signals := o.Signals()
	out := newLogWriter(o.Log)
	defer out.close(time.Second)
	logging := newLogging(out, cfg.Log, o.LogFormat, o.Journal)
	log := logging.Logger
	locks, err := takeLocks(o.RuntimeDir)
	if err != nil {
		return err
	}
	defer locks.release()
	tuneRuntime()
	lockMemory(log)
	before, leftErr := readRecord(o.RuntimeDir)
	log.Info("baton starts", "version", Version(), "node", cfg.Node, "configuration", cfg.Path, "hash", cfg.Hash, "routers", len(cfg.Routers))
	if leftErr != nil {
		log.Warn("nothing is adopted from the process before: what it left is removed", "err", leftErr)
	}
	if realtimeErr != nil {
		log.Warn("ordinary scheduling: a busy host may delay advertisements", "err", realtimeErr)
	}
	if ambientErr != nil {
		log.Warn("what baton starts may inherit its capabilities", "err", ambientErr)
	}
	if mistakes != nil {
		log.Error("the configuration has mistakes: baton runs with what was kept of it before the crash", "err", mistakes, "configuration", o.Config)
	}
	for _, d := range report.Diagnostics {
		log.Warn("configuration", "file", d.File, "line", d.Line, "message", d.Message, "hint", d.Hint)
	}
	d, err := newDaemon(cfg, o.RuntimeDir, o.StateDir, o.runnerClient(log), log)
	if err != nil {
		return errors.Join(err, releaseLeft(o.RuntimeDir, log))
	}
	d.logging, d.ordinary, d.before, d.mistakes, d.nodeName = logging, realtimeErr != nil, before, mistakes, o.Node
	if before != nil && before.Succeeded {
		d.started, d.upgraded = before.Started, time.Now()
	}
	d.listener.Set(listenerOf(cfg.Listen))
	d.aside("HTTP listener", d.listener.Run)
	d.serveControl(o)
	d.aside("standby file", d.standbyFile.run)
	d.aside("state files", func(ctx context.Context) error { return statefile.New(o.RuntimeDir, o.StateWatcher, log).Run(ctx, d) })
	err = d.run(signals)
	if next := (*successor)(nil); errors.As(err, &next) {
		out.close(time.Second)
		return next.execute()
	}
	return err
}

// daemon is the running parts.
type daemon struct {
	log       *slog.Logger
	logging   *logging
	loop      *loop
	worker    *vip.Worker
	monitor   *link.Monitor
	links     *links
	host      *host
	scheduler *health.Scheduler
	published *published
	events    *events
	started   time.Time
	ordinary  bool // it has no real-time scheduling
	listener  *control.Listener
	told      *told // the status, by the listener
	pulse     pulse
	record    *record.Writer
	upgraded  time.Time      // when this process replaced the one before; zero: it has not
	before    *record.Record // of the process before; nil: there was none, or it counts no more

	standbyFile *standbyFile

	confirmations *confirmations // of previous masters

	reloads  reloads
	newHead  atomic.Pointer[record.Head] // newest, for the record
	headed   chan struct{}               // has an element when there is another
	nodeName string                      // that it was started with; empty: it finds out

	mu         sync.Mutex // guards what follows, up to ctx: a reload changes it
	cfg        *config.Config
	loaded     time.Time    // when the configuration was
	mistakes   *ConfigError // of the file, where what runs was kept from before a crash
	webhooks   *webhook.Sender
	queues     []*hookQueue
	bound      []*boundServices
	everywhere *role.Sequence // of those that run on every node; nil: there are none

	ctx    context.Context // of the parts beside the loop
	cancel context.CancelFunc
	parts  sync.WaitGroup
	failed chan error  // the first part that cannot go on
	left   atomic.Bool // leave has been called

	// The sides are those parts that end first when the process makes way for
	// another one: what has children, and who asks.
	sidesCtx  context.Context
	endSides  context.CancelFunc
	sides     sync.WaitGroup
	upgrading atomic.Bool
}

// newDaemon opens all that can fail. Its sockets live in the network
// namespace of the calling thread.
func newDaemon(cfg *config.Config, runtimeDir, stateDir string, remote *runner.Client, log *slog.Logger) (_ *daemon, err error) {
	d := &daemon{cfg: cfg, log: log, record: record.New(runtimeDir, log), failed: make(chan error, 1), headed: make(chan struct{}, 1)}
	d.events = newEvents()
	d.listener = control.NewListener(d, log)
	d.told = newTold(func() time.Duration { return d.loop.poller.Now() })
	d.listener.StatusTold = d.told.note
	d.standbyFile = newStandbyFile(stateDir, log)
	d.started, d.loaded = time.Now(), time.Now()
	d.published = newPublished(&snapshot{status: control.Status{Node: cfg.Node, Version: Version(), Configuration: cfg.Hash}})
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.sidesCtx, d.endSides = context.WithCancel(d.ctx)
	defer func() {
		if err != nil {
			d.free()
		}
	}()
	poller, err := link.NewPoller()
	if err != nil {
		return nil, err
	}
	d.loop = newLoop(poller, log)
	if d.monitor, err = link.NewMonitor(log); err != nil {
		return nil, err
	}
	d.worker, err = vip.New(vip.Options{Log: log, Report: func(e vip.Event) {
		d.loop.post(d.ctx, func(now time.Duration) { d.loop.node.addressEvent(now, e) })
	}})
	if err != nil {
		return nil, fmt.Errorf("manage addresses: %w", err)
	}
	d.host = newHost(cfg.Dir, remote, log)
	d.confirmations = newConfirmations(d.askNode, func(q confirmation, err error) {
		d.loop.post(d.ctx, func(now time.Duration) { d.loop.node.confirmed(now, q, err) })
	})
	d.webhooks = webhook.New(webhooksOf(cfg.Webhooks), cfg.Node, log)
	d.loop.node, err = newNode(cfg, log, outlets{
		send:      d.loop.send,
		flush:     d.loop.flush,
		wall:      wall,
		addresses: func(r vip.Router) addresses { return d.worker.Add(r) },
		hooks:     d.hooks,
		services:  d.services,
		publish:   d.published.publish,
		announce:  func(e webhook.Event) { d.sender().Tell(e) },
		readdress: d.readdress,
		retire:    d.retire,
		relinked:  d.relinked,
		structure: d.restructured,
		event:     d.events.add,
		keep:      d.standbyFile.keep,
		record:    d.record.SetState,
		confirm:   d.confirmations.add,
		reboot:    d.rebootFor,
	})
	if err != nil {
		return nil, err
	}
	d.loop.node.restore(poller.Now(), d.standbyFile.read())
	d.everywhere = d.sequenceEverywhere()
	d.published.publish(d.loop.node.status(poller.Now()))
	d.links = newLinks(d.monitor, d.loop.node.links, log)
	d.loop.discard = d.links.discard
	checks, err := d.host.checks(cfg)
	if err != nil {
		return nil, err
	}
	d.scheduler = health.NewScheduler(checks, log, func(c health.Change) {
		d.recordCheck(c.Check)
		d.loop.post(d.ctx, func(now time.Duration) { d.loop.node.verdict(now, c) })
	})
	return d, nil
}

// wall is the wall clock, since the Unix epoch.
func wall() time.Duration { return time.Duration(time.Now().UnixNano()) }

// free gives back what newDaemon has opened of a daemon that is not run.
func (d *daemon) free() {
	d.cancel()
	if d.host != nil {
		d.host.close()
		_ = d.webhooks.Close(d.ctx) // nothing was told
	}
	if d.worker != nil {
		d.worker.Close()
	}
	if d.monitor != nil {
		d.monitor.Close()
	}
	if d.loop != nil {
		_ = d.loop.poller.Close() // the error to tell is another one
	}
}

// hooks makes the queue of the hooks of one group.
func (d *daemon) hooks(r role.Router) hooks {
	q := &hookQueue{Queue: role.New(r, role.Exec(d.host.run(), d.config().Dir), d.log, d.lookup)}
	q.name.Store(&r.Name)
	q.Ended = func(list string, argv []string, res command.Result) {
		d.events.noteHook(*q.name.Load(), list, argv, res)
		d.loop.node.counters.hook(res)
	}
	q.Finished = func(s role.State) { d.record.SetTold(*q.name.Load(), string(s)) }
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queues = append(d.queues, q)
	return q
}

// run starts the parts, runs the loop on the calling goroutine, and ends the
// parts when it has ended.
func (d *daemon) run(signals <-chan os.Signal) error {
	l, cfg := d.loop, d.config()
	now := l.poller.Now()
	for _, up := range d.links.updates() {
		l.update(now, up)
	}
	d.events.add(control.DaemonEvent, d.config().Node, "started", "baton "+Version()+", configuration "+d.config().Hash)
	d.resume(now)
	l.node.start(now) // before the worker, which removes what nobody holds
	d.beginRecord(l.poller.Now())
	d.part("address worker", d.worker.Run)
	d.part("interface monitor", func(ctx context.Context) error { return d.monitor.Run(ctx, d.links.changed) })
	d.part("sockets", func(ctx context.Context) error {
		d.links.run(ctx, func(up linkUpdate) {
			l.post(ctx, func(now time.Duration) { l.update(now, up) })
		})
		return nil
	})
	d.start(d.sidesCtx, &d.sides, "checks", d.scheduler.Run)
	if r := d.host.remote; r != nil {
		d.start(d.sidesCtx, &d.sides, "runner", r.Follow)
	}
	d.part("signals", func(ctx context.Context) error { return d.follow(ctx, signals) })
	if d.everywhere != nil {
		d.everywhere.Start(1, role.Transition{}, 0)
	}
	d.aside("record", d.keepRecord)
	d.aside("confirmations", d.confirmations.run)
	d.parts.Go(func() { d.keepConfiguration(cfg) })
	watching, unwatch := context.WithCancel(d.sidesCtx)
	defer unwatch()
	d.aside("watchdog", func(context.Context) error { return d.watch(watching) })
	d.notify(sd.SdNotifyReady)
	err := l.run()
	unwatch() // it takes no turns any more
	switch {
	case l.successor == nil || err != nil:
	case d.left.Load(): // somebody wants it to end, at the last moment
		l.successor = nil
		err = l.run()
	default:
		d.closeQuickly()
		return l.successor
	}
	held := len(l.node.holding()) > 0
	err = errors.Join(err, d.close())
	d.record.Close(!held)
	if err == nil {
		d.log.Info("baton has left", "worst_lateness", round(l.worst))
	}
	return err
}

// part starts one part beside the loop. A part that ends by itself with an
// error ends the daemon: a supervisor starts it anew.
func (d *daemon) part(name string, run func(context.Context) error) {
	d.start(d.ctx, &d.parts, name, run)
}

func (d *daemon) start(ctx context.Context, parts *sync.WaitGroup, name string, run func(context.Context) error) {
	parts.Add(1)
	go func() {
		defer parts.Done()
		err := run(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		err = fmt.Errorf("%s: %w", name, err)
		d.log.Error("a part of baton cannot go on: leaving", "err", err)
		select {
		case d.failed <- err:
		default:
		}
		d.leave()
	}()
}

// aside starts one that the addresses do not depend on: its end is only logged.
func (d *daemon) aside(name string, run func(context.Context) error) {
	d.start(d.sidesCtx, &d.sides, name, func(ctx context.Context) error {
		if err := run(ctx); err != nil {
			d.log.Error("a part of baton has ended, and the rest goes on without it", "part", name, "err", err)
		}
		return nil
	})
}

// follow obeys signals.
func (d *daemon) follow(ctx context.Context, signals <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				d.parts.Go(func() { d.reloadBySignal(ctx) })
			case d.left.Load():
				d.log.Warn("second signal: the addresses go at once", "signal", s.String())
				d.loop.post(ctx, func(now time.Duration) { d.loop.node.let(now) })
			default:
				d.log.Info("baton leaves", "signal", s.String())
				d.events.add(control.DaemonEvent, d.config().Node, "leaves", s.String())
				d.leave()
			}
		}
	}
}

// leave asks the loop to hand over and end.
func (d *daemon) leave() {
	if d.left.Swap(true) {
		return
	}
	d.notify(sd.SdNotifyStopping)
	d.record.Leave(d.loop.poller.Now())
	d.loop.post(d.ctx, func(now time.Duration) {
		d.loop.node.leave(now)
		d.askForTime(d.loop.node.leaveBy - now)
	})
}

// close ends the parts after the loop: first the hooks, which have been told
// of the end when it began, and the services, then the rest.
func (d *daemon) close() error {
	var errs []error
	d.loop.close() // nobody reads any more
	if on := d.loop.node.holding(); len(on) > 0 {
		errs = append(errs, fmt.Errorf("the addresses of %s may still be on this host: the kernel drops them after address_lifetime", strings.Join(on, ", ")))
	}
	hooks, cancel := context.WithTimeout(context.Background(), hooksLimit)
	defer cancel()
	d.closeRoles(hooks)
	if err := d.sender().Close(hooks); err != nil {
		d.log.Warn("webhooks were cut short", "err", err)
	}
	if c := d.config(); c.Listen != nil && c.Listen.Address.IsValid() {
		d.told.linger(d.loop.node.departed, d.loop.node.lingers)
	}
	d.cancel()
	ended := make(chan struct{})
	go func() { d.parts.Wait(); d.sides.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(closeLimit):
		errs = append(errs, errors.New("a part of baton did not end in time"))
	}
	d.host.close()
	select {
	case err := <-d.failed:
		errs = append(errs, err)
	default:
	}
	return errors.Join(errs...)
}

// notify tells the service manager, where there is one.
func (d *daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.log.Warn("the service manager could not be told", "state", state, "err", err)
	}
}
