package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"baton/health"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
	"baton/internal/role"
	"baton/internal/webhook"
)

// The configuration is read again while the daemon runs. All that can fail comes
// first, beside the protocol loop; then the difference is applied in one turn of it.

// runnerLimit bounds the wait for the runner, which reads the same files.
const runnerLimit = 10 * time.Second

// reloads is what came of those that there were.
type reloads struct {
	one sync.Mutex // held by the one that is under way

	mu      sync.Mutex
	failure string // of the newest; empty: it succeeded
	at      time.Time
}

// problem is a failed reload, until one succeeds; nil: the newest did.
func (r *reloads) problem(running *config.Config) *control.Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == "" {
		return nil
	}
	return &control.Problem{
		Text: fmt.Sprintf("reload failed at %s: %s; the daemon goes on with configuration %s", r.at.Format("15:04:05"), r.failure, running.Hash),
		Hint: "baton validate " + running.Path + ", and then baton reload",
	}
}

// config is the configuration that runs.
func (d *daemon) config() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg
}

// sender is what tells the webhooks.
func (d *daemon) sender() *webhook.Sender {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.webhooks
}

// lookup finds the address of a node in one of its networks.
func (d *daemon) lookup(node, network string) (string, bool) {
	return lookupOf(d.config())(node, network)
}

// hookQueue is a queue of hooks and the name of its group, which may change.
type hookQueue struct {
	*role.Queue
	name atomic.Pointer[string]
}

// Reconfigure gives it other hooks.
func (q *hookQueue) Reconfigure(r role.Router) {
	q.name.Store(&r.Name)
	q.Queue.Reconfigure(r)
}

// reloadBySignal reloads, and leaves the result to the log.
func (d *daemon) reloadBySignal(ctx context.Context) {
	_, _ = d.Reload(ctx, false, "a signal") // which has been logged
}

// Reload reads the configuration again and applies the difference, or with dryRun
// only tells it. Two of them come one after the other.
func (d *daemon) Reload(ctx context.Context, dryRun bool, by string) (control.Reload, error) {
	d.reloads.one.Lock()
	defer d.reloads.one.Unlock()
	if !dryRun {
		d.notifyReloading()
		defer d.notify(sd.SdNotifyReady)
	}
	result, err := d.reload(ctx, dryRun)
	if !dryRun {
		d.noteReload(result, err, by)
	}
	var mistakes *ConfigError
	if errors.As(err, &mistakes) {
		var text strings.Builder
		_, _ = mistakes.Report.WriteTo(&text) // a Builder does not fail
		e := control.Errorf(control.Mistaken, "Nothing has been changed: baton goes on with configuration %s", d.config().Hash)
		e.Mistakes = text.String()
		return result, e
	}
	return result, err
}

// notifyReloading says that a reload begins: systemd waits for READY=1 with a later
// time than this.
func (d *daemon) notifyReloading() {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return
	}
	d.notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", sd.SdNotifyReloading, t.Nano()/1000))
}

// noteReload tells the log and those who ask what came of a reload.
func (d *daemon) noteReload(r control.Reload, err error, by string) {
	s := &d.reloads
	s.mu.Lock()
	s.at, s.failure = time.Now(), ""
	if err != nil {
		s.failure = failureOf(err)
	}
	s.mu.Unlock()
	d.loop.node.counters.reload(err)
	if err != nil {
		running := d.config()
		d.log.Error("reload failed, and nothing has changed", "by", by, "err", failureOf(err), "configuration", running.Hash)
		var mistakes *ConfigError
		if errors.As(err, &mistakes) {
			for _, m := range mistakes.Report.Diagnostics {
				if m.Severity == config.Warning {
					continue // a warning is none of the reasons; baton validate shows it
				}
				d.log.Error("mistake in the configuration", "file", m.File, "line", m.Line, "message", m.Message, "hint", m.Hint)
			}
		}
		d.events.add(control.ConfigurationEvent, running.Hash, "reload failed", "by "+by+": "+failureOf(err))
		return
	}
	for _, c := range r.Changes {
		d.log.Info("configuration changed", "name", c.Name, "what", c.What, "cost", c.Cost)
	}
	d.log.Info("configuration reloaded", "by", by, "before", r.Before, "hash", r.After, "changes", len(r.Changes))
	d.events.add(control.ConfigurationEvent, r.After, "reloaded", fmt.Sprintf("by %s: %s, before %s", by, plural(len(r.Changes), "change", "changes"), r.Before))
}

func failureOf(err error) string {
	var mistakes *ConfigError
	if errors.As(err, &mistakes) {
		return plural(mistakes.Report.Errors(), "mistake", "mistakes")
	}
	return err.Error()
}

