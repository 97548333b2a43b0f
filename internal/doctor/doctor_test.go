package doctor

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
)

const allCaps = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW

// well is a host on which there is nothing to mend: the daemon runs as a user of its
// own, and lb2 is master.
func well() *facts {
	daemon := process{pid: 4312, name: "baton", uid: 990, groups: []uint32{990, 110}, caps: allCaps, realtime: true, locked: true}
	return &facts{
		cfg: &config.Config{Path: "/etc/baton/baton.yaml", Hash: "3f9a2c17", Node: "lb1", Nodes: pair, Routers: []config.Router{tracked(web())},
			Checks: []config.Check{{Name: "haproxy", Type: config.HAProxyCheck, HAProxy: &config.HAProxy{Socket: "/run/haproxy/admin.sock"}}}},
		runtimeDir: "/run/baton", running: true, pid: daemon.pid, daemon: &daemon, self: process{uid: 0, caps: allCaps},
		status:     &control.Status{Node: "lb1", Configuration: "3f9a2c17", Routers: []control.Router{{Name: "web", Role: "BACKUP"}}},
		checks:     []control.Check{{Name: "haproxy", Verdict: "pass"}},
		interfaces: []link.Interface{eth0("10.0.0.11/24", "fe80::11/64")},
		heard:      []Heard{{Interface: "eth0", VRID: 51, Version: 3, Source: b1, Addresses: addrs("10.0.0.100"), Signed: "none"}},
		clock:      &clock{synchronised: true, maxError: time.Millisecond},
		volatile:   true, kernel: [2]int{6, 1},
		sysctl: settings("net.ipv4.ip_nonlocal_bind=1"),
		read:   func(string) string { return "" },
		glob:   func(string) []string { return nil },
		stat: func(string) (socketFile, error) {
			return socketFile{gid: 110, mode: fs.ModeSocket | 0o660, group: "haproxy"}, nil
		},
		processes: []process{daemon},
	}
}

func tracked(r config.Router) config.Router {
	r.Track = []config.Track{{Check: "haproxy"}}
	for i := range r.Addresses {
		r.Addresses[i].Advertise = true
	}
	return r
}

func eth0(prefixes ...string) link.Interface {
	i := link.Interface{Index: 2, Name: "eth0", MTU: 1500, Up: true, AdminUp: true, Carrier: true}
	for _, p := range prefixes {
		i.Addresses = append(i.Addresses, link.Address{Prefix: netip.MustParsePrefix(p)})
	}
	return i
}

func addrs(texts ...string) (all []netip.Addr) {
	for _, t := range texts {
		all = append(all, netip.MustParseAddr(t))
	}
	return all
}

// settings are those of the kernel that are not 0.
func settings(lines ...string) func(string) string {
	return func(name string) string {
		for _, l := range lines {
			if k, v, _ := strings.Cut(l, "="); k == name {
				return v
			}
		}
		return "0"
	}
}

