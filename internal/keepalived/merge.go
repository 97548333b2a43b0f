package keepalived

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Source is the file of one node.
type Source struct {
	Node     string
	Address  netip.Addr // the node's own; invalid: as the file tells
	Document *Document
}

// perNode are the keys that may be {NODE: VALUE}, by the key above the name.
var perNode = map[string][]string{
	"virtual_routers": {"interface", "priority", "addresses", "source_address", "peers"},
	"groups":          {"priority"},
	"checks":          {"command", "url", "socket", "address", "interface"},
}

// Merge makes one Document of those of several nodes. What differs and cannot differ
// in one file is taken from the first node that has it, and reported.
func Merge(sources []Source) *Document {
	m := &merger{sources: sources, top: newMapping()}
	m.match()
	m.nodes()
	values := make([]*yaml.Node, len(sources))
	for i, s := range sources {
		values[i] = s.Document.top.node
		for _, f := range s.Document.Report.Findings {
			f.Node = s.Node
			m.report.Findings = append(m.report.Findings, f)
		}
	}
	merged := mapping{m.merge(nil, values)}
	for i := 0; i < len(merged.node.Content); i += 2 {
		m.top.node.Content = append(m.top.node.Content, merged.node.Content[i], merged.node.Content[i+1])
	}
	m.unicast()
	m.groups()
	m.owners()
	var names []string
	for _, s := range sources {
		names = append(names, s.Document.source+" of "+s.Node)
	}
	return &Document{source: strings.Join(names, ", "), top: m.top, Report: m.report}
}

type merger struct {
	sources   []Source
	addresses []netip.Addr // of each node
	top       mapping
	report    Report
}

// differs reports that the nodes do not agree.
func (m *merger) differs(path []string, text string, arguments ...any) {
	m.report.add(Approximated, Pos{}, strings.Join(path, "."), fmt.Sprintf(text, arguments...))
}

// nodes writes `nodes`. An address that nobody knows is one that is reserved for
// documentation, for the operator to replace.
func (m *merger) nodes() {
	nodes := newMapping()
	virtual := map[netip.Addr]bool{}
	for _, s := range m.sources {
		s.Document.virtual(virtual)
	}
	for i, s := range m.sources {
		a := s.Address
		if !a.IsValid() {
			a = s.Document.address()
		}
		if !a.IsValid() || virtual[a] || slices.Contains(m.addresses, a) {
			a = netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
			for virtual[a] || slices.Contains(m.addresses, a) {
				a = a.Next()
			}
			m.differs([]string{"nodes", s.Node}, "the files do not tell the node's own address: put it in place of %s, or say --nodes %s@ADDRESS=FILE", a, s.Node)
		}
		m.addresses = append(m.addresses, a)
		nodes.set(s.Node, a.String())
	}
	m.top.set("nodes", nodes.flow())
	m.top.comment("nodes", "Host names, and each host's own address.")
}

// virtual adds the addresses of all routers: no node may have one of them.
func (d *Document) virtual(all map[netip.Addr]bool) {
	for _, r := range entries(d.top.get("virtual_routers")) {
		n := mapping{r.value}.get("addresses")
		if n == nil {
			continue
		}
		for _, a := range n.Content {
			if written := (mapping{a}).get("address"); a.Kind == yaml.MappingNode && written != nil {
				a = written
			}
			text, _, _ := strings.Cut(a.Value, "/")
			if parsed, err := netip.ParseAddr(text); err == nil {
				all[parsed] = true
			}
		}
	}
}

// address is the first IPv4 address, else the first one, that the routers send from.
func (d *Document) address() netip.Addr {
	var first netip.Addr
	for _, r := range entries(d.top.get("virtual_routers")) {
		n := mapping{r.value}.get("source_address")
		if n == nil {
			continue
		}
		a, err := netip.ParseAddr(n.Value)
		if err != nil || a.IsLinkLocalUnicast() {
			continue
		}
		if a.Is4() {
			return a
		}
		if !first.IsValid() {
			first = a
		}
	}
	return first
}

// merge makes one value of those of all nodes; nil: a node has none. Path is where it
// stands.
func (m *merger) merge(path []string, values []*yaml.Node) *yaml.Node {
	first := slices.IndexFunc(values, func(n *yaml.Node) bool { return n != nil })
	switch {
	case same(values):
		return values[first]
	case len(path) == 3 && slices.Contains(perNode[path[0]], path[2]):
		return m.byNode(values)
	case len(path) == 4 && path[2] == "track":
		return m.tracked(path, values, first)
	case len(path) == 4 && path[2] == "notify" && path[3] != "fifo":
		if n := m.commands(values); n != nil {
			return n
		}
	case len(path) == 3 && path[2] == "track":
		return m.mappings(path, effects(values))
	case len(path) == 3 && path[0] == "groups" && path[2] == "members":
		return m.members(path, values)
	case len(path) == 2 && path[0] == "checks" && !alike(values):
		m.differs(path, "the check of %s stands for all nodes; the others ask something else under this name", m.sources[first].Node)
		return values[first]
	case len(path) == 2 && path[0] == "virtual_routers" && first == 0 && !sameVersion(values):
		m.differs(path, "its version is not the same on all nodes: but for what is by node, all is as on %s", m.sources[0].Node)
		return m.mappings(path, asFirst(values))
	case all(values, yaml.MappingNode):
		return m.mappings(path, values)
	}
	var absent []string
	for i, n := range values {
		if n == nil {
			absent = append(absent, m.sources[i].Node)
		}
	}
	value := values[first]
	if last := path[len(path)-1]; last == "password" || last == "keys" {
		m.differs(path, "the nodes do not have the same: that of %s is taken", m.sources[first].Node)
		return value
	}
	if len(absent) > 0 {
		m.differs(path, "%s of %s stands for all nodes; %s has none", shown(value), m.sources[first].Node, strings.Join(absent, " and "))
		return value
	}
	var others []string
	for i, n := range values {
		if i != first && !equal(n, value) {
			others = append(others, m.sources[i].Node+" has "+shown(n))
		}
	}
	m.differs(path, "%s of %s stands for all nodes; %s", shown(value), m.sources[first].Node, strings.Join(others, ", "))
	return value
}

