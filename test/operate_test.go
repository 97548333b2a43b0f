package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"baton/test/site"
)

// ordered gives an order on a node and returns what the command printed; it fails the test at another exit status.
func ordered(t *testing.T, n *site.Node, status int, args ...string) string {
	t.Helper()
	p := batonOn(t, n, args...)
	got, err := p.Wait(patience)
	must(t, err)
	if got != status {
		t.Errorf("baton %s on %s: exit status %d, want %d:\n%s", strings.Join(args, " "), n.Name, got, status, p.Output())
	}
	t.Logf("%s$ baton %s\n%s", n.Name, strings.Join(args, " "), p.Output())
	return p.Output()
}

// wantSaid compares what a command printed with a pattern.
func wantSaid(t *testing.T, output, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(output) {
		t.Errorf("it said\n%swant %s", output, pattern)
	}
}

// Planned moves lose no packet, whoever the other node is: standby, a takeover once, a failover once.
func TestOperate_PlannedMoves(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		peer site.Kind
		ipv6 bool
		mac  bool // virtual
	}{
		"baton ipv4":            {peer: site.Baton},
		"baton ipv6":            {peer: site.Baton, ipv6: true},
		"baton and virtual mac": {peer: site.Baton, mac: true},
		"keepalived ipv4":       {peer: site.Keepalived},
		"keepalived ipv6":       {peer: site.Keepalived, ipv6: true},
	} {
		peer, ipv6 := v.peer, v.ipv6
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c := site.Pair(interval, site.Addresses(2, ipv6)...)
			c.Routers[0].VirtualMAC = v.mac
			c.Routers[0].NoPreempt = true
			a, b := startPair(t, s, site.Baton, peer, c)
			// during has the client ask while an order is carried out.
			during := func(what, master string, f func()) {
				t.Helper()
				end := asking(t, s, c.Routers[0].Addresses[1], 0)
				f()
				settled(t, s, master, c)
				most := 0
				if peer == site.Keepalived && ipv6 && master == "b" {
					most = 200 // it announces an IPv6 address before its kernel answers for it: mostly 0 to 5, more on a busy host
				}
				if n := lost(t, end); n > most {
					t.Errorf("%s lost %d, want at most %d", what, n, most)
				}
			}
			during("standby", "b", func() {
				wantSaid(t, ordered(t, a, 0, "standby", "--reason", "kernel update"),
					`(?s)^web  MASTER to FAULT  b was heard after [\d.]+m?s; the address was held for [\d.]+[mµ]?s\na is in standby until it is resumed, over restarts\. To end it: baton resume\n$`)
			})
			wantSaid(t, ordered(t, a, 1, "takeover", "web"), `^baton: web is in standby since \d\d:\d\d by root: kernel update; baton resume ends that\n$`)
			wantSaid(t, ordered(t, a, 0, "resume"), `^web  FAULT to BACKUP  b is master with 190: baton takeover web brings it home\n$`)
			during("takeover", "a", func() {
				wantSaid(t, ordered(t, a, 0, "takeover", "web"),
					`^web  BACKUP to MASTER  200 beats 190 of b, and root ordered to take over; the address was on after [\d.]+[mµ]?s\nThe way back: baton failover web\n$`)
			})
			during("failover", "b", func() {
				wantSaid(t, ordered(t, a, 0, "failover", "web"),
					`^web  MASTER to BACKUP  b was heard after [\d.]+m?s; the address was held for [\d.]+[mµ]?s\nweb stays away until its new master leaves. To bring it home: baton takeover web\n$`)
			})
			wantSaid(t, ordered(t, a, 1, "failover", "web"), `^baton: web is BACKUP here: b is master\n$`)
			if peer == site.Baton {
				wantSaid(t, ordered(t, b, 1, "takeover", "web"), `web is MASTER here already`)
				wantSaid(t, ordered(t, b, 0, "announce"), `^web  stays MASTER  2 addresses were announced again\n$`)
				during("failover back", "a", func() { ordered(t, b, 0, "failover", "web") })
				wantSaid(t, ordered(t, b, 1, "takeover", "web"), `^baton: a has priority 200, which is above 190 here: it would take the role back at once\n$`)
			}
			wantSaid(t, ordered(t, a, 1, "clear", "web"), `^baton: web is not held: it is `)
			refusedBy(t, a)
			refusedBy(t, b)
		})
	}
}

