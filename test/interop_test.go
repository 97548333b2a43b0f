package test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/test/frame"
	"baton/test/site"
)

var (
	write   = flag.Bool("write", false, "write docs/interop.md anew")
	standin = flag.Bool("standin", false, "let a keepalived stand in for each baton: to try the tests themselves")
)

// interopPage is what TestInterop writes, and holds the ordinary runs to.
const interopPage = "../docs/interop.md"

// interopCell is one combination of what baton and a peer can do. Node a is preferred, and so the first master.
type interopCell struct {
	peer       site.Kind
	version    int
	ipv6       bool
	unicast    bool
	virtualMAC bool // baton's, and keepalived's
	batonFirst bool // baton is node a, the peer is b
}

// interopCells are all combinations, the impossible ones too.
func interopCells() []interopCell {
	var cells []interopCell
	no := []bool{false, true}
	for _, peer := range []site.Kind{site.Keepalived, site.FRR} {
		for _, version := range []int{2, 3} {
			for _, ipv6 := range no {
				for _, unicast := range no {
					for _, virtualMAC := range no {
						for _, peerFirst := range no {
							cells = append(cells, interopCell{peer, version, ipv6, unicast, virtualMAC, !peerFirst})
						}
					}
				}
			}
		}
	}
	return cells
}

// impossible says why a combination does not exist; empty: it does.
func (c interopCell) impossible() string {
	switch {
	case c.version == 2 && c.ipv6:
		return "version 2 carries IPv4 alone (RFC 3768)"
	case c.peer == site.FRR && c.unicast:
		return "FRR has no unicast"
	}
	return ""
}

// words are the cell's columns in the page.
func (c interopCell) words() []string {
	pick := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	mac := pick(c.virtualMAC, "virtual", "own")
	if c.peer == site.FRR { // it has one always
		mac = pick(c.virtualMAC, "virtual", "own, FRR's virtual")
	}
	return []string{
		c.peer.String(), fmt.Sprint("v", c.version), pick(c.ipv6, "IPv6", "IPv4"), pick(c.unicast, "unicast", "multicast"), mac,
		pick(c.batonFirst, "baton", c.peer.String()),
	}
}

func (c interopCell) interval() time.Duration {
	if c.version == 2 {
		return time.Second
	}
	return 100 * time.Millisecond
}

// config is that of a pair; between keepalived and baton, version 2 has a password.
func (c interopCell) config() site.Config {
	config := site.Pair(c.interval(), site.Addresses(2, c.ipv6)...)
	r := &config.Routers[0]
	r.Version, r.Unicast, r.VirtualMAC = c.version, c.unicast, c.virtualMAC
	if c.version == 2 && c.peer == site.Keepalived {
		r.Password = "baton+ka"
	}
	return config
}

// interopResult is what was measured in a cell.
type interopResult struct {
	passed        bool
	silence, stop time.Duration // from the last advertisement heard, from priority 0, to the takeover
}

// interopAtOnce is how many cells run at once: they sleep most of their time, and so they are one test among the parallel ones.
const interopAtOnce = 5

// TestInterop runs each combination of baton and a peer: a is master first, is cut off and returns, is stopped and
// started again. At each step exactly one node is master, in the time that the protocol has for it, and neither has
// refused anything that the other sent.
func TestInterop(t *testing.T) { // not beside the others: five cells at once take the machine from those that count packets
	cells := interopCells()
	results := make(map[interopCell]interopResult)
	var mu sync.Mutex
	turns := make(chan struct{}, interopAtOnce)
	t.Run("cells", func(t *testing.T) {
		var wg sync.WaitGroup
		for _, c := range cells {
			if c.impossible() != "" {
				continue
			}
			wg.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				t.Run(strings.Join(c.words(), " "), func(t *testing.T) {
					r := interopResult{}
					defer func() {
						r.passed = !t.Failed()
						mu.Lock()
						defer mu.Unlock()
						results[c] = r
					}()
					c.run(t, &r)
				})
			})
		}
		wg.Wait()
	})
	if *standin {
		return // it was not baton
	}
	for _, c := range cells {
		if _, ran := results[c]; !ran && c.impossible() == "" {
			return // only some were asked for
		}
	}
	rows := interopRows(cells, results)
	if *write {
		must(t, os.WriteFile(interopPage, []byte(interopText(t, rows)), 0o644))
		return
	}
	text, err := os.ReadFile(interopPage)
	must(t, err)
	want, got := withoutFigures(strings.Join(rows, "\n")), withoutFigures(string(text))
	for _, row := range strings.Split(want, "\n") {
		if !strings.Contains(got, row+"\n") {
			t.Errorf("%s does not say this (make interop writes it anew):\n%s", interopPage, row)
		}
	}
	if n, m := strings.Count(got, "\n|"), len(rows)+2; n != m { // two lines of heading
		t.Errorf("%s has %d rows, want %d: make interop writes it anew", interopPage, n, m)
	}
}

