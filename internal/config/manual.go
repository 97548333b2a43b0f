package config

// Table is the keys of one kind of mapping, for a manual.
type Table struct {
	Name string // such as "virtual_routers.NAME", or "checks.NAME, type: http"
	Keys []Key
}

// Key is one of them.
type Key struct {
	Name    string
	Want    string // what may stand there
	Default string // as it would be written; empty: none
	PerNode bool   // may be {NODE: VALUE, default: VALUE}
}

// Tables are all keys of the language, in the order in which one reads of them.
func Tables() []Table {
	var all []Table
	add := func(name string, table keys) {
		t := Table{Name: name}
		for _, k := range table {
			t.Keys = append(t.Keys, Key{k.name, k.want, k.def, k.perNode})
		}
		all = append(all, t)
	}
	add("Top level", topKeys)
	add("log", logKeys)
	add("defaults", defaultsKeys)
	add("virtual_routers.NAME", routerKeys)
	add("addresses, each", addressKeys)
	add("announce", announceKeys)
	add("authentication", authenticationKeys)
	add("virtual_mac", virtualMACKeys)
	add("routes, each", routeKeys)
	add("rules, each", ruleKeys)
	add("track.CHECK", trackKeys)
	add("notify", notifyKeys)
	add("A command of notify", commandKeys)
	add("groups.NAME", groupKeys)
	add("services, each", serviceKeys)
	add("command of a service", serviceCommandKeys)
	add("revive", reviveKeys)
	add("checks.NAME", checkKeys)
	for _, kind := range checkTypes()[1:] {
		add("checks.NAME, type: "+kind.name, kind.keys)
	}
	add("count of a check of processes", countKeys)
	add("dialogue, each", stepKeys)
	add("tls", tlsKeys)
	add("webhooks.NAME", webhookKeys)
	add("listen", listenKeys)
	add("tls of listen", listenTLSKeys)
	return all
}
