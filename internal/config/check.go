package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// CheckType says how a check asks.
type CheckType uint8

const (
	_               CheckType = iota
	CommandCheck              // runs a program: exit status 0 passes
	HAProxyCheck              // asks HAProxy's stats socket
	HTTPCheck                 // sends a request
	TCPCheck                  // connects, and has a dialogue
	UnixCheck                 // the same over a Unix socket
	ConnectionCheck           // looks for a process that is connected to a port
	PingCheck                 // sends an ICMP echo
	ProcessCheck              // looks for processes
	FileCheck                 // looks at a file
	InterfaceCheck            // looks whether an interface is up and running
	AddressCheck              // looks for an address of this host
	RouteCheck                // looks for a route
	UnitCheck                 // asks systemd
	ContainerCheck            // asks docker or podman
	OCFCheck                  // runs a resource agent's monitor
	QuorumCheck               // counts the nodes that answer
	AllCheck                  // passes when all of some checks do
	AnyCheck                  // when one of them does
	AtLeastCheck              // when so many do
)

func (t CheckType) String() string {
	if k := t.kind(); k.name != "" {
		return k.name
	}
	return fmt.Sprintf("check type %d", uint8(t))
}

// Check is something that passes or fails.
type Check struct {
	Name       string
	Type       CheckType
	Interval   time.Duration // from the start of a run to the start of the next; at least 50ms
	Timeout    time.Duration // what has not answered by then fails
	Rise, Fall int           // answers in a row that turn the verdict, at least 1
	Command    *Command      // of a CommandCheck
	HAProxy    *HAProxy      // of an HAProxyCheck

	HTTP        *HTTP        // of an HTTPCheck
	Dialogue    *Dialogue    // of a TCPCheck or a UnixCheck
	Processes   *Processes   // of a ProcessCheck or a ConnectionCheck
	Ping        *Ping        // of a PingCheck
	File        *File        // of a FileCheck
	Presence    *Presence    // of an InterfaceCheck, an AddressCheck or a RouteCheck
	Unit        string       // of a UnitCheck, with its suffix
	Container   *Container   // of a ContainerCheck
	OCF         *OCF         // of an OCFCheck
	Quorum      *Quorum      // of a QuorumCheck
	Combination *Combination // of an AllCheck, an AnyCheck or an AtLeastCheck
}

// HAProxy is what a check asks of HAProxy.
type HAProxy struct {
	Socket  string // absolute path
	Backend string // empty: HAProxy itself is all that is asked about
	MinUp   int    // servers of the backend that must be up; 0 without one
}

// Command is a program and how to run it. No shell reads it.
type Command struct {
	Argv    []string // the first word is an absolute path or a bare name; those of a hook or a service still have the role's variables, and $$ for $
	Timeout time.Duration
	User    string   // empty: who runs baton
	Env     []string // NAME=VALUE, from the environment_file: secret
	Retries int      // of a hook: how often it is run again after it failed
}

// timeoutCap bounds a check's timeout where the file has none: a check that is asked once an hour need not hang for one.
const timeoutCap = 10 * time.Second

// readChecks reads all checks and keeps those that are wanted here.
func (w *walk) readChecks(n *node) {
	all := allCheckKeys()
	base := w.fields(w.checkDefaults, place{}, all, "check")
	if w.checkDefaults != nil { // its own mistakes, whoever uses it; those of a type's keys are its users'
		w.typeName(base)
		w.commonValues(base, &Check{})
	}
	for _, r := range w.config.Routers {
		for _, t := range r.Track {
			w.want(t.Check)
		}
	}
	for _, e := range w.entries(n, "checks") {
		if !w.name(e.key, "check") {
			continue
		}
		if !w.trackedBy[e.key.text] {
			w.warnAt(e.key.place, "", `track it with effect "report" to see it in status`, "check %q is tracked by nobody: it is not run", e.key.text)
		}
		f, t := w.checkFields(e, base, all)
		if f.broken {
			continue
		}
		here := w.wanted[e.key.text]
		asked, needed := len(w.config.questions), w.secrets.needed
		w.secrets.needed = needed && here
		check := w.check(f, t, e.key.text)
		w.secrets.needed = needed
		if !here {
			w.config.questions = w.config.questions[:asked]
			continue
		}
		if !w.absent(f) {
			w.config.Checks = append(w.config.Checks, check)
		}
	}
	w.lintCycles(n)
	w.lintQuorums(n)
	slices.SortFunc(w.config.Checks, func(a, b Check) int { return strings.Compare(a.Name, b.Name) })
}

