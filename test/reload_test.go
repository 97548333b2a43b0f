package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/internal/control"
	"baton/test/site"
)

// late is how much longer than its interval an advertisement may be on its way here.
const late = 40 * time.Millisecond

// gap returns the longest time between two advertisements of a router that a node sent since a moment.
func gap(s *site.Site, node string, vrid uint8, from time.Time) time.Duration {
	var longest time.Duration
	last := from
	for _, p := range s.Wire(node).Since(from) {
		if p.Sent && p.Advert != nil && p.Advert.VRID == vrid {
			longest, last = max(longest, p.At.Sub(last)), p.At
		}
	}
	return max(longest, time.Since(last))
}

// twins is two routers that the nodes a and b run: web, which is changed, and other, which stays as it is.
func twins() site.Config {
	c := site.Pair(interval, site.Addresses(1, false)...)
	other := c.Routers[0]
	other.Name, other.VRID, other.Addresses = "other", 52, []string{"10.99.2.1/16"}
	c.Routers = append(c.Routers, other)
	return c
}

// The common changes of a live master: a client that asks both routers each millisecond loses nothing, no role
// changes, and the other router misses no advertisement.
func TestReload_LiveMaster(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := twins()
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	before := spoken(t, a, b)
	hook := filepath.Join(a.Dir, "told")
	askWeb, askOther := asking(t, s, c.Routers[0].Addresses[0], 0), asking(t, s, c.Routers[1].Addresses[0], 0)
	began := time.Now()
	more := "10.99.1.77/16"
	for _, step := range []struct {
		change func(*site.Config)
		want   string
	}{
		{func(c *site.Config) { c.Routers[0].Addresses = append(c.Routers[0].Addresses, more) }, "addresses: + 10.99.1.77/16  added and announced; stays MASTER"},
		{func(c *site.Config) { c.Routers[0].Addresses = c.Routers[0].Addresses[:1] }, "addresses: - 10.99.1.77/16  removed; stays MASTER"},
		{func(c *site.Config) { c.Routers[0].Priority = map[string]int{"a": 210, "b": 190} }, "priority: 200 to 210  priority 200 to 210; stays MASTER"},
		{func(c *site.Config) { c.Routers[0].Interval = 2 * interval }, "advertisement_interval: 100ms to 200ms"},
		{func(c *site.Config) { c.Routers[0].Interval = interval }, "advertisement_interval: 200ms to 100ms"},
		{func(c *site.Config) {
			c.Checks = []site.Check{{Name: "chk", Command: "true", Interval: time.Second, Rise: 1, Fall: 1}}
			c.Routers[0].Track = []site.Effect{{Check: "chk"}}
		}, "track: + chk"},
		{func(c *site.Config) { c.Checks[0].Interval = 2 * time.Second }, "interval: 1s to 2s"},
		{func(c *site.Config) { c.Routers[0].Notify = "{any: [sh, -c, 'echo >> " + hook + "']}" }, "notify: changed"},
		{func(c *site.Config) { c.Routers[0].Name = "www" }, "renamed from web"},
		{func(c *site.Config) { c.Routers[0].Name = "web" }, "renamed from www"},
		{func(c *site.Config) {
			c.Routers[0].Track = nil
			c.Groups = []site.Group{{Name: "edge", Members: []string{"web", "other"}, Priority: map[string]int{"a": 210, "b": 190}}}
			c.Routers[0].Notify = ""
		}, "group: none to edge"},
		{func(c *site.Config) { c.Groups = nil }, "group: edge to none"},
	} {
		step.change(&c)
		for _, n := range []*site.Node{a, b} {
			must(t, s.Configure(n, c))
			text := output(t, n, 0, "reload")
			if n == a {
				wantIn(t, squeezed(text), squeezed(step.want))
			}
		}
		time.Sleep(3 * interval)
	}
	if n := lost(t, askWeb); n > 0 {
		t.Errorf("%d questions to the router that was changed were lost", n)
	}
	if n := lost(t, askOther); n > 0 {
		t.Errorf("%d questions to the other router were lost", n)
	}
	if n := len(a.Changes()) + len(b.Changes()); n != before {
		t.Errorf("%d changes of role, want %d", n, before)
	}
	if g := gap(s, "a", 52, began); g > interval+late {
		t.Errorf("%v between two advertisements of the router that stayed as it is", g)
	}
	if _, err := os.Stat(hook); err == nil {
		t.Error("a hook was told though nothing has changed")
	}
	wantIn(t, output(t, a, 0, "reload"), "Nothing to change")
}

// squeezed has one space where there are more.
func squeezed(text string) string { return strings.Join(strings.Fields(text), " ") }

