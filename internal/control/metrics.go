package control

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is what the daemon has counted since it began, and what of it stands in
// no Status. Whoever counts something new adds it here, to newFamilies and to
// Collect.
type Metrics struct {
	Links           []LinkMetrics
	Lateness        Lateness
	TwoMasters      uint64        // times that this node was master beside another one, and won
	TwoMastersFor   time.Duration // together
	Addresses       map[string]uint64
	Announced       map[string]uint64 // gratuitous ARP and unsolicited neighbour advertisements, by family
	Hooks           map[string]uint64 // runs, by result
	ServiceFailures map[string]uint64 // of bound services, by kind
	Reloads         map[string]uint64 // by result
	ReloadFailed    bool              // the newest one
}

// LinkMetrics is what one interface has carried of one family.
type LinkMetrics struct {
	Interface string
	Family    string            // IPv4 or IPv6
	Sent      uint64            // advertisements
	Unsent    uint64            // that the kernel refused, or had no room for
	Received  uint64            // advertisements of known virtual routers
	Refused   map[string]uint64 // by reason
	Broken    uint64            // packets that cannot be taken apart
	Lost      uint64            // in the kernel, for want of room
}

// Lateness is how long after its deadline the protocol loop served its timers.
type Lateness struct {
	Bounds []float64 // of the buckets, seconds
	Counts []uint64  // in each bucket alone, one more than there are bounds
	Sum    float64   // seconds
	Worst  float64   // seconds
}

// Observed is what the HTTP listener shows. Each method may be called from any
// goroutine, and none enters the protocol loop but Alive.
type Observed interface {
	Daemon
	// Metrics are the counters as they are now.
	Metrics() Metrics
	// Alive asks whether the protocol loop turns, and gives up with ctx. Many
	// callers at a time cost the loop one turn a second.
	Alive(ctx context.Context) error
}

// families are all metrics of baton, docs/monitoring.md has the same list. Of a
// virtual router there are its role, priority, transitions and last change, and no
// more: there may be thousands.
type families struct {
	all []*prometheus.Desc

	build, started, loaded, configuration, problems, standby    *prometheus.Desc
	reloads, reloaded                                           *prometheus.Desc
	role, priority, transitions, changed                        *prometheus.Desc
	verdict, checked, took, runs, hung, forced                  *prometheus.Desc
	service, serviceFailures, hooks                             *prometheus.Desc
	sent, unsent, received, refused, broken, lost               *prometheus.Desc
	lateness, worst, twoMasters, twoMastersFor, addresses, told *prometheus.Desc
}

func newFamilies() *families {
	f := &families{}
	add := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("baton_"+name, help, labels, nil)
		f.all = append(f.all, d)
		return d
	}
	f.build = add("build_info", "Always 1; the version of baton.", "version")
	f.configuration = add("configuration_info", "Always 1; who this is, and the hash over the files of the configuration, which is the same on every node.", "node", "hash")
	f.started = add("start_time_seconds", "When baton started, since the Unix epoch; an upgrade in place does not count.")
	f.loaded = add("configuration_loaded_timestamp_seconds", "When the configuration in use was loaded, since the Unix epoch.")
	f.reloads = add("configuration_reloads_total", "Reloads of the configuration.", "result")
	f.reloaded = add("configuration_last_reload_successful", "0 when the last reload failed, which changed nothing; else 1.")
	f.problems = add("problems", "What an operator has to mend on this node, as baton status shows it.")
	f.standby = add("standby_routers", "Virtual routers and groups that an operator holds out of the election here.")

	f.role = add("router_role", "1 for the role that a virtual router or group has here, 0 for the others.", "router", "role")
	f.priority = add("router_priority", "Effective priority.", "router")
	f.transitions = add("router_transitions_total", "Changes of role.", "router")
	f.changed = add("router_last_change_timestamp_seconds", "When the present role began, since the Unix epoch.", "router")

	f.verdict = add("check_verdict", "1 for the verdict of a check, 0 for the others.", "check", "verdict")
	f.checked = add("check_last_run_timestamp_seconds", "When a check answered last, since the Unix epoch; absent before the first answer.", "check")
	f.took = add("check_duration_seconds", "How long the last run of a check took.", "check")
	f.runs = add("check_runs_total", "Answers of a check, or none in time, by what they were; those without an opinion are not counted.", "check", "result")
	f.hung = add("check_hung", "1 while a run of a check is past its deadline and has not ended.", "check")
	f.forced = add("check_forced", "1 while an operator has set the verdict of a check.", "check")

	f.service = add("service_state", "1 for the state of a service, 0 for the others; router is empty where it runs on every node.", "router", "service", "state")
	f.serviceFailures = add("service_failures_total", "Failures of services that are bound to a role.", "kind")
	f.hooks = add("hook_runs_total", "Runs of hooks.", "result")

	f.sent = add("advertisements_sent_total", "Advertisements sent.", "interface", "family")
	f.unsent = add("advertisements_unsent_total", "Advertisements that the kernel refused or had no room for.", "interface", "family")
	f.received = add("advertisements_received_total", "Advertisements received for virtual routers of this node.", "interface", "family")
	f.refused = add("packets_refused_total", "Packets refused, by the reason.", "interface", "family", "reason")
	f.broken = add("packets_broken_total", "Packets that were cut, or whose IP header was broken.", "interface", "family")
	f.lost = add("packets_lost_total", "Advertisements that the kernel dropped because baton did not read them in time.", "interface", "family")

	f.lateness = add("loop_lateness_seconds", "How long after its deadline the protocol loop served a timer.")
	f.worst = add("loop_lateness_max_seconds", "The worst of it since baton started.")
	f.twoMasters = add("two_masters_total", "Times that this node was master beside another one, and won.")
	f.twoMastersFor = add("two_masters_seconds_total", "How long that lasted, together.")
	f.addresses = add("address_events_total", "What happened to virtual addresses, routes and rules: failed, recovered, repaired, removed and contested.", "event")
	f.told = add("announcements_total", "Gratuitous ARP messages and unsolicited neighbour advertisements sent.", "family")
	return f
}

