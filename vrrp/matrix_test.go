package vrrp_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/vrrp"
)

var update = flag.Bool("update", false, "rewrite the golden files; read the difference before you commit it")

// situations are the states that a router can be in, as far as they matter to
// what an event does. All have priority 100, and all are 300 ms old.
var situations = []struct {
	name string
	make func(*testing.T) *node
}{
	{"INIT", func(t *testing.T) *node { return newNode(t) }},
	{"INIT, held by an unelectable peer", func(t *testing.T) *node {
		n := newBackup(t)
		n.step(unelectable)
		return n
	}},
	{"INIT, stopped, addresses lent", func(t *testing.T) *node {
		n := newMaster(t)
		n.step(vrrp.Event{Kind: vrrp.Shutdown})
		return n
	}},
	{"BACKUP, just started", func(t *testing.T) *node { return newBackup(t) }},
	{"BACKUP of a better master", func(t *testing.T) *node {
		n := newBackup(t)
		n.hear(upper, 150)
		return n
	}},
	{"BACKUP of a worse master, no-preempt", func(t *testing.T) *node {
		n := newBackup(t, noPreempt)
		n.hear(upper, 50)
		return n
	}},
	{"BACKUP whose master has left", func(t *testing.T) *node {
		n := newBackup(t)
		n.hear(upper, 150)
		n.hear(upper, 0)
		return n
	}},
	{"BACKUP, addresses lent", func(t *testing.T) *node {
		n := newMaster(t)
		n.hear(upper, 150)
		return n
	}},
	{"MASTER", func(t *testing.T) *node { return newMaster(t) }},
	{"MASTER, yielding", func(t *testing.T) *node {
		n := newMaster(t, priority(200))
		n.step(vrrp.Event{Kind: vrrp.Reprioritised, Priority: 100})
		return n
	}},
	{"MASTER, listening after it was late", func(t *testing.T) *node {
		n := newMaster(t)
		n.after(10 * second).tick()
		return n
	}},
	{"MASTER, late, no-preempt", func(t *testing.T) *node {
		n := newMaster(t, noPreempt)
		n.now += 10 * second
		return n
	}},
	{"MASTER, handing over to be BACKUP", func(t *testing.T) *node {
		n := newMaster(t)
		n.step(vrrp.Event{Kind: vrrp.HandOver, To: vrrp.Backup})
		return n
	}},
	{"MASTER in a group, handing over to be in FAULT", func(t *testing.T) *node {
		n := newGrouped(t)
		for n.now < epoch+5*second {
			n.expire()
		}
		n.step(vrrp.Event{Kind: vrrp.HandOver, To: vrrp.Fault, Reason: "standby"})
		return n
	}},
	{"BACKUP after it handed over", func(t *testing.T) *node {
		n := newMaster(t)
		n.step(vrrp.Event{Kind: vrrp.HandOver, To: vrrp.Backup})
		n.hear(upper, 90)
		return n
	}},
	{"MASTER beside a worse one", func(t *testing.T) *node {
		n := newMaster(t)
		n.after(200*ms).hear(lower, 50)
		return n
	}},
	{"BACKUP of a worse master, preempt delay", func(t *testing.T) *node {
		n := newBackup(t, preemptDelay(10*second))
		n.hear(upper, 50)
		return n
	}},
	{"BACKUP in a group, ready", func(t *testing.T) *node {
		n := newGrouped(t)
		n.now = n.set.Deadline()
		n.hearOther(upper, 150)
		n.tick()
		return n
	}},
	{"MASTER in a group", func(t *testing.T) *node {
		n := newGrouped(t)
		for n.now < epoch+5*second {
			n.expire()
		}
		return n
	}},
	{"FAULT, pulled by the group", func(t *testing.T) *node {
		n := newGrouped(t)
		n.set.Step(n.now, 1, faulty("test", false))
		return n
	}},
	{"FAULT", func(t *testing.T) *node { return newFaulty(t) }},
	{"FAULT, addresses lent", func(t *testing.T) *node {
		n := newMaster(t)
		n.step(vrrp.Event{Kind: vrrp.Faulty, Reason: "test"})
		return n
	}},
	{"FAULT, deaf", func(t *testing.T) *node {
		n := newMaster(t)
		n.step(vrrp.Event{Kind: vrrp.Faulty, Reason: "link down", Deaf: true})
		return n
	}},
}

// newGrouped returns a backup with another member of its group, on a link of
// its own.
func newGrouped(t *testing.T) *node {
	t.Helper()
	grouped := func(c *vrrp.Config) { c.Group = 1 }
	n := newNode(t, grouped)
	id, err := n.set.Add(config(grouped, func(c *vrrp.Config) { c.Link, c.VRID = 16, 52 }))
	if err != nil {
		t.Fatal(err)
	}
	n.set.Step(n.now, id, vrrp.Event{Kind: vrrp.Readdressed, Addr: self})
	n.set.Step(n.now, id, vrrp.Event{Kind: vrrp.Startup})
	n.step(vrrp.Event{Kind: vrrp.Startup})
	n.is(vrrp.Backup)
	return n
}

