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
		Problems: []control.Problem{{Text: "haproxy has failed for 14s (28 runs): connect /run/haproxy/admin.sock: connection refused", Hint: "HAProxy does not run here: systemctl status haproxy"}},
	}
	fault := func(name, master string, priority int, address string, from string) {
		s.Routers = append(s.Routers, control.Router{
			Name: name, Role: "FAULT", Since: ago(14 * time.Second), Master: master, MasterPriority: priority, Addresses: []string{address}, Note: "haproxy fails",
			History: []control.Change{{At: ago(14 * time.Second), From: from, To: "FAULT", Reason: "haproxy fails"}},
		})
	}
	fault("public", "controller-1", 200, "10.10.10.101/24", "BACKUP")
	s.Routers = append(s.Routers,
		control.Router{Name: "redis", Role: "BACKUP", Since: ago(2 * aDay), Priority: 180, Master: "controller-2", MasterPriority: 200, Addresses: []string{"172.20.1.20/24"}, Note: "200 is higher"},
		control.Router{Name: "seen", Role: "INIT", Since: ago(0), Priority: 100, Note: "waits for the first answer of galera"},
		control.Router{Name: "edge", Role: "MASTER", Since: ago(time.Hour), Priority: 200, Master: "controller-3", MasterPriority: 200, Addresses: []string{"192.0.2.1/28", "2001:db8::1/64"}},
	)
	fault("storage", "controller-1", 190, "172.18.1.10/24", "MASTER")
	return s
}

