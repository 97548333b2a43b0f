package test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/test/frame"
	"baton/test/site"
)

// healthy is the file that the tests' check looks for; a host's /run is its own.
const healthy = "/run/healthy"

// checked is the usual pair with a check that has an effect on the router; 0 is FAULT.
func checked(weight int) site.Config {
	c := site.Pair(interval, site.Addresses(1, false)...)
	c.Checks = []site.Check{{Name: "chk", Command: "/usr/bin/test -e " + healthy, Interval: 200 * time.Millisecond, Rise: 1, Fall: 1}}
	c.Routers[0].Track = []site.Effect{{Check: "chk", Weight: weight}}
	return c
}

func setHealthy(t *testing.T, s *site.Site, node string, good bool) {
	t.Helper()
	file := s.Ports[node].Host.Path(healthy)
	if good {
		must(t, os.WriteFile(file, nil, 0o644))
		return
	}
	must(t, os.Remove(file))
}

// startChecked starts a pair whose checks pass.
func startChecked(t *testing.T, kindA, kindB site.Kind, c site.Config) *site.Site {
	t.Helper()
	s := newSite(t)
	setHealthy(t, s, "a", true)
	setHealthy(t, s, "b", true)
	startPair(t, s, kindA, kindB, c)
	return s
}

// A master whose weight falls behind yields at once, whatever the peer is and does.
func TestWeightYields(t *testing.T) {
	t.Parallel()
	for _, peer := range []site.Kind{site.Baton, site.Keepalived} {
		for _, noPreempt := range []bool{false, true} {
			t.Run(fmt.Sprintf("to %v, no preempt %v", peer, noPreempt), func(t *testing.T) {
				t.Parallel()
				c := checked(-60)
				c.Routers[0].NoPreempt = noPreempt
				if peer == site.Keepalived {
					// A yield leaves the peer less than half an interval, and a keepalived that is not
					// scheduled in time is heard too late.
					c.Routers[0].Interval = 500 * time.Millisecond
				}
				vip := c.Routers[0].Addresses[0]
				s := startChecked(t, site.Baton, peer, c)
				end := asking(t, s, vip, 0)
				failed := time.Now()
				setHealthy(t, s, "a", false)
				zero, err := s.AwaitAdvert("a", failed, patience, func(a *frame.Advert) bool { return a.Priority == 0 })
				must(t, err)
				first, err := s.AwaitAdvert("b", failed, patience, nil)
				must(t, err)
				t.Logf("b advertised %v after the priority 0", first.At.Sub(zero.At))
				settled(t, s, "b", c)
				if n := lost(t, end); n != 0 {
					t.Errorf("%d lost", n)
				}
				heldThroughout(t, s, vip, failed)

				back := time.Now()
				setHealthy(t, s, "a", true)
				if noPreempt {
					time.Sleep(5 * c.Routers[0].Interval)
					unmoved(t, s, vip, "b", back)
				} else {
					settled(t, s, "a", c)
				}
			})
		}
	}
}

func TestWeightTooSmallToYield(t *testing.T) {
	t.Parallel()
	c := checked(-5)
	vip := c.Routers[0].Addresses[0]
	s := startChecked(t, site.Baton, site.Baton, c)
	failed := time.Now()
	setHealthy(t, s, "a", false)
	_, err := s.AwaitAdvert("a", failed, patience, func(a *frame.Advert) bool { return a.Priority == 195 })
	must(t, err)
	time.Sleep(10 * interval)
	unmoved(t, s, vip, "a", failed)
	for _, p := range s.Wire("a").Since(failed) {
		if p.Sent && p.Advert != nil && p.Advert.Priority == 0 {
			t.Errorf("yielded to nobody: %v", p)
		}
	}
	setHealthy(t, s, "a", true)
	_, err = s.AwaitAdvert("a", time.Now(), patience, func(a *frame.Advert) bool { return a.Priority == 200 })
	must(t, err)
}

