package test

import (
	"strings"
	"testing"
	"time"

	"baton/test/site"
)

// majority is a site on which a has the role, unless it is cut off from most of
// the others. Detection, 3 × 100 ms and a timeout of 100 ms, is shorter than the
// takeover of b, 3 × 500 ms and its skew.
func majority(t *testing.T, nodes []string, keys, more string) (*site.Site, site.Config) {
	t.Helper()
	s := newSiteOf(t, nodes...)
	c := site.Pair(500*time.Millisecond, site.Addresses(1, false)...)
	c.Checks = []site.Check{{Name: "majority", Keys: "type: quorum, " + keys, Interval: 100 * time.Millisecond, Rise: 3, Fall: 3}}
	web := &c.Routers[0]
	web.Track = []site.Effect{{Check: "majority"}}
	web.Priority = map[string]int{}
	for i, name := range nodes {
		web.Priority[name] = 200 - 10*i
	}
	web.NoPreempt = true
	web.More = more
	begun := time.Now()
	must(t, add(t, s, nodes[0], site.Baton, c).Start()) // who is first stays master
	_, err := s.Nodes[nodes[0]].AwaitRole("web", "MASTER", begun, patience)
	must(t, err)
	for _, name := range nodes[1:] {
		must(t, add(t, s, name, site.Baton, c).Start())
		knows(t, s.Nodes[name], "web", nodes[0])
	}
	must(t, s.Holders.Await("a", patience, addresses(web.Addresses)...))
	return s, c
}

// neverOnTwo fails if two hosts have held the address at the same time.
func neverOnTwo(t *testing.T, s *site.Site, c site.Config, from time.Time) {
	t.Helper()
	for n := 2; n <= len(s.Nodes); n++ {
		both, err := s.Holders.Longest(site.Address(c.Routers[0].Addresses[0]), n, from, time.Now())
		must(t, err)
		if both > 0 {
			t.Errorf("%d hosts held the address for %s", n, both)
		}
	}
}

// The cut-off master gives up before the majority takes over, and comes back as
// a standby.
func TestQuorum_Partition(t *testing.T) {
	t.Parallel()
	s, c := majority(t, []string{"a", "b", "c"}, "of: nodes", "")
	vip := addresses(c.Routers[0].Addresses)
	cut := time.Now()
	must(t, s.Ports["a"].Cut())
	gone, err := s.Nodes["a"].AwaitRole("web", "FAULT", cut, patience)
	must(t, err)
	came, err := s.Nodes["b"].AwaitRole("web", "MASTER", cut, patience)
	must(t, err)
	must(t, s.Holders.Await("b", patience, vip...))
	if !gone.At.Before(came.At) {
		t.Errorf("a gave up %v after b took over", gone.At.Sub(came.At))
	}
	neverOnTwo(t, s, c, cut)

	mended := time.Now()
	must(t, s.Ports["a"].Mend())
	_, err = s.Nodes["a"].AwaitRole("web", "BACKUP", mended, patience)
	must(t, err)
	must(t, s.Holders.Await("b", patience, vip...))
	neverOnTwo(t, s, c, cut)
	if n := len(s.Nodes["b"].Changes()); n != 2 {
		t.Errorf("b changed its role %d times, want INIT to BACKUP and BACKUP to MASTER alone", n)
	}
}

// With two nodes a witness decides which of them is cut off.
func TestQuorum_Witness(t *testing.T) {
	t.Parallel()
	s, c := majority(t, []string{"a", "b"}, "of: nodes, witnesses: ["+clientAddress(false).String()+"]", "")
	cut := time.Now()
	must(t, s.Ports["a"].Cut())
	gone, err := s.Nodes["a"].AwaitRole("web", "FAULT", cut, patience)
	must(t, err)
	came, err := s.Nodes["b"].AwaitRole("web", "MASTER", cut, patience)
	must(t, err)
	if !gone.At.Before(came.At) {
		t.Errorf("a gave up %v after b took over", gone.At.Sub(came.At))
	}
	must(t, s.Holders.Await("b", patience, addresses(c.Routers[0].Addresses)...))
	neverOnTwo(t, s, c, cut)
	// Without the witness two of three are still a majority.
	must(t, s.Ports["a"].Mend())
	_, err = s.Nodes["a"].AwaitRole("web", "BACKUP", cut, patience)
	must(t, err)
	lost := time.Now()
	must(t, s.Ports["client"].Cut())
	time.Sleep(time.Second)
	for _, change := range append(s.Nodes["a"].Changes(), s.Nodes["b"].Changes()...) {
		if change.At.After(lost) {
			t.Errorf("%s to %s, though a and b see each other: %s", change.From, change.To, change.Reason)
		}
	}
}

// losing cuts the link between two hosts, and no other.
func losing(t *testing.T, s *site.Site, a, b string) {
	t.Helper()
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		h, from := s.Ports[pair[0]].Host, nodeAddress(pair[1], false).String()
		_, err := h.Run(patience, "nft", "add table ip cut; add chain ip cut in { type filter hook prerouting priority raw; }; add rule ip cut in ip saddr "+from+" drop")
		must(t, err)
	}
}

// Quorum is no arbiter: two that lose only each other both see the third, and
// both are master. That is what a fence is for: it does not let b promote.
func TestQuorum_OneLinkOfThree(t *testing.T) {
	t.Parallel()
	t.Run("no fence", func(t *testing.T) {
		t.Parallel()
		s, _ := majority(t, []string{"a", "b", "c"}, "of: nodes", "")
		cut := time.Now()
		losing(t, s, "a", "b")
		_, err := s.Nodes["b"].AwaitRole("web", "MASTER", cut, patience)
		must(t, err)
		if role := s.Nodes["a"].Role("web"); role != "MASTER" {
			t.Errorf("a is %s", role)
		}
	})
	t.Run("fence", func(t *testing.T) {
		t.Parallel()
		s, c := majority(t, []string{"a", "b", "c"}, "of: nodes", `services:
  - name: fence
    only_after: silence
    command: {start: [sh, -c, 'test -z "$1" || { echo "$1 cannot be fenced"; exit 1; }', fence, $previous_master]}
  - addresses
`)
		cut := time.Now()
		losing(t, s, "a", "b")
		b := s.Nodes["b"]
		refused := func(line string) bool {
			return strings.Contains(line, `"msg":"service did not start`) && strings.Contains(line, "a cannot be fenced")
		}
		_, next, err := b.Process.WaitLine(0, patience, refused)
		must(t, err)
		_, err = b.AwaitRole("web", "FAULT", cut, patience)
		must(t, err)
		// Nobody is heard there, so it tries again, and to no avail again.
		_, _, err = b.Process.WaitLine(next, 2*patience, refused)
		must(t, err)
		must(t, s.Holders.Await("a", patience, addresses(c.Routers[0].Addresses)...))
		neverOnTwo(t, s, c, cut)
		if role := s.Nodes["a"].Role("web"); role != "MASTER" {
			t.Errorf("a is %s", role)
		}
	})
}
