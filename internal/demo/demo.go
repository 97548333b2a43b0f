package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"baton/internal/lab"
)

// The demo's little network.
const (
	ifname   = "eth0"
	socket   = "/run/haproxy.sock"
	settling = time.Second // after which a question without an answer is lost
	bound    = 5 * time.Second
)

var (
	address   = netip.MustParsePrefix("10.99.0.100/24")
	addresses = map[string]string{"a": "10.99.0.1/24", "b": "10.99.0.2/24", "client": "10.99.0.9/24"}
)

const configuration = `nodes: {a: 10.99.0.1, b: 10.99.0.2}
log: {format: json}
checks:
  haproxy: {type: haproxy, socket: /run/haproxy.sock, interval: 200ms, timeout: 1s, fall: 1}
virtual_routers:
  web:
    interface: eth0
    vrid: 51
    prefer: a
    addresses: [10.99.0.100/24]
    track: [haproxy]
`

const haproxyConfiguration = `global
  stats socket /run/haproxy.sock
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend web
  bind :80
  http-request return status 200 content-type text/plain string "well"
`

// demo is one showing.
type demo struct {
	out    io.Writer
	dir    string
	lab    *lab.Lab
	nodes  map[string]*node
	client *lab.Host
	prober *lab.Prober
	start  time.Time

	mu    sync.Mutex
	roles []role // all that both nodes said, in the order of their reading
}

// node is one of the two hosts.
type node struct {
	name    string
	host    *lab.Host
	port    *lab.Port
	baton   *lab.Process
	haproxy *lab.Process
	cut     bool
}

func (n *node) cutLink() error {
	n.cut = true
	return n.port.Cut()
}

func (n *node) mendLink() error {
	n.cut = false
	return n.port.Mend()
}

