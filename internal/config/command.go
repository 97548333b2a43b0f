package config

import (
	"slices"
	"strings"
	"time"
	"unicode"
)

// word is one word of a command, and where each of its characters stands.
type word struct {
	text []rune
	at   func(i int) place
}

// scope is where a command or a name stands: it decides which variables it may use.
type scope struct {
	what  string
	unmet string // what it means for it that this host cannot do what it needs
	roles bool   // the role's variables are known when it runs
	later bool   // variables are replaced once more when it runs
	hosts bool   // an IPv6 address gets the brackets that it has before a port
}

var (
	inCheck    = scope{what: "a check", unmet: "the check fails"}
	inURL      = scope{what: "a check", unmet: inCheck.unmet, hosts: true}
	inHook     = scope{what: "a hook", unmet: "the hook is not run", roles: true, later: true}
	inService  = scope{what: "a service", unmet: "the service cannot be started or stopped", roles: true, later: true}
	everywhere = scope{what: "a service that runs on every node", unmet: inService.unmet, later: true}
	inManaged  = scope{what: "a unit, container or resource agent", unmet: inService.unmet}
	inWebhook  = scope{what: "a webhook", hosts: true}
	inListen   = scope{what: "`listen`", hosts: true}
)

func (s scope) names() []string {
	if s.roles {
		return []string{"node", "master", "previous_master", "router", "role"}
	}
	return []string{"node"}
}

// argv returns the words of a command, the variables replaced that are known now. It is nil where something is wrong, which
// has been reported.
func (w *walk) argv(n *node, s scope) []string {
	var words []word
	ok := true
	switch n.kind {
	case scalar:
		words, ok = w.split(n)
	case list:
		words, ok = w.listed(n)
	default:
		w.errorAt(n.place, n.path, "[PROGRAM, ARGUMENT, ...], or one string", "is %s, want a command", n.kind)
		return nil
	}
	if !ok {
		return nil
	}
	if len(words) == 0 || len(words[0].text) == 0 {
		w.errorAt(n.place, n.path, "[PROGRAM, ARGUMENT, ...], or one string", "the command is empty")
		return nil
	}
	if problem, hint := unfitProgram(string(words[0].text), n.kind == list && len(words) == 1); problem != "" {
		w.errorAt(words[0].at(0), n.path, hint, "%s", problem)
		ok = false
	}
	argv := make([]string, len(words))
	for i, wd := range words {
		good := false
		argv[i], good = w.expand(wd, s, n.path)
		ok = ok && good
	}
	if !ok {
		return nil
	}
	return argv
}

// unfitProgram tells why the first word names no program.
func unfitProgram(first string, alone bool) (problem, hint string) {
	name, _, assigns := strings.Cut(first, "=")
	switch {
	case assigns && name != "" && strings.Trim(name, letters+digits+"_") == "":
		return "baton starts no shell, " + quote(first) + " would be the program", "put it into an environment_file"
	case strings.ContainsAny(first, typographic):
		return quote(first) + " would be the program", `the quotes of YAML are " and '`
	case alone && strings.ContainsFunc(first, unicode.IsSpace):
		return quote(first) + " would be the name of the program", "a list has one item for each word; or write a string, without brackets"
	case strings.Contains(first, "/") && first[0] != '/' && first[0] != '$':
		return quote(first) + " is relative, and a daemon has no folder", "write the whole path, or a bare name for /usr/libexec/baton and PATH"
	}
	return "", ""
}

// listed takes the words as a list has them.
func (w *walk) listed(n *node) (words []word, ok bool) {
	ok = true
	for _, item := range n.items {
		switch {
		case item.kind != scalar:
			w.errorAt(item.place, n.path, "", "a word of a command is %s", item.kind)
			ok = false
		case item.boolean && !item.quoted():
			w.errorAt(item.place, n.path, "quote it; where a template wrote it, the word may have been yes, no, on or off", "%s is a YAML boolean, not a word", item.text)
			ok = false
		default:
			words = append(words, word{[]rune(item.text), item.inside})
		}
	}
	return words, ok
}

