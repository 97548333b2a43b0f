package lab

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	// As an ordinary user the tests run in a user namespace.
	if err := Enter(); err != nil && !errors.Is(err, ErrPrivilege) {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// pair makes a laboratory with two hosts, a and b, on one switch.
func pair(t *testing.T) (l *Lab, a, b *Port) {
	t.Helper()
	l, err := New(t.Name())
	if errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	sw, err := l.Switch("lan")
	must(t, err)
	ports := make([]*Port, 2)
	for i, prefixes := range [][]string{{"10.99.0.1/24", "fd99::1/64"}, {"10.99.0.2/24", "fd99::2/64"}} {
		h, err := l.Host([]string{"a", "b"}[i])
		must(t, err)
		ports[i], err = sw.Attach(h, "eth0", prefixes...)
		must(t, err)
	}
	return l, ports[0], ports[1]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition that comes about by itself.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func TestProberCountsWhatIsLost(t *testing.T) {
	for _, to := range []string{"10.99.0.2:0", "[fd99::2]:0"} {
		t.Run(to, func(t *testing.T) {
			_, a, b := pair(t)
			p, err := a.Host.Probe(ProbeOptions{To: netip.MustParseAddrPort(to), Timeout: 200 * time.Millisecond})
			must(t, err)
			eventually(t, "100 answers", func() bool { r := p.Between(time.Time{}, time.Now()); return r.Sent-r.Pending-r.Lost >= 100 })
			cut := time.Now()
			must(t, b.Cut())
			eventually(t, "100 lost", func() bool { return p.Between(time.Time{}, time.Now()).Lost >= 100 })
			mend := time.Now()
			must(t, b.Mend())
			eventually(t, "an answer", p.Answers)
			r, err := p.Stop()
			must(t, err)
			if len(r.Windows) != 1 || r.Lost != r.Windows[0].Lost || r.Pending != 0 {
				t.Fatalf("%d windows, %+v", len(r.Windows), r)
			}
			w := r.Windows[0]
			if w.From.Before(cut.Add(-5*time.Millisecond)) || w.To.Before(mend) || r.Gap < w.To.Sub(w.From) {
				t.Errorf("cut at %v, mended at %v: %+v", cut, mend, r)
			}
			if away := w.To.Sub(w.From); w.Lost < int(away/time.Millisecond)-1 {
				t.Errorf("%d lost in %v: the prober left questions out", w.Lost, away)
			}
		})
	}
}

func TestProberAsksAService(t *testing.T) {
	for _, to := range []string{"10.99.0.2:80", "[fd99::2]:80"} {
		t.Run(to, func(t *testing.T) {
			_, a, b := pair(t)
			addr := netip.MustParseAddrPort(to)
			fd := -1
			must(t, b.Host.Do(func() (err error) {
				family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: 80})
				if addr.Addr().Is6() {
					family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: 80}
				}
				fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				return errors.Join(err, unix.Bind(fd, sa), unix.Listen(fd, 16))
			}))
			p, err := a.Host.Probe(ProbeOptions{To: addr})
			must(t, err)
			eventually(t, "500 answers", func() bool { r := p.Between(time.Time{}, time.Now()); return r.Sent-r.Pending-r.Lost >= 500 })
			if r := p.Between(time.Time{}, time.Now()); r.Lost != 0 {
				t.Errorf("lost while the service ran: %+v", r)
			}
			must(t, unix.Close(fd))
			eventually(t, "100 refused", func() bool { return p.Between(time.Time{}, time.Now()).Lost >= 100 })
			if p.Answers() {
				t.Error("answered by nobody")
			}
		})
	}
}

func TestCarrier(t *testing.T) {
	_, a, _ := pair(t)
	running := func() bool {
		link, err := a.Host.Netlink().LinkByName("eth0")
		must(t, err)
		return link.Attrs().RawFlags&unix.IFF_RUNNING != 0
	}
	must(t, a.Down())
	eventually(t, "carrier lost", func() bool { return !running() })
	must(t, a.Up())
	eventually(t, "carrier back", running)
	must(t, a.Cut())
	if !running() {
		t.Error("a cut was noticed")
	}
}

func TestLoseIsOneWay(t *testing.T) {
	_, a, b := pair(t)
	seen := make(map[string]chan struct{})
	for _, p := range []*Port{a, b} {
		c := make(chan struct{}, 10000)
		seen[p.Host.Name] = c
		_, err := p.Host.Tap("eth0", func(f Frame) {
			if !f.Sent {
				c <- struct{}{}
			}
		})
		must(t, err)
	}
	if err := a.Lose(ToHost, 1); errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
		t.Skip(err)
	} else {
		must(t, err)
	}
	// An ARP request of a arrives, its answer does not.
	p, err := a.Host.Probe(ProbeOptions{To: netip.MustParseAddrPort("10.99.0.2:0"), Timeout: 50 * time.Millisecond})
	must(t, err)
	select {
	case <-seen["b"]:
	case <-time.After(3 * time.Second):
		t.Fatal("nothing arrives at b")
	}
	eventually(t, "100 lost", func() bool { return p.Between(time.Time{}, time.Now()).Lost >= 100 })
	if len(seen["a"]) != 0 {
		t.Error("an answer arrives at a")
	}
	// Half of them, once a knows b's MAC address: the kernel would ask for that too
	// seldom.
	must(t, a.Lose(ToHost, 0))
	eventually(t, "one answered", func() bool { r := p.Between(time.Time{}, time.Now()); return r.Sent-r.Pending-r.Lost >= 1 })
	half := time.Now()
	must(t, a.Lose(ToHost, 0.5))
	eventually(t, "some answered, some lost", func() bool {
		r := p.Between(half, time.Now())
		return r.Sent-r.Pending-r.Lost >= 20 && r.Lost >= 20
	})
	must(t, a.Lose(ToHost, 0))
	from := time.Now()
	eventually(t, "100 answered without loss", func() bool {
		r := p.Between(from, time.Now())
		if r.Lost > 0 {
			from = time.Now()
		}
		return r.Sent-r.Pending-r.Lost >= 100
	})
}

