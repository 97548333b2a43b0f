package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"baton/internal/service/servicetest"
	"baton/test/site"
)

// oscPair is the shipped deployment of an Open Security Controller on two nodes,
// with the client's host as the witness. DRBD, the mount and OSC are stand-ins that
// write what they do to one log.
type oscPair struct {
	*deployment
	t      *testing.T
	shared string // the folder of the log
	vip    string
}

// What the nodes do, one after the other, to take the service over and to leave it.
func takesOver(node string) []string {
	return []string{
		node + " drbd primary", node + " data mounted", node + " osc starts", node + " osc is well",
		node + " is master, with the address",
	}
}

func leaves(node string) []string {
	return []string{node + " osc ends", node + " data unmounted", node + " drbd secondary"}
}

// newOSCPair starts it, and waits until a serves and b is its standby. The pairs are
// more words of the configuration to replace.
func newOSCPair(t *testing.T, pairs ...string) *oscPair {
	t.Helper()
	need(t, "curl")
	vip := site.Addresses(1, false)[0]
	text := shipped(t, "osc.yaml", append([]string{
		"nodes: {osc-1: 10.20.0.11, osc-2: 10.20.0.12}",
		"log: {format: json}\nnodes: {a: 10.99.0.1, b: 10.99.0.2}",
		"witnesses: [10.20.0.1]", "witnesses: [" + clientAddress(false).String() + "], interval: 100ms, fall: 3",
		"status, tls:", "status, interval: 500ms, tls:",
		"interval: 10s, timeout: 8s", "interval: 2s, timeout: 2s",
		"vrid: 60", "vrid: 60\n    advertisement_interval: 500ms",
		"prefer: osc-1 ", "prefer: a ",
		"[10.20.0.10/24]", "[" + vip + "]",
		"/etc/baton/fence", "/run/bin/fence",
		"backoff: 5s", "backoff: 200ms",
		"promote_after: 10s", "promote_after: 500ms\n    retry_after: 1s\n    notify: {master: /run/bin/hook}",
		"on_stop_failure: reboot", "on_stop_failure: release", // the machine is not only ours
	}, pairs...)...)
	cert, key := certificate(t)
	programs, err := filepath.Glob("testdata/oscnode/*")
	must(t, err)
	d := deploy(t, []string{"a", "b"}, text, map[string]string{"osc-ca.pem": cert, "osc-login": oscLogin + "\n"},
		append(programs, "../scripts/check-drbd", "../scripts/check-osc"))
	o := &oscPair{d, t, t.TempDir(), vip}
	must(t, os.WriteFile(filepath.Join(o.shared, "osc.pem"), []byte(cert), 0o600))
	must(t, os.WriteFile(filepath.Join(o.shared, "osc.key"), []byte(key), 0o600))
	for name, s := range o.systemd {
		o.prepare(name, s)
	}
	begun := time.Now()
	o.start(t, "a")
	o.await("a", "MASTER", begun)
	o.follows(append([]string{"a fence nobody"}, takesOver("a")...)...)
	o.start(t, "b")
	knows(t, o.Nodes["b"], "osc", "a")
	return o
}

// prepare gives a node its units, and what the scripts need to know.
func (o *oscPair) prepare(name string, s *servicetest.Systemd) {
	o.t.Helper()
	self, err := os.Executable()
	must(o.t, err)
	address := site.Address(o.vip).String()
	o.launch(name, "", oscEnv+"="+strings.Join([]string{o.shared, name, address}, " "))
	s.Add(
		servicetest.Unit{Name: "opt-vmidc-data.mount", Argv: []string{"/run/bin/mount-data"}, Sub: "mounted"},
		servicetest.Unit{Name: "osc.service", Argv: []string{self}, Start: servicetest.Job{Delay: 10 * time.Millisecond}},
	)
	script := fmt.Sprintf(`NODE=%s SHARED=%s
event() {
    [ -z "$(ip -4 -o address show to %s)" ] || set -- "$*, with the address"
    echo "$NODE $*" >>"$SHARED/events"
}
`, name, o.shared, address)
	must(o.t, os.WriteFile(o.Ports[name].Host.Path("/run/node.sh"), []byte(script), 0o644))
}

