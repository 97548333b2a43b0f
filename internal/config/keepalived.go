package config

import "strings"

// keyHint explains an unknown key: as a slip of a known one, or as what keepalived's users are used to write.
func keyHint(context, word string, table keys) string {
	if hint := habit(context, word); hint != "" {
		return hint
	}
	if near := nearest(word, table.names()); near != "" {
		return didYouMean(word, table.names())
	}
	if hint := notHere(word); hint != "" {
		return hint
	}
	return didYouMean("", table.names())
}

// keepalivedFile is what to tell one who hands over a keepalived.conf.
const keepalivedFile = "keepalived's own file? baton's is YAML: begin with configs/haproxy-pair.yaml"

// keepalived tells whether the file is in the language of keepalived: a block of its begins somewhere.
func (s *source) keepalived() bool {
	for _, line := range s.lines {
		words := strings.Fields(line)
		if len(words) < 2 || !strings.HasSuffix(line, "{") {
			continue
		}
		switch words[0] {
		case "global_defs", "vrrp_instance", "vrrp_script", "vrrp_sync_group":
			return true
		}
	}
	return false
}

// notHere tells where a key belongs that is known elsewhere.
func notHere(word string) string {
	for _, t := range []struct {
		where string
		table keys
	}{
		{"the top level of the file", topKeys}, {"`log`", logKeys}, {"a check", allCheckKeys()},
		{"a virtual router", routerKeys}, {"a group", groupKeys}, {"`announce`", announceKeys}, {"`track`", trackKeys}, {"`notify`", notifyKeys},
		{"`authentication`", authenticationKeys}, {"`virtual_mac`", virtualMACKeys}, {"`tls`", tlsKeys},
		{"a service", serviceKeys}, {"`command` of a service", serviceCommandKeys}, {"`revive`", reviveKeys}, {"a webhook", webhookKeys}, {"`listen`", listenKeys}, {"`tls` of `listen`", listenTLSKeys},
	} {
		if t.table.find(word) != nil {
			return "it belongs to " + t.where
		}
	}
	return ""
}

