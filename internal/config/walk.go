package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// walk reads the tree as one node does.
type walk struct {
	*collector
	files         *files
	nodes         []Node // all of them; none where the file has no `nodes`
	noNodes       bool   // there is no `nodes` at all, rather than a broken one
	shared        *shared
	me            Node // who reads; without `nodes` only a name, or not even that
	secrets       secrets
	config        *Config
	checks        []string         // the names of all checks of the file, well formed or not: what track may name
	checkNode     map[string]*node // each of them, by name
	checkDefaults *node
	trackedBy     map[string]bool // checks that something in the file tracks, on whatever node, and those that they are made of
	wanted        map[string]bool // those that run on this node

	serviceDefaults fields
	bound           map[string]boundService // what this node starts and stops, by what it is
}

// fields are the values of one mapping, each looked up in the mapping itself and then in the defaults.
type fields struct {
	w        *walk
	at       place // where to report what is missing
	path     string
	table    keys
	own      map[string]*node
	fallback map[string]*node
	broken   bool // it is no mapping at all, which has been reported
}

// fields reads a mapping: what is not in the table is reported.
func (w *walk) fields(n *node, at place, table keys, context string) fields {
	f := fields{w: w, at: at, table: table, own: map[string]*node{}}
	if n == nil {
		return f
	}
	f.path = n.path
	switch n.kind {
	case mapping:
	case empty:
		return f
	default:
		w.errorAt(n.place, n.path, "known keys: "+strings.Join(table.names(), ", "), "is %s, want a mapping", n.kind)
		f.broken = true
		return f
	}
	for _, e := range n.entries {
		if table.find(e.key.text) == nil {
			w.errorAt(e.key.place, n.path, keyHint(context, e.key.text, table), "unknown key %q", short(e.key.text))
			continue
		}
		f.own[e.key.text] = e.value
	}
	return f
}

// get returns the node of a value, or nil. Where the value differs by node it is the one of this node.
func (f fields) get(name string) *node {
	n := f.raw(name)
	k := f.table.find(name)
	switch {
	case n == nil || n.kind != mapping || !k.perNode:
		return n
	default:
		return f.w.forNode(n)
	}
}

// raw returns the node as it stands in the file, or nil.
func (f fields) raw(name string) *node {
	if n := f.own[name]; n != nil {
		return n
	}
	return f.fallback[name]
}

// has tells whether a value stands in the file, for whatever node.
func (f fields) has(name string) bool { return f.raw(name) != nil }

// forNode returns this node's part of a per-node mapping, or nil where it has none. All of the mapping is checked.
func (w *walk) forNode(n *node) *node {
	if w.noNodes {
		w.errorAt(n.place, n.path, "without `nodes` write one value; with it, {NODE: VALUE, default: VALUE}", "differs by node, but there is no `nodes`")
		return nil
	}
	if len(n.entries) == 0 {
		w.errorAt(n.place, n.path, "{NODE: VALUE, default: VALUE}", "names no node")
	}
	for _, e := range n.entries {
		if e.key.text != "default" && !w.isNode(e.key.text) {
			w.errorAt(e.key.place, n.path, didYouMean(e.key.text, append(w.nodeNames(), "default")), "%q is not in `nodes`", short(e.key.text))
		}
	}
	return pick(n, w.me.Name)
}

// pick returns what a value is on a node, or nil. It reports nothing.
func pick(n *node, node string) *node {
	if n == nil || n.kind != mapping {
		return n
	}
	if v := n.child(node); v != nil && node != "default" {
		return v
	}
	return n.child("default")
}

func (w *walk) isNode(name string) bool {
	if len(w.nodes) == 0 && !w.noNodes { // broken, which has been said
		return true
	}
	return slices.ContainsFunc(w.nodes, func(n Node) bool { return n.Name == name })
}

func (w *walk) nodeNames() []string {
	names := make([]string, len(w.nodes))
	for i, n := range w.nodes {
		names[i] = n.Name
	}
	return names
}

