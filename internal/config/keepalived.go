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
		{"the top level of the file", topKeys}, {"`log`", logKeys}, {"a check", append(append(checkKeys[:len(checkKeys):len(checkKeys)], commandCheckKeys...), haproxyCheckKeys...)},
		{"a virtual router", routerKeys}, {"`announce`", announceKeys}, {"`track`", trackKeys}, {"`notify`", notifyKeys},
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
		case "global_defs":
			return "what several routers have in common stands under defaults"
		case "vrrp_sync_group":
			return "this version has no sync groups: let all their routers track the same checks"
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
		}
	case "virtual router":
		return routerHabit(word)
	case "track":
		switch word {
		case "weight":
			return "keepalived's weight is effect: a number, or fault"
		}
	case "notify":
		switch word {
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
	case "preempt_delay":
		return "this version has no delay; preempt: false keeps the role where it is"
	case "virtual_ipaddress":
		return "keepalived's virtual_ipaddress is addresses"
	case "virtual_ipaddress_excluded":
		return "this version advertises every address: put them under addresses"
	case "track_script", "track_process", "track_file":
		return "keepalived's " + word + " is track"
	case "track_interface":
		return "the router's own link is always tracked; this version tracks no other"
	case "weight":
		return "the weight is the effect of a tracked check: track: {NAME: -20}"
	case "mcast_src_ip", "unicast_src_ip":
		return "keepalived's " + word + " is source_address"
	case "unicast_peer", "unicast":
		return "this version sends multicast only"
	case "authentication", "auth_type", "auth_pass":
		return "VRRP version 3 has no authentication (RFC 9568, section 9)"
	case "version", "vrrp_version":
		return "this version of baton speaks VRRP version 3"
	case "garp_master_delay":
		return "keepalived's garp_master_delay is announce: {again_after: 5s}"
	case "garp_master_repeat":
		return "keepalived's garp_master_repeat is announce: {count: 5}"
	case "garp_master_refresh":
		return "keepalived's garp_master_refresh is announce: {every: 1m}"
	case "notify_master", "notify_backup", "notify_fault", "notify_stop":
		return "keepalived's " + word + " is notify: {" + word[len("notify_"):] + ": COMMAND}"
	case "dev", "label", "brd", "scope":
		return "this version puts addresses on the router's interface, without label and scope"
	case "accept", "no_accept":
		return "the master always accepts what is sent to its addresses"
	case "dont_track_primary":
		return "a router whose link is down is always in FAULT"
	case "v3_checksum_as_v2":
		return "keepalived's v3_checksum_as_v2 is checksum: rfc9568"
	case "use_vmac", "virtual_mac":
		return "this version has no virtual MAC"
	case "virtual_routes", "virtual_rules", "routes", "rules":
		return "this version has no routes and no rules: a notify command can set them"
	case "services":
		return "this version has no services: a notify command can start and stop them"
	case "smtp_alert", "email":
		return "baton sends no mail: a notify command can"
	case "priorities":
		return "priority: {NODE: NUMBER}, or prefer: NODE"
	}
	return ""
}
