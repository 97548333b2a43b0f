package daemon

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/control"
)

func TestProblems(t *testing.T) {
	now := time.Date(2026, 11, 21, 14, 2, 21, 0, time.Local)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	counts := func(check string) []control.Track {
		return []control.Track{{Check: check, Effect: "fault", When: "always", Counts: true}}
	}
	silent := []control.Track{{Check: "haproxy", Effect: "report", When: "always"}}
	failing := control.Check{Name: "haproxy", Verdict: "fail", Since: ago(14 * time.Second), Runs: 28, Text: "connection refused", Hint: "systemctl status haproxy"}
	part := func(p control.Peer, addrs ...control.Address) []control.Part {
		return []control.Part{{Name: "web", Interface: "eth0", Interval: time.Second, Peers: []control.Peer{p}, Addresses: addrs}}
	}
	master := func(parts []control.Part) control.Router {
		return control.Router{Name: "web", Role: "MASTER", Since: ago(time.Minute), Parts: parts}
	}
	for name, test := range map[string]struct {
		routers  []control.Router
		services []control.Service
		checks   []control.Check
		want     []control.Problem
	}{
		"well": {routers: []control.Router{master(part(control.Peer{Node: "b"}, control.Address{State: "held"}))}, checks: []control.Check{{Name: "haproxy", Verdict: "pass"}}},
		"a check that faults routers is one problem": {
			routers: []control.Router{
				{Name: "db", Role: "FAULT", Faults: []string{"haproxy fails: connection refused"}, Tracks: counts("haproxy")},
				{Name: "web", Role: "FAULT", Faults: []string{"haproxy fails: connection refused"}, Tracks: counts("haproxy")},
			},
			checks: []control.Check{failing},
			want:   []control.Problem{{Text: "haproxy has failed for 14s (28 runs): connection refused", Hint: "systemctl status haproxy", Routers: []string{"db", "web"}}},
		},
		"a check that is only shown is none": {routers: []control.Router{{Name: "web", Role: "BACKUP", Tracks: silent}}, checks: []control.Check{failing}},
		"a check that failed as master": {
			routers: []control.Router{{Name: "osc", Role: "FAULT", Faults: []string{"osc fails: refused (held: it failed as master)"}, Tracks: []control.Track{{Check: "osc", Effect: "fault", When: "master"}}}},
			checks:  []control.Check{{Name: "osc", Verdict: "fail", Since: ago(time.Hour), Runs: 1}},
			want:    []control.Problem{{Text: "osc is in FAULT: osc fails: refused (held: it failed as master)", Hint: "mend what failed, then: baton clear osc", Routers: []string{"osc"}}},
		},
		"a check that has passed since": {
			routers: []control.Router{{Name: "web", Role: "FAULT", Faults: []string{"haproxy fails: refused"}}},
			checks:  []control.Check{{Name: "haproxy", Verdict: "pass"}},
			want:    []control.Problem{{Text: "web is in FAULT: haproxy fails: refused", Routers: []string{"web"}}},
		},
		"forced to fail": {
			routers: []control.Router{{Name: "web", Role: "FAULT", Faults: []string{"haproxy fails: forced"}, Tracks: counts("haproxy")}},
			checks:  []control.Check{{Name: "haproxy", Verdict: "pass", Forced: &control.Forced{Verdict: "fail", Until: ago(-time.Hour), Reason: "drill", By: "root"}}},
			want: []control.Problem{{
				Text: "haproxy is forced to fail until 15:02:21 by root: drill", Hint: "to end it: baton checks force haproxy --clear", Routers: []string{"web"},
			}},
		},
		"forced to pass until another day": {
			routers: []control.Router{{Name: "web", Role: "BACKUP", Tracks: silent}},
			checks:  []control.Check{{Name: "haproxy", Verdict: "fail", Forced: &control.Forced{Verdict: "pass", Until: ago(-24 * time.Hour), Reason: "drill", By: "root"}}},
			want:    []control.Problem{{Text: "haproxy is forced to pass until 2026-11-22 14:02:21 by root: drill", Hint: "to end it: baton checks force haproxy --clear"}},
		},
		"an interface of many": {
			routers: []control.Router{
				{Name: "a", Role: "FAULT", Faults: []string{"interface eth0 is down"}, Parts: part(control.Peer{})},
				{Name: "b", Role: "FAULT", Faults: []string{"interface eth0 is down"}},
				{Name: "c", Role: "FAULT", Faults: []string{"interface eth0 is down"}},
				{Name: "d", Role: "FAULT", Faults: []string{"interface eth0 is down"}},
			},
			want: []control.Problem{{Text: "a, b and 2 more are in FAULT: interface eth0 is down", Hint: "look at it: ip address show eth0", Routers: []string{"a", "b", "c", "d"}}},
		},
		"standby": {
			routers: []control.Router{{Name: "web", Role: "FAULT", Faults: []string{"standby since 14:00 by root: kernel"}}, {Name: "xyz", Role: "FAULT", Faults: []string{"standby since 14:00 by root: kernel"}}},
			want: []control.Problem{{
				Text: "web and xyz are in FAULT: standby since 14:00 by root: kernel", Hint: "to end it: baton resume web", Routers: []string{"web", "xyz"},
			}},
		},
		"an address that is not in place": {
			routers: []control.Router{master(part(control.Peer{}, control.Address{Address: "10.0.0.100/24", State: "off", Error: "permission denied"}))},
			want: []control.Problem{{
				Text: "web: 10.0.0.100/24 is not in place: permission denied", Hint: "it is tried again and again: ip address show eth0", Routers: []string{"web"},
			}},
		},
		"a route": {
			routers: []control.Router{master([]control.Part{{Failed: []string{"default: no"}}})},
			want:    []control.Problem{{Text: "web: not in place: default: no", Routers: []string{"web"}}},
		},
		"two masters": {
			routers: []control.Router{master(part(control.Peer{Node: "b", Address: "10.0.0.2", Priority: 190, LastHeard: ago(time.Second)}))},
			want: []control.Problem{{
				Text: "web: two masters: b advertises priority 190, heard 1s ago", Routers: []string{"web"},
				Hint: "it does not hear this node, or takes it for another router: its firewall, its VRID, its version",
			}},
		},
		"the master before is none, though it was heard": {routers: []control.Router{master(part(control.Peer{Priority: 190, LastHeard: ago(58 * time.Second)}))}},
		"nor is the master before, just after it": {routers: []control.Router{{
			Name: "web", Role: "MASTER", Since: ago(2 * time.Second), Parts: part(control.Peer{Priority: 190, LastHeard: ago(1500 * time.Millisecond)}),
		}}},
		"a peer that left is none":                          {routers: []control.Router{master(part(control.Peer{LastHeard: ago(time.Second)}))}},
		"a rival that has given way is none":                {routers: []control.Router{master(part(control.Peer{Priority: 190, LastHeard: ago(10 * time.Second)}))}},
		"INIT at the start is none":                         {routers: []control.Router{{Name: "web", Role: "INIT", Since: ago(30 * time.Second), Note: "waits for the first answer of galera"}}},
		"nor is one that waits as it is configured":         {routers: []control.Router{{Name: "web", Role: "INIT", Since: ago(time.Hour), Note: "waits for start_delay"}}},
		"an address of a backup that is off is none":        {routers: []control.Router{{Name: "web", Role: "BACKUP", Parts: part(control.Peer{}, control.Address{State: "off"})}}},
		"services that run, or are stopped, are no problem": {services: []control.Service{{Name: "redis", State: "running"}, {Name: "osc", State: "stopped"}}},
		"INIT for long": {
			routers: []control.Router{{Name: "web", Role: "INIT", Since: ago(5 * time.Minute), Note: "waits for the first answer of galera"}},
			want:    []control.Problem{{Text: "web: in INIT for 5m: waits for the first answer of galera", Routers: []string{"web"}}},
		},
		"services": {
			routers:  []control.Router{{Name: "osc", Role: "BACKUP", Services: []control.Service{{Name: "osc.service", State: "failed", Text: "exit 1"}}}},
			services: []control.Service{{Name: "redis", State: "failed"}},
			want: []control.Problem{
				{Text: "osc: osc.service has failed: exit 1", Hint: "look at it: systemctl status osc.service", Routers: []string{"osc"}},
				{Text: "redis has failed"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := problemsOf(&control.Status{Routers: test.routers, Services: test.services}, test.checks, now)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	s := &control.Status{Standby: &control.Standby{}, Routers: []control.Router{{Name: "web", Role: "FAULT", Faults: []string{"standby since 14:00 by root"}}}}
	if got := problemsOf(s, nil, now); len(got) != 1 || got[0].Hint != "to end it: baton resume" {
		t.Errorf("of a node in standby: %+v", got)
	}
}
