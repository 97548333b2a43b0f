package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/internal/lab"
	"baton/test/site"
)

// output is what a command says, whatever its exit status, which must be the one wanted.
func output(t *testing.T, n *site.Node, status int, args ...string) string {
	t.Helper()
	p := batonOn(t, n, args...)
	got, err := p.Wait(patience)
	must(t, err)
	if got != status {
		t.Errorf("baton %s: exit status %d, want %d:\n%s", strings.Join(args, " "), got, status, p.Output())
	}
	return p.Output()
}

// wantIn tells of what is missing.
func wantIn(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
}

// An operator asks who is master and why, before and after a check has failed, and
// reads afterwards what has happened.
func TestStatus(t *testing.T) {
	t.Parallel()
	c := checked(0)
	vip := c.Routers[0].Addresses[0]
	s := startChecked(t, site.Baton, site.Baton, c)
	a, b := s.Nodes["a"], s.Nodes["b"]
	spoken(t, a, b)
	watch := batonOn(t, a, "watch")
	follow := batonOn(t, b, "events", "--follow", "--json")
	line(t, watch, "ROUTER  ROLE")

	wantIn(t, output(t, a, 0, "status"), "a  baton ", "configuration ", " well\n", "web     MASTER", "a (200)", vip)
	wantIn(t, output(t, b, 0, "status"), "web     BACKUP", "a (200)", "200 is higher")
	wantIn(t, output(t, a, 0, "status", "web"), "web  MASTER on a", site.Interface+" VRID 51, VRRPv3 multicast", vip+"  held, announced ", "(1st of 2); no check takes anything off", "chk    pass", "INIT to BACKUP", "BACKUP to MASTER")
	wantIn(t, output(t, b, 0, "status", "web"), vip+"  off", "last heard 0s ago: priority 200")

	setHealthy(t, s, "a", false)
	_, err := a.AwaitRole("web", "FAULT", time.Time{}, patience)
	must(t, err)
	_, err = b.AwaitRole("web", "MASTER", time.Time{}, patience)
	must(t, err)
	tell(t, b, 0, "ready", "wait", "web", "--ready", "--timeout", "20s")
	tell(t, a, 0, "FAULT, b is master", "wait", "web", "--state", "fault", "--timeout", "20s")
	wantIn(t, output(t, a, 1, "status"), "DEGRADED: 1 problem", "web     FAULT", "b (190)", "chk fails; was master until", "chk has failed for ")
	wantIn(t, output(t, a, 1, "status", "web"), "Why       chk fails: ", vip+"  off")
	wantIn(t, output(t, b, 0, "status", "web"), "Why       a left (priority 0) at ", "priority 0, it left")
	wantIn(t, output(t, a, 0, "events"), "daemon ", "started", "check ", "pass to FAIL", "router ", "MASTER to FAULT", "priority 0 sent, "+vip+" kept until a successor has it")
	if text := output(t, a, 0, "events", "--since", "1ms"); strings.Contains(text, "started") {
		t.Errorf("events of the last millisecond:\n%s", text)
	}
	tell(t, a, 1, `did you mean "web"?`, "status", "wbe")
	line(t, watch, "MASTER to FAULT")
	line(t, follow, `"what":"BACKUP to MASTER"`)

	// A daemon that is started anew is followed.
	before := len(follow.Lines())
	must(t, b.Crash())
	must(t, b.Start())
	if _, _, err := follow.WaitLine(before, patience, func(l string) bool { return strings.Contains(l, `"what":"started"`) }); err != nil {
		t.Fatalf("%v:\n%s", err, follow.Output())
	}
	var status struct {
		Routers []struct {
			Parts []struct{ Addresses []struct{ State string } }
		}
	}
	must(t, json.Unmarshal([]byte(output(t, b, 0, "status", "--json")), &status))
	if len(status.Routers) != 1 || len(status.Routers[0].Parts) != 1 || len(status.Routers[0].Parts[0].Addresses) != 1 {
		t.Errorf("as JSON: %+v", status)
	}
	must(t, watch.Signal(syscall.SIGINT))
	must(t, follow.Signal(syscall.SIGINT))
	for _, p := range []*lab.Process{watch, follow} {
		if status, err := p.Wait(patience); err != nil || status != 0 {
			t.Errorf("interrupted: exit status %d, %v:\n%s", status, err, p.Output())
		}
	}
	must(t, b.Stop())
	tell(t, b, 2, "no baton runs here", "status")
}

// line waits for a line of a command that goes on.
func line(t *testing.T, p *lab.Process, words string) {
	t.Helper()
	if _, _, err := p.WaitLine(0, patience, func(l string) bool { return strings.Contains(l, words) }); err != nil {
		t.Fatalf("%v, for %q in:\n%s", err, words, p.Output())
	}
}

// Those in the group read, also who is in it by a supplementary group; who is in the other group changes something as
// well; and the others are told which group it takes.
func TestStatus_Groups(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 || os.Getenv("BATON_LAB_ENTERED") != "" {
		t.Skip("needs other users than root")
	}
	need(t, "setpriv")
	const readers, admins = "games", "operator" // every system has them, and nobody is in them
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a := add(t, s, "a", site.Baton, c)
	a.Arguments = []string{"--socket-group", readers, "--admin-group", admins}
	for dir := filepath.Dir(a.Dir); dir != os.TempDir(); dir = filepath.Dir(dir) { // a stranger has to reach the socket
		must(t, os.Chmod(dir, 0o755))
	}
	must(t, a.Start())
	tell(t, a, 0, "web is MASTER", "wait", "web", "--timeout", "20s")
	// A stranger cannot run the test's binary where it is.
	binary := filepath.Join(a.Dir, "baton")
	text, err := os.ReadFile(batonBinary)
	must(t, err)
	must(t, os.WriteFile(binary, text, 0o755))
	as := func(groups string, status int, words string, args ...string) {
		t.Helper()
		argv := []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", binary}
		if groups != "" {
			argv = []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--groups", groups, binary}
		}
		p, err := a.Host.Start(append(append(argv, args...), "--runtime-dir", filepath.Join(a.Dir, "run")), lab.StartOptions{})
		must(t, err)
		said(t, p, status, words)
	}
	change := []string{"log-level", "debug"}
	as("", 1, "permission denied: only root, the user who runs baton and the group "+readers+" may", "status")
	as(readers, 0, "web     MASTER", "status")
	as(readers, 0, "INIT to BACKUP", "events")
	as(readers, 1, "nobody may read here and change nothing: root, the user who runs baton and the group "+admins+" may", change...)
	as(readers+","+admins, 0, "set by nobody", change...)
}
