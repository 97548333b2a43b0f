// Package site sets up what the black-box tests and the benchmarks run: nodes, each a baton or a keepalived of its
// own in a host of its own, and a client, on one switch; it writes their configuration files, and knows at every
// time who held which address. It returns errors and asserts nothing.
package site

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"baton/internal/lab"
	"baton/test/frame"
)

// Interface is the name of every host's interface.
const Interface = "eth0"

// Site is a laboratory with one switch.
type Site struct {
	Lab     *lab.Lab
	Switch  *lab.Switch
	Client  *lab.Host
	Holders *Holders
	Ports   map[string]*lab.Port // by host, "client" included
	Nodes   map[string]*Node     // by name, those added

	dir   string
	hosts []string
	wires map[string]*frame.Capture
}

// New makes a site with a host for each node, and a client. The first node has the addresses 10.99.0.1/16 and
// fd99::1/64, the second the next ones, the client 10.99.0.200/16 and fd99::c8/64. Files go to dir.
func New(dir string, nodes ...string) (*Site, error) {
	l, err := lab.New("site")
	if err != nil {
		return nil, err
	}
	s := &Site{
		Lab: l, Holders: newHolders(), Ports: make(map[string]*lab.Port), Nodes: make(map[string]*Node),
		dir: dir, hosts: nodes, wires: make(map[string]*frame.Capture),
	}
	if err := s.build(); err != nil {
		l.Close()
		return nil, err
	}
	return s, nil
}

func (s *Site) build() (err error) {
	if s.Switch, err = s.Lab.Switch("lan"); err != nil {
		return err
	}
	for i, name := range s.hosts {
		if err := s.attach(name, i+1); err != nil {
			return err
		}
		h := s.Ports[name].Host
		if err := h.WatchAddresses(s.Holders.note, s.Holders.fail); err != nil {
			return err
		}
		if s.wires[name], err = frame.Record(h, Interface); err != nil {
			return err
		}
	}
	if err := s.attach("client", 200); err != nil {
		return err
	}
	s.Client = s.Ports["client"].Host
	s.wires["client"], err = frame.Record(s.Client, Interface)
	return err
}

func (s *Site) attach(name string, number int) error {
	h, err := s.Lab.Host(name)
	if err != nil {
		return err
	}
	s.Ports[name], err = s.Switch.Attach(h, Interface, fmt.Sprintf("10.99.0.%d/16", number), fmt.Sprintf("fd99::%x/64", number))
	return err
}

// Close ends everything. Files stay.
func (s *Site) Close() error { return s.Lab.Close() }

// Wire returns the capture on a host's interface: what that host sent and received.
func (s *Site) Wire(host string) *frame.Capture { return s.wires[host] }

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

// AwaitAdvert waits for an advertisement that a node sends, from a time on.
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
		for _, p := range s.wires[name].Since(time.Now().Add(-within)) {
			if p.Sent && p.Advert != nil && p.Advert.VRID == vrid && p.Advert.Priority > 0 {
				list = append(list, name)
				break
			}
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
	out, err := exec.Command("go", "build", "-o", path, "baton/cmd/baton").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build baton: %w\n%s", err, out)
	}
	return path, nil
}
