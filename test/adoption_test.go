package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
	"baton/test/site"
)

// A daemon that is killed and started again, within the patience of the others, goes on as if nothing had been: no role
// changes, no packet is lost, no address leaves the host.
func TestAdoption(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		peer   site.Kind
		every  time.Duration
		ipv6   bool
		change func(*site.Config)
	}{
		{name: "baton", peer: site.Baton, every: time.Second},
		{name: "keepalived", peer: site.Keepalived, every: time.Second},
		{name: "ipv6", peer: site.Baton, every: 3 * interval, ipv6: true},
		{name: "virtual MAC", peer: site.Baton, every: 3 * interval, change: func(c *site.Config) { c.Routers[0].VirtualMAC = true }},
		{name: "group", peer: site.Baton, every: 3 * interval, change: func(c *site.Config) {
			more := c.Routers[0]
			more.Name, more.VRID, more.Addresses = "other", 52, site.Addresses(5, false)[4:]
			c.Routers = append(c.Routers, more)
			c.Groups = []site.Group{{Name: "both", Members: []string{"web", "other"}, Priority: c.Routers[0].Priority}}
			c.Routers[0].Priority, c.Routers[1].Priority = nil, nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(3, tt.ipv6)
			c := site.Pair(tt.every, vips...)
			if tt.change != nil {
				tt.change(&c)
			}
			a, b := startPair(t, s, site.Baton, tt.peer, c)
			_, err := b.AwaitRole("web", "BACKUP", time.Time{}, patience)
			must(t, err)
			changes := len(b.Changes())
			end := asking(t, s, vips[0], 0)
			from := time.Now()
			for range 2 {
				must(t, a.Crash())
				must(t, a.Start())
				change, err := a.AwaitRole("web", "MASTER", time.Time{}, patience)
				must(t, err)
				if !strings.HasPrefix(change.Reason, "adopted") || change.From != "INIT" {
					t.Fatalf("became master from %s: %s", change.From, change.Reason)
				}
				_, err = s.AwaitAdvert("a", time.Now(), patience, nil)
				must(t, err)
			}
			if n := lost(t, end); n != 0 {
				t.Errorf("%d lost", n)
			}
			if got := b.Changes(); len(got) != changes {
				t.Errorf("b changed its role: %v", got[changes:])
			}
			for _, v := range vips {
				unmoved(t, s, v, "a", from)
				heldThroughout(t, s, v, from)
			}
		})
	}
}

// upgrade has a node's daemon replaced by its own binary.
func upgrade(t *testing.T, n *site.Node, more ...string) string {
	t.Helper()
	out, err := n.Host.Run(patience, append([]string{batonBinary, "upgrade", "--runtime-dir", filepath.Join(n.Dir, "run")}, more...)...)
	must(t, err)
	return out
}

// safeBinary is a copy of the binary where nobody but root can change it, as a package's is.
func safeBinary(t *testing.T, h *lab.Host) string {
	t.Helper()
	text, err := os.ReadFile(batonBinary)
	must(t, err)
	must(t, os.WriteFile(h.Path("/run/baton-binary"), text, 0o755))
	return "/run/baton-binary"
}

