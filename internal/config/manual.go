package config

import (
	"fmt"
	"strings"
)

// Table is the keys of one kind of mapping, for a manual.
type Table struct {
	Name  string // such as "virtual_routers.NAME", or "checks.NAME, type: http"
	About string // what stands there, in sentences
	Keys  []Key
}

// Key is one of them.
type Key struct {
	Name    string
	Want    string // what may stand there
	Default string // as it would be written; empty: none
	PerNode bool   // may be {NODE: VALUE, default: VALUE}
	Does    string // what it is for, in sentences
	Example string // a value as one would write it; empty: none
}

// Tables are all keys of the language, in the order in which one reads of them.
func Tables() []Table {
	var all []Table
	add := func(name, about string, table keys) {
		t := Table{Name: name, About: about}
		for _, k := range table {
			t.Keys = append(t.Keys, Key{k.name, k.want, k.def, k.perNode, k.does, k.example})
		}
		all = append(all, t)
	}
	add("Top level", "What a file may begin with. A configuration has virtual_routers; all else may be absent.", topKeys)
	add("log", "", logKeys)
	add("defaults", "", defaultsKeys)
	add("virtual_routers.NAME", "A virtual router: addresses that are on one node. A name has at most 63 letters, digits, dots, dashes and underscores.", routerKeys)
	add("addresses, each", "In place of ADDRESS/LEN, where more is to be said of an address.", addressKeys)
	add("announce", "Of a virtual router.", announceKeys)
	add("authentication", "Of a virtual router.", authenticationKeys)
	add("virtual_mac", "In place of true.", virtualMACKeys)
	add("routes, each", "Of a virtual router. via or interface is needed, but for routes that refuse.", routeKeys)
	add("rules, each", "Of a virtual router.", ruleKeys)
	add("track.CHECK", "In place of the effect alone, where more is to be said of it.", trackKeys)
	add("notify", "Of a virtual router that stands alone, or of a group. Each is a command, the mapping below, or a list of these; [] takes a default out.", notifyKeys)
	add("A command of notify", "", commandKeys)
	add("groups.NAME", "One election for several virtual routers. All these keys but members are errors on a member.", groupKeys)
	add("services, each", "Of a virtual router that stands alone, of a group, or of the top level. It is one of unit, container, ocf and command.", serviceKeys)
	add("command of a service", "start, or promote and demote; the rest may be absent.", serviceCommandKeys)
	add("revive", "Of a service.", reviveKeys)
	add("checks.NAME", "The keys of every check. Each type has its own beside them.", checkKeys)
	for i, kind := range checkTypes()[1:] {
		add("checks.NAME, type: "+kind.name, CheckType(i+1).about(), kind.keys)
	}
	add("count of a check of processes", "In place of a number.", countKeys)
	add("dialogue, each", "A turn: something is said, and something is waited for.", stepKeys)
	add("tls", "Of a check or a webhook.", tlsKeys)
	add("webhooks.NAME", "", webhookKeys)
	add("listen", "", listenKeys)
	add("tls of listen", "", listenTLSKeys)
	return all
}

// about is when a check of the type passes, which of its keys it needs, and what it
// has for the defaults of every check.
func (t CheckType) about() string {
	k := t.kind()
	text := k.passes
	if len(k.needs) > 0 {
		text += fmt.Sprintf(" Required: %s.", enumerate(k.needs))
	}
	var other []string
	for _, key := range t.table()[:len(checkKeys)] {
		if common := checkKeys.find(key.name); common.def != key.def {
			other = append(other, key.name+": "+key.def)
		}
	}
	if len(other) > 0 {
		text += fmt.Sprintf(" Its defaults: %s.", strings.Join(other, ", "))
	}
	return text
}
