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

var checkTypeNames = [...]string{
	"", "command", "haproxy", "http", "tcp", "unix", "connection", "ping", "process", "file", "interface", "address", "route",
	"unit", "container", "ocf", "quorum", "all", "any", "at_least",
}

func (t CheckType) String() string {
	if t > 0 && int(t) < len(checkTypeNames) {
		return checkTypeNames[t]
	}
	return fmt.Sprintf("check type %d", uint8(t))
}

// keys are those that a check of the type has beside the common ones.
func (t CheckType) keys() keys {
	switch t {
	case CommandCheck:
		return commandCheckKeys
	case HAProxyCheck:
		return haproxyCheckKeys
	}
	return nil
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

func allCheckKeys() keys {
	all := append(keys{}, checkKeys...)
	all = append(all, commandCheckKeys...)
	return append(all, haproxyCheckKeys...)
}

// readChecks reads all checks and keeps those that this node's routers track, or that are wanted otherwise.
func (w *walk) readChecks(n, defaults *node) {
	base := w.fields(defaults, place{}, allCheckKeys(), "check")
	if defaults != nil { // its own mistakes, whoever uses it
		w.checkValues(base, CommandCheck, "")
		w.checkValues(base, HAProxyCheck, "")
	}
	here := maps.Clone(w.wanted)
	for _, r := range w.config.Routers {
		for _, t := range r.Track {
			here[t.Check] = true
		}
	}
	for _, e := range w.entries(n, "checks") {
		if !w.name(e.key, "check") {
			continue
		}
		if !w.trackedBy[e.key.text] {
			w.warnAt(e.key.place, "", `track it with effect "report" to see it in status`, "check %q is tracked by nobody: it is not run", e.key.text)
		}
		f := w.fields(e.value, e.key.place, allCheckKeys(), "check")
		if f.broken {
			continue
		}
		f.path, f.fallback = e.value.path, base.own
		asked, needed := len(w.config.questions), w.secrets.needed
		w.secrets.needed = needed && here[e.key.text]
		check, absent := w.check(f, e.key.text)
		w.secrets.needed = needed
		switch {
		case !here[e.key.text]:
			w.config.questions = w.config.questions[:asked]
		case absent != "":
			v := f.raw(absent)
			w.errorAt(v.place, v.path, "add it, or a default; or let nobody there track it", "there is no value for a node that tracks the check")
		default:
			w.config.Checks = append(w.config.Checks, check)
		}
	}
	slices.SortFunc(w.config.Checks, func(a, b Check) int { return strings.Compare(a.Name, b.Name) })
}

// check reads one check. absent names the key that has no value on this node, if there is one.
func (w *walk) check(f fields, name string) (c Check, absent string) {
	types := map[string]CheckType{"command": CommandCheck, "haproxy": HAProxyCheck}
	t := CheckType(0)
	if f.has("type") {
		t = types[f.oneOf("type", "command", "haproxy")]
	} else {
		hint := "type: command or type: haproxy"
		for _, t := range []CheckType{HAProxyCheck, CommandCheck} { // of both, a command says more
			for _, k := range t.keys() {
				if f.own[k.name] != nil {
					hint = "write type: " + t.String()
				}
			}
		}
		w.errorAt(f.at, f.path, hint, "type is missing")
	}
	for _, k := range allCheckKeys() {
		if n := f.own[k.name]; n != nil && t != 0 && checkKeys.find(k.name) == nil && t.keys().find(k.name) == nil {
			w.errorAt(n.place, n.path, "known: "+strings.Join(append(checkKeys.names(), t.keys().names()...), ", "), "belongs to another type of check, this is %s", t)
		}
	}
	c = w.checkValues(f, t, name)
	switch t {
	case CommandCheck:
		f.require("command", "")
		if f.has("command") && f.get("command") == nil {
			absent = "command"
		}
	case HAProxyCheck:
		f.require("socket", "socket: /run/haproxy/admin.sock, as `stats socket` in haproxy.cfg")
		if f.has("socket") && f.get("socket") == nil {
			absent = "socket"
		}
		if n := f.own["min_up"]; n != nil && !f.has("backend") {
			w.errorAt(n.place, n.path, "add backend: NAME", "counts the servers of a backend, and there is none")
		}
	}
	return c, absent
}

// checkValues reads the values of a check of type t, each by itself.
func (w *walk) checkValues(f fields, t CheckType, name string) Check {
	c := Check{Name: name, Type: t}
	c.Interval = f.duration("interval", 50*time.Millisecond, day, false)
	c.Timeout = min(c.Interval, timeoutCap)
	if f.has("timeout") {
		c.Timeout = f.duration("timeout", 10*time.Millisecond, time.Hour, false)
		if n := f.get("timeout"); c.Timeout > c.Interval && name != "" {
			w.warnAt(n.place, n.path, "runs never overlap: the next one waits for it", "%s is longer than the interval (%s)", formatDuration(c.Timeout), formatDuration(c.Interval))
		}
		if c.Timeout == 0 { // wrong, and reported
			c.Timeout = min(c.Interval, timeoutCap)
		}
	}
	c.Rise, c.Fall = f.number("rise", 1, 1000), f.number("fall", 1, 1000)
	switch t {
	case CommandCheck:
		c.Command = w.command(f, inCheck, c.Timeout)
	case HAProxyCheck:
		c.HAProxy = w.haproxy(f)
	}
	return c
}

func (w *walk) haproxy(f fields) *HAProxy {
	h := &HAProxy{Backend: f.text("backend")}
	if h.Backend != "" {
		h.MinUp = f.number("min_up", 1, 10000)
		if n := f.scalar("backend"); strings.ContainsAny(n.text, " ,;/\t\n") {
			f.wrong("backend", n, "")
		}
	}
	n := f.scalar("socket")
	if n == nil {
		return h
	}
	path, ok := w.expand(word{[]rune(n.text), n.inside}, inCheck, n.path)
	switch {
	case !ok:
	case !strings.HasPrefix(path, "/"):
		w.errorAt(n.place, n.path, "write the whole path, such as /run/haproxy/admin.sock", "%s is no absolute path", quote(n.text))
	case len(path) > 107:
		w.errorAt(n.place, n.path, "", "has %d bytes, a socket's path has at most 107", len(path))
	default:
		h.Socket = path
		w.config.ask(question{kind: askSocket, at: n.place, path: n.path, name: path})
	}
	return h
}
