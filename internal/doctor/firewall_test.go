package doctor

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"baton/internal/config"
	"baton/internal/link"
	"baton/internal/trial"
)

// load has nft load a script into a new network namespace, and reads it back.
func load(t *testing.T, script string) *ruleset {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rules.nft")
	script = strings.NewReplacer("};", "}\n", "} }", "}\n}\n").Replace(script) // so that a chain fits into a line
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	type result struct {
		rules *ruleset
		err   error
		text  string
	}
	done := make(chan result)
	go func() { // the thread ends with its namespace
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{err: err}
			return
		}
		text, err := exec.Command("nft", "-f", file).CombinedOutput()
		if err != nil {
			done <- result{err: err, text: string(text)}
			return
		}
		rules, err := readRuleset()
		done <- result{rules: rules, err: err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatalf("%v\n%s", r.err, r.text)
	}
	return r.rules
}

var (
	a1, b1 = netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("10.0.0.12")
	pair   = []config.Node{{Name: "lb1", Cluster: a1}, {Name: "lb2", Cluster: b1}}
)

func web() config.Router {
	return config.Router{Name: "web", Interface: "eth0", VRID: 51, Version: 3, Known: []netip.Addr{a1, b1},
		Addresses: []config.Address{{Prefix: netip.MustParsePrefix("10.0.0.100/24")}}}
}

func web6() config.Router {
	r := web()
	r.IPv6, r.Known, r.Addresses = true, nil, []config.Address{{Prefix: netip.MustParsePrefix("2001:db8::100/64")}}
	return r
}

func unicast(r config.Router) config.Router {
	r.Peers = []netip.Addr{b1}
	return r
}

func firewallFacts(rules *ruleset, routers ...config.Router) *facts {
	return &facts{cfg: &config.Config{Node: "lb1", Nodes: pair, Routers: routers}, rules: rules,
		interfaces: []link.Interface{{Index: 2, Name: "eth0"}}}
}

