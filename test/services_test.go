package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/test/site"
)

// onlyOne is a pair with a service that may run on one node only, and the log
// that both of its instances would write to.
type onlyOne struct {
	*site.Site
	log string
	c   site.Config
}

// newOnlyOne starts it, and waits until node a serves. more is more keys of the
// router, a line each; top is more of the file.
func newOnlyOne(t *testing.T, more string, top ...string) onlyOne {
	t.Helper()
	o := onlyOne{newSite(t), filepath.Join(t.TempDir(), "log"), site.Pair(interval, site.Addresses(1, false)...)}
	script, err := filepath.Abs("testdata/osc")
	must(t, err)
	env := filepath.Join(t.TempDir(), "osc.env")
	must(t, os.WriteFile(env, []byte("OSC_LOG="+o.log+"\n"), 0o600))
	o.c.More = strings.Join(top, "")
	web := &o.c.Routers[0]
	web.NoPreempt = true
	web.More = fmt.Sprintf(`services:
  - name: osc
    command: {start: [sh, %[1]q, start], stop: [sh, %[1]q, stop], status: [sh, %[1]q, status]}
    environment_file: %[2]q
    start_timeout: 10s
    stop_timeout: 5s
    revive: {tries: 2, within: 10m, backoff: 100ms}
  - addresses
`, script, env) + more
	for _, name := range []string{"a", "b"} {
		add(t, o.Site, name, site.Baton, o.c)
	}
	begun := time.Now()
	must(t, o.Nodes["a"].Start())
	o.await(t, "a", begun)
	must(t, o.Nodes["b"].Start())
	_, err = o.Nodes["b"].AwaitRole("web", "BACKUP", begun, patience)
	must(t, err)
	return o
}

// await waits until a node is master, has the address, and its service writes.
func (o onlyOne) await(t *testing.T, node string, from time.Time) {
	t.Helper()
	_, err := o.Nodes[node].AwaitRole("web", "MASTER", from, patience)
	must(t, err)
	must(t, o.Holders.Await(node, patience, site.Address(o.c.Routers[0].Addresses[0])))
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if lines := o.lines(t); len(lines) > 0 && lines[len(lines)-1] == node {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("the service does not write on %s", node)
		}
	}
}

// lines are who wrote, in order.
func (o onlyOne) lines(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(o.log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// wantTurns fails unless the nodes wrote one after another, in this order, and
// never by turns.
func (o onlyOne) wantTurns(t *testing.T, want ...string) {
	t.Helper()
	if got := slices.Compact(o.lines(t)); !slices.Equal(got, want) {
		t.Errorf("the nodes wrote in the order %q, want %q", got, want)
	}
}

// kill ends the service on a node as a crash does.
func (o onlyOne) kill(t *testing.T, node string) {
	t.Helper()
	text, err := os.ReadFile(o.Ports[node].Host.Path("/run/osc.pid"))
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	must(t, unix.Kill(-pid, unix.SIGKILL))
}

func (o onlyOne) touch(t *testing.T, node, file string) {
	t.Helper()
	must(t, os.WriteFile(o.Ports[node].Host.Path(file), nil, 0o644))
}

func (o onlyOne) said(t *testing.T, node, text string, from time.Time) {
	t.Helper()
	lines := o.Nodes[node].Process.Lines()
	first := 0
	for first < len(lines) && lines[first].At.Before(from) {
		first++
	}
	_, _, err := o.Nodes[node].Process.WaitLine(first, patience, func(line string) bool { return strings.Contains(line, text) })
	must(t, err)
}

// A service that dies is brought back where it is, and when it cannot be, the
// other node takes over.
func TestServices_Revived(t *testing.T) {
	t.Parallel()
	o := newOnlyOne(t, "")
	killed := time.Now()
	o.kill(t, "a")
	o.said(t, "a", `"msg":"service is back"`, killed)
	if n := len(o.Nodes["a"].Changes()); n != 2 { // INIT to BACKUP, BACKUP to MASTER
		t.Errorf("%d changes of role on a, want 2", n)
	}
	o.wantTurns(t, "a")

	killed = time.Now()
	o.touch(t, "a", "/run/osc-broken")
	o.kill(t, "a")
	_, err := o.Nodes["a"].AwaitRole("web", "FAULT", killed, patience)
	must(t, err)
	o.await(t, "b", killed)
	o.said(t, "a", "osc is broken", killed)
	o.wantTurns(t, "a", "b")

	// The node that failed is held back though it looks healthy, and takes over
	// when nobody else is left.
	must(t, os.Remove(o.Ports["a"].Host.Path("/run/osc-broken")))
	stopped := time.Now()
	must(t, o.Nodes["b"].Stop())
	o.await(t, "a", stopped)
	o.wantTurns(t, "a", "b", "a")
}

// A node that stops in order stops its service before the other starts its own,
// and takes the address off before that.
func TestServices_NodeStops(t *testing.T) {
	t.Parallel()
	o := newOnlyOne(t, "")
	stopped := time.Now()
	must(t, o.Nodes["a"].Stop())
	o.await(t, "b", stopped)
	o.wantTurns(t, "a", "b")
	// It returns as a standby.
	again := time.Now()
	must(t, o.Nodes["a"].Start())
	_, err := o.Nodes["a"].AwaitRole("web", "BACKUP", again, patience)
	must(t, err)
	o.wantTurns(t, "a", "b")
}

// A node that dies, service and all.
func TestServices_NodeDies(t *testing.T) {
	t.Parallel()
	o := newOnlyOne(t, "")
	died := time.Now()
	must(t, o.Ports["a"].Cut())
	o.kill(t, "a")
	must(t, o.Nodes["a"].Crash())
	must(t, o.Ports["a"].Host.RemoveAddress(site.Interface, prefix(o.c.Routers[0].Addresses[0])))
	o.await(t, "b", died)
	o.wantTurns(t, "a", "b")
}

// A daemon that crashes leaves the service running, and finds it again.
func TestServices_DaemonCrashes(t *testing.T) {
	t.Parallel()
	o := newOnlyOne(t, "")
	must(t, o.Nodes["b"].Stop())
	must(t, o.Nodes["a"].Crash())
	again := time.Now()
	must(t, o.Nodes["a"].Start())
	o.await(t, "a", again)
	o.wantTurns(t, "a")
}

// A service that does not stop keeps its node from leaving, and the operator is
// told; a second signal ends it nevertheless.
func TestServices_DoesNotStop(t *testing.T) {
	t.Parallel()
	o := newOnlyOne(t, "")
	o.touch(t, "a", "/run/osc-stays")
	asked := time.Now()
	must(t, o.Nodes["a"].Process.Signal(unix.SIGTERM))
	o.said(t, "a", "stays master", asked)
	o.said(t, "a", "osc does not stop", asked)
	must(t, o.Holders.Await("a", patience, site.Address(o.c.Routers[0].Addresses[0])))
	select {
	case <-o.Nodes["a"].Process.Done():
		t.Fatal("it ended")
	default:
	}
	must(t, o.Nodes["a"].Process.Signal(unix.SIGTERM))
	_, err := o.Nodes["a"].Process.Wait(site.StopTimeout)
	must(t, err)
	o.kill(t, "a") // what a fence does
	o.await(t, "b", asked)
	o.wantTurns(t, "a", "b")
}
