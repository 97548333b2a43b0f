package config

import (
	"time"
)

var serviceKindNames = [...]string{"", "unit", "container", "ocf", "command", "command"}

// String is the key that says it.
func (k ServiceKind) String() string {
	if int(k) < len(serviceKindNames) {
		return serviceKindNames[k]
	}
	return "service kind " + itoa(int(k))
}

// a is how a message names one.
func (k ServiceKind) a() string {
	switch k {
	case UnitService:
		return "a unit"
	case ContainerService:
		return "a container"
	case OCFService:
		return "a resource agent"
	}
	return "a command"
}

// kind says what a service is, by its keys; 0 where that cannot be told, which is reported.
func (sr *serviceReader) kind(f fields) ServiceKind {
	w := sr.walk
	kind := ServiceKind(0)
	var first *node
	for _, k := range []ServiceKind{UnitService, ContainerService, OCFService, CommandService} {
		n := f.own[k.String()]
		switch {
		case n == nil:
		case first != nil:
			w.errorAt(n.place, f.path, "one service for each; the list is their order", "%s and %s are two kinds of service: write one of them", kind, k)
			return 0
		default:
			kind, first = k, n
		}
	}
	if first == nil {
		w.errorAt(f.at, f.path, "unit: NAME.service, container: NAME, ocf: PROVIDER:AGENT, or command: {start: COMMAND, stop: COMMAND}", "does not say what the service is")
		return 0
	}
	return kind
}

// what reads that which is started and stopped.
func (sr *serviceReader) what(f fields, s *Service) {
	switch s.Kind {
	case UnitService:
		s.Unit = sr.unitName(f, "unit", inManaged)
		s.Name = s.Unit
		if t := unitType(s.Unit); t == ".device" || t == ".scope" {
			n := f.own["unit"]
			sr.errorAt(n.place, n.path, "", "systemd cannot start %s", quote(n.text))
		}
	case ContainerService:
		s.Container = *sr.containerOf(f, "container", inManaged)
		s.Name = s.Container.Name
	case OCFService:
		s.OCF = *sr.agent(f, "ocf", inManaged)
		s.Name = s.OCF.Agent
		if a := s.OCF.Agent; s.OCF.Provider == "heartbeat" && (a == "IPaddr" || a == "IPaddr2" || a == "IPv6addr") {
			n := f.own["ocf"]
			sr.warnAt(n.place, n.path, "addresses: [ADDRESS/LEN]; the word addresses in the list is where they go on", "baton puts addresses on by itself, announces them, and lets go of them when the next node has them: an agent does not")
		}
	case CommandService:
		f.require("name", "name: NAME, for logs and status")
		sr.commands(f, s)
	}
}

// commands reads what starts and stops a service, or promotes and demotes it.
func (sr *serviceReader) commands(f fields, s *Service) {
	w := sr.walk
	n := f.get("command")
	if n.kind != mapping {
		w.errorAt(n.place, n.path, "command: {start: COMMAND, stop: COMMAND, status: COMMAND}", "is %s, want a mapping", n.kind)
		return
	}
	c := w.fields(n, n.place, serviceCommandKeys, "service command")
	two := "start and stop are for what runs on the master alone; promote, demote and follow are for what runs on every node, in one role or the other"
	starts, promotes := first(c, "start", "stop"), first(c, "promote", "demote", "follow")
	switch {
	case starts != "" && promotes != "":
		later := c.own[promotes]
		if o := c.own[starts]; o.line > later.line || o.line == later.line && o.column > later.column {
			later = o
		}
		w.errorAt(later.place, n.path, two, "%s and %s do not go together: write the one form or the other", starts, promotes)
		return
	case promotes != "" && sr.scope.roles:
		s.Kind = RoleService
	case promotes != "":
		w.errorAt(c.own[promotes].place, n.path, "it belongs to the services of the virtual router whose role it takes", "%s is about a role, and this service runs on every node, whatever its role", promotes)
		return
	}
	ask := min(askLimit, s.StartTimeout)
	if s.Kind == RoleService {
		c.requireOf("promote", two)
		s.Promote, s.Demote = sr.command(f, c, "promote", s.StartTimeout), sr.command(f, c, "demote", s.StopTimeout)
		s.Follow = sr.command(f, c, "follow", ask)
	} else {
		c.requireOf("start", two)
		s.Start, s.Stop = sr.command(f, c, "start", s.StartTimeout), sr.command(f, c, "stop", s.StopTimeout)
	}
	s.Status = sr.command(f, c, "status", ask)
}

// requireOf reports a command that the file does not have, or has a broken mapping of.
func (f fields) requireOf(name, hint string) {
	if !f.broken {
		f.require(name, hint)
	}
}

// first returns the first of the keys that a mapping has, or "".
func first(f fields, names ...string) string {
	for _, name := range names {
		if f.own[name] != nil {
			return name
		}
	}
	return ""
}

// command reads one of them. The user and the environment of the service are those of all its commands.
func (sr *serviceReader) command(f, commands fields, name string, timeout time.Duration) *Command {
	w := sr.walk
	n := commands.own[name]
	if n == nil {
		return nil
	}
	if n.child("command") != nil && !w.isNode("command") {
		w.errorAt(n.place, n.path, "write the command alone; user and environment_file stand on the service, and its time limits are start_timeout and stop_timeout", "is a mapping, want a command")
		return nil
	}
	c := fields{w: w, at: n.place, path: n.path, table: commandKeys, own: map[string]*node{"command": n, "user": f.raw("user"), "environment_file": f.raw("environment_file")}}
	sr.lacking(commands, name)
	return w.command(c, sr.scope, timeout)
}

// lacking reports a value that this node does not have although it needs it.
func (sr *serviceReader) lacking(f fields, name string) {
	if n := f.raw(name); sr.here && n != nil && n.kind == mapping && pick(n, sr.me.Name) == nil {
		sr.errorAt(n.place, n.path, "add it, or a default", "there is no value for a node that runs the service")
	}
}
