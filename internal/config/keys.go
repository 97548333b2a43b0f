package config

// key is one word of the language. The tables below are the only list of what may be written: the parser refuses everything
// else, takes the defaults from here, and names want in its messages.
type key struct {
	name    string
	want    string // what may stand there
	def     string // what holds where it is absent, as it would be written; empty: nothing
	perNode bool   // may be {NODE: VALUE, default: VALUE}
	own     bool   // never from the defaults: what has that name there is more likely meant for another type of check
	does    string // what it is for, in sentences, with what its absence means; for manuals and editors
	example string // a value as one would write it; empty: what may stand there says it
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
	{name: "include", want: "a list of globs such as conf.d/*.yaml",
		does: "More files with the same top-level keys, put together with this one. The globs are relative to this file; a name in two files is an error that shows both places."},
	{name: "nodes", want: "NAME: ADDRESS for every node",
		does: "Every host that has this file. NAME: ADDRESS is short for NAME: {cluster: ADDRESS}; further names are networks of yours, the same on every node.", example: "{lb1: 10.0.0.11, lb2: 10.0.0.12}"},
	{name: "defaults", want: "a mapping of virtual_router, group, check and service",
		does: "What all virtual routers, groups, checks or services have in common. Their own scalars and lists replace it; track, notify, announce and revive are merged by key."},
	{name: "checks", want: "a mapping of names to checks",
		does: "What passes or fails. A check that no router tracks, no service waits for and no other check is made of is not run."},
	{name: "services", want: "a list of services that run on every node",
		does: "What runs on every node, whatever its role, in the order in which it is started. Such a service has no only_after, no at_start and no promote. Included files add to the list."},
	{name: "virtual_routers", want: "a mapping of names to virtual routers",
		does: "Who holds which addresses where."},
	{name: "groups", want: "a mapping of names to groups of virtual routers",
		does: "Virtual routers that change their role together."},
	{name: "listen", want: "a mapping of address, token_file and tls",
		does: "HTTP for metrics, probes and the other nodes, which read this one's status. Nothing can be changed over it. Absent: nobody listens."},
	{name: "webhooks", want: "a mapping of names to webhooks",
		does: "URLs that are told of changes with a POST of JSON."},
	{name: "log", want: "a mapping of level and format",
		does: "What is written to standard error."},
}

var defaultsKeys = keys{
	{name: "virtual_router", want: "a mapping of a virtual router's keys",
		does: "For every virtual router. Election keys in it are not for members of a group."},
	{name: "group", want: "a mapping of a group's keys",
		does: "For every group."},
	{name: "check", want: "a mapping of a check's keys",
		does: "For every check, as far as its type knows the key."},
	{name: "service", want: "a mapping of a service's keys",
		does: "For every service."},
}

var logKeys = keys{
	{name: "level", want: "debug, info, warn or error", def: "info",
		does: "The least level that is written. baton log-level changes it for a while."},
	{name: "format", want: "text or json", def: "text",
		does: "text has key=value, json one object on each line. The flag --log-format goes before it."},
}

// commandKeys are those of a hook's command.
var commandKeys = keys{
	{name: "command", want: "a command: a list of words, or a string that is cut into words", perNode: true,
		does: "What is run; there is no shell. A first word without a slash is looked up in /usr/libexec/baton, then in PATH."},
	{name: "timeout", want: "a duration from 100ms to 1h", def: "30s",
		does: "After that the command and what it has started are killed, and it counts as failed."},
	{name: "retries", want: "a number from 0 to 10", def: "0",
		does: "How often it is run again after it failed, unless a newer role waits."},
	{name: "user", want: "the name of a user of this host; absent: who runs baton",
		does: "Who runs it."},
	{name: "environment_file", want: "a file of NAME=VALUE lines",
		does: "Variables for it, such as secrets. Not readable by everyone; a relative name is looked up in $CREDENTIALS_DIRECTORY, then beside the configuration."},
}

