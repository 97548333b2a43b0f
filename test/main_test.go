// Package test holds the black-box tests: real daemons, baton and keepalived, in network namespaces that each test
// makes and removes. Nothing is ever sent outside them.
package test

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/internal/lab"
	"baton/test/site"
)

// batonBinary is the baton under test, built once for all tests. scratch is a folder for what else is made once.
var batonBinary, scratch string

func TestMain(m *testing.M) {
	if words := strings.Fields(os.Getenv(oscEnv)); len(words) == 3 {
		os.Exit(oscd{words[0], words[1], words[2]}.run())
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	flag.Parse()
	if err := lab.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, "black-box tests:", err)
		if errors.Is(err, lab.ErrPrivilege) && os.Getenv("CI") == "" {
			fmt.Fprintln(os.Stderr, "skipped")
			return 0
		}
		return 1
	}
	dir, err := os.MkdirTemp("", "baton-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	scratch = dir
	if batonBinary, err = site.BuildBaton(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newSite makes a site with the two hosts a and b, removed with the test; a failure shows what the daemons said.
func newSite(t *testing.T) *site.Site {
	t.Helper()
	return newSiteOf(t, "a", "b")
}

// newSiteOf makes a site with other hosts.
func newSiteOf(t *testing.T, hosts ...string) *site.Site {
	t.Helper()
	s, err := site.New(t.TempDir(), hosts...)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Report())
		}
		must(t, s.Close())
	})
	return s
}

// add puts a daemon on a host, which is not started yet.
func add(t *testing.T, s *site.Site, name string, kind site.Kind, c site.Config) *site.Node {
	t.Helper()
	if *standin && kind == site.Baton {
		kind = site.Keepalived
	}
	switch kind {
	case site.Keepalived:
		need(t, "keepalived")
	case site.FRR:
		need(t, filepath.Join(site.FRRBinaries, "vrrpd"))
	}
	n, err := s.Add(name, kind, batonBinary, c)
	must(t, err)
	return n
}

// need skips a test whose program is not installed here, and fails it in CI.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
}

// addresses returns the addresses of a list of prefixes.
func addresses(prefixes []string) []netip.Addr {
	list := make([]netip.Addr, len(prefixes))
	for i, p := range prefixes {
		list[i] = site.Address(p)
	}
	return list
}

// patience is how long a test waits for what must come: far more than it takes, on a machine with much else to do.
const patience = 20 * time.Second

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
