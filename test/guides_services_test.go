package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"baton/internal/lab"
	"baton/internal/service/servicetest"
)

// did waits until the nodes have done so much, in this order and nothing else, and begins the log anew.
func (g *guide) did(shared string, want ...string) {
	g.t.Helper()
	path := filepath.Join(shared, "events")
	var got []string
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			g.t.Fatal(err)
		}
		if got = strings.Split(strings.TrimSpace(string(text)), "\n"); slices.Equal(got, want) {
			must(g.t, os.Truncate(path, 0))
			return
		}
		if time.Now().After(until) {
			g.t.Fatalf("the nodes did this (-want +got):\n%s", cmp.Diff(want, got))
		}
	}
}

func TestGuide_H2(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	page := guidePage(t, "h2-database.md")
	nodes, vip, shared := []string{"app1", "app2"}, "10.99.1.1/16", t.TempDir()
	programs, err := filepath.Glob("testdata/guides/*")
	must(t, err)
	g := guided(t, newSiteOf(t, nodes...), nodes, page, guideFile(t, page, "A database that one process may write",
		"nodes: {app1: 10.20.0.11, app2: 10.20.0.12}", "nodes: {app1: 10.99.0.1, app2: 10.99.0.2}",
		"witnesses: [10.20.0.1]", "witnesses: [10.99.0.200], interval: 200ms",
		"vrid: 62", "vrid: 62\n    advertisement_interval: 400ms\n    retry_after: 1m",
		"10.20.0.10/24", vip, "start_delay: 1m ", "start_delay: 0s ",
		"/etc/baton/fence", "/run/bin/fence", "backoff: 2s", "backoff: 100ms", "promote_after: 5s", "promote_after: 500ms",
		`health"}`, `health", interval: 300ms}`,
		"on_stop_failure: reboot", "on_stop_failure: release", // the machine is not only ours
	), nil, programs...)
	for _, name := range nodes {
		must(t, os.WriteFile(g.Ports[name].Host.Path("/run/node.sh"), fmt.Appendf(nil, "NODE=%s\nSHARED=%s\n", name, shared), 0o644))
		g.launch(name, "begins", "NODE="+name, "SHARED="+shared, "ADDRESS=10.99.1.1")
		g.systemd[name].Add(
			servicetest.Unit{Name: "srv-app.mount", Argv: []string{"/run/bin/mount-app"}, Sub: "mounted"},
			servicetest.Unit{Name: "h2.service", Argv: []string{"/run/bin/h2"}},
			servicetest.Unit{Name: "app.service", Argv: []string{"/run/bin/app"}},
		)
	}
	starts := func(name string) []string {
		return []string{name + " mounted", name + " h2 starts", name + " app starts"}
	}
	stops := func(name string) []string {
		return []string{name + " app ends", name + " h2 ends", name + " unmounted"}
	}

	g.first("app", nodes...)
	g.ready("app1", "app")
	g.did(shared, append([]string{"app1 fences somebody"}, starts("app1")...)...)
	knows(t, g.Nodes["app2"], "app", "app1")
	wantSaid(t, g.order("app1", 0, "status", "app"), `(?s)srv-app.mount +running .*h2.service +running .*app.service +running`)

	// A planned move needs no fence, and everything has stopped before anything starts.
	moved := time.Now()
	g.order("app1", 0, "failover", "app")
	g.await("app2", "app", "MASTER", moved)
	g.logs("app1", moved, "service is stopped")
	g.logs("app2", moved, "service runs")
	g.ready("app2", "app")
	g.did(shared, append(stops("app1"), starts("app2")...)...)
	g.holds("app2", vip)

	// It dies, and is brought back; the fourth time it is not.
	killed := time.Now()
	for range 3 {
		one := time.Now()
		g.systemd["app2"].Kill("h2.service", unix.SIGKILL)
		g.logs("app2", one, "service died, it is started again")
		g.logs("app2", one, "service is back")
		g.did(shared, "app2 h2 starts")
	}
	g.unmoved(killed)
	g.systemd["app2"].Kill("h2.service", unix.SIGKILL)
	g.logs("app2", killed, "service cannot be brought back")
	g.await("app1", "app", "MASTER", killed)
	g.ready("app1", "app")
	g.did(shared, append([]string{"app2 app ends", "app2 unmounted"}, starts("app1")...)...)
	g.holds("app1", vip)
	g.order("app2", 0, "clear", "app")
	g.await("app2", "app", "BACKUP", killed)
}

