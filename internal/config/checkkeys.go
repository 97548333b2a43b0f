package config

// checkKeys are those of every check. A type may have other defaults: see checkTypes.
var checkKeys = keys{
	{name: "type", want: "the type of the check, such as http or command"},
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

var httpCheckKeys = keys{
	{name: "url", want: "http://HOST:PORT/PATH or https://HOST:PORT/PATH", perNode: true},
	{name: "socket", want: "the path of a Unix socket to send the request to", perNode: true, own: true},
	{name: "method", want: "GET, HEAD, OPTIONS or POST", def: "GET"},
	{name: "headers", want: "a mapping of NAME: VALUE"},
	{name: "status", want: "a status such as 200, 2xx or 200-299, or a list of them", def: "200-299"},
	{name: "match", want: "a regular expression that the body must match"},
	{name: "user", want: "a name for basic authentication", own: true},
	{name: "password", want: "a password for basic authentication"},
	{name: "password_file", want: "a file with the password"},
	{name: "tls", want: "a mapping of ca_file, cert_file, key_file, server_name and verify"},
}

var tcpCheckKeys = append(keys{
	{name: "address", want: `HOST:PORT; an IPv6 address in brackets and quotes: "[::1]:80"`, perNode: true},
	{name: "tls", want: "true, or a mapping of ca_file, cert_file, key_file, server_name and verify", def: "false"},
}, dialogueKeys...)

var unixCheckKeys = append(keys{
	{name: "socket", want: "the path of a Unix socket", perNode: true},
}, dialogueKeys...)

var dialogueKeys = append(keys{
	{name: "dialogue", want: "a list of {send: TEXT, expect: TEXT}"},
}, stepKeys...)

var stepKeys = keys{
	{name: "send", want: `a text, in double quotes where it has escapes: "PING\r\n"`},
	{name: "expect", want: "a text that the reply must have"},
}

var connectionCheckKeys = append(keys{
	{name: "port", want: "a port from 1 to 65535, or a list of them"},
}, processKeys...)

var processCheckKeys = append(keys{
	{name: "count", want: "a number from 0 to 100000, or a mapping of min and max"},
}, processKeys...)

var processKeys = keys{
	{name: "process", want: "the name of a process, as ps -C has it"},
	{name: "executable", want: "the path of a program"},
	{name: "pid_file", want: "the path of a file with the number of a process"},
}

var countKeys = keys{
	{name: "min", want: "a number from 0 to 100000", def: "1"},
	{name: "max", want: "a number from 0 to 100000; absent: any"},
}

var pingCheckKeys = keys{
	{name: "address", want: "the address that must answer", perNode: true},
	{name: "interface", want: "the name of a network interface to send on", perNode: true},
}

var fileCheckKeys = keys{
	{name: "path", want: "the path of a file"},
	{name: "want", want: "present, absent or number", def: "present"},
}

var interfaceCheckKeys = keys{
	{name: "interface", want: "the name of a network interface", perNode: true},
}

var addressCheckKeys = keys{
	{name: "address", want: "an address that this host must have", perNode: true},
	{name: "interface", want: "the name of the network interface that it must be on", perNode: true},
}

var routeCheckKeys = keys{
	{name: "to", want: "a network such as 10.2.0.0/16, or default"},
	{name: "via", want: "the address of the router that the route must lead to", perNode: true},
	{name: "interface", want: "the name of the network interface that the route must lead to", perNode: true},
	{name: "table", want: "a number from 1 to 4294967295, main, local or default", def: "main"},
}

var unitCheckKeys = keys{
	{name: "unit", want: "the name of a unit of systemd, such as nginx.service"},
}

var containerCheckKeys = keys{
	{name: "container", want: "the name of a container"},
	{name: "engine", want: "docker or podman", def: "docker"},
	{name: "socket", want: "the path of the engine's socket", perNode: true, own: true},
}

var ocfCheckKeys = keys{
	{name: "agent", want: "PROVIDER:AGENT, such as heartbeat:redis"},
	{name: "params", want: "a mapping of NAME: VALUE"},
	{name: "user", want: "the name of a user of this host; absent: who runs baton"},
}

var quorumCheckKeys = keys{
	{name: "of", want: "the word nodes", def: "nodes"},
	{name: "witnesses", want: "a list of addresses that vote beside the nodes"},
	{name: "port", want: "a TCP port, from 1 to 65535, of the nodes; absent: they are pinged"},
}

var combinationKeys = keys{
	{name: "of", want: "a list of checks"},
}

var atLeastCheckKeys = append(keys{
	{name: "count", want: "a number from 1 to that of the checks"},
}, combinationKeys...)

var tlsKeys = keys{
	{name: "ca_file", want: "a file of certificates in PEM; absent: those of this host"},
	{name: "cert_file", want: "a file with the client's certificate in PEM"},
	{name: "key_file", want: "a file with its key in PEM"},
	{name: "server_name", want: "the name that the server's certificate must have"},
	{name: "verify", want: "true or false", def: "true"},
}
