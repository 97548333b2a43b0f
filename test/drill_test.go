package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
	"baton/test/site"
)

// rehearsal is a site whose nodes can be drilled. Each check is a file, which stands for the service that is asked.
type rehearsal struct {
	*site.Site
	t    *testing.T
	dir  string // holds what is in PATH beside this machine's: baton, and an ssh that is no network's
	c    site.Config
	vip  string
	node []string
}

// newRehearsal starts the nodes. The first is master of web, where who returns is a standby; the last is master of api,
// which comes home to it.
func newRehearsal(t *testing.T, nodes ...string) *rehearsal {
	t.Helper()
	need(t, "awk")
	r := &rehearsal{Site: newSiteOf(t, nodes...), t: t, dir: t.TempDir(), vip: site.Addresses(1, false)[0], node: nodes}
	ssh := fmt.Sprintf(`#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
host=$1
shift
exec sh -c "$* --runtime-dir %s/$host/run"
`, "$NODES")
	must(t, os.WriteFile(filepath.Join(r.dir, "ssh"), []byte(ssh), 0o755))
	must(t, os.Symlink(batonBinary, filepath.Join(r.dir, "baton")))
	r.c = site.Pair(interval, r.vip)
	web := &r.c.Routers[0]
	web.NoPreempt = true
	web.Priority = map[string]int{}
	for i, name := range nodes {
		web.Priority[name] = 200 - 10*i
	}
	r.c.Routers = append(r.c.Routers, site.Router{
		Name: "api", VRID: 52, Interval: interval, Addresses: site.Addresses(2, false)[1:],
		Priority: map[string]int{}, More: "track: {haproxy: fault, keystone: report}\n",
	})
	for i, name := range nodes {
		r.c.Routers[1].Priority[name] = 100 + 10*i
	}
	r.follow("haproxy: fault", "galera: fault", "rabbitmq: fault", "keystone: report", "glance: report", "weight: -60")
	for _, name := range nodes {
		n := add(t, r.Site, name, site.Baton, r.c)
		must(t, os.Symlink(filepath.Join(n.Dir, "run"), n.Host.Path("/run/baton")))
		r.well(name, "haproxy", "galera", "rabbitmq", "keystone", "glance", "weight", "heat")
		begun := time.Now()
		must(t, n.Start())
		if name == nodes[0] {
			_, err := n.AwaitRole("web", "MASTER", begun, patience)
			must(t, err)
		}
	}
	for _, name := range nodes[1:] {
		_, err := r.Nodes[name].AwaitRole("web", "BACKUP", time.Time{}, patience)
		must(t, err)
	}
	settled(t, r.Site, nodes[len(nodes)-1], site.Config{Routers: r.c.Routers[1:]})
	return r
}

// follow makes the checks, and what they mean to the router.
func (r *rehearsal) follow(track ...string) {
	r.c.Checks = nil
	for _, effect := range track {
		name, _, _ := strings.Cut(effect, ":")
		r.c.Checks = append(r.c.Checks, site.Check{
			Name: name, Keys: "type: file, want: present, path: /run/well/" + name, Interval: interval, Rise: 1, Fall: 1,
		})
	}
	r.c.Routers[0].More = "track: {" + strings.Join(track, ", ") + "}\n"
}

// well lets services run on a node.
func (r *rehearsal) well(node string, services ...string) {
	r.t.Helper()
	dir := r.Ports[node].Host.Path("/run/well")
	must(r.t, os.MkdirAll(dir, 0o755))
	for _, s := range services {
		must(r.t, os.WriteFile(filepath.Join(dir, s), nil, 0o644))
	}
}

// start starts the script on a node.
func (r *rehearsal) start(node string, args ...string) *lab.Process {
	r.t.Helper()
	script, err := filepath.Abs("../scripts/drill")
	must(r.t, err)
	p, err := r.Ports[node].Host.Start(append([]string{script, "--pause", "1", "--timeout", "15"}, args...), lab.StartOptions{
		Env: []string{"PATH=" + r.dir + ":" + os.Getenv("PATH"), "NODES=" + filepath.Dir(r.Nodes[node].Dir)},
	})
	must(r.t, err)
	return p
}

