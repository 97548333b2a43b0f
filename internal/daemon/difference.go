package daemon

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"baton/internal/config"
	"baton/internal/control"
)

// What two configurations do not have in common, and what that costs on this node.
// Nothing of it shows a secret.

// differ collects it.
type differ struct {
	was, is *config.Config
	status  *control.Status
	verdict func(check string) string
	all     []control.Difference
}

func differences(was, is *config.Config, status *control.Status, verdict func(string) string) ([]control.Difference, control.Unchanged) {
	d := &differ{was: was, is: is, status: status, verdict: verdict}
	var unchanged control.Unchanged
	unchanged.Routers = d.routers()
	unchanged.Checks = d.checks()
	unchanged.Services = d.services()
	d.rest()
	return d.all, unchanged
}

func (d *differ) add(name, what, cost string) {
	d.all = append(d.all, control.Difference{Name: name, What: what, Cost: cost})
}

// role is what the election of a router is on this node.
func (d *differ) role(c config.Router) string {
	if r, err := d.status.Find(cmp.Or(c.Group, c.Name)); err == nil {
		return r.Role
	}
	return "INIT"
}

// routers compares them by their keys, and returns how many are the same.
func (d *differ) routers() (same int) {
	before := make(map[routerKey]config.Router)
	for _, c := range d.was.Routers {
		before[keyOf(c)] = c
	}
	seen := make(map[routerKey]bool)
	for _, c := range d.is.Routers {
		key := keyOf(c)
		seen[key] = true
		old, known := before[key]
		switch {
		case !known:
			d.add(titleOf(d.is, c), "added", d.startCost(c))
		case reflect.DeepEqual(old, c):
			same++
		default:
			d.router(old, c)
		}
	}
	for _, c := range d.was.Routers {
		if !seen[keyOf(c)] {
			d.add(titleOf(d.was, c), "removed", d.leaveCost(c))
		}
	}
	return same
}

// titleOf is the name of a router, with the family where there are two of it.
func titleOf(cfg *config.Config, c config.Router) string {
	if slices.ContainsFunc(cfg.Routers, func(o config.Router) bool { return o.Name == c.Name && o.IPv6 != c.IPv6 }) {
		return c.Name + " " + familyOf(c.IPv6).String()
	}
	return c.Name
}

// startCost is how a new router begins.
func (d *differ) startCost(c config.Router) string {
	for _, o := range d.was.Routers { // into an election that runs
		stays := slices.ContainsFunc(d.is.Routers, func(n config.Router) bool { return keyOf(n) == keyOf(o) && restarts(o, n) == "" })
		joins := stays && cmp.Or(c.Group, c.Name) == cmp.Or(o.Group, o.Name)
		if joins && d.role(o) == "MASTER" {
			return "joins those that are MASTER, and is at once"
		}
	}
	return "begins in INIT"
}

// leaveCost is how a router goes.
func (d *differ) leaveCost(c config.Router) string {
	role := d.role(c)
	if role != "MASTER" {
		return role + " here: nothing to hand over"
	}
	if len(c.Services) > 0 {
		return "MASTER here: its services stop, and the role is handed over"
	}
	return "MASTER here: the role is handed over, the address stays until another node has it"
}

// router compares two that have the same key.
func (d *differ) router(was, is config.Router) {
	name := titleOf(d.is, is)
	stays := "stays " + d.role(was)
	before := len(d.all)
	if why := restarts(was, is); why != "" {
		d.add(name, why+": changed", "begins anew in INIT; "+d.leaveCost(was))
		return
	}
	if was.Name != is.Name {
		d.add(name, "renamed from "+was.Name, stays)
	}
	if was.Group != is.Group {
		d.add(name, "group: "+cmp.Or(was.Group, "none")+" to "+cmp.Or(is.Group, "none"), d.groupCost(was, is))
	}
	d.election(name, was, is, stays)
	d.addresses(name, was, is)
	for _, k := range routerKeys {
		a, b := k.of(was), k.of(is)
		if reflect.DeepEqual(a, b) {
			continue
		}
		what := k.name + ": changed"
		if x, y := shownValue(a), shownValue(b); x != "" && y != "" {
			what = fmt.Sprintf("%s: %s to %s", k.name, x, y)
		}
		d.add(name, what, cmp.Or(k.cost, stays))
	}
	d.track(name, was, is, stays)
	d.bound(name, was, is)
	if len(d.all) == before {
		d.add(name, "changed", stays)
	}
}

