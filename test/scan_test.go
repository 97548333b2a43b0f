package test

import (
	"strings"
	"testing"
	"time"

	"baton/internal/lab"
	"baton/test/site"
)

// TestScan: somebody who looks for a free VRID sees those of a keepalived, on another host and without a daemon.
func TestScan(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(time.Second, site.Addresses(2, false)...)
	c.Routers[0].Version, c.Routers[0].Password = 2, "secret"
	six := site.Pair(100*time.Millisecond, site.Addresses(1, true)...).Routers[0]
	six.Name, six.VRID = "six", 52
	c.Routers = append(c.Routers, six)
	a := add(t, s, "a", site.Keepalived, c)
	must(t, a.Start())
	must(t, s.Holders.Await("a", patience, site.Address(c.Routers[0].Addresses[0]), site.Address(six.Addresses[0])))
	p, err := s.Client.Start([]string{batonBinary, "scan", site.Interface, "--for", "3s"}, lab.StartOptions{})
	must(t, err)
	_, err = p.Wait(patience)
	must(t, err)
	var got []string
	for line := range strings.Lines(p.Output()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"VRID FAMILY VERSION MASTER PRIORITY EVERY AUTHENTICATION ADDRESSES",
		"51 IPv4 2 10.99.0.1 200 1s pass 10.99.1.1 10.99.1.2",
		"52 IPv6 3 fe80::",
	}
	for i, w := range want {
		if i >= len(got) || !strings.HasPrefix(got[i], w) {
			t.Fatalf("scan says:\n%s\nwant line %d to begin with %q", p.Output(), i+1, w)
		}
	}
	if !strings.HasSuffix(got[2], "200 100ms none fd99::100") || len(got) != len(want) {
		t.Errorf("scan says:\n%s", p.Output())
	}
}
