package config

// checkKeys are those of every check. A type may have other defaults: see checkTypes.
var checkKeys = keys{
	{name: "type", want: "the type of the check, such as http or command",
		does: "What is asked. Required; it may stand in the defaults."},
	{name: "interval", want: "a duration from 50ms to 1d", def: "1s",
		does: "From start to start. Runs of one check never overlap."},
	{name: "timeout", want: "a duration from 10ms to 1h; absent: the interval, at most 10s",
		does: "No answer within it is a failure, at that moment."},
	{name: "rise", want: "a number from 1 to 1000", def: "2",
		does: "So many passing answers in a row turn fail to pass. The first answer of all counts at once."},
	{name: "fall", want: "a number from 1 to 1000", def: "2",
		does: "So many failing answers in a row turn pass to fail. The first answer of all counts at once."},
}

var commandCheckKeys = keys{
	{name: "command", want: "a command: a list of words, or a string that is cut into words", perNode: true,
		does: "What is run; there is no shell. Exit status 0 passes. A first word without a slash is looked up in /usr/libexec/baton, then in PATH.", example: "check-service --address $node.storage"},
	{name: "user", want: "the name of a user of this host; absent: who runs baton",
		does: "Who runs it."},
	{name: "environment_file", want: "a file of NAME=VALUE lines",
		does: "Variables for it, such as secrets. Not readable by everyone; a relative name is looked up in $CREDENTIALS_DIRECTORY, then beside the configuration."},
}

var haproxyCheckKeys = keys{
	{name: "socket", want: "the path of HAProxy's stats socket", perNode: true,
		does: "`stats socket` in haproxy.cfg. baton must be allowed to write to it.", example: "/run/haproxy/admin.sock"},
	{name: "backend", want: "the name of a backend",
		does: "Its servers are looked at. Absent: no backend is.", example: "api"},
	{name: "min_up", want: "a number from 1 to 10000: servers of the backend that must be up", def: "1",
		does: "Fewer fail the check."},
}

var httpCheckKeys = keys{
	{name: "url", want: "http://HOST:PORT/PATH or https://HOST:PORT/PATH", perNode: true,
		does: "Where the request goes. An address is better than a name, which must be looked up.", example: "http://$node.cluster:5000/healthcheck"},
	{name: "socket", want: "the path of a Unix socket to send the request to", perNode: true, own: true,
		does: "url then gives the path and the Host header.", example: "/run/api.sock"},
	{name: "method", want: "GET, HEAD, OPTIONS or POST", def: "GET",
		does: "Of the request."},
	{name: "headers", want: "a mapping of NAME: VALUE",
		does: "More headers of the request.", example: "{Accept: application/json}"},
	{name: "status", want: "a status such as 200, 2xx or 200-299, or a list of them", def: "200-299",
		does: "What passes. Redirects are not followed.", example: "[200, 3xx]"},
	{name: "match", want: "a regular expression that the body must match",
		does: "RE2, in the first 64 KiB of the body."},
	{name: "user", want: "a name for basic authentication", own: true,
		does: "The user."},
	{name: "password", want: "a password for basic authentication",
		does: "The password, never shown."},
	{name: "password_file", want: "a file with the password",
		does: "In place of password; looked up as environment_file."},
	{name: "tls", want: "a mapping of ca_file, cert_file, key_file, server_name and verify",
		does: "How the server is verified, and who this is. Absent: as a browser does."},
}

var tcpCheckKeys = append(keys{
	{name: "address", want: `HOST:PORT; an IPv6 address in brackets and quotes: "[::1]:80"`, perNode: true,
		does: "Where it connects.", example: "127.0.0.1:6379"},
	{name: "tls", want: "true, or a mapping of ca_file, cert_file, key_file, server_name and verify", def: "false",
		does: "Whether the connection is TLS. A mapping says how the server is verified."},
}, dialogueKeys...)

var unixCheckKeys = append(keys{
	{name: "socket", want: "the path of a Unix socket", perNode: true,
		does: "Where it connects.", example: "/run/mail.sock"},
}, dialogueKeys...)

var dialogueKeys = append(keys{
	{name: "dialogue", want: "a list of {send: TEXT, expect: TEXT}",
		does: "Several turns, in their order, in place of send and expect."},
}, stepKeys...)

var stepKeys = keys{
	{name: "send", want: `a text, in double quotes where it has escapes: "PING\r\n"`,
		does: "What is said. Absent: nothing. It is never shown.", example: `"PING\r\n"`},
	{name: "expect", want: "a text that the reply must have",
		does: "Within the first 64 KiB. Absent: none is waited for.", example: `"+PONG"`},
}

var connectionCheckKeys = append(keys{
	{name: "port", want: "a port from 1 to 65535, or a list of them",
		does: "One of the processes must have an established TCP connection to one of them, wherever that is.", example: "[5671, 5672]"},
}, processKeys...)

var processCheckKeys = append(keys{
	{name: "count", want: "a number from 0 to 100000, or a mapping of min and max",
		does: "How many must run: exactly so many, or between min and max. Absent: at least one.", example: "{min: 1, max: 4}"},
}, processKeys...)

