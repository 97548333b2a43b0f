package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLoad_Services(t *testing.T) {
	c := mustLoad(t, "testdata/good/services.yaml", someone("lb2"))
	revive := Revive{Tries: 5, Within: 5 * time.Minute, Backoff: 5 * time.Second}
	base := Service{StartTimeout: 20 * time.Second, StopTimeout: 90 * time.Second, Revive: revive, AtStart: AtStartStop}
	with := func(change func(*Service)) Service {
		s := base
		change(&s)
		return s
	}
	unit := func(s *Service, name string) { s.Name, s.Kind, s.Unit = name, UnitService, name }

	want := []Service{
		with(func(s *Service) {
			unit(s, "redis-server.service")
			s.Ready, s.Revive, s.AtStart = "redis", Revive{}, AtStartDecide
		}),
		with(func(s *Service) {
			s.Name, s.Kind, s.AtStart = "agent", CommandService, AtStartDecide
			s.Revive.Backoff = time.Second
			s.Start = &Command{Argv: []string{"/bin/agent", "lb2", "$$HOME"}, Timeout: 20 * time.Second, User: "nobody"}
			s.Status = &Command{Argv: []string{"/bin/agent-status"}, Timeout: 10 * time.Second, User: "nobody"}
		}),
	}
	if diff := cmp.Diff(want, c.Services); diff != "" {
		t.Errorf("on every node (-want +got):\n%s", diff)
	}

	routers := byName(c)
	want = []Service{
		with(func(s *Service) {
			s.Name, s.Kind, s.OnlyAfterSilence = "fence", CommandService, true
			s.Start = &Command{Argv: []string{"/bin/fence", "$previous_master", "$$"}, Timeout: 20 * time.Second, User: "nobody"}
		}),
		with(func(s *Service) {
			unit(s, "opt-vmidc-data.mount")
			s.StopTimeout, s.Revive.Tries = 10*time.Second, 1
		}),
		with(func(s *Service) {
			unit(s, "worker@lb2.service")
			s.Name, s.AtStart = "worker", AtStartLeave
		}),
		with(func(s *Service) { unit(s, "listen@lb2.service") }),
		with(func(s *Service) {
			s.Name, s.Kind, s.Container = "web-lb2", ContainerService, Container{Name: "web-lb2", Socket: "/var/run/docker.sock"}
			s.Ready, s.StartTimeout = "web", 4*time.Minute
		}),
		with(func(s *Service) {
			s.Name, s.Kind, s.Container = "cache", ContainerService, Container{Name: "cache", Socket: "/run/other.sock"}
		}),
		with(func(s *Service) {
			s.Name, s.Kind = "redis", OCFService
			s.OCF = OCF{Provider: "heartbeat", Agent: "redis", User: "redis", Params: map[string]string{"port": "6379", "address": "10.0.0.12", "price": "$5", "on": "true"}}
		}),
	}
	for _, name := range []string{"both", "both/6"} {
		r := routers[name]
		if diff := cmp.Diff(want, r.Services); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if r.AddressesAt != 2 || r.Preempt || r.PromoteAfter != 0 || r.OnStopFailure != StopFailureReboot {
			t.Errorf("%s: addresses at %d, preempt %v, promote after %v, on stop failure %v", name, r.AddressesAt, r.Preempt, r.PromoteAfter, r.OnStopFailure)
		}
	}

	want = []Service{with(func(s *Service) {
		s.Name, s.Kind, s.Ready, s.StartTimeout, s.AtStart = "redis-role", RoleService, "redis", 5*time.Second, AtStartDecide
		command := func(limit time.Duration, words ...string) *Command {
			return &Command{Argv: words, Timeout: limit, User: "redis"}
		}
		s.Promote = command(5*time.Second, "redis-cli", "replicaof", "no", "one")
		s.Demote = command(90*time.Second, "redis-cli", "client", "pause", "3000", "write")
		s.Follow = command(5*time.Second, "redis-cli", "replicaof", "$master.cluster", "6380")
		s.Status = command(5*time.Second, "check-redis", "--role", "$role")
	})}
	for _, name := range []string{"a", "b"} {
		if diff := cmp.Diff(want, routers[name].Services); diff != "" {
			t.Errorf("of the group, on %s (-want +got):\n%s", name, diff)
		}
		if routers[name].Preempt || routers[name].PromoteAfter != 0 { // defaults of routers are not those of groups
			t.Errorf("%s: preempt %v, promote after %v", name, routers[name].Preempt, routers[name].PromoteAfter)
		}
	}

	if r := routers["plain"]; len(r.Services) != 0 || !r.Preempt || r.Notify.FIFO != "" {
		t.Errorf("without services: %v, preempt %v, fifo %q", r.Services, r.Preempt, r.Notify.FIFO)
	}
	if r := routers["said"]; len(r.Services) != 1 || !r.Preempt || r.PromoteAfter != 5*time.Second || r.Notify.FIFO != "/run/baton/events" {
		t.Errorf("those of the defaults: %v, preempt %v, promote after %v, fifo %q", r.Services, r.Preempt, r.PromoteAfter, r.Notify.FIFO)
	}
	if r := routers["both"]; r.Notify.FIFO != "/run/baton/events" || len(r.Notify.Any) != 1 || r.Notify.Any[0].Retries != 3 || r.Notify.Master[0].Retries != 0 {
		t.Errorf("notify %+v", r.Notify)
	}
	var checks []string
	for _, c := range c.Checks {
		checks = append(checks, c.Name)
	}
	if diff := cmp.Diff([]string{"redis", "web"}, checks); diff != "" {
		t.Errorf("checks that run here (-want +got):\n%s", diff)
	}
}

