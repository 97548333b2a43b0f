package config

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// Severity tells whether a file with this finding can be used.
type Severity uint8

// A file with a Warning is loaded, one with an Error is not.
const (
	Warning Severity = iota + 1
	Error
)

func (s Severity) String() string {
	switch s {
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return fmt.Sprintf("severity %d", uint8(s))
}

// Diagnostic is one finding at one place of one file.
type Diagnostic struct {
	File     string   // as it was named by the caller or found by an include
	Line     int      // from 1; 0 where a file could not be read at all
	Column   int      // from 1, in characters
	Severity Severity // Warning or Error
	Path     string   // the key, such as checks.redis.command; may be empty
	Message  string   // what is wrong, with the value that was seen
	Hint     string   // what to write instead; may be empty
	Nodes    []string // the nodes that see it, where not every node does
	Source   string   // the text of the line, without what is secret
}

// Report is what was found in a configuration, sorted by file, line and column.
type Report struct {
	Diagnostics []Diagnostic
	Nodes       int // entries in `nodes`; 0 where the file has none
}

// Errors returns the number of findings that keep the configuration from being used.
func (r *Report) Errors() int { return r.count(Error) }

// Warnings returns the number of findings that do not.
func (r *Report) Warnings() int { return r.count(Warning) }

func (r *Report) count(s Severity) int {
	n := 0
	for _, d := range r.Diagnostics {
		if d.Severity == s {
			n++
		}
	}
	return n
}

// Add puts further findings in their places, such as those of [Config.CheckHost].
func (r *Report) Add(more ...Diagnostic) {
	r.Diagnostics = append(r.Diagnostics, more...)
	slices.SortStableFunc(r.Diagnostics, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Hint, b.Hint))
	})
}

// WriteTo writes the findings for a person to read, and their number. It writes nothing where nothing was found.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	if len(r.Diagnostics) == 0 {
		return 0, nil
	}
	var b bytes.Buffer
	for _, d := range r.Diagnostics {
		d.write(&b)
	}
	var found []string
	if n := r.Errors(); n > 0 {
		found = append(found, plural(n, "error"))
	}
	if n := r.Warnings(); n > 0 {
		found = append(found, plural(n, "warning"))
	}
	switch r.Nodes {
	case 0:
	case 1:
		found = append(found, "as seen by 1 node")
	default:
		found = append(found, fmt.Sprintf("as seen by each of %d nodes", r.Nodes))
	}
	fmt.Fprintln(&b, strings.Join(found, ", "))
	return b.WriteTo(w)
}

// write gives the finding one line, and with a hint the line of the file and the hint under the offending place.
func (d Diagnostic) write(b *bytes.Buffer) {
	b.WriteString(d.File)
	if d.Line > 0 {
		fmt.Fprintf(b, ":%d:%d", d.Line, d.Column)
	}
	fmt.Fprintf(b, ": %s: ", d.Severity)
	if d.Path != "" {
		fmt.Fprintf(b, "%s: ", d.Path)
	}
	b.WriteString(d.Message)
	if len(d.Nodes) > 0 {
		fmt.Fprintf(b, " (on %s)", strings.Join(d.Nodes, ", "))
	}
	b.WriteByte('\n')
	switch {
	case d.Hint == "":
	case d.Line == 0:
		fmt.Fprintf(b, "      | %s\n", d.Hint)
	default:
		text, caret := excerpt(d.Source, d.Column)
		fmt.Fprintf(b, "%5d | %s\n      | %s^ %s\n", d.Line, text, caret, d.Hint)
	}
}

// excerpt returns what of a line can be shown, and what stands before a caret under its column. Long lines are cut around
// the column; tabs stay, so that the caret keeps its place; other control characters would reach the terminal.
func excerpt(line string, column int) (text, before string) {
	const most = 160
	runes := []rune(line)
	at := min(max(column-1, 0), len(runes))
	if from := at - most/2; from > 0 && len(runes) > most {
		runes, at = runes[from:], at-from
		copy(runes, []rune("..."))
	}
	if len(runes) > most {
		runes = append(runes[:most:most], []rune("...")...)
	}
	lead := make([]rune, at)
	for i, r := range runes {
		if r != '\t' && !unicode.IsPrint(r) {
			runes[i] = '?'
		}
		if i < at {
			lead[i] = ' '
			if r == '\t' {
				lead[i] = '\t'
			}
		}
	}
	return strings.TrimRight(string(runes), " \t"), string(lead)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// finding is what makes two diagnostics the same one.
type finding struct {
	at                  place
	severity            Severity
	path, message, hint string
}

// collector merges what several nodes find in the same files.
type collector struct {
	node  string // who reads now; empty outside any walk: then every node sees it
	found map[finding]map[string]bool
	order []finding

	errors int // reported so far, each time that it was
}

func newCollector() *collector {
	return &collector{found: map[finding]map[string]bool{}}
}

func (c *collector) add(f finding) {
	by, known := c.found[f]
	if !known {
		by = map[string]bool{}
		c.found[f] = by
		c.order = append(c.order, f)
	}
	by[c.node] = true
}

// asAll reports what f finds as seen by every node.
func (c *collector) asAll(f func()) {
	me := c.node
	c.node = ""
	defer func() { c.node = me }()
	f()
}

func (c *collector) errorAt(at place, path, hint, format string, args ...any) {
	c.errors++
	c.add(finding{at, Error, path, fmt.Sprintf(format, args...), hint})
}

func (c *collector) warnAt(at place, path, hint, format string, args ...any) {
	c.add(finding{at, Warning, path, fmt.Sprintf(format, args...), hint})
}

// report returns everything found. nodes are those whose walks have been made.
func (c *collector) report(nodes []Node) *Report {
	r := &Report{Nodes: len(nodes)}
	for _, f := range c.order {
		d := f.diagnostic()
		if by := c.found[f]; !by[""] && len(by) < len(nodes) {
			for _, n := range nodes {
				if by[n.Name] {
					d.Nodes = append(d.Nodes, n.Name)
				}
			}
		}
		r.Diagnostics = append(r.Diagnostics, d)
	}
	r.Add()
	return r
}

func (f finding) diagnostic() Diagnostic {
	d := Diagnostic{Line: f.at.line, Column: f.at.column, Severity: f.severity, Path: f.path, Message: f.message, Hint: f.hint}
	if f.at.file != nil {
		d.File, d.Source = f.at.file.name, f.at.file.shown(f.at.line)
	}
	return d
}
