package keepalived

import (
	"fmt"
	"time"
)

// elect finds priority and preempt mode. They are connected with `state`.
func (c *conversion) elect(in *instance) {
	in.priority = 100
	said := false
	if b := in.said["priority"]; b != nil {
		if n, ok := c.number(b, 1, 255); ok {
			in.priority = n
			c.became(Converted, b, "")
		}
		said = true
	}
	master := c.readState(in, said)
	owner := in.priority == 255
	in.preempt = true
	if b := in.said["preempt"]; b != nil {
		c.flag(b)
		switch {
		case b.Keyword() == "preempt":
			c.became1(NotNeeded, b, "it is so anyway")
		case owner:
			c.became1(Ignored, b, "an owner (priority 255) always takes the role back, with keepalived too")
		case master:
			c.became1(Ignored, b, "keepalived drops it beside state MASTER: this node takes the role back. If it shall not: preempt: false")
		default:
			in.preempt = false
			c.became1(Converted, b, "")
		}
	}
	b := in.said["preempt_delay"]
	if b == nil {
		return
	}
	d, ok := c.seconds(b, 0, 1000*time.Second)
	switch {
	case !ok:
	case in.strict:
		c.became(Ignored, b, "keepalived drops it in strict mode")
	case master || owner:
		c.became(Ignored, b, "keepalived drops it beside state MASTER: this node takes the role back at once. If it shall wait: preempt_delay: "+duration(d))
	case !in.preempt:
		c.became(Ignored, b, "keepalived drops it beside nopreempt: this node never takes the role back")
	case d > 0 && d < time.Millisecond:
		c.became(NotNeeded, b, "it is no delay at all")
	default:
		in.preemptDelay = d
		c.became(Converted, b, "")
	}
}

// readState tells whether it wants to be MASTER, and what that makes of its priority.
func (c *conversion) readState(in *instance, priority bool) (master bool) {
	b := in.said["state"]
	if b == nil {
		return false
	}
	w, ok := c.first(b)
	if !ok {
		return false
	}
	switch {
	case w.Text == "MASTER" && !priority:
		in.priority = 255
		c.became(Converted, b, "without a priority keepalived makes it 255, the owner of the addresses: master whenever it runs. With priority: 1 to 254 it would be one of several")
		return true
	case w.Text == "MASTER" && in.strict && in.priority != 255:
		c.became(Ignored, b, "in strict mode an owner (priority 255) alone begins as MASTER")
		return false
	case w.Text == "MASTER":
		c.became(NotNeeded, b, "the election decides, with keepalived too: each node begins as BACKUP")
		return true
	case w.Text == "BACKUP":
		c.became(NotNeeded, b, "the election decides: each node begins as BACKUP")
	default:
		c.became(Ignored, b, "the states are MASTER and BACKUP: keepalived takes BACKUP")
	}
	return false
}

// timing finds the version and the interval, which the version bounds.
func (c *conversion) timing(in *instance) {
	in.version = c.globals.version
	if b := in.said["version"]; b != nil {
		if n, ok := c.number(b, 2, 3); ok {
			in.version = n
			c.became(Converted, b, "")
			if in.six && n == 2 {
				c.report.amend(b.Pos(), Ignored, "IPv6 has no version 2: keepalived takes 3")
			}
		}
	}
	if in.six {
		in.version = 3
	}
	if in.version == 2 {
		in.router.set("version", 2)
	}
	b := in.said["advert_int"]
	if b == nil {
		return
	}
	d, ok := c.seconds(b, 10*time.Millisecond, 255*time.Second)
	if !ok {
		return
	}
	interval := d.Round(10 * time.Millisecond)
	text := ""
	switch {
	case in.version == 2:
		interval = max(d.Round(time.Second), time.Second)
	case interval > 40950*time.Millisecond:
		interval = 40950 * time.Millisecond
	}
	if interval != d {
		text = fmt.Sprintf("version %d cannot carry it: keepalived makes it %s, and so does this", in.version, duration(interval))
	}
	c.became(Converted, b, text)
	if interval != time.Second {
		in.router.set("advertisement_interval", duration(interval))
		if interval != d {
			in.router.comment("advertisement_interval", "# keepalived makes this of "+decimal(d))
		}
	}
}

// writeElection writes what stands on a router, or on a group in place of its members.
func (c *conversion) writeElection(m mapping, e *election, priority int, preempt bool, delay time.Duration) {
	m.set("priority", priority)
	if priority == 255 {
		m.comment("priority", "# The owner of the addresses: master whenever it runs.")
	}
	if !preempt {
		m.set("preempt", false)
	}
	if delay > 0 {
		m.set("preempt_delay", duration(delay))
	}
	if d := c.globals.startDelay; d >= time.Millisecond {
		m.set("start_delay", duration(d))
	}
	if priority == 255 {
		for i, t := range e.track {
			e.track[i] = c.unweighted(t, false)
		}
	}
	if n := trackNode(e.track); n != nil {
		m.set("track", n)
	}
	if n := notifyNode(e.hooks); n != nil {
		m.set("notify", n)
	}
}