func (d *daemon) reload(ctx context.Context, dryRun bool) (control.Reload, error) {
	was := d.config()
	result := control.Reload{Node: was.Node, DryRun: dryRun, Before: was.Hash}
	switch {
	case d.left.Load():
		return result, control.Errorf(control.Refused, "baton stops")
	case d.upgrading.Load():
		return result, control.Errorf(control.Unavailable, "baton is being upgraded")
	}
	is, report := config.Load(was.Path, config.Options{Node: d.nodeName, Exposed: Host{}.Exposed})
	if is == nil {
		return result, &ConfigError{report}
	}
	if is.Node != was.Node {
		return result, control.Errorf(control.Refused, "this host is node %s by the file, and baton runs as %s: restart baton", is.Node, was.Node)
	}
	var warnings strings.Builder
	_, _ = report.WriteTo(&warnings) // a Builder does not fail
	result.Warnings, result.After = warnings.String(), is.Hash
	result.Changes, result.Unchanged = differences(was, is, d.Status(), d.verdictOf)
	if dryRun || is.Hash == was.Hash && len(result.Changes) == 0 {
		return result, nil
	}
	checks, err := d.host.replacements(was, is)
	if err != nil {
		return result, fmt.Errorf("nothing has been changed: %w", err)
	}
	if r := d.host.remote; r != nil {
		ctx, cancel := context.WithTimeout(ctx, runnerLimit)
		defer cancel()
		if err := r.Reload(ctx); err != nil {
			return result, fmt.Errorf("nothing has been changed: have the runner read the configuration: %w", err)
		}
	}
	if err := d.apply(was, is, checks); err != nil {
		return result, err
	}
	return result, nil
}

// verdictOf is what is known of a check, in a word.
func (d *daemon) verdictOf(check string) string {
	r, _ := d.scheduler.Result(check)
	return r.Verdict.String()
}

// replacements are the checks of a configuration for a scheduler that has those of
// another one. Where both ask the same the probe stays.
func (h *host) replacements(was, is *config.Config) ([]health.Check, error) {
	var changed config.Config
	for _, c := range is.Checks {
		if !slices.ContainsFunc(was.Checks, func(o config.Check) bool { return sameProbe(o, c) }) {
			changed.Checks = append(changed.Checks, c)
		}
	}
	made, err := h.checks(&changed)
	if err != nil {
		return nil, err
	}
	var all []health.Check
	for _, c := range is.Checks {
		i := slices.IndexFunc(made, func(m health.Check) bool { return m.Name == c.Name })
		if i >= 0 {
			made[i].Continues = slices.ContainsFunc(was.Checks, func(o config.Check) bool { return sameQuestion(o, c) })
			all = append(all, made[i])
			continue
		}
		check := health.Check{Name: c.Name, Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall}
		if c.Combination != nil {
			check.Of, check.Least = c.Combination.Of, c.Combination.Least
		}
		all = append(all, check)
	}
	return all, nil
}

// sameProbe tells whether one probe serves two checks of one name. That of a command
// has its time limit.
func sameProbe(a, b config.Check) bool {
	return sameQuestion(a, b) && (a.Command == nil || a.Command.Timeout == b.Command.Timeout)
}

// sameQuestion tells whether two checks of one name ask the same.
func sameQuestion(a, b config.Check) bool {
	a.Interval, a.Timeout, a.Rise, a.Fall = b.Interval, b.Timeout, b.Rise, b.Fall
	if a.Command != nil && b.Command != nil {
		c := *a.Command
		c.Timeout = b.Command.Timeout
		a.Command = &c
	}
	return reflect.DeepEqual(a, b)
}

// apply applies the difference between two configurations. From here on nothing
// fails but by the end of the daemon.
func (d *daemon) apply(was, is *config.Config, checks []health.Check) error {
	gone := control.Errorf(control.Unavailable, "baton ends")
	links := d.linksOf(is)
	updates, ok := d.links.prepare(d.ctx, links)
	if !ok {
		return gone
	}
	same := sameRouters(was, is)
	done := make(chan bool, 1)
	d.loop.post(d.ctx, func(now time.Duration) { done <- d.takeOver(now, is, links, updates, same) })
	select {
	case applied := <-done:
		if !applied {
			return control.Errorf(control.Refused, "baton stops")
		}
	case <-d.ctx.Done():
		return gone
	}
	if err := d.scheduler.Replace(checks); err != nil {
		return gone
	}
	for _, c := range is.Checks {
		d.recordCheck(c.Name)
	}
	d.logging.configure(is.Log)
	d.replaceWebhooks(was, is)
	d.replaceEverywhere(was, is)
	d.listener.Set(listenerOf(is.Listen))
	d.parts.Go(func() { d.keepConfiguration(is) })
	return nil
}

// takeOver is the turn of the loop that applies a configuration.
func (d *daemon) takeOver(now time.Duration, is *config.Config, links []want, updates []linkUpdate, same map[routerKey]bool) bool {
	n := d.loop.node
	if n.leaving || d.loop.successor != nil {
		return false
	}
	d.mu.Lock()
	d.cfg, d.loaded, d.mistakes = is, time.Now(), nil
	d.mu.Unlock()
	for _, w := range links {
		u := w.uplink
		if !slices.Contains(n.links, u) {
			n.connect(u)
		}
		for ipv6, known := range w.known {
			if _, ok := u.known[ipv6]; !ok {
				u.known[ipv6] = known // so that the sockets are not taken for useless
			}
		}
	}
	for _, up := range updates {
		d.loop.update(now, up)
	}
	n.reconfigure(now, is, same)
	return true
}

