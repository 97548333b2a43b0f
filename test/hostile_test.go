package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
	"baton/test/site"
)

// A host on which everything goes wrong but the network. None of it may move a role or cost an answer.

// besieged is a pair with checks that are only reported, and a client that asks the address all the time.
type besieged struct {
	*site.Site
	t    *testing.T
	c    site.Config
	a, b *site.Node
	from time.Time
	end  func() (int, error)
	told int // changes of role until it began
}

// besiege starts it. Each check is of nodes' keys, as a flow mapping has them; env is more for the environment of a and b.
func besiege(t *testing.T, s *site.Site, c site.Config, env map[string]string) *besieged {
	t.Helper()
	c.Routers[0].NoPreempt = true
	h := &besieged{Site: s, t: t, c: c}
	h.a, h.b = add(t, s, "a", site.Baton, c), add(t, s, "b", site.Baton, c)
	must(t, h.a.StartWith(env["a"]))
	_, err := h.a.AwaitRole("web", "MASTER", time.Time{}, patience)
	must(t, err)
	must(t, h.b.StartWith(env["b"]))
	settled(t, s, "a", c)
	h.told = spoken(t, h.a, h.b)
	h.end = asking(t, s, c.Routers[0].Addresses[0], 0)
	h.from = time.Now()
	return h
}

// stood ends it, and fails the test when anything moved or was lost.
func (h *besieged) stood() {
	h.t.Helper()
	if n := lost(h.t, h.end); n != 0 {
		h.t.Errorf("%d lost", n)
	}
	unmoved(h.t, h.Site, h.c.Routers[0].Addresses[0], "a", h.from)
	if n := len(h.a.Changes()) + len(h.b.Changes()); n != h.told {
		h.t.Errorf("%d changes of role, want %d", n, h.told)
	}
}

// reported are checks that change nothing: name and keys.
func reported(c *site.Config, checks map[string]string) {
	track := []string{}
	for name, keys := range checks {
		c.Checks = append(c.Checks, site.Check{Name: name, Keys: keys, Interval: time.Second, Rise: 1, Fall: 1})
		track = append(track, name+": report")
	}
	c.Routers[0].More += "track: {" + strings.Join(track, ", ") + "}\n"
}

// verdict is what `baton checks` says of one.
type verdict struct{ Name, Verdict, Text, Hint string }

// verdicts waits until each of the checks of a node fails or passes as wanted, and has the words that are wanted of it.
func verdicts(t *testing.T, n *site.Node, want string, words map[string]string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		p := batonOn(t, n, "checks", "--json")
		status, err := p.Wait(patience)
		must(t, err)
		var all []verdict
		if err := json.Unmarshal([]byte(p.Output()), &all); err != nil || status != 0 {
			t.Fatalf("baton checks: exit status %d, %v:\n%s", status, err, p.Output())
		}
		all = slices.DeleteFunc(all, func(v verdict) bool {
			w, asked := words[v.Name]
			return !asked || v.Verdict == want && strings.Contains(v.Text, w)
		})
		if len(all) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d checks are not %s with what is wanted, such as %+v", len(all), want, all[0])
		}
	}
}

// A hundred commands that hang and do not listen to SIGTERM: each fails, and is gone after its time.
func TestHostile_HungCommands(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"a", "b"} {
		must(t, os.WriteFile(s.Ports[name].Host.Path("/run/hang"), []byte("#!/bin/sh\ntrap '' TERM\nexec sleep 3600\n"), 0o755))
	}
	c := site.Pair(interval, site.Addresses(1, false)...)
	checks, want := map[string]string{}, map[string]string{}
	for i := range 100 {
		name := fmt.Sprintf("hangs-%d", i)
		checks[name], want[name] = "type: command, command: {a: /run/hang, b: 'true'}", "timed out after 1s"
	}
	reported(&c, checks)
	h := besiege(t, s, c, nil)
	verdicts(t, h.a, "fail", want)
	verdicts(t, h.b, "pass", wordless(want))
	time.Sleep(2 * time.Second) // further runs
	h.stood()
	must(t, h.a.Stop())
	if left := running(t, h.a); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// wordless wants the same checks, and no words of them.
func wordless(want map[string]string) map[string]string {
	any := map[string]string{}
	for name := range want {
		any[name] = ""
	}
	return any
}

// Servers that never end, or never begin: each fails at its time, in words that tell them apart.
func TestHostile_Servers(t *testing.T) {
	s := newSite(t)
	serveBadly(t, s)
	silent := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", silent) // accepts, since the kernel does, and says nothing
	must(t, err)
	defer l.Close()
	own := clientAddress(false).String()
	c := site.Pair(interval, site.Addresses(1, false)...)
	reported(&c, map[string]string{
		"endless": "type: http, url: 'http://" + own + ":8081/', match: ready",
		"forever": "type: http, url: 'http://" + own + ":8081/'", // the status is enough
		"silent":  "type: http, url: 'http://" + own + ":8082/'",
		"drips":   "type: http, url: 'http://" + own + ":8083/'",
		"chatty":  "type: tcp, address: '" + own + ":8081', send: \"GET / HTTP/1.0\\r\\n\\r\\n\", expect: ready",
		"unit":    "type: unit, unit: osc.service",
	})
	h := besiege(t, s, c, map[string]string{
		"a": "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/no-such-bus",
		"b": "DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + silent,
	})
	for _, n := range []*site.Node{h.a, h.b} {
		verdicts(t, n, "fail", map[string]string{"endless": "ready", "silent": "does not answer", "drips": "does not answer", "chatty": "ready"})
		verdicts(t, n, "pass", map[string]string{"forever": "200"})
	}
	verdicts(t, h.a, "fail", map[string]string{"unit": "/run/no-such-bus"})
	verdicts(t, h.b, "fail", map[string]string{"unit": "bus: it does not answer"})
	h.stood()
}

