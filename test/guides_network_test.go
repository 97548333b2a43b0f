package test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"baton/internal/lab"
	"baton/test/site"
)

// noted puts a program on each node that notes who was told what, and returns what was noted on a node.
func (g *guide) noted(program string) func(name string) string {
	g.t.Helper()
	for name := range g.Nodes {
		g.put(name, program, "#!/bin/sh\necho \"$BATON_STATE $*\" >>/run/noted\n")
	}
	return func(name string) string {
		text, _ := os.ReadFile(g.Ports[name].Host.Path("/run/noted")) // not there before the first
		return strings.TrimSpace(string(text))
	}
}

// has waits until the route to everywhere is on a node, or is not.
func (g *guide) defaultRoute(name string, there bool) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("default route on %s: %v", name, there), func() (bool, string) {
		routes, err := g.Ports[name].Host.Netlink().RouteList(nil, netlink.FAMILY_V4)
		must(g.t, err)
		for _, r := range routes {
			if r.Gw.Equal(net.IPv4(10, 99, 0, 200)) {
				return there, fmt.Sprint(routes)
			}
		}
		return !there, fmt.Sprint(routes)
	})
}

func TestGuide_Routers(t *testing.T) {
	t.Parallel()
	page := guidePage(t, "routers.md")
	nodes := []string{"r1", "r2"}
	on := newSiteOf(t, nodes...)
	must(t, on.AddLink())
	g := guided(t, on, nodes, page, guideFile(t, page, "Two routers. WAN and LAN change hands together",
		"192.0.2.2,", "10.99.0.1,", "192.0.2.3,", "10.99.0.2,", "10.1.0.2}", "10.97.0.1}", "10.1.0.3}", "10.97.0.2}",
		"192.0.2.14", "10.99.0.200", `"2001:db8:0:1::e"`, `"fd99::c8"`,
		"{r1: enp1s0, r2: eno1}", "eth0", "{r1: enp2s0, r2: eno2}", "eth1",
		`192.0.2.1/28, "2001:db8:0:1::1/64"`, `10.99.1.1/16, "fd99::100/64"`,
		`10.1.0.1/24, "fd00:1::1/64"`, `10.97.1.1/16, "fd97::100/64"`,
		"preempt_delay: 1m", "preempt_delay: 2s", "/etc/conntrackd/primary-backup.sh", "/run/bin/primary-backup.sh",
	), map[string]string{"vrrp-1.key": strings.Repeat("k", 32)})
	told := g.noted("primary-backup.sh")
	addresses := []string{"10.99.1.1/16", "fd99::100/64", "10.97.1.1/16", "fd97::100/64"}
	macs := []string{"00:00:5e:00:01:0a", "00:00:5e:00:02:0a", "00:00:5e:00:01:14", "00:00:5e:00:02:14"}
	g.shows(macs...)
	// serves waits until a node has everything, and the other one nothing.
	serves := func(name, other string) {
		t.Helper()
		g.holds(name, addresses...)
		for _, m := range macs {
			mac, err := net.ParseMAC(m)
			must(t, err)
			awaitMacvlan(t, g.Nodes[name].Host, mac, true)
			awaitMacvlan(t, g.Nodes[other].Host, mac, false)
		}
		g.defaultRoute(name, true)
		g.defaultRoute(other, false)
	}
	// sees says what the client's neighbour cache has.
	sees := func() {
		t.Helper()
		text, err := g.Client.Run(patience, "ip", "neighbour", "show", "10.97.1.1", "dev", "eth1")
		must(t, err)
		wantSaid(t, text, "lladdr 00:00:5e:00:01:14 ")
	}
	g.first("lan", nodes...) // a member speaks for the group
	serves("r1", "r2")
	wantSaid(t, g.order("r1", 0, "status", "edge"), `(?s)10.97.1.1/16 +held.*fd97::100/64 +held.*10.99.1.1/16 +held.*fd99::100/64 +held`)
	eventually(t, "the hook has run", func() (bool, string) { return told("r1") == "BACKUP backup\nMASTER primary", told("r1") })

	ask := asking(t, g.Site, "10.97.1.1/16", 0)
	sees()
	g.order("r1", 0, "failover", "edge")
	serves("r2", "r1")
	sees()
	g.order("r1", 0, "takeover", "edge")
	serves("r1", "r2")
	sees()
	if n := lost(t, ask); n > 0 {
		t.Errorf("%d questions were lost by two moves", n)
	}

	cut := time.Now()
	must(t, g.Seconds["r1"].Down())
	g.await("r1", "lan", "FAULT", cut)
	serves("r2", "r1")
	must(t, g.Seconds["r1"].Up())
	g.await("r1", "lan", "BACKUP", cut)
	serves("r1", "r2")
}

