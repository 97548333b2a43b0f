package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// loadText loads a configuration for a node, and wants it to be without findings.
func loadText(t *testing.T, node, text string) *Config {
	t.Helper()
	return mustLoad(t, write(t, filepath.Join(t.TempDir(), "baton.yaml"), text, 0o644), someone(node))
}

// byName are the routers by name, of two families with the family too.
func byName(c *Config) map[string]Router {
	all := map[string]Router{}
	for _, r := range c.Routers {
		name := r.Name
		if r.IPv6 {
			name += "/6"
		}
		all[name] = r
	}
	return all
}

func addrs(list ...string) []netip.Addr {
	var all []netip.Addr
	for _, a := range list {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

// The pair of routers: a group of two routers with two families each, that is four.
func TestLoad_RouterPair(t *testing.T) {
	secrets := t.TempDir()
	write(t, filepath.Join(secrets, "vrrp-1.key"), strings.Repeat("1", 32), 0o400)
	write(t, filepath.Join(secrets, "vrrp-2.key"), "hex:"+strings.Repeat("0f", 64)+"\n", 0o400)
	c := mustLoad(t, "../../configs/router-pair.yaml", withSecrets("r2", secrets))
	hook := func(role string) []Command {
		return []Command{{Argv: []string{"/etc/conntrackd/primary-backup.sh", role}, Timeout: 30 * time.Second}}
	}
	base := Router{
		Priority: 190, Priorities: map[string]uint8{"r1": 200, "r2": 190}, BestRival: 200, SlowestRival: 180,
		Interval: 100 * time.Millisecond, Preempt: true, AddressLifetime: time.Minute, RetryAfter: 5 * time.Minute,
		Announce: Announce{Count: 5, AgainAfter: 5 * time.Second, Every: time.Minute},
		Track:    []Track{{Check: "upstream", Effect: Weight, Weight: -20}},
		Notify:   Notify{Master: hook("primary"), Backup: hook("backup"), Fault: hook("fault")},
		Group:    "edge", Version: 3, Accept: true, PreemptDelay: time.Minute, Missed: 3, TrackLink: true,
		HMAC: &HMAC{Keys: map[uint8][]byte{1: bytes.Repeat([]byte("1"), 32), 2: bytes.Repeat([]byte{15}, 64)}, Send: 2, Mode: HMACEnforce, Window: 5 * time.Second},
	}
	router := func(name string, six bool, iface string, vrid uint8, mac string, addresses []Address, routes []Route) Router {
		r := base
		r.Name, r.IPv6, r.Interface, r.VRID, r.VirtualMAC, r.Addresses, r.Routes = name, six, iface, vrid, &VirtualMAC{Name: mac}, addresses, routes
		return r
	}
	hidden := plain("10.1.0.254/32")
	hidden.Advertise = false
	way := func(to, via string) []Route {
		return []Route{{To: netip.MustParsePrefix(to), Via: netip.MustParseAddr(via), Table: 254, Type: 1, Repair: true}}
	}
	want := []Router{
		router("lan", false, "eno2", 20, "vrrp.20", []Address{plain("10.1.0.1/24"), hidden}, nil),
		router("lan", true, "eno2", 20, "vrrp6.20", []Address{plain("fd00:1::1/64")}, nil),
		router("wan", false, "eno1", 10, "vrrp.10", []Address{plain("192.0.2.1/28")}, way("0.0.0.0/0", "192.0.2.14")),
		router("wan", true, "eno1", 10, "vrrp6.10", []Address{plain("2001:db8:0:1::1/64")}, way("::/0", "2001:db8:0:1::e")),
	}
	if diff := cmp.Diff(want, c.Routers, byValue); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(c.Checks) != 1 || c.Checks[0].Name != "upstream" {
		t.Errorf("checks %v", c.Checks)
	}
}

func TestLoad_Unicast(t *testing.T) {
	type told struct {
		Source         netip.Addr
		Peers, Known   []netip.Addr
		OnlyPeers      bool
		MinTTL, MaxTTL uint8
	}
	const nodes = "nodes:\n  lb1: {cluster: 10.0.0.11, six: '2001:db8::11', lan: 10.1.0.11}\n  lb2: {cluster: 10.0.0.12, six: '2001:db8::12', lan: 10.1.0.12}\n  lb3: {cluster: 10.0.0.13, six: '2001:db8::13', lan: 10.1.0.13}\n"
	address := netip.MustParseAddr
	cluster := addrs("10.0.0.11", "10.0.0.12", "10.0.0.13")
	six := addrs("2001:db8::11", "2001:db8::12", "2001:db8::13")
	toOthers := told{Source: cluster[1], Peers: []netip.Addr{cluster[0], cluster[2]}, Known: cluster, OnlyPeers: true}
	toOthers6 := told{Source: six[1], Peers: []netip.Addr{six[0], six[2]}, Known: six, OnlyPeers: true}
	for name, tc := range map[string]struct {
		nodes, defaults, router string
		want                    told
		want6                   told // of the other half
	}{
		"multicast":               {nodes: nodes, router: "addresses: [10.0.0.1]"},
		"multicast with a source": {nodes: nodes, router: "addresses: [10.0.0.1], source_address: {lb1: 10.0.0.11, default: 10.0.0.12}", want: told{Source: cluster[1], Known: cluster}},
		"sources that nodes lack": {nodes: nodes, router: "addresses: [10.0.0.1], source_address: {lb1: 10.2.0.11, lb2: 10.2.0.12, lb3: 10.2.0.13}",
			want: told{Source: address("10.2.0.12"), Known: addrs("10.2.0.11", "10.2.0.12", "10.2.0.13")}},
		"one source for all":       {nodes: nodes, router: "addresses: [10.0.0.1], source_address: 10.0.0.11", want: told{Source: cluster[0]}},
		"true":                     {nodes: nodes, router: "addresses: [10.0.0.1], unicast: true", want: toOthers},
		"the cluster by name":      {nodes: nodes, router: "addresses: [10.0.0.1], unicast: cluster", want: toOthers},
		"another network":          {nodes: nodes, router: "addresses: [10.0.0.1], unicast: lan", want: told{address("10.1.0.12"), addrs("10.1.0.11", "10.1.0.13"), addrs("10.1.0.11", "10.1.0.12", "10.1.0.13"), true, 0, 0}},
		"IPv6":                     {nodes: nodes, router: "addresses: ['fe80::1'], unicast: six", want6: toOthers6},
		"only where it runs":       {nodes: nodes, router: "addresses: [10.0.0.1], unicast: true, interface: {lb1: eth0, lb2: eth0}", want: told{Source: cluster[1], Peers: cluster[:1], Known: cluster, OnlyPeers: true}},
		"false beats defaults":     {nodes: nodes, defaults: "unicast: true, only_peers: true, min_ttl: 5", router: "addresses: [10.0.0.1], unicast: false"},
		"peers beat defaults":      {nodes: nodes, defaults: "unicast: lan", router: "addresses: [10.0.0.1], peers: {lb2: [10.0.0.13], default: [10.0.0.12]}", want: told{Source: cluster[1], Peers: cluster[2:], Known: cluster, OnlyPeers: true}},
		"unicast beats defaults":   {nodes: nodes, defaults: "peers: [10.9.0.1]", router: "addresses: [10.0.0.1], unicast: true", want: toOthers},
		"prefer beats defaults":    {nodes: nodes, defaults: "priority: 100", router: "addresses: [10.0.0.1]"},
		"an owner among the peers": {nodes: nodes, router: "addresses: [10.0.0.11], peers: [10.0.0.11, 10.0.0.12, 10.0.0.13], priority: {lb1: 255, lb2: 200, lb3: 100}", want: toOthers},
		"with itself":              {nodes: nodes, router: "addresses: [10.0.0.1], peers: [10.0.0.11, 10.0.0.12, 10.0.0.13]", want: toOthers},
		"without itself":           {nodes: nodes, router: "addresses: [10.0.0.1], peers: {lb2: [10.0.0.11, 10.0.0.13], default: [10.0.0.12]}", want: toOthers},
		"both families":            {nodes: nodes, router: "addresses: [10.0.0.1, '2001:db8::1'], peers: [10.0.0.11, 10.0.0.12, 10.0.0.13, '2001:db8::11', '2001:db8::12', '2001:db8::13']", want: toOthers, want6: toOthers6},
		"strangers":                {nodes: nodes, router: "addresses: [10.0.0.1], peers: [10.9.0.1], only_peers: false, min_ttl: 250, max_ttl: 254", want: told{Peers: addrs("10.9.0.1"), MinTTL: 250, MaxTTL: 254}},
		"a source of one's own":    {nodes: nodes, router: "addresses: [10.0.0.1], unicast: true, source_address: 10.2.0.12", want: told{Source: address("10.2.0.12"), Peers: []netip.Addr{cluster[0], cluster[2]}, OnlyPeers: true}},
		"itself by its source":     {router: "addresses: [10.0.0.1], peers: [10.2.0.11, 10.2.0.12], source_address: 10.2.0.12", want: told{Source: address("10.2.0.12"), Peers: addrs("10.2.0.11"), OnlyPeers: true}},
		"a global IPv6 source":     {router: "addresses: ['fe80::1'], peers: ['2001:db8::11'], source_address: '2001:db8::12'", want6: told{Source: six[1], Peers: six[:1], OnlyPeers: true}},
		"from itself in a pair":    {nodes: nodes, router: "addresses: [10.0.0.1, '2001:db8::1'], source_address: 10.0.0.12", want: told{Source: cluster[1], Known: cluster}},
		"mac from the interface":   {nodes: nodes, router: "addresses: [10.0.0.1], unicast: true, virtual_mac: {advertise_from: interface}", want: toOthers},
	} {
		prefer := ", prefer: lb1"
		if tc.nodes == "" || strings.Contains(tc.router, "priority") {
			prefer = ""
		}
		c := loadText(t, "lb2", fmt.Sprintf("%sdefaults: {virtual_router: {%s}}\nvirtual_routers:\n  web: {vrid: 1%s, %s%s}\n",
			tc.nodes, tc.defaults, prefer, tc.router, map[bool]string{true: "", false: ", interface: eth0"}[strings.Contains(tc.router, "interface: {")]))
		got := map[bool]told{}
		for _, r := range c.Routers {
			got[r.IPv6] = told{r.Source, r.Peers, r.Known, r.OnlyPeers, r.MinTTL, r.MaxTTL}
		}
		if diff := cmp.Diff(tc.want, got[false], byValue); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(tc.want6, got[true], byValue); diff != "" {
			t.Errorf("%s, IPv6 (-want +got):\n%s", name, diff)
		}
	}
}

// A router without addresses is for hooks. Its peers tell its family.
func TestLoad_NoAddresses(t *testing.T) {
	for router, six := range map[string]bool{
		"addresses: []":                          false,
		"addresses: [], unicast: true":           false,
		"addresses: [], unicast: six":            true,
		"addresses: [], peers: ['2001:db8::12']": true,
	} {
		path := write(t, filepath.Join(t.TempDir(), "baton.yaml"), "nodes: {a: {cluster: 10.0.0.1, six: '2001:db8::1'}, b: {cluster: 10.0.0.2, six: '2001:db8::2'}}\n"+
			"virtual_routers: {x: {interface: eth0, vrid: 1, prefer: a, "+router+"}}\n", 0o644)
		c, report := Load(path, someone("a"))
		if c == nil || report.Warnings() != 1 || !strings.Contains(report.Diagnostics[0].Message, "2.2.7 drops") {
			t.Errorf("%s: %v", router, report.Diagnostics)
			continue
		}
		if r := c.Routers[0]; len(c.Routers) != 1 || len(r.Addresses) != 0 || r.IPv6 != six {
			t.Errorf("%s: %+v", router, c.Routers)
		}
	}
}

func TestLoad_Authentication(t *testing.T) {
	dir := t.TempDir()
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	write(t, filepath.Join(dir, "raw"), string(key('r')), 0o600)
	write(t, filepath.Join(dir, "newline"), string(key('n'))+"\n", 0o600)
	write(t, filepath.Join(dir, "hex"), "hex:"+strings.Repeat("0aF0", 16)+"\n", 0o640)
	write(t, filepath.Join(dir, "password"), "SECRET2\n", 0o600)
	write(t, filepath.Join(dir, "short"), strings.Repeat("SECRET", 5), 0o600)
	write(t, filepath.Join(dir, "long"), strings.Repeat("SECRET", 11), 0o600)
	write(t, filepath.Join(dir, "bad"), "hex:SECRET"+strings.Repeat("0", 60), 0o600)
	write(t, filepath.Join(dir, "open"), strings.Repeat("SECRET", 6), 0o604)
	write(t, filepath.Join(dir, "nothing"), "\n", 0o600)
	mixed := bytes.Repeat([]byte{0x0a, 0xf0}, 16)
	for router, tc := range map[string]struct {
		password string
		hmac     *HMAC
		problem  string
	}{
		"authentication: {type: none}":                                                                                         {},
		"version: 2, authentication: {type: pass, password: 0123}":                                                             {password: "0123"},
		"version: 2, authentication: {type: pass, password: 'a, }b'}":                                                          {password: "a, }b"},
		"version: 2, authentication: {type: pass, password: 12345678}":                                                         {password: "12345678"},
		"version: 2, authentication: {type: pass, password_file: password}":                                                    {password: "SECRET2"},
		"authentication: {type: hmac, keys: {7: raw}}":                                                                         {hmac: &HMAC{Keys: map[uint8][]byte{7: key('r')}, Send: 7, Window: 5 * time.Second}},
		"authentication: {type: hmac, keys: {\"7\": raw}}":                                                                     {hmac: &HMAC{Keys: map[uint8][]byte{7: key('r')}, Send: 7, Window: 5 * time.Second}},
		"version: 2, authentication: {type: hmac, keys: {7: raw}, mode: permissive, window: 0s}":                               {hmac: &HMAC{Keys: map[uint8][]byte{7: key('r')}, Send: 7, Mode: HMACPermissive}},
		"advertisement_interval: 4s, authentication: {type: hmac, keys: {1: newline, 255: hex}, send: 255}":                    {hmac: &HMAC{Keys: map[uint8][]byte{1: key('n'), 255: mixed}, Send: 255, Window: 12 * time.Second}},
		"authentication: {type: hmac, keys: {1: " + filepath.Join(dir, "newline") + "}, mode: receive-only, window: 300s}":     {hmac: &HMAC{Keys: map[uint8][]byte{1: key('n')}, Send: 1, Mode: HMACReceiveOnly, Window: 300 * time.Second}},
		"version: 2, advertisement_interval: 200s, authentication: {type: hmac, keys: {1: raw}}":                               {hmac: &HMAC{Keys: map[uint8][]byte{1: key('r')}, Send: 1, Window: 300 * time.Second}},
		"authentication: {type: hmac, keys: {1: short}}":                                                                       {problem: "has 30 bytes, a key has 32 to 64"},
		"authentication: {type: hmac, keys: {1: long}}":                                                                        {problem: "has 66 bytes, a key has 32 to 64"},
		"authentication: {type: hmac, keys: {1: bad}}":                                                                         {problem: "no even number of hexadecimal digits"},
		"authentication: {type: hmac, keys: {1: open}}":                                                                        {problem: "open to everyone (mode 0604)"},
		"authentication: {type: hmac, keys: {1: absent}}":                                                                      {problem: "no such file"},
		"version: 2, authentication: {type: pass, password_file: absent}":                                                      {problem: "no such file"},
		"version: 2, authentication: {type: pass, password_file: short}":                                                       {problem: "short has 30 bytes, an advertisement carries 8"},
		"version: 2, authentication: {type: pass, password_file: nothing}":                                                     {problem: "nothing is empty"},
		"version: 2, authentication: {type: pass, password: SECRETSECRET}":                                                     {problem: "has 12 bytes, an advertisement carries 8"},
		"version: 2, authentication: {type: pass,\n    password:\n      SECRETSECRET, typo: 1}":                                {problem: "unknown key"},
		"version: 2, authentication: {type: pass, \"password\":\"SECRETSECRET\"}":                                              {problem: "has 12 bytes"},
		"version: 2, authentication: {type: pass, password: 'SECRET\n      SECRET'}":                                           {problem: "has 13 bytes"},
		"authentication: {auth_type: PASS, auth_pass: SECRET}":                                                                 {problem: "auth_pass"},
		"authentication: {type: pass, password: 'SECRET}":                                                                      {problem: "this is not YAML"},
		"version: 2, authentication: {type: pass, password: \"SECRET\\q\"}":                                                    {problem: "this is not YAML"},
		"version: 2, authentication: {type: pass, password: \"S\\0\"}":                                                         {problem: "has a NUL character"},
		"version: 2, authentication: {type: pass, password: SECRET9, mode: enforce}, prioritty: 5, advertisement_interval: 5s": {problem: "unknown key \"prioritty\""},
	} {
		path := write(t, filepath.Join(dir, "baton.yaml"), "virtual_routers:\n  web: {interface: eth0, vrid: 1, addresses: [10.0.0.1/24], "+router+"}\n", 0o644)
		c, report := Load(path, someone("a"))
		var found strings.Builder
		report.WriteTo(&found)
		switch {
		case strings.Contains(found.String(), "SECRET"):
			t.Errorf("%s: shown in\n%s", router, found.String())
		case tc.problem != "":
			if c != nil || !strings.Contains(found.String(), tc.problem) {
				t.Errorf("%s: want %q, found\n%s", router, tc.problem, found.String())
			}
		case c == nil || found.Len() > 0:
			t.Errorf("%s:\n%s", router, found.String())
		default:
			if diff := cmp.Diff(tc.hmac, c.Routers[0].HMAC); diff != "" || c.Routers[0].Password != tc.password {
				t.Errorf("%s: password %q (-want +got):\n%s", router, c.Routers[0].Password, diff)
			}
		}
	}
}

// A secret is asked for where a router needs it, and read once however many do.
func TestLoad_SecretsOfOthers(t *testing.T) {
	text := `
nodes: {a: 10.0.0.1, b: 10.0.0.2, c: 10.0.0.3}
defaults: {virtual_router: {interface: {a: eth0, b: eth0}, prefer: a, authentication: {type: hmac, keys: {1: one.key}}}}
virtual_routers:
  x: {vrid: 1, addresses: [10.0.0.101]}
  y: {vrid: 2, addresses: [10.0.0.102]}
  z: {interface: eth0, vrid: 3, addresses: [10.0.0.103], authentication: {type: none}}
`
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "baton.yaml"), text, 0o644)
	if _, report := Load(path, someone("a")); report.Errors() != 1 || !strings.Contains(report.Diagnostics[0].Message, "no such file") ||
		!strings.HasSuffix(report.Diagnostics[0].Hint, "$CREDENTIALS_DIRECTORY, which is not set") {
		t.Errorf("on a node that needs it: %v", report.Diagnostics)
	}
	mustLoad(t, path, someone("c"))
	if report := Validate(path); len(report.Diagnostics) > 0 {
		t.Errorf("validate asks for it: %v", report.Diagnostics)
	}
	write(t, filepath.Join(dir, "one.key"), strings.Repeat("k", 40), 0o600)
	d := realDisk()
	reads := 0
	d.secret = func(name string) ([]byte, os.FileMode, error) {
		reads++
		return readSecret(name)
	}
	c, report := load(path, someone("b"), d)
	if c == nil || reads != 1 || len(c.Routers[0].HMAC.Keys[1]) != 40 {
		t.Errorf("%d reads, %v", reads, report.Diagnostics)
	}
}

