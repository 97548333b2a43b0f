package main

import (
	"strings"
	"testing"
	"time"

	"baton/internal/control"

	"github.com/google/go-cmp/cmp"
)

var colours = palette{good: "<g>", bad: "<r>", strong: "<b>", end: "</>"}

// at is the moment at which the outputs below are read.
func at() time.Time { return time.Date(2026, 11, 21, 14, 2, 21, 412e6, time.Local) }

func ago(d time.Duration) time.Time { return at().Add(-d) }

const aDay = 24 * time.Hour

// controller3 is a node where HAProxy has failed 14 seconds ago.
func controller3() *control.Status {
	s := &control.Status{
		Node: "controller-3", Version: "1.0.0 commit 0123456789ab go1.26", Started: ago(12 * aDay), Configuration: "3f9a2c17", Loaded: ago(2 * aDay),
		Problems: []control.Problem{{
			Text: "haproxy has failed for 14s (28 runs): connect /run/haproxy/admin.sock: connection refused",
			Hint: "HAProxy does not run here: systemctl status haproxy", Routers: []string{"public", "storage"},
		}},
	}
	fault := func(name, from, master string, priority int, address string) {
		s.Routers = append(s.Routers, control.Router{
			Name: name, Role: "FAULT", Since: ago(14 * time.Second), Master: master, MasterPriority: priority, Addresses: []string{address}, Note: "haproxy fails",
			History: []control.Change{{At: ago(14 * time.Second), From: from, To: "FAULT", Reason: "haproxy fails"}},
		})
	}
	fault("public", "BACKUP", "controller-1", 200, "10.10.10.101/24")
	fault("admin", "BACKUP", "controller-2", 200, "10.10.10.102/24")
	fault("internal", "BACKUP", "controller-1", 200, "172.20.1.10/24")
	s.Routers = append(s.Routers, control.Router{
		Name: "redis", Role: "BACKUP", Since: ago(2 * aDay), Priority: 180, Master: "controller-2", MasterPriority: 200, Addresses: []string{"172.20.1.11/24"}, Note: "200 is higher",
	})
	fault("storage", "MASTER", "controller-1", 190, "172.18.1.10/24")
	fault("storage-mgmt", "MASTER", "controller-1", 190, "172.19.1.10/24")
	return s
}