// A check that a service waits for runs where the service does, and nowhere else.
func TestLoad_ReadyWhereItRuns(t *testing.T) {
	const text = `
nodes: {lb1: 10.0.0.11, lb2: 10.0.0.12, lb3: 10.0.0.13, lb4: 10.0.0.14}
checks:
  here: {type: command, command: /bin/here}
  there: {type: command, command: /bin/there}
defaults: {virtual_router: {promote_after: 0s}}
virtual_routers:
  a: {interface: {lb1: eth0, lb3: eth0}, vrid: 1, prefer: lb1, addresses: [10.0.0.1/24], services: [{unit: a, ready: here}]}
  b: {interface: {lb2: eth0, lb4: eth0, lb3: eth0}, vrid: 2, prefer: lb2, addresses: [10.0.0.2/24], services: [{unit: a, name: b, ready: there}]}
`
	if c, report := Load(write(t, filepath.Join(t.TempDir(), "baton.yaml"), text, 0o644), someone("lb1")); c != nil || report.Errors() != 1 {
		t.Errorf("lb3 has the unit twice, found %v", report.Diagnostics)
	}
	c := loadText(t, "lb1", strings.Replace(text, ", lb4: eth0, lb3: eth0}", ", lb4: eth0}", 1))
	if len(c.Checks) != 1 || c.Checks[0].Name != "here" {
		t.Errorf("checks %v", c.Checks)
	}
}

