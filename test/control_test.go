package test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
	"baton/test/site"
)

// batonOn starts baton as an operator does, on the host of a node and about its daemon.
func batonOn(t *testing.T, n *site.Node, args ...string) *lab.Process {
	t.Helper()
	p, err := n.Host.Start(append([]string{batonBinary}, append(args, "--runtime-dir", filepath.Join(n.Dir, "run"))...), lab.StartOptions{})
	must(t, err)
	return p
}

// said waits for what such a command says, and its exit status.
func said(t *testing.T, p *lab.Process, status int, words string) {
	t.Helper()
	got, err := p.Wait(patience)
	must(t, err)
	if got != status || !strings.Contains(p.Output(), words) {
		t.Errorf("exit status %d, want %d and %q:\n%s", got, status, words, p.Output())
	}
}

func tell(t *testing.T, n *site.Node, status int, words string, args ...string) {
	t.Helper()
	said(t, batonOn(t, n, args...), status, words)
}

// stateFile is what the state file of web says; empty where there is none.
func stateFile(t *testing.T, n *site.Node) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.Dir, "run", "state", "web"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// awaitStateFile waits until it says that.
func awaitStateFile(t *testing.T, n *site.Node, want string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		got := stateFile(t, n)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the state file of %s says %q, want %q", n.Name, got, want)
		}
	}
}

// A start script waits from before the daemon runs until what it needs is there; a crash meanwhile does not end that.
func TestControl_Wait(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	vip := site.Address(c.Routers[0].Addresses[0])
	a, b := add(t, s, "a", site.Baton, c), add(t, s, "b", site.Baton, c)
	tell(t, a, 2, "no baton runs here", "wait", "web")
	tell(t, a, 2, "no baton runs here", "wait", "web", "--timeout", "300ms")
	ready := batonOn(t, a, "wait", "web", "--ready", "--timeout", "20s")
	fault := batonOn(t, a, "wait", "web", "--state", "fault", "--timeout", "20s")
	must(t, a.Start())
	said(t, ready, 0, "web is MASTER and ready\n")
	if held, err := a.Host.Holds(site.Interface, vip); err != nil || !held {
		t.Errorf("ready, and the address is on: %v, %v", held, err)
	}
	tell(t, a, 1, "after 100ms web is MASTER and ready, not BACKUP", "wait", "web", "--state", "backup", "--timeout", "100ms")
	tell(t, a, 1, `did you mean "web"?`, "wait", "wbe", "--timeout", "100ms")
	tell(t, a, 64, "--state: there is no state", "wait", "web", "--state", "active")

	must(t, b.Start())
	tell(t, b, 0, "web is BACKUP", "wait", "web", "--state", "backup", "--timeout", "20s")
	must(t, a.Crash())
	must(t, a.Start())
	tell(t, a, 0, "web is MASTER and ready\n", "wait", "web", "--ready", "--timeout", "20s")
	lines := len(a.Process.Lines())
	must(t, a.Port.Down())
	said(t, fault, 0, "web is FAULT")
	must(t, a.Port.Up())
	_, _, err := a.Process.WaitLine(lines, patience, func(line string) bool { return strings.Contains(line, `"to":"MASTER"`) })
	must(t, err)
}

