package config

import (
	"slices"
)

// checkKind is what the language says of a type of checks.
type checkKind struct {
	name     string
	keys     keys     // beside those of every check
	passes   string   // when it does, in a sentence
	needs    []string // one of these must be there
	hint     string   // what to write where it is not; empty: what the key wants
	told     bool     // it is told of changes at once: one answer turns the verdict
	interval string   // in place of every check's default; empty: that
	fall     string   // the same
	read     func(w *walk, f fields, c *Check)
}

// checkTypes is the only list of them. It is a function, since what reads a check looks other checks up in it.
func checkTypes() []checkKind {
	process := "process: NAME, executable: PATH or pid_file: PATH"
	return []checkKind{
		0: {},
		CommandCheck: {name: "command", passes: "Passes when a program exits with status 0.",
			keys: commandCheckKeys, needs: []string{"command"}, read: (*walk).commandCheck},
		HAProxyCheck: {name: "haproxy", passes: "Passes when HAProxy answers on its socket and is not stopping, and enough servers of a backend are up.",
			keys: haproxyCheckKeys, needs: []string{"socket"}, hint: "socket: /run/haproxy/admin.sock, as `stats socket` in haproxy.cfg", read: (*walk).haproxyCheck},
		HTTPCheck: {name: "http", passes: "Passes when a server answers with an accepted status, and its body matches.",
			keys: httpCheckKeys, needs: []string{"url"}, hint: "url: http://127.0.0.1:8080/health", read: (*walk).httpCheck},
		TCPCheck: {name: "tcp", passes: "Passes when a server takes the connection, and says what is expected.",
			keys: tcpCheckKeys, needs: []string{"address"}, hint: "address: 127.0.0.1:6379", read: (*walk).tcpCheck},
		UnixCheck: {name: "unix", passes: "The same over a Unix socket.",
			keys: unixCheckKeys, needs: []string{"socket"}, hint: "socket: PATH", read: (*walk).unixCheck},
		ConnectionCheck: {name: "connection", passes: "Passes when a process is connected to a port.",
			keys: connectionCheckKeys, needs: processKeys.names(), hint: process, read: (*walk).connectionCheck},
		PingCheck: {name: "ping", passes: "Passes when an ICMP echo is answered.",
			keys: pingCheckKeys, needs: []string{"address"}, read: (*walk).pingCheck},
		ProcessCheck: {name: "process", passes: "Passes when so many processes run. A death is noticed at once.",
			keys: processCheckKeys, needs: processKeys.names(), hint: process, told: true, read: (*walk).processCheck},
		FileCheck: {name: "file", passes: "Passes when a file is there, is not there, or has a number. A change is noticed at once.",
			keys: fileCheckKeys, needs: []string{"path"}, told: true, read: (*walk).fileCheck},
		InterfaceCheck: {name: "interface", passes: "Passes when an interface is up and running.",
			keys: interfaceCheckKeys, needs: []string{"interface"}, read: (*walk).interfaceCheck},
		AddressCheck: {name: "address", passes: "Passes when this host has an address.",
			keys: addressCheckKeys, needs: []string{"address"}, read: (*walk).addressCheck},
		RouteCheck: {name: "route", passes: "Passes when this host has a route.",
			keys: routeCheckKeys, needs: []string{"to"}, read: (*walk).routeCheck},
		UnitCheck: {name: "unit", passes: "Passes when a unit of systemd is active. A change is noticed at once.",
			keys: unitCheckKeys, needs: []string{"unit"}, told: true, read: (*walk).unitCheck},
		ContainerCheck: {name: "container", passes: "Passes when a container runs, and is healthy where it has a health check. A change is noticed at once.",
			keys: containerCheckKeys, needs: []string{"container"}, told: true, read: (*walk).containerCheck},
		OCFCheck: {name: "ocf", passes: "Passes when the monitor action of a resource agent says so.",
			keys: ocfCheckKeys, needs: []string{"agent"}, interval: "5s", read: (*walk).ocfCheck},
		QuorumCheck: {name: "quorum", passes: "Passes when more than half of the nodes and witnesses answer.",
			keys: quorumCheckKeys, interval: "500ms", fall: "3", read: (*walk).quorumCheck},
		AllCheck: {name: "all", passes: "Passes when all of some checks pass.",
			keys: combinationKeys, needs: []string{"of"}, hint: "of: [CHECK, CHECK]", told: true, read: (*walk).allCheck},
		AnyCheck: {name: "any", passes: "Passes when one of some checks passes.",
			keys: combinationKeys, needs: []string{"of"}, hint: "of: [CHECK, CHECK]", told: true, read: (*walk).anyCheck},
		AtLeastCheck: {name: "at_least", passes: "Passes when so many of some checks pass.",
			keys: atLeastCheckKeys, needs: []string{"of"}, hint: "of: [CHECK, CHECK, CHECK]", told: true, read: (*walk).atLeastCheck},
	}
}