func TestFaultAndRecovery(t *testing.T) {
	t.Parallel()
	for _, peer := range []site.Kind{site.Baton, site.Keepalived} {
		t.Run("peer "+peer.String(), func(t *testing.T) {
			t.Parallel()
			c := checked(0)
			vip := c.Routers[0].Addresses[0]
			s := startChecked(t, site.Baton, peer, c)
			end := asking(t, s, vip, 0)
			failed := time.Now()
			setHealthy(t, s, "a", false)
			change, err := s.Nodes["a"].AwaitRole("web", "FAULT", failed, patience)
			must(t, err)
			if !strings.Contains(change.Reason, "chk") {
				t.Errorf("the reason %q does not name the check", change.Reason)
			}
			settled(t, s, "b", c)
			if n := lost(t, end); n != 0 {
				t.Errorf("%d lost", n)
			}
			setHealthy(t, s, "a", true)
			settled(t, s, "a", c)
		})
	}
}

// What can be asked of a master alone counts after its grace, and then keeps the
// node out although nothing fails on it any more.
func TestMasterOnlyCheck(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := checked(0)
	a, b := add(t, s, "a", site.Baton, c), add(t, s, "b", site.Baton, c)
	const grace = 800 * time.Millisecond
	for _, n := range []*site.Node{a, b} {
		text := s.BatonYAML(c)
		effect := strings.Replace(text, "chk: fault", "chk: {effect: fault, when: master, grace: "+grace.String()+"}", 1)
		if effect == text {
			t.Fatalf("no effect to change in\n%s", text)
		}
		must(t, os.WriteFile(filepath.Join(n.Dir, "baton.yaml"), []byte(effect), 0o644))
	}
	setHealthy(t, s, "b", true)
	must(t, a.Start())
	master, err := a.AwaitRole("web", "MASTER", time.Time{}, patience)
	must(t, err)
	must(t, b.Start())
	fault, err := a.AwaitRole("web", "FAULT", master.At, patience)
	must(t, err)
	if d := fault.At.Sub(master.At); d < grace-readLate || !strings.Contains(fault.Reason, "chk") {
		t.Errorf("FAULT after %v because of %q; the grace is %v", d, fault.Reason, grace)
	}
	settled(t, s, "b", c)
	setHealthy(t, s, "a", true)
	from := time.Now()
	time.Sleep(10 * interval)
	unmoved(t, s, c.Routers[0].Addresses[0], "b", from)
	if role := a.Role("web"); role != "FAULT" {
		t.Errorf("a is %s, want FAULT for retry_after", role)
	}
}

// A router waits until its check has answered, and does not hold the address when the answer is no.
func TestFailingFromTheStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := checked(0)
	setHealthy(t, s, "b", true)
	a := add(t, s, "a", site.Baton, c)
	add(t, s, "b", site.Baton, c)
	begin := time.Now()
	must(t, s.StartAll())
	settled(t, s, "b", c)
	_, err := a.AwaitRole("web", "FAULT", time.Time{}, patience)
	must(t, err)
	unmoved(t, s, c.Routers[0].Addresses[0], "b", begin)
}

func TestHAProxy(t *testing.T) {
	t.Parallel()
	need(t, "haproxy")
	s := newSite(t)
	vip := site.Addresses(1, false)[0]
	c := site.Pair(interval, vip)
	c.Checks = []site.Check{{
		Name: "haproxy", Interval: 100 * time.Millisecond, Rise: 2, Fall: 1,
		Socket: map[string]string{"a": site.HAProxySocket, "b": site.HAProxySocket},
	}}
	c.Routers[0].Track = []site.Effect{{Check: "haproxy"}}
	a, b := add(t, s, "a", site.Baton, c), add(t, s, "b", site.Baton, c)
	onA, err := s.StartHAProxy(a)
	must(t, err)
	_, err = s.StartHAProxy(b)
	must(t, err)
	must(t, s.StartAll())
	settled(t, s, "a", c)

	end := asking(t, s, vip, 80)
	killed := time.Now()
	must(t, onA.Kill())
	change, err := a.AwaitRole("web", "FAULT", killed, patience)
	must(t, err)
	if !strings.Contains(change.Reason, "haproxy") {
		t.Errorf("the reason %q does not name the check", change.Reason)
	}
	settled(t, s, "b", c)
	// Between the kill and the check, and until b has the address, nobody can answer.
	if n := lost(t, end); n == 0 || n > 2000 {
		t.Errorf("%d lost", n)
	}
	end = asking(t, s, vip, 80)
	must(t, os.Remove(a.Host.Path(site.HAProxySocket)))
	_, err = s.StartHAProxy(a)
	must(t, err)
	settled(t, s, "a", c)
	if n := lost(t, end); n != 0 {
		t.Errorf("%d lost while HAProxy came back", n)
	}
}

