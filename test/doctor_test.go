package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"baton/test/site"
)

// examined is what the doctor has found on a node.
type examined struct {
	PID      int
	Findings []struct{ ID, Level, Text, Mend string }
	Skipped  []struct{ What, Why string }
}

func (e examined) has(id string) bool {
	return slices.ContainsFunc(e.Findings, func(f struct{ ID, Level, Text, Mend string }) bool { return f.ID == id })
}

// doctor examines a node; the exit status must be the one wanted.
func doctor(t *testing.T, n *site.Node, status int, args ...string) examined {
	t.Helper()
	text := output(t, n, status, append([]string{"doctor", "--json", "--listen", "1s", "--node", n.Name, "-c", filepath.Join(n.Dir, "baton.yaml")}, args...)...)
	var e examined
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return e
}

// nft loads rules on a node.
func nft(t *testing.T, n *site.Node, rules string) {
	t.Helper()
	need(t, "nft")
	file := filepath.Join(t.TempDir(), "rules")
	must(t, os.WriteFile(file, []byte(rules), 0o600))
	if text, err := n.Host.Run(patience, "nft", "-f", file); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
}

// TestDoctor: a pair that is well has no problem. Then each of what keeps a node from working is found, with the real
// kernel's answers, and gone when it is mended as it was said.
func TestDoctor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(100*time.Millisecond, site.Addresses(1, false)...)
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	for _, n := range []*site.Node{a, b} {
		if e := doctor(t, n, 0); e.PID == 0 || len(e.Skipped) > 0 {
			t.Errorf("%s is well: %+v", n.Name, e)
		}
	}
	wantIn(t, output(t, b, 0, "doctor", "--listen", "0s", "--node", "b", "-c", filepath.Join(b.Dir, "baton.yaml")), "b  baton runs, PID ", "not looked at:\n", "it was not to listen")

	nft(t, b, "table inet f { chain in { type filter hook input priority 0; policy drop;\nct state established,related accept\niif lo accept\n}\n}\n")
	e := doctor(t, b, 1)
	if !e.has("firewall-answers") {
		t.Errorf("with a firewall: %+v", e)
	}
	_, err := b.AwaitRole("web", "MASTER", time.Time{}, patience) // what the finding says
	must(t, err)
	for _, f := range e.Findings {
		if f.ID == "firewall-answers" {
			nft(t, b, f.Mend[len("nft "):len("nft ")+len("insert rule inet f in iifname "+site.Interface+" meta l4proto 112 accept")]+"\n")
		}
	}
	if e := doctor(t, b, 0); e.has("firewall-answers") {
		t.Errorf("mended: %+v", e)
	}
	nft(t, b, "flush ruleset\n")

	// A daemon that died leaves its address; another speaker has the VRID.
	_, err = b.AwaitRole("web", "BACKUP", time.Time{}, patience)
	must(t, err)
	must(t, a.Crash())
	if e := doctor(t, a, 1); e.PID != 0 || !e.has("leftovers") {
		t.Errorf("after a crash: %+v", e)
	}
	output(t, a, 0, "release")
	if e := doctor(t, a, 0); e.has("leftovers") {
		t.Errorf("released: %+v", e)
	}
	other := c
	other.Routers = slices.Clone(c.Routers)
	other.Routers[0].Addresses = site.Addresses(3, false)[2:]
	must(t, s.Configure(a, other))
	if e := doctor(t, a, 0); !e.has("address-list") {
		t.Errorf("another list than the master's: %+v", e)
	}
	must(t, s.Configure(a, c))

	must(t, a.Host.RemoveAddress(site.Interface, prefix("10.99.0.1/16")))
	if e := doctor(t, a, 1); !e.has("no-address") {
		t.Errorf("without an address: %+v", e)
	}
	must(t, os.WriteFile(filepath.Join(a.Dir, "baton.yaml"), []byte("virtual_routers: {web: {}}\n"), 0o644))
	tell(t, a, 3, "", "doctor", "--listen", "0s", "--node", "a", "-c", filepath.Join(a.Dir, "baton.yaml"))
}
