package config

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// source is one file as it was read.
type source struct {
	name   string
	lines  []string
	hidden map[int]bool // lines that are not shown: a password stands there without its key
}

func (s *source) line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	return s.lines[n-1]
}

// passwords finds where one begins. It must not need a tree: a line that is no YAML is shown too.
var passwords = regexp.MustCompile(`(?i)\b((password|token|headers|authorization)["']?\s*:|auth_pass["']?[\s:])\s*`)

// shown returns a line as messages show it, with everything from a password on blotted out.
func (s *source) shown(n int) string {
	line := s.line(n)
	from := len(line)
	if at := passwords.FindStringIndex(line); at != nil {
		from = at[1]
	}
	if s.hidden[n] {
		from = len(line) - len(strings.TrimLeft(line, " \t"))
	}
	return line[:from] + strings.Repeat("*", utf8.RuneCountInString(line[from:]))
}

// notUTF8 finds the first character that is none in UTF-8; ok says that there is none. UTF-16 has one at its very beginning.
func (s *source) notUTF8() (at place, ok bool) {
	for i, line := range s.lines {
		if utf8.ValidString(line) {
			continue
		}
		column := 1
		for _, r := range line {
			if r == utf8.RuneError {
				break
			}
			column++
		}
		return place{s, i + 1, column}, false
	}
	return place{}, true
}

// place is where something stands. Lines and columns count from 1; columns count characters.
type place struct {
	file         *source
	line, column int
}

// from tells a reader of the place p where the place q is.
func (q place) from(p place) string {
	if q.file == p.file {
		return "line " + itoa(q.line)
	}
	return q.file.name + " line " + itoa(q.line)
}

func (s *source) hide(n int) {
	if s.hidden == nil {
		s.hidden = map[int]bool{}
	}
	s.hidden[n] = true
}

type nodeKind uint8

const (
	empty nodeKind = iota // a key with nothing behind it, or null
	scalar
	list
	mapping
)

func (k nodeKind) String() string {
	switch k {
	case empty:
		return "empty"
	case scalar:
		return "a single value"
	case list:
		return "a list"
	case mapping:
		return "a mapping"
	}
	return "unknown"
}

// node is one value of the tree. It differs from [yaml.Node] in that it knows its file and its path, and that what no part
// of the language uses (aliases, merge keys, tags, keys that are no scalars, keys that stand twice) has been reported and left out.
type node struct {
	place
	path    string
	kind    nodeKind
	text    string     // of a scalar, without quotes
	style   yaml.Style // of a scalar
	boolean bool       // a scalar that YAML reads as true or false
	items   []*node    // of a list
	entries []entry    // of a mapping, in the order of the file
}

type entry struct{ key, value *node }

