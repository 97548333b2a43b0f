package role

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxReason is how many bytes of a reason hooks are given. It may hold the words of a check, and the kernel refuses
// to start a command that has a variable of 128 KiB or more.
const maxReason = 1024

// words puts what a router has become into commands: the variables in their words, and those of their environment.
type words struct {
	router Router
	lookup Lookup
}

// newWords returns the words of a router; lookup may be nil where no nodes are configured.
func newWords(r Router, lookup Lookup) words {
	if lookup == nil {
		lookup = func(string, string) (string, bool) { return "", false }
	}
	return words{r, lookup}
}

// argv returns a command with its variables replaced. missing is the first variable of a node that has no value, such
// as $master.NETWORK where the master is no node that is known; else it is empty.
func (v words) argv(of []string, t Transition) (argv []string, missing string) {
	argv = make([]string, 0, len(of)+4)
	for _, w := range of {
		word, m := v.replace(w, t)
		argv = append(argv, word)
		if missing == "" {
			missing = m
		}
	}
	return argv, missing
}

// arguments are the four that keepalived gives a script for any change: INSTANCE or GROUP, the name, the state and the
// priority, which for a group is always 0.
func (v words) arguments(state string, t Transition) []string {
	if v.router.Group {
		return []string{"GROUP", v.router.Name, state, "0"}
	}
	return []string{"INSTANCE", v.router.Name, state, strconv.Itoa(t.Priority)}
}

// replace puts values in place of the variables in a word. What has no value, such as the master before there
// is one, becomes nothing; the word stays, so that the others keep their places. missing is the first variable of a
// node that became nothing.
func (v words) replace(word string, t Transition) (replaced, missing string) {
	var b strings.Builder
	for _, p := range Pieces(word) {
		ok := true
		switch p.Name {
		case "":
			b.WriteString(p.Text)
		case "router":
			b.WriteString(printable(v.router.Name))
		case "role":
			b.WriteString(string(t.To))
		case "master":
			ok = v.replaceNode(&b, t.Master, p.Network)
		case "previous_master":
			ok = v.replaceNode(&b, t.PreviousMaster, p.Network)
		}
		if !ok && missing == "" {
			missing = p.Text
		}
	}
	return b.String(), missing
}

// replaceNode writes a node's name, or its address in a network, and returns whether there was something to write.
func (v words) replaceNode(b *strings.Builder, node, network string) bool {
	if network != "" {
		address, ok := v.lookup(node, network)
		if ok {
			b.WriteString(printable(address))
		}
		return ok
	}
	b.WriteString(printable(node))
	return node != ""
}

// Piece is a part of a word of a command: a variable, or what stands as it is.
type Piece struct {
	Text    string // what stands there, a single dollar sign for two; of a variable as it is written
	Name    string // of the variable, router, role, master or previous_master; empty: it is none
	Network string // of a node's variable: its address there is meant; empty: its name
}

// Pieces takes a word apart. A name that is not known stays as it is: the configuration has refused it.
func Pieces(word string) []Piece {
	var list []Piece
	for {
		before, rest, found := strings.Cut(word, "$")
		if before != "" {
			list = append(list, Piece{Text: before})
		}
		if !found {
			return list
		}
		if strings.HasPrefix(rest, "$") {
			list = append(list, Piece{Text: "$"})
			word = rest[1:]
			continue
		}
		p := Piece{}
		name, after := span(rest, isName)
		switch name {
		case "master", "previous_master":
			p.Name = name
			p.Network, after = networkOf(after)
		case "router", "role":
			p.Name = name
		}
		p.Text = "$" + rest[:len(rest)-len(after)]
		list = append(list, p)
		word = after
	}
}

// networkOf is the network in `.NETWORK` behind a node's variable, as the configuration reads it, and what follows.
func networkOf(after string) (network, rest string) {
	tail, dot := strings.CutPrefix(after, ".")
	if !dot {
		return "", after
	}
	network, _ = span(tail, isNetwork)
	network = strings.TrimRight(network, "-")
	if network == "" || !isLetter(network[0]) {
		return "", after
	}
	return network, tail[len(network):]
}

// span cuts s after its first bytes for which in holds.
func span(s string, in func(byte) bool) (head, tail string) {
	for i := range len(s) {
		if !in(s[i]) {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

func isName(c byte) bool { return isLetter(c) || c >= '0' && c <= '9' }

func isNetwork(c byte) bool { return isName(c) || c == '-' }

// environment returns the variables of a command that has own ones. All are set always, so that scripts may run under
// `set -u`; what is unknown is empty. They come after its own: of two equal names the last counts.
func (v words) environment(own []string, t Transition) []string {
	from := t.From
	if from == "" {
		from = Init
	}
	var vrids []string
	for _, vrid := range v.router.VRIDs {
		vrids = append(vrids, strconv.Itoa(int(vrid)))
	}
	env := make([]string, 0, len(own)+14)
	env = append(env, own...)
	for _, e := range [...]struct{ name, value string }{
		{"NODE", v.router.Node},
		{"ROUTER", v.router.Name},
		{"STATE", string(t.To)},
		{"PREVIOUS_STATE", string(from)},
		{"PRIORITY", strconv.Itoa(t.Priority)},
		{"REASON", truncate(t.Reason, maxReason)},
		{"INTERFACE", strings.Join(v.router.Interfaces, " ")},
		{"VRID", strings.Join(vrids, " ")},
		{"ADDRESSES", strings.Join(v.router.Addresses, " ")},
		{"MASTER", t.Master},
		{"MASTER_ADDRESS", t.MasterAddress},
		{"PREVIOUS_MASTER", t.PreviousMaster},
		{"TAKEOVER", t.Takeover},
	} {
		env = append(env, "BATON_"+e.name+"="+printable(e.value))
	}
	return env
}

// printable replaces what does not print, line breaks and terminal sequences above all, by spaces: reasons hold
// words of checks and of peers, and end up in shell scripts and terminals.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s))
}

// truncate cuts s to at most limit bytes, between two characters.
func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