// habit returns what baton has in place of a keyword of keepalived, or "".
func habit(context, word string) string {
	switch context {
	case "top":
		switch word {
		case "vrrp_instance", "vrrp_instances", "vrrp":
			return "keepalived's vrrp_instance is an entry of virtual_routers"
		case "vrrp_script":
			return "keepalived's vrrp_script is an entry of checks"
		case "vrrp_track_process", "track_process":
			return "keepalived's " + word + " is an entry of checks: {type: process, process: NAME}"
		case "vrrp_track_file", "track_file":
			return "keepalived's " + word + " is an entry of checks: {type: file, path: PATH, want: number}"
		case "global_defs":
			return "what several routers have in common stands under defaults"
		case "vrrp_sync_group":
			return "keepalived's vrrp_sync_group is an entry of groups, its group is members"
		case "primitive", "primitives", "resource", "resources", "clone":
			return "Pacemaker's " + word + " is an item of services: here where it runs on every node, else on a virtual router"
		case "notify_fifo", "vrrp_notify_fifo", "notify_fifo_script", "vrrp_notify_fifo_script", "hooks", "notify_master", "notify_backup", "notify_fault":
			return "hooks stand on a virtual router, or for all in defaults: {virtual_router: {notify: {any: COMMAND, fifo: PATH}}}"
		}
		return clusterHabit(word)
	case "service":
		return serviceHabit(word)
	case "service defaults":
		if serviceKeys.find(word) != nil {
			return "each service has its own"
		}
		return serviceHabit(word)
	case "service command":
		switch word {
		case "monitor", "check", "is-active":
			return "it is status: exit status 0 says that it runs"
		case "restart", "reload":
			return "baton stops it and starts it again"
		case "timeout", "user", "environment_file":
			return "it stands on the service, beside command: start_timeout, stop_timeout, user and environment_file"
		}
	case "webhook":
		switch word {
		case "method", "body", "template":
			return "a webhook is always a POST of JSON; for anything else there is notify"
		case "password", "user":
			return `headers: {Authorization: "Basic ..."}`
		case "header":
			return "headers: {NAME: VALUE}"
		}
	case "listen":
		switch word {
		case "port", "bind", "host", "interface":
			return "it is address: ADDRESS:PORT"
		case "cert_file", "key_file", "client_ca_file", "ca_file":
			return "it belongs to `tls` of `listen`"
		}
	case "listen tls":
		switch word {
		case "verify", "server_name":
			return "that is said of a server; client_ca_file says which clients are believed"
		}
	case "check":
		switch word {
		case "script":
			return "keepalived's script is command, with type: command"
		case "weight", "effect":
			return "the effect stands where the check is tracked: track: {NAME: -20}"
		case "init_fail":
			return "baton always waits for the first answer of a check"
		case "raise":
			return `did you mean "rise"?`
		case "quorum":
			return "keepalived's quorum is count: {min: NUMBER}; of type process"
		case "quorum_max":
			return "keepalived's quorum_max is count: {max: NUMBER}; of type process"
		case "delay", "terminate_delay", "fork_delay":
			return "keepalived's " + word + " is rise and fall, in answers"
		case "param_match", "full_command":
			return "the name or the executable of a process is looked at, not what it was called with"
		case "file":
			return "it is path, with type: file"
		case "status_code", "codes", "expected_status":
			return "it is status: [200, 2xx]"
		case "body", "regex", "contains":
			return "it is match, a regular expression"
		case "uri":
			return "it is url: http://HOST:PORT/PATH"
		case "host":
			return "the host stands in url or address; the header in headers: {Host: NAME}"
		case "nodes":
			return "of: nodes, and all `nodes` are meant"
		case "name":
			return "its name is the key that it stands under; what is asked is process, unit, container and so on"
		case "min", "max":
			return "it is count: {min: NUMBER, max: NUMBER}, of type process"
		case "retries", "retry", "failures", "threshold":
			return "it is fall, in answers"
		case "op", "op monitor", "monitor":
			return "Pacemaker's op is interval and timeout"
		case "destination", "dst", "network":
			return "it is to: NETWORK, of type route"
		case "gateway", "gw", "nexthop":
			return "it is via: ADDRESS, of type route"
		case "all", "any", "at_least":
			return "it is type: " + word + ", with of: [CHECK, CHECK]"
		case "token", "token_file", "header":
			return "it is headers: {Authorization: TEXT}, of type http"
		}
	case "virtual router":
		return routerHabit(word)
	case "group":
		switch word {
		case "group":
			return "keepalived's group is members: [ROUTER, ROUTER]"
		case "interface", "vrid", "addresses", "advertisement_interval", "source_address", "authentication", "version":
			return "it stands on each of the members, or under defaults.virtual_router"
		case "members":
			return "each group has its own"
		}
		return routerHabit(word)
	case "authentication":
		switch word {
		case "auth_type":
			return "keepalived's auth_type PASS is type: pass; AH is not spoken"
		case "auth_pass":
			return "keepalived's auth_pass is password"
		case "key":
			return "keepalived's key is keys: {1: FILE}"
		case "active_key", "key_id":
			return "keepalived's " + word + " is send"
		case "time_window", "anti_replay":
			return "keepalived's " + word + " is window: 5s; 0s does not compare clocks"
		}
	case "virtual_mac":
		switch word {
		case "vmac_xmit_base", "xmit_base":
			return "keepalived's vmac_xmit_base is advertise_from: interface"
		case "mac", "address":
			return "it is always that of the VRID (RFC 9568, section 7.3)"
		}
	case "announce":
		switch word {
		case "repeat", "master_repeat":
			return "keepalived's garp_master_repeat is count"
		case "delay", "master_delay":
			return "keepalived's garp_master_delay is again_after"
		case "refresh", "master_refresh":
			return "keepalived's garp_master_refresh is every"
		case "interval":
			return "keepalived's vrrp_garp_interval is gap"
		case "extra_if":
			return "keepalived's garp_extra_if is also_on: [INTERFACE]"
		}
	case "address":
		switch word {
		case "dev":
			return "keepalived's dev is interface"
		case "brd":
			return "keepalived's brd is broadcast; brd + is broadcast: auto"
		case "noprefixroute":
			return "keepalived's noprefixroute is no_prefix_route: true"
		case "no_track", "track":
			return "keepalived's no_track is repair: false"
		case "preferred_lft":
			return "an IPv6 address is no source of packets unless it has source: true"
		case "nodad", "-nodad":
			return "addresses are put on without duplicate address detection"
		}
	case "route":
		switch word {
		case "dev":
			return "keepalived's dev is interface"
		case "src":
			return "keepalived's src is source"
		case "gw", "gateway", "nexthop":
			return "the next hop is via; a route has one"
		case "onlink":
			return "it is on_link: true"
		case "priority", "preference":
			return "it is metric"
		case "no_track", "track_group":
			return "keepalived's no_track is repair: false"
		}
	case "rule":
		switch word {
		case "lookup":
			return "it is table"
		case "preference", "pref", "order":
			return "it is priority"
		case "dev":
			return "it is iif"
		case "no_track":
			return "keepalived's no_track is repair: false"
		}
	case "track":
		switch word {
		case "weight":
			return "keepalived's weight is effect: a number, or fault"
		}
	case "tls":
		switch word {
		case "insecure", "skip_verify", "insecure_skip_verify":
			return "it is verify: false"
		case "ca", "cafile", "cacert":
			return "it is ca_file"
		case "sni":
			return "it is server_name"
		}
	case "notify":
		switch word {
		case "primary", "promote", "promoted":
			return "it is master"
		case "all", "always":
			return "it is any"
		case "ready":
			return "there is no hook for it: baton wait ROUTER --ready waits for it, and a webhook of events: [service] is told"
		case "deleted", "notify_deleted":
			return "a router that is taken out of the file ends with stop"
		case "master_rx_lower_pri", "notify_master_rx_lower_pri":
			return "keepalived's notify_master_rx_lower_pri is reassert"
		}
	}
	return ""
}