// split cuts a string into words as a shell does with '...', "..." and backslash, and refuses what only a shell would do.
func (w *walk) split(n *node) (words []word, ok bool) {
	var (
		text    = []rune(n.text)
		current []rune
		offsets []int
		inWord  bool
		quote   rune
		opened  int
	)
	take := func(i int, r ...rune) {
		inWord = true
		for _, r := range r {
			current, offsets = append(current, r), append(offsets, i)
		}
	}
	end := func() {
		if inWord {
			mine := offsets
			words = append(words, word{current, func(i int) place { return n.inside(offsetAt(mine, i)) }})
		}
		current, offsets, inWord = nil, nil, false
	}
	for i := 0; i < len(text); i++ {
		r := text[i]
		switch {
		case r == '\\' && quote != '\'':
			i++
			switch {
			case i == len(text):
				w.errorAt(n.inside(i-1), n.path, "", "ends with a backslash")
				return nil, false
			case text[i] == '$':
				take(i, '$', '$')
			case quote == '"' && text[i] != '"' && text[i] != '\\':
				take(i, '\\', text[i])
			default:
				take(i, text[i])
			}
		case r == quote && quote != 0:
			quote = 0
		case quote != 0:
			take(i, r)
		case r == '\'' || r == '"':
			quote, opened, inWord = r, i, true
		case unicode.IsSpace(r):
			end()
		case shellOperator(text[i:]) != "":
			w.errorAt(n.inside(i), n.path, shellHint(n.text), "baton starts no shell, %q would be an argument", shellOperator(text[i:]))
			return nil, false
		default:
			take(i, r)
		}
	}
	if quote != 0 {
		w.errorAt(n.inside(opened), n.path, "", "the quote %c is not closed", quote)
		return nil, false
	}
	end()
	return words, true
}

func offsetAt(offsets []int, i int) int {
	if i < len(offsets) {
		return offsets[i]
	}
	return 0
}

// shellOperator returns what a shell would take for more than a word at the beginning of text.
func shellOperator(text []rune) string {
	if len(text) > 1 && text[0] == '$' && text[1] == '(' {
		return "$("
	}
	n := 0
	for n < len(text) && n < 2 && strings.ContainsRune("|&;<>", text[n]) {
		n++
	}
	if n == 0 && text[0] == '`' {
		n = 1
	}
	return string(text[:n])
}

func shellHint(command string) string {
	if len(command) > 100 || strings.ContainsAny(command, "\n\t") {
		return "write [sh, -c, '...'], or a script"
	}
	return "write [sh, -c, '" + strings.ReplaceAll(command, "'", "''") + "']"
}

// expand replaces the variables of a word that are known at load. In a hook or a service the role's variables stay as they are,
// and so does $$, until it is run; elsewhere $$ becomes $.
func (w *walk) expand(wd word, s scope, path string) (string, bool) {
	var b strings.Builder
	ok := true
	eachVariable(string(wd.text), func(literal string) {
		b.WriteString(literal)
	}, func(name, network string, i int) {
		switch {
		case name == "$" && s.later:
			b.WriteString("$$")
		case name == "$":
			b.WriteString("$")
		case name == "{":
			w.errorAt(wd.at(i), path, "variables have no braces: $node; for a dollar sign write $$", "${ begins no variable")
			ok = false
		default:
			value, good := w.variable(wd.at(i), path, s, name, network)
			if s.hosts && strings.Contains(value, ":") && (i == 0 || wd.text[i-1] != '[') {
				value = "[" + value + "]"
			}
			b.WriteString(value)
			ok = ok && good
		}
	})
	return b.String(), ok
}

// variable returns what $name or $name.network stands for; for a role's variable that is itself.
func (w *walk) variable(at place, path string, s scope, name, network string) (string, bool) {
	known := s.names()
	if !slices.Contains(known, name) {
		hint := "known: $" + strings.Join(known, ", $") + "; for a dollar sign write $$" + name
		if slices.Contains(inHook.names(), name) {
			hint = s.what + " has no role; known: $node, $node.NETWORK"
		} else if near := nearest(name, known); near != "" && strings.ToUpper(name) != name {
			hint = "did you mean $" + near + "?"
		}
		w.errorAt(at, path, hint, "$%s is not known in %s", short(name), s.what)
		return "", false
	}
	if network == "" {
		if name == "node" {
			return w.me.Name, true
		}
		return "$" + name, true
	}
	switch {
	case w.noNodes:
		w.errorAt(at, path, "nodes: {NAME: ADDRESS, ...}", "$%s.%s needs `nodes`", name, short(network))
		return "", false
	case len(w.nodes) == 0: // broken, which has been said
		return "", false
	case !w.nodes[0].hasNetwork(network):
		w.errorAt(at, path, didYouMean(network, w.nodes[0].networks()), "$%s.%s: `nodes` have no network %q", name, short(network), short(network))
		return "", false
	case name == "node":
		return w.me.Address(network).String(), true
	}
	return "$" + name + "." + network, true
}