func (t CheckType) kind() checkKind {
	if all := checkTypes(); int(t) < len(all) {
		return all[t]
	}
	return checkKind{}
}

// table are all keys of a check of the type, with the defaults that it has.
func (t CheckType) table() keys {
	k := t.kind()
	all := slices.Clone(checkKeys)
	for i := range all {
		switch name := all[i].name; {
		case k.told && (name == "rise" || name == "fall"):
			all[i].def = "1"
		case k.fall != "" && name == "fall":
			all[i].def = k.fall
		case k.interval != "" && name == "interval":
			all[i].def = k.interval
		}
	}
	return append(all, k.keys...)
}

// typeNamed returns the type of that name, or 0.
func typeNamed(name string) CheckType {
	return CheckType(max(0, slices.IndexFunc(checkTypes(), func(k checkKind) bool { return k.name != "" && k.name == name })))
}

func checkTypeNames() []string {
	var names []string
	for _, k := range checkTypes()[1:] {
		names = append(names, k.name)
	}
	return names
}

// typesWith names the types that have a key, beside those of every check.
func typesWith(key string) []string {
	var names []string
	for _, k := range checkTypes() {
		if k.keys.find(key) != nil {
			names = append(names, k.name)
		}
	}
	return names
}

// allCheckKeys are the keys of all types, each name once. What they want is for no eyes.
func allCheckKeys() keys {
	all := slices.Clone(checkKeys)
	for _, k := range checkTypes() {
		for _, key := range k.keys {
			if all.find(key.name) == nil {
				all = append(all, key)
			}
		}
	}
	return all
}

// typeName reports what is no type of checks.
func (w *walk) typeName(f fields) {
	n := f.get("type")
	if n == nil {
		return
	}
	other, known := map[string]string{
		"script": "command", "exec": "command", "systemd": "unit", "service": "unit", "docker": "container", "podman": "container", "icmp": "ping", "https": "http",
		"track_process": "process", "track_file": "file", "track_interface": "interface", "track_script": "command", "link": "interface", "gateway": "ping", "majority": "quorum",
		"and": "all", "or": "any", "socket": "unix",
		"galera": "command, with command: check-galera", "mysql": "command, with command: check-galera", "rabbitmq": "command, with command: check-rabbitmq",
		"mongodb": "command, with command: check-mongodb", "drbd": "command, with command: check-drbd", "osc": "command, with command: check-osc",
		"redis": "command, with command: check-redis; or tcp, with send and expect", "memcached": "tcp, with send and expect",
	}[n.text]
	if known {
		f.wrong("type", n, "it is type: "+other)
		return
	}
	f.oneOf("type", checkTypeNames()...)
}

// guessType is the hint for a check without a type: those types that have most of its keys. A key that only one type has
// counts for more than all others.
func guessType(f fields) string {
	var best []string
	most := 1
	for _, k := range checkTypes()[1:] {
		points := 0
		for _, key := range k.keys {
			switch {
			case f.own[key.name] == nil:
			case len(typesWith(key.name)) == 1:
				points += 100
			case slices.Contains(k.needs, key.name):
				points += 11
			default:
				points += 10
			}
		}
		if points > most {
			most, best = points, nil
		}
		if points == most {
			best = append(best, "type: "+k.name)
		}
	}
	if len(best) == 0 {
		return "type: " + enumerate(checkTypeNames())
	}
	return "write " + enumerate(best)
}
