package test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
	"baton/test/site"
)

func TestSecondDaemon(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a := add(t, s, "a", site.Baton, c)
	must(t, a.Start())
	settled(t, s, "a", c)
	first := fmt.Sprint(a.Process.PID)
	for name, dir := range map[string]string{
		"same runtime directory":                filepath.Join(a.Dir, "run"),
		"other runtime directory, same network": filepath.Join(a.Dir, "other"),
	} {
		p, err := a.Host.Start([]string{
			batonBinary, "run", "-c", filepath.Join(a.Dir, "baton.yaml"), "--node", "a", "--runtime-dir", dir,
		}, lab.StartOptions{})
		must(t, err)
		status, err := p.Wait(patience)
		must(t, err)
		if status != 1 || !strings.Contains(p.Output(), first) {
			t.Errorf("%s: exit %d, want 1 and the name of process %s:\n%s", name, status, first, p.Output())
		}
	}
	if got := s.Holders.Now(site.Address(c.Routers[0].Addresses[0])); len(got) != 1 {
		t.Errorf("the address is on %v after the attempts", got)
	}
}

// A signal that comes before the daemon does anything ends it, and is not
// swallowed: here it waits for its configuration, a pipe.
func TestSignalAtStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := add(t, s, "a", site.Baton, site.Pair(interval, site.Addresses(1, false)...))
	file := filepath.Join(a.Dir, "baton.yaml")
	must(t, os.Remove(file))
	must(t, unix.Mkfifo(file, 0o600))
	must(t, a.Start())
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		fd, err := unix.Open(file, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) // refused while nobody reads
		if err == nil {
			defer unix.Close(fd)
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the configuration is not read:", err)
		}
	}
	must(t, a.Process.Signal(syscall.SIGTERM))
	if status, err := a.Process.Wait(patience); err != nil || status != -1 {
		t.Errorf("exit %d, %v; want to end by the signal", status, err)
	}
}

func TestMissingInterface(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a := add(t, s, "a", site.Baton, c)
	file := filepath.Join(a.Dir, "baton.yaml")
	text := strings.Replace(s.BatonYAML(c), "interface: "+site.Interface, "interface: later0", 1)
	must(t, os.WriteFile(file, []byte(text), 0o644))
	must(t, a.Start())
	change, err := a.AwaitRole("web", "FAULT", time.Time{}, patience)
	must(t, err)
	if !strings.Contains(change.Reason, "later0") {
		t.Errorf("the reason %q does not name the interface", change.Reason)
	}
	_, err = s.Switch.Attach(a.Host, "later0", "10.99.0.77/16")
	must(t, err)
	_, err = a.AwaitRole("web", "MASTER", change.At, patience)
	must(t, err)
	must(t, s.Holders.Await("a", patience, site.Address(c.Routers[0].Addresses[0])))
}

// An interface may be configured by an alternative name.
func TestAlternativeName(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	vip := site.Address(c.Routers[0].Addresses[0])
	a := add(t, s, "a", site.Baton, c)
	l, err := a.Host.Netlink().LinkByName(site.Interface)
	must(t, err)
	must(t, a.Host.Netlink().LinkAddAltName(l, "lan0"))
	file := filepath.Join(a.Dir, "baton.yaml")
	text := strings.Replace(s.BatonYAML(c), "interface: "+site.Interface, "interface: lan0", 1)
	must(t, os.WriteFile(file, []byte(text), 0o644))
	must(t, a.Start())
	must(t, s.Holders.Await("a", patience, vip))
	settled(t, s, "a", c)
	must(t, a.Stop())
	if got := s.Holders.Now(vip); len(got) != 0 {
		t.Errorf("the address is left on %v", got)
	}
}

