package config

// fenceHint is what baton has in place of STONITH.
const fenceHint = "a fence is the first of the services: {name: fence, only_after: silence, command: {start: COMMAND}}"

// clusterHabit returns what a file or a virtual router has in place of a word of Pacemaker or Corosync, or "".
func clusterHabit(word string) string {
	switch word {
	case "stonith", "fence", "fencing", "stonith-enabled", "fencing_topology":
		return fenceHint
	case "quorum", "no-quorum-policy", "no_quorum_policy", "two_node", "majority":
		return "checks: {majority: {type: quorum}}, and track: {majority: fault}"
	case "constraints", "order", "colocation", "location":
		return "services stand on the virtual router that they go with, in the order in which they start; prefer says where"
	}
	return ""
}

// serviceHabit returns what a service has in place of a word of Pacemaker, systemd, Docker or keepalived, or "".
func serviceHabit(word string) string {
	switch word {
	case "primitive", "type", "class", "provider", "agent":
		return "Pacemaker's primitive is ocf: PROVIDER:AGENT, or unit: NAME"
	case "op", "operations", "monitor", "interval", "op monitor", "op start", "op stop":
		return "Pacemaker's op: a service is watched without it; ready: CHECK says when it is up, start_timeout and stop_timeout are its limits"
	case "instance_attributes", "attributes", "parameters":
		return "Pacemaker's " + word + " is params"
	case "meta", "migration-threshold", "migration_threshold", "meta_attributes":
		return "Pacemaker's migration-threshold is revive: {tries: 3}"
	case "stonith", "fence", "fencing":
		return fenceHint
	case "role", "target-role":
		return "services run where the virtual router is master; what runs everywhere and takes a role is command: {promote: COMMAND, demote: COMMAND}"
	case "failure-timeout", "failure_timeout":
		return "Pacemaker's failure-timeout is retry_after, of the virtual router"
	case "clone", "ms", "master", "promotable":
		return "what runs on every node stands in the services of the top level; its role is command: {promote: COMMAND, demote: COMMAND}"
	case "order", "colocation", "after", "requires", "depends_on":
		return "services start in the order of the list, and stop in reverse"
	case "restart", "restart_policy":
		return "it is revive; take `restart: always` out of the container, too: it would come back on a node that is not master"
	case "Restart", "RestartSec":
		return "it is revive"
	case "image", "ports", "volumes":
		return "baton starts and stops a container that there is: make it with `docker create`, without a restart policy"
	case "systemd", "service", "systemctl":
		return "it is unit: NAME.service"
	case "docker", "podman":
		return "it is container: NAME, with engine: " + word
	case "script", "exec":
		return "it is command: {start: COMMAND, stop: COMMAND, status: COMMAND}"
	case "start", "stop", "status", "promote", "demote", "follow":
		return "it belongs to command: {" + word + ": COMMAND}"
	case "timeout":
		return "it is start_timeout and stop_timeout"
	case "addresses":
		return "it stands alone in the list: - addresses"
	case "check", "healthcheck":
		return "it is ready: CHECK"
	}
	return ""
}
