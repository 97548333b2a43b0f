package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"baton/internal/control"

	"github.com/google/go-cmp/cmp"
)

// three is a cluster where HAProxy has failed on the third node.
func three() *control.Cluster {
	router := func(name, address, prefers, role string, priority int) control.Router {
		return control.Router{Name: name, Addresses: []string{address + "/24"}, Prefers: prefers, Role: role, Priority: priority, Since: ago(2 * aDay)}
	}
	node := func(name string, roles string, problems int) control.ClusterNode {
		s := &control.Status{Node: name, Version: "1.0.0 commit x", Configuration: "3f9a2c17", Problems: make([]control.Problem, problems),
			Services: []control.Service{{Name: "redis-server.service", State: "running"}}}
		for i, word := range strings.Fields(roles) {
			role, priority := map[byte]string{'M': "MASTER", 'B': "BACKUP", 'F': "FAULT"}[word[0]], map[byte]int{'1': 200, '2': 190, '3': 180}[word[len(word)-1]]
			s.Routers = append(s.Routers, router([]string{"internal", "redis", "storage"}[i], []string{"172.20.1.10", "172.20.1.20", "172.18.1.10"}[i], []string{"controller-1", "controller-2", "controller-3"}[i], role, priority))
		}
		return control.ClusterNode{Name: name, Status: s, Checks: []control.Check{
			{Name: "galera", Verdict: "pass", OK: true}, {Name: "haproxy", Verdict: "pass", OK: true}, {Name: "majority", Verdict: "pass", OK: true},
		}}
	}
	c := &control.Cluster{Node: "controller-1", Nodes: []control.ClusterNode{node("controller-1", "M1 B2 M2", 0), node("controller-2", "B2 M1 B3", 0), node("controller-3", "F3 B3 F1", 1)}}
	c.Nodes[2].Checks[1] = control.Check{Name: "haproxy", Verdict: "fail", Since: ago(14 * time.Second)}
	for i, state := range []string{"running", "stopped", "stopped"} {
		c.Nodes[i].Status.Routers[0].Services = []control.Service{{Name: "cinder-volume.service", State: state}}
	}
	return c
}

func clusterText(t *testing.T, c *control.Cluster) (string, bool) {
	t.Helper()
	var out strings.Builder
	degraded, err := printCluster(&out, at(), c, palette{})
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), degraded
}

func TestPrintCluster(t *testing.T) {
	got, degraded := clusterText(t, three())
	want := `3 of 3 nodes answer, majority held, configuration 3f9a2c17 on all               DEGRADED: controller-3

ROUTER    ADDRESS      MASTER        FOR  PREFERS       controller-1  controller-2  controller-3
internal  172.20.1.10  controller-1   2d  controller-1  MASTER 200    BACKUP 190    FAULT
redis     172.20.1.20  controller-2   2d  controller-2  BACKUP 190    MASTER 200    BACKUP 180
storage   172.18.1.10  controller-1   2d  controller-3  MASTER 190    BACKUP 180    FAULT

CHECK OR SERVICE                 controller-1  controller-2  controller-3
haproxy                          pass          pass          FAIL 14s
galera, majority                 pass          pass          pass
cinder-volume.service  internal  running       stopped       stopped
redis-server.service   all       running       running       running

2 of 3 routers have one standby left, not two: internal, storage. storage is away from controller-3: baton takeover there, once it is well.
`
	if diff := cmp.Diff(want, got); diff != "" || !degraded {
		t.Errorf("degraded: %t\n%s", degraded, diff)
	}
}