// Run shows the demo on out and returns an error when the address was not
// where it should be, or when ctx ended before the demo did. It leaves nothing
// behind.
func Run(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "baton-demo-")
	if err != nil {
		return fmt.Errorf("start the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := lab.New("demo")
	if err != nil {
		return fmt.Errorf("start the demo: %w", err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	d := &demo{out: out, dir: dir, lab: l, nodes: make(map[string]*node)}
	if err := d.build(); err != nil {
		return fmt.Errorf("start the demo: %w", err)
	}
	return d.play(ctx)
}

// build makes the hosts and their configuration.
func (d *demo) build() error {
	for name, text := range map[string]string{"baton.yaml": configuration, "haproxy.cfg": haproxyConfiguration} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	sw, err := d.lab.Switch("switch")
	if err != nil {
		return err
	}
	for _, name := range []string{"a", "b"} {
		n := &node{name: name}
		if n.host, err = d.lab.Host(name); err != nil {
			return err
		}
		if n.port, err = sw.Attach(n.host, ifname, addresses[name]); err != nil {
			return err
		}
		d.nodes[name] = n
	}
	if d.client, err = d.lab.Host("client"); err != nil {
		return err
	}
	_, err = sw.Attach(d.client, ifname, addresses["client"])
	return err
}

// startBaton starts the daemon of a node.
func (d *demo) startBaton(n *node) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	n.baton, err = n.host.Start(
		[]string{self, "run", "-c", filepath.Join(d.dir, "baton.yaml"), "--node", n.name},
		lab.StartOptions{OnLine: func(line lab.Line) { d.heard(n.name, line) }})
	return err
}

// startHAProxy starts what the address is for.
func (d *demo) startHAProxy(n *node) (err error) {
	argv := []string{haproxy(), "-db", "-f", filepath.Join(d.dir, "haproxy.cfg")}
	if argv[0] == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		argv = []string{self, "demo", "stand-in", socket, ":80"}
	}
	n.haproxy, err = n.host.Start(argv, lab.StartOptions{})
	return err
}

// startAll starts both nodes, once their HAProxy answers.
func (d *demo) startAll() error {
	for _, n := range d.nodes {
		if err := d.startHAProxy(n); err != nil {
			return err
		}
	}
	limit := time.Now().Add(bound)
	for _, n := range d.nodes {
		for {
			_, err := os.Stat(n.host.Path(socket))
			if err == nil {
				break
			}
			if time.Now().After(limit) {
				return fmt.Errorf("HAProxy on %s does not start: %w\n%s", n.name, err, n.haproxy.Output())
			}
			time.Sleep(5 * time.Millisecond)
		}
		if err := d.startBaton(n); err != nil {
			return err
		}
	}
	return nil
}

// haproxy is where HAProxy is installed, or empty.
func haproxy() string {
	for _, name := range []string{"haproxy", "/usr/sbin/haproxy"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// step is one thing that happens, at a time of the showing, and what is to
// come of it.
type step struct {
	at     time.Duration
	says   string
	does   func() error
	holder string // who has the address in the end
	tells  func(since time.Duration, r role) (node, text string)
}

// play shows the steps.
func (d *demo) play(ctx context.Context) error {
	a := d.nodes["a"]
	service := "HAProxy behind it"
	if haproxy() == "" {
		service = "a small server behind it, as HAProxy is not installed"
	}
	d.printf("%s on a (preferred) or b, adverts every 1s; %s; a client asks every millisecond.\n", address.Addr(), service)
	steps := []step{
		{0, "start a, b", d.startAll, "a", tellMaster("")},
		{6 * time.Second, "stop HAProxy on a", func() error { return a.haproxy.Kill() }, "b", tellFault},
		{9 * time.Second, "start HAProxy on a", func() error { return d.startHAProxy(a) }, "a", tellMaster("b answered until a had the address")},
		{14 * time.Second, "cut the link of a", a.cutLink, "b", tellMaster("")},
		{18 * time.Second, "mend the link", a.mendLink, "a", tellConflict},
		{21 * time.Second, "stop baton on a", func() error { return a.baton.Signal(syscall.SIGTERM) }, "b", tellMaster("it answered until b had the address")},
		{at: 24 * time.Second},
	}
	d.start = time.Now()
	for i, s := range steps[:len(steps)-1] {
		if err := d.show(ctx, s, steps[i+1].at); err != nil {
			return err
		}
	}
	report, err := d.prober.Stop()
	if err != nil {
		return fmt.Errorf("ask %s: %w", address.Addr(), err)
	}
	d.printf("%5.1fs  asked %s, lost %s. The address was where it should be at each step. keepalived beside it: make bench\n",
		time.Since(d.start).Seconds(), thousands(report.Sent), thousands(report.Lost))
	return nil
}

// show lets one step happen, waits for its outcome and for the client's last
// answers, and tells of both shortly before the next step.
func (d *demo) show(ctx context.Context, s step, next time.Duration) error {
	if err := d.sleep(ctx, s.at); err != nil {
		return err
	}
	d.printf("%5.1fs  %s\n", s.at.Seconds(), s.says)
	from := d.told()
	began := time.Now()
	if err := s.does(); err != nil {
		return fmt.Errorf("%s: %w", s.says, err)
	}
	if err := d.await(ctx, s.holder); err != nil {
		return err
	}
	if d.prober == nil {
		if err := d.ask(); err != nil {
			return err
		}
		began = time.Now()
	}
	if err := d.sleep(ctx, next-200*time.Millisecond); err != nil {
		return err
	}
	lines := d.tell(s, d.start.Add(s.at), from)
	for i, line := range lines {
		if s.at > 0 && i == len(lines)-1 {
			lost := d.prober.Between(began, time.Now().Add(-settling)).Lost
			line = fmt.Sprintf("%-84s lost %4d", line, lost)
		}
		d.printf("%s\n", line)
	}
	return nil
}

// ask starts the client, once the service answers.
func (d *demo) ask() (err error) {
	d.prober, err = d.client.Probe(lab.ProbeOptions{To: netip.AddrPortFrom(address.Addr(), 80), Timeout: settling})
	return err
}

// await waits until the address is on the holder, and on nobody else.
func (d *demo) await(ctx context.Context, holder string) error {
	limit := time.Now().Add(bound)
	for {
		holders, err := d.holders()
		if err != nil {
			return err
		}
		if slices.Equal(holders, []string{holder}) {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("after %s %s should be on %s, and is on: %s\n%s", bound, address.Addr(), holder,
				strings.Join(holders, ", "), d.output())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// holders names the nodes whose clients can reach the address there: those
// that have it and are not cut off.
func (d *demo) holders() ([]string, error) {
	var holders []string
	for _, name := range []string{"a", "b"} {
		holds, err := d.nodes[name].host.Holds(ifname, address.Addr())
		if err != nil {
			return nil, err
		}
		if holds && !d.nodes[name].cut {
			holders = append(holders, name)
		}
	}
	return holders, nil
}

// output is what the nodes wrote, for a demo that failed.
func (d *demo) output() string {
	var b strings.Builder
	for _, name := range []string{"a", "b"} {
		n := d.nodes[name]
		for what, p := range map[string]*lab.Process{"baton": n.baton, "HAProxy": n.haproxy} {
			if p != nil {
				fmt.Fprintf(&b, "--- %s on %s wrote:\n%s\n", what, n.name, p.Output())
			}
		}
	}
	return b.String()
}

// sleep waits until the time of the showing.
func (d *demo) sleep(ctx context.Context, until time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Until(d.start.Add(until))):
		return nil
	}
}

func (d *demo) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, format, args...) // a terminal that has gone ends the demo by a signal
}

// thousands writes a number with commas.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