// ends waits for the script's end, with this exit status and these words.
func (r *rehearsal) ends(p *lab.Process, status int, words string) {
	r.t.Helper()
	got, err := p.Wait(time.Minute)
	must(r.t, err)
	if got != status || !strings.Contains(p.Output(), words) {
		r.t.Fatalf("exit status %d, want %d and %q:\n%s", got, status, words, p.Output())
	}
	r.t.Log(p.Output())
}

func (r *rehearsal) drill(node string, args ...string) {
	r.t.Helper()
	words := "as expected"
	if slices.Contains(args, "well") {
		words = "well  "
	}
	r.ends(r.start(node, args...), 0, words)
}

func (r *rehearsal) refused(node, words string, args ...string) {
	r.t.Helper()
	r.ends(r.start(node, args...), 1, words)
	r.unforced(node)
}

// unforced fails the test when a check of a node is forced.
func (r *rehearsal) unforced(node string) {
	r.t.Helper()
	out, err := r.Ports[node].Host.Run(patience, batonBinary, "checks", "--runtime-dir", "/run/baton")
	must(r.t, err)
	if strings.Contains(out, "forced") {
		r.t.Errorf("a force was left behind:\n%s", out)
	}
}

// at waits until a node alone has the address.
func (r *rehearsal) at(node string) {
	r.t.Helper()
	must(r.t, r.Holders.Await(node, patience, site.Address(r.vip)))
}

// nothingLost fails the test when the client misses an answer meanwhile.
func (r *rehearsal) nothingLost(during func()) {
	r.t.Helper()
	end := asking(r.t, r.Site, r.vip, 0)
	from := time.Now()
	during()
	if n := lost(r.t, end); n != 0 {
		r.t.Errorf("%d lost", n)
	}
	heldThroughout(r.t, r.Site, r.vip, from)
}

// The five cases of docs/drill.md on three controllers.
func TestDrill(t *testing.T) {
	r := newRehearsal(t, "a", "b", "c")
	// All is well.
	for _, node := range r.node {
		r.drill(node, "well", "web")
	}
	r.at("a")

	// One or more APIs have failed: seen, and the role stays. Without HAProxy nothing can be served here.
	r.nothingLost(func() {
		from := time.Now()
		r.drill("a", "--peer", "b", "--expect", "same", "fail", "web", "keystone", "glance")
		unmoved(t, r.Site, r.vip, "a", from)
		r.drill("a", "--peer", "b", "--peer", "c", "run", "web", "haproxy")
		r.at("b")
		// What comes home has done so when the drill ends.
		r.drill("c", "--peer", "b", "fail", "api", "haproxy")
		if got := r.Holders.Now(site.Address(r.c.Routers[1].Addresses[0])); !slices.Equal(got, []string{"c"}) {
			t.Errorf("api is with %v, want c", got)
		}
	})

	// Members of Galera have failed: the master's own, and the role comes back to a.
	r.nothingLost(func() {
		r.drill("b", "--peer", "c", "fail", "web", "galera")
		r.at("a")
	})

	// Members of RabbitMQ have failed: two at a time, and the role stays.
	r.nothingLost(func() {
		from := time.Now()
		b, c := r.start("b", "--peer", "a", "fail", "web", "rabbitmq"), r.start("c", "--peer", "a", "fail", "web", "rabbitmq")
		r.ends(b, 0, "as expected")
		r.ends(c, 0, "as expected")
		unmoved(t, r.Site, r.vip, "a", from)
	})

	// A service is added on one node after the other, rehearsed, and removed again.
	before := r.c.Checks
	track := r.c.Routers[0].More
	r.nothingLost(func() {
		r.follow("haproxy: fault", "galera: fault", "rabbitmq: fault", "keystone: report", "glance: report", "weight: -60", "heat: fault")
		r.restart("c", "b", "a")
		r.at("b")
		r.drill("b", "--peer", "a", "fail", "web", "heat")
		r.at("a")
		r.c.Checks, r.c.Routers[0].More = before, track
		r.restart("c", "b", "a")
		r.at("b")
	})
	r.refused("b", "no router of this node tracks a check heat", "--no-peer", "fail", "web", "heat")
}