// A preferred node that preempts stays away after a failover, until the other one leaves.
func TestOperate_FailoverWithPreempt(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	ordered(t, a, 0, "failover", "web")
	time.Sleep(10 * interval) // it would be back by now
	settled(t, s, "b", c)
	wantSaid(t, ordered(t, a, 0, "status"), `handed over: baton takeover web`)
	must(t, b.Stop())
	settled(t, s, "a", c)
}

// A node that is alone keeps the role, and what it does for it: nobody can know beforehand whether there is a successor.
// Forced, it leaves nevertheless; the standby outlives a restart, and ends when its time is over.
func TestOperate_Alone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	vip := c.Routers[0].Addresses[0]
	a := add(t, s, "a", site.Baton, c)
	must(t, a.Start())
	settled(t, s, "a", c)
	from := time.Now()
	end := asking(t, s, vip, 0)
	wantSaid(t, ordered(t, a, 1, "standby", "web"),
		`^web  stays MASTER  nobody took over within [\d.]+s, the address never left: does eth0 work on b, and is baton well there\?\nNothing is in standby\. To leave it without a holder: --force\n$`)
	wantSaid(t, ordered(t, a, 1, "failover", "web"), `^web  stays MASTER  nobody took over within `)
	if n := lost(t, end); n > 0 {
		t.Errorf("alone it lost %d", n)
	}
	unmoved(t, s, vip, "a", from)
	if n := len(a.Changes()); n != 2 {
		t.Errorf("%d changes of role, want 2: the role never left", n)
	}

	wantSaid(t, ordered(t, a, 0, "standby", "--force", "--reason", "move it"),
		`^web  MASTER to FAULT  nobody was heard: no node holds the address; the address was held for [\d.]+s\na is in standby until it is resumed, over restarts`)
	if on := s.Holders.Now(site.Address(vip)); len(on) > 0 {
		t.Errorf("the address is still on %v", on)
	}
	must(t, a.Stop())
	again := time.Now()
	must(t, a.Start())
	change, err := a.AwaitRole("web", "FAULT", again, patience)
	must(t, err)
	if !strings.HasPrefix(change.Reason, "standby since ") || !strings.HasSuffix(change.Reason, " by root: move it") {
		t.Errorf("in FAULT after the restart because of %q", change.Reason)
	}
	var st struct {
		Standby *struct{ Reason, By string }
		Routers []struct{ Standby *struct{ Reason string } }
	}
	must(t, json.Unmarshal([]byte(ordered(t, a, 1, "status", "--json")), &st))
	if st.Standby == nil || st.Standby.Reason != "move it" || st.Standby.By != "root" || st.Routers[0].Standby == nil {
		t.Errorf("status: %+v", st)
	}
	ordered(t, a, 0, "resume")
	settled(t, s, "a", c)
	if _, err := os.Stat(filepath.Join(a.Dir, "state", "standby.json")); !os.IsNotExist(err) {
		t.Errorf("the file after a resume: %v", err)
	}

	until := time.Now().Add(6 * time.Second)
	ordered(t, a, 0, "standby", "web", "--force", "--for", "6s")
	if _, err := a.AwaitRole("web", "BACKUP", until.Add(-time.Second), patience); err != nil {
		t.Error(err)
	}
	settled(t, s, "a", c)
}

