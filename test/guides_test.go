package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
	"baton/internal/service/servicetest"
	"baton/test/site"
)

// A guide is a page of docs/guides that is tried: its file is on the nodes, with the addresses and the interfaces of the
// site. What the test orders and what the nodes must say stands on the page; where it does not, that is a mistake.
type guide struct {
	*deployment
	t    *testing.T
	page string
}

// guidePage reads a page.
func guidePage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../docs/guides", name))
	must(t, err)
	return string(text)
}

// guideFile is the configuration of a page whose first line has a text, with words replaced by others, in pairs. Each
// must be there.
func guideFile(t *testing.T, page, first string, pairs ...string) string {
	t.Helper()
	for _, part := range strings.Split(page, "\n```yaml\n")[1:] {
		text, _, ended := strings.Cut(part, "\n```\n")
		line, _, _ := strings.Cut(text, "\n")
		if !ended || !strings.Contains(line, first) {
			continue
		}
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(text, pairs[i]) {
				t.Fatalf("%q is not in the configuration", pairs[i])
			}
			text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
		}
		return text + "\n"
	}
	t.Fatalf("the page has no configuration that begins with %q", first)
	return ""
}

// guided is a guide on hosts that are there; nothing is started. Programs are at /run/bin there, which is where the
// configuration must look for them.
func guided(t *testing.T, on *site.Site, nodes []string, page, config string, files map[string]string, programs ...string) *guide {
	t.Helper()
	g := &guide{deployOn(t, on, nodes, config, files, programs), t, page}
	for _, name := range nodes {
		g.Nodes[name].Arguments = []string{"--log-format", "json"}
	}
	return g
}

// shows fails the test where the page lacks a text.
func (g *guide) shows(texts ...string) {
	g.t.Helper()
	for _, text := range texts {
		if !strings.Contains(g.page, text) {
			g.t.Errorf("the page does not have %q", text)
		}
	}
}

// order gives an order that the page has.
func (g *guide) order(name string, status int, args ...string) string {
	g.t.Helper()
	words := []string{"baton"}
	for _, a := range args {
		if strings.Contains(a, " ") {
			a = strconv.Quote(a)
		}
		words = append(words, a)
	}
	g.shows(strings.Join(words, " "))
	return ordered(g.t, g.Nodes[name], status, args...)
}

// logs waits until a node has written a line with all of the texts, which the page has.
func (g *guide) logs(name string, from time.Time, texts ...string) {
	g.t.Helper()
	g.shows(texts...)
	g.said(g.t, name, from, texts...)
}

func (g *guide) await(name, router, role string, from time.Time) {
	g.t.Helper()
	_, err := g.Nodes[name].AwaitRole(router, role, from, patience)
	must(g.t, err)
}

// holds waits until a node has the addresses, alone.
func (g *guide) holds(name string, prefixes ...string) {
	g.t.Helper()
	must(g.t, g.Holders.Await(name, patience, addresses(prefixes)...))
}

// first starts a node and waits for its role, then the others.
func (g *guide) first(router string, names ...string) {
	g.t.Helper()
	begun := time.Now()
	g.start(g.t, names[0])
	g.await(names[0], router, "MASTER", begun)
	for _, name := range names[1:] {
		g.start(g.t, name)
		g.await(name, router, "BACKUP", begun)
	}
}

// unmoved fails where a node has changed its role since.
func (g *guide) unmoved(since time.Time) {
	g.t.Helper()
	for name, n := range g.Nodes {
		for _, c := range n.Changes() {
			if c.At.After(since) {
				g.t.Errorf("%s: %s to %s: %s", name, c.From, c.To, c.Reason)
			}
		}
	}
}

// ready waits until a node is master with all that belongs to it.
func (g *guide) ready(name, router string) {
	g.t.Helper()
	ordered(g.t, g.Nodes[name], 0, "wait", router, "--ready", "--timeout", patience.String())
}

// state is what the systemd of a node says of a unit.
func (g *guide) state(name, unit string) string {
	state, _, _ := strings.Cut(g.systemd[name].State(unit), " ")
	return state
}