func (c interopCell) run(t *testing.T, r *interopResult) {
	kindA, kindB := site.Baton, c.peer
	if !c.batonFirst {
		kindA, kindB = kindB, kindA
	}
	s := newSite(t)
	config := c.config()
	vip := config.Routers[0].Addresses[1]
	a, b := startPair(t, s, kindA, kindB, config)
	roles := func(roleA, roleB string) {
		t.Helper()
		_, err := a.AwaitRole("web", roleA, time.Time{}, patience)
		must(t, err)
		_, err = b.AwaitRole("web", roleB, time.Time{}, patience)
		must(t, err)
	}
	roles("MASTER", "BACKUP")
	answers(t, s, vip)
	quiet := time.Now()
	time.Sleep(min(3*c.interval(), 1500*time.Millisecond))
	unmoved(t, s, vip, "a", quiet)
	if got := s.Advertisers(51, time.Since(quiet)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%v advertise, want a alone", got)
	}

	skew := c.interval() * (256 - 190) / 256
	down := 3*c.interval() + skew
	const margin = 2 * time.Second // the machine has much else to do
	cut := time.Now()
	must(t, a.Port.Cut())
	takeover := becameMaster(t, s, b, cut)
	r.silence = takeover.Sub(lastHeard(t, s, b, takeover, func(a *frame.Advert) bool { return a.Priority == 200 }))
	if r.silence < 5*c.interval()/2 || r.silence > down+margin {
		t.Errorf("b took over after %v of silence, want %v", r.silence, down)
	}
	answers(t, s, vip)
	mend := time.Now()
	must(t, a.Port.Mend())
	settled(t, s, "a", config)
	_, err := b.AwaitRole("web", "BACKUP", mend, patience)
	must(t, err)

	refusedBy(t, a)
	stop := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- a.Stop() }()
	takeover = becameMaster(t, s, b, stop)
	r.stop = takeover.Sub(lastHeard(t, s, b, takeover, func(a *frame.Advert) bool { return a.Priority == 0 }))
	must(t, <-stopped)
	// Had b not understood the goodbye, it would have waited for the whole time of silence.
	if r.stop >= down-c.interval()/2 {
		t.Errorf("b took over %v after priority 0, want %v", r.stop, skew)
	}
	settled(t, s, "b", config)
	answers(t, s, vip)
	restart := time.Now()
	must(t, a.Start())
	settled(t, s, "a", config)
	_, err = b.AwaitRole("web", "BACKUP", restart, patience)
	must(t, err)
	answers(t, s, vip)
	refusedBy(t, a)
	refusedBy(t, b)
	t.Logf("silence %v, stop %v", r.silence, r.stop)
}

// answers waits until the client has an answer from an address.
func answers(t *testing.T, s *site.Site, prefix string) {
	t.Helper()
	p, err := s.Ask(prefix, 0, 200*time.Millisecond)
	must(t, err)
	for deadline := time.Now().Add(patience); !p.Answers(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer the client", prefix)
		}
	}
	_, err = p.Stop()
	must(t, err)
}

// becameMaster waits until a node is master and advertises, and returns when it was the one or the other first: FRR's
// first IPv6 advertisement comes late.
func becameMaster(t *testing.T, s *site.Site, n *site.Node, from time.Time) time.Time {
	t.Helper()
	change, err := n.AwaitRole("web", "MASTER", from, patience)
	must(t, err)
	advert, err := s.AwaitAdvert(n.Name, from, patience, nil)
	must(t, err)
	if advert.At.Before(change.At) {
		return advert.At
	}
	return change.At
}