// restart gives nodes their new configuration, one after the other.
func (r *rehearsal) restart(nodes ...string) {
	r.t.Helper()
	for _, name := range nodes {
		n := r.Nodes[name]
		must(r.t, r.Configure(n, r.c))
		must(r.t, n.Stop())
		must(r.t, n.Start())
		_, err := n.AwaitRole("web", "BACKUP", time.Time{}, patience)
		must(r.t, err)
		r.drill(name, "well", "web")
	}
}

// A drill that cannot go well does not begin, and one that goes wrong ends what it has begun.
func TestDrill_Refuses(t *testing.T) {
	t.Parallel()
	r := newRehearsal(t, "a", "b")
	a, b := r.Nodes["a"], r.Nodes["b"]
	fails := r.Ports["a"].Host.Path("/run/well/keystone")
	must(t, os.Remove(fails))
	r.said("a", "check=keystone", "to=fail")
	r.refused("a", "not begun, not all is well: keystone fails", "--no-peer", "fail", "web", "haproxy")
	r.drill("a", "--except", "keystone", "well", "web")
	must(t, os.WriteFile(fails, nil, 0o644))
	r.said("a", "check=keystone", "to=pass")

	r.refused("a", "name its host with --peer", "fail", "web", "haproxy")
	r.refused("a", "tracks a check hapoxy", "--peer", "b", "fail", "web", "hapoxy")
	r.refused("b", "only a MASTER can become BACKUP", "--expect", "backup", "fail", "web", "weight")
	r.refused("a", "no virtual router and no group", "well", "wbe")
	if n := r.changes("a"); n != 2 {
		t.Errorf("%d changes of role on a, want none but its start's", n)
	}

	// A weight moves the role, which is not what the operator thought.
	r.refused("a", "it has moved", "--no-peer", "--expect", "same", "fail", "web", "weight")
	r.at("b")
	r.drill("b", "--peer", "a", "--expect", "backup", "fail", "web", "weight")
	r.at("a")

	// Nobody is there to take over.
	must(t, b.Stop())
	r.refused("a", "nobody is there to take over: b: ", "--peer", "b", "fail", "web", "haproxy")
	if n := r.changes("a"); n != 4 {
		t.Errorf("%d changes of role on a, want 4", n)
	}
	from := time.Now()
	r.refused("a", "did not come within 2s: web is FAULT", "--no-peer", "--timeout", "2", "fail", "web", "haproxy")
	_, err := a.AwaitRole("web", "MASTER", from, patience)
	must(t, err)
	r.at("a")

	// Who is told to end ends his force.
	from = time.Now()
	p := r.start("a", "--no-peer", "fail", "web", "haproxy", "galera")
	_, err = a.AwaitRole("web", "FAULT", from, patience)
	must(t, err)
	must(t, p.Signal(unix.SIGTERM))
	r.ends(p, 143, "nothing is forced any more")
	r.unforced("a")
	_, err = a.AwaitRole("web", "MASTER", from, patience)
	must(t, err)

	must(t, a.Stop())
	r.ends(r.start("a", "well", "web"), 1, "no baton runs here")
}

// changes is how often the role of web has changed on a node.
func (r *rehearsal) changes(node string) int {
	n := 0
	for _, c := range r.Nodes[node].Changes() {
		if c.Router == "web" {
			n++
		}
	}
	return n
}

// said waits for a line in a node's log that has all the words.
func (r *rehearsal) said(node string, words ...string) {
	r.t.Helper()
	_, _, err := r.Nodes[node].Process.WaitLine(0, patience, func(line string) bool {
		line = strings.NewReplacer(`":"`, "=", `"`, "").Replace(line)
		for _, w := range words {
			if !strings.Contains(line, w) {
				return false
			}
		}
		return true
	})
	must(r.t, err)
}