// routerKeys are the values that are compared as they are. Of those whose values are
// not shown only that they have changed is told.
var routerKeys = []struct {
	name string
	of   func(config.Router) any
	cost string // empty: the role stays
}{
	{"advertisement_interval", func(c config.Router) any { return c.Interval }, "from the next advertisement on"},
	{"missed_advertisements", func(c config.Router) any { return c.Missed }, ""},
	{"preempt", func(c config.Router) any { return c.Preempt }, ""},
	{"preempt_delay", func(c config.Router) any { return c.PreemptDelay }, ""},
	{"start_delay", func(c config.Router) any { return c.StartDelay }, "nothing until baton starts"},
	{"retry_after", func(c config.Router) any { return c.RetryAfter }, "from the next failure on"},
	{"track_link", func(c config.Router) any { return c.TrackLink }, ""},
	{"checksum", func(c config.Router) any { return c.PlainChecksum }, "from the next advertisement on"},
	{"source_address", func(c config.Router) any { return c.Source }, "from the next advertisement on"},
	{"unicast", func(c config.Router) any { return c.Peers }, "from the next advertisement on"},
	{"only_peers", func(c config.Router) any { return c.OnlyPeers }, ""},
	{"min_ttl", func(c config.Router) any { return c.MinTTL }, ""},
	{"max_ttl", func(c config.Router) any { return c.MaxTTL }, ""},
	{"authentication", func(c config.Router) any { return [2]any{c.Password, c.HMAC} }, "from the next advertisement on: nodes that do not have it yet refuse it"},
	{"accept", func(c config.Router) any { return c.Accept }, ""},
	{"address_lifetime", func(c config.Router) any { return c.AddressLifetime }, "addresses are renewed"},
	{"announce", func(c config.Router) any { return c.Announce }, "from the next announcement on"},
	{"routes", func(c config.Router) any { return c.Routes }, "put in place and removed while the addresses stay"},
	{"rules", func(c config.Router) any { return c.Rules }, "put in place and removed while the addresses stay"},
	{"notify", func(c config.Router) any { return c.Notify }, "from the next change on; nothing is told again"},
	{"promote_after", func(c config.Router) any { return c.PromoteAfter }, "from the next start on"},
	{"on_stop_failure", func(c config.Router) any { return c.OnStopFailure }, ""},
}

// shownValue is a value as the file has it; empty for what is not shown.
func shownValue(v any) string {
	switch v := v.(type) {
	case time.Duration:
		return shortDuration(v)
	case bool, int, uint8:
		return fmt.Sprint(v)
	case netip.Addr:
		if v.IsValid() {
			return v.String()
		}
		return "none"
	}
	return ""
}

// shortDuration is 4m, not 4m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// election compares who is to be master.
func (d *differ) election(name string, was, is config.Router, stays string) {
	if reflect.DeepEqual(was.Priorities, is.Priorities) {
		return
	}
	what := "priorities of other nodes"
	if a, b := preferred(was.Priorities), preferred(is.Priorities); a != b && a != "" && b != "" {
		what = "prefer: " + a + " to " + b
	} else if was.Priority != is.Priority {
		what = fmt.Sprintf("priority: %d to %d", was.Priority, is.Priority)
	}
	cost := fmt.Sprintf("priority %d to %d; ", was.Priority, is.Priority)
	if was.Priority == is.Priority {
		cost = ""
	}
	best := preferred(is.Priorities)
	switch {
	case d.role(was) == "MASTER" && is.Preempt && is.Priority < was.Priority && best != d.is.Node && best != "":
		cost += fmt.Sprintf("%s (%d) takes over once it has this file", best, is.Priorities[best])
	case d.role(was) == "MASTER" && !is.Preempt:
		cost += stays + " (preempt: false)"
	case d.role(was) == "BACKUP" && is.Preempt && is.Priority > was.Priority && best == d.is.Node:
		cost += "takes over"
	default:
		cost += stays
	}
	d.add(name, what, cost)
}

