package keepalived

import (
	"strconv"
	"strings"
	"time"

	"baton/internal/config"
)

// script is a vrrp_script.
type script struct {
	argv              []string
	path              string // of a file to be read, in place of a command
	user              string
	interval, timeout int // seconds; a timeout of 0 is the interval
	rise, fall        int
}

// What baton takes of an interval, a timeout and a count, in seconds and answers.
const (
	mostInterval = 86400
	mostTimeout  = 3600
	mostAnswers  = 1000
	longTimeout  = 10 // of baton, at most, where the file has none
)

var scriptKeywords = []keyword[*tracker]{
	{name: "script", read: (*conversion).scriptCommand},
	{name: "interval", read: (*conversion).scriptInterval},
	{name: "timeout", read: (*conversion).scriptTimeout},
	{name: "weight", read: (*conversion).scriptWeight},
	{name: "rise", read: func(c *conversion, t *tracker, b *Block) { c.answers(b, &t.script.rise) }},
	{name: "fall", read: func(c *conversion, t *tracker, b *Block) { c.answers(b, &t.script.fall) }},
	{name: "user", read: func(c *conversion, t *tracker, b *Block) {
		if len(b.Arguments()) == 0 {
			c.first(b)
			return
		}
		t.script.user = c.readUser(b, 1)
	}},
	{name: "init_fail", outcome: NotNeeded, text: "baton waits for the first answer of a check that could fault a router, and counts a weight from the first answer on"},
}

func (c *conversion) readScript(t *tracker) {
	t.script = script{interval: 1, rise: 1, fall: 1}
	readBlock(c, t, t.block.Children, scriptKeywords)
	if t.script.argv == nil && t.script.path == "" && !t.broken {
		t.broken = true
		c.report.amend(t.block.Pos(), Ignored, "it has no script: keepalived removes it")
	}
}

func (c *conversion) scriptCommand(t *tracker, b *Block) {
	if t.script.argv != nil || t.script.path != "" {
		c.report.block(Ignored, b, "there is a script already")
		return
	}
	if len(b.Words) < 2 {
		c.first(b)
		t.broken = true
		return
	}
	c.stray(b)
	line, words := b.Words[1].Text, b.Words[:2]
	if len(b.Words) > 2 {
		c.report.words(Ignored, "keepalived reads one word after script: the whole command stands in quotes, with what it is called with", b.Words[2:]...)
	}
	if path, is := strings.CutPrefix(strings.TrimSpace(line), "<"); is && strings.HasPrefix(path, "/") && unfitText(path) == "" {
		t.script.path = path
		c.report.words(Approximated, "baton looks whether the file is there, and not whether it can be read", words...)
		return
	}
	argv, note, problem := command(line)
	if problem != "" {
		t.broken = true
		outcome, text := refused(problem, ": keepalived drops the script")
		c.report.words(outcome, text, words...)
		return
	}
	t.script.argv = argv
	outcome := Converted
	if note != "" {
		outcome = Approximated
	}
	if note == "" && !hasLine(t.block, "user") && c.nobodyNamed() {
		note = nobodyNamed
	}
	c.report.words(outcome, note, words...)
}

// nobodyNamed is who runs a command for which the file names nobody.
const nobodyNamed = "no user is named: keepalived runs it as keepalived_script where there is one, else as root, and baton as its own user. For root write user: root, and take the drop-in root.conf"

// nobodyNamed tells whether that is to be said: of the first such command.
func (c *conversion) nobodyNamed() bool {
	said := c.trackers.asked || c.user != ""
	c.trackers.asked = true
	return !said
}

func (c *conversion) scriptInterval(t *tracker, b *Block) {
	w, ok := c.first(b)
	if !ok {
		return
	}
	var outcome Outcome
	var text string
	t.script.interval, outcome, text = seconds(w.Text, mostInterval)
	c.became(outcome, b, text)
}

