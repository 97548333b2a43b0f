package test

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/internal/lab"
	"baton/test/frame"
	"baton/test/site"
)

// hold opens connections as fast as it can, sends half a request on each and holds the last thousand.
const hold = `
import socket, sys, collections
held = collections.deque()
print("begun", flush=True)
while True:
    s = socket.socket()
    s.settimeout(1)
    try:
        s.connect((sys.argv[1], 9112))
        s.send(b"GET /metrics HTTP/1.1\r\nHost: ")
    except OSError:
        s.close()
        continue
    held.append(s)
    if len(held) > 1000:
        held.popleft().close()
`

// A client reads metrics and asks the probes of two nodes: who is ready moves with the role. Floods of connections that ask
// nothing, from the other node, disturb neither the advertisements nor the client.
func TestListener(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	need(t, "python3")
	const interval = 100 * time.Millisecond
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	c.More = "listen: {token: 0123456789abcdef, address: {a: $node.cluster:9112, default: \"[::]:9112\"}}\n"
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	spoken(t, a, b)
	where, six := map[*site.Node]string{}, ""
	for _, n := range []*site.Node{a, b} {
		prefixes, err := n.Host.Addresses(site.Interface)
		must(t, err)
		for _, p := range prefixes {
			if p.Addr().Is4() && p.Addr() != site.Address(c.Routers[0].Addresses[0]) {
				where[n] = p.Addr().String()
			}
			if n == b && p.Addr().Is6() && !p.Addr().IsLinkLocalUnicast() {
				six = p.Addr().String()
			}
		}
	}
	ask := func(n *site.Node, path string, more ...string) (status int, text string) {
		t.Helper()
		argv := append([]string{"curl", "-s", "--max-time", "10", "-w", "\n%{http_code}", "http://" + where[n] + ":9112" + path}, more...)
		out, _ := s.Client.Run(patience, argv...) // no answer is status 0
		out = strings.TrimSpace(out)
		status, err := strconv.Atoi(out[strings.LastIndex(out, "\n")+1:])
		must(t, err)
		return status, strings.TrimSuffix(out, strconv.Itoa(status))
	}
	wanted := func(n *site.Node, status int, words, path string, more ...string) string {
		t.Helper()
		got, text := ask(n, path, more...)
		if got != status || !strings.Contains(text, words) {
			t.Errorf("%s of %s: %d %s, want %d and %q", path, n.Name, got, text, status, words)
		}
		return text
	}
	awaits := func(n *site.Node, status int, path string) {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			got, text := ask(n, path)
			if got == status {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s of %s: %d %s, want %d", path, n.Name, got, text, status)
			}
		}
	}
	const bearer, ready = "Authorization: Bearer 0123456789abcdef", "/readyz?router=web&role=master"
	wanted(a, 200, "alive", "/healthz")
	awaits(a, 200, ready)
	wanted(b, 503, "web is BACKUP here", ready)
	wanted(b, 401, "Authorization", "/metrics")
	wanted(b, 200, `baton_router_role{role="BACKUP",router="web"} 1`, "/metrics", "-H", bearer)
	wanted(a, 200, `"role":"MASTER"`, "/v1/status", "-H", bearer)
	sent := func() int {
		t.Helper()
		for line := range strings.Lines(wanted(a, 200, `baton_router_role{role="MASTER",router="web"} 1`, "/metrics", "-H", bearer)) {
			if n, ok := strings.CutPrefix(line, `baton_advertisements_sent_total{family="ipv4",interface="`+site.Interface+`"} `); ok {
				count, err := strconv.Atoi(strings.TrimSpace(n))
				must(t, err)
				return count
			}
		}
		t.Error("no advertisement was counted")
		return 0
	}

	if out, err := s.Client.Run(patience, "curl", "-s", "--max-time", "10", "http://["+six+"]:9112/healthz"); err != nil || out != "alive\n" {
		t.Errorf("over IPv6: %q, %v", out, err)
	}

	// The flood.
	changes, before, from := len(a.Changes())+len(b.Changes()), sent(), time.Now()
	var floods []*lab.Process
	for range 3 {
		p, err := b.Host.Start([]string{"python3", "-c", hold, where[a]}, lab.StartOptions{})
		must(t, err)
		line(t, p, "begun")
		floods = append(floods, p)
	}
	for time.Since(from) < 5*time.Second {
		sent()
		wanted(a, 200, "alive", "/healthz")
	}
	for _, p := range floods {
		must(t, p.Signal(syscall.SIGKILL))
		_, err := p.Wait(patience)
		must(t, err)
	}
	if n := len(a.Changes()) + len(b.Changes()); n != changes {
		t.Errorf("%d changes of role under a flood of connections", n-changes)
	}
	unmoved(t, s, c.Routers[0].Addresses[0], "a", from)
	longest, last := time.Duration(0), time.Time{}
	for _, p := range s.Wire("a").Since(from) {
		if p.Sent && isAdvert(p) {
			if !last.IsZero() {
				longest = max(longest, p.At.Sub(last))
			}
			last = p.At
		}
	}
	t.Logf("the longest time between two advertisements under the flood: %v; %d were counted", longest, sent()-before)
	if longest > 3*interval {
		t.Errorf("%v between two advertisements", longest)
	}
	if n := sent() - before; n < int(5*time.Second/interval)/2 {
		t.Errorf("%d advertisements were counted in 5s", n)
	}

	// The role moves.
	must(t, a.Crash())
	awaits(b, 200, ready)
	wanted(b, 200, `baton_router_transitions_total{router="web"} 2`, "/metrics", "-H", bearer)
	must(t, a.Start())
	awaits(a, 200, ready)
	awaits(b, 503, ready)
}

func isAdvert(p frame.Packet) bool { return p.Advert != nil && p.Advert.VRID == 51 }