// mappings merges key by key, in the order in which they come.
func (m *merger) mappings(path []string, values []*yaml.Node) *yaml.Node {
	merged := newMapping()
	for _, n := range values {
		if n == nil {
			continue
		}
		if merged.node.Style == 0 {
			merged.node.Style = n.Style
		}
		for _, e := range entries(n) {
			if merged.get(e.key.Value) != nil {
				continue
			}
			below := make([]*yaml.Node, len(values))
			for i, other := range values {
				if other != nil {
					below[i] = mapping{other}.get(e.key.Value)
				}
			}
			at := append(slices.Clone(path), e.key.Value)
			merged.set(e.key.Value, m.present(at, below))
			merged.comment(e.key.Value, e.key.HeadComment)
		}
	}
	return merged.node
}

// present is merge for a router, group or check that only some nodes have: there is
// no mistake in that. A router runs where it has an interface.
func (m *merger) present(path []string, values []*yaml.Node) *yaml.Node {
	if len(path) != 2 || !slices.Contains(values, nil) || path[0] != "virtual_routers" {
		if len(path) != 2 || path[0] != "checks" {
			return m.merge(path, values)
		}
	}
	var have []*yaml.Node
	var nodes []Source
	for i, n := range values {
		if n != nil {
			have, nodes = append(have, n), append(nodes, m.sources[i])
		}
	}
	some := &merger{sources: nodes}
	n := some.merge(path, have)
	m.report.Findings = append(m.report.Findings, some.report.Findings...)
	if path[0] == "virtual_routers" && len(nodes) < len(values) {
		r := mapping{n}
		if i := r.get("interface"); i != nil && i.Kind == yaml.ScalarNode {
			r.set("interface", some.byNode(slices.Repeat([]*yaml.Node{i}, len(nodes))))
		}
	}
	return n
}

// byNode is {NODE: VALUE}.
func (m *merger) byNode(values []*yaml.Node) *yaml.Node {
	n := newMapping()
	for i, v := range values {
		if v != nil {
			n.set(m.sources[i].Node, v)
		}
	}
	return n.flow().node
}

// commands are those of a hook that differ by node.
func (m *merger) commands(values []*yaml.Node) *yaml.Node {
	var plain []*yaml.Node
	rest := make([]*yaml.Node, len(values))
	for i, n := range values {
		switch {
		case n == nil:
			return nil
		case n.Kind == yaml.MappingNode:
			plain = append(plain, mapping{n}.get("command"))
			rest[i] = without(n, "command")
		case n.Kind == yaml.ScalarNode:
			plain = append(plain, n)
			rest[i] = newMapping().node
		default:
			return nil // a list: of words, or of commands
		}
	}
	if !same(rest) {
		return nil
	}
	hook := newMapping()
	hook.set("command", m.byNode(plain))
	hook.node.Content = append(hook.node.Content, rest[0].Content...)
	return hook.flow().node
}

// tracked is the effect of a check on a router.
func (m *merger) tracked(path []string, values []*yaml.Node, first int) *yaml.Node {
	var absent []string
	for i, n := range values {
		if n == nil {
			absent = append(absent, m.sources[i].Node)
		}
	}
	if len(absent) > 0 {
		m.differs(path, "tracked on every node now; %s did not", strings.Join(absent, " and "))
		return values[first]
	}
	m.differs(path, "the effect %s of %s stands for all nodes; they differ", shown(values[first]), m.sources[first].Node)
	return values[first]
}

// members are those of a group on any node: one that does not run a router does not
// miss it.
func (m *merger) members(path []string, values []*yaml.Node) *yaml.Node {
	var union []*yaml.Node
	for _, n := range values {
		if n == nil {
			continue
		}
		for _, member := range n.Content {
			if !slices.ContainsFunc(union, func(u *yaml.Node) bool { return equal(u, member) }) {
				union = append(union, member)
			}
		}
	}
	m.differs(path, "those of all nodes together; they differ")
	return &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: union}
}

// unicast writes `unicast: true` where the peers of every node are the other nodes.
func (m *merger) unicast() {
	for _, e := range entries(m.top.get("virtual_routers")) {
		r := mapping{e.value}
		peers, source := r.get("peers"), r.get("source_address")
		if peers == nil || source == nil || peers.Kind != yaml.MappingNode || source.Kind != yaml.MappingNode {
			continue
		}
		meshed := true
		for i, s := range m.sources {
			own, others := mapping{source}.get(s.Node), mapping{peers}.get(s.Node)
			if own == nil || others == nil || own.Value != m.addresses[i].String() || len(others.Content) != len(m.sources)-1 {
				meshed = false
				break
			}
			for j, a := range m.addresses {
				meshed = meshed && (j == i || slices.ContainsFunc(others.Content, func(n *yaml.Node) bool { return n.Value == a.String() }))
			}
		}
		if meshed {
			*e.value = *without(without(e.value, "peers"), "source_address")
			r.set("unicast", true)
		}
	}
}
