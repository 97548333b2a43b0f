package config

import (
	"slices"
	"strings"
)

// mostProcesses bounds the number of processes that can be asked for.
const mostProcesses = 100_000

func (w *walk) processCheck(f fields, c *Check) {
	c.Processes = w.processes(f)
	w.count(f, c.Processes)
}

func (w *walk) connectionCheck(f fields, c *Check) {
	c.Processes = w.processes(f)
	c.Processes.Least, c.Processes.Most = 1, -1
	f.require("port", "port: 5672")
	for _, n := range w.oneOrMore(f, "port") {
		port := w.port(n)
		switch {
		case port == 0:
		case slices.Contains(c.Processes.Ports, port):
			w.errorAt(n.place, n.path, "", "%d stands here twice", port)
		default:
			c.Processes.Ports = append(c.Processes.Ports, port)
		}
	}
}

func (w *walk) processes(f fields) *Processes {
	p := &Processes{Path: w.path(f, "executable", "/usr/sbin/nginx", inCheck), PIDFile: w.path(f, "pid_file", "/run/nginx.pid", inCheck)}
	n := f.scalar("process")
	name, ok := w.expanded(n, inCheck)
	switch {
	case !ok:
	case strings.Contains(name, "/"):
		w.errorAt(n.place, n.path, "executable: "+short(name), "%s is a path, want the name of a process", quote(name))
	default:
		p.Name = name
	}
	return p
}

// count reads how many processes there must be: a number, or a mapping of min and max.
func (w *walk) count(f fields, p *Processes) {
	p.Least, p.Most = 1, -1
	n := f.get("count")
	switch {
	case n == nil:
		return
	case f.has("pid_file"):
		w.errorAt(n.place, n.path, "take it out", "a file with the number of a process names one")
		return
	case n.kind != mapping:
		if n := f.scalar("count"); n != nil {
			p.Least = f.number("count", 0, mostProcesses)
			p.Most = p.Least
		}
		return
	}
	m := w.fields(n, n.place, countKeys, "count")
	if !m.has("min") && !m.has("max") {
		w.errorAt(n.place, n.path, "{min: 1, max: 4}", "says neither min nor max")
		return
	}
	p.Least = m.number("min", 0, mostProcesses)
	if !m.has("max") {
		return
	}
	p.Most = m.number("max", 0, mostProcesses)
	if p.Most == 0 && !m.has("min") { // none of them may run
		p.Least = 0
	}
	if n := m.get("max"); p.Most < p.Least {
		w.errorAt(n.place, n.path, "", "%d is below min, %d", p.Most, p.Least)
	}
}
