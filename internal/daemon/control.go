package daemon

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"baton/health"
	"baton/internal/control"
)

// The daemon as the control socket asks it. Nothing of this is on the protocol
// loop, nor waits for it.

// Status is the newest that the protocol loop has published, with what the
// services do now.
func (d *daemon) Status() *control.Status {
	s := *d.published.status()
	clock, now := d.loop.poller.Now(), time.Now()
	s.Started, s.Loaded = onWall(d.started, now), onWall(d.loaded, now)
	s.Routers = slices.Clone(s.Routers)
	for i, r := range s.Routers {
		s.Routers[i].Services = statesOf(d.sequences[r.Name])
		s.Routers[i].Parts = slices.Clone(r.Parts)
		for j, p := range r.Parts {
			s.Routers[i].Parts[j] = d.loop.node.refresh(p, clock, now)
		}
	}
	s.Services = statesOf(d.everywhere)
	s.Problems = append(d.problems(), problemsOf(&s, d.Checks(), now)...)
	return &s
}

// problems are those of the daemon itself.
func (d *daemon) problems() []control.Problem {
	var all []control.Problem
	if d.ordinary {
		all = append(all, control.Problem{Text: "ordinary scheduling: a busy host may delay advertisements", Hint: "CPUSchedulingPolicy=rr in the unit, or CAP_SYS_NICE"})
	}
	if p := d.listener.Problem(); p != nil {
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

// Events are those that are kept and have a greater number, and what is closed when
// there are more.
func (d *daemon) Events(after uint64) ([]control.Event, <-chan struct{}) {
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