// groupCost is what another group does to a role.
func (d *differ) groupCost(was, is config.Router) string {
	role := d.role(was)
	if is.Group == "" {
		return "stays " + role
	}
	for _, o := range d.is.Routers {
		if o.Group != is.Group || keyOf(o) == keyOf(is) {
			continue
		}
		for _, old := range d.was.Routers {
			if other := d.role(old); keyOf(old) == keyOf(o) && other != role {
				return fmt.Sprintf("%s joins %s: the group is %s", role, other, weaker(role, other))
			}
		}
	}
	return "stays " + role
}

// weaker is the role that a group of both has.
func weaker(a, b string) string {
	for _, role := range []string{"FAULT", "BACKUP"} {
		if a == role || b == role {
			return role
		}
	}
	return a
}

// addresses compares the virtual addresses.
func (d *differ) addresses(name string, was, is config.Router) {
	role := d.role(was)
	has := func(c config.Router, a config.Address) bool {
		return slices.ContainsFunc(c.Addresses, func(o config.Address) bool { return o.Prefix == a.Prefix && o.Interface == a.Interface })
	}
	elsewhere := func(cfg *config.Config, a config.Address) (string, bool) {
		for _, c := range cfg.Routers {
			if keyOf(c) != keyOf(is) && slices.ContainsFunc(c.Addresses, func(o config.Address) bool { return o.Prefix.Addr() == a.Prefix.Addr() }) {
				return titleOf(cfg, c), true
			}
		}
		return "", false
	}
	before := len(d.all)
	for _, a := range is.Addresses {
		if has(was, a) {
			continue
		}
		cost := "added and announced; stays MASTER"
		if from, moves := elsewhere(d.was, a); moves && role == "MASTER" {
			cost = "comes from " + from + ", in one step where that is MASTER too; stays MASTER"
		}
		if role != "MASTER" {
			cost = "not on this node; stays " + role
		}
		d.add(name, "addresses: + "+a.Prefix.String(), cost)
	}
	for _, a := range was.Addresses {
		if has(is, a) {
			continue
		}
		cost := "removed; stays MASTER"
		if to, moves := elsewhere(d.is, a); moves && role == "MASTER" {
			cost = "goes to " + to + "; stays MASTER"
		}
		if role != "MASTER" {
			cost = "not on this node; stays " + role
		}
		d.add(name, "addresses: - "+a.Prefix.String(), cost)
	}
	if len(d.all) == before && !reflect.DeepEqual(was.Addresses, is.Addresses) {
		d.add(name, "addresses: other options, or another order", "stays "+role)
	}
}

// track compares the effects of checks.
func (d *differ) track(name string, was, is config.Router, stays string) {
	effects := func(c config.Router) map[string]config.Track {
		m := make(map[string]config.Track)
		for _, t := range c.Track {
			m[t.Check] = t
		}
		return m
	}
	a, b := effects(was), effects(is)
	for _, t := range is.Track {
		old, known := a[t.Check]
		what := "track: + " + t.Check
		if known {
			what = "track: " + t.Check + " has another effect"
		}
		if known && old == t {
			continue
		}
		cost := stays
		if d.verdict(t.Check) == "fail" && t.Effect != config.ReportOnly {
			cost = "it fails: counts at once"
		}
		d.add(name, what, cost)
	}
	for _, t := range was.Track {
		if _, kept := b[t.Check]; !kept {
			d.add(name, "track: - "+t.Check, stays)
		}
	}
}