// The state file has the role, and is gone when the daemon is, however it went.
func TestControl_StateFile(t *testing.T) {
	t.Parallel()
	c := checked(0)
	s := startChecked(t, site.Baton, site.Baton, c)
	a, b := s.Nodes["a"], s.Nodes["b"]
	awaitStateFile(t, a, "MASTER\n")
	awaitStateFile(t, b, "BACKUP\n")
	setHealthy(t, s, "a", false)
	awaitStateFile(t, a, "FAULT\n")
	awaitStateFile(t, b, "MASTER\n")

	must(t, b.Crash())
	awaitStateFile(t, b, "")
	must(t, b.Start())
	awaitStateFile(t, b, "MASTER\n")
	must(t, b.Stop())
	if got := stateFile(t, b); got != "" {
		t.Errorf("the state file says %q after an orderly stop", got)
	}
	if left, err := filepath.Glob(filepath.Join(b.Dir, "run", "state*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// An operator runs a check, and forces one: the role moves as with a real failure, and the end of a force moves nothing
// that should stay.
func TestControl_Checks(t *testing.T) {
	t.Parallel()
	c := checked(0)
	c.Routers[0].NoPreempt = true
	vip := c.Routers[0].Addresses[0]
	s := newSite(t)
	setHealthy(t, s, "a", true)
	setHealthy(t, s, "b", true)
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	spoken(t, a, b)

	tell(t, a, 0, "chk passes", "checks", "run", "chk")
	setHealthy(t, s, "b", false)
	tell(t, b, 1, "chk fails", "checks", "run", "chk")
	setHealthy(t, s, "b", true)
	tell(t, b, 0, "chk passes", "checks", "run", "chk")
	_, err := b.AwaitRole("web", "BACKUP", time.Now().Add(-time.Second), patience)
	must(t, err)

	for status, args := range map[int][]string{
		1:  {"checks", "force", "chx", "fail", "--for", "1m", "--reason", "drill"},
		64: {"checks", "force", "chk", "fail", "--for", "1m"},
	} {
		tell(t, a, status, "baton: ", args...)
	}
	tell(t, a, 64, "unknown flag", "checks", "--force")

	end := asking(t, s, vip, 0)
	forced := time.Now()
	tell(t, a, 0, "chk is forced to fail", "checks", "force", "chk", "fail", "--for", "1m", "--reason", "drill, case 2")
	change, err := a.AwaitRole("web", "FAULT", forced, patience)
	must(t, err)
	if !strings.Contains(change.Reason, "drill, case 2") {
		t.Errorf("the reason %q does not say why it was forced", change.Reason)
	}
	settled(t, s, "b", c)
	tell(t, a, 0, "by root: drill, case 2", "checks")
	tell(t, a, 0, "chk is not forced any more", "checks", "force", "chk", "--clear")
	ended := time.Now()
	_, err = a.AwaitRole("web", "BACKUP", forced, patience)
	must(t, err)

	// A force that nobody ends does so itself.
	again := time.Now()
	tell(t, b, 0, "chk is forced to fail", "checks", "force", "chk", "fail", "--for", "1s", "--reason", "drill")
	unmoved(t, s, vip, "b", ended)
	settled(t, s, "a", c)
	_, err = b.AwaitRole("web", "BACKUP", again, patience)
	must(t, err)
	ended = time.Now()
	time.Sleep(5 * interval)
	unmoved(t, s, vip, "a", ended)
	if n := lost(t, end); n != 0 {
		t.Errorf("%d lost", n)
	}
	must(t, a.Stop())
	tell(t, a, 2, "no baton runs here", "checks")
}

// The last of three nodes serves when an operator says so: the way past a majority that is lost for good.
func TestControl_PastALostMajority(t *testing.T) {
	t.Parallel()
	s, c := majority(t, []string{"a", "b", "c"}, "of: nodes", "")
	a := s.Nodes["a"]
	lost := time.Now()
	for _, name := range []string{"b", "c"} {
		must(t, s.Ports[name].Cut())
	}
	_, err := a.AwaitRole("web", "FAULT", lost, patience)
	must(t, err)
	forced := time.Now()
	tell(t, a, 0, "majority is forced to pass", "checks", "force", "majority", "pass", "--for", "1h", "--reason", "b and c have burnt down")
	_, err = a.AwaitRole("web", "MASTER", forced, patience)
	must(t, err)
	tell(t, a, 0, "web is MASTER and ready", "wait", "web", "--ready", "--timeout", "20s")
	if held, err := a.Host.Holds(site.Interface, site.Address(c.Routers[0].Addresses[0])); err != nil || !held {
		t.Errorf("the address is on: %v, %v", held, err)
	}
}

// Nobody but root may connect, and who connects and hangs holds nothing up: no other client, and not the end.
func TestControl_Clients(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	spoken(t, a, b)
	socket := filepath.Join(a.Dir, "run", "control.sock")
	info, err := os.Stat(socket)
	must(t, err)
	want := fs.ModeSocket | 0o600
	if _, err := user.LookupGroup("baton"); err == nil {
		want |= 0o060 // it may read where it exists
	}
	if got := info.Mode(); got != want {
		t.Errorf("the socket's mode is %v, want %v", got, want)
	}
	if os.Geteuid() == 0 && os.Getenv("BATON_LAB_ENTERED") == "" { // others than root are there
		need(t, "setpriv")
		need(t, "/usr/bin/socat")
		p, err := a.Host.Start([]string{
			"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "/usr/bin/socat", "-", "UNIX-CONNECT:" + socket,
		}, lab.StartOptions{})
		must(t, err)
		said(t, p, 1, "Permission denied")
	}

	var hang []net.Conn
	defer func() {
		for _, conn := range hang {
			conn.Close()
		}
	}()
	send := func(text string) {
		t.Helper()
		conn, err := net.DialTimeout("unix", socket, patience)
		must(t, err)
		hang = append(hang, conn)
		_, err = conn.Write([]byte(text))
		must(t, err)
	}
	for range 20 {
		send("")
		send("GET /v1/status HTTP/1.1\r\nHost: ba")
		send("POST /v1/checks/x/force HTTP/1.1\r\nHost: baton\r\nContent-Length: 100\r\n\r\n{")
	}
	send("GET /v1/wait?router=web&state=FAULT HTTP/1.1\r\nHost: baton\r\n\r\n")
	tell(t, a, 0, "web is MASTER and ready", "wait", "web", "--ready", "--timeout", "20s")

	end := asking(t, s, c.Routers[0].Addresses[0], 0)
	must(t, a.Stop())
	settled(t, s, "b", c)
	if n := lost(t, end); n != 0 {
		t.Errorf("%d lost", n)
	}
	if status, err := a.Process.Wait(0); err != nil || status != 0 {
		t.Errorf("exit status %d, %v", status, err)
	}
	for _, line := range a.Process.Lines() {
		var l struct{ Level, Msg string }
		if json.Unmarshal([]byte(line.Text), &l) == nil && l.Level == "ERROR" {
			t.Errorf("said: %s", line.Text)
		}
	}
	if _, err := os.Stat(socket); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the socket is left behind: %v", err)
	}
}