// serveBadly has three ports of the client serve: a body without end, nothing at all, a header without end.
func serveBadly(t *testing.T, s *site.Site) {
	t.Helper()
	endless, drips := openPort(t, s, 8081), openPort(t, s, 8083)
	openPort(t, s, 8082) // nobody accepts what the kernel does
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for block := make([]byte, 64<<10); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})}
	go func() { _ = server.Serve(endless) }()
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			conn, err := drips.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				line := "HTTP/1.1 200 OK\r\n"
				for i := 0; ; i++ {
					if _, err := conn.Write([]byte(line)); err != nil {
						return
					}
					line = fmt.Sprintf("X-%d: drip\r\n", i)
					time.Sleep(50 * time.Millisecond)
				}
			}()
		}
	}()
}

// A full process table: commands cannot be run, and say so. What moves is what a check that needs none decides.
func TestHostile_ProcessTable(t *testing.T) {
	s := newSite(t)
	c := watched()
	c.Routers[0].Track = nil
	c.Routers[0].More = "notify: {fault: {command: 'true', user: nobody}, backup: {command: 'true', user: nobody}}\n"
	checks, want := map[string]string{}, map[string]string{}
	for i := range 20 {
		name := fmt.Sprintf("command-%d", i)
		checks[name], want[name] = "type: command, command: 'true', user: nobody", "process table"
	}
	reported(&c, checks)
	c.Routers[0].More = strings.Replace(c.Routers[0].More, "track: {", "track: {chk: fault, ", 1)
	setHealthy(t, s, "a", true)
	setHealthy(t, s, "b", true)
	h := besiege(t, s, c, map[string]string{"a": "GOMAXPROCS=64"}) // a large host, which takes more threads as it has more to do
	must(t, os.Chmod(filepath.Dir(filepath.Dir(h.a.Dir)), 0o755))  // nobody runs in the folder of the configuration
	verdicts(t, h.a, "pass", wordless(want))
	free := fillTable(t, h.a)
	var clients []*lab.Process
	for range 40 {
		clients = append(clients, batonOn(t, h.a, "checks"))
	}
	for _, p := range clients {
		said(t, p, 0, "command-0")
	}
	verdicts(t, h.a, "fail", want)
	time.Sleep(2 * time.Second) // further runs
	if n := len(h.a.Changes()) + len(h.b.Changes()); n != h.told {
		t.Errorf("%d changes of role, want %d", n, h.told)
	}

	logged := func(from time.Time, words ...string) {
		t.Helper()
		lines := h.a.Process.Lines()
		first := slices.IndexFunc(lines, func(l lab.Line) bool { return l.At.After(from) })
		_, _, err := h.a.Process.WaitLine(max(0, first), patience, func(line string) bool {
			return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
		})
		if err != nil {
			t.Errorf("%q: %v", words, err)
		}
	}
	failed := time.Now()
	setHealthy(t, s, "a", false)
	settled(t, s, "b", c)
	logged(failed, `"hook failed"`, `"state":"FAULT"`, "process table")

	free()
	verdicts(t, h.a, "pass", wordless(want))
	mended := time.Now()
	setHealthy(t, s, "a", true)
	logged(mended, `"hook ran"`, `"state":"BACKUP"`)
	if n := lost(t, h.end); n != 0 {
		t.Errorf("%d lost", n)
	}
}

// fillTable leaves a daemon no room for another process: by a control group of its own where one can be made, so that
// not even a thread can be, else by the limit of the user nobody. free ends that.
func fillTable(t *testing.T, n *site.Node) (free func()) {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		dir := filepath.Join(root, fmt.Sprintf("baton-test-%d", n.Process.PID))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			_ = n.Process.Kill()
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		})
		limit := filepath.Join(dir, "pids.max")
		if os.WriteFile(limit, []byte("0"), 0o644) != nil {
			continue
		}
		if os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(n.Process.PID)), 0o644) != nil {
			continue
		}
		t.Logf("a control group: %s", dir)
		return func() { must(t, os.WriteFile(limit, []byte("max"), 0o644)) }
	}
	need(t, "setpriv")
	_, err := n.Host.Start([]string{"setpriv", "--reuid", "nobody", "--clear-groups", "sleep", "600"}, lab.StartOptions{})
	must(t, err)
	var old unix.Rlimit
	must(t, unix.Prlimit(n.Process.PID, unix.RLIMIT_NPROC, nil, &old))
	must(t, unix.Prlimit(n.Process.PID, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: 0, Max: old.Max}, nil))
	return func() { must(t, unix.Prlimit(n.Process.PID, unix.RLIMIT_NPROC, &old, nil)) }
}
