package keepalived

import (
	"path"
	"strings"
	"time"

	"baton/internal/config"
)

// process is a vrrp_track_process.
type process struct {
	name             string
	least, most      int // most is -1 for any number
	forked, finished time.Duration
}

// What bounds the number of processes, and the delays, in keepalived.
const (
	mostQuorum = 65535
	mostDelay  = time.Hour
)

var processKeywords = []keyword[*tracker]{
	{name: "process", read: (*conversion).processName},
	{name: "param_match", read: func(c *conversion, t *tracker, b *Block) {
		if _, ok := c.first(b); ok {
			c.became(Approximated, b, parametersText)
		}
	}},
	{name: "weight", read: func(c *conversion, t *tracker, b *Block) {
		c.readWeight(b, &t.weight, mostWeight+1)
	}},
	{name: "quorum", read: func(c *conversion, t *tracker, b *Block) { c.processCount(b, 1, &t.process.least) }},
	{name: "quorum_max", read: func(c *conversion, t *tracker, b *Block) { c.processCount(b, 0, &t.process.most) }},
	{name: "fork_delay", read: func(c *conversion, t *tracker, b *Block) { c.processDelay(b, &t.process.forked) }},
	{name: "terminate_delay", read: func(c *conversion, t *tracker, b *Block) { c.processDelay(b, &t.process.finished) }},
	{name: "delay", read: func(c *conversion, t *tracker, b *Block) {
		c.processDelay(b, &t.process.forked, &t.process.finished)
	}},
	{name: "full_command", read: func(c *conversion, t *tracker, b *Block) {
		c.flag(b)
		c.report.words(Converted, "", b.Words[0])
	}},
}

const parametersText = "what a process was called with is not compared: every process of that name counts"

func (c *conversion) readProcess(t *tracker) {
	t.process = process{least: 1, most: -1}
	readBlock(c, t, t.block.Children, processKeywords)
	p := &t.process
	if p.most == 0 {
		p.least = 0
	}
	if p.most >= 0 && p.most < p.least { // keepalived ignores it
		p.most = -1
		for _, line := range t.block.Children {
			if line.Keyword() == "quorum_max" {
				c.report.amend(line.Pos(), Ignored, "it is less than quorum")
			}
		}
	}
	if p.name == "" && !t.broken {
		t.broken = true
		c.report.amend(t.block.Pos(), Ignored, "it names no process: keepalived removes it")
	}
}

func (c *conversion) processName(t *tracker, b *Block) {
	args := b.Arguments()
	if len(args) == 0 {
		c.first(b)
		return
	}
	c.stray(b)
	name := args[0].Text
	if problem := unfitText(name); problem != "" || name == "" || name == "." || name == "/" {
		t.broken = true
		outcome, text := refused(firstOf(problem, "it names no process"), ": keepalived removes it")
		c.report.line(outcome, b, text)
		return
	}
	t.process.name = name
	switch {
	case len(args) > 1:
		c.report.line(Approximated, b, parametersText)
	case strings.HasPrefix(name, "/") && !hasLine(t.block, "full_command"):
		c.report.line(Approximated, b, "keepalived compares it with the name that ps has, which is no path; here the program's file is looked at")
	case strings.Contains(name, "/") && !strings.HasPrefix(name, "/"):
		c.report.line(Approximated, b, "only the last part of the path is compared")
	default:
		c.report.line(Converted, b, "")
	}
}

func hasLine(b *Block, keyword string) bool {
	for _, line := range b.Children {
		if line.Keyword() == keyword {
			return true
		}
	}
	return false
}

func (c *conversion) processCount(b *Block, least int, into *int) {
	w, ok := c.first(b)
	if !ok {
		return
	}
	n, rest := leading(w.Text)
	if rest != "" || n < least || n > mostQuorum {
		c.became(Ignored, b, "keepalived wants a number from "+itoa(least)+" to "+itoa(mostQuorum))
		return
	}
	*into = n
	c.became(Converted, b, "")
}

func (c *conversion) processDelay(b *Block, into ...*time.Duration) {
	d, ok := c.seconds(b, 0, mostDelay)
	if !ok {
		return
	}
	for _, delay := range into {
		*delay = d.Round(time.Millisecond)
	}
	c.became(Approximated, b, "it is counted in answers, rise and fall, each an interval after the one before")
}

// mapping is the check of one range of numbers of processes: most is -1 for any number,
// and otherwise least is at least 1, or both are 0.
func (p process) mapping(least, most int, inverted bool) mapping {
	m := newMapping()
	m.set("type", "process")
	if strings.HasPrefix(p.name, "/") {
		m.set("executable", textNode(literal(p.name)))
	} else {
		m.set("process", textNode(literal(path.Base(p.name))))
	}
	switch {
	case most < 0 && least == 1:
	case most < 0:
		m.set("count", newMapping().with("min", least).flow())
	case most == least:
		m.set("count", most)
	default:
		m.set("count", newMapping().with("min", least).with("max", most).flow())
	}
	interval, rise, fall := p.answers()
	if inverted {
		rise, fall = fall, rise
	}
	if interval != time.Second {
		m.set("interval", config.FormatDuration(interval))
	}
	setAnswers(m, true, rise, fall)
	return m.flow()
}

// numbers is a range of numbers of processes, and what the name of its check ends in.
type numbers struct {
	suffix      string
	least, most int
}

// outside are the ranges in which keepalived's is down. One that includes none has no
// other number: to baton none is never enough where some are allowed.
func (p process) outside() []numbers {
	var parts []numbers
	if p.least >= 1 {
		parts = append(parts, numbers{"-none", 0, 0})
	}
	if p.least >= 2 {
		parts = append(parts, numbers{"-few", 1, p.least - 1})
	}
	if p.most >= 0 {
		parts = append(parts, numbers{"-many", p.most + 1, -1})
	}
	return parts
}

// processCheck is the name of the check of a process; inverted it passes while
// keepalived's is down, which takes as many checks as there are ranges of numbers.
func (c *conversion) processCheck(t *tracker, inverted bool) string {
	p := t.process
	if !inverted {
		return c.written(t, "", p.mapping(p.least, p.most, false))
	}
	if name := t.forms["-not"]; name != "" {
		return name
	}
	parts := p.outside()
	if len(parts) == 1 {
		return c.written(t, "-not", p.mapping(parts[0].least, parts[0].most, true))
	}
	var names []any
	for _, part := range parts {
		names = append(names, c.written(t, part.suffix, p.mapping(part.least, part.most, true)))
	}
	return c.written(t, "-not", newMapping().with("type", "any").with("of", list(true, names...)).flow())
}

// answers are the interval and the numbers of answers that come nearest to the delays.
func (p process) answers() (interval time.Duration, rise, fall int) {
	interval = time.Second
	for _, d := range []time.Duration{p.forked, p.finished} {
		if d > 0 {
			interval = min(interval, max(d, 50*time.Millisecond))
		}
	}
	interval = max(interval, (max(p.forked, p.finished)/(mostAnswers-1) + time.Millisecond - 1).Truncate(time.Millisecond))
	count := func(d time.Duration) int { return 1 + int((d+interval-1)/interval) }
	return interval, count(p.forked), count(p.finished)
}