// An upgrade is as little noticed: the same process, no role changed, no packet lost; and at 1 s no advertisement is missed.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	for name, every := range map[string]time.Duration{"1s": time.Second, "100ms": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(2, false)
			c := site.Pair(every, vips...)
			c.Routers[0].Notify = "{any: /run/hook}"
			a, err := s.Add("a", site.Baton, safeBinary(t, s.Ports["a"].Host), c)
			must(t, err)
			b := add(t, s, "b", site.Baton, c)
			must(t, os.WriteFile(a.Host.Path("/run/hook"), []byte("#!/bin/sh\nsleep 1\necho $3 >>/run/told\n"), 0o755))
			must(t, a.Start())
			settled(t, s, "a", c)
			must(t, b.Start())
			_, err = b.AwaitRole("web", "BACKUP", time.Time{}, patience)
			must(t, err)
			changes := len(b.Changes())
			end := asking(t, s, vips[0], 0)
			from := time.Now()
			before := descriptors(t, a)
			for range 3 {
				t.Log(strings.TrimSpace(upgrade(t, a)))
			}
			for limit := time.Now().Add(patience); descriptors(t, a) > before; time.Sleep(interval) { // some are there for a moment
				if time.Now().After(limit) {
					t.Errorf("%d descriptors, before the upgrades %d", descriptors(t, a), before)
					break
				}
			}
			_, err = s.AwaitAdvert("a", time.Now(), patience, nil)
			must(t, err)
			if n := lost(t, end); n != 0 {
				t.Errorf("%d lost", n)
			}
			if got := b.Changes(); len(got) != changes {
				t.Errorf("b changed its role: %v", got[changes:])
			}
			unmoved(t, s, vips[0], "a", from)
			heldThroughout(t, s, vips[0], from)
			if gap := longestGap(s, "a", from); every == time.Second && gap > every+50*time.Millisecond {
				t.Errorf("%v between two advertisements", gap)
			} else {
				t.Logf("at most %v between two advertisements", gap)
			}
			told, err := os.ReadFile(a.Host.Path("/run/told"))
			must(t, err)
			if got := string(told); strings.Count(got, "MASTER") != 1 {
				t.Errorf("hooks were told %q, want MASTER once", got)
			}
			children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", a.Process.PID, a.Process.PID))
			if err == nil && len(strings.Fields(string(children))) > 1 { // the watcher of the state files
				t.Errorf("children %s are left", children)
			}
			must(t, a.Stop()) // and the last one leaves in order
			must(t, s.Holders.Await("b", patience, addresses(vips)...))
		})
	}
}

// What would not do as a successor is refused, and the daemon goes on.
func TestUpgrade_Refused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a, err := s.Add("a", site.Baton, safeBinary(t, s.Ports["a"].Host), c)
	must(t, err)
	must(t, a.Start())
	settled(t, s, "a", c)
	refused := func(want string, more ...string) {
		t.Helper()
		p, err := a.Host.Start(append([]string{batonBinary, "upgrade", "--runtime-dir", runtimeDir(a)}, more...), lab.StartOptions{})
		must(t, err)
		status, err := p.Wait(patience)
		must(t, err)
		if status != 1 || !strings.Contains(p.Output(), want) {
			t.Errorf("%v: exit %d, want 1 and %q:\n%s", more, status, want, p.Output())
		}
	}
	refused("is no baton: it calls itself", "--binary", "/bin/true")
	refused("is writable by everybody", "--binary", batonBinary) // in a folder that is everybody's
	refused("no such file", "--binary", "/run/nothing")
	must(t, os.WriteFile(filepath.Join(a.Dir, "baton.yaml"), []byte("virtual_routers: {web: {vrid: 0}}\n"), 0o644))
	refused("/run/baton-binary validate: ")
	_, err = s.AwaitAdvert("a", time.Now(), patience, nil)
	must(t, err)
	if strings.Contains(a.Process.Output(), "baton is replaced") {
		t.Error("replaced nevertheless")
	}
}

// descriptors counts what a node's daemon has open.
func descriptors(t *testing.T, n *site.Node) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.Process.PID))
	must(t, err)
	return len(all)
}

// A daemon that is not root, and has its capabilities from the service manager, has them after an upgrade as well; and what it
// runs has none.
func TestUpgrade_NotRoot(t *testing.T) {
	t.Parallel()
	need(t, "setpriv")
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a := add(t, s, "a", site.Baton, c)
	must(t, os.MkdirAll(runtimeDir(a), 0o755))
	const nobody = 65534
	must(t, os.Chown(runtimeDir(a), nobody, nobody))
	for _, dir := range []string{filepath.Dir(batonBinary), filepath.Dir(filepath.Dir(a.Dir))} { // temporary folders are their maker's alone
		must(t, os.Chmod(dir, 0o755))
	}
	p, err := a.Host.Start([]string{
		"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs",
		"--inh-caps=-all,+net_admin,+net_raw", "--bounding-set=-all,+net_admin,+net_raw", "--ambient-caps=-all,+net_admin,+net_raw",
		batonBinary, "run", "-c", filepath.Join(a.Dir, "baton.yaml"), "--node", "a", "--runtime-dir", runtimeDir(a),
	}, lab.StartOptions{})
	must(t, err)
	a.Process = p
	settled(t, s, "a", c)
	from := time.Now()
	for range 2 {
		upgrade(t, a)
	}
	logged(t, a, `"to":"MASTER","reason":"adopted`)
	_, err = s.AwaitAdvert("a", time.Now(), patience, nil)
	must(t, err)
	unmoved(t, s, c.Routers[0].Addresses[0], "a", from)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	must(t, err)
	for _, want := range []string{"CapEff:\t0000000000003000", "CapAmb:\t0000000000000000"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("after the upgrade %q is missing in\n%s", want, status)
		}
	}
	must(t, a.Stop())
}