// haproxyOnAll starts a HAProxy on each node and returns the first one's.
func (g *guide) haproxyOnAll(nodes ...string) (first *lab.Process) {
	g.t.Helper()
	need(g.t, "haproxy")
	for i, name := range nodes {
		p, err := g.StartHAProxy(g.Nodes[name])
		must(g.t, err)
		if i == 0 {
			first = p
		}
	}
	return first
}

func TestGuide_Unicast(t *testing.T) {
	t.Parallel()
	page := guidePage(t, "unicast.md")
	nodes, vip := []string{"lb1", "lb2"}, "203.0.113.10/32"
	on, err := site.NewRouted(t.TempDir(), nodes[0], nodes[1])
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(on.Report())
		}
		must(t, on.Close())
	})
	g := guided(t, on, nodes, page, guideFile(t, page, "Two servers in two networks of a cloud",
		"nodes: {lb1: 10.0.0.11, lb2: 10.0.1.12}", "nodes: {lb1: 10.99.0.1, lb2: 10.98.0.2}",
		"/run/haproxy/admin.sock", site.HAProxySocket, "vrid: 51", "vrid: 51\n    advertisement_interval: 300ms",
	), map[string]string{"vrrp-1.key": strings.Repeat("k", 32), "cloud.env": "HCLOUD_TOKEN=x\n"})
	told := g.noted("move-cloud-address")
	g.haproxyOnAll(nodes...)
	g.first("web", nodes...)
	g.holds("lb1", vip)
	wantSaid(t, g.order("lb1", 0, "status", "web"), `^web  MASTER on lb1 for \d+s  eth0 VRID 51, VRRPv3 unicast every 300ms\n`)

	g.order("lb1", 0, "failover", "web")
	g.holds("lb2", vip)
	eventually(t, "the API was told by lb2", func() (bool, string) {
		return told("lb2") == "MASTER --floating-ip 4711", told("lb2")
	})
	wantSaid(t, g.order("lb2", 0, "events", "--since", "1m"), `hook +web master +exit 0 after `)

	// Two masters, as long as they do not hear each other; then the better one tells the API again.
	g.order("lb1", 0, "takeover", "web")
	g.holds("lb1", vip)
	cut := time.Now()
	must(t, g.Ports["lb1"].Cut())
	g.await("lb2", "web", "MASTER", cut)
	must(t, g.Ports["lb1"].Mend())
	g.await("lb2", "web", "BACKUP", cut)
	eventually(t, "lb1 has told the API again", func() (bool, string) {
		return strings.Count(told("lb1"), "MASTER --floating-ip 4711") == 3, told("lb1")
	})
	g.holds("lb1", vip)
	refusedBy(t, g.Nodes["lb1"])
	refusedBy(t, g.Nodes["lb2"])
}

func TestGuide_Heat(t *testing.T) {
	t.Parallel()
	page := guidePage(t, "heat.md")
	nodes, vip := []string{"lb1", "lb2"}, "10.99.1.1/16"
	g := guided(t, newSiteOf(t, nodes...), nodes, page, guideFile(t, page, "Two virtual machines of one subnet",
		"nodes: {lb1: 192.168.10.11, lb2: 192.168.10.12}", "nodes: {lb1: 10.99.0.1, lb2: 10.99.0.2}",
		"/run/haproxy/admin.sock", site.HAProxySocket, "192.168.10.100/24", vip, "ens3", "eth0",
	), nil)
	haproxy := g.haproxyOnAll(nodes...)
	g.first("web", nodes...)
	wantSaid(t, g.order("lb1", 0, "status", "web"), `VRRPv3 unicast every 1s`)
	g.shows("VRRPv3 unicast every 1s", "systemctl stop haproxy")
	must(t, haproxy.Kill())
	g.holds("lb2", vip)
}

