package keepalived

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// mapping is a mapping of the YAML to be, in the order of its keys.
type mapping struct{ node *yaml.Node }

func newMapping() mapping { return mapping{&yaml.Node{Kind: yaml.MappingNode}} }

// set adds a key, or replaces its value: a mapping, a list of values, a string, a
// number or a bool.
func (m mapping) set(key string, value any) {
	v := valueNode(value)
	for i := 0; i < len(m.node.Content); i += 2 {
		if m.node.Content[i].Value == key {
			m.node.Content[i+1] = v
			return
		}
	}
	m.node.Content = append(m.node.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, v)
}

// get returns the value of a key, nil where it is absent.
func (m mapping) get(key string) *yaml.Node {
	if m.node == nil {
		return nil
	}
	for i := 0; i < len(m.node.Content); i += 2 {
		if m.node.Content[i].Value == key {
			return m.node.Content[i+1]
		}
	}
	return nil
}

// comment puts a comment on the line above a key.
func (m mapping) comment(key, text string) {
	for i := 0; i < len(m.node.Content); i += 2 {
		if m.node.Content[i].Value == key {
			m.node.Content[i].HeadComment = text
		}
	}
}

func (m mapping) empty() bool { return len(m.node.Content) == 0 }

// flow writes the mapping in one line.
func (m mapping) flow() mapping {
	m.node.Style = yaml.FlowStyle
	return m
}

// list is a list of the YAML to be, in one line where flow is true.
func list(flow bool, values ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if flow {
		n.Style = yaml.FlowStyle
	}
	for _, v := range values {
		n.Content = append(n.Content, valueNode(v))
	}
	return n
}

func valueNode(value any) *yaml.Node {
	switch v := value.(type) {
	case *yaml.Node:
		return v
	case mapping:
		return v.node
	case string:
		n := &yaml.Node{}
		n.SetString(v) // quoted where it would be read as something else
		return n
	case int:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(v)}
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}
	}
	panic(fmt.Sprintf("a %T has no place in YAML", value)) // a mistake of ours
}
