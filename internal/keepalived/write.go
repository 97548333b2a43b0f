package keepalived

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Routers is how many virtual routers the Document has.
func (d *Document) Routers() int { return len(entries(d.top.get("virtual_routers"))) }

// WriteTo writes the YAML, with a comment that tells where it is from.
func (d *Document) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Made by baton convert of %s.\n", d.source)
	for _, e := range entries(d.top.node) {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		out := yaml.NewEncoder(&b)
		out.SetIndent(2)
		section := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{e.key, e.value}}
		if err := out.Encode(section); err != nil {
			return 0, fmt.Errorf("encode %s: %w", e.key.Value, err)
		}
	}
	n, err := w.Write(b.Bytes())
	return int64(n), err
}

// Write writes one line for each finding, and the numbers of all. What was simply
// converted is in the numbers only, but with everything.
func (r Report) Write(w io.Writer, everything bool) error {
	var counts [outcomes]int
	var b bytes.Buffer
	for _, f := range r.Findings {
		counts[f.Outcome]++
		if f.Outcome > Converted || everything {
			b.WriteString(f.String())
			b.WriteByte('\n')
		}
	}
	var parts []string
	for o, n := range counts {
		if n > 0 || o == int(Converted) {
			parts = append(parts, fmt.Sprintf("%d %s", n, Outcome(o)))
		}
	}
	fmt.Fprintf(&b, "%s\n", strings.Join(parts, ", "))
	_, err := w.Write(b.Bytes())
	return err
}

// String is the finding in one line.
func (f Finding) String() string {
	var b strings.Builder
	if f.Node != "" {
		b.WriteString(f.Node + ": ")
	}
	if f.Pos.File != "" {
		b.WriteString(f.Pos.String() + ": ")
	}
	fmt.Fprintf(&b, "%s: %s", f.Outcome, f.What)
	if f.Text != "" {
		b.WriteString(": " + f.Text)
	}
	return b.String()
}