func TestLoad_VirtualMAC(t *testing.T) {
	c := loadText(t, "a", `
nodes: {a: 10.0.0.11, b: 10.0.0.12, c: 10.0.0.13}
defaults: {virtual_router: {interface: eth0, prefer: a, virtual_mac: true}}
virtual_routers:
  none:   {vrid: 1, addresses: [10.0.0.1], virtual_mac: false}
  plain:  {vrid: 2, addresses: [10.0.0.2]}
  six:    {vrid: 3, addresses: ["fe80::3"]}
  dual:   {vrid: 4, addresses: [10.0.0.4, "2001:db8::4"]}
  named:  {vrid: 5, addresses: [10.0.0.5, "2001:db8::5"], virtual_mac: {name: vip0}}
  from:   {vrid: 6, addresses: [10.0.0.6], virtual_mac: {advertise_from: interface}}
  here:   {vrid: 7, addresses: [10.0.0.7]}
  there:  {vrid: 7, addresses: [10.0.0.8], interface: eth1}
  other:  {vrid: 7, addresses: [10.0.0.9], interface: eth2, virtual_mac: {name: seven}}
  apart:  {vrid: 2, addresses: [10.0.0.10], interface: {b: eth3, c: eth3}, prefer: b}
`)
	got := map[string]VirtualMAC{}
	for name, r := range byName(c) {
		if r.VirtualMAC != nil {
			got[name] = *r.VirtualMAC
		}
	}
	want := map[string]VirtualMAC{
		"plain": {Name: "vrrp.2"}, "six/6": {Name: "vrrp6.3"}, "dual": {Name: "vrrp.4"}, "dual/6": {Name: "vrrp6.4"},
		"named": {Name: "vip0"}, "named/6": {Name: "vip0.6"}, "from": {Name: "vrrp.6", FromInterface: true},
		"here": {Name: "vrrp.7.eth0"}, "there": {Name: "vrrp.7.eth1"}, "other": {Name: "seven"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoad_AddressOptions(t *testing.T) {
	c := loadText(t, "a", `
nodes: {a: 10.0.0.11, b: 10.0.0.12}
virtual_routers:
  web:
    interface: {a: eth0, b: eno1}
    vrid: 1
    prefer: a
    repair: false
    addresses:
      - {address: 10.0.0.1/24, interface: {a: eth0, b: eno2}, broadcast: auto, repair: true}
      - {address: 10.0.0.2/32, interface: eth1, label: "eth1:web", scope: link, no_prefix_route: true}
      - {address: 10.0.0.3, peer: 10.1.0.1/30, scope: host, broadcast: 10.0.0.255, interface: eth2, label: eth2}
      - {address: "2001:db8::1/64", advertise: false, source: true}
`)
	prefix := netip.MustParsePrefix
	want := []Address{
		{Prefix: prefix("10.0.0.1/24"), Repair: true, Advertise: true, Broadcast: netip.MustParseAddr("10.0.0.255")},
		{Prefix: prefix("10.0.0.2/32"), Advertise: true, Interface: "eth1", Label: "eth1:web", Scope: 253, NoPrefixRoute: true},
		{Prefix: prefix("10.0.0.3/32"), Advertise: true, Interface: "eth2", Label: "eth2", Peer: prefix("10.1.0.1/30"), Scope: 254, Broadcast: netip.MustParseAddr("10.0.0.255")},
		{Prefix: prefix("2001:db8::1/64"), Source: true},
	}
	if len(c.Routers) != 1 {
		t.Errorf("an address that is not advertised made a router: %v", c.Routers)
	}
	if diff := cmp.Diff(want, c.Routers[0].Addresses, byValue); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoad_Routes(t *testing.T) {
	c := loadText(t, "a", `
nodes: {a: 10.0.0.11, b: 10.0.0.12}
virtual_routers:
  dual:
    interface: eth0
    vrid: 1
    prefer: a
    addresses: [10.0.0.1/24, "2001:db8::1/64"]
    routes:
      - {to: default, via: {a: 10.0.0.253, b: 10.0.0.254}, source: 10.0.0.1, metric: 4294967295, table: 100, mtu: 1400}
      - {to: default, type: unreachable, table: local, metric: 9}
      - {to: 10.2.0.0/16, interface: eth1}
      - {to: 10.3.0.1, type: local, interface: lo, table: default, repair: false}
      - {to: 10.4.0.0/16, via: 10.9.9.9, interface: eth1, on_link: true, scope: site}
      - {to: "2001:db8:1::/48", via: "fe80::1", interface: eth0, mtu: 1280}
    rules:
      - {priority: 1000, table: 100, from: 10.2.0.0/16, to: 10.3.0.0/16, iif: eth1, oif: lo}
      - {priority: 1001, table: main, fwmark: 0x10/0xff}
      - {priority: 1002, table: 100, fwmark: 16, from: "2001:db8::/32", repair: false}
  four:
    interface: eth1
    vrid: 1
    prefer: a
    addresses: [10.5.0.1/24, {address: "2001:db8::5", advertise: false}]
    routes: [{to: "::/0", via: "2001:db8::e"}, {to: default, interface: eth1}]
    rules: [{priority: 5, table: 1, to: "2001:db8::/32"}, {priority: 6, table: 1}]
  six:
    interface: eth1
    vrid: 2
    prefer: a
    addresses: ["fe80::2"]
    routes: [{to: default, interface: eth1, table: 7}]
    rules: [{priority: 7, table: 1, fwmark: 1}]
`)
	got := byName(c)
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	all := prefix("0.0.0.0/0")
	all6 := prefix("::/0")
	for name, want := range map[string][]Route{
		"dual": {
			{To: all, Via: addr("10.0.0.253"), Source: addr("10.0.0.1"), Metric: 4294967295, Table: 100, Type: 1, MTU: 1400, Repair: true},
			{To: all, Table: 255, Metric: 9, Type: 7, Repair: true},
			{To: prefix("10.2.0.0/16"), Interface: "eth1", Table: 254, Type: 1, Scope: 253, Repair: true},
			{To: prefix("10.3.0.1/32"), Interface: "lo", Table: 253, Type: 2, Scope: 254},
			{To: prefix("10.4.0.0/16"), Via: addr("10.9.9.9"), Interface: "eth1", Table: 254, Type: 1, Scope: 200, OnLink: true, Repair: true},
		},
		"dual/6": {
			{To: all6, Table: 255, Metric: 9, Type: 7, Repair: true},
			{To: prefix("2001:db8:1::/48"), Via: addr("fe80::1"), Interface: "eth0", Table: 254, Type: 1, MTU: 1280, Repair: true},
		},
		"four":  {{To: all6, Via: addr("2001:db8::e"), Table: 254, Type: 1, Repair: true}, {To: all, Interface: "eth1", Table: 254, Type: 1, Scope: 253, Repair: true}},
		"six/6": {{To: all6, Interface: "eth1", Table: 7, Type: 1, Repair: true}},
	} {
		if diff := cmp.Diff(want, got[name].Routes, byValue); diff != "" {
			t.Errorf("routes of %s (-want +got):\n%s", name, diff)
		}
	}
	for name, want := range map[string][]Rule{
		"dual": {
			{From: prefix("10.2.0.0/16"), To: prefix("10.3.0.0/16"), Table: 100, Priority: 1000, Input: "eth1", Output: "lo", Repair: true},
			{Table: 254, Priority: 1001, FwMark: 16, FwMask: 255, Repair: true},
		},
		"dual/6": {
			{IPv6: true, Table: 254, Priority: 1001, FwMark: 16, FwMask: 255, Repair: true},
			{IPv6: true, From: prefix("2001:db8::/32"), Table: 100, Priority: 1002, FwMark: 16, FwMask: 4294967295},
		},
		"four":  {{IPv6: true, To: prefix("2001:db8::/32"), Table: 1, Priority: 5, Repair: true}, {Table: 1, Priority: 6, Repair: true}},
		"six/6": {{IPv6: true, Table: 1, Priority: 7, FwMark: 1, FwMask: 4294967295, Repair: true}},
	} {
		if diff := cmp.Diff(want, got[name].Rules, byValue); diff != "" {
			t.Errorf("rules of %s (-want +got):\n%s", name, diff)
		}
	}
}

// Of a group's members each has what stands on the group, and nothing of what the defaults of routers say of an election.
func TestLoad_Group(t *testing.T) {
	c := loadText(t, "b", `
nodes: {a: 10.0.0.11, b: 10.0.0.12, c: 10.0.0.13}
checks:
  x: {type: command, command: /bin/x}
  y: {type: command, command: /bin/y}
  z: {type: command, command: /bin/z}
defaults:
  virtual_router: {interface: {a: eth0, b: eth0}, prefer: a, preempt: false, start_delay: 5s, track: [z], notify: {any: /bin/router}, version: 2}
  group: {prefer: b, retry_after: 1m, track: [x], notify: {any: /bin/group}}
virtual_routers:
  one: {vrid: 1, addresses: [10.0.0.1]}
  two: {vrid: 2, addresses: [10.0.0.2], advertisement_interval: 3s}
  three: {vrid: 3, addresses: [10.0.0.3]}
groups:
  g: {members: [two, one], priority: {a: 150, b: 100}, preempt_delay: 30s, start_delay: 2s, track: {y: -60}}
`)
	got := byName(c)
	election := func(r Router) map[string]any {
		return map[string]any{
			"group": r.Group, "priority": r.Priority, "priorities": r.Priorities, "best": r.BestRival, "slowest": r.SlowestRival, "preempt": r.Preempt,
			"preempt delay": r.PreemptDelay, "start delay": r.StartDelay, "retry": r.RetryAfter, "track": r.Track, "any": r.Notify.Any,
		}
	}
	command := func(name string) []Command { return []Command{{Argv: []string{name}, Timeout: 30 * time.Second}} }
	want := map[string]any{
		"group": "g", "priority": uint8(100), "priorities": map[string]uint8{"a": 150, "b": 100}, "best": uint8(150), "slowest": uint8(90), "preempt": true,
		"preempt delay": 30 * time.Second, "start delay": 2 * time.Second, "retry": time.Minute, "any": command("/bin/group"),
		"track": []Track{{Check: "x"}, {Check: "y", Effect: Weight, Weight: -60}},
	}
	for _, name := range []string{"one", "two"} {
		if diff := cmp.Diff(want, election(got[name])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	want = map[string]any{
		"group": "", "priority": uint8(190), "priorities": map[string]uint8{"a": 200, "b": 190}, "best": uint8(200), "slowest": uint8(200), "preempt": false,
		"preempt delay": time.Duration(0), "start delay": 5 * time.Second, "retry": 5 * time.Minute, "any": command("/bin/router"), "track": []Track{{Check: "z"}},
	}
	if diff := cmp.Diff(want, election(got["three"])); diff != "" {
		t.Errorf("three (-want +got):\n%s", diff)
	}
	if got["one"].Interval != time.Second || got["two"].Interval != 3*time.Second || got["one"].Version != 2 {
		t.Errorf("what is no part of the election: %+v", got)
	}
	var checks []string
	for _, check := range c.Checks {
		checks = append(checks, check.Name)
	}
	if diff := cmp.Diff([]string{"x", "y", "z"}, checks); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	// A node that runs no member has nothing of the group.
	if other := mustLoad(t, c.Path, someone("c")); len(other.Routers) != 0 || len(other.Checks) != 0 {
		t.Errorf("%v", other.Routers)
	}
}

// The rest of what a router can say.
func TestLoad_RouterKeys(t *testing.T) {
	c := loadText(t, "a", `
virtual_routers:
  x:
    interface: eth0
    vrid: 1
    version: 2
    addresses: [10.0.0.1]
    advertisement_interval: 255s
    missed_advertisements: 5
    accept: false
    track_link: false
    preempt_delay: 1.5s
    start_delay: 1h
    announce: {gap: 10ms, also_on: [eth1, eth2], every: 0s}
`)
	r := c.Routers[0]
	got := []any{r.Version, r.Interval, r.Missed, r.Accept, r.TrackLink, r.PreemptDelay, r.StartDelay, r.Announce}
	want := []any{2, 255 * time.Second, 5, false, false, 1500 * time.Millisecond, time.Hour, Announce{Count: 5, AgainAfter: 5 * time.Second, Gap: 10 * time.Millisecond, AlsoOn: []string{"eth1", "eth2"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The rules of RFC 9568 on IPv6 lists are advice, and none for who writes both families in one list.
func TestValidate_LinkLocalFirst(t *testing.T) {
	for addresses, warnings := range map[string]int{
		`["2001:db8::1"]`: 1, `["fe80::1", "2001:db8::1"]`: 0, `[10.0.0.1, "2001:db8::1"]`: 0,
		`["fe80::1", {address: "2001:db8::1", advertise: false}]`: 0, `[{address: "fe80::1", advertise: false}, "2001:db8::1"]`: 1,
	} {
		path := write(t, filepath.Join(t.TempDir(), "baton.yaml"), "virtual_routers: {x: {interface: eth0, vrid: 1, addresses: "+addresses+"}}\n", 0o644)
		if report := Validate(path); report.Warnings() != warnings || report.Errors() > 0 {
			t.Errorf("%s: %v", addresses, report.Diagnostics)
		}
	}
}

// Every key of keepalived that a user may look for has an answer that names one which exists.
func TestHabits(t *testing.T) {
	for context, tc := range map[string]struct {
		table keys
		words map[string]string // word: key
	}{
		"virtual router": {routerKeys, map[string]string{
			"unicast_peer": "peers", "use_vmac": "virtual_mac", "auth_pass": "authentication", "auth_type": "authentication", "auth_hmac": "authentication",
			"garp_master_delay": "announce", "garp_master_repeat": "announce", "garp_master_refresh": "announce", "no_accept": "accept", "dont_track_primary": "track_link",
			"virtual_ipaddress_excluded": "addresses", "virtual_routes": "routes", "virtual_rules": "rules", "vrrp_startup_delay": "start_delay",
			"down_timer_adverts": "missed_advertisements", "nopreempt": "preempt", "vrrp_version": "version", "vmac_xmit_base": "virtual_mac",
		}},
		"address":        {addressKeys, map[string]string{"dev": "interface", "brd": "broadcast", "noprefixroute": "no_prefix_route", "no_track": "repair", "preferred_lft": "source"}},
		"route":          {routeKeys, map[string]string{"dev": "interface", "src": "source", "gw": "via", "onlink": "on_link", "priority": "metric", "no_track": "repair"}},
		"rule":           {ruleKeys, map[string]string{"lookup": "table", "pref": "priority", "dev": "iif", "no_track": "repair"}},
		"announce":       {announceKeys, map[string]string{"refresh": "every", "delay": "again_after", "repeat": "count", "interval": "gap", "extra_if": "also_on"}},
		"authentication": {authenticationKeys, map[string]string{"auth_type": "type", "auth_pass": "password", "key": "keys", "active_key": "send", "time_window": "window"}},
		"virtual_mac":    {virtualMACKeys, map[string]string{"vmac_xmit_base": "advertise_from"}},
		"group":          {groupKeys, map[string]string{"group": "members", "nopreempt": "preempt", "track_script": "track", "notify_master": "notify"}},
		"top":            {topKeys, map[string]string{"vrrp_sync_group": "groups", "vrrp_track_process": "checks", "vrrp_track_file": "checks", "track_file": "checks"}},
		"check": {allCheckKeys(), map[string]string{
			"script": "command", "quorum": "count", "quorum_max": "count", "delay": "rise", "terminate_delay": "fall", "full_command": "executable", "file": "path",
			"status_code": "status", "regex": "match", "uri": "url", "host": "headers", "nodes": "of",
		}},
		"tls": {tlsKeys, map[string]string{"insecure": "verify", "cacert": "ca_file", "sni": "server_name"}},
	} {
		for _, word := range slices.Sorted(maps.Keys(tc.words)) {
			hint, key := keyHint(context, word, tc.table), tc.words[word]
			if tc.table.find(key) == nil || tc.table.find(word) != nil || !strings.Contains(hint, key) {
				t.Errorf("%s: %s: %q does not name %s", context, word, hint, key)
			}
		}
	}
}

func TestWords(t *testing.T) {
	for _, tc := range []struct {
		words      words
		line, want string
	}{
		{addressWords, "10.0.0.1/24 dev eth0 label eth0:1 brd + scope global noprefixroute", `{address: 10.0.0.1/24, interface: eth0, label: "eth0:1", broadcast: auto, scope: global, no_prefix_route: true}`},
		{addressWords, "2001:db8::1/64 dev eth0 brd - preferred_lft 0 dev", `{address: "2001:db8::1/64", interface: eth0}`},
		{routeWords, "blackhole default table 5", "{type: blackhole, to: default, table: 5}"},
		{routeWords, "add to 10.0.0.0/8 gw 10.0.0.1 onlink metric 5", "{to: 10.0.0.0/8, via: 10.0.0.1, on_link: true, metric: 5}"},
		{ruleWords, "from all to 2001:db8::/32 lookup 5 pref 7", `{to: "2001:db8::/32", table: 5, priority: 7}`},
	} {
		if got := tc.words.mapping(strings.Fields(tc.line)); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.line, got, tc.want)
		}
	}
}

// Where unicast gives the source, this host must have it: in both families.
func TestCheckHost_UnicastSource(t *testing.T) {
	c := loadText(t, "a", `
nodes: {a: {cluster: 10.0.0.11, six: "2001:db8::11"}, b: {cluster: 10.0.0.12, six: "2001:db8::12"}}
virtual_routers:
  x: {interface: eth0, vrid: 1, prefer: a, addresses: [10.0.0.1, "2001:db8::1"], peers: [10.0.0.11, 10.0.0.12, "2001:db8::11", "2001:db8::12"]}
`)
	absent := map[string]error{"10.0.0.11": errors.New("no 10.0.0.11"), "2001:db8::11": errors.New("no 2001:db8::11")}
	var got []string
	for _, d := range c.CheckHost(fakeHost{absent: absent}) {
		got = append(got, fmt.Sprintf("%d:%d %s", d.Line, d.Column, d.Message))
	}
	if diff := cmp.Diff([]string{"4:89 no 10.0.0.11", "4:89 no 2001:db8::11"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An Ethernet frame holds 90 IPv6 addresses, or 89 and a signature.
func TestValidate_FullFrame(t *testing.T) {
	for count, signed := range map[int]bool{90: false, 89: true} {
		for more := range 2 {
			list := []string{"fe80::1"}
			for i := 1; i < count+more; i++ {
				list = append(list, fmt.Sprintf("'2001:db8::%x'", i))
			}
			text := "virtual_routers: {x: {interface: eth0, vrid: 1, addresses: [" + strings.Join(list, ", ") + "]"
			if signed {
				text += ", authentication: {type: hmac, keys: {1: absent}}"
			}
			report := Validate(write(t, filepath.Join(t.TempDir(), "baton.yaml"), text+"}}\n", 0o644))
			if report.Warnings() != more || report.Errors() != 0 {
				t.Errorf("%d addresses, signed %t: %v", count+more, signed, report.Diagnostics)
			}
		}
	}
}
