package keepalived

import (
	"bytes"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// entry is one key of a mapping.
type entry struct{ key, value *yaml.Node }

// entries are those of a mapping; none of what is not one.
func entries(n *yaml.Node) []entry {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var all []entry
	for i := 0; i < len(n.Content); i += 2 {
		all = append(all, entry{n.Content[i], n.Content[i+1]})
	}
	return all
}

// without is a mapping less one key.
func without(n *yaml.Node, key string) *yaml.Node {
	rest := *n
	rest.Content = nil
	for _, e := range entries(n) {
		if e.key.Value != key {
			rest.Content = append(rest.Content, e.key, e.value)
		}
	}
	return &rest
}

// equal tells whether two values say the same, whatever their style and comments.
func equal(a, b *yaml.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.Kind != b.Kind || a.Value != b.Value || len(a.Content) != len(b.Content) {
		return false
	}
	return slices.EqualFunc(a.Content, b.Content, equal)
}

// same tells whether all values are there and say the same.
func same(values []*yaml.Node) bool {
	return !slices.ContainsFunc(values, func(n *yaml.Node) bool { return n == nil || !equal(n, values[0]) })
}

// all tells whether all values that are there are of a kind.
func all(values []*yaml.Node, kind yaml.Kind) bool {
	return !slices.ContainsFunc(values, func(n *yaml.Node) bool { return n != nil && n.Kind != kind })
}

// effects are lists of tracked checks as mappings to their effect.
func effects(values []*yaml.Node) []*yaml.Node {
	written := make([]*yaml.Node, len(values))
	for i, n := range values {
		written[i] = n
		if n != nil && n.Kind == yaml.SequenceNode {
			m := newMapping().flow()
			for _, check := range n.Content {
				m.set(check.Value, "fault")
			}
			written[i] = m.node
		}
	}
	return written
}

// shown is a value in a line of the report.
func shown(n *yaml.Node) string {
	const longest = 60
	text := n.Value
	if n.Kind != yaml.ScalarNode {
		flat := *n
		flat.Style = yaml.FlowStyle
		b, err := yaml.Marshal(&flat)
		if err != nil {
			return "a value"
		}
		text = strings.Join(strings.Fields(string(bytes.TrimSpace(b))), " ")
	}
	if r := []rune(text); len(r) > longest {
		text = string(r[:longest]) + "..."
	}
	return text
}