// electionKeys say who becomes master, when, and who is told. They are those of a virtual router that stands alone, or of a group.
var electionKeys = keys{
	{name: "prefer", want: "a node, or a list of nodes, the best first",
		does: "The nodes get 200, 190, 180 and so on: those named first, the others by name. In place of priority.", example: "[lb1, lb2]"},
	{name: "priority", want: "a number from 1 to 255", def: "100", perNode: true,
		does: "The higher one is master; of equal ones the higher address. 255 is for the node whose own address the virtual address is, and for no other. In place of prefer. Where prefer is absent too it is 100 everywhere.", example: "{lb1: 150, default: 100}"},
	{name: "preempt", want: "true or false", def: "true",
		does: "Whether a better node that returns takes the role from a worse master. Where services are bound it is false unless it is said."},
	{name: "preempt_delay", want: "a duration of at most 1h", def: "0s",
		does: "So long a better node that returns follows a worse master first. Where nobody is master it does not wait."},
	{name: "start_delay", want: "a duration of at most 1h", def: "0s",
		does: "So long the router stays in INIT at least."},
	{name: "retry_after", want: "a duration of at most 1h", def: "5m",
		does: "So long FAULT stays after a service, or a check tracked `when: master`, failed here; doubled with each failure that follows, to 1h. baton clear ends it, and so does a link on which nobody is master."},
	{name: "track", want: "a list of checks, or check: effect",
		does: "The checks that count here. In a list each of them is a fault; an effect says something else.", example: "[haproxy]"},
	{name: "notify", want: "event: command",
		does: "Commands that are told of changes of role.", example: "{any: /etc/baton/notify.sh}"},
	{name: "services", want: "a list of services, and the word addresses",
		does: "What runs where the role is, in the order in which it is started; it is stopped in reverse. The word addresses is where the addresses go on; absent: first. []: none, which takes a default out.", example: "[{unit: conntrackd.service}]"},
	{name: "promote_after", want: "a duration of at most 1h", def: "0s",
		does: "So long a new master waits before it starts its services, unless the previous master's listener says sooner that its own have stopped."},
	{name: "on_stop_failure", want: "hold, release or reboot", def: "hold",
		does: "What follows when a service does not stop. hold: stay master, where the leave was chosen. release: leave all the same. reboot: this host."},
}

var groupKeys = append(keys{
	{name: "members", want: "a list of virtual routers",
		does: "They have one role, and a fault of one is a fault of all. A router is in one group at most; all members run on the same nodes.", example: "[lan, wan]"},
}, electionKeys...)