// events are what was done so far, without repetitions.
func (o *oscPair) events() []string {
	o.t.Helper()
	b, err := os.ReadFile(filepath.Join(o.shared, "events"))
	if err != nil && !os.IsNotExist(err) {
		o.t.Fatal(err)
	}
	return slices.Compact(strings.Split(strings.TrimSpace(string(b)), "\n"))
}

// forget begins the log anew.
func (o *oscPair) forget() {
	o.t.Helper()
	must(o.t, os.Truncate(filepath.Join(o.shared, "events"), 0))
}

// follows waits until so much has been done, in this order, and nothing else.
func (o *oscPair) follows(want ...string) {
	o.t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got := o.events()
		if slices.Equal(got, want) {
			return
		}
		// It only grows: what is there must be the beginning.
		if len(got) >= len(want) || !slices.Equal(got, want[:len(got)]) && got[0] != "" || time.Now().After(until) {
			o.t.Fatalf("the nodes did this (-want +got):\n%s", cmp.Diff(want, got))
		}
	}
}

// serves waits until a node has the address, alone.
func (o *oscPair) serves(name string) {
	o.t.Helper()
	must(o.t, o.Holders.Await(name, patience, site.Address(o.vip)))
}

func (o *oscPair) await(name, role string, from time.Time) {
	o.t.Helper()
	_, err := o.Nodes[name].AwaitRole("osc", role, from, patience)
	must(o.t, err)
}

// has puts a file into the folder that the stand-ins look at, or removes it.
func (o *oscPair) has(file string, there bool) {
	o.t.Helper()
	path := filepath.Join(o.shared, file)
	if !there {
		must(o.t, os.Remove(path))
		return
	}
	must(o.t, os.WriteFile(path, nil, 0o644))
}

// unchanged fails if a node has changed its role since.
func (o *oscPair) unchanged(since time.Time) {
	o.t.Helper()
	for name, n := range o.Nodes {
		for _, c := range n.Changes() {
			if c.At.After(since) {
				o.t.Errorf("%s: %s to %s: %s", name, c.From, c.To, c.Reason)
			}
		}
	}
}

// A planned move: everything stops in order before anything starts, the address is
// the first to go and the last to come, and nobody is fenced.
func TestOSC_PlannedMove(t *testing.T) {
	t.Parallel()
	o := newOSCPair(t)
	o.serves("a")
	o.said(t, "a", time.Time{}, `"check":"osc-db"`, `"to":"pass"`)
	o.forget()
	stopped := time.Now()
	must(t, o.Nodes["a"].Stop())
	o.await("b", "MASTER", stopped)
	o.follows(append(leaves("a"), takesOver("b")...)...)
	o.serves("b")

	// It returns as a standby.
	o.forget()
	again := time.Now()
	o.start(t, "a")
	o.await("a", "BACKUP", again)
	o.serves("b")
	o.follows("")
}

// A node that dies: the other one makes sure that it is off before anything else,
// and starts nothing as long as it cannot.
func TestOSC_NodeDies(t *testing.T) {
	t.Parallel()
	o := newOSCPair(t)
	o.forget()
	o.has("no-fence", true)
	died := time.Now()
	o.dies(t, "a", o.vip, "osc.service", "opt-vmidc-data.mount")
	o.has("a.mounted", false)
	o.said(t, "b", died, "the power switch of a does not answer")
	o.await("b", "FAULT", died)
	o.follows("b fence a")
	if on := o.Holders.Now(site.Address(o.vip)); len(on) > 0 {
		t.Errorf("the address is on %v", on)
	}
	o.has("no-fence", false)
	o.follows(append([]string{"b fence a"}, takesOver("b")...)...)
	o.serves("b")
}

// A node that is cut off has stopped OSC before the other node starts it, and is a
// standby when it is back.
func TestOSC_CutOff(t *testing.T) {
	t.Parallel()
	o := newOSCPair(t)
	o.forget()
	cut := time.Now()
	must(t, o.Ports["a"].Cut())
	o.follows(slices.Concat(leaves("a"), []string{"b fence a"}, takesOver("b"))...)
	o.serves("b")
	o.await("a", "FAULT", cut)
	o.forget()
	mended := time.Now()
	must(t, o.Ports["a"].Mend())
	o.await("a", "BACKUP", mended)
	o.serves("b")
	o.follows("")
}