func routerHabit(word string) string {
	switch word {
	case "state", "initial_state":
		return "nobody starts as master, the election decides: prefer names the node that wins it"
	case "virtual_router_id":
		return "keepalived's virtual_router_id is vrid"
	case "advert_int":
		return "keepalived's advert_int is advertisement_interval, with a unit: 1s"
	case "nopreempt":
		return "keepalived's nopreempt is preempt: false"
	case "virtual_ipaddress":
		return "keepalived's virtual_ipaddress is addresses"
	case "virtual_ipaddress_excluded":
		return "they stand under addresses: [{address: 10.0.0.101/24, advertise: false}]"
	case "no_virtual_ipaddress":
		return "keepalived's no_virtual_ipaddress is addresses: []"
	case "track_script", "track_process", "track_file":
		return "keepalived's " + word + " is track"
	case "track_interface":
		return "the router's own link is always tracked; another one is a check to track: {type: interface, interface: NAME}"
	case "weight":
		return "the weight is the effect of a tracked check: track: {NAME: -20}"
	case "mcast_src_ip", "unicast_src_ip":
		return "keepalived's " + word + " is source_address"
	case "unicast_peer":
		return "keepalived's unicast_peer is peers: [ADDRESS, ...]; unicast: true takes those of `nodes`"
	case "check_unicast_src", "vrrp_check_unicast_src":
		return "it is only_peers, and true unless something else stands there"
	case "unicast_ttl":
		return "all advertisements leave with 255"
	case "auth_type", "auth_pass":
		return "authentication: {type: pass, password: TEXT}, in version 2"
	case "auth_hmac":
		return "keepalived's auth_hmac is authentication: {type: hmac, keys: {1: FILE}}"
	case "vrrp_version":
		return "keepalived's vrrp_version is version"
	case "garp_master_delay":
		return "keepalived's garp_master_delay is announce: {again_after: 5s}"
	case "garp_master_repeat":
		return "keepalived's garp_master_repeat is announce: {count: 5}"
	case "garp_interval", "gna_interval", "vrrp_garp_interval", "vrrp_gna_interval":
		return "keepalived's " + word + " is announce: {gap: 10ms}"
	case "garp_extra_if":
		return "keepalived's garp_extra_if is announce: {also_on: [INTERFACE]}"
	case "garp_lower_prio_delay", "garp_lower_prio_repeat":
		return "after a rival has been beaten the addresses are announced as when the role is taken"
	case "garp_master_refresh":
		return "keepalived's garp_master_refresh is announce: {every: 1m}"
	case "notify_master", "notify_backup", "notify_fault", "notify_stop":
		return "keepalived's " + word + " is notify: {" + word[len("notify_"):] + ": COMMAND}"
	case "dev", "label", "brd", "scope":
		return "it is said of each address: {address: ADDRESS/LEN, interface: NAME, label: NAME}"
	case "no_accept":
		return "keepalived's no_accept is accept: false"
	case "dont_track_primary":
		return "keepalived's dont_track_primary is track_link: false"
	case "down_timer_adverts", "vrrp_down_timer_adverts":
		return "keepalived's " + word + " is missed_advertisements"
	case "startup_delay", "vrrp_startup_delay":
		return "keepalived's vrrp_startup_delay is start_delay, with a unit: 10s"
	case "promote_secondaries":
		return "baton does that by itself"
	case "skip_check_adv_addr":
		return "another list of addresses is said in the log, and no reason to drop an advertisement of version 3"
	case "v3_checksum_as_v2":
		return "keepalived's v3_checksum_as_v2 is checksum: rfc9568"
	case "use_vmac":
		return "keepalived's use_vmac is virtual_mac: true, or virtual_mac: {name: NAME}"
	case "vmac_xmit_base":
		return "keepalived's vmac_xmit_base is virtual_mac: {advertise_from: interface}"
	case "use_ipvlan":
		return "there is virtual_mac: true, and no ipvlan"
	case "virtual_routes":
		return "keepalived's virtual_routes is routes: [{to: NETWORK, via: ADDRESS}]"
	case "virtual_rules":
		return "keepalived's virtual_rules is rules: [{from: NETWORK, table: NUMBER, priority: NUMBER}]"
	case "primitive", "resources", "service":
		return "services: [{unit: NAME.service}]"
	case "resource-stickiness", "resource_stickiness":
		return "preempt: false is Pacemaker's resource-stickiness"
	case "notify_fifo", "vrrp_notify_fifo", "notify_fifo_script", "vrrp_notify_fifo_script":
		return "keepalived's notify_fifo is notify: {fifo: PATH}; who reads it is a service of its own"
	case "smtp_alert", "email":
		return "baton sends no mail: a notify command can"
	case "priorities":
		return "priority: {NODE: NUMBER}, or prefer: NODE"
	case "check", "checks":
		return "checks stand at the top level of the file, and track: [CHECK] names them here"
	case "hook", "hooks":
		return "hooks are notify: {any: COMMAND}"
	case "webhook", "webhooks":
		return "webhooks stand at the top level of the file, and are told of all virtual routers"
	case "unit", "container", "ocf":
		return "services: [{" + word + ": NAME}]"
	case "group":
		return "groups stand at the top level of the file: groups: {NAME: {members: [ROUTER, ROUTER]}}"
	}
	return clusterHabit(word)
}