var routerKeys = append(keys{
	{name: "interface", want: "the name of a network interface", perNode: true,
		does: "The link on which the router advertises. Required. A node without a value does not run the router; an interface that is missing is a FAULT until it comes.", example: "{lb1: eth0, lb2: eno1}"},
	{name: "vrid", want: "a number from 1 to 255, the same on every node",
		does: "The number of the virtual router on the link. Required. No other virtual router of the same family may have it there: baton scan lists those in use.", example: "51"},
	{name: "addresses", want: "a list of ADDRESS/LEN", perNode: true,
		does: "The virtual addresses, in the same order on every node. Without /LEN it is /32 or /128. Of both families it is two virtual routers that change their role together. []: none, for hooks alone."},
	{name: "version", want: "3 or 2", def: "3",
		does: "The version of VRRP. 2 is IPv4 alone, with whole seconds, and what keepalived speaks unless it is told otherwise."},
	{name: "authentication", want: "a mapping with type: hmac, or in version 2 type: pass",
		does: "How advertisements are proved. Absent: not at all. hmac signs them (version 3), pass is a password that everybody on the link can read (version 2)."},
	{name: "advertisement_interval", want: "a duration from 10ms to 40.95s, in steps of 10ms", def: "1s",
		does: "How often the master speaks. The same on every node; where it differs the master's counts. Version 2: 1s to 255s, in whole seconds."},
	{name: "missed_advertisements", want: "a number from 1 to 100", def: "3",
		does: "A backup takes over after so many silent intervals and its skew time."},
	{name: "checksum", want: "pseudo-header or rfc9568", def: "pseudo-header",
		does: "IPv4 in version 3: the form that is sent. keepalived and FRR want pseudo-header. Both forms are accepted."},
	{name: "source_address", want: "an address of this node", perNode: true,
		does: "Where advertisements come from. Absent: the first address of the interface, its link-local one with IPv6; with unicast the address of this node in that network.", example: "{lb1: 10.0.0.11, lb2: 10.0.0.12}"},
	{name: "unicast", want: "true, or the name of a network of `nodes`",
		does: "Advertisements go to the other nodes' addresses, those of cluster or of the network that is named, in place of multicast.", example: "true"},
	{name: "peers", want: "a list of addresses", perNode: true,
		does: "Advertisements go to these addresses in place of multicast. This node's own address in the list is passed over, so the list may be the same everywhere.", example: "[10.0.0.11, 10.0.0.12]"},
	{name: "only_peers", want: "true or false", def: "true",
		does: "With unicast or peers: nobody else is believed."},
	{name: "min_ttl", want: "a number from 1 to 255",
		does: "With unicast or peers: less than this in what comes is refused. Absent: any. With multicast the TTL must be 255.", example: "250"},
	{name: "max_ttl", want: "a number from 1 to 255",
		does: "With unicast or peers: more than this in what comes is refused. Absent: any.", example: "255"},
	{name: "virtual_mac", want: "true, false, or a mapping of name and advertise_from", def: "false",
		does: "The addresses are put on an interface of their own with the MAC address 00:00:5e:00:01:VRID (IPv6: 00:00:5e:00:02:VRID), so that hosts need not learn a new one."},
	{name: "accept", want: "true or false", def: "true",
		does: "false: the master answers ARP and neighbour solicitations, but takes no packets to addresses that it does not own."},
	{name: "track_link", want: "true or false", def: "true",
		does: "false: the loss of the link is no FAULT."},
	{name: "announce", want: "a mapping of count, again_after, every, gap and also_on",
		does: "How the link is told where the addresses are."},
	{name: "address_lifetime", want: "a duration of at least 10s in whole seconds, or 0s", def: "1m",
		does: "So long the kernel keeps the addresses of a daemon that has died. 0s: for ever."},
	{name: "repair", want: "true or false", def: "true",
		does: "An address, a route or a rule that somebody else removes is put back."},
	{name: "routes", want: "a list of {to: NETWORK, via: ADDRESS, ...}",
		does: "Routes that are there while the node is master, as ip route has them."},
	{name: "rules", want: "a list of {from: NETWORK, table: NUMBER, priority: NUMBER, ...}",
		does: "Rules that are there while the node is master, as ip rule has them."},
}, electionKeys...)

var addressKeys = keys{
	{name: "address", want: "ADDRESS/LEN", perNode: true,
		does: "The virtual address. Required."},
	{name: "interface", want: "the name of a network interface", perNode: true,
		does: "Where it goes. Absent: the router's interface, or its virtual MAC.", example: "eth1"},
	{name: "advertise", want: "true or false", def: "true",
		does: "false: the master has it, and the others are not told of it. It may be of the other family."},
	{name: "label", want: "a name of at most 15 characters that begins with that of the interface",
		does: "IPv4: the label that ifconfig shows.", example: "eth0:web"},
	{name: "scope", want: "global, link or host", def: "global",
		does: "IPv4: where it is valid."},
	{name: "broadcast", want: "an IPv4 address, or auto",
		does: "IPv4: its broadcast address; auto takes that of the network. Absent: none.", example: "auto"},
	{name: "peer", want: "ADDRESS/LEN of the other end",
		does: "The other end of a point-to-point link; address has no length then.", example: "10.0.0.1/32"},
	{name: "no_prefix_route", want: "true or false", def: "false",
		does: "true: no route to the network comes with the address."},
	{name: "source", want: "true or false", def: "false",
		does: "IPv6: true lets the kernel choose it as a source address."},
	{name: "repair", want: "true or false; absent: as the router's", def: "true",
		does: "Whether it is put back when somebody else removes it."},
}

