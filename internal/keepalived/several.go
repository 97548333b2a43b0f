package keepalived

import (
	"slices"
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

// alike tells whether checks ask the same kind of thing: they have the same type, and
// the same keys but for those of time.
func alike(checks []*yaml.Node) bool {
	kind := func(check *yaml.Node) string {
		keys := []string{""}
		if t := (mapping{check}).get("type"); t != nil {
			keys[0] = t.Value
		}
		for _, e := range entries(check) {
			if !slices.Contains([]string{"interval", "timeout", "rise", "fall"}, e.key.Value) {
				keys = append(keys, e.key.Value)
			}
		}
		slices.Sort(keys[1:])
		return strings.Join(keys, " ")
	}
	return !slices.ContainsFunc(checks, func(n *yaml.Node) bool { return n == nil || kind(n) != kind(checks[0]) })
}

// sameVersion tells whether all speak the same version: what else they can say hangs
// on it.
func sameVersion(routers []*yaml.Node) bool {
	return !slices.ContainsFunc(routers, func(n *yaml.Node) bool {
		return !equal(mapping{n}.get("version"), mapping{routers[0]}.get("version"))
	})
}

// asFirst are routers that are the first one but for what is by node.
func asFirst(routers []*yaml.Node) []*yaml.Node {
	all := make([]*yaml.Node, len(routers))
	for i, n := range routers {
		r := newMapping()
		for _, e := range entries(routers[0]) {
			r.set(e.key.Value, e.value)
		}
		for _, key := range perNode["virtual_routers"] {
			if v := (mapping{n}).get(key); v != nil {
				r.set(key, v)
			}
		}
		all[i] = r.node
	}
	return all
}

// elected are the keys of an election: a group has them in place of its members.
var elected = []string{"priority", "preempt", "preempt_delay", "track", "notify"}

// groups leaves those members in a group that run on the nodes of the first one: a
// group changes its role as one. The others are elected as the group is. What a member
// says of its election on another node, where it is none, falls to the group.
func (m *merger) groups() {
	of := map[string]string{} // the group of a router
	groups := m.top.get("groups")
	for _, e := range entries(groups) {
		if members := (mapping{e.value}).get("members"); members != nil {
			fewer := *members
			if fewer.Content = m.stay(e, members.Content, of); len(fewer.Content) == 0 {
				*groups = *without(groups, e.key.Value)
			}
			mapping{e.value}.set("members", &fewer)
		}
	}
	if len(entries(groups)) == 0 {
		m.top = mapping{without(m.top.node, "groups")}
	}
}

// stay gives the routers that can be members of one group together.
func (m *merger) stay(group entry, members []*yaml.Node, of map[string]string) (stay []*yaml.Node) {
	at := []string{"groups", group.key.Value, "members"}
	for _, n := range members {
		name := n.Value
		if other, ok := of[name]; ok {
			m.differs(at, "%s is none any more: it is one of %s", name, other)
			continue
		}
		if len(stay) == 0 || m.runs(name) == m.runs(stay[0].Value) {
			stay = append(stay, n)
			of[name] = group.key.Value
			m.dropElection(name, group.key.Value)
			continue
		}
		r := mapping{m.router(name)}
		for _, key := range elected {
			if v := (mapping{group.value}).get(key); v != nil && r.get(key) == nil {
				r.set(key, v)
			}
		}
		m.differs(at, "%s is none any more: it runs on %s, and %s on %s", name, m.runs(name), stay[0].Value, m.runs(stay[0].Value))
	}
	return stay
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