// scalar returns a value that must be a single one; nil where it is absent or something else, which is reported.
func (f fields) scalar(name string) *node {
	n := f.get(name)
	if n == nil || n.kind == scalar && n.text != "" {
		return n
	}
	k := f.table.find(name)
	switch {
	case n.kind == mapping && !k.perNode && slices.ContainsFunc(n.entries, func(e entry) bool { return e.key.text == "default" || f.w.isNode(e.key.text) }):
		f.w.errorAt(n.place, n.path, "want "+k.want, "cannot differ by node")
	case n.kind == scalar:
		f.w.errorAt(n.place, n.path, "want "+k.want, "is empty")
	default:
		f.w.errorAt(n.place, n.path, "want "+k.want, "is %s", n.kind)
	}
	return nil
}

// require reports a value that the file does not have.
func (f fields) require(name, hint string) bool {
	if f.has(name) {
		return true
	}
	if hint == "" {
		hint = f.table.find(name).want
	}
	f.w.errorAt(f.at, f.path, hint, "%s is missing", name)
	return false
}

// wrong reports a value that is not what the key wants.
func (f fields) wrong(name string, n *node, hint string) {
	if hint == "" {
		hint = "want " + f.table.find(name).want
	}
	f.w.errorAt(n.place, n.path, hint, "%s is not possible here", n.shown())
}

func (f fields) text(name string) string {
	if n := f.scalar(name); n != nil {
		return n.text
	}
	return f.table.find(name).def
}

func (f fields) oneOf(name string, words ...string) string {
	n := f.scalar(name)
	if n == nil {
		return f.table.find(name).def
	}
	if slices.Contains(words, n.text) {
		return n.text
	}
	hint := "want " + enumerate(words)
	if near := nearest(n.text, words); near != "" {
		hint = "did you mean " + strconv.Quote(near) + "?"
	}
	f.wrong(name, n, hint)
	return f.table.find(name).def
}

func (f fields) boolean(name string) bool {
	def := f.table.find(name).def == "true"
	n := f.scalar(name)
	if n == nil {
		return def
	}
	if n.boolean {
		return strings.EqualFold(n.text, "true")
	}
	hint := ""
	switch strings.ToLower(n.text) {
	case "yes", "on", "y", "1":
		hint = "write true"
	case "no", "off", "n", "0":
		hint = "write false"
	case "true", "false":
		hint = "write it without quotes"
	}
	f.wrong(name, n, hint)
	return def
}

func (f fields) number(name string, least, most int) int {
	def, _ := strconv.Atoi(f.table.find(name).def)
	n := f.scalar(name)
	if n == nil {
		return def
	}
	v, hint := parseNumber(n)
	switch {
	case hint != "":
		f.wrong(name, n, hint)
	case v < least || v > most:
		f.w.errorAt(n.place, n.path, numberHint(name, n.text), "%s is out of range: want %d to %d", short(n.text), least, most)
	default:
		return v
	}
	return def
}

func numberHint(name, text string) string {
	switch {
	case name == "priority" && text == "0":
		return "0 tells the others that the master leaves; the least is 1"
	case name == "vrid":
		return "the same VRID on every node of this virtual router, another one for each router of a link"
	}
	return ""
}

// parseNumber reads a decimal number. The hint tells what is wrong with it; it is empty where nothing is.
func parseNumber(n *node) (v int, hint string) {
	digits := strings.TrimLeft(n.text, "+-")
	switch {
	case len(n.text)-len(digits) > 1 || !isDigits(digits):
		return 0, "want a decimal number"
	case n.quoted():
		return 0, "write it without quotes"
	case len(digits) > 1 && digits[0] == '0':
		return 0, "numbers are decimal: write " + strings.TrimRight(n.text[:len(n.text)-len(digits)], "+") + strings.TrimLeft(digits[:len(digits)-1], "0") + digits[len(digits)-1:]
	}
	v, err := strconv.Atoi(n.text)
	if err != nil { // too long for an int: out of any range
		v = 1 << 30
	}
	return v, ""
}

