package keepalived

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const bfdText = "baton has no BFD. A failure of the peer is found as fast with advertisement_interval: 100ms; one of a way by a check of type ping, tracked"

// readTrack reads a track_script, track_process, track_file, track_interface or
// track_bfd block of an instance or a sync group.
func (c *conversion) readTrack(e *election, b *Block) {
	if b.Keyword() == "track_bfd" {
		c.report.block(Unsupported, b, bfdText)
		return
	}
	c.report.words(Converted, "", b.Words[0])
	if args := b.Arguments(); len(args) > 0 {
		c.report.words(Ignored, "what is tracked stands in braces", args...)
	}
	for _, line := range b.Children {
		if b.Keyword() == "track_interface" {
			c.trackInterface(e, b, line)
		} else {
			c.trackTracker(e, b, line)
		}
	}
}

// trackTracker reads a line of what is defined elsewhere.
func (c *conversion) trackTracker(e *election, b, line *Block) {
	t := c.find(b.Keyword(), line.Keyword())
	switch {
	case t == nil:
		c.report.block(Ignored, line, "there is no "+definedBy(b.Keyword())+" of that name: keepalived tracks nothing"+c.nearTracker(b.Keyword(), line.Keyword()))
		return
	case t.broken:
		c.report.block(t.outcome, line, "nothing is made of it, see there")
		return
	case c.again(e, b.Keyword(), line.Keyword()):
		c.report.block(Ignored, line, "it is tracked already")
		return
	}
	most := mostWeight + 1
	if t.kind == "track_script" {
		most = mostWeight
	}
	w := t.weight
	at := c.entry(line, &w, most)
	c.track(e, b.Keyword(), t, w, at)
}

// definedBy is the block that defines what a block tracks.
func definedBy(kind string) string {
	switch kind {
	case "track_script":
		return "vrrp_script"
	case "track_process":
		return "vrrp_track_process"
	}
	return "track_file"
}

func (c *conversion) nearTracker(kind, name string) string {
	var names []string
	for _, key := range slices.SortedFunc(maps.Keys(c.trackers.all), func(a, b trackerKey) int { return strings.Compare(a.name, b.name) }) {
		if key.kind == kind && len(names) < 1000 {
			names = append(names, key.name)
		}
	}
	return meant(name, names)
}

// again tells whether a name is tracked in a kind of block already, and marks it.
func (c *conversion) again(e *election, kind, name string) bool {
	key := entryKey{e, trackerKey{kind, name}}
	again := c.trackers.entries[key]
	c.trackers.entries[key] = true
	return again
}

// track adds an entry to `track`, and writes its check. at is where its line begins,
// which has been accounted for.
func (c *conversion) track(e *election, kind string, t *tracker, w weight, at Pos) {
	value, inverted := w.effect()
	check, note := "", ""
	switch {
	case kind == "track_file" && w.value != 0:
		check = c.written(t, "", t.file.number())
		note = "a product below -253 is FAULT in keepalived, and priority 1 here; and numbers are decimal here"
	case kind == "track_file":
		check = c.zeroCheck(t, inverted)
		note = "the file is looked at each second, and not at once; as a switch type: file is better"
	case kind == "track_process":
		check = c.processCheck(t, inverted)
	case inverted:
		check = c.written(t, "-not", t.script.mapping(c.scriptUser(), true), "# Passes while "+t.check+" fails, as reverse wants it.")
		note = "the check runs the script and turns its answer round; one that hangs fails there, too"
		if t.script.path != "" {
			note = "the check turns the answer round"
		}
	default:
		check = c.written(t, "", t.script.mapping(c.scriptUser(), false), suggestions(t)...)
	}
	if value < -mostWeight || value > mostWeight {
		value = clampWeight(value)
		note = firstOf("baton's weights end at "+itoa(value), note)
	}
	if note != "" {
		c.report.amend(at, Approximated, note)
	}
	e.track = append(e.track, tracked{check: check, weight: value, keyword: kind, name: t.name, given: w, pos: at})
}

// scriptUser runs the commands that name no user; it is empty where the file has none.
func (c *conversion) scriptUser() string {
	if unfitUser(c.user) != "" {
		return ""
	}
	return c.user
}

// zeroCheck is the name of the check that a weight of 0 makes of a file.
func (c *conversion) zeroCheck(t *tracker, inverted bool) string {
	suffix, want := "-zero", "absent"
	if inverted {
		suffix, want = "-not-zero", "present"
	}
	return c.written(t, suffix, t.file.zero(inverted),
		"# Looked at each second, and not at once. For a switch that is a file, better:",
		"# {type: file, path: "+short(t.file.path)+", want: "+want+"}; and touch or remove it.")
}

// written writes one form of a check, once, and returns its name.
func (c *conversion) written(t *tracker, suffix string, check mapping, comments ...string) string {
	if name := t.forms[suffix]; name != "" {
		return name
	}
	name := t.check
	if suffix != "" {
		name, _ = c.checkName(t.check + suffix)
	}
	t.forms[suffix] = name
	c.writeCheck(name, check, append([]string{where(t.block)}, comments...)...)
	return name
}