// deployment is the three controllers of the guide, where HAProxy has failed on the third.
func deployment() *control.Cluster {
	routers := []struct{ name, address, prefers, roles string }{
		{"public", "10.10.10.101", "controller-1", "MASTER 200, BACKUP 190, FAULT 0"},
		{"admin", "10.10.10.102", "controller-2", "BACKUP 190, MASTER 200, FAULT 0"},
		{"internal", "172.20.1.10", "controller-1", "MASTER 200, BACKUP 190, FAULT 0"},
		{"redis", "172.20.1.11", "controller-2", "BACKUP 190, MASTER 200, BACKUP 180"},
		{"storage", "172.18.1.10", "controller-3", "MASTER 190, BACKUP 180, FAULT 0"},
		{"storage-mgmt", "172.19.1.10", "controller-3", "MASTER 190, BACKUP 180, FAULT 0"},
	}
	c := &control.Cluster{Node: "controller-1"}
	for i, name := range []string{"controller-1", "controller-2", "controller-3"} {
		s := &control.Status{Node: name, Version: "1.0.0", Configuration: "3f9a2c17", Services: []control.Service{{Name: "redis-server.service", State: "running"}}}
		haproxy := control.Check{Name: "haproxy", Verdict: "pass"}
		if i == 2 {
			s.Problems = []control.Problem{{Text: "haproxy has failed"}}
			haproxy = control.Check{Name: "haproxy", Verdict: "fail", Since: ago(14 * time.Second)}
		}
		for _, r := range routers {
			on := control.Router{Name: r.name, Addresses: []string{r.address + "/24"}, Prefers: r.prefers, Since: ago(2 * aDay)}
			if _, err := fmt.Sscanf(strings.Split(r.roles, ", ")[i], "%s %d", &on.Role, &on.Priority); err != nil {
				panic(err)
			}
			if strings.HasPrefix(r.name, "storage") {
				on.Since = ago(14 * time.Second)
			}
			switch r.name {
			case "internal":
				on.Services = []control.Service{{Name: "cinder-volume.service", State: []string{"running", "stopped", "stopped"}[i]}}
			case "redis":
				on.Services = []control.Service{{Name: "redis-role", State: []string{"stopped", "running", "stopped"}[i]}}
			}
			s.Routers = append(s.Routers, on)
		}
		c.Nodes = append(c.Nodes, control.ClusterNode{Name: name, Status: s, Checks: []control.Check{
			{Name: "galera", Verdict: "pass"}, haproxy, {Name: "majority", Verdict: "pass"}, {Name: "rabbitmq", Verdict: "pass"},
		}})
	}
	return c
}

// The guide shows what comes out for its deployment.
func TestPrintCluster_Golden(t *testing.T) {
	got, degraded := clusterText(t, deployment())
	guide, err := os.ReadFile("../../docs/operation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(guide), "$ baton status --cluster\n")
	shown, _, _ = strings.Cut(shown, "```")
	if diff := cmp.Diff(shown, got); diff != "" || !degraded {
		t.Errorf("degraded: %t\n%s", degraded, diff)
	}
}

// What the nodes disagree about is said, and what cannot be known.
func TestPrintCluster_Disagreements(t *testing.T) {
	c := three()
	c.Nodes[1].Status.Routers[0].Role = "MASTER"
	c.Nodes[0].Status.Routers[2].Role = "BACKUP"
	c.Nodes[1].Status.Configuration = "77777777"
	c.Nodes[0].Status.Version = "1.1.0"
	c.Nodes[2] = control.ClusterNode{Name: "controller-3", Error: "ask 172.20.1.13:9112: connection refused\x1b"}
	got, degraded := clusterText(t, c)
	for _, want := range []string{
		"2 of 3 nodes answer, majority held                                              DEGRADED: controller-3\n",
		"internal  172.20.1.10  controller-1, controller-2   2d",
		"internal has 2 masters, controller-1 and controller-2: do they hear each other?",
		"storage has no master among the nodes that answer\n",
		"controller-3 does not answer: ask 172.20.1.13:9112: connection refused?\n",
		"the configurations differ: 3f9a2c17 on controller-1; 77777777 on controller-2.",
		"the versions differ: 1.1.0 on controller-1; 1.0.0 on controller-2\n",
		"1 of 3 routers have one standby left, not two: redis.",
		" ?\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q", want)
		}
	}
	if t.Failed() || !degraded {
		t.Errorf("degraded: %t\n%s", degraded, got)
	}
	c = three()
	for i := range c.Nodes {
		c.Nodes[i].Status.Problems = nil
		c.Nodes[i].Status.Routers = c.Nodes[i].Status.Routers[1:2]
	}
	if got, degraded := clusterText(t, c); degraded || !strings.Contains(got, "  well\n") {
		t.Errorf("degraded: %t\n%s", degraded, got)
	}
}

// A node that says what it likes spoils no terminal.
func TestPrintCluster_Hostile(t *testing.T) {
	c := three()
	long := strings.Repeat("x", 1<<20)
	s := c.Nodes[2].Status
	s.Configuration, s.Version = "\x1b[2J", long
	s.Routers = append(s.Routers, control.Router{Name: "\x1b]0;" + long, Role: "MASTER\n", Addresses: []string{"\r"}, Prefers: "\x1b[31m", Services: []control.Service{{Name: "\x07", State: long}}})
	s.Services[0].State = "\x1b[0m"
	c.Nodes[2].Checks = append(c.Nodes[2].Checks, control.Check{Name: "\x1bc", Verdict: long})
	c.Nodes[1] = control.ClusterNode{Name: "controller-2", Error: long}
	got, _ := clusterText(t, c)
	if strings.ContainsAny(got, "\x1b\x07\r") {
		t.Error("control characters come through")
	}
	if len(got) > 16<<10 {
		t.Errorf("%d bytes are written", len(got))
	}
}
