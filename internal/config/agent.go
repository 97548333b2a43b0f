package config

import (
	"slices"
	"strings"
)

func (w *walk) unitCheck(f fields, c *Check) { c.Unit = w.unitName(f, "unit", inCheck) }

func (w *walk) containerCheck(f fields, c *Check) {
	c.Container = w.containerOf(f, "container", inCheck)
}

func (w *walk) ocfCheck(f fields, c *Check) { c.OCF = w.agent(f, "agent", inCheck) }

// unitTypes are the suffixes of systemd's units: see systemd.unit(5).
func unitTypes() []string {
	return []string{".service", ".socket", ".device", ".mount", ".automount", ".swap", ".target", ".path", ".timer", ".slice", ".scope"}
}

// unitType returns the suffix of a unit's name, or "".
func unitType(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 0 || !slices.Contains(unitTypes(), name[i:]) {
		return ""
	}
	return name[i:]
}

// unitName reads the name of a unit; without a suffix it is a service, as systemctl has it. It is empty where the value is absent or wrong.
func (w *walk) unitName(f fields, name string, s scope) string {
	n := f.scalar(name)
	if n == nil {
		return ""
	}
	suffix := unitType(n.text)
	stem := strings.TrimSuffix(n.text, suffix) // apart, or $node.mount would be an address
	unit, ok := w.expand(word{[]rune(stem), n.inside}, s, n.path)
	if !ok {
		return ""
	}
	if slip := nearUnitType(stem); suffix == "" && slip != "" {
		w.errorAt(n.place, n.path, "did you mean "+quote(slip)+"?", "%s is no name of a unit", quote(n.text))
		return ""
	}
	if suffix == "" {
		suffix = ".service"
	}
	switch {
	case strings.Contains(unit, "/"):
		w.errorAt(n.place, n.path, "its name: systemctl list-units shows them; a mount's is "+mountUnit(stem), "%s is a path, want the name of a unit", quote(n.text))
	case strings.Trim(unit, letters+digits+`:-_.\@`) != "" || len(unit+suffix) > 255 || unit == "" && stem == "":
		w.errorAt(n.place, n.path, "", "%s cannot be the name of a unit", quote(n.text))
	case strings.HasSuffix(stem, "@"):
		w.errorAt(n.place, n.path, short(stem)+"NAME", "%s is a template, want the name of one of its units", quote(n.text))
	default:
		return unit + suffix
	}
	return ""
}

// nearUnitType returns a name with the suffix that it nearly has, or "".
func nearUnitType(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 0 || strings.Contains(name[i:], "$") {
		return ""
	}
	if near := nearest(name[i:], unitTypes()); near != "" {
		return name[:i] + near
	}
	return ""
}

// mountUnit is the name that the unit of a mounted folder has: what systemd-escape --path --suffix=mount writes.
func mountUnit(folder string) string {
	folder = strings.Trim(folder, "/")
	if folder == "" {
		return "-.mount"
	}
	return short(strings.NewReplacer("-", `\x2d`, "/", "-").Replace(folder)) + ".mount"
}

// containerOf reads the name of a container, and where its engine is asked.
func (w *walk) containerOf(f fields, name string, s scope) *Container {
	c := &Container{Socket: "/var/run/docker.sock"}
	if f.oneOf("engine", "docker", "podman") == "podman" {
		c.Socket = "/run/podman/podman.sock"
	}
	n := f.scalar(name)
	if text, ok := w.expanded(n, s); ok {
		if strings.Trim(text, letters+digits+"_.-") != "" || strings.IndexByte(letters+digits, text[0]) < 0 {
			w.errorAt(n.place, n.path, "docker ps shows them, as NAMES; not that of an image", "%s cannot be the name of a container", quote(n.text))
		} else {
			c.Name = text
		}
	}
	switch {
	case f.has("socket"):
		c.Socket = w.socket(f, "/run/podman/podman.sock", s)
	case n != nil:
		w.config.ask(question{kind: askSocket, at: n.place, path: n.path, name: c.Socket, unmet: s.unmet})
	}
	return c
}

// agents is where resource agents are, each in the folder of its provider.
const agents = "/usr/lib/ocf/resource.d/"

// agent reads PROVIDER:AGENT, and its parameters.
func (w *walk) agent(f fields, name string, s scope) *OCF {
	o := &OCF{User: w.user(f), Params: w.params(f, s)}
	n := f.scalar(name)
	if n == nil {
		return o
	}
	parts := strings.Split(n.text, ":")
	if len(parts) == 3 && parts[0] == "ocf" {
		parts = parts[1:]
	}
	unfit := func(s string) bool {
		return s == "" || strings.Trim(s, letters+digits+"_.-") != "" || strings.Trim(s, ".") == ""
	}
	switch {
	case (len(parts) == 1 || len(parts) == 2 && parts[0] == "ocf") && !unfit(parts[len(parts)-1]):
		w.errorAt(n.place, n.path, "such as heartbeat:"+short(parts[len(parts)-1])+"; the providers are the folders of "+agents, "%s names no provider: want PROVIDER:AGENT", quote(n.text))
	case parts[0] == "systemd" || parts[0] == "service":
		hint := "unit: " + short(parts[len(parts)-1])
		if f.table.find("type") != nil {
			hint = "type: unit, " + hint
		}
		w.errorAt(n.place, n.path, hint, "%s is a unit, no resource agent", quote(n.text))
	case parts[0] == "stonith" && f.table.find("type") == nil:
		w.errorAt(n.place, n.path, "{name: fence, only_after: silence, command: {start: COMMAND}}, first in the list", "%s is no resource agent of OCF", quote(n.text))
	case parts[0] == "lsb" || parts[0] == "stonith":
		w.errorAt(n.place, n.path, "", "%s is no resource agent of OCF", quote(n.text))
	case len(parts) != 2 || unfit(parts[0]) || unfit(parts[1]):
		w.errorAt(n.place, n.path, "such as heartbeat:redis", "%s is not PROVIDER:AGENT", quote(n.text))
	default:
		o.Provider, o.Agent = parts[0], parts[1]
		w.config.ask(question{kind: askCommand, at: n.place, path: n.path, argv: []string{agents + o.Provider + "/" + o.Agent}, user: o.User, unmet: s.unmet})
	}
	return o
}

// params reads a mapping of a resource agent's parameters, which it gets as variables of its environment.
func (w *walk) params(f fields, s scope) map[string]string {
	n := f.get("params")
	if n == nil {
		return nil
	}
	if n.kind != mapping {
		w.errorAt(n.place, n.path, "params: {NAME: VALUE}", "is %s, want a mapping", n.kind)
		return nil
	}
	all := map[string]string{}
	for _, e := range n.entries {
		switch name := e.key.text; {
		case name == "" || strings.Trim(name, letters+digits+"_") != "" || strings.IndexByte(digits, name[0]) >= 0:
			w.errorAt(e.key.place, n.path, "letters, digits and underscore", "%s cannot be the name of a parameter", quote(name))
		case strings.HasPrefix(name, "OCF_RESKEY_"):
			w.errorAt(e.key.place, n.path, "write "+short(name[len("OCF_RESKEY_"):]), "%s is how the agent sees it", quote(name))
		case e.value.kind != scalar:
			w.errorAt(e.value.place, e.value.path, "", "is %s, want a text", e.value.kind)
		case strings.ContainsRune(e.value.text, 0):
			w.errorAt(e.value.place, e.value.path, "", "has a NUL character")
		default:
			if value, ok := w.expanded(e.value, s); ok {
				all[name] = value
			}
		}
	}
	return all
}