// An address goes from one router of a node to the other one, and is on all the time.
func TestReload_MovedAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := twins()
	moves := "10.99.1.77/16"
	c.Routers[0].Addresses = append(c.Routers[0].Addresses, moves)
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	spoken(t, a, b)
	ask := asking(t, s, moves, 0)
	from := time.Now()
	for range 3 {
		for _, to := range []int{1, 0} {
			for i := range c.Routers {
				list := c.Routers[i].Addresses
				if c.Routers[i].Addresses = list[:1:1]; i == to {
					c.Routers[i].Addresses = append(c.Routers[i].Addresses, moves)
				}
			}
			for _, n := range []*site.Node{a, b} {
				must(t, s.Configure(n, c))
				output(t, n, 0, "reload")
			}
		}
	}
	if n := lost(t, ask); n > 0 {
		t.Errorf("%d questions were lost", n)
	}
	unmoved(t, s, moves, "a", from)
	spans, err := s.Holders.Spans(site.Address(moves), from, time.Now())
	must(t, err)
	for _, span := range spans {
		if len(span.Hosts) == 0 { // as one kernel tells of it, in order
			t.Errorf("it was off for a moment: %v", spans)
			break
		}
	}
}

// A router that is removed from the master is handed over, and nothing is lost; so it is when it comes back.
func TestReload_RemovedAndAdded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := twins()
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	spoken(t, a, b)
	ask := asking(t, s, c.Routers[0].Addresses[0], 0)
	less := c
	less.Routers = c.Routers[1:]
	must(t, s.Configure(a, less))
	wantIn(t, output(t, a, 0, "reload", "--dry-run"), "removed", "MASTER here: the role is handed over", "Nothing has been changed")
	if got := a.Role("web"); got != "MASTER" {
		t.Errorf("after a dry run it is %s", got)
	}
	output(t, a, 0, "reload")
	_, err := b.AwaitRole("web", "MASTER", time.Time{}, patience)
	must(t, err)
	must(t, s.Configure(a, c))
	back := time.Now()
	wantIn(t, output(t, a, 0, "reload"), "added", "begins in INIT")
	change, err := a.AwaitRole("web", "MASTER", back, patience)
	must(t, err)
	if change.Reason != "200 beats 190 of b" { // it has heard it from the first advertisement on
		t.Errorf("it takes the role since %q", change.Reason)
	}
	settled(t, s, "a", c)
	if n := lost(t, ask); n > 0 {
		t.Errorf("%d questions were lost", n)
	}
}

// A broken file changes nothing, and is told of until it is mended.
func TestReload_BrokenFile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := twins()
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	spoken(t, a, b)
	broken := c
	broken.Routers = slices.Clone(c.Routers)
	broken.Routers[0].More = "prioritty: 7\n"
	broken.Routers[1].VRID = 53
	must(t, s.Configure(a, broken))
	wantIn(t, output(t, a, 3, "reload"), `unknown key "prioritty"`, `did you mean "priority"?`, "1 error", "Nothing has been changed: baton goes on with configuration ")
	wantIn(t, output(t, a, 1, "status"), "DEGRADED: 1 problem", "reload failed at ", "1 mistake; the daemon goes on with configuration ")
	wantIn(t, output(t, a, 0, "events"), "reload failed")
	wantIn(t, output(t, a, 0, "status", "other"), "VRID 52")
	must(t, s.Configure(a, c))
	must(t, a.Process.Signal(syscall.SIGHUP))
	if _, _, err := a.Process.WaitLine(0, patience, func(l string) bool { return strings.Contains(l, "configuration reloaded") }); err != nil {
		t.Fatal(err)
	}
	wantIn(t, output(t, a, 0, "status"), " well\n")
}

// The HTTP listener comes and goes with the configuration, and counts the reloads.
func TestReload_Listener(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	c := twins()
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	spoken(t, a, b)
	with := c
	with.More = "listen: {token: 0123456789abcdef, address: \"[::]:9112\"}\n"
	ask := func(path string) (string, error) {
		return a.Host.Run(patience, "curl", "-gsSf", "--retry", "20", "--retry-delay", "1", "--retry-connrefused", "-H", "Authorization: Bearer 0123456789abcdef", "http://10.99.0.1:9112"+path)
	}
	must(t, s.Configure(a, with))
	output(t, a, 0, "reload")
	text, err := ask("/metrics")
	must(t, err)
	wantIn(t, text, `baton_configuration_reloads_total{result="success"} 1`)
	must(t, s.Configure(a, c))
	output(t, a, 0, "reload")
	if text, err := a.Host.Run(patience, "curl", "-gsS", "http://10.99.0.1:9112/healthz"); err == nil {
		t.Errorf("without listen it answers: %s", text)
	}
}

func TestReload_Storm(t *testing.T) { storm(t, 30, 3*time.Second) }

