package keepalived

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// identity is what makes two routers of two nodes the same one.
type identity struct {
	vrid string
	six  bool
}

// known is a router that the nodes before have.
type known struct {
	name, iface string
	identity
}

// match gives what is the same on several nodes the name that the first of them has for
// it: routers of one VRID and family, groups of the same routers, checks that ask the
// same.
func (m *merger) match() {
	var routers []known
	groups := map[string]string{} // a member, to its group
	checks := newMapping()
	for _, s := range m.sources {
		top := s.Document.top
		routers = m.matchRouters(s, top, routers)
		for _, e := range entries(top.get("groups")) {
			for _, member := range entries(e.value) {
				if member.key.Value != "members" {
					continue
				}
				for _, name := range member.value.Content {
					if was, ok := groups[name.Value]; ok && (mapping{top.get("groups")}).get(was) == nil {
						m.renamed(s, "groups", e.key.Value, was)
						e.key.Value = was
					}
					groups[name.Value] = e.key.Value
				}
			}
		}
		m.matchChecks(s, top, checks)
	}
}

func (m *merger) renamed(s Source, kind, from, to string) {
	m.report.Findings = append(m.report.Findings, Finding{Outcome: Converted, Node: s.Node, What: kind + "." + from, Text: "the same as " + to})
}

// matchRouters renames the routers of one node, and returns all that are known now.
func (m *merger) matchRouters(s Source, top mapping, before []known) []known {
	routers := entries(top.get("virtual_routers"))
	names := make([]string, len(routers))
	left := slices.Clone(before)
	ours := make([]known, len(routers))
	for i, e := range routers {
		ours[i] = known{name: e.key.Value, iface: text(e.value, "interface"), identity: identify(e.value)}
	}
	for _, alike := range []func(a, b known) bool{ // the closest first
		func(a, b known) bool { return a.name == b.name },
		func(a, b known) bool { return a.iface == b.iface },
		func(a, b known) bool { return true },
	} {
		for i, r := range ours {
			if names[i] != "" {
				continue
			}
			j := slices.IndexFunc(left, func(k known) bool { return k.identity == r.identity && alike(k, r) })
			if j >= 0 {
				names[i] = left[j].name
				if names[i] != r.name {
					m.renamed(s, "virtual_routers", r.name, names[i])
				}
				left = slices.Delete(left, j, j+1)
			}
		}
	}
	after := slices.Clone(before)
	taken := func(name string) bool {
		return slices.ContainsFunc(after, func(k known) bool { return k.name == name })
	}
	for i, r := range ours {
		if names[i] != "" {
			continue
		}
		names[i] = unused(r.name, taken)
		if names[i] != r.name {
			m.report.add(Approximated, Pos{}, "virtual_routers."+names[i], fmt.Sprintf("%s of %s has VRID %s, which %s has on no other node: is that meant?", r.name, s.Node, r.vrid, r.name))
		}
		r.name = names[i]
		after = append(after, r)
	}
	to := map[string]string{}
	for i, e := range routers {
		to[e.key.Value] = names[i]
		e.key.Value = names[i]
	}
	for _, g := range entries(top.get("groups")) {
		if members := (mapping{g.value}).get("members"); members != nil {
			for _, member := range members.Content {
				if name, ok := to[member.Value]; ok {
					member.Value = name
				}
			}
		}
	}
	return after
}

// matchChecks renames the checks of one node that ask what those of others do.
func (m *merger) matchChecks(s Source, top, before mapping) {
	ours := mapping{top.get("checks")}
	for _, e := range entries(ours.node) {
		if before.get(e.key.Value) != nil {
			continue // the same one, or one that differs by node
		}
		name := e.key.Value
		for _, b := range entries(before.node) {
			if equal(b.value, e.value) && ours.get(b.key.Value) == nil {
				name = b.key.Value
				break
			}
		}
		if name != e.key.Value {
			m.renamed(s, "checks", e.key.Value, name)
			retrack(top, e.key.Value, name)
			e.key.Value = name
			continue
		}
		before.set(name, e.value)
	}
}

// retrack gives a tracked check another name.
func retrack(top mapping, from, to string) {
	for _, kind := range []string{"virtual_routers", "groups"} {
		for _, e := range entries(top.get(kind)) {
			track := mapping{e.value}.get("track")
			if track == nil {
				continue
			}
			for i, n := range track.Content {
				if n.Value == from && (track.Kind == yaml.SequenceNode || i%2 == 0) {
					n.Value = to
				}
			}
		}
	}
}

// identify tells which virtual router one is.
func identify(router *yaml.Node) identity {
	id := identity{vrid: text(router, "vrid")}
	list := mapping{router}.get("addresses")
	if list == nil || len(list.Content) == 0 {
		return id
	}
	first := list.Content[0].Value
	if list.Content[0].Kind == yaml.MappingNode {
		first = text(list.Content[0], "address")
	}
	host, _, _ := strings.Cut(first, "/")
	a, err := netip.ParseAddr(host)
	id.six = err == nil && a.Is6()
	return id
}

// text is the value of a key that is a scalar; empty where there is none.
func text(n *yaml.Node, key string) string {
	if v := (mapping{n}).get(key); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}
