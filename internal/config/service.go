package config

import (
	"slices"
	"strings"
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
		s.Unit = sr.unit(f)
		s.Name = s.Unit
	case ContainerService:
		s.Container = sr.container(f)
		s.Name = s.Container.Name
	case OCFService:
		s.OCF = sr.ocf(f)
		s.Name = s.OCF.Agent
		if path := s.OCF.path(); path != "" {
			n := f.own["ocf"]
			sr.config.ask(question{kind: askCommand, at: n.place, path: n.path, argv: []string{path}, user: s.OCF.User, unmet: sr.scope.unmet})
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

// unitSuffixes are the kinds of units that can be started and stopped.
func unitSuffixes() []string {
	return []string{".service", ".mount", ".timer", ".target", ".socket", ".path", ".automount", ".swap", ".slice"}
}

func unitSuffix(name string) (suffix string, known bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", false
	}
	return name[i:], slices.Contains(unitSuffixes(), name[i:])
}

// unit reads the name of a unit of systemd, and completes it as systemctl does. It is empty where it is wrong.
func (w *walk) unit(f fields) string {
	n := f.scalar("unit")
	if n == nil {
		return ""
	}
	suffix, known := unitSuffix(n.text)
	stem := strings.TrimSuffix(n.text, suffix)
	switch {
	case known:
	case suffix == ".device" || suffix == ".scope" || suffix == ".snapshot":
		w.errorAt(n.place, n.path, "", "systemd cannot start %s", quote(n.text))
		return ""
	case suffix != "" && !strings.Contains(suffix, "$") && nearest(suffix, unitSuffixes()) != "":
		w.errorAt(n.place, n.path, "did you mean "+quote(stem+nearest(suffix, unitSuffixes()))+"?", "%s is no name of a unit", quote(n.text))
		return ""
	default:
		stem, suffix = n.text, ".service"
	}
	name, ok := w.expand(word{[]rune(stem), n.inside}, inUnit, n.path)
	switch {
	case !ok:
		return ""
	case strings.HasPrefix(n.text, "/"):
		w.errorAt(n.place, n.path, "unit: "+escapePath(strings.TrimSuffix(n.text, ".mount"))+", which `systemd-escape --path --suffix=mount` writes", "%s is a path, want the name of a unit", quote(n.text))
	case strings.HasSuffix(stem, "@"):
		w.errorAt(n.place, n.path, "unit: "+short(stem)+"INSTANCE"+suffix, "%s is a template, which cannot be started without an instance", quote(n.text))
	case stem == "" || strings.Trim(name, letters+digits+`:_.\-@`) != "" || len(name+suffix) > 255:
		w.errorAt(n.place, n.path, "as systemctl shows it, such as osc.service", "%s is no name of a unit", quote(n.text))
	default:
		return name + suffix
	}
	return ""
}

// escapePath is the name of a mount unit, for a hint.
func escapePath(path string) string {
	path = strings.Trim(path, "/")
	if path == "" {
		return "-.mount"
	}
	return short(strings.NewReplacer("-", `\x2d`, "/", "-").Replace(path)) + ".mount"
}

// container reads the name of a container and where its engine answers. The name is empty where it is wrong.
func (w *walk) container(f fields) Container {
	c := Container{Socket: "/run/docker.sock"}
	if f.oneOf("engine", "docker", "podman") == "podman" {
		c.Socket = "/run/podman/podman.sock"
	}
	n := f.scalar("container")
	at := n
	if s := f.scalar("socket"); s != nil {
		c.Socket, at = w.socketPath(s, inContainer), s
	}
	if n == nil {
		return c
	}
	if c.Socket != "" {
		w.config.ask(question{kind: askSocket, at: at.place, path: at.path, name: c.Socket, unmet: inContainer.unmet})
	}
	name, ok := w.expand(word{[]rune(n.text), n.inside}, inContainer, n.path)
	switch {
	case !ok:
	case strings.Trim(name, letters+digits+"_.-") != "" || strings.IndexByte(letters+digits+"$", n.text[0]) < 0:
		w.errorAt(n.place, n.path, "as `docker ps` shows it; not that of an image", "%s is no name of a container", quote(n.text))
	default:
		c.Name = name
	}
	return c
}

// socketPath reads the path of a Unix socket. It is empty where it is wrong.
func (w *walk) socketPath(n *node, s scope) string {
	path, ok := w.expand(word{[]rune(n.text), n.inside}, s, n.path)
	switch {
	case !ok:
	case strings.HasPrefix(path, "unix://"):
		w.errorAt(n.place, n.path, "write "+short(strings.TrimPrefix(path, "unix://")), "%s is a URL, want the path of a socket", quote(n.text))
	case !strings.HasPrefix(path, "/"):
		w.errorAt(n.place, n.path, "write the whole path, such as /run/docker.sock", "%s is no absolute path", quote(n.text))
	case len(path) > 107:
		w.errorAt(n.place, n.path, "", "has %d bytes, a socket's path has at most 107", len(path))
	default:
		return path
	}
	return ""
}

// ocf reads a resource agent, as PROVIDER:AGENT or with ocf: before it. The agent is empty where it is wrong.
func (w *walk) ocf(f fields) OCF {
	o := OCF{User: w.user(f), Params: w.params(f)}
	n := f.scalar("ocf")
	if n == nil {
		return o
	}
	parts := strings.Split(strings.TrimPrefix(n.text, "ocf:"), ":")
	bad := slices.ContainsFunc(parts, func(p string) bool {
		return p == "" || strings.Trim(p, letters+digits+"_.-") != "" || strings.Trim(p, ".") == ""
	})
	switch {
	case len(parts) == 2 && slices.Contains([]string{"systemd", "service", "lsb", "upstart"}, parts[0]):
		w.errorAt(n.place, n.path, "unit: "+short(parts[1]), "%s is no resource agent, but a unit of systemd", quote(n.text))
	case parts[0] == "stonith":
		w.errorAt(n.place, n.path, "{name: fence, only_after: silence, command: {start: COMMAND}}, first in the list", "fence agents are not OCF agents")
	case len(parts) == 1 && !bad:
		w.errorAt(n.place, n.path, "ocf: heartbeat:"+short(parts[0])+"; the providers are the folders of /usr/lib/ocf/resource.d", "%s names no provider: want PROVIDER:AGENT", quote(n.text))
	case len(parts) != 2 || bad:
		w.errorAt(n.place, n.path, "such as heartbeat:redis, for /usr/lib/ocf/resource.d/heartbeat/redis", "%s is no resource agent: want PROVIDER:AGENT", quote(n.text))
	default:
		o.Provider, o.Agent = parts[0], parts[1]
	}
	return o
}

// path is where the agent is; empty where it has none.
func (o OCF) path() string {
	if o.Agent == "" {
		return ""
	}
	return "/usr/lib/ocf/resource.d/" + o.Provider + "/" + o.Agent
}

// params reads what a resource agent gets in OCF_RESKEY_NAME.
func (w *walk) params(f fields) map[string]string {
	n := f.get("params")
	switch {
	case n == nil || n.kind == empty:
		return nil
	case n.kind != mapping:
		w.errorAt(n.place, n.path, "params: {NAME: VALUE}", "is %s, want a mapping", n.kind)
		return nil
	}
	all := map[string]string{}
	for _, e := range n.entries {
		name := e.key.text
		switch {
		case name == "" || strings.Trim(name, letters+digits+"_") != "":
			w.errorAt(e.key.place, n.path, "letters, digits and underscore: it becomes OCF_RESKEY_NAME", "%s cannot be the name of a parameter", quote(name))
		case strings.HasPrefix(name, "OCF_RESKEY_"):
			w.errorAt(e.key.place, n.path, "write "+short(strings.TrimPrefix(name, "OCF_RESKEY_")), "%s has its prefix already", quote(name))
		case e.value.kind == empty:
			w.errorAt(e.value.place, e.value.path, `"" is an empty text`, "is empty")
		case e.value.kind != scalar:
			w.errorAt(e.value.place, e.value.path, "", "is %s, want a single value", e.value.kind)
		default:
			all[name], _ = w.expand(word{[]rune(e.value.text), e.value.inside}, inParams, e.value.path)
		}
	}
	return all
}