// storm has a node with 200 routers reload many times, each second time a file with mistakes. Of 200 routers 190 are
// never changed: they miss no advertisement.
func storm(t *testing.T, times int, within time.Duration) {
	s := newSite(t)
	const routers, changing = 200, 10
	every := time.Second
	c := site.Config{}
	for i, addr := range site.Addresses(routers, false) {
		c.Routers = append(c.Routers, site.Router{
			Name: fmt.Sprintf("r%03d", i), VRID: i + 1, Interval: every, Addresses: []string{addr}, Priority: map[string]int{"a": 200, "b": 190},
		})
	}
	a := add(t, s, "a", site.Baton, c)
	must(t, a.Start())
	for _, r := range c.Routers {
		must(t, s.Holders.Await("a", patience, addresses(r.Addresses)...))
	}
	client := control.Dial(filepath.Join(a.Dir, "run"))
	ctx, cancel := context.WithTimeout(t.Context(), within+2*patience)
	defer cancel()
	changes := len(a.Changes())
	began := time.Now()
	failed := 0
	for i := range times {
		next := c
		next.Routers = slices.Clone(c.Routers)
		for k := range changing {
			r := &next.Routers[k]
			switch i % 3 {
			case 0:
				r.Priority = map[string]int{"a": 150 + i%50, "b": 190}
			case 1:
				r.Addresses = append(slices.Clone(r.Addresses), fmt.Sprintf("10.99.3.%d/16", k+1))
			}
		}
		if i%2 == 1 {
			next.Routers[5].More = "nonsense: 1\n"
		}
		must(t, s.Configure(a, next))
		_, err := client.Reload(ctx, false)
		var said *control.Error
		switch {
		case errors.As(err, &said) && said.Kind == control.Mistaken && i%2 == 1:
			failed++
		case err != nil || i%2 == 1:
			t.Fatalf("reload %d: %v", i, err)
		}
		time.Sleep(time.Until(began.Add(within * time.Duration(i+1) / time.Duration(times))))
	}
	took := time.Since(began)
	time.Sleep(every + 200*time.Millisecond)
	var worst time.Duration
	for i := changing; i < routers; i++ {
		g := gap(s, "a", uint8(i+1), began)
		if worst = max(worst, g); g > every+late {
			t.Errorf("%v between two advertisements of r%03d", g, i)
		}
	}
	if n := len(a.Changes()); n != changes {
		t.Errorf("%d changes of role", n-changes)
	}
	t.Logf("%d reloads in %v, %d of them of a broken file; at most %v between two advertisements of a router that is not changed", times, took.Round(time.Millisecond), failed, worst.Round(time.Millisecond))
}

// A router on a link that had none, a second family of a master, and services: the router beside them misses no
// advertisement, and the master stays one.
func TestReload_LinkFamilyServices(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	must(t, s.AddLink())
	c := twins()
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	spoken(t, a, b)
	ask := asking(t, s, c.Routers[0].Addresses[0], 0)
	began := time.Now()
	reload := func(want ...string) {
		t.Helper()
		for _, n := range []*site.Node{a, b} {
			must(t, s.Configure(n, c))
			text := output(t, n, 0, "reload")
			if n == a {
				wantIn(t, text, want...)
			}
		}
	}
	second := c.Routers[1]
	second.Name, second.VRID, second.Interface, second.Addresses = "second", 60, site.Second, []string{"10.97.1.1/16"}
	c.Routers = append(c.Routers, second)
	reload("second", "begins in INIT")
	_, err := a.AwaitRole("second", "MASTER", began, patience)
	must(t, err)
	_, err = b.AwaitRole("second", "BACKUP", began, patience)
	must(t, err)

	c.Routers[0].Addresses = []string{c.Routers[0].Addresses[0], "fd99::100/64"}
	reload("web IPv6", "joins those that are MASTER, and is at once")
	six := asking(t, s, "fd99::100/64", 0)

	ran := filepath.Join(a.Dir, "ran")
	command := func(name string) string {
		return fmt.Sprintf("{name: %s, command: {start: [sh, -c, 'echo start %s >> %s.$node'], stop: [sh, -c, 'echo stop %s >> %s.$node']}}", name, name, ran, name, ran)
	}
	c.Routers[0].More = "services: [" + command("one") + "]\n"
	reload("services: + one")
	tell(t, a, 0, "ready", "wait", "web", "--ready", "--timeout", "20s")
	c.Routers[0].More = "services: [" + command("one") + ", " + command("two") + "]\n"
	reload("services: + two")
	tell(t, a, 0, "ready", "wait", "web", "--ready", "--timeout", "20s")
	c.Routers[0].More = "services: [" + command("two") + "]\n"
	reload("services: - one")
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile(ran + ".a")
		if string(text) == "start one\nstart two\nstop one\n" {
			break
		}
		if time.Since(began) > patience {
			t.Fatalf("the services were told:\n%s", text)
		}
	}
	c.Routers[0].Addresses = c.Routers[0].Addresses[:1]
	c.Routers = c.Routers[:2]
	if n := lost(t, six); n > 0 {
		t.Errorf("%d questions to the second family were lost", n)
	}
	reload("second", "web IPv6", "removed")
	if n := lost(t, ask); n > 0 {
		t.Errorf("%d questions were lost", n)
	}
	if g := gap(s, "a", 52, began); g > interval+late {
		t.Errorf("%v between two advertisements of the router that stayed as it is", g)
	}
	for _, ch := range a.Changes() {
		if ch.At.After(began) && ch.From == "MASTER" && ch.To != "INIT" {
			t.Errorf("%+v", ch)
		}
	}
}
