// Package site sets up what the black-box tests and the benchmarks run: nodes, each a baton, a keepalived or a FRR of
// its own in a host of its own, and a client, on one switch or two; it writes their configuration files, and knows at every
// time who held which address. It returns errors and asserts nothing.
package site

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"baton/internal/lab"
	"baton/test/frame"
)

// Interface is the name of every host's interface; Second that of the one which AddLink adds.
const (
	Interface = "eth0"
	Second    = "eth1"
)

// Site is a laboratory with one switch, or two.
type Site struct {
	Lab     *lab.Lab
	Switch  *lab.Switch
	Client  *lab.Host
	Holders *Holders
	Ports   map[string]*lab.Port // by host, "client" included
	Seconds map[string]*lab.Port // the same on the second switch
	Nodes   map[string]*Node     // by name, those added

	dir   string
	hosts []string
	nets  map[string]int // by host: 99 on the first switch, 98 on the second
	wires map[string]*frame.Capture
	// more are the captures on the second switch.
	more map[string]*frame.Capture
}

// New makes a site with a host for each node, and a client. The first node has the addresses 10.99.0.1/16 and
// fd99::1/64, the second the next ones, the client 10.99.0.200/16 and fd99::c8/64. Files go to dir.
func New(dir string, nodes ...string) (*Site, error) {
	l, err := lab.New("site")
	if err != nil {
		return nil, err
	}
	s := newSite(l, dir, nodes)
	if err := s.build(); err != nil {
		l.Close()
		return nil, err
	}
	return s, nil
}

// NewRouted makes a site whose nodes have a router between them: the first node and the client are on one switch, as
// with New, the second node, 10.98.0.2/16 and fd98::2/64, on another. The router is .254 and ::fe of both networks, and
// each node's default gateway.
func NewRouted(dir, near, far string) (*Site, error) {
	l, err := lab.New("site")
	if err != nil {
		return nil, err
	}
	s := newSite(l, dir, []string{near, far})
	s.nets[far] = 98
	if err := s.buildRouted(near, far); err != nil {
		l.Close()
		return nil, err
	}
	return s, nil
}

func newSite(l *lab.Lab, dir string, nodes []string) *Site {
	return &Site{
		Lab: l, Holders: newHolders(), dir: dir, hosts: nodes,
		Ports: make(map[string]*lab.Port), Seconds: make(map[string]*lab.Port), Nodes: make(map[string]*Node),
		nets: make(map[string]int), wires: make(map[string]*frame.Capture), more: make(map[string]*frame.Capture),
	}
}

func (s *Site) build() (err error) {
	if s.Switch, err = s.Lab.Switch("lan"); err != nil {
		return err
	}
	for i, name := range s.hosts {
		if err := s.attach(s.Switch, name, i+1); err != nil {
			return err
		}
	}
	return s.client()
}

func (s *Site) buildRouted(near, far string) (err error) {
	if s.Switch, err = s.Lab.Switch("lan"); err != nil {
		return err
	}
	second, err := s.Lab.Switch("far")
	if err != nil {
		return err
	}
	router, err := s.Lab.Host("router")
	if err != nil {
		return err
	}
	for key, value := range map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"} {
		if err := router.Sysctl(key, value); err != nil {
			return err
		}
	}
	if _, err := s.Switch.Attach(router, Interface, "10.99.0.254/16", "fd99::fe/64"); err != nil {
		return err
	}
	if _, err := second.Attach(router, Second, "10.98.0.254/16", "fd98::fe/64"); err != nil {
		return err
	}
	if err := s.attach(s.Switch, near, 1); err != nil {
		return err
	}
	if err := s.attach(second, far, 2); err != nil {
		return err
	}
	if err := s.client(); err != nil {
		return err
	}
	for _, h := range []*lab.Host{s.Ports[near].Host, s.Ports[far].Host, s.Client} {
		net := s.net(h.Name)
		for _, gateway := range []string{fmt.Sprintf("10.%d.0.254", net), fmt.Sprintf("fd%d::fe", net)} {
			if _, err := h.Run(commandTimeout, "ip", "route", "add", "default", "via", gateway); err != nil {
				return err
			}
		}
	}
	return nil
}

// commandTimeout bounds a command such as ip.
const commandTimeout = 10 * time.Second

func (s *Site) client() (err error) {
	if err := s.attach(s.Switch, "client", 200); err != nil {
		return err
	}
	s.Client = s.Ports["client"].Host
	return nil
}