// Hooks get keepalived's arguments, in the order of the changes.
func TestHooks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	c.Routers[0].Notify = "{any: /run/hook, master: /run/hook own}"
	record := "#!/bin/sh\necho \"$* state=$BATON_STATE vrid=$BATON_VRID\" >>/run/hooked\n"
	must(t, os.WriteFile(s.Ports["a"].Host.Path("/run/hook"), []byte(record), 0o755))
	must(t, os.WriteFile(s.Ports["b"].Host.Path("/run/hook"), []byte(record), 0o755))
	a, _ := startPair(t, s, site.Baton, site.Baton, c)
	hooked := func() string {
		text, err := os.ReadFile(a.Host.Path("/run/hooked"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return string(text)
	}
	// A hook that has not begun when the next state comes is left out.
	for deadline := time.Now().Add(patience); !strings.Contains(hooked(), "INSTANCE web MASTER"); time.Sleep(interval / 10) {
		if time.Now().After(deadline) {
			t.Fatalf("no hook for MASTER: %s", hooked())
		}
	}
	must(t, a.Stop())
	text := hooked()
	got := strings.Split(strings.TrimSpace(text), "\n")
	// The newest state wins: BACKUP may have passed before its hook began.
	got = slices.DeleteFunc(got, func(l string) bool { return l == "INSTANCE web BACKUP 200 state=BACKUP vrid=51" })
	want := []string{
		"own state=MASTER vrid=51",
		"INSTANCE web MASTER 200 state=MASTER vrid=51",
		"INSTANCE web STOP 200 state=STOP vrid=51",
	}
	if !slices.Equal(got, want) {
		t.Errorf("hooks:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A hook that hangs delays neither the protocol nor the end.
func TestHookHangs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vip := site.Addresses(1, false)[0]
	c := site.Pair(interval, vip)
	c.Routers[0].Notify = "{any: {command: /usr/bin/sleep 600, timeout: 1s}}"
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	cut := time.Now()
	must(t, a.Port.Cut())
	_, err := b.AwaitRole("web", "MASTER", cut, patience)
	must(t, err)
	must(t, a.Port.Mend())
	settled(t, s, "a", c)
	end := asking(t, s, vip, 0)
	must(t, a.Stop())
	settled(t, s, "b", c)
	if n := lost(t, end); n != 0 {
		t.Errorf("%d lost", n)
	}
	for _, n := range []*site.Node{a, b} {
		if n == b {
			must(t, n.Stop())
		}
		if left := running(t, n); len(left) != 0 {
			t.Errorf("%s left processes behind: %v", n.Name, left)
		}
	}
}

// running returns the command lines of the processes in a node's network.
func running(t *testing.T, n *site.Node) []string {
	t.Helper()
	var list []string
	dirs, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	var want, got unix.Stat_t
	must(t, n.Host.Do(func() error { return unix.Stat("/proc/thread-self/ns/net", &want) }))
	for _, dir := range dirs {
		if err := unix.Stat(dir+"/ns/net", &got); err != nil || got.Ino != want.Ino {
			continue
		}
		line, err := os.ReadFile(dir + "/cmdline")
		if err == nil && len(line) > 0 {
			list = append(list, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return list
}