var authenticationKeys = keys{
	{name: "type", want: "hmac, pass or none",
		does: "hmac signs as keepalived's auth_hmac does; pass is the password of version 2; none takes a default out.", example: "hmac"},
	{name: "password", want: "at most 8 bytes",
		does: "Of type pass. Anybody on the link can read it: it keeps out mistakes, not people."},
	{name: "password_file", want: "a file with the password",
		does: "In place of password; looked up as environment_file."},
	{name: "keys", want: "ID: FILE for every key",
		does: "Of type hmac. An ID is 1 to 255; a file has 32 to 64 bytes, or hex: and their digits.", example: "{1: vrrp-1.key, 2: vrrp-2.key}"},
	{name: "send", want: "the number of the key that signs",
		does: "Which key signs. Absent: the only one.", example: "2"},
	{name: "mode", want: "enforce, permissive or receive-only", def: "enforce",
		does: "enforce believes only what is signed. permissive signs, and believes both. receive-only signs nothing, and believes both."},
	{name: "window", want: "a duration from 1s to 300s, or 0s",
		does: "How far the clocks of two nodes may differ. Absent: 3 intervals, at least 5s. 0s: clocks are not compared.", example: "5s"},
}

var virtualMACKeys = keys{
	{name: "name", want: "a name for the interface",
		does: "Of the interface. Absent: vrrp.VRID, of IPv6 vrrp6.VRID. Of two families that for IPv6 is NAME.6.", example: "vip0"},
	{name: "advertise_from", want: "virtual_mac or interface", def: "virtual_mac",
		does: "interface: advertisements leave from the router's own interface and MAC address. Peers that are told by unicast need that."},
}

var routeKeys = keys{
	{name: "to", want: "a network such as 10.2.0.0/16, or default",
		does: "Where it leads. Required. default is of the family of via or source, else of each family that the router has.", example: "default"},
	{name: "via", want: "the address of a router", perNode: true,
		does: "The next router. Absent: the network is on the link itself, and interface is needed.", example: "10.0.0.1"},
	{name: "interface", want: "the name of a network interface", perNode: true,
		does: "Where it leaves. Absent: where via is."},
	{name: "source", want: "an address of this node, or a virtual one",
		does: "The address that packets of this host get on it."},
	{name: "metric", want: "a number from 1 to 4294967295",
		does: "Of several routes to one network the one with the lower number counts."},
	{name: "table", want: "a number from 1 to 4294967295, main, local or default", def: "main",
		does: "The routing table. Other names are one host's matter."},
	{name: "scope", want: "global, site, link or host",
		does: "How far its destination is. Absent: as ip route would have it."},
	{name: "type", want: "unicast, local, unreachable, blackhole, prohibit or throw", def: "unicast",
		does: "unicast forwards; the others deliver here, or refuse."},
	{name: "mtu", want: "a number from 68 to 65535",
		does: "The largest packet on it, in bytes."},
	{name: "on_link", want: "true or false", def: "false",
		does: "true: via is on the link, although no network of the interface has it."},
	{name: "repair", want: "true or false; absent: as the router's", def: "true",
		does: "Whether it is put back when somebody else removes it."},
}

var ruleKeys = keys{
	{name: "from", want: "a network",
		does: "Packets from there. Absent: any.", example: "10.2.0.0/16"},
	{name: "to", want: "a network",
		does: "Packets to there. Absent: any."},
	{name: "table", want: "a number from 1 to 4294967295, main, local or default",
		does: "The table in which they look for their route. Required."},
	{name: "priority", want: "a number from 1 to 32765: the place among the rules",
		does: "Its place; rules with lower numbers come first. Required.", example: "1000"},
	{name: "fwmark", want: "a mark such as 0x10 or 0x10/0xff",
		does: "Packets with this mark of the firewall, in decimal or hexadecimal."},
	{name: "iif", want: "the name of a network interface",
		does: "Packets that came in there."},
	{name: "oif", want: "the name of a network interface",
		does: "Packets of this host that leave there."},
	{name: "repair", want: "true or false; absent: as the router's", def: "true",
		does: "Whether it is put back when somebody else removes it."},
}

var announceKeys = keys{
	{name: "count", want: "a number from 1 to 100", def: "5",
		does: "So many messages when the role is taken: gratuitous ARP, or unsolicited neighbour advertisements."},
	{name: "again_after", want: "a duration of at most 1h, or 0s", def: "5s",
		does: "As many again so much later. 0s: not."},
	{name: "every", want: "a duration from 1s to 1d, or 0s", def: "0s",
		does: "One each time while master. 0s: never."},
	{name: "gap", want: "a duration from 1ms to 1s, or 0s", def: "0s",
		does: "Between two messages on an interface. 0s: as fast as it takes them."},
	{name: "also_on", want: "a list of interfaces",
		does: "More interfaces on which switches must learn where the addresses are."},
}