var processKeys = keys{
	{name: "process", want: "the name of a process, as ps -C has it",
		does: "At most the 15 characters that the kernel keeps count, or the last part of the command line's first word.", example: "nginx"},
	{name: "executable", want: "the path of a program",
		does: "Symbolic links are followed. Other users' processes need a right."},
	{name: "pid_file", want: "the path of a file with the number of a process",
		does: "Of one process."},
}

var countKeys = keys{
	{name: "min", want: "a number from 0 to 100000", def: "1",
		does: "Fewer fail the check."},
	{name: "max", want: "a number from 0 to 100000; absent: any",
		does: "More fail the check."},
}

var pingCheckKeys = keys{
	{name: "address", want: "the address that must answer", perNode: true,
		does: "It gets an ICMP echo, and a second one when half of the timeout is over.", example: "10.0.0.254"},
	{name: "interface", want: "the name of a network interface to send on", perNode: true,
		does: "Absent: as it is routed. A link-local address needs it."},
}

var fileCheckKeys = keys{
	{name: "path", want: "the path of a file",
		does: "Symbolic links are followed.", example: "/etc/baton/maintenance"},
	{name: "want", want: "present, absent or number", def: "present",
		does: "present: it must be there. absent: it must not. number: its first line has a number, which multiplies the weight of each router that tracks it.", example: "absent"},
}

var interfaceCheckKeys = keys{
	{name: "interface", want: "the name of a network interface", perNode: true,
		does: "It must be set up, and have its link.", example: "{lb1: eth1, lb2: eno2}"},
}

var addressCheckKeys = keys{
	{name: "address", want: "an address that this host must have", perNode: true,
		does: "One that it may use: duplicate address detection has let it pass.", example: "192.0.2.53"},
	{name: "interface", want: "the name of the network interface that it must be on", perNode: true,
		does: "Absent: whichever.", example: "lo"},
}

var routeCheckKeys = keys{
	{name: "to", want: "a network such as 10.2.0.0/16, or default",
		does: "A route to exactly that network. default is of the family of via, IPv4's without it; \"::/0\" is IPv6's.", example: "default"},
	{name: "via", want: "the address of the router that the route must lead to", perNode: true,
		does: "Absent: whichever.", example: "10.0.0.254"},
	{name: "interface", want: "the name of the network interface that the route must lead to", perNode: true,
		does: "Absent: whichever."},
	{name: "table", want: "a number from 1 to 4294967295, main, local or default", def: "main",
		does: "Where it is looked for."},
}

var unitCheckKeys = keys{
	{name: "unit", want: "the name of a unit of systemd, such as nginx.service",
		does: "It must be active. Without a suffix it is a service.", example: "mariadb.service"},
}

var containerCheckKeys = keys{
	{name: "container", want: "the name of a container",
		does: "It must run, and be healthy where it has a health check.", example: "web"},
	{name: "engine", want: "docker or podman", def: "docker",
		does: "Who runs it."},
	{name: "socket", want: "the path of the engine's socket", perNode: true, own: true,
		does: "Absent: /var/run/docker.sock, or /run/podman/podman.sock."},
}

var ocfCheckKeys = keys{
	{name: "agent", want: "PROVIDER:AGENT, such as heartbeat:redis",
		does: "/usr/lib/ocf/resource.d/PROVIDER/AGENT. Its monitor action is run.", example: "heartbeat:redis"},
	{name: "params", want: "a mapping of NAME: VALUE",
		does: "They become OCF_RESKEY_NAME.", example: "{bin: /usr/bin/redis-server}"},
	{name: "user", want: "the name of a user of this host; absent: who runs baton",
		does: "Who runs it. Most agents want root.", example: "root"},
}

var quorumCheckKeys = keys{
	{name: "of", want: "the word nodes", def: "nodes",
		does: "More than half of the nodes and witnesses must answer; this node is one of them."},
	{name: "witnesses", want: "a list of addresses that vote beside the nodes",
		does: "They are pinged. Two nodes need one, or neither has a majority alone.", example: "[10.0.0.254]"},
	{name: "port", want: "a TCP port, from 1 to 65535, of the nodes; absent: they are pinged",
		does: "A connection to it is an answer, in place of an echo."},
}

var combinationKeys = keys{
	{name: "of", want: "a list of checks",
		does: "Its members. They are run, whether or not somebody else tracks them.", example: "[upstream, uplink, loopback, default-route]"},
}

var atLeastCheckKeys = append(keys{
	{name: "count", want: "a number from 1 to that of the checks",
		does: "So many of them must pass. Required.", example: "2"},
}, combinationKeys...)

var tlsKeys = keys{
	{name: "ca_file", want: "a file of certificates in PEM; absent: those of this host",
		does: "The server's certificate must come from one of these. Readable by everyone; else looked up as environment_file."},
	{name: "cert_file", want: "a file with the client's certificate in PEM",
		does: "What is shown to the server. Read again when it changes."},
	{name: "key_file", want: "a file with its key in PEM",
		does: "Closed to others; looked up as environment_file."},
	{name: "server_name", want: "the name that the server's certificate must have",
		does: "Absent: the host of the URL or address."},
	{name: "verify", want: "true or false", def: "true",
		does: "false: whoever answers is believed."},
}
