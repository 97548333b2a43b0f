package config

// key is one word of the language. The tables below are the only list of what may be written: the parser refuses everything
// else, takes the defaults from here, and names want in its messages.
type key struct {
	name    string
	want    string // what may stand there
	def     string // what holds where it is absent, as it would be written; empty: nothing
	perNode bool   // may be {NODE: VALUE, default: VALUE}
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
	{name: "defaults", want: "a mapping of virtual_router and check"},
	{name: "checks", want: "a mapping of names to checks"},
	{name: "virtual_routers", want: "a mapping of names to virtual routers"},
	{name: "log", want: "a mapping of level and format"},
}

var defaultsKeys = keys{
	{name: "virtual_router", want: "a mapping of a virtual router's keys"},
	{name: "check", want: "a mapping of a check's keys"},
}

var logKeys = keys{
	{name: "level", want: "debug, info, warn or error", def: "info"},
	{name: "format", want: "text or json", def: "text"},
}

// checkKeys are those of every check.
var checkKeys = keys{
	{name: "type", want: "command or haproxy"},
	{name: "interval", want: "a duration from 50ms to 1d", def: "1s"},
	{name: "timeout", want: "a duration from 10ms to 1h; absent: the interval, at most 10s"},
	{name: "rise", want: "a number from 1 to 1000", def: "2"},
	{name: "fall", want: "a number from 1 to 1000", def: "2"},
}

var commandCheckKeys = keys{
	{name: "command", want: "a command: a list of words, or a string that is cut into words", perNode: true},
	{name: "user", want: "the name of a user of this host; absent: who runs baton"},
	{name: "environment_file", want: "a file of NAME=VALUE lines"},
}

var haproxyCheckKeys = keys{
	{name: "socket", want: "the path of HAProxy's stats socket", perNode: true},
	{name: "backend", want: "the name of a backend"},
	{name: "min_up", want: "a number from 1 to 10000: servers of the backend that must be up", def: "1"},
}

// commandKeys are those of a hook's command.
var commandKeys = keys{
	{name: "command", want: "a command: a list of words, or a string that is cut into words", perNode: true},
	{name: "timeout", want: "a duration from 100ms to 1h", def: "30s"},
	{name: "user", want: "the name of a user of this host; absent: who runs baton"},
	{name: "environment_file", want: "a file of NAME=VALUE lines"},
}

var routerKeys = keys{
	{name: "interface", want: "the name of a network interface", perNode: true},
	{name: "vrid", want: "a number from 1 to 255, the same on every node"},
	{name: "prefer", want: "a node, or a list of nodes, the best first"},
	{name: "priority", want: "a number from 1 to 255", def: "100", perNode: true},
	{name: "addresses", want: "a list of ADDRESS/LEN", perNode: true},
	{name: "advertisement_interval", want: "a duration from 10ms to 40.95s, in steps of 10ms", def: "1s"},
	{name: "preempt", want: "true or false", def: "true"},
	{name: "checksum", want: "pseudo-header or rfc9568", def: "pseudo-header"},
	{name: "source_address", want: "an address of this node", perNode: true},
	{name: "announce", want: "a mapping of count, again_after and every"},
	{name: "address_lifetime", want: "a duration of at least 10s in whole seconds, or 0s", def: "1m"},
	{name: "repair", want: "true or false", def: "true"},
	{name: "retry_after", want: "a duration of at most 1h", def: "5m"},
	{name: "track", want: "a list of checks, or check: effect"},
	{name: "notify", want: "event: command"},
}

var addressKeys = keys{
	{name: "address", want: "ADDRESS/LEN", perNode: true},
	{name: "repair", want: "true or false; absent: as the router's", def: "true"},
}

var announceKeys = keys{
	{name: "count", want: "a number from 1 to 100", def: "5"},
	{name: "again_after", want: "a duration of at most 1h, or 0s", def: "5s"},
	{name: "every", want: "a duration from 1s to 1d, or 0s", def: "0s"},
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
}
