package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/internal/lab"
	"baton/test/site"
)

// policies of sched(7), as field 41 of /proc/PID/stat shows them.
const (
	schedOther = 0
	schedRR    = 2
)

// policy returns the scheduling policy in the text of a stat file.
func policy(t *testing.T, stat string) int {
	t.Helper()
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:]) // from field 3 on
	if len(fields) < 39 {
		t.Fatalf("stat has %d fields after the name: %q", len(fields), stat)
	}
	p, err := strconv.Atoi(fields[41-3])
	must(t, err)
	return p
}

// Every thread of the daemon is real-time, and nothing that it starts is.
func TestRealtime(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 || os.Getenv("BATON_LAB_ENTERED") != "" {
		if os.Getenv("CI") != "" {
			t.Fatal("real-time scheduling needs root")
		}
		t.Skip("real-time scheduling needs root")
	}
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	c.Routers[0].Notify = "{master: /run/hook}"
	a := add(t, s, "a", site.Baton, c)
	script := "#!/bin/sh\nsleep 0.2\ncat /proc/$$/stat >/run/stat.new\nmv /run/stat.new /run/stat\n"
	must(t, os.WriteFile(a.Host.Path("/run/hook"), []byte(script), 0o755))
	must(t, a.Start())
	settled(t, s, "a", c)

	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", a.Process.PID))
	must(t, err)
	if len(threads) < 2 {
		t.Fatalf("%d threads", len(threads))
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		must(t, err)
		if got := policy(t, string(stat)); got != schedRR {
			t.Errorf("%s: policy %d, want %d", path, got, schedRR)
		}
	}
	var stat []byte
	for deadline := time.Now().Add(patience); ; time.Sleep(interval / 10) {
		if stat, err = os.ReadFile(a.Host.Path("/run/stat")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if got := policy(t, string(stat)); got != schedOther {
		t.Errorf("a hook runs with policy %d, want %d", got, schedOther)
	}
}

// Without a capability that it needs the daemon names it and sends nothing.
func TestMissingCapability(t *testing.T) {
	t.Parallel()
	need(t, "setpriv")
	for flag, name := range map[string]string{"-net_raw": "CAP_NET_RAW", "-net_admin": "CAP_NET_ADMIN"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			a := add(t, s, "a", site.Baton, site.Pair(interval, site.Addresses(1, false)...))
			p, err := a.Host.Start([]string{
				"setpriv", "--bounding-set", flag, "--inh-caps", flag,
				batonBinary, "run", "-c", filepath.Join(a.Dir, "baton.yaml"), "--node", "a", "--runtime-dir", filepath.Join(a.Dir, "run"),
			}, lab.StartOptions{})
			must(t, err)
			status, err := p.Wait(patience)
			must(t, err)
			if out := p.Output(); status != 1 || strings.Count(out, "CAP_") != 1 || !strings.Contains(out, name+" is missing") {
				t.Errorf("exit %d, want 1 and %s alone:\n%s", status, name, out)
			}
			for _, p := range s.Wire("a").Packets() {
				if p.Sent && p.Advert != nil {
					t.Errorf("sent without the capability: %v", p)
				}
			}
		})
	}
}

// The daemon listens to nothing but VRRP, ARP and neighbour discovery.
func TestOpensNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a := add(t, s, "a", site.Baton, c)
	must(t, a.Start())
	settled(t, s, "a", c)
	read := func(name string) []string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", a.Process.PID, name))
		must(t, err)
		return strings.Split(strings.TrimSpace(string(text)), "\n")[1:] // without the heading
	}
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "icmp", "icmp6"} {
		if got := read(name); len(got) != 0 {
			t.Errorf("%s sockets: %q", name, got)
		}
	}
	raw := read("raw")
	for _, line := range raw {
		if local := strings.Fields(line)[1]; !strings.HasSuffix(local, ":0070") { // the port is the protocol, 112
			t.Errorf("raw socket of another protocol: %q", line)
		}
	}
	if len(raw) == 0 {
		t.Error("no raw socket at all: the test looks in the wrong place")
	}
}

// A service manager is told when the daemon is ready and when it stops, and
// what the daemon starts cannot speak for it.
func TestReadiness(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	c.Routers[0].Notify = "{stop: /run/hook}"
	a := add(t, s, "a", site.Baton, c)
	must(t, os.WriteFile(a.Host.Path("/run/hook"), []byte("#!/bin/sh\nenv >/run/env\n"), 0o755))
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	defer manager.Close()
	expect := func(want string) {
		t.Helper()
		must(t, manager.SetReadDeadline(time.Now().Add(patience)))
		buf := make([]byte, 256)
		n, err := manager.Read(buf)
		must(t, err)
		if got := string(buf[:n]); got != want {
			t.Fatalf("told %q, want %q", got, want)
		}
	}
	must(t, a.StartWith("NOTIFY_SOCKET="+path))
	expect("READY=1")
	settled(t, s, "a", c)
	must(t, a.Process.Signal(syscall.SIGTERM))
	expect("STOPPING=1")
	_, err = a.Process.Wait(site.StopTimeout)
	must(t, err)
	env, err := os.ReadFile(a.Host.Path("/run/env"))
	must(t, err)
	if strings.Contains(string(env), "NOTIFY_SOCKET") || !strings.Contains(string(env), "BATON_STATE=STOP") {
		t.Errorf("environment of a hook:\n%s", env)
	}
}

// The demo judges itself; here it is judged that it does, and that it leaves
// nothing behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	l, err := lab.New("demo test")
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	h, err := l.Host("machine")
	must(t, err)
	run := func(t *testing.T, signal syscall.Signal, after string) (int, *lab.Process) {
		dir := t.TempDir()
		p, err := h.Start([]string{batonBinary, "demo"}, lab.StartOptions{Env: []string{"TMPDIR=" + dir}})
		must(t, err)
		if after != "" {
			_, _, err = p.WaitLine(0, patience, func(line string) bool { return strings.Contains(line, after) })
			must(t, err)
			must(t, p.Signal(signal))
		}
		status, err := p.Wait(60 * time.Second)
		must(t, err)
		left, err := os.ReadDir(dir)
		must(t, err)
		if len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		return status, p
	}
	t.Run("to its end", func(t *testing.T) {
		status, p := run(t, 0, "")
		text := p.Output()
		if status != 0 {
			t.Fatalf("exit %d:\n%s", status, text)
		}
		for _, want := range []string{
			"0.0s  start a, b", "6.0s  stop HAProxy on a", "14.0s  cut the link of a", "two masters for", "21.0s  stop baton on a",
			"The address was where it should be at each step.",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("does not say %q:\n%s", want, text)
			}
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			if status, p := run(t, signal, "stop HAProxy on a"); status == 0 {
				t.Errorf("%v: exit 0:\n%s", signal, p.Output())
			}
		}
	})
}