// collector makes Prometheus's metrics of what the daemon publishes.
type collector struct {
	*families
	daemon Observed
}

// Describe names all metrics.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.all {
		to <- d
	}
}

// exposition is one scrape.
type exposition chan<- prometheus.Metric

func (e exposition) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (e exposition) counter(d *prometheus.Desc, v float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

// moment is one since the Unix epoch; a zero Time is none.
func (e exposition) moment(d *prometheus.Desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		e.gauge(d, float64(t.UnixMilli())/1e3, labels...)
	}
}

// oneOf shows which of several states holds.
func (e exposition) oneOf(d *prometheus.Desc, is string, all []string, labels ...string) {
	for _, s := range all {
		e.gauge(d, number(s == is), append(labels[:len(labels):len(labels)], s)...)
	}
}

// each shows counters that differ by one label.
func (e exposition) each(d *prometheus.Desc, counts map[string]uint64, labels ...string) {
	for key, n := range counts {
		e.counter(d, float64(n), append(labels[:len(labels):len(labels)], key)...)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// The states that have a series each.
var (
	verdicts      = []string{"pass", "fail", "unknown"}
	serviceStates = []string{"stopped", "starting", "running", "stopping", "failed", "unknown"}
)

// Collect is one scrape.
func (c collector) Collect(to chan<- prometheus.Metric) {
	e, s := exposition(to), c.daemon.Status()
	e.gauge(c.build, 1, s.Version)
	e.gauge(c.configuration, 1, s.Node, s.Configuration)
	e.moment(c.started, s.Started)
	e.moment(c.loaded, s.Loaded)
	e.gauge(c.problems, float64(len(s.Problems)))
	standby := 0
	for _, r := range s.Routers {
		e.oneOf(c.role, r.Role, states[:], r.Name)
		e.gauge(c.priority, float64(r.Priority), r.Name)
		e.counter(c.transitions, float64(r.Transitions), r.Name)
		e.moment(c.changed, r.Since, r.Name)
		if r.Standby != nil || s.Standby != nil {
			standby++
		}
		c.services(e, r.Name, r.Services)
	}
	e.gauge(c.standby, float64(standby))
	c.services(e, "", s.Services)
	c.checks(e)
	c.counters(e)
}

func (c collector) services(e exposition, router string, services []Service) {
	for _, s := range services {
		e.oneOf(c.service, s.State, serviceStates, router, s.Name)
	}
}

func (c collector) checks(e exposition) {
	for _, k := range c.daemon.Checks() {
		e.oneOf(c.verdict, k.Verdict, verdicts, k.Name)
		e.moment(c.checked, k.At, k.Name)
		e.gauge(c.took, k.Took.Seconds(), k.Name)
		e.counter(c.runs, float64(k.Passed), k.Name, "pass")
		e.counter(c.runs, float64(k.Failed), k.Name, "fail")
		e.gauge(c.hung, number(k.Hung), k.Name)
		e.gauge(c.forced, number(k.Forced != nil), k.Name)
	}
}

func (c collector) counters(e exposition) {
	m := c.daemon.Metrics()
	for _, l := range m.Links {
		family := strings.ToLower(l.Family)
		e.counter(c.sent, float64(l.Sent), l.Interface, family)
		e.counter(c.unsent, float64(l.Unsent), l.Interface, family)
		e.counter(c.received, float64(l.Received), l.Interface, family)
		e.each(c.refused, l.Refused, l.Interface, family)
		e.counter(c.broken, float64(l.Broken), l.Interface, family)
		e.counter(c.lost, float64(l.Lost), l.Interface, family)
	}
	buckets, sum := make(map[float64]uint64, len(m.Lateness.Bounds)), uint64(0)
	for i, n := range m.Lateness.Counts {
		sum += n
		if i < len(m.Lateness.Bounds) {
			buckets[m.Lateness.Bounds[i]] = sum
		}
	}
	e <- prometheus.MustNewConstHistogram(c.lateness, sum, m.Lateness.Sum, buckets)
	e.gauge(c.worst, m.Lateness.Worst)
	e.counter(c.twoMasters, float64(m.TwoMasters))
	e.counter(c.twoMastersFor, m.TwoMastersFor.Seconds())
	e.each(c.addresses, m.Addresses)
	e.each(c.told, m.Announced)
	e.each(c.hooks, m.Hooks)
	e.each(c.serviceFailures, m.ServiceFailures)
	e.each(c.reloads, m.Reloads)
	e.gauge(c.reloaded, number(!m.ReloadFailed))
}
