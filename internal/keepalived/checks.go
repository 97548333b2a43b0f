package keepalived

import (
	"strings"
)

// trackers are what instances and sync groups may track, as the file defines it.
type trackers struct {
	all     map[trackerKey]*tracker
	names   map[string]int    // of checks, that are taken, and what makes the next such one unique
	entries map[entryKey]bool // what is tracked already
	asked   bool              // it has been said who runs a command that names no user
}

type trackerKey struct{ kind, name string }

type entryKey struct {
	by *election
	trackerKey
}

// tracker is a vrrp_script, a vrrp_track_process or a track_file.
type tracker struct {
	kind   string // the block that tracks it: track_script, track_process, track_file
	name   string // keepalived's
	check  string // the name of its check
	block  *Block
	weight weight // where the one who tracks it says nothing

	script  script
	process process
	file    trackFile

	broken  bool              // keepalived drops it, or nothing can be made of it: it has been said
	outcome Outcome           // of all that is of it, then
	forms   map[string]string // its checks that are written, by what is put behind the name
}

// trackingBlocks are the keywords of the blocks that track something.
var trackingBlocks = map[string]string{
	"vrrp_script": "track_script", "vrrp_track_process": "track_process", "vrrp_track_file": "track_file", "track_file": "track_file",
}

// readChecks keeps what vrrp_script, vrrp_track_process and track_file define. A check
// is written once somebody tracks it.
func (c *conversion) readChecks(blocks []*Block) {
	c.trackers = trackers{all: map[trackerKey]*tracker{}, names: map[string]int{}, entries: map[entryKey]bool{}}
	wanted := trackedNames(blocks)
	for _, b := range blocks {
		switch kind := trackingBlocks[b.Keyword()]; {
		case kind != "":
			c.readTracker(kind, b, wanted)
		case b.Keyword() == "bfd_instance":
			c.report.block(Unsupported, b, bfdText)
		case b.Keyword() == "track_group":
			c.report.block(Unsupported, b, "baton has no static addresses, routes and rules, and so no faults of them; a check of type address or route tells whether one is there")
		}
	}
}

// trackedNames are those that some instance or group tracks, by the kind of what
// tracks them.
func trackedNames(blocks []*Block) map[string]map[string]bool {
	names := map[string]map[string]bool{}
	for _, b := range blocks {
		if b.Keyword() != "vrrp_instance" && b.Keyword() != "vrrp_sync_group" {
			continue
		}
		for _, t := range b.Children {
			if names[t.Keyword()] == nil {
				names[t.Keyword()] = map[string]bool{}
			}
			for _, line := range t.Children {
				names[t.Keyword()][line.Keyword()] = true
			}
		}
	}
	return names
}

func (c *conversion) readTracker(kind string, b *Block, wanted map[string]map[string]bool) {
	args := b.Arguments()
	switch {
	case len(args) == 0:
		c.report.block(Ignored, b, "it has no name")
		return
	case c.find(kind, args[0].Text) != nil:
		c.report.block(Ignored, b, "the name is taken: the first one of that name is tracked")
		return
	case !wanted[kind][args[0].Text]:
		c.report.block(NotNeeded, b, "nobody tracks it, and so keepalived does not look at it either")
		return
	}
	t := &tracker{kind: kind, name: args[0].Text, block: b, forms: map[string]string{}}
	c.trackers.all[trackerKey{kind, t.name}] = t
	begin := len(c.report.Findings)
	var mended string
	t.check, mended = c.checkName(t.name)
	if mended != "" {
		c.became(Approximated, b, mended)
	} else {
		c.became(Converted, b, "")
	}
	if len(args) > 1 {
		c.report.words(Ignored, "keepalived reads one word after "+b.Keyword(), args[1:]...)
	}
	switch kind {
	case "track_script":
		c.readScript(t)
	case "track_process":
		c.readProcess(t)
	case "track_file":
		c.readTrackFile(t)
	}
	if t.broken {
		c.drop(t, c.report.Findings[begin:])
	}
}

// drop says of all lines of a tracker that nothing is made of them.
func (c *conversion) drop(t *tracker, findings []Finding) {
	t.outcome = Ignored
	for _, f := range findings {
		if f.Text == noText { // keepalived would take it
			t.outcome = Unsupported
		}
	}
	for i := range findings {
		if f := &findings[i]; f.Outcome < Unsupported {
			f.Outcome, f.Text = t.outcome, "nothing is made of the "+t.block.Keyword()
		}
	}
}

// find returns what has the name, nil where nothing does.
func (c *conversion) find(kind, name string) *tracker { return c.trackers.all[trackerKey{kind, name}] }

// checkName makes a name for a check, and takes it. mended tells what had to be
// changed, and why; it is empty where nothing was.
func (c *conversion) checkName(want string) (name, mended string) {
	fit := nameFor(want)
	name = fit
	for n := c.trackers.names[fit]; c.trackers.names[name] > 0; n++ {
		end := "-" + itoa(n+1)
		name = fit[:min(len(fit), mostName-len(end))] + end
		c.trackers.names[fit] = n + 1
	}
	c.trackers.names[name] = 1
	switch {
	case name != fit:
		mended = "the check is " + name + ": " + short(fit) + " is another one"
	case fit != want:
		mended = "the check is " + name + ", since baton's names have letters, digits, dot, dash and underscore, at most 63, and are no boolean of YAML"
	}
	return name, mended
}

// writeCheck writes a check into the output, with comments above it.
func (c *conversion) writeCheck(name string, check mapping, comments ...string) {
	key := valueNode(name)
	key.HeadComment = strings.Join(comments, "\n")
	c.checks.node.Content = append(c.checks.node.Content, key, check.node)
}