func TestWatchAddresses(t *testing.T) {
	_, a, _ := pair(t)
	var mu sync.Mutex
	var got []string
	must(t, a.Host.WatchAddresses(func(c AddressChange) {
		mu.Lock()
		defer mu.Unlock()
		if c.Prefix.Addr().Is4() && !c.Prefix.Addr().IsLoopback() {
			got = append(got, map[bool]string{true: "+", false: "-"}[c.Present]+c.Prefix.String())
		}
	}, func(err error) { t.Error(err) }))
	vip := netip.MustParsePrefix("10.99.0.100/24")
	must(t, a.Host.AddAddress("eth0", vip))
	if held, err := a.Host.Holds("eth0", vip.Addr()); err != nil || !held {
		t.Errorf("held: %v, %v", held, err)
	}
	must(t, a.Host.RemoveAddress("eth0", vip))
	want := []string{"+10.99.0.1/24", "+10.99.0.100/24", "-10.99.0.100/24"}
	eventually(t, "the changes", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Equal(got, want)
	})
}

// An address on a macvlan is in use while that is up and nobody has taken its carrier.
func TestWatchAddressesOfMacvlan(t *testing.T) {
	_, a, _ := pair(t)
	changes := make(chan bool, 100)
	vip := netip.MustParsePrefix("10.99.0.100/24")
	must(t, a.Host.WatchAddresses(func(c AddressChange) {
		if c.Prefix == vip {
			changes <- c.Present
		}
	}, func(err error) { t.Error(err) }))
	for _, step := range []string{
		"ip link add name v0 link eth0 type macvlan mode bridge",
		"ip link set dev v0 protodown on",
		"ip address add 10.99.0.100/24 dev v0",
		"ip link set dev v0 up",
		"ip link set dev v0 protodown off",
		"ip address add 10.99.0.100/32 dev eth0", // it is in use already
		"ip address del 10.99.0.100/32 dev eth0",
		"ip link set dev v0 protodown on",
		"ip link set dev v0 protodown off",
		"ip link set dev v0 down",
		"ip link set dev v0 up",
		"ip link del dev v0",
	} {
		_, err := a.Host.Run(5*time.Second, strings.Fields(step)...)
		must(t, err)
	}
	for i, want := range []bool{true, false, true, false, true, false} {
		select {
		case got := <-changes:
			if got != want {
				t.Errorf("change %d: %v, want %v", i, got, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("change %d did not come", i)
		}
	}
	select {
	case got := <-changes:
		t.Errorf("one more change: %v", got)
	default:
	}
}

func TestProcess(t *testing.T) {
	_, a, _ := pair(t)
	p, err := a.Host.Start([]string{"sh", "-c", "echo up; read x; trap 'echo down; exit 3' TERM; echo ready; while :; do sleep 0.01; done"}, StartOptions{})
	must(t, err)
	line, next, err := p.WaitLine(0, 5*time.Second, func(s string) bool { return s == "ready" })
	must(t, err)
	if next != 2 || line.At.IsZero() {
		t.Errorf("line %d at %v", next, line.At)
	}
	must(t, p.Signal(unix.SIGTERM))
	status, err := p.Wait(5 * time.Second)
	if err != nil || status != 3 {
		t.Errorf("status %d, %v", status, err)
	}
	if got := p.Output(); got != "up\nready\ndown\n" {
		t.Errorf("output %q", got)
	}
	if _, _, err := p.WaitLine(0, time.Second, func(string) bool { return false }); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("a line awaited of the dead: %v", err)
	}
	if _, err := a.Host.Run(5*time.Second, "sh", "-c", "echo no; exit 1"); err == nil || !strings.Contains(err.Error(), "exited 1: no") {
		t.Errorf("a failing command: %v", err)
	}
}

func TestCloseEndsDescendants(t *testing.T) {
	l, a, _ := pair(t)
	id := a.Host.space.id
	// The child leaves its process group and its parent.
	p, err := a.Host.Start([]string{"sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"}, StartOptions{})
	must(t, err)
	_, err = p.Wait(5 * time.Second)
	must(t, err)
	other, err := a.Host.Start([]string{"sleep", "600"}, StartOptions{})
	must(t, err)
	if got := inhabitants(map[string]bool{id: true}); len(got) != 2 {
		t.Fatalf("processes in the host: %v", got)
	}
	begin := time.Now()
	must(t, l.Close())
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("closing took %v", d)
	}
	if got := inhabitants(map[string]bool{id: true}); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	select {
	case <-other.Done():
	default:
		t.Error("a process outlived the laboratory")
	}
	if _, err := l.Host("c"); err == nil {
		t.Error("a host was added to a closed laboratory")
	}
}

func TestHostsHaveARunOfTheirOwn(t *testing.T) {
	_, a, b := pair(t)
	if _, err := a.Host.Run(5*time.Second, "touch", "/run/mark"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a.Host.Path("/run/mark")); err != nil {
		t.Error(err)
	}
	if _, err := b.Host.Run(5*time.Second, "test", "!", "-e", "/run/mark"); err != nil {
		t.Error(err)
	}
}
