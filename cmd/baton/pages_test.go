package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"baton/internal/config"
)

var update = flag.Bool("update", false, "write docs/reference.md and docs/commands.md anew")

// Two pages of the documentation are made from what the program has: the reference
// from the parser's tables, the list of commands from the commands.
func TestPages(t *testing.T) {
	for path, page := range map[string]string{"../../docs/reference.md": referenceMarkdown(), "../../docs/commands.md": commandsMarkdown(newRoot())} {
		if *update {
			if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != page {
			t.Errorf("%s is not what the program says: make golden", path)
		}
	}
}

// Each key and each heading of the reference has a name of its own.
func TestReference_Anchors(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)<a id="([^"]+)"|^## (.*)$`).FindAllStringSubmatch(referenceMarkdown(), -1) {
		name := m[1] + anchorOf(m[2])
		if seen[name] {
			t.Errorf("#%s is there twice", name)
		}
		seen[name] = true
	}
	if !seen["virtual_routersname-track"] || len(seen) < 200 {
		t.Errorf("%d anchors", len(seen))
	}
}

// anchorOf is the name by which a heading can be linked.
func anchorOf(heading string) string {
	return regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(strings.ReplaceAll(strings.ToLower(heading), " ", "-"), "")
}

// mappingOf is the heading under which the mapping stands that a key may have; empty:
// it has none.
func mappingOf(tables []config.Table, table string, key string) string {
	within, _, _ := strings.Cut(table, ",")
	for _, t := range tables {
		name, _, _ := strings.Cut(strings.TrimSuffix(t.Name, ", each"), ".")
		switch {
		case len(t.Keys) == 0 || t.Name == table:
		case t.Name == key+" of "+within, t.Name == key+" of a "+strings.TrimSuffix(within, "s"), table == "checks.NAME, type: process" && key == "count" && t.Name == "count of a check of processes",
			table == "notify" && key != "fifo" && t.Name == "A command of notify",
			name == key && !strings.Contains(t.Name, ", type") && !(key == "keys" || table == "listen" && key == "tls"):
			return t.Name
		}
	}
	return ""
}

// cell is a text in a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(text)
}

// referenceMarkdown is docs/reference.md.
func referenceMarkdown() string {
	var b strings.Builder
	b.WriteString(`# Configuration reference

Every key of the configuration, made from the tables of the parser; a test holds this page to them. ` + "`man baton.yaml`" + ` has the same.
[Configuration](configuration.md) tells how they go together, and [configs/reference.yaml](../configs/reference.yaml) is one file with all
of them.

- *Value* is what may stand there. A duration carries a unit: ` + "`500ms`, `1s`, `1h30m`, `2d`" + `. A number is decimal.
- *Per node* says that the value may [differ by node](configuration.md#what-differs-by-node): ` + "`{NODE: VALUE, default: VALUE}`" + `.
- In texts ` + "`$node` and `$node.NETWORK`" + ` stand for this node's name and address, see [commands](configuration.md#commands).
- A file with a secret is closed to others; where it is looked up is in [secrets](configuration.md#secrets).

Each key can be linked: ` + "`reference.md#virtual_routersname-track`" + `.

## Contents

`)
	tables := config.Tables()
	for _, t := range tables {
		if len(t.Keys) > 0 {
			fmt.Fprintf(&b, "- [%s](#%s)\n", t.Name, anchorOf(t.Name))
		}
	}
	for _, t := range tables {
		if len(t.Keys) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", t.Name)
		if t.About != "" {
			fmt.Fprintf(&b, "%s\n\n", cell(t.About))
		}
		b.WriteString("| Key | What it does | Value | Default |\n|---|---|---|---|\n")
		for _, k := range t.Keys {
			does, def := cell(k.Does), ""
			if k.Example != "" {
				does += " Example: `" + strings.ReplaceAll(k.Name+": "+k.Example, "|", `\|`) + "`"
			}
			if k.Default != "" {
				def = "`" + k.Default + "`"
			}
			want := cell(k.Want)
			if k.PerNode {
				want += ". *Per node*"
			}
			if m := mappingOf(tables, t.Name, k.Name); m != "" {
				want += fmt.Sprintf(", see [%s](#%s)", m, anchorOf(m))
			}
			fmt.Fprintf(&b, "| <a id=\"%s\"></a>`%s` | %s | %s | %s |\n", anchorOf(t.Name+"-"+k.Name), k.Name, does, want, def)
		}
	}
	return b.String()
}