func TestPrintStatus(t *testing.T) {
	var out strings.Builder
	if err := printStatus(&out, at(), controller3(), palette{}); err != nil {
		t.Fatal(err)
	}
	want := `controller-3  baton 1.0.0  up 12d  configuration 3f9a2c17, loaded 2d ago  DEGRADED: 1 problem

ROUTER   ROLE    FOR  PRIORITY  MASTER              ADDRESS          WHY
public   FAULT   14s         -  controller-1 (200)  10.10.10.101/24  haproxy fails
redis    BACKUP   2d       180  controller-2 (200)  172.20.1.20/24   200 is higher
seen     INIT     0s         -  -                   -                waits for the first answer of galera
edge     MASTER   1h       200  controller-3 (200)  192.0.2.1/28 +1
storage  FAULT   14s         -  controller-1 (190)  172.18.1.10/24   haproxy fails; was master until 14s ago

haproxy has failed for 14s (28 runs): connect /run/haproxy/admin.sock: connection refused
        HAProxy does not run here: systemctl status haproxy
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// Colours change no column, and stand at roles and at the verdict alone.
func TestPrintStatus_Colours(t *testing.T) {
	var plain, coloured strings.Builder
	for _, s := range []*control.Status{controller3(), {Node: "lb1", Version: "1", Standby: &control.Standby{Since: ago(time.Hour), By: "root", Reason: "kernel\x1b[2J"}}} {
		if err := printStatus(&plain, at(), s, palette{}); err != nil {
			t.Fatal(err)
		}
		if err := printStatus(&coloured, at(), s, colours); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"storage  <r>FAULT</>   14s", "edge     <g>MASTER</>   1h", "<r>DEGRADED: 1 problem</>", "<g>well</>", "by root: kernel?[2J. To end it: baton resume\n", "runs no virtual router"} {
		if !strings.Contains(coloured.String(), want) {
			t.Errorf("no %q in:\n%s", want, coloured.String())
		}
	}
	stripped := strings.NewReplacer("<g>", "", "<r>", "", "<b>", "", "</>", "").Replace(coloured.String())
	if diff := cmp.Diff(plain.String(), stripped); diff != "" {
		t.Error(diff)
	}
}

func TestPrintRouter(t *testing.T) {
	r := control.Router{
		Name: "storage", Role: "MASTER", Since: ago(14 * time.Second), Priority: 190, Master: "controller-1", MasterPriority: 190, Sum: "priority 190",
		Tracks: []control.Track{{Check: "haproxy", Effect: "fault"}, {Check: "stale", Effect: "-100, backup"}},
		History: []control.Change{
			{At: ago(13742 * time.Millisecond), From: "BACKUP", To: "MASTER", Reason: "controller-3 left (priority 0); skew 258ms"},
			{At: ago(2 * aDay), From: "INIT", To: "BACKUP", Reason: "every check that could fault it has answered"},
		},
		Parts: []control.Part{{
			Name: "storage", Interface: "vlan30", Family: "IPv4", VRID: 55, Version: 3, Interval: time.Second, Source: "172.18.1.11",
			Addresses: []control.Address{{Address: "172.18.1.10/24", State: "held"}, {Address: "172.18.1.20/24", State: "off", Error: "permission denied"}},
			Peers: []control.Peer{
				{Node: "controller-3", Address: "172.18.1.13", LastHeard: ago(14 * time.Second)},
				{Address: "172.18.1.99", Priority: 90, LastHeard: ago(time.Hour)},
				{Node: "controller-2"},
			},
		}},
		Services: []control.Service{{Name: "osc.service", State: "starting", Since: ago(5 * time.Second), Text: "its check osc fails"}},
	}
	checks := []control.Check{{Name: "haproxy", Verdict: "pass", OK: true, Since: ago(12 * aDay), Interval: 500 * time.Millisecond, At: at(), Took: 600 * time.Microsecond, Text: "pid 4338, not stopping"}, {Name: "other"}}
	var out strings.Builder
	if err := printRouter(&out, at(), "controller-1", r, checks, palette{}); err != nil {
		t.Fatal(err)
	}
	want := `storage  MASTER on controller-1 for 14s  vlan30 VRID 55, VRRPv3 IPv4 multicast every 1s from 172.18.1.11

Why       controller-3 left (priority 0); skew 258ms
Priority  190
Address   172.18.1.10/24  held
          172.18.1.20/24  off: permission denied
Peer      controller-3  172.18.1.13  last heard 14s ago: priority 0, it left
          172.18.1.99  last heard 1h ago: priority 90
          controller-2  not heard: a backup is silent
Service   osc.service  starting for 5s: its check osc fails

CHECK    VERDICT  FOR  EFFECT  EVERY   TOOK  LAST ANSWER
haproxy  pass     12d  fault   500ms  0.6ms  pid 4338, not stopping

14:02:07.670  BACKUP to MASTER  controller-3 left (priority 0); skew 258ms
Nov 19 14:02  INIT to BACKUP  every check that could fault it has answered
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	r.Parts = append(r.Parts, r.Parts[0])
	r.Parts[1].Name, r.Parts[1].Interface, r.Parts[1].Unicast = "lan", "eth1", true
	out.Reset()
	if err := printRouter(&out, at(), "controller-1", r, nil, palette{}); err != nil {
		t.Fatal(err)
	}
	if want := "lan       eth1 VRID 55, VRRPv3 IPv4 unicast every 1s from 172.18.1.11\nAddress   172.18.1.10/24  held\n"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in:\n%s", want, out.String())
	}
}

func TestPrintEvent(t *testing.T) {
	var out strings.Builder
	for _, e := range []control.Event{
		{At: ago(14 * time.Second), Kind: control.CheckEvent, Name: "haproxy", What: "pass to FAIL", Text: "2 runs: connect: refused\x1b[31m"},
		{At: ago(13 * time.Second), Kind: control.RouterEvent, Name: "storage", What: "MASTER to FAULT", Text: "haproxy fails"},
		{At: ago(12 * time.Second), Kind: control.DaemonEvent, Name: "lb1", What: "started"},
	} {
		if err := printEvent(&out, at(), e); err != nil {
			t.Fatal(err)
		}
	}
	want := `14:02:07.412  check          haproxy       pass to FAIL      2 runs: connect: refused?[31m
14:02:08.412  router         storage       MASTER to FAULT   haproxy fails
14:02:09.412  daemon         lb1           started
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
