package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/test/frame"
	"baton/test/site"
)

// signed is the usual pair with keys from files that only their owner can read.
func signed(t *testing.T, keys map[int]string, more string) site.Config {
	t.Helper()
	dir := t.TempDir()
	var list []string
	for id, secret := range keys {
		file := filepath.Join(dir, fmt.Sprintf("%d.key", id))
		must(t, os.WriteFile(file, []byte("hex:"+strings.Repeat(secret, 32)+"\n"), 0o600))
		list = append(list, fmt.Sprintf("%d: %s", id, file))
	}
	return policyPair(fmt.Sprintf("authentication: {type: hmac, keys: {%s}, %s}", strings.Join(list, ", "), more), "")
}

// Two nodes that sign elect one master as others do, while the key that they send with changes from one node to the
// next, and refuse nothing.
func TestHMAC_Pair(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	old := signed(t, map[int]string{1: "ab"}, "send: 1")
	both := signed(t, map[int]string{1: "ab", 2: "cd"}, "send: 2")
	a, b := add(t, s, "a", site.Baton, both), add(t, s, "b", site.Baton, signed(t, map[int]string{1: "ab", 2: "cd"}, "send: 1"))
	must(t, a.Start())
	must(t, b.Start())
	settled(t, s, "a", old)
	from := time.Now().Add(-2 * interval)
	for _, node := range []string{"a", "b"} {
		_, err := s.Wire(node).Wait(time.Time{}, patience, func(p frame.Packet) bool {
			return p.Advert != nil && p.Advert.Signed && p.Advert.Checksum == frame.Pseudo
		})
		must(t, err)
	}
	must(t, a.Stop())
	settled(t, s, "b", old)
	must(t, a.Start())
	settled(t, s, "a", old)
	oneMaster(t, s, old.Routers[0], from, "a", "b", "a")
	refusedBy(t, a)
	refusedBy(t, b)
}

// Who does not sign, or signs with another key, moves nothing: neither a keepalived without keys, at the start or later,
// nor a node that was given the wrong file.
func TestHMAC_ForgersAreNotBelieved(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		kind   site.Kind
		reason string
	}{"unsigned": {site.Keepalived, "unsigned"}, "another key": {site.Baton, "signature"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c := signed(t, map[int]string{1: "ab"}, "mode: enforce")
			b := add(t, s, "b", site.Baton, c)
			must(t, b.Start())
			settled(t, s, "b", c)
			from := time.Now()
			a := add(t, s, "a", tt.kind, signed(t, map[int]string{1: "cd"}, "mode: enforce"))
			must(t, a.Start())
			_, err := a.AwaitRole("web", "MASTER", from, patience) // it hears nobody that it believes
			must(t, err)
			time.Sleep(10 * interval)
			if role := b.Role("web"); role != "MASTER" {
				t.Errorf("b is %s, want MASTER: a's 200 must not count", role)
			}
			refused, err := b.Refused()
			must(t, err)
			if refused[tt.reason] == 0 || len(refused) != 1 {
				t.Errorf("b refused %v, want %s alone", refused, tt.reason)
			}
		})
	}
}

// A router without addresses decides where hooks run.
func TestWithoutAddresses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	c.Routers[0].Addresses = nil
	c.Routers[0].Notify = `{master: [sh, -c, 'echo $node >> /run/masters']}`
	a, b := add(t, s, "a", site.Baton, c), add(t, s, "b", site.Baton, c)
	must(t, a.Start())
	_, err := a.AwaitRole("web", "MASTER", time.Time{}, patience) // or b may be master first, by a hair
	must(t, err)
	must(t, b.Start())
	_, err = b.AwaitRole("web", "BACKUP", time.Time{}, patience)
	must(t, err)
	hooked := func(n *site.Node) string {
		text, _ := os.ReadFile(n.Host.Path("/run/masters")) // absent: not yet
		return string(text)
	}
	await := func(n *site.Node, want string) {
		t.Helper()
		for deadline := time.Now().Add(patience); hooked(n) != want; time.Sleep(interval / 10) {
			if time.Now().After(deadline) {
				t.Fatalf("the hook of %s was told %q, want %q", n.Name, hooked(n), want)
			}
		}
	}
	await(a, "a\n")
	must(t, a.Stop())
	await(b, "b\n")
	refusedBy(t, b)
}