var trackKeys = keys{
	{name: "effect", want: "fault, a number from -253 to 253, report or none", def: "fault",
		does: "fault takes the router out of the election while the check fails. A negative number is added to the priority while it fails, a positive one while it passes. report shows it only. none takes a default out. Of a check with a number: so many times that number while it passes."},
	{name: "when", want: "always, master or backup", def: "always",
		does: "In which role of this router the effect counts. backup is every role but master."},
	{name: "grace", want: "a duration of at most 1d", def: "0s",
		does: "With `when: master`: a failure does not count for so long after the router became master, or a service of it died that is brought back."},
}

var notifyKeys = keys{
	{name: "any", want: "a command, or a list of commands",
		does: "At every change of role. It gets keepalived's four arguments: INSTANCE or GROUP, the name, the role, the priority.", example: "/etc/baton/notify.sh"},
	{name: "master", want: "a command, or a list of commands",
		does: "At the change to this role. It gets no arguments, but the variables of hooks."},
	{name: "backup", want: "a command, or a list of commands",
		does: "At the change to this role. It gets no arguments, but the variables of hooks."},
	{name: "fault", want: "a command, or a list of commands",
		does: "At the change to this role. It gets no arguments, but the variables of hooks."},
	{name: "stop", want: "a command, or a list of commands",
		does: "When baton leaves. It gets no arguments, but the variables of hooks."},
	{name: "reassert", want: "a command, or a list of commands",
		does: "When a rival master was heard and beaten, and the addresses were announced again."},
	{name: "fifo", want: "the path of a named pipe",
		does: "It gets a line for each change, as keepalived's notify_fifo does. []: none, which takes a default out.", example: "/run/baton/notify"},
}

// serviceKeys are those of one service. Exactly one of the first four says what it is.
var serviceKeys = append(keys{
	{name: "unit", want: "the name of a unit of systemd",
		does: "It is started and stopped by systemd; without a suffix it is a service. It must not start at boot.", example: "osc.service"},
	{name: "container", want: "the name of a container",
		does: "One that exists, and that its engine does not start by itself.", example: "web"},
	{name: "ocf", want: "PROVIDER:AGENT",
		does: "A resource agent, /usr/lib/ocf/resource.d/PROVIDER/AGENT, without Pacemaker.", example: "heartbeat:IPsrcaddr"},
	{name: "command", want: "a mapping of start, stop and status, or of promote, demote, follow and status",
		does: "Programs that start, stop and ask; or, for what runs on every node, that promote and demote."},
	{name: "name", want: "a name for logs and status; absent: that of the unit, the container or the agent",
		does: "How it is called. A service of commands needs one."},
	{name: "params", want: "a mapping of the resource agent's parameters",
		does: "Of a resource agent. $node is replaced.", example: "{ipaddress: 10.0.0.100}"},
	{name: "ready", want: "the name of a check",
		does: "It passes when the service is up. Nothing after it in the list is begun before."},
	{name: "only_after", want: "silence",
		does: "A fence: it is started only where the old master was silent and nobody has given the role away. If it fails the node is not promoted."},
}, commonServiceKeys...)

// commonServiceKeys are those that services can have in common, in defaults.
var commonServiceKeys = keys{
	{name: "engine", want: "docker or podman", def: "docker",
		does: "Of a container."},
	{name: "socket", want: "the path of the engine's socket", perNode: true,
		does: "Of the engine. Absent: /var/run/docker.sock, or /run/podman/podman.sock."},
	{name: "user", want: "the name of a user of this host; absent: who runs baton",
		does: "Who runs an agent or the commands."},
	{name: "environment_file", want: "a file of NAME=VALUE lines",
		does: "Variables for all its commands; looked up as that of a hook."},
	{name: "start_timeout", want: "a duration from 100ms to 1h", def: "90s",
		does: "Within it the service must be started, and ready where that is said; else what was started is stopped again, and the node goes into FAULT."},
	{name: "stop_timeout", want: "a duration from 100ms to 1h", def: "90s",
		does: "Within it the service must be stopped; else on_stop_failure decides."},
	{name: "revive", want: "a mapping of tries, within and backoff, or false",
		does: "How a service that died is brought back. false: not at all, and the role goes elsewhere at once."},
	{name: "at_start", want: "decide, stop or leave", def: "decide",
		does: "What baton does with it when it starts. decide: nothing until the role is certain. stop: stops it. leave: nothing until it is master."},
}