// OSC dies and is brought back where it is, though the check that says "am I
// serving?" fails meanwhile; when it cannot be, the other node takes over.
func TestOSC_Dies(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	o := newOSCPair(t, "when: master, grace: 4m", "when: master, grace: 6s", "tries: 3", "tries: 2", "backoff: 200ms", "backoff: 1200ms")
	o.forget()
	master, err := o.Nodes["a"].AwaitRole("osc", "MASTER", begun, patience)
	must(t, err)
	time.Sleep(time.Until(master.At.Add(6 * time.Second))) // since then the check counts
	killed := time.Now()
	o.systemd["a"].Kill("osc.service", unix.SIGKILL)
	o.said(t, "a", killed, `"check":"osc"`, `"to":"fail"`)
	o.said(t, "a", killed, "service is back", "osc.service")
	o.unchanged(killed)
	o.follows("a osc starts, with the address", "a osc is well, with the address")

	o.forget()
	o.has("a.broken", true)
	killed = time.Now()
	o.systemd["a"].Kill("osc.service", unix.SIGKILL)
	o.said(t, "a", killed, "service cannot be brought back", "osc.service", "tried to bring it back 2 times")
	o.await("a", "FAULT", killed)
	// In FAULT the address stays until the successor has it.
	o.follows(append([]string{"a data unmounted, with the address", "a drbd secondary, with the address"}, takesOver("b")...)...)
	o.serves("b")
}

// What is started by hand on the standby is stopped again, and said so.
func TestOSC_StartedByHand(t *testing.T) {
	t.Parallel()
	o := newOSCPair(t)
	o.forget()
	started := time.Now()
	o.systemd["b"].StartUnit("osc.service")
	o.said(t, "b", started, `"level":"WARN"`, "service runs although this node is not master", "osc.service")
	o.follows("b osc starts without its data beside another", "b osc ends")
	eventually(t, "it is stopped", func() (bool, string) {
		state := o.systemd["b"].State("osc.service")
		return state == "inactive (dead)", state
	})
	o.serves("a")
	o.unchanged(started)
}

// A systemd that cannot be asked is no reason to move anything: it is said once, and
// so is its return.
func TestOSC_SystemdGone(t *testing.T) {
	t.Parallel()
	o := newOSCPair(t)
	o.forget()
	gone := time.Now()
	must(t, o.systemd["a"].Down())
	const unknown, known = "status of the service is unknown", "status of the service is known again"
	o.said(t, "a", gone, unknown, `"osc.service"`)
	time.Sleep(6 * time.Second) // it is asked again
	must(t, o.systemd["a"].Up())
	o.said(t, "a", gone, known, `"osc.service"`)
	for _, text := range []string{unknown, known} {
		if n := o.times("a", text, `"osc.service"`); n != 1 {
			t.Errorf("%q was said %d times, want once", text, n)
		}
	}
	o.unchanged(gone)
	o.serves("a")
	o.follows("")

	// It is watched as before.
	killed := time.Now()
	o.systemd["a"].Kill("osc.service", unix.SIGKILL)
	o.said(t, "a", killed, "service is back", "osc.service")
	o.unchanged(gone)
}

// DRBD cannot be let go: the role is given up nevertheless (on_stop_failure:
// release), and the other node fences this one before it takes over.
func TestOSC_DoesNotStop(t *testing.T) {
	t.Parallel()
	o := newOSCPair(t)
	o.forget()
	o.has("a.open", true)
	stopped := time.Now()
	must(t, o.Nodes["a"].Stop())
	o.said(t, "a", stopped, `"level":"ERROR"`, "service did not stop: the role is given up nevertheless", "Device is held open")
	// a has left without a word: nobody takes that for an orderly end.
	o.follows(slices.Concat(leaves("a")[:2], []string{"b fence a"}, takesOver("b"))...)
	o.serves("b")
}
