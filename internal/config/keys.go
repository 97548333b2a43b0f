package config

// key is one word of the language. The tables below are the only list of what may be written: the parser refuses everything
// else, takes the defaults from here, and names want in its messages.
type key struct {
	name    string
	want    string // what may stand there
	def     string // what holds where it is absent, as it would be written; empty: nothing
	perNode bool   // may be {NODE: VALUE, default: VALUE}
	own     bool   // never from the defaults: what has that name there is more likely meant for another type of check
}

type keys []key

func (ks keys) names() []string {
	names := make([]string, len(ks))
	for i, k := range ks {
		names[i] = k.name
	}
	return names
}

// find returns the key of that name, or nil.
func (ks keys) find(name string) *key {
	for i := range ks {
		if ks[i].name == name {
			return &ks[i]
		}
	}
	return nil
}

var topKeys = keys{
	{name: "include", want: "a list of globs such as conf.d/*.yaml"},
	{name: "nodes", want: "NAME: ADDRESS for every node"},
	{name: "defaults", want: "a mapping of virtual_router, group, check and service"},
	{name: "checks", want: "a mapping of names to checks"},
	{name: "services", want: "a list of services that run on every node"},
	{name: "virtual_routers", want: "a mapping of names to virtual routers"},
	{name: "groups", want: "a mapping of names to groups of virtual routers"},
	{name: "listen", want: "a mapping of address, token_file and tls"},
	{name: "webhooks", want: "a mapping of names to webhooks"},
	{name: "log", want: "a mapping of level and format"},
}

var defaultsKeys = keys{
	{name: "virtual_router", want: "a mapping of a virtual router's keys"},
	{name: "group", want: "a mapping of a group's keys"},
	{name: "check", want: "a mapping of a check's keys"},
	{name: "service", want: "a mapping of a service's keys"},
}

var logKeys = keys{
	{name: "level", want: "debug, info, warn or error", def: "info"},
	{name: "format", want: "text or json", def: "text"},
}

// commandKeys are those of a hook's command.
var commandKeys = keys{
	{name: "command", want: "a command: a list of words, or a string that is cut into words", perNode: true},
	{name: "timeout", want: "a duration from 100ms to 1h", def: "30s"},
	{name: "retries", want: "a number from 0 to 10", def: "0"},
	{name: "user", want: "the name of a user of this host; absent: who runs baton"},
	{name: "environment_file", want: "a file of NAME=VALUE lines"},
}

// electionKeys say who becomes master, when, and who is told. They are those of a virtual router that stands alone, or of a group.
var electionKeys = keys{
	{name: "prefer", want: "a node, or a list of nodes, the best first"},
	{name: "priority", want: "a number from 1 to 255", def: "100", perNode: true},
	{name: "preempt", want: "true or false", def: "true"},
	{name: "preempt_delay", want: "a duration of at most 1h", def: "0s"},
	{name: "start_delay", want: "a duration of at most 1h", def: "0s"},
	{name: "retry_after", want: "a duration of at most 1h", def: "5m"},
	{name: "track", want: "a list of checks, or check: effect"},
	{name: "notify", want: "event: command"},
	{name: "services", want: "a list of services, and the word addresses"},
	{name: "promote_after", want: "a duration of at most 1h", def: "0s"},
	{name: "on_stop_failure", want: "hold, release or reboot", def: "hold"},
}

var groupKeys = append(keys{
	{name: "members", want: "a list of virtual routers"},
}, electionKeys...)

