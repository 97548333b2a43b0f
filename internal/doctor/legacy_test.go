package doctor

import (
	"strings"
	"testing"

	"github.com/google/nftables"

	"baton/internal/config"
)

// What iptables-save writes is judged as nftables is.
func TestLegacy(t *testing.T) {
	filter := func(rules string) string {
		return "# Generated\n*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [1:2]\n:own - [0:0]\n" + rules + "\nCOMMIT\n"
	}
	tests := map[string]struct {
		text   string
		router config.Router
		want   string
	}{
		"policy":            {filter(""), web(), "firewall-in"},
		"by name":           {filter("-A INPUT -p vrrp -j ACCEPT"), web(), ""},
		"by number":         {filter("-A INPUT -d 224.0.0.18/32 -i eth0 -p 112 -j ACCEPT"), web(), ""},
		"other protocol":    {filter("-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"), web(), "firewall-in"},
		"other interface":   {filter("-A INPUT -i eth1 -j ACCEPT"), web(), "firewall-in"},
		"longer name":       {filter("-A INPUT -i eth00 -j ACCEPT"), web(), "firewall-in"},
		"interfaces":        {filter("-A INPUT -i eth+ -j ACCEPT"), web(), ""},
		"not an interface":  {filter("-A INPUT ! -i lo -j ACCEPT"), web(), ""},
		"network":           {filter("-A INPUT -s 10.0.0.0/24 -j ACCEPT"), web(), ""},
		"other network":     {filter("-A INPUT -s 10.0.1.0/24 -j ACCEPT"), web(), "firewall-in"},
		"answers":           {filter("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"), web(), "firewall-answers"},
		"state":             {filter("-A INPUT -m state --state NEW -j ACCEPT"), web(), ""},
		"not invalid":       {filter("-A INPUT -m conntrack ! --ctstate INVALID -j ACCEPT"), web(), ""},
		"comment":           {filter(`-A INPUT -p vrrp -m comment --comment "let \"VRRP\" in -j DROP" -j ACCEPT`), web(), ""},
		"multicast":         {filter("-A INPUT -m addrtype --dst-type MULTICAST -j ACCEPT"), web(), ""},
		"not local":         {filter("-A INPUT -m addrtype ! --dst-type LOCAL -j ACCEPT"), web(), ""},
		"packet type":       {filter("-A INPUT -m pkttype --pkt-type multicast -j ACCEPT"), web(), ""},
		"limit":             {filter("-A INPUT -p vrrp -m limit --limit 3/min -j ACCEPT"), web(), "firewall-unclear"},
		"log":               {filter("-A INPUT -j LOG --log-prefix \"x \"\n-A INPUT -p vrrp -j ACCEPT"), web(), ""},
		"reject":            {"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n", web(), "firewall-in"},
		"called":            {filter("-A own -p vrrp -j ACCEPT\n-A INPUT -j own"), web(), ""},
		"called, returns":   {filter("-A own -p vrrp -j RETURN\n-A own -j ACCEPT\n-A INPUT -j own"), web(), "firewall-in"},
		"gone to":           {filter("-A own -p tcp -j ACCEPT\n-A INPUT -g own\n-A INPUT -j ACCEPT"), web(), "firewall-in"},
		"raw":               {"*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p vrrp -j DROP\nCOMMIT\n", web(), "firewall-in"},
		"nat":               {"*nat\n:INPUT DROP [0:0]\nCOMMIT\n", web(), ""},
		"output":            {"*filter\n:OUTPUT DROP [0:0]\nCOMMIT\n", web(), "firewall-out"},
		"IPv6":              {filter("-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT\n-A INPUT -s fe80::/10 -p vrrp -j ACCEPT"), web6(), ""},
		"IPv6 without ND":   {filter("-A INPUT -p vrrp -j ACCEPT"), web6(), "firewall-nd"},
		"cut, and nonsense": {"-A INPUT\n*filter\n:INPUT\n-A\n-A INPUT\n-A INPUT -j\n-A INPUT -s\n!\n-A nobody -j DROP\n", web(), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			family := nftables.TableFamilyIPv4
			if tt.router.IPv6 {
				family = nftables.TableFamilyIPv6
			}
			var ids []string
			for _, f := range firewall(firewallFacts(&ruleset{parseLegacy(tt.text, "iptables-legacy", family)}, tt.router)) {
				ids = append(ids, f.ID)
				if !strings.HasPrefix(f.Mend, "iptables-legacy -I ") || !strings.Contains(f.Text, "of iptables-legacy") {
					t.Errorf("%+v", f)
				}
			}
			if got := strings.Join(ids, " "); got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}
