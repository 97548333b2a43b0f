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

// words returns the command of a hook with its variables replaced; an `any` hook gets keepalived's four arguments
// after its own: INSTANCE or GROUP, the name, the state and the priority, which for a group is always 0.
func (q *Queue) words(j job, t Transition) []string {
	argv := make([]string, 0, len(j.hook.Argv)+4)
	for _, w := range j.hook.Argv {
		argv = append(argv, q.replace(w, t))
	}
	switch {
	case j.list == "any" && q.router.Group:
		argv = append(argv, "GROUP", q.router.Name, string(t.To), "0")
	case j.list == "any":
		argv = append(argv, "INSTANCE", q.router.Name, string(t.To), strconv.Itoa(t.Priority))
	}
	return argv
}

// replace puts values in place of the variables in a word. What has no value, such as the master before there
// is one, becomes nothing; the word stays, so that the others keep their places. A name that is not known
// stays as it is: the configuration has refused it.
func (q *Queue) replace(word string, t Transition) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(word, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if strings.HasPrefix(rest, "$") {
			b.WriteByte('$')
			word = rest[1:]
			continue
		}
		name, after := span(rest, isName)
		switch name {
		case "router":
			b.WriteString(printable(q.router.Name))
		case "role":
			b.WriteString(string(t.To))
		case "master":
			after = q.replaceNode(&b, t.Master, after)
		case "previous_master":
			after = q.replaceNode(&b, t.PreviousMaster, after)
		default:
			b.WriteString("$" + name)
		}
		word = after
	}
}

// replaceNode writes a node's name, or where `.NETWORK` follows its address in that network, and returns what follows.
func (q *Queue) replaceNode(b *strings.Builder, node, after string) string {
	if rest, dot := strings.CutPrefix(after, "."); dot {
		network, _ := span(rest, isNetwork)
		network = strings.TrimRight(network, "-") // as the configuration reads it
		if network != "" && isLetter(network[0]) {
			after = rest[len(network):]
			if address, ok := q.lookup(node, network); ok {
				b.WriteString(printable(address))
			}
			return after
		}
	}
	b.WriteString(printable(node))
	return after
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

// environment returns the variables of a hook. All are set always, so that scripts may run under `set -u`; what is
// unknown is empty. They come after the hook's own: of two equal names the last counts.
func (q *Queue) environment(h Hook, t Transition) []string {
	from := t.From
	if from == "" {
		from = Init
	}
	var vrids []string
	for _, vrid := range q.router.VRIDs {
		vrids = append(vrids, strconv.Itoa(int(vrid)))
	}
	env := make([]string, 0, len(h.Env)+14)
	env = append(env, h.Env...)
	for _, v := range [...]struct{ name, value string }{
		{"NODE", q.router.Node},
		{"ROUTER", q.router.Name},
		{"STATE", string(t.To)},
		{"PREVIOUS_STATE", string(from)},
		{"PRIORITY", strconv.Itoa(t.Priority)},
		{"REASON", truncate(t.Reason, maxReason)},
		{"INTERFACE", strings.Join(q.router.Interfaces, " ")},
		{"VRID", strings.Join(vrids, " ")},
		{"ADDRESSES", strings.Join(q.router.Addresses, " ")},
		{"MASTER", t.Master},
		{"MASTER_ADDRESS", t.MasterAddress},
		{"PREVIOUS_MASTER", t.PreviousMaster},
		{"TAKEOVER", t.Takeover},
	} {
		env = append(env, "BATON_"+v.name+"="+printable(v.value))
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