func files(contents map[string]string) (read func(string) string, glob func(string) []string) {
	return func(path string) string { return contents[path] }, func(pattern string) (names []string) {
		for name := range contents {
			if ok, _ := filepath.Match(pattern, name); ok {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
}

// host answers what `validate --here` asks.
type host struct{ err error }

func (h host) Interface(string) error         { return nil }
func (h host) Command([]string, string) error { return h.err }
func (h host) Socket(string) error            { return nil }
func (h host) Address(netip.Addr) error       { return nil }

// Each change of a host that is well is found, as one thing.
func TestProbes(t *testing.T) {
	const p, a = "problem ", "advice "
	router := func(f *facts) *config.Router { return &f.cfg.Routers[0] }
	tests := map[string]struct {
		change func(f *facts)
		want   string // level, ID and the beginning of the text; empty: nothing
	}{
		"well":                    {func(*facts) {}, ""},
		"no daemon":               {func(f *facts) { f.running, f.daemon, f.status, f.checks = false, nil, nil, nil }, ""},
		"capability":              {func(f *facts) { f.daemon.caps = 1 << unix.CAP_NET_ADMIN }, p + "capabilities: baton (PID 4312) lacks CAP_NET_RAW:"},
		"capability of root":      {func(f *facts) { f.running, f.daemon, f.status, f.self.caps = false, nil, nil, 0 }, p + "capabilities: what root starts here lacks CAP_NET_ADMIN and CAP_NET_RAW:"},
		"user without capability": {func(f *facts) { f.running, f.daemon, f.status, f.self = false, nil, nil, process{uid: 1000} }, ""},
		"no interface":            {func(f *facts) { f.interfaces = nil }, p + "interface-missing: there is no interface eth0"},
		"by another name":         {func(f *facts) { f.interfaces[0].Name, f.interfaces[0].AltNames = "enp1s0", []string{"eth0"} }, ""},
		"interface down":          {func(f *facts) { f.interfaces[0].AdminUp = false }, p + "interface-down: eth0 is down"},
		"no carrier":              {func(f *facts) { f.interfaces[0].Up = false }, p + "interface-down: eth0 has no link"},
		"loopback":                {func(f *facts) { f.interfaces[0].Loopback = true }, p + "interface-down: eth0 is the loopback interface"},
		"no address":              {func(f *facts) { f.interfaces[0].Addresses = f.interfaces[0].Addresses[1:] }, p + "no-address: eth0 has no address of its own"},
		"the virtual one only":    {func(f *facts) { f.interfaces[0] = eth0("10.0.0.100/24") }, p + "no-address: eth0 has no address of its own"},
		"no link-local":           {func(f *facts) { f.cfg.Routers[0], f.interfaces[0] = web6(), eth0("10.0.0.11/24") }, p + "no-address: eth0 has no link-local address"},
		"source":                  {func(f *facts) { router(f).Source = netip.MustParseAddr("10.0.0.21") }, p + "no-address: 10.0.0.21, from which it advertises, is not on eth0"},
		"IPv6":                    {func(f *facts) { f.cfg.Routers[0] = web6() }, ""},
		"IPv6 off":                {func(f *facts) { f.cfg.Routers[0] = web6(); f.sysctl = settings("net/ipv6/conf/eth0/disable_ipv6=1") }, p + "ipv6-disabled: "},
		"tentative":               {func(f *facts) { f.cfg.Routers[0] = web6(); f.interfaces[0].Addresses[1].Tentative = true }, p + "ipv6-dad: fe80::11 on eth0 cannot be used"},
		"many addresses":          {func(f *facts) { f.interfaces[0].MTU = 31; f.heard = nil }, p + "mtu: an advertisement has 32 bytes, and eth0 takes 31"},
		"fits":                    {func(f *facts) { f.interfaces[0].MTU = 32 }, ""},
		"signature":               {func(f *facts) { router(f).HMAC = &config.HMAC{}; f.interfaces[0].MTU = 59; f.heard = nil }, p + "mtu: an advertisement has 60 bytes"},
		"not advertised":          {func(f *facts) { router(f).Addresses[0].Advertise = false; f.interfaces[0].MTU = 28; f.heard = nil }, ""},
		"reverse path": {func(f *facts) {
			router(f).Peers = addrs("10.9.0.12")
			f.sysctl = settings("net.ipv4.ip_nonlocal_bind=1", "net.ipv4.conf.all.rp_filter=1")
		}, a + "rp-filter: the peer 10.9.0.12 is in no network of eth0"},
		"loose": {func(f *facts) {
			router(f).Peers = addrs("10.9.0.12")
			f.sysctl = settings("net.ipv4.ip_nonlocal_bind=1", "net/ipv4/conf/eth0/rp_filter=2", "net.ipv4.conf.all.rp_filter=1")
		}, ""},
		"near peer": {func(f *facts) {
			router(f).Peers = addrs("10.0.0.12")
			f.sysctl = settings("net.ipv4.ip_nonlocal_bind=1", "net.ipv4.conf.all.rp_filter=1")
		}, ""},
		"on another interface": {func(f *facts) {
			router(f).Addresses[0].Interface = "lo"
			f.sysctl = settings("net.ipv4.ip_nonlocal_bind=1", "net.ipv4.conf.all.arp_ignore=1")
		}, p + "arp-ignore: nobody would find 10.0.0.100: it goes on lo"},
		"arp_ignore 1": {func(f *facts) { f.sysctl = settings("net.ipv4.ip_nonlocal_bind=1", "net.ipv4.conf.all.arp_ignore=1") }, ""},
		"arp_ignore 2": {func(f *facts) {
			router(f).Addresses[0].Prefix = netip.MustParsePrefix("10.0.0.100/32")
			f.sysctl = settings("net.ipv4.ip_nonlocal_bind=1", "net/ipv4/conf/eth0/arp_ignore=2")
		}, p + "arp-ignore: nobody would find 10.0.0.100/32"},
		"arp_ignore 8":         {func(f *facts) { f.sysctl = settings("net.ipv4.ip_nonlocal_bind=1", "net/ipv4/conf/eth0/arp_ignore=8") }, p + "arp-ignore: nobody would find 10.0.0.100: arp_ignore is 8"},
		"nonlocal bind":        {func(f *facts) { f.sysctl = settings() }, a + "nonlocal-bind: net.ipv4.ip_nonlocal_bind is 0, and 10.0.0.100 is not on this host"},
		"nonlocal bind, fails": {func(f *facts) { f.sysctl = settings(); f.checks[0].Verdict = "fail" }, p + "nonlocal-bind: net.ipv4.ip_nonlocal_bind is 0, and 10.0.0.100 is not on this host: a HAProxy that binds it cannot start or reload here, and could not serve after a takeover; haproxy fails"},
		"nonlocal bind, is here": {func(f *facts) {
			f.sysctl = settings()
			f.interfaces[0] = eth0("10.0.0.11/24", "10.0.0.100/24")
			f.status.Routers[0].Role = "MASTER"
		}, ""},
		"nonlocal bind, untracked": {func(f *facts) { f.sysctl = settings(); router(f).Track = nil }, ""},
		"no HAProxy":               {func(f *facts) { f.stat = func(string) (socketFile, error) { return socketFile{}, fs.ErrNotExist } }, p + "socket: check haproxy: there is no socket /run/haproxy/admin.sock"},
		"socket of a group":        {func(f *facts) { f.daemon.groups = []uint32{990} }, p + "socket: check haproxy: baton (user 990) may not connect to /run/haproxy/admin.sock, which is for user 0 and group haproxy (mode 0660)"},
		"socket in a folder": {func(f *facts) {
			f.stat = func(string) (socketFile, error) {
				return socketFile{mode: fs.ModeSocket | 0o666, blocked: "/run/haproxy"}, nil
			}
		}, p + "socket: check haproxy: baton (user 990) may not enter /run/haproxy"},
		"socket for root": {func(f *facts) {
			f.daemon.uid, f.daemon.groups = 0, []uint32{0}
			f.daemon.caps |= 1 << unix.CAP_DAC_OVERRIDE
		}, ""},
		"other version": {func(f *facts) { f.heard[0].Version = 2 }, p + "version: lb2 (10.0.0.12) speaks VRRPv2 with VRID 51 on eth0"},
		"other's VRID": {func(f *facts) {
			f.heard[0].Source, f.heard[0].Addresses = netip.MustParseAddr("10.0.0.77"), addrs("10.0.0.200")
		}, p + "vrid: 10.0.0.77 uses VRID 51 on eth0 too, for 10.0.0.200"},
		"other VRID":      {func(f *facts) { f.heard[0].VRID = 52; f.heard[0].Addresses = addrs("10.0.0.200") }, ""},
		"other addresses": {func(f *facts) { f.heard[0].Addresses = addrs("10.0.0.100", "10.0.0.101") }, a + "address-list: lb2 (10.0.0.12) advertises 10.0.0.100, 10.0.0.101 for VRID 51 on eth0, and this node 10.0.0.100"},
		"ourselves":       {func(f *facts) { f.heard[0].Source, f.heard[0].Version = a1, 2 }, ""},
		"unsigned":        {func(f *facts) { router(f).HMAC = &config.HMAC{} }, p + "authentication: lb2 (10.0.0.12), which is master of VRID 51"},
		"permissive":      {func(f *facts) { router(f).HMAC = &config.HMAC{Mode: config.HMACPermissive} }, ""},
		"keepalived":      {func(f *facts) { f.processes = append(f.processes, process{pid: 77, name: "keepalived"}) }, a + "other-program: keepalived runs here, PID 77: that is well"},
		"keepalived has it": {func(f *facts) {
			f.processes = append(f.processes, process{pid: 77, name: "keepalived"})
			f.interfaces[0] = eth0("10.0.0.11/24", "10.0.0.100/24")
		}, p + "other-program: keepalived runs here, PID 77, and has most likely put 10.0.0.100 on"},
		"node silent":        {func(f *facts) { f.cluster = others("") }, a + "node-silent: lb2 does not answer: refused"},
		"two masters":        {func(f *facts) { f.status.Routers[0].Role = "MASTER"; f.cluster = others("MASTER") }, p + "two-masters: lb2 is master as well"},
		"nobody heard":       {func(f *facts) { f.status.Routers[0] = alone() }, a + "nobody-heard: nobody was ever heard on eth0"},
		"heard by the other": {func(f *facts) { f.status.Routers[0] = alone(); f.cluster = others("BACKUP") }, ""},
		"clock": {func(f *facts) {
			router(f).HMAC, f.heard = &config.HMAC{Window: 10 * time.Second}, nil
			f.clock.synchronised = false
		}, p + "clock: the clock is not synchronised"},
		"clock, no window": {func(f *facts) { router(f).HMAC, f.heard = &config.HMAC{}, nil; f.clock.synchronised = false }, ""},
		"clock, wide": {func(f *facts) {
			router(f).HMAC, f.heard = &config.HMAC{Window: time.Second}, nil
			f.clock.maxError = 2 * time.Second
		}, p + "clock: the clock may be wrong by 2s"},
		"leftovers": {func(f *facts) {
			f.running, f.daemon, f.status = false, nil, nil
			f.left = []string{"address 10.0.0.100/24 on eth0"}
		}, p + "leftovers: no baton runs here, and one that died has left address 10.0.0.100/24 on eth0"},
		"holds":           {func(f *facts) { f.left = []string{"address 10.0.0.100/24 on eth0"} }, ""},
		"disk":            {func(f *facts) { f.volatile = false }, a + "runtime-dir: /run/baton is not on a tmpfs"},
		"old kernel":      {func(f *facts) { f.kernel = [2]int{5, 10} }, a + "kernel: Linux 5.10 does not keep"},
		"very old kernel": {func(f *facts) { f.kernel = [2]int{4, 18} }, p + "kernel: Linux 4.18 lacks"},
		"ordinary":        {func(f *facts) { f.daemon.realtime = false }, a + "real-time: baton has ordinary scheduling"},
		"swaps":           {func(f *facts) { f.daemon.locked = false }, a + "memory: baton may not lock its memory"},
		"changed file":    {func(f *facts) { f.cfg.Hash = "00000000" }, a + "changed-file: /etc/baton/baton.yaml is another configuration (00000000) than the one that runs (3f9a2c17)"},
		"degraded":        {func(f *facts) { f.status.Problems = []control.Problem{{Text: "web is in FAULT"}} }, p + "degraded: web is in FAULT"},
		"networkd": {func(f *facts) {
			f.processes = append(f.processes, process{pid: 5, name: "systemd-network"})
			f.read, f.glob = files(map[string]string{"/run/systemd/netif/links/2": "ADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/10-eth0.network\n"})
		}, a + "networkd: systemd-networkd manages eth0 by /run/systemd/network/10-eth0.network without KeepConfiguration=static"},
		"networkd, keeps": {func(f *facts) {
			f.processes = append(f.processes, process{pid: 5, name: "systemd-network"})
			f.read, f.glob = files(map[string]string{
				"/run/systemd/netif/links/2":                           "ADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/10-eth0.network\n",
				"/run/systemd/network/10-eth0.network":                 "[Network]\nKeepConfiguration=no\n",
				"/etc/systemd/network/10-eth0.network.d/60-baton.conf": "[Network]\nKeepConfiguration = static\n",
			})
		}, ""},
		"networkd, unmanaged": {func(f *facts) {
			f.processes = append(f.processes, process{pid: 5, name: "systemd-network"})
			f.read, _ = files(map[string]string{"/run/systemd/netif/links/2": "ADMIN_STATE=unmanaged\n"})
		}, ""},
		"networkd, routes": {func(f *facts) {
			f.processes = append(f.processes, process{pid: 5, name: "systemd-network"})
			router(f).Routes = make([]config.Route, 1)
			f.read, f.glob = files(map[string]string{
				"/run/systemd/netif/links/2": "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/a.network\n", "/etc/systemd/network/a.network": "KeepConfiguration=yes\n",
			})
		}, a + "networkd: systemd-networkd removes routes and rules"},
		"NetworkManager": {func(f *facts) {
			router(f).VirtualMAC = &config.VirtualMAC{Name: "vrrp.51"}
			v := eth0()
			v.Name, v.Index = "vrrp.51", 7
			f.interfaces = append(f.interfaces, v)
			f.processes = append(f.processes, process{pid: 5, name: "NetworkManager"})
			f.read, _ = files(map[string]string{"/run/NetworkManager/devices/7": "[device]\nmanaged=true\n"})
		}, a + "networkmanager: NetworkManager manages vrrp.51"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := well()
			tt.change(f)
			var got []string
			for _, p := range probes(host{}) {
				for _, n := range p(f) {
					got = append(got, fmt.Sprintf("%s %s: %s", n.Level, n.ID, n.Text))
					if n.Mend == "" {
						t.Errorf("%s has no mend", n.ID)
					}
				}
			}
			if all := strings.Join(got, "\n"); !strings.HasPrefix(all, tt.want) || tt.want == "" && all != "" || len(got) > 1 {
				t.Errorf("found:\n%s\nwant:\n%s", all, tt.want)
			}
		})
	}
}

// others is what lb2 says of itself; without a role it does not answer.
func others(role string) *control.Cluster {
	n := control.ClusterNode{Name: "lb2", Error: "refused"}
	if role != "" {
		n = control.ClusterNode{Name: "lb2", Status: &control.Status{Routers: []control.Router{{Name: "web", Role: role}}}}
	}
	return &control.Cluster{Node: "lb1", Nodes: []control.ClusterNode{{Name: "lb1", Status: &control.Status{}}, n}}
}

// alone is a master that has heard nobody.
func alone() control.Router {
	return control.Router{Name: "web", Role: "MASTER", Parts: []control.Part{{Interface: "eth0", Peers: []control.Peer{{Node: "lb2"}}}}}
}

// The same of several routers is said once.
func TestProbes_Together(t *testing.T) {
	f := well()
	second := web()
	second.Name = "api"
	f.cfg.Routers = append(f.cfg.Routers, second)
	f.interfaces = nil
	want := []Finding{{ID: "interface-missing", Level: Problem, Text: "there is no interface eth0", Mend: "ip link; then put its name into `interface`, for this node {lb1: NAME}", Routers: []string{"web", "api"}}}
	if diff := cmp.Diff(want, interfaces(f)); diff != "" {
		t.Error(diff)
	}
}

// Everything that can be found has its heading in the guide, and nothing else has.
func TestDocumented(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "doctor.md"))
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z][a-z0-9-]*)` \\|").FindAllStringSubmatch(string(guide), -1) {
		documented = append(documented, m[1])
	}
	sources, _ := filepath.Glob("*.go")
	var found []string
	for _, name := range sources {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, m := range regexp.MustCompile(`(?:problem|advice|node|in|out)\("([a-z0-9-]+)",|ID(?:, n\.Level)?(?::| =) "([a-z0-9-]+)"`).FindAllStringSubmatch(string(text), -1) {
			found = append(found, m[1]+m[2])
		}
	}
	slices.Sort(documented)
	slices.Sort(found)
	if diff := cmp.Diff(slices.Compact(found), documented); diff != "" {
		t.Errorf("found, and documented:\n%s", diff)
	}
}