// put makes a program of a node.
func (g *guide) put(name, program, text string) {
	g.t.Helper()
	must(g.t, os.WriteFile(g.Ports[name].Host.Path("/run/bin/"+program), []byte(text), 0o755))
}

const lbNodes = "nodes: {lb1: 10.0.0.11, lb2: 10.0.0.12}"

// haproxyOn starts a HAProxy that can be reloaded.
func haproxyOn(t *testing.T, n *site.Node) *lab.Process {
	t.Helper()
	file := filepath.Join(n.Dir, "haproxy.cfg")
	must(t, os.WriteFile(file, fmt.Appendf(nil, `global
  stats socket %s mode 660 level user expose-fd listeners
  maxconn 1000
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend web
  bind :::80 v4v6
  http-request return status 200 content-type text/plain string "%s"
`, site.HAProxySocket, n.Name), 0o644))
	p, err := n.Host.Start([]string{"haproxy", "-W", "-db", "-f", file}, lab.StartOptions{})
	must(t, err)
	return p
}

func TestGuide_HAProxyPair(t *testing.T) {
	t.Parallel()
	need(t, "haproxy")
	page := guidePage(t, "haproxy-pair.md")
	nodes := []string{"lb1", "lb2"}
	g := guided(t, newSiteOf(t, nodes...), nodes, page, guideFile(t, page, "Two hosts with HAProxy that both serve",
		lbNodes, "nodes: {lb1: 10.99.0.1, lb2: 10.99.0.2}",
		"/run/haproxy/admin.sock", site.HAProxySocket,
		"{lb1: eth0, lb2: eno1}", "eth0\n    advertisement_interval: 300ms",
		"10.0.0.100/24", "10.99.1.1/16", "10.0.0.101/24", "10.99.1.2/16",
		"2001:db8::100/64", "fd99::100/64", "2001:db8::101/64", "fd99::101/64",
	), nil)
	a, b := []string{"10.99.1.1/16", "fd99::100/64"}, []string{"10.99.1.2/16", "fd99::101/64"}
	one := haproxyOn(t, g.Nodes["lb1"])
	haproxyOn(t, g.Nodes["lb2"])
	for _, name := range nodes {
		g.start(t, name)
	}
	g.holds("lb1", a...)
	g.holds("lb2", b...)
	wantSaid(t, g.order("lb1", 0, "status"), `(?s)web-a +MASTER .*lb1 \(200\) +10.99.1.1/16 \+1.*web-b +BACKUP .*lb2 \(200\)`)

	g.shows("systemctl reload haproxy")
	reloaded := time.Now()
	must(t, one.Signal(unix.SIGUSR2))
	time.Sleep(3 * time.Second) // six intervals of the check
	g.unmoved(reloaded)

	g.shows("systemctl stop haproxy", "systemctl start haproxy")
	stopped := time.Now()
	must(t, one.SignalGroup(unix.SIGTERM))
	g.holds("lb2", append(a, b...)...)
	g.await("lb1", "web-a", "FAULT", stopped)
	wantSaid(t, g.order("lb1", 1, "status"), `(?s)web-a +FAULT .*haproxy fails; was master until .*web-b +FAULT .*haproxy has failed for .*HAProxy does not run here: systemctl status haproxy`)
	_, err := one.Wait(patience)
	must(t, err)
	ask := asking(t, g.Site, a[0], 80)
	haproxyOn(t, g.Nodes["lb1"])
	g.holds("lb1", a...)
	if n := lost(t, ask); n > 0 {
		t.Errorf("%d questions were lost as it came home", n)
	}

	ask = asking(t, g.Site, a[0], 80)
	g.order("lb1", 0, "standby", "--reason", "kernel update")
	g.holds("lb2", append(a, b...)...)
	g.order("lb1", 0, "resume")
	g.holds("lb1", a...)
	if n := lost(t, ask); n > 0 {
		t.Errorf("%d questions were lost by a standby", n)
	}
}