// quoted tells whether a scalar was written with quotes or as a block: it is text then, never a number.
func (n *node) quoted() bool {
	return n.style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

// shown returns a scalar as a message repeats it.
func (n *node) shown() string {
	if n.quoted() || n.text == "" {
		return quote(n.text)
	}
	return short(n.text)
}

// child returns the value of a mapping's key, or nil.
func (n *node) child(name string) *node {
	if n == nil {
		return nil
	}
	for _, e := range n.entries {
		if e.key.text == name {
			return e.value
		}
	}
	return nil
}

// builder makes the tree of one file.
type builder struct {
	file *source
	c    *collector
}

func (b *builder) node(y *yaml.Node, path string) *node {
	n := &node{place: place{b.file, y.Line, y.Column}, path: path}
	if y.Anchor != "" {
		b.c.errorAt(n.place, path, "`defaults` holds what several have in common", "anchors and aliases are not part of the language")
	}
	if y.Style&yaml.TaggedStyle != 0 {
		b.c.errorAt(n.place, path, "", "YAML tags such as %s are not part of the language", short(y.Tag))
	}
	switch y.Kind {
	case yaml.ScalarNode:
		if y.Tag == "!!null" {
			break
		}
		n.kind, n.text, n.style, n.boolean = scalar, y.Value, y.Style, y.Tag == "!!bool"
		if strings.ContainsRune(y.Value, 0) && !carriesBytes(path) {
			b.c.errorAt(n.place, path, "", "has a NUL character")
		}
	case yaml.SequenceNode:
		n.kind = list
		for _, item := range y.Content {
			n.items = append(n.items, b.node(item, path))
		}
	case yaml.MappingNode:
		n.kind = mapping
		b.mapping(n, y)
	case yaml.AliasNode:
		b.c.errorAt(n.place, path, "write it out; `defaults` holds what several have in common", "anchors and aliases are not part of the language")
	}
	return n
}

// carriesBytes tells whether a value is sent or compared as it is. AMQP begins with a text that has NUL characters.
func carriesBytes(path string) bool {
	return (strings.HasPrefix(path, "checks.") || strings.HasPrefix(path, "defaults.check.")) && (strings.HasSuffix(path, ".send") || strings.HasSuffix(path, ".expect"))
}

func (b *builder) mapping(n *node, y *yaml.Node) {
	first := map[string]place{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		yk := y.Content[i]
		at := place{b.file, yk.Line, yk.Column}
		switch {
		case yk.Tag == "!!merge":
			b.c.errorAt(at, n.path, "`defaults` and `include` do that", "YAML merge keys (<<) are not part of the language")
			continue
		case yk.Kind != yaml.ScalarNode:
			hint := ""
			if yk.Kind == yaml.MappingNode {
				hint = "{{ }}: a template that was not filled in?"
			}
			b.c.errorAt(at, n.path, hint, "a key is a name, this is no single value")
			continue
		}
		if at1, twice := first[yk.Value]; twice {
			b.c.errorAt(at, n.path, "", "%q stands here twice, first in %s", short(yk.Value), at1.from(at))
			continue
		}
		first[yk.Value] = at
		key := b.node(yk, n.path)
		key.text = yk.Value // also of null: `~` is a key like others, and refused as a name
		value := b.node(y.Content[i+1], join(n.path, yk.Value))
		switch yk.Value {
		case "password", "token":
			if value.line != key.line {
				b.file.hide(value.line)
			}
		case "headers":
			for _, e := range value.entries {
				if e.value.line != key.line {
					b.file.hide(e.value.line)
				}
			}
		}
		n.entries = append(n.entries, entry{key, value})
	}
}

// inside returns the place of a scalar's i-th character, where it can be told; otherwise that of the scalar.
func (n *node) inside(i int) place {
	line := []rune(n.file.line(n.line))
	at := n.column - 1
	if at < 0 || at >= len(line) {
		return n.place
	}
	found := -1
	switch {
	case n.style&yaml.LiteralStyle != 0:
		return n.insideBlock(i)
	case n.style&yaml.SingleQuotedStyle != 0:
		found = skip(line, at+1, i, func(r []rune) int {
			if len(r) > 1 && r[0] == '\'' && r[1] == '\'' {
				return 2
			}
			return 1
		})
	case n.style&yaml.DoubleQuotedStyle != 0:
		found = skip(line, at+1, i, func(r []rune) int {
			if len(r) < 2 || r[0] != '\\' {
				return 1
			}
			switch r[1] {
			case 'x':
				return 4
			case 'u':
				return 6
			case 'U':
				return 10
			}
			return 2
		})
	case n.style&yaml.FoldedStyle == 0:
		if lead := []rune(n.text); i <= len(lead) && strings.HasPrefix(string(line[at:]), string(lead[:i])) {
			found = at + i
		}
	}
	if found < 0 || found >= len(line) {
		return n.place
	}
	return place{n.file, n.line, found + 1}
}

// skip steps over count characters as they are written, and returns where the next one stands, or -1.
func skip(line []rune, at, count int, width func([]rune) int) int {
	for ; count > 0; count-- {
		if at >= len(line) {
			return -1
		}
		at += width(line[at:])
	}
	return at
}

// insideBlock does it for a block after "|": its lines follow, each indented.
func (n *node) insideBlock(i int) place {
	text := []rune(n.text)
	if i > len(text) {
		return n.place
	}
	lead := string(text[:i])
	nth := strings.Count(lead, "\n")
	start := strings.LastIndexByte(lead, '\n') + 1
	whole, _, _ := strings.Cut(n.text[start:], "\n")
	line := n.file.line(n.line + 1 + nth)
	indent := strings.Index(line, whole)
	if indent < 0 {
		return n.place
	}
	return place{n.file, n.line + 1 + nth, utf8.RuneCountInString(line[:indent]+lead[start:]) + 1}
}

func join(path, key string) string {
	key = short(key)
	if path == "" {
		return key
	}
	return path + "." + key
}