func TestBadFile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := add(t, s, "a", site.Baton, site.Pair(interval, site.Addresses(1, false)...))
	file := filepath.Join(a.Dir, "baton.yaml")
	text, err := os.ReadFile(file)
	must(t, err)
	broken := strings.Replace(strings.Replace(string(text), "vrid: 51", "vrid: 300", 1), "preempt:", "preemptt:", 1)
	must(t, os.WriteFile(file, []byte(broken), 0o644))
	for _, argv := range [][]string{{batonBinary, "validate", file}, {batonBinary, "run", "-c", file, "--node", "a", "--runtime-dir", filepath.Join(a.Dir, "run")}} {
		p, err := a.Host.Start(argv, lab.StartOptions{})
		must(t, err)
		status, err := p.Wait(patience)
		must(t, err)
		if status != 3 {
			t.Errorf("%s exits %d, want 3", argv[1], status)
		}
		for _, want := range []string{"preemptt", `did you mean "preempt"`, "300", "baton.yaml:"} {
			if !strings.Contains(p.Output(), want) {
				t.Errorf("%s does not say %q:\n%s", argv[1], want, p.Output())
			}
		}
	}
	for _, p := range s.Wire("a").Packets() {
		if p.Sent && p.Advert != nil {
			t.Errorf("sent in spite of a bad file: %v", p)
		}
	}
}

// A malformed packet is refused for a stated reason, said once, and changes nothing.
func TestMalformedPackets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	vip := c.Routers[0].Addresses[0]
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	changes := spoken(t, a, b)
	from := time.Now()
	good := advert{ttl: 255, version: 3, vrid: 51, priority: 254, count: 1, interval: 10}
	for range 5 {
		for _, change := range []func(*advert){
			func(p *advert) { p.ttl = 254 },
			func(p *advert) { p.version = 4 },
			func(p *advert) { p.vrid = 99 },
			func(p *advert) { p.count = 0 },
			func(p *advert) { p.count = 7 },
			func(p *advert) { p.interval = 0 },
			func(p *advert) { p.sum = 0xbeef },
		} {
			p := good
			change(&p)
			must(t, p.send(s.Client))
		}
	}
	time.Sleep(10 * interval)
	unmoved(t, s, vip, "a", from)
	if got := len(a.Changes()) + len(b.Changes()); got != changes {
		t.Errorf("the role changed: %v, %v", a.Changes(), b.Changes())
	}
	reasons := make(map[string]int)
	for _, l := range a.Process.Lines() {
		if _, after, ok := strings.Cut(l.Text, `"packet refused"`); ok {
			_, reason, _ := strings.Cut(after, `"reason":"`)
			reason, _, _ = strings.Cut(reason, `"`)
			reasons[reason]++
		}
	}
	if len(reasons) != 6 && len(reasons) != 7 { // a count of 7 is a wrong length, one of 0 may be either
		t.Errorf("reasons: %v", reasons)
	}
	for reason, n := range reasons {
		if n != 1 {
			t.Errorf("%q was said %d times", reason, n)
		}
	}

	// The same packet without a mistake is heard: the test can fail.
	must(t, good.send(s.Client))
	_, err := a.AwaitRole("web", "BACKUP", from, patience)
	must(t, err)
	settled(t, s, "a", c)
}

// advert is a VRRP advertisement over IPv4 as the test wants it.
type advert struct {
	ttl                            int
	version, vrid, priority, count byte
	interval, sum                  uint16 // sum 0: the right one, over the message alone
}

func (p advert) send(from *lab.Host) error {
	b := []byte{p.version<<4 | 1, p.vrid, p.priority, p.count, 0, 0, 0, 0, 10, 99, 1, 1}
	binary.BigEndian.PutUint16(b[4:], p.interval)
	sum := p.sum
	if sum == 0 {
		var s uint32
		for i := 0; i < len(b); i += 2 {
			s += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		sum = ^uint16(s + s>>16)
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return from.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 112)
		if err != nil {
			return fmt.Errorf("open a raw socket: %w", err)
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, p.ttl); err != nil {
			return fmt.Errorf("set the TTL: %w", err)
		}
		if err := unix.BindToDevice(fd, site.Interface); err != nil {
			return fmt.Errorf("bind to %s: %w", site.Interface, err)
		}
		return unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: [4]byte{224, 0, 0, 18}})
	})
}
