package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// examples are command lines as one would type them, by the command: for --help, the
// manual page and the list of commands.
func examples() map[string]string {
	return map[string]string{
		"run":          "baton run --config /etc/baton/baton.yaml --node lb1",
		"runner":       "baton runner --user baton",
		"validate":     "baton validate baton.yaml\nbaton validate --here",
		"convert":      "baton convert >baton.yaml\nbaton convert --nodes lb1=keepalived.conf,lb2@10.0.0.12=lb2.conf >baton.yaml",
		"scan":         "baton scan eth0 --for 10s",
		"status":       "baton status\nbaton status web\nbaton status --cluster\nbaton status --json",
		"events":       "baton events --since 10m\nbaton events --follow --json",
		"checks":       "baton checks",
		"checks run":   "baton checks run haproxy",
		"checks force": "baton checks force haproxy fail --for 10m --reason \"drill: does lb2 take over?\"\nbaton checks force haproxy --clear",
		"wait":         "baton wait web --ready --timeout 2m\nbaton wait web --state backup,master",
		"doctor":       "baton doctor --listen 10s",
		"standby":      "baton standby --for 2h --reason \"kernel update\"\nbaton standby web",
		"resume":       "baton resume",
		"failover":     "baton failover web",
		"takeover":     "baton takeover web",
		"clear":        "baton clear web",
		"announce":     "baton announce web",
		"reload":       "baton reload --dry-run\nbaton reload",
		"upgrade":      "baton upgrade\nbaton upgrade --binary /opt/baton/baton",
		"log-level":    "baton log-level\nbaton log-level debug --for 10m\nbaton log-level configured",
		"schema":       "baton schema >baton.schema.json",
	}
}

// addExamples gives the commands their examples.
func addExamples(root *cobra.Command) {
	all := examples()
	eachCommand(root, func(c *cobra.Command) {
		if text := all[strings.TrimPrefix(c.CommandPath(), "baton ")]; text != "" {
			c.Example = "  " + strings.ReplaceAll(text, "\n", "\n  ")
		}
	})
}

// exitStatuses is what each exit status means, for all commands alike.
func exitStatuses() [][2]string {
	return [][2]string{
		{"0", "as wished; run: stopped by a signal, and every address was let go"},
		{"1", "refused or failed; status: degraded; checks run: the check fails; wait: it is not so at the timeout; doctor: there is a problem; run: a capability is missing, another baton runs, a part of the daemon could not go on, an address may still be on"},
		{"2", "the daemon that is asked does not run"},
		{"3", "mistakes in the configuration, all of them listed; nothing was started or changed"},
		{"64", "wrong usage"},
	}
}