// commandsMarkdown is docs/commands.md.
func commandsMarkdown(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(`# Commands

Every command, made from what ` + "`baton COMMAND --help`" + ` says; a test holds this page to it. ` + "`man baton`" + ` has the same. What one does with
them is in [operation](operation.md) and [planned work](planned-work.md).

Commands that ask the daemon do so by its socket, ` + "`control.sock`" + ` in the runtime directory. Root and the user who runs baton may do
everything. The group of ` + "`--socket-group`" + `, or the group ` + "`baton`" + ` where it exists, may read: status, watch, events, checks, wait. The group of
` + "`--admin-group`" + ` may also change something. [The API](api.md) has the rest, and every request for programs of your own.

## Exit status

| Exit status | |
|---|---|
`)
	for _, e := range exitStatuses() {
		fmt.Fprintf(&b, "| %s | %s |\n", e[0], e[1])
	}
	b.WriteString("\n## Contents\n\n")
	eachCommand(root, func(c *cobra.Command) {
		if c.Parent().Name() != "completion" {
			fmt.Fprintf(&b, "- [%s](#%s): %s\n", c.CommandPath(), anchorOf(c.CommandPath()), c.Short)
		}
	})
	eachCommand(root, func(c *cobra.Command) {
		if c.Parent().Name() == "completion" {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n```\n%s\n```\n\n%s\n", c.CommandPath(), strings.ReplaceAll(c.UseLine(), "\n  ", "\n"), strings.TrimSpace(about(c)))
		if flags := flagRows(c); flags != "" {
			b.WriteString("\n| Flag | |\n|---|---|\n" + flags)
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
		}
	})
	return b.String()
}

func flagRows(c *cobra.Command) string {
	var b strings.Builder
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && !f.Hidden {
			fmt.Fprintf(&b, "| `%s` | %s |\n", flagOf(f), cell(defaultOf(f)))
		}
	})
	return b.String()
}

// Each example is of a command that exists, and can be understood.
func TestExamples(t *testing.T) {
	root := newRoot()
	all := examples()
	eachCommand(root, func(c *cobra.Command) { delete(all, strings.TrimPrefix(c.CommandPath(), "baton ")) })
	for path := range all {
		t.Errorf("there is no command %s", path)
	}
	for path, text := range examples() {
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "baton "+path) {
				t.Errorf("an example of %s is %q", path, line)
			}
			if wrong := unknownIn(root, strings.TrimSpace(line)); wrong != "" {
				t.Errorf("%q: %s", line, wrong)
			}
		}
	}
}

var (
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
	// invoked is a command line of baton in a line of a shell.
	invoked = regexp.MustCompile(`(?:^|[;&|(!] *|\bif +|\bsudo +|\bexec +|\$ +|# +|=)(?:/usr/s?bin/|bin/|/usr/local/s?bin/)?baton +([^;&|)]*)`)
	aWord   = regexp.MustCompile(`^[a-z][a-z-]+$`)
	aFlag   = regexp.MustCompile(`^\[?(--?[a-z][a-z-]*)`)
)

// unknownIn says what of a command line of baton does not exist; empty: nothing.
func unknownIn(root *cobra.Command, line string) string {
	for _, m := range invoked.FindAllStringSubmatch(line, -1) {
		arguments, _, _ := strings.Cut(m[1], " #")
		words := strings.Fields(arguments)
		if len(words) == 0 || !aWord.MatchString(words[0]) {
			continue // such as the version in the head of a status
		}
		cmd, rest, err := root.Find(words)
		if err != nil || cmd == root {
			return fmt.Sprintf("there is no command %q", words[0])
		}
		for _, word := range rest {
			f := aFlag.FindStringSubmatch(word)
			if f == nil {
				continue
			}
			known := f[1] == "--help" || f[1] == "-h"
			if name, long := strings.CutPrefix(f[1], "--"); long {
				known = known || cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil
			} else {
				known = known || cmd.Flags().ShorthandLookup(strings.TrimPrefix(f[1], "-")) != nil
			}
			if !known {
				return fmt.Sprintf("%s has no flag %s", cmd.CommandPath(), f[1])
			}
		}
	}
	return ""
}

// What the documentation has people type exists: each command of baton and each flag
// of it, in code spans and in blocks.
func TestDocs_CommandLines(t *testing.T) {
	root := newRoot()
	lines := 0
	look := func(page string, number int, line string) {
		if !strings.Contains(line, "baton ") {
			return
		}
		lines++
		if wrong := unknownIn(root, line); wrong != "" {
			t.Errorf("%s:%d: %s: %s", page, number, wrong, line)
		}
	}
	pages := []string{"../../README.md", "../../CHANGELOG.md"}
	err := filepath.WalkDir("../../docs", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		within := false
		for i, line := range strings.Split(string(text), "\n") {
			switch {
			case strings.HasPrefix(line, "```"):
				within = !within
			case within, strings.HasPrefix(line, "    ") && !strings.HasPrefix(strings.TrimSpace(line), "-"):
				look(page, i+1, strings.TrimSpace(line))
			default:
				if cells := strings.SplitN(line, " | ", 2); len(cells) == 2 && strings.HasSuffix(page, "/logs.md") {
					line = cells[1] // the first are messages
				}
				for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
					look(page, i+1, strings.ReplaceAll(m[1], `\|`, "/")) // in a table
				}
			}
		}
	}
	if lines < 100 {
		t.Errorf("%d command lines: are they found?", lines)
	}
}