var routerKeys = append(keys{
	{name: "interface", want: "the name of a network interface", perNode: true},
	{name: "vrid", want: "a number from 1 to 255, the same on every node"},
	{name: "addresses", want: "a list of ADDRESS/LEN", perNode: true},
	{name: "version", want: "3 or 2", def: "3"},
	{name: "authentication", want: "a mapping with type: hmac, or in version 2 type: pass"},
	{name: "advertisement_interval", want: "a duration from 10ms to 40.95s, in steps of 10ms", def: "1s"},
	{name: "missed_advertisements", want: "a number from 1 to 100", def: "3"},
	{name: "checksum", want: "pseudo-header or rfc9568", def: "pseudo-header"},
	{name: "source_address", want: "an address of this node", perNode: true},
	{name: "unicast", want: "true, or the name of a network of `nodes`"},
	{name: "peers", want: "a list of addresses", perNode: true},
	{name: "only_peers", want: "true or false", def: "true"},
	{name: "min_ttl", want: "a number from 1 to 255"},
	{name: "max_ttl", want: "a number from 1 to 255"},
	{name: "virtual_mac", want: "true, false, or a mapping of name and advertise_from", def: "false"},
	{name: "accept", want: "true or false", def: "true"},
	{name: "track_link", want: "true or false", def: "true"},
	{name: "announce", want: "a mapping of count, again_after, every, gap and also_on"},
	{name: "address_lifetime", want: "a duration of at least 10s in whole seconds, or 0s", def: "1m"},
	{name: "repair", want: "true or false", def: "true"},
	{name: "routes", want: "a list of {to: NETWORK, via: ADDRESS, ...}"},
	{name: "rules", want: "a list of {from: NETWORK, table: NUMBER, priority: NUMBER, ...}"},
}, electionKeys...)

var addressKeys = keys{
	{name: "address", want: "ADDRESS/LEN", perNode: true},
	{name: "interface", want: "the name of a network interface", perNode: true},
	{name: "advertise", want: "true or false", def: "true"},
	{name: "label", want: "a name of at most 15 characters that begins with that of the interface"},
	{name: "scope", want: "global, link or host", def: "global"},
	{name: "broadcast", want: "an IPv4 address, or auto"},
	{name: "peer", want: "ADDRESS/LEN of the other end"},
	{name: "no_prefix_route", want: "true or false", def: "false"},
	{name: "source", want: "true or false", def: "false"},
	{name: "repair", want: "true or false; absent: as the router's", def: "true"},
}

var authenticationKeys = keys{
	{name: "type", want: "hmac, pass or none"},
	{name: "password", want: "at most 8 bytes"},
	{name: "password_file", want: "a file with the password"},
	{name: "keys", want: "ID: FILE for every key"},
	{name: "send", want: "the number of the key that signs"},
	{name: "mode", want: "enforce, permissive or receive-only", def: "enforce"},
	{name: "window", want: "a duration from 1s to 300s, or 0s"},
}

var virtualMACKeys = keys{
	{name: "name", want: "a name for the interface"},
	{name: "advertise_from", want: "virtual_mac or interface", def: "virtual_mac"},
}

var routeKeys = keys{
	{name: "to", want: "a network such as 10.2.0.0/16, or default"},
	{name: "via", want: "the address of a router", perNode: true},
	{name: "interface", want: "the name of a network interface", perNode: true},
	{name: "source", want: "an address of this node, or a virtual one"},
	{name: "metric", want: "a number from 1 to 4294967295"},
	{name: "table", want: "a number from 1 to 4294967295, main, local or default", def: "main"},
	{name: "scope", want: "global, site, link or host"},
	{name: "type", want: "unicast, local, unreachable, blackhole, prohibit or throw", def: "unicast"},
	{name: "mtu", want: "a number from 68 to 65535"},
	{name: "on_link", want: "true or false", def: "false"},
	{name: "repair", want: "true or false; absent: as the router's", def: "true"},
}

var ruleKeys = keys{
	{name: "from", want: "a network"},
	{name: "to", want: "a network"},
	{name: "table", want: "a number from 1 to 4294967295, main, local or default"},
	{name: "priority", want: "a number from 1 to 32765: the place among the rules"},
	{name: "fwmark", want: "a mark such as 0x10 or 0x10/0xff"},
	{name: "iif", want: "the name of a network interface"},
	{name: "oif", want: "the name of a network interface"},
	{name: "repair", want: "true or false; absent: as the router's", def: "true"},
}

var announceKeys = keys{
	{name: "count", want: "a number from 1 to 100", def: "5"},
	{name: "again_after", want: "a duration of at most 1h, or 0s", def: "5s"},
	{name: "every", want: "a duration from 1s to 1d, or 0s", def: "0s"},
	{name: "gap", want: "a duration from 1ms to 1s, or 0s", def: "0s"},
	{name: "also_on", want: "a list of interfaces"},
}