// entry reads what stands behind a name in a track block, accounts for the line, and
// returns where it begins.
func (c *conversion) entry(line *Block, w *weight, most int) Pos {
	args := line.Arguments()
	c.stray(line)
	if len(args) == 0 || args[0].Text != "weight" {
		c.report.words(Converted, "", line.Words[0])
		if len(args) > 0 {
			c.report.words(Ignored, "keepalived knows weight here, and ignores the rest of the line"+meant(args[0].Text, []string{"weight"}), args...)
		}
		return line.Pos()
	}
	used, why := w.parse(args[1:], most)
	end := 2 + used
	if why == "" {
		c.report.words(Converted, "", line.Words[:end]...)
	} else {
		c.report.words(Converted, "", line.Words[0])
		c.report.words(Ignored, why, line.Words[1:end]...)
	}
	if rest := line.Words[end:]; len(rest) > 0 {
		c.report.words(Ignored, "keepalived reads a weight, and reverse or noreverse", rest...)
	}
	return line.Pos()
}

// trackInterface reads a line of track_interface.
func (c *conversion) trackInterface(e *election, b, line *Block) {
	name := line.Keyword()
	switch {
	case !isInterface(name):
		c.report.block(Ignored, line, "no interface has that name: keepalived does not find it")
		return
	case c.again(e, "track_interface", name):
		c.report.block(Ignored, line, "it is tracked already")
		return
	}
	var w weight
	at := c.entry(line, &w, mostWeight)
	if w == (weight{}) && ownInterface(e, name) {
		c.report.amend(at, NotNeeded, "baton tracks the router's own interface")
		return
	}
	value, inverted := w.effect()
	check := c.linkCheck(line, name, inverted)
	if inverted {
		c.report.amend(at, Approximated, "a command looks each second whether the interface is down")
	}
	e.track = append(e.track, tracked{check: check, weight: value, keyword: "track_interface", name: name, given: w, pos: at})
}

// ownInterface tells whether an interface is that of the instance, and a fault of it
// is one of the instance.
func ownInterface(e *election, name string) bool {
	own := false
	for _, line := range e.block.Children {
		switch line.Keyword() {
		case "interface":
			own = len(line.Words) > 1 && line.Words[1].Text == name
		case "dont_track_primary":
			return false
		}
	}
	return own && e.block.Keyword() == "vrrp_instance"
}

// linkCheck is the name of the check of an interface.
func (c *conversion) linkCheck(line *Block, name string, inverted bool) string {
	t := c.find("track_interface", name)
	if t == nil {
		t = &tracker{kind: "track_interface", name: name, block: line, forms: map[string]string{}}
		t.check, _ = c.checkName("link-" + name)
		c.trackers.all[trackerKey{t.kind, name}] = t
	}
	if inverted {
		m := newMapping().with("type", "command")
		m.set("command", listOf([]string{"sh", "-c", `! grep -qs 1 "$1"`, "sh", "/sys/class/net/" + name + "/carrier"}))
		setAnswers(m, false, 1, 1)
		return c.written(t, "-down", m.flow())
	}
	m := newMapping().with("type", "interface").with("interface", textNode(name)).with("interval", "200ms")
	setAnswers(m, false, 1, 1)
	return c.written(t, "", m.flow())
}

// unweighted is what keepalived makes of an entry where it takes no weights: of a
// member of a sync group, or else of an address owner.
func (c *conversion) unweighted(t tracked, member bool) tracked {
	who := "an address owner"
	if member {
		who = "members of a sync group"
	}
	switch {
	case t.weight == 0:
	case t.keyword == "track_process" && member: // the one that it forgets
	case t.keyword == "track_interface" && member:
		t.weight = 0
		c.report.amend(t.pos, Converted, "keepalived takes weights out of "+who+": it is a FAULT")
		if t.given.reverse {
			c.report.amend(t.pos, Approximated, "keepalived takes weights out of "+who+": it is a FAULT. A command looks each second whether the interface is down")
		}
	case t.keyword == "track_file" && t.given.value == 1:
		t.weight = 0
		t.check = c.zeroCheck(c.find(t.keyword, t.name), t.given.reverse)
		c.report.amend(t.pos, Approximated, "keepalived takes weights out of "+who+": another number than 0 is a FAULT; the file is looked at each second, and not at once")
	default:
		t.weight, t.report = 0, true
		c.report.amend(t.pos, Approximated, "keepalived takes what has a weight out of "+who+": it is shown only")
	}
	return t
}

// keepTracked leaves those checks that a router or a group tracks, and what they are
// made of: others are of an instance that is not in the output.
func (c *conversion) keepTracked() {
	wanted := map[string]bool{}
	for _, in := range c.instances {
		if in.group == nil {
			markTracked(wanted, in.track)
		}
	}
	for _, g := range c.groups {
		markTracked(wanted, g.track)
	}
	var kept []*yaml.Node
	content := c.checks.node.Content
	for i := len(content) - 2; i >= 0; i -= 2 { // what a check is made of stands before it
		if !wanted[content[i].Value] {
			continue
		}
		if of := (mapping{content[i+1]}).get("of"); of != nil {
			for _, n := range of.Content {
				wanted[n.Value] = true
			}
		}
		kept = append(kept, content[i+1], content[i])
	}
	slices.Reverse(kept)
	c.checks.node.Content = kept
}

func markTracked(names map[string]bool, track []tracked) {
	for _, t := range track {
		names[t.check] = true
	}
}
