package config

import (
	"slices"
	"strings"
)

func (w *walk) unitCheck(f fields, c *Check) { c.Unit = w.unitName(f, "unit") }

func (w *walk) containerCheck(f fields, c *Check) { c.Container = w.containerOf(f, "container") }

func (w *walk) ocfCheck(f fields, c *Check) { c.OCF = w.agent(f, "agent") }

// unitTypes are the suffixes of systemd's units: see systemd.unit(5).
var unitTypes = []string{"service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"}

// unitName reads the name of a unit; without a suffix it is a service, as systemctl has it. It is empty where the value is absent or wrong.
func (w *walk) unitName(f fields, name string) string {
	n := f.scalar(name)
	unit, ok := w.expanded(n, inCheck)
	if !ok {
		return ""
	}
	if i := strings.LastIndexByte(unit, '.'); i < 0 || !slices.Contains(unitTypes, unit[i+1:]) {
		unit += ".service"
	}
	first, _, _ := strings.Cut(unit, ".")
	switch {
	case strings.Contains(unit, "/"):
		w.errorAt(n.place, n.path, "its name: systemctl list-units shows them; a mount's is that of its folder, with dashes: srv-data.mount", "%s is a path, want the name of a unit", quote(n.text))
	case strings.Trim(unit, letters+digits+`:-_.\@`) != "" || len(unit) > 255 || first == "":
		w.errorAt(n.place, n.path, "", "%s cannot be the name of a unit", quote(n.text))
	case strings.HasSuffix(first, "@"):
		w.errorAt(n.place, n.path, short(first)+"NAME", "%s is a template, want the name of one of its units", quote(n.text))
	default:
		return unit
	}
	return ""
}

// containerOf reads the name of a container, and where its engine is asked.
func (w *walk) containerOf(f fields, name string) *Container {
	c := &Container{Socket: "/var/run/docker.sock"}
	if f.oneOf("engine", "docker", "podman") == "podman" {
		c.Socket = "/run/podman/podman.sock"
	}
	n := f.scalar(name)
	if text, ok := w.expanded(n, inCheck); ok {
		if strings.Trim(text, letters+digits+"_.-") != "" || strings.IndexByte(letters+digits, text[0]) < 0 {
			w.errorAt(n.place, n.path, "docker ps shows them, as NAMES", "%s cannot be the name of a container", quote(n.text))
		} else {
			c.Name = text
		}
	}
	switch {
	case f.has("socket"):
		c.Socket = w.socket(f, "/run/podman/podman.sock")
	case n != nil:
		w.config.ask(question{kind: askSocket, at: n.place, path: n.path, name: c.Socket})
	}
	return c
}

// agents is where resource agents are, each in the folder of its provider.
const agents = "/usr/lib/ocf/resource.d/"

// agent reads PROVIDER:AGENT, and its parameters.
func (w *walk) agent(f fields, name string) *OCF {
	o := &OCF{User: w.user(f), Params: w.params(f)}
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
		w.errorAt(n.place, n.path, "such as heartbeat:"+short(parts[len(parts)-1]), "%s names no provider: want PROVIDER:AGENT", quote(n.text))
	case parts[0] == "systemd" || parts[0] == "service":
		w.errorAt(n.place, n.path, "type: unit", "%s is a unit, no resource agent", quote(n.text))
	case parts[0] == "lsb" || parts[0] == "stonith":
		w.errorAt(n.place, n.path, "", "%s is no resource agent of OCF", quote(n.text))
	case len(parts) != 2 || unfit(parts[0]) || unfit(parts[1]):
		w.errorAt(n.place, n.path, "such as heartbeat:redis", "%s is not PROVIDER:AGENT", quote(n.text))
	default:
		o.Provider, o.Agent = parts[0], parts[1]
		w.config.ask(question{kind: askCommand, at: n.place, path: n.path, argv: []string{agents + o.Provider + "/" + o.Agent}, user: o.User})
	}
	return o
}

// params reads a mapping of a resource agent's parameters, which it gets as variables of its environment.
func (w *walk) params(f fields) map[string]string {
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
			if value, ok := w.expanded(e.value, inCheck); ok {
				all[name] = value
			}
		}
	}
	return all
}