// checkFields returns the values of a check, and its type; 0 where that is missing or wrong. all are the keys of all types.
func (w *walk) checkFields(e entry, base fields, all keys) (fields, CheckType) {
	if e.value.kind == scalar || e.value.kind == list {
		w.errorAt(e.value.place, e.value.path, "such as {type: tcp, address: 127.0.0.1:6379}", "is %s, want a mapping", e.value.kind)
		return fields{broken: true}, 0
	}
	t := typeOf(e.value, base.own["type"])
	if t == 0 {
		f := w.fields(e.value, e.key.place, all, "check")
		f.path, f.fallback = e.value.path, base.own
		return f, 0
	}
	table := t.table()
	mine := *e.value
	mine.entries = nil
	for _, o := range e.value.entries {
		if table.find(o.key.text) == nil {
			if others := typesWith(o.key.text); len(others) > 0 {
				w.errorAt(o.value.place, o.value.path, "known: "+strings.Join(table.names(), ", "), "belongs to type %s, this is %s", enumerate(others), t)
				continue
			}
		}
		mine.entries = append(mine.entries, o)
	}
	f := w.fields(&mine, e.key.place, table, "check")
	f.path, f.fallback = e.value.path, checkFallback(f, base)
	return f, t
}

// alternatives are keys that are several ways to say one thing. What stands in a check takes a default for another way out.
var alternatives = [][]string{{"process", "executable", "pid_file"}, {"send", "dialogue"}, {"expect", "dialogue"}, {"password", "password_file"}}

// checkFallback are the defaults that hold for a check.
func checkFallback(f, base fields) map[string]*node {
	rest := maps.Clone(base.own)
	maps.DeleteFunc(rest, func(name string, _ *node) bool {
		k := f.table.find(name)
		return k == nil || k.own
	})
	for _, names := range alternatives {
		if slices.ContainsFunc(names, func(name string) bool { return f.own[name] != nil }) {
			for _, name := range names {
				delete(rest, name)
			}
		}
	}
	return rest
}

// typeOf tells the type of a check, which may be that of the defaults; 0 where there is none that is known.
func typeOf(check, fallback *node) CheckType {
	n := check.child("type")
	if n == nil {
		n = fallback
	}
	if n == nil || n.kind != scalar {
		return 0
	}
	return typeNamed(n.text)
}

// check reads one check.
func (w *walk) check(f fields, t CheckType, name string) Check {
	c := Check{Name: name, Type: t}
	if f.has("type") {
		w.typeName(f)
	} else {
		w.errorAt(f.at, f.path, guessType(f), "type is missing")
	}
	w.commonValues(f, &c)
	if t == 0 {
		return c
	}
	k := t.kind()
	var have []string
	for _, need := range k.needs {
		if f.has(need) {
			have = append(have, need)
		}
	}
	switch {
	case len(k.needs) == 1:
		f.require(k.needs[0], k.hint)
	case len(k.needs) > 1 && len(have) == 0:
		w.errorAt(f.at, f.path, k.hint, "%s is missing", enumerate(k.needs))
	case len(have) > 1:
		n := f.raw(have[1])
		w.errorAt(n.place, n.path, "", "%s are two ways to say one thing: write one of them", several(have[:2]))
	}
	k.read(w, f, &c)
	return c
}

// absent reports values that this node does not have although it runs the check.
func (w *walk) absent(f fields) bool {
	found := false
	for _, k := range f.table {
		if n := f.raw(k.name); k.perNode && n != nil && n.kind == mapping && !w.noNodes && pick(n, w.me.Name) == nil {
			w.errorAt(n.place, n.path, "add it, or a default; or let nobody there track it", "there is no value for a node that tracks the check")
			found = true
		}
	}
	return found
}

// commonValues reads the keys that every check has.
func (w *walk) commonValues(f fields, c *Check) {
	c.Interval = f.duration("interval", 50*time.Millisecond, day, false)
	c.Timeout = min(c.Interval, timeoutCap)
	if f.has("timeout") {
		c.Timeout = f.duration("timeout", 10*time.Millisecond, time.Hour, false)
		if n := f.get("timeout"); c.Timeout > c.Interval && c.Name != "" {
			w.warnAt(n.place, n.path, "runs never overlap: the next one waits for it", "%s is longer than the interval (%s)", formatDuration(c.Timeout), formatDuration(c.Interval))
		}
		if c.Timeout == 0 { // wrong, and reported
			c.Timeout = min(c.Interval, timeoutCap)
		}
	}
	c.Rise, c.Fall = f.number("rise", 1, 1000), f.number("fall", 1, 1000)
}

func (w *walk) commandCheck(f fields, c *Check) {
	c.Command = w.command(f, inCheck, c.Timeout)
}

func (w *walk) haproxyCheck(f fields, c *Check) {
	h := &HAProxy{Backend: f.text("backend"), Socket: w.socket(f, "/run/haproxy/admin.sock", inCheck)}
	if h.Backend != "" {
		h.MinUp = f.number("min_up", 1, 10000)
		if n := f.scalar("backend"); strings.ContainsAny(n.text, " ,;/\t\n") {
			f.wrong("backend", n, "")
		}
	} else if n := f.own["min_up"]; n != nil && !f.has("backend") {
		w.errorAt(n.place, n.path, "add backend: NAME", "counts the servers of a backend, and there is none")
	}
	c.HAProxy = h
}
