package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"baton/health"
	"baton/internal/control"
	"baton/internal/role"
)

// The daemon as the control socket asks it. Nothing of this is on the protocol
// loop, nor waits for it.

// serveControl makes the control socket. A daemon that cannot be asked, or not by
// all who should, does its work all the same.
func (d *daemon) serveControl(o Options) {
	access, err := control.FindAccess(o.SocketGroup, o.AdminGroup)
	if err != nil {
		d.log.Error("a group cannot use the control socket", "err", err)
	}
	socket, err := control.Listen(control.SocketPath(o.RuntimeDir), access)
	if socket == nil {
		d.log.Error("nobody can ask this daemon", "err", err)
		return
	}
	if err != nil {
		d.log.Error("a group cannot use the control socket", "err", err)
	}
	d.aside("control socket", func(ctx context.Context) error { return control.NewServer(d, access, d.log).Serve(ctx, socket) })
}

// Status is the newest that the protocol loop has published, with what the
// services do now.
func (d *daemon) Status() *control.Status {
	clock, now := d.loop.poller.Now(), time.Now()
	s := d.published.snapshot().read(clock, now)
	s.Upgraded = d.upgraded
	d.mu.Lock()
	s.Started, s.Loaded = onWall(d.started, now), onWall(d.loaded, now)
	bound := make(map[string]*role.Sequence)
	for _, b := range d.bound {
		bound[b.router.Name] = b.Sequence
	}
	everywhere := d.everywhere
	d.mu.Unlock()
	for i, r := range s.Routers {
		s.Routers[i].Services = statesOf(bound[r.Name])
	}
	s.Services = statesOf(everywhere)
	if p := d.standbyFile.problem(); p != nil {
		s.Problems = append(s.Problems, *p)
	}
	s.Problems = append(append(s.Problems, d.problems()...), problemsOf(s, d.Checks(), now)...)
	return s
}

// problems are those of the daemon itself.
func (d *daemon) problems() []control.Problem {
	var all []control.Problem
	if d.ordinary {
		all = append(all, control.Problem{Text: "ordinary scheduling: a busy host may delay advertisements", Hint: "CPUSchedulingPolicy=rr in the unit, or CAP_SYS_NICE"})
	}
	if r := d.host.remote; r != nil && r.Away() != nil {
		all = append(all, control.Problem{Text: r.Away().Error(), Hint: "hooks, services and checks of other users fail until it is there"})
	}
	if p := d.listener.Problem(); p != nil {
		all = append(all, *p)
	}
	d.mu.Lock()
	mistakes := d.mistakes
	d.mu.Unlock()
	if mistakes != nil {
		all = append(all, control.Problem{
			Text: fmt.Sprintf("%s has %d mistakes: since the crash baton runs with what was kept of it", d.config().Path, mistakes.Report.Errors()),
			Hint: "baton validate " + d.config().Path + ", and baton reload when it is mended",
		})
	}
	if p := d.reloads.problem(d.config()); p != nil {
		all = append(all, *p)
	}
	return all
}

// Metrics are the counters as they are now.
func (d *daemon) Metrics() control.Metrics {
	m := d.loop.node.counters.metrics()
	m.Announced = map[string]uint64{"ipv4": d.worker.Announced(false), "ipv6": d.worker.Announced(true)}
	return m
}

// Changed is closed when the protocol loop has published something newer.
func (d *daemon) Changed() <-chan struct{} { return d.published.changed() }

// Events are those that are kept and have a greater number, all of them where no
// number is as great, and what is closed when there are more.
func (d *daemon) Events(after uint64) (control.Events, <-chan struct{}) {
	return d.events.after(after)
}

// Checks are all checks of this node, by name.
func (d *daemon) Checks() []control.Check {
	var list []control.Check
	for _, r := range d.scheduler.Results() {
		list = append(list, checkOf(r))
	}
	slices.SortFunc(list, func(a, b control.Check) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// RunCheck runs a check now.
func (d *daemon) RunCheck(ctx context.Context, name string) (control.Check, error) {
	r, err := d.scheduler.RunNow(ctx, name)
	if err != nil {
		return control.Check{}, err
	}
	return checkOf(r), nil
}

// ForceCheck sets a verdict in place of the check's own, or ends that.
func (d *daemon) ForceCheck(name string, f control.Forced) (control.Check, error) {
	force := health.Force{Until: f.Until, Reason: f.Reason, By: f.By}
	switch f.Verdict {
	case "pass":
		force.Verdict = health.Pass
	case "fail":
		force.Verdict = health.Fail
	}
	if err := d.scheduler.Force(name, force); err != nil {
		return control.Check{}, err
	}
	what := "forced to " + f.Verdict
	if f.Verdict == "" {
		what = "no longer forced"
	}
	d.events.add(control.OperatorEvent, name, what, strings.TrimSuffix("by "+f.By+": "+f.Reason, ": "))
	r, _ := d.scheduler.Result(name)
	return checkOf(r), nil
}

// checkOf is a result as it is shown.
func checkOf(r health.Result) control.Check {
	now := time.Now()
	c := control.Check{
		Name: r.Check, Verdict: r.Verdict.String(), Since: onWall(r.Since, now), Interval: r.Interval,
		OK: r.OK, Text: r.Text, Hint: r.Hint, Output: r.Output,
		Runs: r.Runs, Passed: r.Passed, Failed: r.Failed, At: onWall(r.At, now), Took: r.Took, Hung: r.Hung,
	}
	if f := r.Forced; f.Verdict != health.Unknown && f.Until.After(now) {
		c.Forced = &control.Forced{Verdict: f.Verdict.String(), Until: onWall(f.Until, now), Reason: f.Reason, By: f.By}
	}
	return c
}

// onWall is a moment as the wall clock has it now: many a host starts with a clock
// that is set only later, and what began before would seem years old.
func onWall(t, now time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(t.Sub(now)) // the difference is that of the monotonic clock
}