// linksOf is what a configuration needs of uplinks that is not there yet.
func (d *daemon) linksOf(cfg *config.Config) []want {
	var more []want
	for _, c := range cfg.Routers {
		i := slices.IndexFunc(more, func(w want) bool { return w.uplink.name == c.Interface })
		if i < 0 {
			w := want{uplink: newUplink(c.Interface), known: make(map[bool]link.Known), virtual: make(map[bool]bool)}
			for _, o := range d.links.wants() {
				if o.uplink.name == c.Interface {
					w = want{o.uplink, cloned(o.known), cloned(o.virtual)}
				}
			}
			i, more = len(more), append(more, w)
		}
		w := more[i]
		if _, ok := w.known[c.IPv6]; !ok {
			w.known[c.IPv6] = link.Known{}
		}
		if c.VirtualMAC != nil && !c.VirtualMAC.FromInterface {
			w.virtual[c.IPv6] = true
		}
	}
	return more
}

func cloned[V any](m map[bool]V) map[bool]V {
	c := make(map[bool]V)
	for k, v := range m {
		c[k] = v
	}
	return c
}

// sameRouters are those that are the same in both configurations, for the protocol
// and for all else.
func sameRouters(was, is *config.Config) map[routerKey]bool {
	same := make(map[routerKey]bool)
	if !reflect.DeepEqual(was.Nodes, is.Nodes) {
		return same // who is known as a peer
	}
	before := make(map[routerKey]config.Router)
	for _, c := range was.Routers {
		before[keyOf(c)] = c
	}
	for _, c := range is.Routers {
		if old, ok := before[keyOf(c)]; ok && reflect.DeepEqual(old, c) {
			same[keyOf(c)] = true
		}
	}
	return same
}

// readdress hands what is new of routers to the address worker.
func (d *daemon) readdress(changes []addressChange) { d.worker.Reconfigure(changesOf(changes)...) }

// relinked has the sockets of an uplink follow what is needed of it, now and when
// they are opened anew.
func (d *daemon) relinked(u *uplink) {
	d.links.want(u)
	d.loop.relink(u)
}

// restructured has the record follow which groups there are.
func (d *daemon) restructured() {
	head, every := d.recordHead()
	d.loop.beatEvery = every
	d.newHead.Store(&head)
	select {
	case d.headed <- struct{}{}:
	default:
	}
}

// retire lets hooks and services end that nobody needs any more.
func (d *daemon) retire(h hooks, s services) {
	ctx, cancel := context.WithTimeout(d.ctx, hooksLimit)
	var ends sync.WaitGroup
	if q, ok := h.(*hookQueue); ok {
		ends.Go(func() {
			if err := q.Close(ctx); err != nil {
				d.log.Warn("hooks were cut short", "err", err)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.queues = slices.DeleteFunc(d.queues, func(o *hookQueue) bool { return o == q })
		})
	}
	if b, ok := s.(*boundServices); ok {
		d.mu.Lock()
		b.router.Name += removedMark // another one may have the name
		d.mu.Unlock()
		ends.Go(func() {
			if err := b.Dissolve(ctx); err != nil {
				d.log.Warn("commands of services were cut short", "err", err)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.bound = slices.DeleteFunc(d.bound, func(o *boundServices) bool { return o == b })
		})
	}
	d.parts.Go(func() {
		defer cancel()
		ends.Wait()
	})
}

// replaceWebhooks has others told than before. What those have in their queues is
// delivered.
func (d *daemon) replaceWebhooks(was, is *config.Config) {
	if reflect.DeepEqual(was.Webhooks, is.Webhooks) {
		return
	}
	next := webhook.New(webhooksOf(is.Webhooks), is.Node, d.log)
	d.mu.Lock()
	old := d.webhooks
	d.webhooks = next
	d.mu.Unlock()
	d.parts.Go(func() {
		ctx, cancel := context.WithTimeout(d.ctx, hooksLimit)
		defer cancel()
		if err := old.Close(ctx); err != nil {
			d.log.Warn("webhooks were cut short", "err", err)
		}
	})
}

// replaceEverywhere changes the services that run on every node. One that is not
// configured any more is left as it is.
func (d *daemon) replaceEverywhere(was, is *config.Config) {
	if reflect.DeepEqual(was.Services, is.Services) {
		return
	}
	r := role.Router{Node: is.Node}
	if s := d.everywhereNow(); s != nil {
		s.Rearrange(r, d.items(is.Services, r, func(s config.Service) bool { return keeps(was.Services, s) }))
		return
	}
	s := d.sequenceEverywhere()
	d.mu.Lock()
	d.everywhere = s
	d.mu.Unlock()
	s.Start(1, role.Transition{}, 0)
}

func (d *daemon) everywhereNow() *role.Sequence {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.everywhere
}