// Where the state directory cannot be written a standby holds, and who ordered it knows that it ends with baton.
func TestOperate_Unsaved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a := add(t, s, "a", site.Baton, c)
	must(t, os.WriteFile(filepath.Join(a.Dir, "state"), nil, 0o644)) // where the directory should be
	must(t, a.Start())
	settled(t, s, "a", c)
	wantSaid(t, ordered(t, a, 1, "standby", "--force"), `(?s)a is in standby until it is resumed\. To end it: baton resume\nIt will not survive a restart of baton: make the state directory: .*not a directory`)
	wantSaid(t, ordered(t, a, 1, "status"), `standby is not kept over a restart: make the state directory`)
	must(t, os.Remove(filepath.Join(a.Dir, "state")))
	ordered(t, a, 0, "standby", "--force") // it can be written now
	if _, err := os.Stat(filepath.Join(a.Dir, "state", "standby.json")); err != nil {
		t.Error(err)
	}
}

// Services are stopped before the other node starts its own, and started again where nobody takes over.
func TestOperate_Services(t *testing.T) {
	t.Parallel()
	o := newOnlyOne(t, "")
	from := time.Now()
	wantSaid(t, ordered(t, o.Nodes["a"], 0, "standby"),
		`^web  MASTER to FAULT  osc stopped in [\d.]+[mµ]?s, then b was heard after [\d.]+[mµ]?s; the address went off in its place among the services\n`)
	o.await(t, "b", from)
	o.wantTurns(t, "a", "b")
	ordered(t, o.Nodes["a"], 0, "resume")
	from = time.Now()
	wantSaid(t, ordered(t, o.Nodes["a"], 1, "takeover", "web"), `^baton: services are bound to web, .*: baton failover web on b stops them first\n`)
	ordered(t, o.Nodes["b"], 0, "failover", "web")
	o.await(t, "a", from)
	o.wantTurns(t, "a", "b", "a")

	must(t, o.Nodes["b"].Stop())
	wantSaid(t, ordered(t, o.Nodes["a"], 1, "standby"), `^web  stays MASTER  osc stopped in [\d.]+[mµ]?s, then nobody took over within [\d.]+s: does eth0 work on b, and is baton well there\?; what was stopped is started again\n`)
	must(t, o.Holders.Await("a", patience, site.Address(o.c.Routers[0].Addresses[0])))
	ordered(t, o.Nodes["a"], 0, "wait", "web", "--ready", "--timeout", "10s")
	if role := o.Nodes["a"].Role("web"); role != "MASTER" {
		t.Errorf("a is %s", role)
	}
	o.touch(t, "a", "/run/osc-stays")
	wantSaid(t, ordered(t, o.Nodes["a"], 1, "standby", "--force"), `^web  stays MASTER  osc did not stop.*: this node stays master \(on_stop_failure: hold\)\n`)
}

// A group moves as one.
func TestOperate_Group(t *testing.T) {
	t.Parallel()
	for _, peer := range []site.Kind{site.Baton, site.Keepalived} {
		t.Run(peer.String(), func(t *testing.T) {
			t.Parallel()
			s, a, _, c := startGroup(t, site.Baton, peer)
			for _, step := range []struct{ order, said, master string }{
				{"failover", `^edge  MASTER to BACKUP  b was heard after `, "b"},
				{"takeover", `^edge  BACKUP to MASTER  200 beats 190 of b, and root ordered to take over; `, "a"},
				{"standby", `^edge  MASTER to FAULT  b was heard after `, "b"},
			} {
				var ends []func() (int, error)
				for _, r := range c.Routers {
					ends = append(ends, asking(t, s, r.Addresses[0], 0))
				}
				wantSaid(t, ordered(t, a, 0, step.order, "back"), step.said)
				settled(t, s, step.master, c)
				for i, end := range ends {
					if n := lost(t, end); n > 0 {
						t.Errorf("%s: %s lost %d", step.order, c.Routers[i].Name, n)
					}
				}
			}
		})
	}
}