func TestGuide_Migration(t *testing.T) {
	t.Parallel()
	need(t, "keepalived")
	page := guidePage(t, "migration.md")
	nodes, vip := []string{"lb1", "lb2"}, "10.99.1.1/16"
	on := newSiteOf(t, nodes...)
	old := map[string]*site.Node{}
	for _, name := range nodes {
		n, err := on.Add(name, site.Keepalived, "", site.Config{Routers: []site.Router{{
			Name: "web", VRID: 51, Interval: time.Second, Addresses: []string{vip}, Priority: map[string]int{"lb1": 150, "lb2": 100},
			Version: 2, Password: "k33palvd",
		}}})
		must(t, err)
		old[name] = n
		must(t, n.Start())
	}
	must(t, on.Holders.Await("lb1", patience, site.Address(vip)))
	file := func(first string) string {
		t.Helper()
		return guideFile(t, page, first, lbNodes, "nodes: {lb1: 10.99.0.1, lb2: 10.99.0.2}",
			"/run/haproxy/admin.sock", site.HAProxySocket, "10.0.0.100/24", vip)
	}
	g := guided(t, on, nodes, page, file("For the way over"), nil)
	g.haproxyOnAll(nodes...)
	g.shows("baton scan eth0")
	scan, err := g.Ports["lb2"].Host.Run(patience, batonBinary, "scan", "eth0", "--for", "2s")
	must(t, err)
	wantSaid(t, scan, `51 +IPv4 +2 +lb1|51 +IPv4 +2 +10.99.0.1 +150 +1s +pass +10.99.1.1`)

	ask := asking(t, on, vip, 0)
	begun := time.Now()
	must(t, old["lb2"].Stop())
	g.start(t, "lb2")
	g.await("lb2", "web", "BACKUP", begun)
	eventually(t, "lb2 has heard its master", func() (bool, string) {
		text := output(t, g.Nodes["lb2"], 0, "status")
		return strings.Contains(text, "lb1 (150)"), text
	})
	g.shows("lb1 (150)", "Entering BACKUP STATE")
	g.order("lb2", 0, "takeover", "web")
	_, err = old["lb1"].AwaitRole("web", "BACKUP", begun, patience)
	must(t, err)
	g.holds("lb2", vip)
	must(t, old["lb1"].Stop())
	g.start(t, "lb1")
	g.await("lb1", "web", "BACKUP", begun)
	for _, name := range []string{"lb2", "lb1"} {
		must(t, os.WriteFile(filepath.Join(g.Nodes[name].Dir, "baton.yaml"), []byte(file("As keepalived had it")), 0o644))
		g.order(name, 0, "reload")
	}
	g.holds("lb1", vip)
	if n := lost(t, ask); n > 0 {
		t.Errorf("%d questions were lost from keepalived to baton", n)
	}
	refusedBy(t, g.Nodes["lb1"])
	refusedBy(t, g.Nodes["lb2"])
}

func TestGuide_ReplaceNode(t *testing.T) {
	t.Parallel()
	page := guidePage(t, "replace-node.md")
	nodes, internal, storage := []string{"c1", "c2", "c3", "c4"}, "10.99.1.1/16", "10.99.1.2/16"
	file := func(first, nodes, inSite string) string {
		t.Helper()
		return guideFile(t, page, first, nodes, inSite, "vlan20", "eth0, advertisement_interval: 400ms",
			"{type: quorum, of: nodes}", "{type: quorum, of: nodes, interval: 200ms}",
			"172.20.1.10/24", internal, "172.20.1.20/24", storage)
	}
	g := guided(t, newSiteOf(t, nodes...), nodes, page,
		file("Three controllers.", "nodes: {c1: 172.20.1.11, c2: 172.20.1.12, c3: 172.20.1.13}", "nodes: {c1: 10.99.0.1, c2: 10.99.0.2, c3: 10.99.0.3}"),
		map[string]string{"listen-token": "0123456789abcdef0123456789abcdef\n"})
	g.start(t, "c3")
	g.holds("c3", storage, internal)
	g.start(t, "c1")
	g.start(t, "c2")
	for _, name := range nodes[:2] {
		g.await(name, "storage", "BACKUP", time.Time{})
	}
	died := time.Now()
	g.dies(t, "c3", storage)
	must(t, g.Nodes["c3"].Host.RemoveAddress(site.Interface, netip.MustParsePrefix(internal)))
	g.holds("c1", storage, internal)
	wantSaid(t, g.order("c1", 1, "status", "--cluster"), `(?s)c3 does not answer`)
	g.shows("c3 does not answer")

	ask := asking(t, g.Site, internal, 0)
	text := file("Three controllers, one of them new.", "nodes: {c1: 172.20.1.11, c2: 172.20.1.12, c4: 172.20.1.14}", "nodes: {c1: 10.99.0.1, c2: 10.99.0.2, c4: 10.99.0.4}")
	for _, name := range []string{"c1", "c2", "c4"} {
		must(t, os.WriteFile(filepath.Join(g.Nodes[name].Dir, "baton.yaml"), []byte(text), 0o644))
	}
	for _, name := range []string{"c1", "c2"} {
		g.order(name, 0, "reload", "--dry-run")
		g.order(name, 0, "reload")
	}
	g.start(t, "c4")
	g.await("c4", "storage", "BACKUP", died)
	eventually(t, "c4 has heard its master", func() (bool, string) {
		text := output(t, g.Nodes["c4"], 0, "status")
		return strings.Count(text, "c1 (") == 2, text
	})
	wantSaid(t, g.order("c1", 1, "status", "--cluster"), `(?s)^3 of 3 nodes answer, .*configuration \w+ on all.*storage is away from c4`)
	g.order("c4", 0, "takeover", "storage")
	g.holds("c4", storage)
	g.holds("c1", internal)
	wantSaid(t, g.order("c1", 0, "status", "--cluster"), `^3 of 3 nodes answer`)
	if n := lost(t, ask); n > 0 {
		t.Errorf("%d questions were lost", n)
	}
}