// longestGap is the longest time between two advertisements of a node.
func longestGap(s *site.Site, node string, from time.Time) (longest time.Duration) {
	last := from
	for _, p := range s.Wire(node).Since(from) {
		if p.Sent && p.Advert != nil {
			longest, last = max(longest, p.At.Sub(last)), p.At
		}
	}
	return longest
}

// runtimeDir is where a node's daemon keeps its record.
func runtimeDir(n *site.Node) string { return filepath.Join(n.Dir, "run") }

// logged waits until a node's present daemon has written a line with the text.
func logged(t *testing.T, n *site.Node, text string) {
	t.Helper()
	_, _, err := n.Process.WaitLine(0, patience, func(line string) bool { return strings.Contains(line, text) })
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}

// What must not be adopted is refused by name, and what was left is removed before the election begins anew.
func TestAdoption_Refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before func(t *testing.T, s *site.Site, a *site.Node, c *site.Config) // the daemon is dead
		want   string
	}{
		{"stale", func(*testing.T, *site.Site, *site.Node, *site.Config) { time.Sleep(5 * interval) }, "it has been silent for"},
		{"torn", func(t *testing.T, _ *site.Site, a *site.Node, _ *site.Config) {
			must(t, os.Truncate(filepath.Join(runtimeDir(a), "record"), 1000))
		}, "it is damaged, or of another version of baton"},
		{"of another boot", func(t *testing.T, _ *site.Site, a *site.Node, _ *site.Config) {
			other := filepath.Join(a.Dir, "boot_id")
			must(t, os.WriteFile(other, []byte("5b1b6a7e-0000-4000-8000-3f1c6f3b9d10\n"), 0o644))
			_, err := a.Host.Run(patience, "mount", "--bind", other, "/proc/sys/kernel/random/boot_id")
			must(t, err)
		}, "it is of another boot"},
		{"of other addresses", func(t *testing.T, s *site.Site, a *site.Node, c *site.Config) {
			c.Routers[0].Addresses = c.Routers[0].Addresses[:1]
			must(t, s.Configure(a, *c))
		}, "the record is of other addresses"},
		{"without an address", func(t *testing.T, _ *site.Site, a *site.Node, c *site.Config) {
			must(t, a.Host.RemoveAddress(site.Interface, prefix(c.Routers[0].Addresses[1])))
		}, "is not on this host any more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(2, false)
			c := site.Pair(interval, vips...)
			c.Routers[0].More = "start_delay: 1s"
			a := add(t, s, "a", site.Baton, c)
			must(t, a.Start())
			settled(t, s, "a", c)
			must(t, a.Crash())
			if held, err := a.Host.Holds(site.Interface, site.Address(vips[0])); err != nil || !held {
				t.Fatalf("the dead daemon's address is on: %t, %v", held, err)
			}
			tt.before(t, s, a, &c)
			from := time.Now()
			must(t, a.Start())
			logged(t, a, tt.want)
			change, err := a.AwaitRole("web", "MASTER", from, patience)
			must(t, err)
			if !strings.HasPrefix(change.Reason, "heard nobody") {
				t.Errorf("became master: %s", change.Reason)
			}
			must(t, s.Holders.Await("a", patience, site.Address(vips[0])))
			if off, ok := s.Holders.When("a", site.Address(vips[0]), false, from); !ok || off.After(change.At) {
				t.Errorf("the address that was left was removed: %t, at %v, and the election was over at %v", ok, off, change.At)
			}
		})
	}
}

// A daemon that was killed while it gave the role away is not master again.
func TestAdoption_Leaving(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vips := site.Addresses(1, false)
	c := site.Pair(interval, vips...)
	a := add(t, s, "a", site.Baton, c)
	must(t, a.Start())
	settled(t, s, "a", c)
	must(t, a.Process.Signal(unix.SIGTERM)) // nobody succeeds it: it keeps the address for some seconds
	logged(t, a, `"to":"INIT"`)
	must(t, a.Crash())
	must(t, a.Start())
	change, err := a.AwaitRole("web", "MASTER", time.Time{}, patience)
	must(t, err)
	if strings.HasPrefix(change.Reason, "adopted") {
		t.Errorf("became master: %s", change.Reason)
	}
}