var serviceCommandKeys = keys{
	{name: "start", want: "a command", perNode: true,
		does: "Starts it. Exit status 0: it is started."},
	{name: "stop", want: "a command", perNode: true,
		does: "Stops it. Exit status 0: it is stopped."},
	{name: "promote", want: "a command", perNode: true,
		does: "In place of start, for what runs on every node: it takes the role."},
	{name: "demote", want: "a command", perNode: true,
		does: "In place of stop: it gives the role back."},
	{name: "follow", want: "a command", perNode: true,
		does: "A backup has heard of another master, which is $master. It has 10s, at most start_timeout."},
	{name: "status", want: "a command", perNode: true,
		does: "Exit status 0: it runs. Asked each second, with 10s. Absent: nobody asks."},
}

var reviveKeys = keys{
	{name: "tries", want: "a number from 1 to 1000", def: "3",
		does: "After so many in `within` the role goes elsewhere."},
	{name: "within", want: "a duration from 1s to 1d", def: "10m",
		does: "The time in which tries are counted."},
	{name: "backoff", want: "a duration from 100ms to 1m", def: "5s",
		does: "Before the first try; doubled for each more, to 1m at most."},
}

var webhookKeys = keys{
	{name: "url", want: "a URL that begins with https:// or http://", perNode: true,
		does: "Where the events go. Required. $node and $node.NETWORK are replaced. A node without a value sends nothing.", example: "https://alerts.example.org/baton/$node"},
	{name: "token", want: "a bearer token",
		does: "Sent as `Authorization: Bearer TOKEN`."},
	{name: "token_file", want: "a file with a bearer token",
		does: "In place of token; looked up as environment_file."},
	{name: "headers", want: "NAME: VALUE for every header",
		does: "More headers. Their values are never shown.", example: "{X-Team: network}"},
	{name: "events", want: "a list of role, check and service", def: "role",
		does: "What it is told of.", example: "[role]"},
	{name: "timeout", want: "a duration from 100ms to 1m", def: "5s",
		does: "For each try."},
	{name: "retries", want: "a number from 0 to 10", def: "3",
		does: "How often it is tried again."},
	{name: "tls", want: "a mapping of ca_file, cert_file, key_file, server_name and verify",
		does: "How the server is verified, and who this is. Absent: as a browser does."},
}

var listenKeys = keys{
	{name: "address", want: "ADDRESS:PORT, such as $node.cluster:9112", perNode: true,
		does: "Where it listens. Required. $node.NETWORK is replaced. A node without a value does not listen.", example: "$node.cluster:9112"},
	{name: "token", want: "a bearer token",
		does: "What a client must send as `Authorization: Bearer TOKEN`, but to /healthz and /readyz."},
	{name: "token_file", want: "a file with a bearer token",
		does: "In place of token; looked up as environment_file.", example: "listen-token"},
	{name: "tls", want: "a mapping of cert_file, key_file, client_ca_file and ca_file",
		does: "Absent: plain HTTP."},
}

var listenTLSKeys = keys{
	{name: "cert_file", want: "a file with the certificate in PEM",
		does: "What it shows. Read again when it changes."},
	{name: "key_file", want: "a file with its key in PEM",
		does: "Closed to others; looked up as environment_file."},
	{name: "client_ca_file", want: "a file of certificates in PEM that the clients' must come from",
		does: "Only clients with a certificate of one of these are answered. Absent: no certificate is asked for."},
	{name: "ca_file", want: "a file of certificates in PEM by which nodes believe each other; absent: those of this host",
		does: "For the requests among nodes."},
}
