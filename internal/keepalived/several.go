package keepalived

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// runs tells on which nodes a router runs: where it has an interface.
func (m *merger) runs(router string) string {
	var nodes []string
	i := mapping{m.router(router)}.get("interface")
	for _, s := range m.sources {
		if i == nil || i.Kind != yaml.MappingNode || (mapping{i}).get(s.Node) != nil {
			nodes = append(nodes, s.Node)
		}
	}
	return strings.Join(nodes, " and ")
}

func (m *merger) router(name string) *yaml.Node {
	routers := m.top.get("virtual_routers")
	if routers == nil {
		return newMapping().node
	}
	if r := (mapping{routers}).get(name); r != nil {
		return r
	}
	return newMapping().node
}

// elected are the keys of an election: a group has them in place of its members.
var elected = []string{"priority", "preempt", "preempt_delay", "track", "notify"}

// groups leaves those members in a group that run on the nodes of the first one: a
// group changes its role as one. The others are elected as the group is. What a member
// says of its election on another node, where it is none, falls to the group.
func (m *merger) groups() {
	for _, e := range entries(m.top.get("groups")) {
		g := mapping{e.value}
		members := g.get("members")
		if members == nil || len(members.Content) == 0 {
			continue
		}
		first := members.Content[0].Value
		var stay []*yaml.Node
		for _, n := range members.Content {
			if m.runs(n.Value) == m.runs(first) {
				stay = append(stay, n)
				m.dropElection(n.Value, e.key.Value)
				continue
			}
			r := mapping{m.router(n.Value)}
			for _, key := range elected {
				if v := g.get(key); v != nil && r.get(key) == nil {
					r.set(key, v)
				}
			}
			m.differs([]string{"groups", e.key.Value, "members"}, "%s is none any more: it runs on %s, and %s on %s", n.Value, m.runs(n.Value), first, m.runs(first))
		}
		if len(stay) < len(members.Content) {
			fewer := *members
			fewer.Content = stay
			g.set("members", &fewer)
		}
	}
}

func (m *merger) dropElection(router, group string) {
	r := m.router(router)
	for _, key := range elected {
		if v := (mapping{r}).get(key); v != nil {
			*r = *without(r, key)
			m.differs([]string{"virtual_routers", router, key}, "%s is left out: the router is a member of the group %s, whose own stands for all nodes", shown(v), group)
		}
	}
}

// owners leaves one owner, priority 255, to a router or a group: with two of them
// keepalived has two masters until the one with the higher address goes down to 254.
func (m *merger) owners() {
	for _, kind := range []string{"virtual_routers", "groups"} {
		for _, e := range entries(m.top.get(kind)) {
			r := mapping{e.value}
			priorities := newMapping()
			owners := 0
			for _, s := range m.sources {
				p, i := r.get("priority"), r.get("interface")
				if p != nil && p.Kind == yaml.MappingNode {
					p = mapping{p}.get(s.Node)
				}
				if p == nil || i != nil && i.Kind == yaml.MappingNode && (mapping{i}).get(s.Node) == nil {
					continue
				}
				if priorities.set(s.Node, p); p.Value != "255" {
					continue
				}
				if owners++; owners > 1 {
					priorities.set(s.Node, 254)
					m.differs([]string{kind, e.key.Value, "priority"}, "255 is for one owner alone: %s has 254 now, as it would end up with keepalived", s.Node)
				}
			}
			if owners > 1 {
				r.set("priority", priorities.flow())
			}
		}
	}
}