// SIGKILL at any moment, also while the daemon starts: with 1 s between advertisements nobody ever notices.
func TestAdoption_RandomMoments(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vips := site.Addresses(1, false)
	c := site.Pair(time.Second, vips...)
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	killAtRandom(t, s, a, b, c, 12)
}

// killAtRandom kills a, the master, so many times, and starts it at once.
func killAtRandom(t *testing.T, s *site.Site, a, b *site.Node, c site.Config, times int) {
	t.Helper()
	vip := c.Routers[0].Addresses[0]
	_, err := b.AwaitRole("web", "BACKUP", time.Time{}, patience)
	must(t, err)
	changes := len(b.Changes())
	end := asking(t, s, vip, 0)
	from := time.Now()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range times {
		after := time.Duration(random.Int64N(int64(c.Routers[0].Interval)))
		if i%3 > 0 { // while it starts
			after /= 10
		}
		time.Sleep(after)
		must(t, a.Crash())
		must(t, a.Start())
	}
	_, err = a.AwaitRole("web", "MASTER", time.Time{}, patience)
	must(t, err)
	if n := lost(t, end); n != 0 {
		t.Errorf("%d lost", n)
	}
	if got := b.Changes(); len(got) != changes {
		t.Errorf("b changed its role: %v", got[changes:])
	}
	unmoved(t, s, vip, "a", from)
	heldThroughout(t, s, vip, from)
}

// After a crash a file with mistakes is no reason to be without a master; at any other start it is one.
func TestAdoption_BrokenFile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vips := site.Addresses(1, false)
	c := site.Pair(3*interval, vips...)
	a := add(t, s, "a", site.Baton, c)
	must(t, a.Start())
	settled(t, s, "a", c)
	from := time.Now()
	must(t, a.Crash())
	file := filepath.Join(a.Dir, "baton.yaml")
	must(t, os.WriteFile(file, []byte("virtual_routers: {web: {vrid: 0}}\n"), 0o644))
	must(t, a.Start())
	change, err := a.AwaitRole("web", "MASTER", from, patience)
	must(t, err)
	if !strings.HasPrefix(change.Reason, "adopted") {
		t.Errorf("became master: %s", change.Reason)
	}
	unmoved(t, s, vips[0], "a", from)
	heldThroughout(t, s, vips[0], from)
	p, err := a.Host.Start([]string{batonBinary, "status", "--runtime-dir", runtimeDir(a)}, lab.StartOptions{})
	must(t, err)
	status, err := p.Wait(patience)
	must(t, err)
	if status != 1 || !strings.Contains(p.Output(), "DEGRADED") || !strings.Contains(p.Output(), "since the crash baton runs with what was kept of it") {
		t.Errorf("status, exit %d:\n%s", status, p.Output())
	}
	info, err := os.Stat(filepath.Join(runtimeDir(a), "configuration"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the kept configuration has mode %v", info.Mode())
	}
	must(t, a.Stop())
	must(t, a.Start())
	status, err = a.Process.Wait(patience)
	must(t, err)
	if status != 3 {
		t.Errorf("exit %d at a start that no crash preceded, want 3", status)
	}
}

// A full disk under the runtime directory costs a line in the log, whatever happens meanwhile; and once there is room
// again, there is a record again.
func TestAdoption_FullDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vips := site.Addresses(1, false)
	c := site.Pair(interval, vips...)
	a, b := add(t, s, "a", site.Baton, c), add(t, s, "b", site.Baton, c)
	must(t, os.MkdirAll(runtimeDir(a), 0o755))
	run := func(argv ...string) {
		t.Helper()
		_, err := a.Host.Run(patience, argv...)
		must(t, err)
	}
	run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", runtimeDir(a))
	fill := filepath.Join(runtimeDir(a), "full")
	run("sh", "-c", "cat /dev/zero >"+fill+" 2>/dev/null || true")
	must(t, a.Start())
	settled(t, s, "a", c)
	must(t, b.Start())
	logged(t, a, "the record cannot be written")
	must(t, a.Crash())
	_, err := b.AwaitRole("web", "MASTER", time.Time{}, patience) // as with any other
	must(t, err)
	must(t, a.Start())
	settled(t, s, "a", c)
	run("rm", fill)
	logged(t, a, "the record can be written again")
	from := time.Now()
	run("sh", "-c", "cat /dev/zero >"+fill+" 2>/dev/null || true") // what is there is written in place
	must(t, a.Crash())
	must(t, a.Start())
	change, err := a.AwaitRole("web", "MASTER", from, patience)
	must(t, err)
	if !strings.HasPrefix(change.Reason, "adopted") {
		t.Errorf("became master: %s", change.Reason)
	}
}