// attach makes a host and gives it its interface. It is watched.
func (s *Site) attach(sw *lab.Switch, name string, number int) error {
	h, err := s.Lab.Host(name)
	if err != nil {
		return err
	}
	net := s.net(name)
	s.Ports[name], err = sw.Attach(h, Interface, fmt.Sprintf("10.%d.0.%d/16", net, number), fmt.Sprintf("fd%d::%x/64", net, number))
	if err != nil {
		return err
	}
	if name != "client" {
		if err := h.WatchAddresses(s.Holders.note, s.Holders.fail); err != nil {
			return err
		}
	}
	s.wires[name], err = frame.Record(h, Interface)
	return err
}

// net returns the number of the network that a host is in.
func (s *Site) net(host string) int {
	if n, ok := s.nets[host]; ok {
		return n
	}
	return 99
}

// own returns a node's own address.
func (s *Site) own(node string, ipv6 bool) netip.Addr {
	number := slices.Index(s.hosts, node) + 1
	if ipv6 {
		return netip.MustParseAddr(fmt.Sprintf("fd%d::%x", s.net(node), number))
	}
	return netip.MustParseAddr(fmt.Sprintf("10.%d.0.%d", s.net(node), number))
}

// AddLink gives every host, the client too, an interface eth1 on a second switch: 10.97.0.1/16 and fd97::1/64, and so on.
// It is for the time before daemons start.
func (s *Site) AddLink() error {
	sw, err := s.Lab.Switch("second")
	if err != nil {
		return err
	}
	for i, name := range append(slices.Clone(s.hosts), "client") {
		number := i + 1
		if name == "client" {
			number = 200
		}
		h := s.Ports[name].Host
		s.Seconds[name], err = sw.Attach(h, Second, fmt.Sprintf("10.97.0.%d/16", number), fmt.Sprintf("fd97::%x/64", number))
		if err != nil {
			return err
		}
		if s.more[name], err = frame.Record(h, Second); err != nil {
			return err
		}
	}
	return nil
}

// Close ends everything. Files stay.
func (s *Site) Close() error { return s.Lab.Close() }

// Wire returns the capture on a host's interface: what that host sent and received.
func (s *Site) Wire(host string) *frame.Capture { return s.wires[host] }

// SecondWire returns the capture on the interface that AddLink added.
func (s *Site) SecondWire(host string) *frame.Capture { return s.more[host] }

// Addresses returns count addresses of the site for use as virtual ones, with their prefix lengths: 10.99.1.1/16
// or fd99::100/64 and the following ones.
func Addresses(count int, ipv6 bool) []string {
	next := netip.MustParsePrefix("10.99.1.1/16")
	if ipv6 {
		next = netip.MustParsePrefix("fd99::100/64")
	}
	var list []string
	for range count {
		list = append(list, next.String())
		next = netip.PrefixFrom(next.Addr().Next(), next.Bits())
	}
	return list
}

// Address returns the address of a prefix as Addresses writes it.
func Address(prefix string) netip.Addr {
	return netip.MustParsePrefix(prefix).Addr()
}

// Ask lets the client ask an address each millisecond; port 0: an ICMP echo.
func (s *Site) Ask(prefix string, port uint16, timeout time.Duration) (*lab.Prober, error) {
	return s.Client.Probe(lab.ProbeOptions{To: netip.AddrPortFrom(Address(prefix), port), Timeout: timeout})
}

// AwaitAdvert waits for an advertisement that a node sends on eth0, from a time on.
func (s *Site) AwaitAdvert(node string, from time.Time, timeout time.Duration, match func(*frame.Advert) bool) (frame.Packet, error) {
	p, err := s.wires[node].Wait(from, timeout, func(p frame.Packet) bool {
		return p.Sent && p.Advert != nil && (match == nil || match(p.Advert))
	})
	if err != nil {
		return p, fmt.Errorf("an advertisement of %s: %w", node, err)
	}
	return p, nil
}

// Advertisers returns the nodes that have advertised a virtual router during the last `within`.
func (s *Site) Advertisers(vrid uint8, within time.Duration) []string {
	var list []string
	for _, name := range s.hosts {
		packets := s.wires[name].Since(time.Now().Add(-within))
		if more := s.more[name]; more != nil {
			packets = slices.Concat(packets, more.Since(time.Now().Add(-within)))
		}
		if slices.ContainsFunc(packets, func(p frame.Packet) bool {
			return p.Sent && p.Advert != nil && p.Advert.VRID == vrid && p.Advert.Priority > 0
		}) {
			list = append(list, name)
		}
	}
	return list
}

// BuildBaton builds the command into dir and returns its path. Where BATON names a binary, that one is taken.
func BuildBaton(dir string) (string, error) {
	if path := os.Getenv("BATON"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(dir, "baton")
	build := exec.Command("go", "build", "-o", path, "baton/cmd/baton")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build baton: %w\n%s", err, out)
	}
	return path, nil
}