// number32 reads a number that has 32 bits.
func (f fields) number32(name string, least, most uint32) uint32 {
	n := f.scalar(name)
	if n == nil {
		return 0
	}
	_, hint := parseNumber(n)
	v, err := strconv.ParseUint(n.text, 10, 32)
	switch {
	case hint != "":
		f.wrong(name, n, hint)
	case err != nil || uint32(v) < least || uint32(v) > most:
		f.w.errorAt(n.place, n.path, "", "%s is out of range: want %d to %d", short(n.text), least, most)
	default:
		return uint32(v)
	}
	return 0
}

// duration reads a value from least to most; where zero is set, 0s is possible too.
func (f fields) duration(name string, least, most time.Duration, zero bool) time.Duration {
	def := time.Duration(0)
	if s := f.table.find(name).def; s != "" {
		def, _, _ = parseDuration(s)
	}
	n := f.scalar(name)
	if n == nil {
		return def
	}
	d, problem, hint := parseDuration(n.text)
	switch {
	case problem != "":
		f.w.errorAt(n.place, n.path, hint, "%s", problem)
	case d == 0 && zero:
		return 0
	case d < least || d > most:
		hint := "from " + formatDuration(least) + " to " + formatDuration(most)
		if zero {
			hint += ", or 0s"
		}
		f.w.errorAt(n.place, n.path, hint, "%s is out of range", short(n.text))
	default:
		return d
	}
	return def
}

// address reads an address without a length. It is invalid where the value is absent or wrong.
func (f fields) address(name string) netip.Addr {
	n := f.scalar(name)
	if n == nil {
		return netip.Addr{}
	}
	return f.w.address(n)
}

// address reads one that a host can have of its own.
func (w *walk) address(n *node) netip.Addr {
	a, err := netip.ParseAddr(n.text)
	if err != nil {
		hint := ""
		if p, err := netip.ParsePrefix(n.text); err == nil {
			hint = "an address without a length: " + p.Addr().String()
		}
		w.errorAt(n.place, n.path, hint, "%s is no IP address", quote(n.text))
		return netip.Addr{}
	}
	if problem, hint := unusable(a); problem != "" {
		w.errorAt(n.place, n.path, hint, "%s %s", quote(n.text), problem)
		return netip.Addr{}
	}
	return a
}

// unusable tells why no host can have that address for its own.
func unusable(a netip.Addr) (problem, hint string) {
	switch {
	case a.Zone() != "":
		return "has a zone", "the interface stands under `interface`: " + a.WithZone("").String()
	case a.Is4In6():
		return "is an IPv4 address in IPv6 form", "write " + a.Unmap().String()
	case a.IsUnspecified():
		return "is the unspecified address", ""
	case a.IsLoopback():
		return "is a loopback address", "each host has it for itself"
	case a.IsMulticast():
		return "is a multicast address", ""
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is the broadcast address", ""
	}
	return "", ""
}

// name checks a name that a user gives to something: it stands in logs, metrics, arguments and file names.
func (w *walk) name(key *node, what string) bool {
	s := key.text
	problem := ""
	switch {
	case s == "":
		problem = "is empty"
	case len(s) > 63:
		problem = "is longer than 63 characters"
	case strings.Trim(s, letters+digits+"._-") != "":
		problem = "has other characters than letters, digits, dot, dash and underscore"
	case strings.IndexByte(letters+digits, s[0]) < 0:
		problem = "does not begin with a letter or a digit"
	case key.boolean && !key.quoted() || slices.Contains([]string{"yes", "no", "on", "off", "null", "true", "false"}, strings.ToLower(s)):
		problem = "is a boolean or null to other readers of YAML"
	default:
		return true
	}
	w.errorAt(key.place, key.path, "", "%s cannot be the name of a %s: it %s", quote(s), what, problem)
	return false
}

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)