// greets has a host take connections, and say something to each, until the test ends.
func greets(t *testing.T, h *lab.Host, address, words string) {
	t.Helper()
	must(t, h.Do(func() error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return // the test is over
				}
				t.Cleanup(func() { c.Close() })
				_, _ = c.Write([]byte(words)) // it may be gone
			}
		}()
		return nil
	}))
}

// units gives each node its units; what they run is told the node's name.
func (g *guide) units(names []string, units ...servicetest.Unit) {
	for _, name := range names {
		g.launch(name, "", "NODE="+name)
		g.systemd[name].Add(units...)
	}
}

func TestGuide_Singletons(t *testing.T) {
	t.Parallel()
	need(t, "bash")
	page := guidePage(t, "singleton-services.md")
	nodes := []string{"c1", "c2", "c3"}
	g := guided(t, newSiteOf(t, nodes...), nodes, page, guideFile(t, page, "Two services that run on one of three controllers",
		"nodes: {c1: 172.20.1.11, c2: 172.20.1.12, c3: 172.20.1.13}", "nodes: {c1: 10.99.0.1, c2: 10.99.0.2, c3: 10.99.0.3}",
		"interface: vlan20", "interface: eth0\n    advertisement_interval: 700ms",
		"{type: quorum, of: nodes}", "{type: quorum, of: nodes, interval: 200ms}",
		`"$node.cluster:5672"`, `"10.99.0.200:5672"`,
		"backoff: 5s", "backoff: 300ms", "promote_after: 30s", "promote_after: 3s",
	), map[string]string{"listen-token": "0123456789abcdef0123456789abcdef\n"})
	greets(t, g.Client, "10.99.0.200:5672", "\x01")
	const worker = "#!/bin/bash\necho begins\nexec 3<>/dev/tcp/10.99.0.200/5672\nwhile read -r -t 1000 -u 3; do :; done\n"
	for _, name := range nodes {
		g.put(name, "cinder-volume", worker)
		g.put(name, "nova-consoleauth", worker)
	}
	g.units(nodes,
		servicetest.Unit{Name: "cinder-volume.service", Argv: []string{"/run/bin/cinder-volume"}},
		servicetest.Unit{Name: "nova-consoleauth.service", Argv: []string{"/run/bin/nova-consoleauth"}},
	)
	// alone says that both run on this node, and neither on another.
	alone := func(on string) {
		t.Helper()
		for _, unit := range []string{"cinder-volume.service", "nova-consoleauth.service"} {
			for _, name := range nodes {
				if got := g.state(name, unit); (got == "active") != (name == on) {
					t.Errorf("%s is %s on %s", unit, got, name)
				}
			}
		}
	}
	g.first("singletons", nodes...)
	g.ready("c1", "singletons")
	for _, name := range nodes[1:] {
		knows(t, g.Nodes[name], "singletons", "c1")
	}
	alone("c1")
	wantSaid(t, g.order("c1", 0, "status", "singletons"), `(?s)cinder-volume.service +running .*nova-consoleauth.service +running`)

	moved := time.Now()
	g.order("c1", 0, "failover", "singletons")
	g.await("c2", "singletons", "MASTER", moved)
	g.logs("c2", moved, "promote_after is over")
	g.ready("c2", "singletons")
	alone("c2")

	killed := time.Now()
	g.systemd["c2"].Kill("cinder-volume.service", unix.SIGKILL)
	g.logs("c2", killed, "service died, it is started again")
	g.logs("c2", killed, "service is back")
	started := time.Now()
	g.systemd["c3"].StartUnit("cinder-volume.service")
	g.logs("c3", started, "service runs although this node is not master, it is stopped")
	eventually(t, "it is stopped", func() (bool, string) {
		state := g.state("c3", "cinder-volume.service")
		return state == "inactive", state
	})
	alone("c2")
	g.unmoved(killed)

	cut := time.Now()
	must(t, g.Ports["c2"].Cut())
	g.await("c2", "singletons", "FAULT", cut)
	eventually(t, "both are stopped on c2", func() (bool, string) {
		one, two := g.state("c2", "cinder-volume.service"), g.state("c2", "nova-consoleauth.service")
		return one == "inactive" && two == "inactive", one + " " + two
	})
}
