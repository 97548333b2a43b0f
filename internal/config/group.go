package config

import (
	"maps"
	"slices"
)

// readGroups gives the routers of each group the election of the group, in place of one of their own.
func (rr *routerReader) readGroups(n *node) {
	w := rr.walk
	for _, e := range w.entries(n, "groups") {
		if !w.name(e.key, "group") {
			continue
		}
		f := w.fields(e.value, e.key.place, groupKeys, "group")
		if f.broken {
			continue
		}
		f.path, f.fallback = e.value.path, fallback(f, rr.groupDefaults)
		if c := rr.named(e.key.text); c != nil {
			w.errorAt(e.key.place, f.path, "", "%q is also the name of a virtual router (%s): logs and status would not tell them apart", e.key.text, c.at.from(e.key.place))
		}
		if f.require("members", "members: [ROUTER, ROUTER]") {
			g := &contest{fields: f, what: "group", group: e.key.text, key: e.value}
			rr.members(g)
			w.asAll(func() { rr.lintMembers(g) })
		}
	}
}

func (rr *routerReader) named(name string) *candidate {
	for _, c := range rr.candidates {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (rr *routerReader) members(g *contest) {
	w := rr.walk
	n := g.get("members")
	switch {
	case n.kind == scalar:
		w.errorAt(n.place, n.path, "members: ["+short(n.text)+"]", "is a single value, want a list")
		return
	case n.kind != list:
		w.errorAt(n.place, n.path, "members: [ROUTER, ROUTER]", "is %s, want a list of virtual routers", n.kind)
		return
	case len(n.items) == 0:
		w.errorAt(n.place, n.path, "members: [ROUTER, ROUTER]", "names no virtual router")
	}
	var names []string
	for _, c := range rr.candidates {
		names = append(names, c.name)
	}
	for _, item := range n.items {
		c := rr.named(item.text)
		switch {
		case item.kind != scalar:
			w.errorAt(item.place, n.path, "", "is %s, want the name of a virtual router", item.kind)
		case c == nil:
			hint := didYouMean(item.text, names)
			if w.files.root.child("virtual_routers").child(item.text) != nil { // broken, which has been said
				continue
			}
			w.errorAt(item.place, n.path, hint, "there is no virtual router %q", short(item.text))
		case c.contest == g:
			w.errorAt(item.place, n.path, "", "%q stands here twice", item.text)
		case c.contest != nil:
			w.errorAt(item.place, n.path, "put the members of both into one group", "%q is already a member of %q (%s)", item.text, c.contest.group, c.contest.at.from(item.place))
		default:
			rr.join(c, g)
		}
	}
}

// join gives a router the group's election. What of it stands on the router itself is a mistake; what stands in the defaults of
// routers is for those without a group.
func (rr *routerReader) join(c *candidate, g *contest) {
	for _, e := range c.value.entries {
		if electionKeys.find(e.key.text) != nil {
			rr.errorAt(e.key.place, c.path, "write it under groups."+g.group+", for all its members", "%s belongs to the group %q, of which %q is a member", e.key.text, g.group, c.name)
		}
	}
	own, fallback := map[string]*node{}, map[string]*node{}
	maps.Copy(own, c.own)
	maps.Copy(fallback, c.fallback)
	for _, k := range electionKeys {
		delete(own, k.name)
		delete(fallback, k.name)
		if n := g.own[k.name]; n != nil {
			own[k.name] = n
		}
		if n := g.fallback[k.name]; n != nil {
			fallback[k.name] = n
		}
	}
	c.own, c.fallback, c.contest = own, fallback, g
	g.runs = append(g.runs, c.fields)
}

// lintMembers reports a node that runs some members of a group only: what they do together it cannot do.
func (rr *routerReader) lintMembers(g *contest) {
	n := g.get("members")
	for _, node := range rr.nodes {
		i := slices.IndexFunc(g.runs, func(f fields) bool { return runsOn(f, node.Name) })
		j := slices.IndexFunc(g.runs, func(f fields) bool { return !runsOn(f, node.Name) })
		if i >= 0 && j >= 0 {
			rr.errorAt(n.place, n.path, "give both a value for "+node.Name+", or neither", "%s runs %s, but not %s, which has no %s there: a group changes its role as one",
				node.Name, g.runs[i].path, g.runs[j].path, lacks(g.runs[j], node.Name))
		}
	}
}