func TestGuide_StorageOrder(t *testing.T) {
	t.Parallel()
	need(t, "/usr/lib/ocf/resource.d/heartbeat/Dummy")
	page := guidePage(t, "storage.md")
	nodes, vip := []string{"st1", "st2"}, "10.99.1.1/16"
	g := guided(t, newSiteOf(t, nodes...), nodes, page, guideFile(t, page, "The order of a file server, with agents that do nothing",
		"nodes: {st1: 10.20.0.11, st2: 10.20.0.12}", "nodes: {st1: 10.99.0.1, st2: 10.99.0.2}",
		"10.20.0.10/24", vip, "vrid: 61", "vrid: 61\n    advertisement_interval: 300ms",
	), nil)
	for _, name := range nodes {
		must(t, os.Mkdir(g.Ports[name].Host.Path("/run/resource-agents"), 0o755))
	}
	// states are the services that run on a node, by what their agents keep.
	states := func(name string) (list []string) {
		t.Helper()
		files, err := filepath.Glob(g.Ports[name].Host.Path("/run/resource-agents/Dummy-*.state"))
		must(t, err)
		for _, f := range files {
			list = append(list, filepath.Base(f))
		}
		return list
	}
	both := []string{"Dummy-filesystem.state", "Dummy-volume.state"}
	g.shows(both...)

	g.first("nfs", nodes...)
	g.order("st1", 0, "wait", "nfs", "--ready")
	if one, two := states("st1"), states("st2"); !slices.Equal(one, both) || len(two) > 0 {
		t.Errorf("st1 has %v, st2 has %v", one, two)
	}
	g.shows("rm /run/resource-agents/Dummy-filesystem.state")
	died := time.Now()
	must(t, os.Remove(g.Ports["st1"].Host.Path("/run/resource-agents/Dummy-filesystem.state")))
	g.logs("st1", died, "service died, it is started again")
	g.logs("st1", died, "service is back")
	g.unmoved(died)

	moved := time.Now()
	g.order("st1", 0, "failover", "nfs")
	g.await("st2", "nfs", "MASTER", moved)
	g.ready("st2", "nfs")
	g.holds("st2", vip)
	if one, two := states("st1"), states("st2"); len(one) > 0 || !slices.Equal(two, both) {
		t.Errorf("st1 has %v, st2 has %v", one, two)
	}
	ordered(t, g.Nodes["st1"], 0, "events", "--since", "1m")
	ordered(t, g.Nodes["st2"], 0, "events", "--since", "1m")
}

func TestGuide_Docker(t *testing.T) {
	t.Parallel()
	page := guidePage(t, "docker.md")
	nodes, vip := []string{"d1", "d2"}, "10.99.1.1/16"
	on := newSiteOf(t, nodes...)
	engines := map[string]*servicetest.Engine{}
	for _, name := range nodes {
		e, err := servicetest.NewEngine(t.TempDir(), servicetest.Container{Name: "web"})
		must(t, err)
		t.Cleanup(func() { must(t, e.Close()) })
		engines[name] = e
		serves(t, on.Ports[name].Host, "127.0.0.1:8080")
	}
	g := guided(t, on, nodes, page, guideFile(t, page, "A container on the host that has the address",
		"nodes: {d1: 10.0.0.11, d2: 10.0.0.12}", "nodes: {d1: 10.99.0.1, d2: 10.99.0.2}",
		"10.0.0.100/24", vip, "vrid: 51", "vrid: 51\n    advertisement_interval: 300ms",
		"container: web,", fmt.Sprintf("container: web, socket: {d1: %s, d2: %s},", engines["d1"].Socket, engines["d2"].Socket),
		"backoff: 2s", "backoff: 300ms", "promote_after: 40s", "promote_after: 2s",
	), map[string]string{"listen-token": "0123456789abcdef0123456789abcdef\n"})
	g.first("web", nodes...)
	g.ready("d1", "web")
	g.holds("d1", vip)
	wantSaid(t, g.order("d1", 0, "status", "web"), `web +running`)

	moved := time.Now()
	g.order("d1", 0, "failover", "web")
	g.await("d2", "web", "MASTER", moved)
	g.ready("d2", "web")
	g.holds("d2", vip)
	if one, two := engines["d1"].Calls(), engines["d2"].Calls(); len(one) < 2 || !strings.HasPrefix(one[len(one)-1], "stop web") || !slices.Equal(two, []string{"start web"}) {
		t.Errorf("the engines were asked %q and %q", one, two)
	}

	g.shows("docker kill web", "docker start web")
	killed := time.Now()
	engines["d2"].Set("web", "die", func(c *servicetest.Container) { c.Status, c.ExitCode = "exited", 137 })
	g.logs("d2", killed, "service died, it is started again")
	g.logs("d2", killed, "service is back")
	engines["d1"].Set("web", "start", func(c *servicetest.Container) { c.Status = "running" })
	g.logs("d1", killed, "service runs although this node is not master, it is stopped")
	g.unmoved(killed)
}

// serves has a host answer every request over HTTP with 200, until the test ends.
func serves(t *testing.T, h *lab.Host, address string) {
	t.Helper()
	must(t, h.Do(func() error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
		t.Cleanup(func() { server.Close() })
		go func() { _ = server.Serve(l) }() // ends with the test
		return nil
	}))
}