// What a ruleset does with what a router needs, as `nft` has loaded it.
func TestFirewall(t *testing.T) {
	trial.NeedRoot(t)
	input := func(rules string) string {
		return "table inet filter { chain input { type filter hook input priority 0; policy drop;\n" + rules + "\n} }"
	}
	tests := map[string]struct {
		script string
		router config.Router
		want   string // ids, with spaces between
	}{
		"nothing":          {"", web(), ""},
		"policy":           {input(""), web(), "firewall-in"},
		"policy, IPv6":     {input(""), web6(), "firewall-in firewall-nd"},
		"let in":           {input("meta l4proto 112 accept"), web(), ""},
		"let in, IPv6":     {input("meta l4proto { 112, ipv6-icmp } accept"), web6(), ""},
		"let in by type":   {input("meta l4proto 112 accept; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"), web6(), ""},
		"wrong type":       {input("meta l4proto 112 accept; icmpv6 type echo-request accept"), web6(), "firewall-nd"},
		"by name":          {input(`ip protocol vrrp accept`), web(), ""},
		"only answers":     {input("ct state established,related accept"), web(), "firewall-answers"},
		"answers by map":   {input("ct state vmap { established : accept, related : accept, invalid : drop }"), web(), "firewall-answers"},
		"invalid":          {input("ct state invalid drop; meta l4proto 112 accept"), web(), ""},
		"answers, unicast": {input("ct state established,related accept"), unicast(web()), "firewall-answers"},
		"new as well":      {input("ct state { established, new } accept"), web(), ""},
		"from the peer":    {input("ip saddr 10.0.0.12 meta l4proto 112 accept"), web(), ""},
		"from another":     {input("ip saddr 10.0.0.13 meta l4proto 112 accept"), web(), "firewall-in"},
		"from a network":   {input("ip saddr 10.0.0.0/24 accept"), web(), ""},
		"from ranges":      {input("ip saddr { 10.0.0.1-10.0.0.11, 10.0.0.12-10.0.0.13 } accept"), web(), ""},
		"from other range": {input("ip saddr { 10.0.0.1-10.0.0.11, 10.0.0.13-10.0.0.20 } accept"), web(), "firewall-in"},
		"not from":         {input("ip saddr != { 10.0.0.0/24 } accept"), web(), "firewall-in"},
		"group":            {input("ip daddr 224.0.0.0/4 accept"), web(), ""},
		"group, unicast":   {input("ip daddr 224.0.0.0/4 accept"), unicast(web()), "firewall-in"},
		"packet type":      {input("meta pkttype multicast accept"), web(), ""},
		"address type":     {input("fib daddr type multicast accept"), web(), ""},
		"interface":        {input(`iifname "eth0" accept`), web(), ""},
		"other interface":  {input(`iifname "eth1" accept`), web(), "firewall-in"},
		"interfaces":       {input(`iifname { "eth*", "lo" } accept`), web(), ""},
		"concatenated":     {input(`iifname . meta l4proto { "eth0" . 112 } accept`), web(), ""},
		"other pair":       {input(`iifname . meta l4proto { "eth0" . 6 } accept`), web(), "firewall-in"},
		"pair of ranges":   {input(`ip saddr . meta l4proto { 10.0.0.0/28 . 100-120 } accept`), web(), ""},
		"wrong range":      {input(`ip saddr . meta l4proto { 10.0.0.0/28 . 100-111 } accept`), web(), "firewall-in"},
		"map of verdicts":  {input(`meta l4proto vmap { 6 : accept, 112 : accept }`), web(), ""},
		"all others":       {input(`meta l4proto vmap { 6 : drop, * : accept }`), web(), ""},
		"neighbouring":     {input(`ip saddr vmap { 10.0.0.0-10.0.0.11 : drop, 10.0.0.12-10.0.0.20 : accept, 10.0.0.21-10.0.0.30 : drop }`), web(), ""},
		"range of indices": {input(`meta iif 2-3 accept`), web(), ""},
		"other indices":    {input(`meta iif 0x02000000-0x03000000 accept`), web(), "firewall-in"},
		"set of indices":   {input(`meta iif { 2-3, 7 } accept`), web(), ""},
		"part of a number": {input(`meta iif & 0xff 2-3 accept`), web(), ""},
		"set of others":    {input(`meta iif { 3-9 } accept`), web(), "firewall-in"},
		"pair of indices":  {input(`meta iif . meta l4proto { 2-3 . 112, 7-8 . 112 } accept`), web(), ""},
		"no longer known":  {input(`meta l4proto 112 socket transparent 1 accept`), web(), "firewall-unclear"},
		"named set":        {"table inet filter { set peers { type ipv4_addr; flags interval; elements = { 10.0.0.12/31 } }; chain input { type filter hook input priority 0; policy drop; ip saddr @peers accept; } }", web(), ""},
		"mark":             {input("meta mark & 0xff == 1 drop; accept"), web(), ""},
		"ttl":              {input("ip ttl 255 accept"), web(), ""},
		"limit":            {input("meta l4proto 112 limit rate 10/second accept"), web(), "firewall-unclear"},
		"unknown peer":     {input("ip6 saddr fe80::1 accept; meta l4proto ipv6-icmp accept"), web6(), "firewall-unclear"},
		"link-local":       {input("ip6 saddr fe80::/10 accept; meta l4proto ipv6-icmp accept"), web6(), ""},
		"reject":           {"table ip filter { chain INPUT { type filter hook input priority 0; ip protocol tcp accept; reject; } }", web(), "firewall-in"},
		"counter and log":  {input(`counter log prefix "x" meta l4proto 112 counter accept`), web(), ""},
		"called":           {"table inet f { chain known { meta l4proto 112 accept; }; chain in { type filter hook input priority 0; policy drop; jump known; } }", web(), ""},
		"called, returns":  {"table inet f { chain known { meta l4proto 112 return; accept; }; chain in { type filter hook input priority 0; policy drop; jump known; } }", web(), "firewall-in"},
		"gone to":          {"table inet f { chain known { meta l4proto 6 accept; }; chain in { type filter hook input priority 0; policy drop; goto known; accept; } }", web(), "firewall-in"},
		"in a circle":      {"table inet f { chain a { drop; }; chain in { type filter hook input priority 0; meta l4proto 112 goto a; } }", web(), "firewall-in"},
		"other table too":  {input("accept") + "\ntable ip other { chain in { type filter hook input priority 10; ip protocol 112 drop; } }", web(), "firewall-in"},
		"prerouting":       {"table ip raw { chain pre { type filter hook prerouting priority -300; ip protocol 112 drop; } }", web(), "firewall-in"},
		"untracked":        {"table ip raw { chain pre { type filter hook prerouting priority -300; ip protocol 112 notrack; } }\n" + input("ct state untracked accept"), web(), ""},
		"of IPv6 only":     {"table ip6 f { chain in { type filter hook input priority 0; policy drop; } }", web(), ""},
		"output":           {"table inet f { chain out { type filter hook output priority 0; policy drop; } }", web(), "firewall-out"},
		"output, IPv6":     {"table inet f { chain out { type filter hook output priority 0; policy drop; meta l4proto 112 accept; } }", web6(), "firewall-nd"},
		"output, unicast":  {"table inet f { chain out { type filter hook output priority 0; policy drop; ip daddr 10.0.0.12 accept; } }", unicast(web()), ""},
		"output, answers":  {"table inet f { chain out { type filter hook output priority 0; policy drop; ct state established accept; } }", web(), "firewall-out"},
		"forward":          {"table inet f { chain passing { type filter hook forward priority 0; policy drop; } }", web(), ""},
		"ARP in":           {"table arp f { chain in { type filter hook input priority 0; policy drop; } }", web(), "firewall-arp"},
		"ARP out":          {"table arp f { chain out { type filter hook output priority 0; arp operation reply drop; } }", web(), "firewall-arp"},
		"ARP of others":    {"table arp f { chain in { type filter hook input priority 0; arp daddr ip 10.0.0.101 drop; } }", web(), ""},
		"ARP of ours":      {"table arp f { chain in { type filter hook input priority 0; arp daddr ip 10.0.0.100 drop; } }", web(), "firewall-arp"},
		"ours":             {"table inet baton { chain input { type filter hook input priority -1; ip daddr 10.0.0.100 drop; } }", web(), ""},
		// As firewalld writes it.
		"firewalld": {`table inet firewalld {
			chain pre { type filter hook prerouting priority -140; meta nfproto ipv6 fib saddr . mark . iif oif missing drop; }
			chain zone { ip protocol vrrp accept; }
			chain filter_INPUT { type filter hook input priority 10; ct state { established, related } accept; ct status dnat accept; iifname "lo" accept;
				iifname "eth0" goto zone; goto zone; ct state invalid drop; reject with icmpx admin-prohibited; } }`, web(), ""},
		"firewalld, closed": {`table inet firewalld {
			chain zone { tcp dport 22 accept; }
			chain filter_INPUT { type filter hook input priority 10; ct state { established, related } accept; ct status dnat accept; iifname "lo" accept;
				jump zone; ct state invalid drop; reject with icmpx admin-prohibited; } }`, web(), "firewall-answers"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			found := firewall(firewallFacts(load(t, tt.script), tt.router))
			var ids []string
			for _, f := range found {
				ids = append(ids, f.ID)
				if f.Mend == "" || len(f.Routers) != 1 {
					t.Errorf("%+v", f)
				}
			}
			if got := strings.Join(ids, " "); got != tt.want {
				t.Errorf("found %q, want %q\n%+v", got, tt.want, found)
			}
		})
	}
}

