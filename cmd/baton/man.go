package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"baton/internal/config"
	"baton/internal/daemon"
)

// newManCommand prints the manual pages, from the texts that the commands and the
// parser have anyway.
func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "man PAGE",
		Short:     "Print a manual page: baton.8 or baton.yaml.5",
		Hidden:    true, // for who packages baton
		ValidArgs: []string{"baton.8", "baton.yaml.5"},
		Args:      usage(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var page string
			if args[0] == "baton.8" {
				page = commandsPage(cmd.Root())
			} else {
				page = languagePage()
			}
			_, err := io.WriteString(cmd.OutOrStdout(), page)
			return err
		},
	}
}

// roff writes a manual page, man(7).
type roff struct{ strings.Builder }

// escape keeps roff from reading commands in a text.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// head begins a page. It has no date: the same sources make the same page.
func (r *roff) head(name, section, summary string) {
	fmt.Fprintf(r, ".TH %s %s \"\" \"baton %s\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(escape(name)), section, escape(daemon.Version()), escape(name), escape(summary))
}

func (r *roff) section(title string) { fmt.Fprintf(r, ".SH %s\n", escape(strings.ToUpper(title))) }

// paragraphs writes a text whose paragraphs have an empty line between them. Lines
// that are indented stay as they are.
func (r *roff) paragraphs(text string) {
	for part := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if strings.HasPrefix(part, " ") {
			fmt.Fprintf(r, ".PP\n.nf\n%s\n.fi\n", escape(part))
		} else {
			fmt.Fprintf(r, ".PP\n%s\n", escape(part))
		}
	}
}

// term writes a word and what it means.
func (r *roff) term(word, meaning string) {
	fmt.Fprintf(r, ".TP\n.B %s\n%s\n", escape(word), escape(meaning))
}

// eachCommand visits the commands that users give, in the order of their names.
func eachCommand(cmd *cobra.Command, visit func(c *cobra.Command)) {
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() || c.Name() == "help" {
			continue
		}
		if c.Runnable() {
			visit(c)
		}
		eachCommand(c, visit)
	}
}

// about is what a command does. What cobra says of completion is long, and of shells.
func about(c *cobra.Command) string {
	if c.Long == "" || c.HasParent() && c.Parent().Name() == "completion" {
		return c.Short + "."
	}
	return c.Long
}

// commandsPage is baton(8).
func commandsPage(root *cobra.Command) string {
	var r roff
	r.head("baton", "8", strings.ToLower(root.Short[:1])+root.Short[1:])
	r.section("Synopsis")
	fmt.Fprintf(&r, ".B baton\nCOMMAND [\\fIflags\\fR]\n")
	r.section("Description")
	r.paragraphs("baton is a daemon, baton run, and the commands by which it is asked and told. Its configuration is in baton.yaml(5).")
	r.section("Commands")
	eachCommand(root, func(c *cobra.Command) {
		fmt.Fprintf(&r, ".SS %s\n", escape(strings.ReplaceAll(c.UseLine(), "\n", " ")))
		r.paragraphs(about(c))
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" {
				r.term(flagOf(f), defaultOf(f))
			}
		})
		if c.Example != "" {
			r.paragraphs("Examples:\n\n" + c.Example)
		}
	})
	r.section("Exit status")
	for _, e := range exitStatuses() {
		r.term(e[0], e[1])
	}
	r.section("Files")
	r.term(defaultConfig, "the configuration")
	r.term(defaultRuntimeDir, "the runtime directory: the lock, the control socket and the state files")
	r.term("/usr/libexec/baton", "where a command without a slash is looked up first")
	r.section("See also")
	r.paragraphs("baton.yaml(5)")
	return r.String()
}

// flagOf is a flag with its value, as one writes it.
func flagOf(f *pflag.Flag) string {
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if value, _ := pflag.UnquoteUsage(f); value != "" {
		name += " " + strings.ToUpper(value)
	}
	return name
}

// defaultOf is what a flag does, and what holds without it.
func defaultOf(f *pflag.Flag) string {
	_, text := pflag.UnquoteUsage(f)
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0s" && f.DefValue != "[]" {
		text += " (default " + f.DefValue + ")"
	}
	return text
}

// languagePage is baton.yaml(5).
func languagePage() string {
	var r roff
	r.head("baton.yaml", "5", "the configuration of baton")
	r.section("Description")
	r.paragraphs(`One file, ` + defaultConfig + `, the same on every node. It is YAML. This page names every key, what may stand there, and what holds where it is absent. "Per node" says that the value may be a mapping {NODE: VALUE, default: VALUE}.

Durations carry a unit: 500ms, 1s, 1h30m, 2d. Numbers are decimal. true and false are the only booleans. $node and $node.NETWORK stand for this node's name and address.

baton validate shows every mistake with its place; baton schema prints a JSON Schema for editors.`)
	for _, t := range config.Tables() {
		if len(t.Keys) == 0 {
			continue
		}
		fmt.Fprintf(&r, ".SH %s\n", escape(t.Name))
		if t.About != "" {
			r.paragraphs(t.About)
		}
		for _, k := range t.Keys {
			text := k.Does + "\nValue: " + k.Want
			if k.Default != "" {
				text += ". Default: " + k.Default
			}
			if k.PerNode {
				text += ". Per node"
			}
			if k.Example != "" {
				text += ". Example: " + k.Name + ": " + k.Example
			}
			r.term(k.Name, text+".")
		}
	}
	r.section("See also")
	r.paragraphs("baton(8)")
	return r.String()
}
