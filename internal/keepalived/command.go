package keepalived

import (
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// command cuts a line into words as keepalived does, which runs them without a shell.
// note tells what has become of them in baton, where it is not the same; problem why
// keepalived runs nothing.
func command(line string) (argv []string, note, problem string) {
	if problem := unfitText(line); problem != "" {
		return nil, "", problem
	}
	argv, err := splitCommand(line)
	switch {
	case err != nil:
		return nil, "", err.Error()
	case slices.ContainsFunc(argv, func(w string) bool { return unfitText(w) != "" }):
		return nil, "", noText
	case len(argv) == 0 || argv[0] == "":
		return nil, "", "it names no program"
	}
	program := argv[0]
	name, _, assigns := strings.Cut(program, "=")
	switch {
	case strings.ContainsAny(program, typographic):
		return nil, "", `the quotes are not " and ', and belong to the program's name`
	case assigns && name != "" && strings.Trim(name, wordLetters) == "":
		return nil, "", "no shell reads it, and so " + short(program) + " is the program's name"
	case strings.Contains(program, "/") && program[0] != '/':
		argv[0] = "/" + strings.TrimPrefix(program, "./")
		note = "the program's name is relative: keepalived looks from the folder that it was started in, / where it is a service"
	}
	if word := shellWord(argv); word != "" {
		if note != "" {
			note += "; "
		}
		note += "no shell reads it, in keepalived as here: " + word + " is an argument. If a shell was meant: [sh, -c, '...']"
	}
	return argv, note, ""
}

// typographic are the quotes that word processors put in place of " and '.
const typographic = "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"

const wordLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

// shellWord returns a word that only a shell would take for more than one, where the
// program is none.
func shellWord(argv []string) string {
	if len(argv) > 1 && strings.HasPrefix(argv[1], "-") && strings.HasSuffix(argv[1], "c") { // sh -c, bash -lc
		return ""
	}
	for _, w := range argv[1:] {
		switch {
		case w == "|", w == "||", w == "&&", w == "&", w == ";", w == "<":
			return w
		case strings.HasPrefix(w, ">"), strings.HasPrefix(w, "2>"), strings.HasPrefix(w, "1>"), strings.HasPrefix(w, "&>"):
			return short(w)
		case strings.HasSuffix(w, ";"), strings.HasPrefix(w, "$("), strings.HasPrefix(w, "`"):
			return short(w)
		}
	}
	return ""
}

// noText is why a command, a path or a name cannot stand in baton.yaml.
const noText = "it is no text that YAML can carry: UTF-8, without a byte 0"

// unfitText tells why a text cannot stand there; it is empty where it can.
func unfitText(text string) string {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return noText
	}
	return ""
}

// refused is the outcome of what keepalived does not take, for the reason given and
// with this consequence; or of what baton alone does not.
func refused(problem, consequence string) (Outcome, string) {
	if problem == noText {
		return Unsupported, problem
	}
	return Ignored, problem + consequence
}

// plain are the characters of a word that needs no quotes, and has no meaning to
// baton.
const plain = wordLetters + "./:=,@%+-"

// commandNode writes a command: a string where that says the same, else a list.
func commandNode(argv []string) *yaml.Node {
	for _, w := range argv {
		if w == "" || strings.Trim(w, plain) != "" {
			return commandList(argv)
		}
	}
	return textNode(strings.Join(argv, " "))
}

func commandList(argv []string) *yaml.Node {
	if len(argv) == 1 && strings.ContainsAny(argv[0], " \t\n\r\v\f\u00a0\u2028\u2029\u0085") {
		argv = append([]string{"env"}, argv...) // baton takes one word with a space for a mistake
	}
	return listOf(argv)
}

func listOf(argv []string) *yaml.Node {
	n := list(true)
	for _, w := range argv {
		n.Content = append(n.Content, textNode(literal(w)))
	}
	return n
}

// literal writes a text in which baton replaces variables.
func literal(text string) string { return strings.ReplaceAll(text, "$", "$$") }

// textNode is a text, in quotes where some reader of YAML would take it for something
// else.
func textNode(text string) *yaml.Node {
	n := valueNode(text)
	switch strings.ToLower(text) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "":
		n.Style = yaml.DoubleQuotedStyle
	}
	if strings.ContainsFunc(text, func(r rune) bool {
		return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff
	}) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// readUser reads the user, and the group, at a place of a line, and accounts for the
// group and all that follows, and for the user where it stands behind the keyword
// itself. It is empty where there is none.
func (c *conversion) readUser(b *Block, at int) string {
	if len(b.Words) <= at {
		return ""
	}
	user := b.Words[at]
	if at == 1 {
		if problem := unfitUser(user.Text); problem != "" {
			c.became(Ignored, b, problem)
		} else {
			c.became(Converted, b, "")
		}
		c.stray(b)
	}
	if len(b.Words) > at+1 {
		group := b.Words[at+1]
		if group.Text == user.Text {
			c.report.words(NotNeeded, "the user's own groups are taken", group)
		} else {
			c.report.words(Approximated, "the user's own groups are taken: "+short(user.Text)+" has to be in "+short(group.Text), group)
		}
	}
	if len(b.Words) > at+2 {
		c.report.words(Ignored, "keepalived reads a user and a group", b.Words[at+2:]...)
	}
	if unfitUser(user.Text) != "" {
		return ""
	}
	return user.Text
}

// unfitUser tells why there is no user of that name.
func unfitUser(name string) string {
	if name == "" || name[0] == '-' || strings.Trim(name, wordLetters+".-$") != "" {
		return "no user has that name"
	}
	return ""
}