func (c *conversion) scriptTimeout(t *tracker, b *Block) {
	w, ok := c.first(b)
	if !ok {
		return
	}
	var outcome Outcome
	var text string
	t.script.timeout, outcome, text = seconds(w.Text, mostTimeout)
	c.became(outcome, b, text)
}

// seconds reads a number of seconds as keepalived does: what is no whole number is cut
// off there, and 0 is 1.
func seconds(text string, most int) (n int, o Outcome, why string) {
	n, rest := leading(text)
	switch {
	case rest != "" || n < 1:
		n = max(n, 1)
		why = "keepalived takes whole seconds from 1, and this for " + itoa(n) + "s"
		if d, err := config.ParseDuration(text + "s"); err == nil && d >= 50*time.Millisecond && rest != "" {
			why += "; baton can: " + config.FormatDuration(d)
		}
		o = Approximated
	}
	if n > most {
		return most, Approximated, "at most " + config.FormatDuration(time.Duration(most)*time.Second)
	}
	return n, o, why
}

// leading reads the number that a text begins with, as C's strtol does with base 10,
// and what is behind it.
func leading(text string) (n int, rest string) {
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || end == 0 && strings.ContainsRune("+-", rune(text[0]))) {
		end++
	}
	n, err := strconv.Atoi(text[:end])
	if err != nil && strings.Trim(text[:end], "+-") != "" { // out of range
		n = 1 << 30
		if text[0] == '-' {
			n = -n
		}
	}
	return n, text[end:]
}

// answers reads rise or fall.
func (c *conversion) answers(b *Block, into *int) {
	w, ok := c.first(b)
	if !ok {
		return
	}
	n, rest := leading(w.Text)
	switch {
	case rest != "" || n < 1:
		*into = 1
		c.became(Ignored, b, "keepalived wants a number from 1, and takes 1")
	case n > mostAnswers:
		*into = mostAnswers
		c.became(Approximated, b, "at most "+itoa(mostAnswers))
	default:
		*into = n
		c.became(Converted, b, "")
	}
}

func (c *conversion) scriptWeight(t *tracker, b *Block) {
	c.readWeight(b, &t.weight, mostWeight)
}

// mapping is the check; inverted passes while the script fails.
func (s script) mapping(user string, inverted bool) mapping {
	m := newMapping()
	rise, fall := s.rise, s.fall
	switch {
	case s.path != "":
		m.set("type", "file")
		m.set("path", literal(s.path))
		if inverted {
			m.set("want", "absent")
		}
	case inverted:
		m.set("type", "command")
		m.set("command", list(true, "sh", "-c", `! "$@"`, "sh"))
		command := m.get("command")
		command.Content = append(command.Content, listOf(s.argv).Content...)
	default:
		m.set("type", "command")
		m.set("command", commandNode(s.argv))
	}
	if inverted {
		rise, fall = fall, rise
	}
	if user = firstOf(s.user, user); user != "" && s.path == "" {
		m.set("user", user)
	}
	if s.interval != 1 {
		m.set("interval", secondsText(s.interval))
	}
	switch timeout := s.timeout; {
	case timeout != 0 && timeout != s.interval:
		m.set("timeout", secondsText(timeout))
	case s.interval > longTimeout: // baton's would be shorter
		m.set("timeout", secondsText(min(s.interval, mostTimeout)))
	}
	setAnswers(m, s.path != "", rise, fall)
	return m.flow()
}

// setAnswers writes rise and fall where they are not baton's: 1 for what is told of
// changes at once, 2 for the rest.
func setAnswers(m mapping, told bool, rise, fall int) {
	usual := 2
	if told {
		usual = 1
	}
	if rise != usual {
		m.set("rise", rise)
	}
	if fall != usual {
		m.set("fall", fall)
	}
}

func secondsText(n int) string { return config.FormatDuration(time.Duration(n) * time.Second) }

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
