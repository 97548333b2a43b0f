package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/test/site"
)

// object is something that follows the master: how `ip` shows it and takes it away.
type object struct {
	name   string
	show   string // arguments of ip
	want   string // in its output
	remove string
}

// objects are what objectsConfig has the master hold, beside its address.
var objects = []object{
	{"a default route", "-4 route show default", "default via 10.99.0.254 dev eth0", "-4 route del default"},
	{"a route in a table", "-4 route show table 100", "192.0.2.0/24 via 10.99.0.253 dev eth0", "-4 route del 192.0.2.0/24 table 100"},
	{"an IPv6 route", "-6 route show 2001:db8::/32", "2001:db8::/32 via fd99::fe dev eth0", "-6 route del 2001:db8::/32"},
	{"a rule", "-4 rule show priority 1000", "from 10.2.0.0/16 lookup 100", "-4 rule del priority 1000"},
	{"an address with a label", "-4 address show dev eth0 label eth0:web", "inet 10.99.1.8/32", "address del 10.99.1.8/32 dev eth0"},
	{"an address that is not advertised", "-4 address show dev eth0", "inet 10.99.1.9/32", "address del 10.99.1.9/32 dev eth0"},
	{"one of the other family", "-6 address show dev eth0", "inet6 fd99::109/128", "address del fd99::109/128 dev eth0"},
}

// objectsYAML is the configuration of a pair that holds all of them.
func objectsYAML(t *testing.T, s *site.Site, c site.Config) string {
	t.Helper()
	text := s.BatonYAML(c)
	one := `addresses: ["10.99.1.1/16"]`
	if !strings.Contains(text, one) {
		t.Fatalf("the file does not have %s", one)
	}
	return strings.Replace(text, one, `addresses:
      - 10.99.1.1/16
      - {address: 10.99.1.8/32, label: "eth0:web"}
      - {address: 10.99.1.9/32, advertise: false}
      - {address: "fd99::109/128", advertise: false}
    routes:
      - {to: default, via: 10.99.0.254}
      - {to: 192.0.2.0/24, via: 10.99.0.253, table: 100}
      - {to: "2001:db8::/32", via: "fd99::fe"}
    rules:
      - {priority: 1000, from: 10.2.0.0/16, table: 100}`, 1)
}

// has reports whether a node holds an object.
func (o object) has(t *testing.T, n *site.Node) bool {
	t.Helper()
	// A table that does not exist is an error of ip.
	out, err := n.Host.Run(patience, append([]string{"ip"}, strings.Fields(o.show)...)...)
	return err == nil && strings.Contains(out, o.want)
}

// awaitObjects waits until a node holds all objects, or none.
func awaitObjects(t *testing.T, n *site.Node, want bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for _, o := range objects {
		for o.has(t, n) != want {
			if time.Now().After(deadline) {
				t.Fatalf("%s has %s: %v, want %v", n.Name, o.name, !want, want)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// Routes, rules and addresses that are not advertised are the master's alone, and are put back when others take them away.
func TestObjectsFollowTheMaster(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a, b := add(t, s, "a", site.Baton, c), add(t, s, "b", site.Baton, c)
	for _, n := range []*site.Node{a, b} {
		must(t, os.WriteFile(filepath.Join(n.Dir, "baton.yaml"), []byte(objectsYAML(t, s, c)), 0o644))
	}
	must(t, s.StartAll())
	settled(t, s, "a", c)
	changes := spoken(t, a, b)
	awaitObjects(t, a, true)
	awaitObjects(t, b, false)
	advert, err := s.AwaitAdvert("a", time.Now(), patience, nil)
	must(t, err)
	if got := advert.Advert.Addresses; len(got) != 2 || got[0].String() != "10.99.1.1" || got[1].String() != "10.99.1.8" {
		t.Errorf("%v are advertised, want 10.99.1.1 and 10.99.1.8", got)
	}
	for _, o := range objects {
		_, err := a.Host.Run(patience, append([]string{"ip"}, strings.Fields(o.remove)...)...)
		must(t, err)
		for deadline := time.Now().Add(patience); !o.has(t, a); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s, taken away, is not put back", o.name)
			}
		}
	}
	if got := len(a.Changes()) + len(b.Changes()); got != changes {
		t.Errorf("the role changed: %v, %v", a.Changes(), b.Changes())
	}
	must(t, a.Stop())
	settled(t, s, "b", c)
	awaitObjects(t, b, true)
	awaitObjects(t, a, false)
	must(t, a.Start())
	settled(t, s, "a", c)
	awaitObjects(t, a, true)
	awaitObjects(t, b, false)
}