// The matches of iptables-nft, as its version 1.8.9 has been seen to write them.
func TestFirewall_Extensions(t *testing.T) {
	states := func(mask uint16, invert uint16) *xt.ConntrackMtinfo3 {
		var m xt.ConntrackMtinfo3
		m.MatchFlags, m.InvertFlags, m.StateMask = uint16(xt.ConntrackState), invert, mask
		return &m
	}
	raw := func(b ...byte) *xt.Unknown { u := xt.Unknown(b); return &u }
	tests := map[string]struct {
		name string
		info xt.InfoAny
		six  bool
		want string // id of what is found where the match accepts, and all else is dropped
	}{
		"answers":                 {"conntrack", states(2|4, 0), false, "firewall-answers"},
		"new":                     {"conntrack", states(2|4|8, 0), false, ""},
		"not invalid":             {"conntrack", states(1, uint16(xt.ConntrackState)), false, ""},
		"old form of answers":     {"state", raw(6, 0, 0, 0), false, "firewall-answers"},
		"old form of new":         {"state", raw(8, 0, 0, 0), false, ""},
		"of a direction":          {"conntrack", &xt.ConntrackMtinfo3{}, false, "firewall-unclear"},
		"multicast":               {"addrtype", &xt.AddrTypeV1{Dest: 1 << unix.RTN_MULTICAST}, false, ""},
		"local":                   {"addrtype", &xt.AddrTypeV1{Dest: 1 << unix.RTN_LOCAL}, false, "firewall-in"},
		"not local":               {"addrtype", &xt.AddrTypeV1{Dest: 1 << unix.RTN_LOCAL, Flags: 2}, false, ""},
		"packet type":             {"pkttype", raw(2, 0, 0, 0, 0, 0, 0, 0), false, ""},
		"other packet type":       {"pkttype", raw(0, 0, 0, 0, 0, 0, 0, 0), false, "firewall-in"},
		"TCP":                     {"tcp", raw(), false, "firewall-in"},
		"ports":                   {"multiport", raw(), false, "firewall-in"},
		"comment":                 {"comment", raw(), false, ""},
		"one that is not known":   {"u32", raw(1, 2, 3), false, "firewall-unclear"},
		"a short one":             {"state", raw(8), false, "firewall-unclear"},
		"solicitations":           {"icmp6", raw(135, 0, 255, 0), true, "firewall-in"},
		"other ICMPv6":            {"icmp6", raw(128, 0, 255, 0), true, "firewall-in firewall-nd"},
		"all but echo, of ICMPv6": {"icmp6", raw(128, 0, 255, 1), true, "firewall-in"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := web()
			tb := &table{family: nftables.TableFamilyIPv4, name: "filter", chains: map[string]*chain{}}
			if tt.six {
				r, tb.family = web6(), nftables.TableFamilyIPv6
			}
			c := &chain{table: tb, name: "INPUT", base: true, hook: *nftables.ChainHookInput, drop: true, rules: []rule{
				{2, []expr.Any{&expr.Match{Name: tt.name, Info: tt.info}, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}}},
			}}
			var ids []string
			for _, f := range firewall(firewallFacts(&ruleset{[]*chain{c}}, r)) {
				ids = append(ids, f.ID)
				if !strings.HasPrefix(f.Mend, "ip") {
					t.Errorf("mend: %s", f.Mend)
				}
			}
			if got := strings.Join(ids, " "); got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

// Rules that call each other for ever, or very often, end.
func TestFirewall_Bounded(t *testing.T) {
	tb := &table{family: nftables.TableFamilyINet, name: "f", chains: map[string]*chain{}}
	for i := range 20 {
		c := &chain{table: tb, name: string(rune('a' + i))}
		for range 20 {
			c.rules = append(c.rules, rule{1, []expr.Any{&expr.Limit{}, &expr.Verdict{Kind: expr.VerdictJump, Chain: string(rune('a' + (i+1)%20))}}})
		}
		tb.chains[c.name] = c
	}
	first := tb.chains["a"]
	first.base, first.hook = true, *nftables.ChainHookInput
	found := firewall(firewallFacts(&ruleset{[]*chain{first}}, web()))
	if len(found) != 1 || found[0].ID != "firewall-unclear" || !strings.Contains(found[0].Text, "calls too many others") {
		t.Errorf("%+v", found)
	}
}
