package keepalived

import (
	"cmp"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Document is a baton.yaml to be.
type Document struct {
	source string // which file it was made of
	top    mapping
	Report Report
}

// Convert makes a Document of the file of one node. What it cannot make is in the
// Report, never an error; the Document passes validation in any case.
func Convert(f *File) *Document {
	c := &conversion{
		report: f.Report, checks: newMapping(),
		names: map[string]bool{}, instanceNames: map[string]bool{}, vrids: map[vridKey]string{}, routes: map[routeKey]bool{}, rules: map[rule]bool{}, macs: map[string]bool{},
	}
	c.readGlobals(f.Blocks)
	c.readChecks(f.Blocks)
	c.readInstances(f.Blocks)
	d := c.document()
	d.source = f.Name
	return d
}

// conversion is the work on one file.
type conversion struct {
	report    Report
	checks    mapping // those that are tracked
	globals   globals
	user      string // script_user: of commands that name no user; empty: there is none
	trackers  trackers
	instances []*instance
	groups    []*group

	// What the instances read so far have taken.
	names         map[string]bool // of routers and groups
	instanceNames map[string]bool // those of the file: a name that is made must be none of them
	vrids         map[vridKey]string
	vips          []claim
	routes        map[routeKey]bool
	rules         map[rule]bool
	macs          map[string]bool // names of virtual MACs
	unnumbered    int             // rules that keepalived gives a priority
}

// election is what an instance, or a sync group, says of its election, and what baton
// writes on a router, or on a group in place of its members.
type election struct {
	block *Block // of the file
	name  string // keepalived's
	track []tracked
	hooks []hook
}

// tracked is one entry of `track`.
type tracked struct {
	check   string // of `checks`
	weight  int    // 0: fault
	report  bool   // shown only: keepalived drops its weight
	keyword string // the block that it stands in: track_script, track_interface, ...
	name    string // there, as keepalived has it
	given   weight // of keepalived
	pos     Pos    // of its first word
}

// hook is one command of `notify`.
type hook struct {
	event   string // any, master, backup, fault, stop or reassert
	command any    // a string, a list of words, or a mapping of command, user and so on
	pos     Pos
}

// what is the keyword of the block and its name, for texts.
func (e *election) what() string { return e.block.Keyword() + " " + short(e.name) }

// trackNode is `track` of a router or a group, nil where there is none.
func trackNode(track []tracked) *yaml.Node {
	if len(track) == 0 {
		return nil
	}
	all := list(true)
	m := newMapping()
	faults := true
	for _, t := range track {
		if m.get(t.check) != nil { // twice: keepalived takes the first one
			continue
		}
		all.Content = append(all.Content, valueNode(t.check))
		switch {
		case t.report:
			faults = false
			m.set(t.check, "report")
		case t.weight != 0:
			faults = false
			m.set(t.check, t.weight)
		default:
			m.set(t.check, "fault")
		}
	}
	if faults {
		return all
	}
	return m.flow().node
}

// notifyNode is `notify` of a router or a group, nil where there is none.
func notifyNode(hooks []hook) *yaml.Node {
	m := newMapping()
	for _, event := range []string{"any", "master", "backup", "fault", "stop", "reassert"} {
		var commands []*yaml.Node
		for _, h := range hooks {
			if h.event == event {
				commands = append(commands, valueNode(h.command))
			}
		}
		switch len(commands) {
		case 0:
			continue
		case 1:
			m.set(event, commands[0])
			continue
		}
		all := list(false)
		for _, n := range commands {
			if n.Kind == yaml.ScalarNode { // a list of plain words would be one command
				n = mapping{&yaml.Node{Kind: yaml.MappingNode}}.with("command", n).flow().node
			}
			all.Content = append(all.Content, n)
		}
		m.set(event, all)
	}
	if m.empty() {
		return nil
	}
	return m.node
}

// sort puts the keys into an order, which has all of them.
func (m mapping) sort(order []string) {
	type pair struct{ key, value *yaml.Node }
	var pairs []pair
	for i := 0; i < len(m.node.Content); i += 2 {
		pairs = append(pairs, pair{m.node.Content[i], m.node.Content[i+1]})
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return slices.Index(order, a.key.Value) - slices.Index(order, b.key.Value) })
	m.node.Content = m.node.Content[:0]
	for _, p := range pairs {
		m.node.Content = append(m.node.Content, p.key, p.value)
	}
}

// with sets a key and returns the mapping.
func (m mapping) with(key string, value any) mapping {
	m.set(key, value)
	return m
}

// document puts the parts together.
func (c *conversion) document() *Document {
	d := &Document{top: newMapping()}
	if fifo := c.globals.fifo; fifo != "" {
		defaults := newMapping().with("virtual_router", newMapping().with("notify", newMapping().with("fifo", fifo)).flow())
		if len(c.groups) > 0 {
			defaults.set("group", newMapping().with("notify", newMapping().with("fifo", fifo)).flow())
		}
		d.top.set("defaults", defaults)
	}
	c.keepTracked()
	if !c.checks.empty() {
		d.top.set("checks", c.checks)
	}
	routers, groups := newMapping(), newMapping()
	for _, in := range c.instances {
		routers.set(in.key, in.router)
		routers.comment(in.key, where(in.block))
	}
	for _, g := range c.groups {
		groups.set(g.key, g.node)
		groups.comment(g.key, where(g.block))
	}
	if !routers.empty() {
		d.top.set("virtual_routers", routers)
	}
	if !groups.empty() {
		d.top.set("groups", groups)
	}
	d.Report = c.report
	d.Report.Sort()
	return d
}

// where is the comment that tells which line something comes from.
func where(b *Block) string {
	at := b.Pos()
	return "# " + short(cmp.Or(at.File, "-")) + ":" + itoa(at.Line)
}