// lastHeard returns when the last advertisement of a kind came to a node before a time.
func lastHeard(t *testing.T, s *site.Site, n *site.Node, before time.Time, match func(*frame.Advert) bool) time.Time {
	t.Helper()
	var at time.Time
	for _, p := range s.Wire(n.Name).Packets() {
		if !p.Sent && p.Advert != nil && p.At.Before(before) && match(p.Advert) {
			at = p.At
		}
	}
	if at.IsZero() {
		t.Fatalf("%s has heard no such advertisement", n.Name)
	}
	return at
}

// refusedBy fails the test when a node has refused anything: all that is sent here is good.
func refusedBy(t *testing.T, n *site.Node) {
	t.Helper()
	refused, err := n.Refused()
	must(t, err)
	for reason, count := range refused {
		t.Errorf("%s, a %v, has refused %d advertisements: %s", n.Name, n.Kind, count, reason)
	}
}

// interopRows writes the rows of the page's table, without the heading.
func interopRows(cells []interopCell, results map[interopCell]interopResult) []string {
	var rows []string
	ms := func(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
	for _, c := range cells {
		if c.impossible() != "" {
			continue
		}
		r := results[c]
		result := []string{"passed", ms(r.silence), ms(r.stop)}
		if !r.passed {
			result[0] = "failed"
		}
		rows = append(rows, "| "+strings.Join(slices.Concat(c.words(), result), " | ")+" |")
	}
	return rows
}

// interopImpossible writes why combinations are missing.
func interopImpossible(cells []interopCell) string {
	var b strings.Builder
	var reasons []string
	for _, c := range cells {
		if why := c.impossible(); why != "" && !slices.Contains(reasons, why) {
			reasons = append(reasons, why)
			count := 0
			for _, other := range cells {
				if other.impossible() == why {
					count++
				}
			}
			fmt.Fprintf(&b, "- %s: %d combinations\n", why, count)
		}
	}
	return b.String()
}

// figures are measured values: they differ in each run.
var figures = regexp.MustCompile(`\d+ ms`)

func withoutFigures(text string) string { return figures.ReplaceAllString(text, "...") }

func interopText(t *testing.T, rows []string) string {
	t.Helper()
	heading := []string{"Peer", "VRRP", "Family", "Sent by", "MAC address", "First master", "Result", "Silence", "Stop"}
	return fmt.Sprintf(interopHeader, version(t, "keepalived", "-v"), version(t, filepath.Join(site.FRRBinaries, "vrrpd"), "-v")) +
		"| " + strings.Join(heading, " | ") + " |\n" + strings.Repeat("|---", len(heading)) + "|\n" +
		strings.Join(rows, "\n") + "\n\nThese combinations do not exist:\n\n" + interopImpossible(interopCells())
}

// version returns the first line of what a program says about itself.
func version(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	must(t, err)
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

const interopHeader = `# Peers

What baton was run against, by ` + "`make interop`" + `, which writes this page: real daemons in network namespaces. Ordinary test runs
repeat it and fail where a row differs in more than the figures. The peers were

- %s
- %s

Each row is a pair. The first master is the preferred node, with priority 200; the other has 190. The interval is 1 s in
version 2 and 100 ms in version 3. A row has passed when

1. after the start the preferred node alone advertises and has the two addresses, and a client's ping is answered;
2. the other takes over when the preferred node's cable is cut silently: **Silence** is the time from the last advertisement
   that it heard, due after 3258 ms in version 2 and 326 ms in version 3;
3. the preferred node alone is master again when the cable is mended;
4. the other takes over when the preferred node is stopped: **Stop** is the time from the priority 0 that it heard, due
   after 258 ms and 26 ms;
5. the preferred node takes its role back when it is started again;
6. neither has refused a single advertisement, by its own count or log.

Version 2 with keepalived has a password (` + "`auth_type PASS`" + `). With "virtual", both have the virtual MAC address; FRR has it always. In unicast a virtual MAC address is that of the addresses alone: the advertisements come from the interface
(` + "`advertise_from: interface`" + `, keepalived's ` + "`vmac_xmit_base`" + `).

`