// Included files add to the services that run on every node.
func TestLoad_ServicesOfSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "d", "a.yaml"), "services: [{unit: second}]\n", 0o644)
	write(t, filepath.Join(dir, "d", "b.yaml"), "services: [{unit: third}]\n", 0o644)
	c := mustLoad(t, write(t, filepath.Join(dir, "baton.yaml"), `
include: [d/*.yaml]
services: [{unit: first}]
virtual_routers:
  web: {interface: eth0, vrid: 1, addresses: [10.0.0.1/24]}
`, 0o644), someone("a"))
	var names []string
	for _, s := range c.Services {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"first.service", "second.service", "third.service"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCheckHost_Services(t *testing.T) {
	c := mustLoad(t, "testdata/good/services.yaml", someone("lb2"))
	absent := map[string]error{}
	for _, what := range []string{
		"/bin/fence $previous_master $$ as nobody", "/usr/lib/ocf/resource.d/heartbeat/redis as redis", "check-redis --role $role as redis",
		"/bin/agent-status as nobody", "/var/run/docker.sock", "/run/other.sock", "/run/1.sock", "/run/lb2/podman.sock",
	} {
		absent[what] = fmt.Errorf("%s: %w", what, fs.ErrNotExist)
	}
	var got []string
	for _, d := range c.CheckHost(fakeHost{absent: absent}) {
		got = append(got, fmt.Sprintf("%d %s %s: %s; %s", d.Line, d.Severity, d.Path, d.Message, d.Hint))
	}
	want := []string{
		"17 error services.command.status: /bin/agent-status as nobody: file does not exist; the service cannot be started or stopped until this is mended",
		"31 error virtual_routers.both.services.command.start: /bin/fence $previous_master $$ as nobody: file does not exist; the service cannot be started or stopped until this is mended",
		"36 warning virtual_routers.both.services.container: /var/run/docker.sock: file does not exist; the service cannot be started or stopped as long as nothing answers there",
		"37 warning virtual_routers.both.services.socket.default: /run/other.sock: file does not exist; the service cannot be started or stopped as long as nothing answers there",
		"38 error virtual_routers.both.services.ocf: /usr/lib/ocf/resource.d/heartbeat/redis as redis: file does not exist; the service cannot be started or stopped until this is mended",
		"55 error groups.g.services.command.status: check-redis --role $role as redis: file does not exist; the service cannot be started or stopped until this is mended",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Nodes are told what happens when they lose sight of each other, unless something has been done about it.
func TestValidate_LostSight(t *testing.T) {
	for name, tc := range map[string]struct {
		keys string
		warn bool
	}{
		"nothing":        {`services: [{unit: a}]`, true},
		"promote_after":  {`services: [{unit: a}], promote_after: 0s`, false},
		"a fence":        {`services: [{name: f, only_after: silence, command: {start: /bin/f}}, {unit: a}]`, false},
		"roles alone":    {`services: [{name: f, command: {promote: /bin/f}}]`, false},
		"a quorum":       {`services: [{unit: a}], track: [both]`, false},
		"another check":  {`services: [{unit: a}], track: [other]`, true},
		"a third node":   {`services: [{unit: a}], interface: eth0`, true},
		"no services":    {`services: []`, false},
		"addresses only": {`services: [addresses]`, false},
	} {
		nodes := "nodes: {lb1: 10.0.0.11, lb2: 10.0.0.12}\n"
		keys := "interface: eth0, " + tc.keys
		if name == "a third node" {
			nodes, keys = "nodes: {lb1: 10.0.0.11, lb2: 10.0.0.12, lb3: 10.0.0.13}\n", tc.keys
		}
		checks := ""
		switch name {
		case "another check":
			checks = "checks: {other: {type: command, command: /bin/other}}\n"
		case "a quorum":
			checks = "checks: {quorum: {type: quorum, of: nodes, witnesses: [10.0.0.254], interval: 500ms}, both: {type: all, of: [quorum]}}\n"
		}
		report := Validate(write(t, filepath.Join(t.TempDir(), "baton.yaml"), nodes+checks+
			"virtual_routers:\n  web: {vrid: 1, prefer: lb1, addresses: [10.0.0.1/24], "+keys+"}\n", 0o644))
		want := 0
		if tc.warn {
			want = 1
		}
		if len(report.Diagnostics) != want || report.Errors() > 0 {
			t.Errorf("%s: %v", name, report.Diagnostics)
		}
	}
}

// The shipped examples of services, as a node runs them.
func TestConfigs_Services(t *testing.T) {
	secrets := t.TempDir()
	write(t, filepath.Join(secrets, "redis.env"), "REDISCLI_AUTH=secret\n", 0o400)
	pemFiles(t, filepath.Join(secrets, "osc-ca.pem"), filepath.Join(secrets, "osc-ca.key"))
	names := func(all []Service) (names []string) {
		for _, s := range all {
			names = append(names, s.Name)
		}
		return names
	}
	osc := mustLoad(t, "../../configs/osc.yaml", withSecrets("osc-2", secrets)).Routers[0]
	if diff := cmp.Diff([]string{"fence", "drbd", "opt-vmidc-data.mount", "osc.service"}, names(osc.Services)); diff != "" {
		t.Errorf("OSC (-want +got):\n%s", diff)
	}
	if osc.AddressesAt != 4 || osc.Preempt || osc.PromoteAfter != 10*time.Second || osc.OnStopFailure != StopFailureReboot || !osc.Services[0].OnlyAfterSilence {
		t.Errorf("OSC %+v", osc)
	}
	c := mustLoad(t, "../../configs/redis.yaml", withSecrets("controller-3", secrets))
	role := c.Routers[0].Services[0]
	if len(c.Services) != 1 || c.Services[0].Unit != "redis-server.service" || c.Services[0].Revive.Tries != 5 ||
		role.Kind != RoleService || role.Follow.Env[0] != "REDISCLI_AUTH=secret" || !strings.Contains(role.Follow.Argv[2], "$master.cluster") {
		t.Errorf("Redis %+v, everywhere %+v", role, c.Services)
	}
}