// eachVariable takes a word apart. variable is called with the name and the network of $name.network, with "$" for $$ and with
// "{" for ${; i is the place of the dollar sign, in characters. Another dollar sign is an ordinary character. A dot belongs to a
// variable only where that variable has networks and a letter follows.
func eachVariable(text string, literal func(string), variable func(name, network string, i int)) {
	runes := []rune(text)
	from := 0
	for i := 0; i+1 < len(runes); {
		next := runes[i+1]
		if runes[i] != '$' || !(next == '$' || next == '{' || isLetter(next)) {
			i++
			continue
		}
		literal(string(runes[from:i]))
		at := i
		if !isLetter(next) {
			variable(string(next), "", at)
			i += 2
			from = i
			continue
		}
		i++
		name := run(runes[i:], "_")
		i += len(name)
		network := ""
		if hasNetworks(name) && i+1 < len(runes) && runes[i] == '.' && isLetter(runes[i+1]) {
			network = strings.TrimRight(run(runes[i+1:], "_-"), "-")
			i += 1 + len(network)
		}
		from = i
		variable(name, network, at)
	}
	literal(string(runes[from:]))
}

func hasNetworks(name string) bool {
	return name == "node" || name == "master" || name == "previous_master"
}

// run returns the letters, digits and other characters at the beginning of text.
func run(text []rune, others string) string {
	n := 0
	for n < len(text) && strings.ContainsRune(letters+digits+others, text[n]) {
		n++
	}
	return string(text[:n])
}

func isLetter(r rune) bool { return strings.ContainsRune(letters+"_", r) }

// hookCommands reads what stands under an event of notify: a command, a mapping, or a list of them. A list of single values is
// one command's words.
func (w *walk) hookCommands(n *node) []Command {
	switch {
	case n.kind == list && len(n.items) == 0: // takes a default out
		return nil
	case n.kind == list && slices.ContainsFunc(n.items, func(i *node) bool { return i.kind == mapping || i.kind == list }):
		var all []Command
		for _, item := range n.items {
			if c := w.hookCommand(item); c != nil {
				all = append(all, *c)
			}
		}
		return all
	default:
		if c := w.hookCommand(n); c != nil {
			return []Command{*c}
		}
		return nil
	}
}

func (w *walk) hookCommand(n *node) *Command {
	f := fields{w: w, at: n.place, path: n.path, table: commandKeys, own: map[string]*node{"command": n}}
	if n.kind == mapping {
		f = w.fields(n, n.place, commandKeys, "command")
		if !f.require("command", "") {
			return nil
		}
	}
	retries := f.number("retries", 0, 10)
	c := w.command(f, inHook, f.duration("timeout", 100*time.Millisecond, time.Hour, false))
	if c != nil {
		c.Retries = retries
	}
	return c
}

// command reads the keys that a check and a hook have in common. It is nil where this node has none or something is wrong.
func (w *walk) command(f fields, s scope, timeout time.Duration) *Command {
	user := w.user(f)
	env := w.environment(f)
	n := f.get("command")
	if n == nil {
		return nil
	}
	argv := w.argv(n, s)
	if argv == nil {
		return nil
	}
	w.config.ask(question{kind: askCommand, at: n.place, path: n.path, argv: argv, user: user, unmet: s.unmet})
	return &Command{Argv: argv, Timeout: timeout, User: user, Env: env}
}

func (w *walk) user(f fields) string {
	n := f.scalar("user")
	if n == nil {
		return ""
	}
	switch name, group, pair := cutAny(n.text, " :"); {
	case pair:
		w.errorAt(n.place, n.path, "write "+short(name)+": the user's own groups are taken", "%s names a group %q too", quote(n.text), short(group))
	case strings.Trim(n.text, letters+digits+"._-$") != "" || n.text[0] == '-':
		f.wrong("user", n, "")
	}
	return n.text
}

func cutAny(s, separators string) (before, after string, found bool) {
	if i := strings.IndexAny(s, separators); i > 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