var trackKeys = keys{
	{name: "effect", want: "fault, a number from -253 to 253, report or none", def: "fault"},
	{name: "when", want: "always, master or backup", def: "always"},
	{name: "grace", want: "a duration of at most 1d", def: "0s"},
}

var notifyKeys = keys{
	{name: "any", want: "a command, or a list of commands"},
	{name: "master", want: "a command, or a list of commands"},
	{name: "backup", want: "a command, or a list of commands"},
	{name: "fault", want: "a command, or a list of commands"},
	{name: "stop", want: "a command, or a list of commands"},
	{name: "reassert", want: "a command, or a list of commands"},
	{name: "fifo", want: "the path of a named pipe"},
}

// serviceKeys are those of one service. Exactly one of the first four says what it is.
var serviceKeys = append(keys{
	{name: "unit", want: "the name of a unit of systemd"},
	{name: "container", want: "the name of a container"},
	{name: "ocf", want: "PROVIDER:AGENT"},
	{name: "command", want: "a mapping of start, stop and status, or of promote, demote, follow and status"},
	{name: "name", want: "a name for logs and status; absent: that of the unit, the container or the agent"},
	{name: "params", want: "a mapping of the resource agent's parameters"},
	{name: "ready", want: "the name of a check"},
	{name: "only_after", want: "silence"},
}, commonServiceKeys...)

// commonServiceKeys are those that services can have in common, in defaults.
var commonServiceKeys = keys{
	{name: "engine", want: "docker or podman", def: "docker"},
	{name: "socket", want: "the path of the engine's socket", perNode: true},
	{name: "user", want: "the name of a user of this host; absent: who runs baton"},
	{name: "environment_file", want: "a file of NAME=VALUE lines"},
	{name: "start_timeout", want: "a duration from 100ms to 1h", def: "90s"},
	{name: "stop_timeout", want: "a duration from 100ms to 1h", def: "90s"},
	{name: "revive", want: "a mapping of tries, within and backoff, or false"},
	{name: "at_start", want: "decide, stop or leave", def: "decide"},
}

var serviceCommandKeys = keys{
	{name: "start", want: "a command", perNode: true},
	{name: "stop", want: "a command", perNode: true},
	{name: "promote", want: "a command", perNode: true},
	{name: "demote", want: "a command", perNode: true},
	{name: "follow", want: "a command", perNode: true},
	{name: "status", want: "a command", perNode: true},
}

var reviveKeys = keys{
	{name: "tries", want: "a number from 1 to 1000", def: "3"},
	{name: "within", want: "a duration from 1s to 1d", def: "10m"},
	{name: "backoff", want: "a duration from 100ms to 1m", def: "5s"},
}

var webhookKeys = keys{
	{name: "url", want: "a URL that begins with https:// or http://", perNode: true},
	{name: "token", want: "a bearer token"},
	{name: "token_file", want: "a file with a bearer token"},
	{name: "headers", want: "NAME: VALUE for every header"},
	{name: "events", want: "a list of role, check and service", def: "role"},
	{name: "timeout", want: "a duration from 100ms to 1m", def: "5s"},
	{name: "retries", want: "a number from 0 to 10", def: "3"},
	{name: "tls", want: "a mapping of ca_file, cert_file, key_file, server_name and verify"},
}

var listenKeys = keys{
	{name: "address", want: "ADDRESS:PORT, such as $node.cluster:9112", perNode: true},
	{name: "token", want: "a bearer token"},
	{name: "token_file", want: "a file with a bearer token"},
	{name: "tls", want: "a mapping of cert_file, key_file, client_ca_file and ca_file"},
}

var listenTLSKeys = keys{
	{name: "cert_file", want: "a file with the certificate in PEM"},
	{name: "key_file", want: "a file with its key in PEM"},
	{name: "client_ca_file", want: "a file of certificates in PEM that the clients' must come from"},
	{name: "ca_file", want: "a file of certificates in PEM by which nodes believe each other; absent: those of this host"},
}