func TestPrintStatus(t *testing.T) {
	var out strings.Builder
	if err := printStatus(&out, at(), controller3(), palette{}); err != nil {
		t.Fatal(err)
	}
	want := `controller-3  baton 1.0.0  up 12d  configuration 3f9a2c17, loaded 2d ago        DEGRADED: 1 problem

ROUTER        ROLE    FOR  PRIORITY  MASTER              ADDRESS          WHY
public        FAULT   14s         -  controller-1 (200)  10.10.10.101/24  haproxy fails
admin         FAULT   14s         -  controller-2 (200)  10.10.10.102/24  haproxy fails
internal      FAULT   14s         -  controller-1 (200)  172.20.1.10/24   haproxy fails
redis         BACKUP   2d       180  controller-2 (200)  172.20.1.11/24   200 is higher
storage       FAULT   14s         -  controller-1 (190)  172.18.1.10/24   haproxy fails; was master until 14s ago
storage-mgmt  FAULT   14s         -  controller-1 (190)  172.19.1.10/24   haproxy fails; was master until 14s ago

haproxy has failed for 14s (28 runs): connect /run/haproxy/admin.sock: connection refused
        HAProxy does not run here: systemctl status haproxy
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// What has no value is a dash, and of several addresses the first stands for all.
func TestPrintStatus_Rows(t *testing.T) {
	s := &control.Status{
		Node: "lb1", Version: "1.0.0", Started: ago(time.Minute), Configuration: "3f9a2c17", Loaded: ago(time.Minute),
		Standby: &control.Standby{Since: ago(time.Hour), Until: ago(-time.Hour), By: "root", Reason: "kernel"},
		Routers: []control.Router{
			{Name: "edge", Role: "MASTER", Since: ago(time.Hour), Priority: 200, Master: "lb1", MasterPriority: 200, Addresses: []string{"192.0.2.1/28", "2001:db8::1/64"}, Note: "lb2 left"},
			{Name: "new", Role: "INIT", Since: ago(0), Priority: 100, Note: "waits for the first answer of galera"},
			{Name: "odd", Role: "BACKUP", Since: ago(-time.Hour), Priority: 100, Master: "10.0.0.9", Note: "was\x1b[31m"},
		},
	}
	var out strings.Builder
	if err := printStatus(&out, at(), s, palette{}); err != nil {
		t.Fatal(err)
	}
	want := `lb1  baton 1.0.0  up 1m  configuration 3f9a2c17, loaded 1m ago                  well
standby since 13:02:21 by root until 15:02:21: kernel. To end it: baton resume

ROUTER  ROLE    FOR  PRIORITY  MASTER     ADDRESS          WHY
edge    MASTER   1h       200  lb1 (200)  192.0.2.1/28 +1  lb2 left
new     INIT     0s         -  -          -                waits for the first answer of galera
odd     BACKUP   0s       100  10.0.0.9   -                was?[31m
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// Colours change no column, and stand at roles and at the verdict alone.
func TestPrintStatus_Colours(t *testing.T) {
	var plain, coloured strings.Builder
	for _, s := range []*control.Status{controller3(), {Node: "lb1", Version: "1", Routers: []control.Router{{Name: "web", Role: "MASTER"}}}, {Node: "lb1", Version: "1", Standby: &control.Standby{Since: ago(time.Hour), By: "root", Reason: "kernel\x1b[2J"}}} {
		if err := printStatus(&plain, at(), s, palette{}); err != nil {
			t.Fatal(err)
		}
		if err := printStatus(&coloured, at(), s, colours); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"storage       <r>FAULT</>   14s", "web     <g>MASTER</>  ", "<r>DEGRADED: 1 problem</>", "<g>well</>", "by root: kernel?[2J. To end it: baton resume\n", "runs no virtual router"} {
		if !strings.Contains(coloured.String(), want) {
			t.Errorf("no %q in:\n%s", want, coloured.String())
		}
	}
	stripped := strings.NewReplacer("<g>", "", "<r>", "", "<b>", "", "</>", "").Replace(coloured.String())
	if diff := cmp.Diff(plain.String(), stripped); diff != "" {
		t.Error(diff)
	}
}

// storage is a router of controller-1, which has just taken over.
func storage() control.Router {
	track := func(check string) control.Track { return control.Track{Check: check, Effect: "fault", When: "always"} }
	return control.Router{
		Name: "storage", Role: "MASTER", Since: ago(14 * time.Second), Priority: 190, Master: "controller-1", MasterPriority: 190,
		Sum:    "190 = 190 (2nd of 3); no check takes anything off",
		Reason: "controller-3 left (priority 0) at 14:02:07.412; of those that answered 190 is the highest",
		Note:   "controller-3 left",
		Tracks: []control.Track{track("haproxy"), track("majority"), track("galera"), track("rabbitmq")},
		History: []control.Change{
			{At: ago(13742 * time.Millisecond), From: "BACKUP", To: "MASTER", Reason: "controller-3 left; skew 258ms"},
			{At: time.Date(2026, 11, 19, 17, 10, 3, 0, time.Local), From: "INIT", To: "BACKUP", Reason: "every check has answered; controller-3 is master with 200"},
		},
		Parts: []control.Part{{
			Name: "storage", Interface: "vlan30", Family: "IPv4", VRID: 55, Version: 3, Interval: time.Second, Source: "172.18.1.11",
			Addresses: []control.Address{{Address: "172.18.1.10/24", State: "held", Announced: 10, LastAnnounced: ago(8742 * time.Millisecond)}},
			Peers: []control.Peer{
				{Node: "controller-3", Address: "172.18.1.13", LastHeard: ago(14 * time.Second)},
				{Node: "controller-2", Address: "172.18.1.12"},
			},
		}},
	}
}

func storageChecks() []control.Check {
	check := func(name string, since, interval, took time.Duration, text string) control.Check {
		return control.Check{Name: name, Verdict: "pass", OK: true, Since: ago(since), Interval: interval, At: at(), Took: took, Text: text}
	}
	return []control.Check{
		check("galera", 12*aDay, 2*time.Second, 18*time.Millisecond, "Primary, 3 members"),
		check("haproxy", 12*aDay, 500*time.Millisecond, 600*time.Microsecond, "pid 4338, not stopping"),
		check("majority", 12*aDay, 500*time.Millisecond, 300*time.Microsecond, "3 of 3 nodes"),
		check("other", 12*aDay, time.Second, time.Second, "it is tracked by another router"),
		check("rabbitmq", 3*aDay, 5*time.Second, 240*time.Millisecond, "3 of 3 running"),
	}
}

func TestPrintRouter(t *testing.T) {
	var out strings.Builder
	if err := printRouter(&out, at(), &control.Status{Node: "controller-1"}, storage(), storageChecks(), palette{}); err != nil {
		t.Fatal(err)
	}
	want := `storage  MASTER on controller-1 for 14s  vlan30 VRID 55, VRRPv3 multicast every 1s

Why       controller-3 left (priority 0) at 14:02:07.412; of those that answered 190 is the highest
Priority  190 = 190 (2nd of 3); no check takes anything off
Address   172.18.1.10/24  held, announced 10 times, last at 14:02:12.670
Peers     controller-3  172.18.1.13  last heard 14s ago: priority 0, it left
          controller-2  172.18.1.12  never heard: a backup is silent

CHECK     VERDICT  FOR  EFFECT  EVERY   TOOK  LAST ANSWER
haproxy   pass     12d  fault   500ms  0.6ms  pid 4338, not stopping
majority  pass     12d  fault   500ms  0.3ms  3 of 3 nodes
galera    pass     12d  fault      2s   18ms  Primary, 3 members
rabbitmq  pass      3d  fault      5s  240ms  3 of 3 running

14:02:07.670  BACKUP to MASTER  controller-3 left; skew 258ms
Nov 19 17:10  INIT to BACKUP    every check has answered; controller-3 is master with 200
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// A group shows each of its virtual routers, and what is wrong stands where it is looked for.
func TestPrintRouter_Group(t *testing.T) {
	r := storage()
	r.Name, r.Group, r.Members, r.History = "edge", true, []string{"wan", "lan"}, nil
	r.Role, r.Master, r.MasterPriority = "FAULT", "controller-3", 200
	r.Reason = "interface eth1 is down"
	r.Standby = &control.Standby{Since: ago(time.Hour), By: "root", Reason: "kernel"}
	r.Tracks = []control.Track{
		{Check: "haproxy", Effect: "-60", When: "always", Counts: true},
		{Check: "galera", Effect: "fault", When: "master", Grace: 4 * time.Minute},
		{Check: "majority", Effect: "fault", When: "backup"},
	}
	wan, lan := r.Parts[0], r.Parts[0]
	wan.Name, lan.Name = "wan", "lan"
	lan.Interface, lan.Family, lan.Unicast, lan.Source = "eth1", "IPv6", true, ""
	lan.Addresses = []control.Address{
		{Address: "2001:db8::10/64", State: "off", Error: "permission denied\n"},
		{Address: "2001:db8::1/64", State: "lent", Announced: 1, LastAnnounced: ago(time.Second)},
		{Address: "fe80::1/64", State: "off"},
	}
	lan.Failed = []string{"default via 192.0.2.14: network is unreachable"}
	lan.Peers = []control.Peer{{Address: "172.18.1.99", Priority: 90, LastHeard: ago(time.Hour)}, {Node: "controller-2"}}
	r.Parts = []control.Part{wan, lan}
	r.Services = []control.Service{{Name: "osc.service", State: "starting", Since: ago(5 * time.Second), Text: "its check osc fails"}, {Name: "drbd", State: "unknown"}}
	checks := storageChecks()
	checks[1].Verdict, checks[1].OK, checks[1].Text = "fail", false, "connection refused"
	s := &control.Status{Node: "controller-1", Problems: []control.Problem{
		{Text: "public is in FAULT", Routers: []string{"public"}},
		{Text: "public and edge are in FAULT: interface eth1 is down", Hint: "look at it: ip address show eth1", Routers: []string{"public", "edge"}},
	}}
	var out strings.Builder
	if err := printRouter(&out, at(), s, r, checks, colours); err != nil {
		t.Fatal(err)
	}
	want := `edge  <r>FAULT</> on controller-1 for 14s  group of wan, lan

Standby   since 13:02:21 by root: kernel. To end it: baton resume edge
Why       interface eth1 is down
Priority  190 = 190 (2nd of 3); no check takes anything off
Master    controller-3 (200)

wan  IPv4, vlan30 VRID 55, VRRPv3 multicast every 1s
Address   172.18.1.10/24  held, announced 10 times, last at 14:02:12.670
Peers     controller-3  172.18.1.13  last heard 14s ago: priority 0, it left
          controller-2  172.18.1.12  never heard: a backup is silent

lan  IPv6, eth1 VRID 55, VRRPv3 unicast every 1s
Address   2001:db8::10/64  not in place: permission denied?
          2001:db8::1/64   lent: kept until a successor has it, announced once, at 14:02:20.412
          fe80::1/64       off
Routes    not in place: default via 192.0.2.14: network is unreachable
Source    none: there is no address on eth1 to speak from
Peers     ?             172.18.1.99  last heard 1h ago: priority 90
          controller-2  -            never heard: a backup is silent

SERVICE      STATE     FOR  TEXT
osc.service  starting   5s  its check osc fails
drbd         unknown     -

CHECK     VERDICT  FOR  EFFECT                    EVERY   TOOK  LAST ANSWER
haproxy   <r>FAIL</>     12d  -60                       500ms  0.6ms  connection refused
galera    pass     12d  fault (master, grace 4m)     2s   18ms  Primary, 3 members
majority  pass     12d  fault (backup)            500ms  0.3ms  3 of 3 nodes

public and edge are in FAULT: interface eth1 is down
        look at it: ip address show eth1
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// todayAt is a time of the day of the events below.
func todayAt(clock string) time.Time {
	day, err := time.ParseInLocation("2006-01-02 15:04:05.000", "2026-11-21 "+clock, time.Local)
	if err != nil {
		panic(err)
	}
	return day
}

func TestEventLines(t *testing.T) {
	list := []control.Event{
		{At: todayAt("14:02:07.411"), Kind: control.CheckEvent, Name: "haproxy", What: "pass to FAIL", Text: "2 runs: connect /run/haproxy/admin.sock: connection refused"},
		{At: todayAt("14:02:07.412"), Kind: control.RouterEvent, Name: "storage", What: "MASTER to FAULT", Text: "haproxy fails; priority 0 sent, 172.18.1.10/24 removed"},
		{At: todayAt("14:02:07.453"), Kind: control.HookEvent, Name: "storage any", What: "exit 0 after 41ms", Text: "INSTANCE storage FAULT 200"},
		{At: todayAt("14:03:41.002"), Kind: control.CheckEvent, Name: "haproxy", What: "FAIL to pass", Text: "2 runs: pid 5120, not stopping"},
		{At: todayAt("14:03:41.002"), Kind: control.RouterEvent, Name: "storage", What: "FAULT to BACKUP", Text: "no reason is left; controller-1 stays master (preempt: false)"},
		{At: todayAt("14:09:12.644"), Kind: control.OperatorEvent, Name: "storage", What: "takeover by root", Text: "BACKUP to MASTER: 200 beats controller-1's 190"},
		{At: todayAt("14:10:30.118"), Kind: control.AddressEvent, Name: "storage", What: "removed by others", Text: "172.18.1.10/24 put back and announced after 2ms; stays MASTER"},
	}
	lines := newEventLines(list)
	var got strings.Builder
	for _, e := range append(list,
		control.Event{At: todayAt("14:11:00.000"), Kind: control.ConfigurationEvent, Name: "a-longer-name-than-before", What: "x\x1b[31m", Text: "the columns grow"},
		control.Event{At: todayAt("14:11:00.000").Add(-48 * time.Hour), Kind: control.DaemonEvent, Name: "lb1", What: "started"}) {
		got.WriteString(lines.line(at(), e) + "\n")
	}
	want := `14:02:07.411  check     haproxy      pass to FAIL       2 runs: connect /run/haproxy/admin.sock: connection refused
14:02:07.412  router    storage      MASTER to FAULT    haproxy fails; priority 0 sent, 172.18.1.10/24 removed
14:02:07.453  hook      storage any  exit 0 after 41ms  INSTANCE storage FAULT 200
14:03:41.002  check     haproxy      FAIL to pass       2 runs: pid 5120, not stopping
14:03:41.002  router    storage      FAULT to BACKUP    no reason is left; controller-1 stays master (preempt: false)
14:09:12.644  operator  storage      takeover by root   BACKUP to MASTER: 200 beats controller-1's 190
14:10:30.118  address   storage      removed by others  172.18.1.10/24 put back and announced after 2ms; stays MASTER
14:11:00.000  configuration  a-longer-name-than-before  x?[31m             the columns grow
Nov 19 14:11  daemon         lb1                        started
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}
