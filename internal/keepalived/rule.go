package keepalived

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// rule is a virtual rule as baton has it.
type rule struct {
	from, to     netip.Prefix // invalid: any
	table        uint32
	priority     int
	fwmark       string
	input, outer string
	repair       bool
}

// ruleSelectors narrow what a rule is for. Without them it would be for more, so a rule
// that has one of them is left out.
var ruleSelectors = []string{"tos", "dsfield", "realms", "goto", "suppress_prefixlength", "suppress_ifgroup", "tunnel-id", "uidrange", "ipproto", "ip_proto", "sport", "dport"}

// ruleFlags are such words without a value.
var ruleFlags = []string{"not", "l3mdev", "unicast", "blackhole", "unreachable", "prohibit", "nop", "nat"}

// readRules reads virtual_rules.
func (c *conversion) readRules(in *instance, b *Block) {
	c.report.words(Converted, "", b.Words[0])
	if args := b.Arguments(); len(args) > 0 {
		c.report.words(Ignored, b.Keyword()+" has a block, and no words before it", args...)
	}
	for _, line := range b.Children {
		c.stray(line)
		r, out, why, note := readRule(line)
		if why == "" && r.priority == 0 {
			r.priority = c.nextRule()
			note = "keepalived gives it the priority " + itoa(r.priority) + ": say which one you want"
		}
		key := r
		key.repair = false
		switch {
		case why == "" && c.rules[key]:
			out, why = Unsupported, "another instance has this rule already: one of them can have it"
		case why == "":
			c.rules[key] = true
		}
		if why != "" {
			c.report.line(out, line, why)
			continue
		}
		c.report.line(Converted, line, note)
		in.rules = append(in.rules, r)
	}
}

// nextRule is the priority that keepalived gives the next rule that has none.
func (c *conversion) nextRule() int {
	c.unnumbered++
	return 16385 - c.unnumbered
}

// readRule reads one line. why tells why nothing of it is in the output; it is empty
// where it is.
func readRule(b *Block) (r rule, out Outcome, why, note string) {
	r = rule{repair: true}
	leave := func(o Outcome, text string) {
		if why == "" {
			out, why = o, text
		}
	}
	for words := b.Words; len(words) > 0; {
		word := words[0].Text
		switch {
		case word == "no_track":
			r.repair = false
			words = words[1:]
			continue
		case word == "inet" || word == "inet6":
			words = words[1:]
			continue
		case slices.Contains(ruleFlags, word):
			if word != "unicast" {
				leave(Unsupported, "baton's rules look up a table, and know no "+word+": ip rule add ..., in a notify command")
			}
			words = words[1:]
			continue
		case len(words) < 2:
			leave(Ignored, "keepalived leaves it out: "+short(word)+" is no word of a rule, or lacks its value")
			words = nil
			continue
		}
		r.read(word, words[1].Text, leave)
		words = words[2:]
	}
	switch {
	case r.table == 0:
		leave(Ignored, "it looks up no table")
	case r.from.IsValid() && r.to.IsValid() && r.from.Addr().Is6() != r.to.Addr().Is6():
		leave(Ignored, "keepalived leaves it out: IPv4 and IPv6 are mixed")
	}
	return r, out, why, note
}

// read reads a word and its value.
func (r *rule) read(word, value string, leave func(Outcome, string)) {
	switch word {
	case "from", "to":
		if value == "all" || value == "any" || value == "default" {
			return
		}
		p, fits, ok := prefix(value)
		if !ok || !fits || p.Addr().Is4In6() || p.Masked() != p {
			leave(Ignored, "it is no network: "+short(value))
			return
		}
		if word == "from" {
			r.from = p
		} else {
			r.to = p
		}
	case "table", "lookup":
		n, problem := table(value)
		if problem != "" {
			leave(Unsupported, problem)
		}
		r.table = n
	case "priority", "preference", "order":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 32765 {
			leave(Unsupported, "baton's rules have priorities from 1 to 32765: main is looked up at 32766")
		}
		r.priority = n
	case "fwmark":
		if !r.mark(value) {
			leave(Ignored, "it is no mark that a packet can have: "+short(value))
		}
	case "iif", "dev", "oif":
		_, err := netip.ParseAddr(value)
		if err == nil || !isInterface(value) {
			leave(Ignored, "it cannot be the name of an interface: "+short(value))
		}
		if word == "oif" {
			r.outer = value
		} else {
			r.input = value
		}
	case "protocol", "proto", "track_group":
	default:
		if slices.Contains(ruleSelectors, word) {
			leave(Unsupported, "baton's rules know no "+word+", and without it this one would be for other packets: ip rule add ..., in a notify command")
			return
		}
		leave(Ignored, "keepalived knows no such word of a rule, and leaves it out: "+short(word))
	}
}

// mark reads MARK or MARK/MASK.
func (r *rule) mark(text string) bool {
	m, k, has := strings.Cut(text, "/")
	mark, err := strconv.ParseUint(m, 0, 32)
	if err != nil || mark == 0 || strings.Contains(text, "_") {
		return false
	}
	r.fwmark = "0x" + strconv.FormatUint(mark, 16)
	if has {
		mask, err := strconv.ParseUint(k, 0, 32)
		if err != nil || mark&^mask != 0 {
			return false
		}
		r.fwmark += "/0x" + strconv.FormatUint(mask, 16)
	}
	return true
}

// node is the rule as baton has it.
func (r rule) node() mapping {
	m := newMapping()
	m.set("priority", r.priority)
	m.set("table", tableNode(r.table))
	if r.from.IsValid() {
		m.set("from", r.from.String())
	}
	if r.to.IsValid() {
		m.set("to", r.to.String())
	}
	if r.fwmark != "" {
		m.set("fwmark", valueOf(r.fwmark))
	}
	if r.input != "" {
		m.set("iif", r.input)
	}
	if r.outer != "" {
		m.set("oif", r.outer)
	}
	if !r.repair {
		m.set("repair", false)
	}
	return m.flow()
}
