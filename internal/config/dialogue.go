package config

import "strings"

// mostSteps bounds a dialogue.
const mostSteps = 100

func (w *walk) tcpCheck(f fields, c *Check) {
	c.Dialogue = &Dialogue{Network: "tcp", Address: w.hostPort(f, "address"), Steps: w.steps(f), TLS: w.tls(f)}
}

func (w *walk) unixCheck(f fields, c *Check) {
	c.Dialogue = &Dialogue{Network: "unix", Address: w.socket(f, "/run/redis/redis.sock", inCheck), Steps: w.steps(f)}
}

// steps reads what is said on a connection: one step, or a list of them.
func (w *walk) steps(f fields) []Step {
	n := f.get("dialogue")
	if n == nil {
		if !f.has("send") && !f.has("expect") {
			return nil
		}
		return []Step{w.step(f)}
	}
	for _, name := range []string{"send", "expect"} {
		if o := f.raw(name); o != nil {
			w.errorAt(o.place, o.path, "make it a step of the dialogue", "%s and dialogue are two ways to say one thing: write one of them", name)
		}
	}
	switch {
	case n.kind != list:
		w.errorAt(n.place, n.path, `dialogue: [{send: "PING\r\n", expect: "+PONG"}]`, "is %s, want a list", n.kind)
		return nil
	case len(n.items) == 0:
		w.errorAt(n.place, n.path, "leave it out: to connect is all, then", "has no step")
	case len(n.items) > mostSteps:
		w.errorAt(n.place, n.path, "", "has %d steps, at most %d", len(n.items), mostSteps)
		return nil
	}
	var all []Step
	for _, item := range n.items {
		if item.kind != mapping {
			w.errorAt(item.place, n.path, `{send: "PING\r\n", expect: "+PONG"}`, "is %s, want a mapping of send and expect", item.kind)
			continue
		}
		s := w.fields(item, item.place, stepKeys, "dialogue")
		if !s.has("send") && !s.has("expect") {
			w.errorAt(item.place, n.path, "", "neither sends nor expects anything")
			continue
		}
		all = append(all, w.step(s))
	}
	return all
}

func (w *walk) step(f fields) Step {
	return Step{Send: w.bytes(f, "send"), Expect: w.bytes(f, "expect")}
}

// bytes reads a text. Without double quotes an escape would be sent as it is written, which nobody means.
func (w *walk) bytes(f fields, name string) string {
	n := f.scalar(name)
	if n == nil {
		return ""
	}
	for _, escape := range []string{`\r`, `\n`, `\x`, `\0`} {
		if strings.Contains(n.text, escape) {
			w.warnAt(n.place, n.path, `escapes need double quotes: "PING\r\n"`, "has a backslash, and no end of a line or the like")
			break
		}
	}
	return n.text
}