// hearOther receives an advertisement for the other member.
func (n *node) hearOther(src netip.Addr, priority uint8) {
	n.set.Receive(n.now, 16, packet(&vrrp.Advertisement{VRID: 52, Priority: priority, Interval: second, Addresses: n.cfg.Addresses}, src))
}

var unelectable = vrrp.Event{Kind: vrrp.Unelectable, Interval: second, Rival: vrrp.Rival{Addr: upper, Priority: 90}, Reason: "test"}

// occasions are what can happen to a router.
var occasions = []struct {
	name string
	do   func(*node) []string
}{
	{"nothing", step(vrrp.Event{})},
	{"startup", step(vrrp.Event{Kind: vrrp.Startup})},
	{"startup that adopts", step(vrrp.Event{Kind: vrrp.Startup, Adopt: true})},
	{"succeeded", step(vrrp.Event{Kind: vrrp.Succeeded})},
	{"shutdown", step(vrrp.Event{Kind: vrrp.Shutdown})},
	{"fault", step(vrrp.Event{Kind: vrrp.Faulty, Reason: "check fails"})},
	{"fault of the link", step(vrrp.Event{Kind: vrrp.Faulty, Reason: "link down", Deaf: true})},
	{"recovered", step(vrrp.Event{Kind: vrrp.Recovered})},
	{"priority 0", step(vrrp.Event{Kind: vrrp.Reprioritised})},
	{"priority 40", step(vrrp.Event{Kind: vrrp.Reprioritised, Priority: 40})},
	{"priority 100", step(vrrp.Event{Kind: vrrp.Reprioritised, Priority: 100})},
	{"priority 254", step(vrrp.Event{Kind: vrrp.Reprioritised, Priority: 254})},
	{"readdressed", step(vrrp.Event{Kind: vrrp.Readdressed, Addr: addr("192.0.2.12")})},
	{"address announced", step(vrrp.Event{Kind: vrrp.Announced, Addr: vip})},
	{"another address announced", step(vrrp.Event{Kind: vrrp.Announced, Addr: vip2})},
	{"unelectable peer", step(unelectable)},
	{"hand over, to BACKUP", step(vrrp.Event{Kind: vrrp.HandOver, To: vrrp.Backup})},
	{"hand over, to FAULT", step(vrrp.Event{Kind: vrrp.HandOver, To: vrrp.Fault, Reason: "standby"})},
	{"take over", step(vrrp.Event{Kind: vrrp.TakeOver})},
	{"advertisement 0", func(n *node) []string { return n.hear(upper, 0) }},
	{"advertisement 99", func(n *node) []string { return n.hear(upper, 99) }},
	{"advertisement 100 of a lower address", func(n *node) []string { return n.hear(lower, 100) }},
	{"advertisement 100 of a higher address", func(n *node) []string { return n.hear(upper, 100) }},
	{"advertisement 101", func(n *node) []string { return n.hear(lower, 101) }},
	{"advertisement 101 each 2s", func(n *node) []string { return n.hear(lower, 101, every(2*second)) }},
	{"expiry", func(n *node) []string {
		if n.set.Deadline() == vrrp.Never {
			return n.tick()
		}
		return n.expire()
	}},
}

func step(e vrrp.Event) func(*node) []string {
	return func(n *node) []string { return n.step(e) }
}

// TestMatrix_6_4 has a cell for every event in every state. Each line of the
// golden file is: event, actions, and where the router is then.
func TestMatrix_6_4(t *testing.T) {
	var b strings.Builder
	for _, s := range situations {
		fmt.Fprintf(&b, "# %s\n", s.name)
		for _, o := range occasions {
			n := s.make(t)
			n.now += 300 * ms
			before, deadline := n.state(), n.set.Deadline()
			actions := o.do(n)
			fmt.Fprintf(&b, "%s:\n", o.name)
			for _, a := range actions {
				fmt.Fprintf(&b, "\t%s\n", a)
			}
			after := n.state()
			if len(actions) == 0 && after == before && n.set.Deadline() == deadline {
				b.WriteString("\tnothing\n")
				continue
			}
			due := "never"
			if d := n.set.Deadline(); d != vrrp.Never {
				due = "in " + (d - n.now).String()
			}
			fmt.Fprintf(&b, "\t= %s %d, addresses %s, due %s\n", after.Role, after.Priority, addressWord[after.Addresses], due)
			if after.Master.Addr.IsValid() {
				fmt.Fprintf(&b, "\t= master %s (%d)\n", after.Master.Addr, after.Master.Priority)
			}
		}
		b.WriteString("\n")
	}
	golden(t, "testdata/matrix.txt", b.String())
}

var addressWord = map[vrrp.AddressState]string{
	vrrp.AddressesOff: "off", vrrp.AddressesHeld: "held", vrrp.AddressesLent: "lent",
}

// golden compares got with a file, or rewrites it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}