// Services of an adopted master are watched over, and not started again. Of one that comes back too late they are stopped
// at once: they run elsewhere by then.
func TestAdoption_Services(t *testing.T) {
	t.Parallel()
	o := newOnlyOne(t, "")
	a := o.Nodes["a"]
	from := time.Now()
	must(t, a.Crash())
	must(t, a.Start())
	logged(t, a, "ready: every service runs")
	for _, line := range a.Process.Lines() {
		if strings.Contains(line.Text, "service is being started") {
			t.Errorf("started again: %s", line.Text)
		}
	}
	o.kill(t, "a") // and is brought back
	logged(t, a, "service is back")
	unmoved(t, o.Site, o.c.Routers[0].Addresses[0], "a", from)

	must(t, o.Nodes["b"].Stop()) // so that nothing else says whose the role is
	must(t, a.Crash())
	time.Sleep(5 * interval)
	must(t, a.Start())
	for _, text := range []string{"not adopted", "service is stopped", "service is being started", "ready: every service runs"} {
		logged(t, a, text)
	}
	var order []string
	for _, line := range a.Process.Lines() {
		for _, text := range []string{"service is stopped", "service is being started"} {
			if strings.Contains(line.Text, text) {
				order = append(order, text)
			}
		}
	}
	if len(order) != 2 || order[0] != "service is stopped" {
		t.Errorf("%q", order)
	}
}

// A process that is stopped for longer than a hung loop may take is no hung loop.
func TestWatchdog_StoppedProcess(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a := add(t, s, "a", site.Baton, c)
	must(t, a.Start())
	settled(t, s, "a", c)
	must(t, a.Process.Signal(unix.SIGSTOP))
	time.Sleep(6 * time.Second)
	must(t, a.Process.Signal(unix.SIGCONT))
	_, err := s.AwaitAdvert("a", time.Now().Add(time.Second), patience, nil)
	must(t, err)
	if strings.Contains(a.Process.Output(), "hangs") {
		t.Error("a process that was stopped was taken for one that hangs")
	}
	must(t, a.Stop())
}

// release removes what a dead daemon has left, and leaves a living one alone.
func TestRelease(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*site.Config){
		"plain": func(c *site.Config) {
			c.Routers[0].More = "routes: [{to: 192.0.2.0/24, via: 10.99.0.200}]\nrules: [{from: 192.0.2.0/24, table: 99, priority: 100}]"
		},
		"virtual MAC": func(c *site.Config) { c.Routers[0].VirtualMAC = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			vips := site.Addresses(2, false)
			c := site.Pair(interval, vips...)
			change(&c)
			a := add(t, s, "a", site.Baton, c)
			state := func() string {
				out, err := a.Host.Run(patience, "sh", "-c", "ip -o address; ip -o link; ip route show table all; ip rule")
				must(t, err)
				var lines []string
				for _, line := range strings.Split(out, "\n") { // counters and times differ
					lines = append(lines, strings.Join(strings.Fields(line), " "))
				}
				return strings.Join(lines, "\n")
			}
			before := state()
			must(t, a.Start())
			settled(t, s, "a", c)
			release := func() (int, string) {
				p, err := a.Host.Start([]string{batonBinary, "release", "--runtime-dir", runtimeDir(a)}, lab.StartOptions{})
				must(t, err)
				status, err := p.Wait(patience)
				must(t, err)
				return status, p.Output()
			}
			if status, out := release(); status != 1 || !strings.Contains(out, fmt.Sprint("PID ", a.Process.PID)) {
				t.Errorf("beside a living daemon: exit %d: %s", status, out)
			}
			must(t, a.Crash())
			must(t, os.Remove(filepath.Join(a.Dir, "baton.yaml")))
			status, out := release()
			if status != 0 || !strings.Contains(out, "removed address "+vips[0]) {
				t.Errorf("exit %d: %s", status, out)
			}
			t.Log(out)
			if after := state(); after != before {
				t.Errorf("left:\n%s\nbefore the daemon:\n%s", after, before)
			}
			if status, out := release(); status != 0 || out != "nothing was left\n" {
				t.Errorf("again: exit %d: %s", status, out)
			}
		})
	}
}