// bound compares the services of a router.
func (d *differ) bound(name string, was, is config.Router) {
	master := d.role(was) == "MASTER"
	has := func(list []config.Service, s config.Service) bool {
		return slices.ContainsFunc(list, func(o config.Service) bool { return whatOf(o) == whatOf(s) })
	}
	for _, s := range is.Services {
		switch {
		case !has(was.Services, s) && master:
			d.add(name, "services: + "+s.Name, "is started; stays MASTER")
		case !has(was.Services, s):
			d.add(name, "services: + "+s.Name, "is stopped if it runs")
		case !keeps(was.Services, s):
			d.add(name, "services: "+s.Name+" changed", "is left as it is")
		}
	}
	for _, s := range was.Services {
		switch {
		case has(is.Services, s):
		case master:
			d.add(name, "services: - "+s.Name, "is stopped; stays MASTER")
		default:
			d.add(name, "services: - "+s.Name, "is left as it is")
		}
	}
	if was.AddressesAt != is.AddressesAt {
		d.add(name, "services: other place of the addresses", "they stay where they are")
	}
}

// checks compares them, and returns how many are the same.
func (d *differ) checks() (same int) {
	before := make(map[string]config.Check)
	for _, c := range d.was.Checks {
		before[c.Name] = c
	}
	for _, c := range d.is.Checks {
		old, known := before[c.Name]
		delete(before, c.Name)
		keeps := "keeps its verdict (" + d.verdict(c.Name) + ")"
		switch {
		case !known:
			d.add(c.Name, "added", "begins at once")
		case reflect.DeepEqual(old, c):
			same++
		case !sameQuestion(old, c):
			d.add(c.Name, "asks something else", keeps+" until the first answer")
		default:
			for _, v := range []struct {
				name   string
				is, to any
			}{{"interval", old.Interval, c.Interval}, {"timeout", old.Timeout, c.Timeout}, {"rise", old.Rise, c.Rise}, {"fall", old.Fall, c.Fall}} {
				if v.is != v.to {
					d.add(c.Name, fmt.Sprintf("%s: %s to %s", v.name, shownValue(v.is), shownValue(v.to)), keeps)
				}
			}
		}
	}
	for _, c := range d.was.Checks {
		if _, removed := before[c.Name]; removed {
			d.add(c.Name, "removed", "is not asked any more")
		}
	}
	return same
}

// services counts those that are the same, and compares those that run on every node.
func (d *differ) services() (same int) {
	counted := make(map[string]bool)
	for _, c := range d.is.Routers {
		name := cmp.Or(c.Group, c.Name)
		if counted[name] {
			continue
		}
		counted[name] = true
		for _, o := range d.was.Routers {
			if keyOf(o) != keyOf(c) {
				continue
			}
			for _, s := range c.Services {
				if keeps(o.Services, s) {
					same++
				}
			}
		}
	}
	has := func(list []config.Service, s config.Service) bool {
		return slices.ContainsFunc(list, func(o config.Service) bool { return whatOf(o) == whatOf(s) })
	}
	for _, s := range d.is.Services {
		switch {
		case keeps(d.was.Services, s):
			same++
		case has(d.was.Services, s):
			d.add(s.Name, "changed", "is left as it is")
		default:
			d.add(s.Name, "added", "is started")
		}
	}
	for _, s := range d.was.Services {
		if !has(d.is.Services, s) {
			d.add(s.Name, "removed", "is left as it is, and not watched any more")
		}
	}
	return same
}

// rest compares what belongs to no router.
func (d *differ) rest() {
	if !reflect.DeepEqual(d.was.Nodes, d.is.Nodes) {
		d.add("nodes", "changed", "nothing by itself")
	}
	if d.was.Log != d.is.Log {
		d.add("log", "changed", "at once")
	}
	if !reflect.DeepEqual(d.was.Webhooks, d.is.Webhooks) {
		d.add("webhooks", "changed", "from the next event on")
	}
	if !reflect.DeepEqual(d.was.Listen, d.is.Listen) {
		d.add("listen", "changed", "at once")
	}
}
