package test

import (
	"path/filepath"
	"testing"

	"baton/test/site"
)

// A doctor finds what keeps a node from working, and the way back ends the finding.
func TestDoctor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	spoken(t, a, b)
	file := filepath.Join(a.Dir, "baton.yaml")
	run := func(args ...string) {
		t.Helper()
		_, err := a.Host.Run(patience, args...)
		must(t, err)
	}
	wantIn(t, output(t, a, 0, "doctor", "-c", file), "nobody heard: web: this node is master")

	run("nft", "add table inet f; add chain inet f in { type filter hook input priority 0; policy drop; }; add rule inet f in ct state established accept; add rule inet f in meta l4proto icmp accept")
	wantIn(t, output(t, a, 1, "doctor", "-c", file), "bad      firewall: the chain in of table f drops advertisements (IP protocol 112) that come in on eth0", "-p 112 -j ACCEPT")
	run("nft", "add rule inet f in meta l4proto 112 accept")
	output(t, a, 0, "doctor", "-c", file)
	run("nft", "add rule inet f in ip saddr { 192.0.2.1, 192.0.2.7 } drop; add chain inet f out { type filter hook output priority 0; }; add rule inet f out oifname eth0 meta l4proto vrrp drop")
	wantIn(t, output(t, a, 1, "doctor", "-c", file, "--json"), `"topic": "firewall"`, "that leave by eth0")
	run("nft", "delete table inet f")

	must(t, a.Stop())
	must(t, b.Stop())
	run("ip", "address", "add", c.Routers[0].Addresses[0], "dev", site.Interface)
	wantIn(t, output(t, a, 1, "doctor", "-c", file), "bad      leftovers: no baton runs here, and this host has virtual addresses: ")
	tell(t, a, 3, "error", "doctor", "-c", file, "--node", "nobody")
	tell(t, a, 3, "", "doctor", "-c", filepath.Join(a.Dir, "no.yaml"))
}
