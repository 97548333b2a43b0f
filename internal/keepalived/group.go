package keepalived

import (
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// group is a vrrp_sync_group.
type group struct {
	election
	key     string // baton's name
	node    mapping
	names   []Word // of the members, as the file has them
	listed  *Block // group { }
	weights bool   // members keep the weights of what they track
}

// groupOf is the first group that names an instance.
func groupOf(name string, groups []*group) *group {
	for _, g := range groups {
		if slices.ContainsFunc(g.names, func(w Word) bool { return w.Text == name }) {
			return g
		}
	}
	return nil
}

// readGroup reads one. It is nil where keepalived skips it.
func (c *conversion) readGroup(b *Block, others []*group) *group {
	args := b.Arguments()
	switch {
	case len(args) != 1:
		c.report.block(Ignored, b, "a sync group has one word for its name: keepalived skips it")
		return nil
	case slices.ContainsFunc(others, func(o *group) bool { return o.name == args[0].Text }):
		c.report.block(Ignored, b, "the name is taken: keepalived skips it")
		return nil
	}
	g := &group{election: election{block: b, name: args[0].Text}, node: newMapping()}
	c.report.line(Converted, b, "")
	readBlock(c, g, b.Children, groupKeywords())
	return g
}

// groupKeywords are those of a vrrp_sync_group.
func groupKeywords() []keyword[*group] {
	all := []keyword[*group]{
		{name: "group", read: (*conversion).readMembers},
		{name: "sync_group_tracking_weight", read: func(c *conversion, g *group, b *Block) {
			c.flag(b)
			g.weights = true
			c.became1(Approximated, b, "a group of baton's has one priority: the weights of all its members add up to it")
		}},
		{name: "global_tracking", read: func(c *conversion, g *group, b *Block) {
			c.flag(b)
			g.weights = true
			c.became1(Approximated, b, "a group of baton's has one priority: the weights of all its members add up to it")
		}},
		{name: "smtp_alert", outcome: Unsupported, text: noMail},
		{name: "notify_priority_changes", outcome: NotNeeded, text: logsOnly},
	}
	for _, name := range trackKeywords {
		all = append(all, keyword[*group]{name: name, read: func(c *conversion, g *group, b *Block) { c.readTrack(&g.election, b) }})
	}
	for _, name := range notifyKeywords {
		if name == "notify_master_rx_lower_pri" || name == "notify_deleted" { // of instances alone
			continue
		}
		all = append(all, keyword[*group]{name: name, read: func(c *conversion, g *group, b *Block) { c.readNotify(&g.election, b) }})
	}
	return all
}

func (c *conversion) readMembers(g *group, b *Block) {
	if g.listed != nil {
		c.report.block(Ignored, b, "the group has a list already: keepalived skips this one")
		return
	}
	g.listed = b
	if args := b.Arguments(); len(args) > 0 {
		c.report.words(Ignored, "group has a block, and no words before it", args...)
	}
	c.report.words(Converted, "", b.Words[0])
	for _, line := range b.Children {
		c.stray(line)
		g.names = append(g.names, line.Words...)
	}
}

// finishGroup finds the members and puts their elections together.
func (c *conversion) finishGroup(g *group, instances []*instance) {
	var members []*instance
	for _, w := range g.names {
		i := slices.IndexFunc(instances, func(in *instance) bool { return in.name == w.Text })
		switch {
		case i < 0:
			c.report.words(Ignored, "there is no such vrrp_instance: keepalived leaves it out", w)
		case instances[i].group != g:
			c.report.words(Ignored, "it is in "+instances[i].group.what()+" already: keepalived leaves it out", w)
		case slices.Contains(members, instances[i]):
			c.report.words(Ignored, "it stands there already", w)
		case !slices.Contains(c.instances, instances[i]):
			c.report.words(Unsupported, "the instance is not in the output", w)
		default:
			c.report.words(Converted, "", w)
			members = append(members, instances[i])
		}
	}
	if len(members) == 0 {
		c.report.amend(g.block.Pos(), Ignored, "it has no member: keepalived removes it")
		return
	}
	g.key = unused(nameFor(g.name), func(s string) bool { return c.names[s] })
	c.names[g.key] = true
	if g.key != g.name {
		c.report.amend(g.block.Pos(), Approximated, "the group is "+g.key+", also for hooks: names have letters, digits, dot, dash and underscore, and are there once, also among routers")
	}
	names := list(true)
	for _, in := range members {
		names.Content = append(names.Content, valueNode(in.key))
	}
	g.node.set("members", names)
	priority, preempt, delay := c.together(g, members)
	for _, in := range members {
		c.join(g, in)
	}
	c.writeElection(g.node, &g.election, priority, preempt, delay)
	c.groups = append(c.groups, g)
}

// together is the one election of a group in place of those of its members: it is
// master where all of them would be.
func (c *conversion) together(g *group, members []*instance) (priority int, preempt bool, delay time.Duration) {
	priority, preempt = 255, true
	differ := ""
	for _, in := range members {
		if first := members[0]; in.priority != first.priority {
			differ = "priority"
		} else if in.preempt != first.preempt || in.preemptDelay != first.preemptDelay {
			differ = cmpOr(differ, "preempt mode")
		}
		priority = min(priority, in.priority)
		preempt = preempt && in.preempt
		delay = max(delay, in.preemptDelay)
	}
	if !preempt {
		delay = 0
	}
	if differ != "" {
		text := fmt.Sprintf("its members differ in %s, and a group of baton's has one: the lowest priority, %d, preempt: %t, and the longest preempt_delay", differ, priority, preempt)
		c.report.add(Approximated, g.block.Pos(), g.what(), text)
		g.node.comment("members", "# its members differ in "+differ)
	}
	return priority, preempt, delay
}

// join gives the group what a member tracks, and whom it tells.
func (c *conversion) join(g *group, in *instance) {
	for _, t := range in.track {
		if !g.weights {
			t = c.unweighted(t, true)
		}
		g.track = append(g.track, t)
	}
	for _, h := range in.hooks {
		text := ""
		if h.event == "any" {
			text = "it is told once, of the group: GROUP, " + g.key + ", the state and 0"
		}
		same := slices.ContainsFunc(g.hooks, func(o hook) bool { return o.event == h.event && sameCommand(o.command, h.command) })
		if same {
			text = "another member, or the group, has the same command: it runs once for all of them"
		}
		if text != "" {
			c.report.amend(h.pos, Approximated, text)
		}
		if !same {
			g.hooks = append(g.hooks, h)
		}
	}
}

func sameCommand(a, b any) bool {
	x, errX := yaml.Marshal(valueNode(a))
	y, errY := yaml.Marshal(valueNode(b))
	return errX == nil && errY == nil && string(x) == string(y)
}
