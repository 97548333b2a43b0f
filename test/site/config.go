package site

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Config is what the nodes of a site are configured with. It can be written as one baton.yaml for all nodes, and as
// a keepalived.conf for each.
type Config struct {
	Routers []Router
	Groups  []Group
	Checks  []Check
	More    string // more text for baton.yaml's top level
}

// Router is a virtual router; its addresses are of one family.
type Router struct {
	Name      string
	VRID      int
	Interval  time.Duration
	Addresses []string       // prefixes
	Priority  map[string]int // by node; a node without one does not run the router. Of a group's member: the group's
	NoPreempt bool
	Track     []Effect
	Notify    string // for baton: a YAML flow mapping

	Interface  string // empty: eth0
	Version    int    // of VRRP; 0: 3
	Password   string // of version 2; empty: no authentication
	Unicast    bool   // to the other nodes, in place of multicast
	VirtualMAC bool   // baton's and keepalived's; FRR has one always

	More           string // more keys for baton.yaml, a line each, without indentation
	MoreKeepalived string // the same for keepalived.conf
}

// Group is a group of routers that change their role together: baton's `groups`, keepalived's vrrp_sync_group.
type Group struct {
	Name      string
	Members   []string
	Priority  map[string]int
	NoPreempt bool
	Track     []Effect
	More      string // as in a Router
}

// version returns the version of VRRP that the router speaks.
func (r Router) version() int {
	if r.Version == 0 {
		return 3
	}
	return r.Version
}

// on returns the interface that the router runs on.
func (r Router) on() string {
	if r.Interface == "" {
		return Interface
	}
	return r.Interface
}

func (r Router) is6() bool { return Address(r.Addresses[0]).Is6() }

// virtualName is the name of the interface with the virtual MAC address that keepalived makes; baton and FRR choose theirs.
func (r Router) virtualName() string { return fmt.Sprintf("vrrp.%d", r.VRID) }

// group returns the group that a router is in.
func (c Config) group(router string) (Group, bool) {
	for _, g := range c.Groups {
		if slices.Contains(g.Members, router) {
			return g, true
		}
	}
	return Group{}, false
}

// election returns the priorities of a router, and whether a better node leaves a worse one its role: its own or its group's.
func (c Config) election(r Router) (priority map[string]int, noPreempt bool) {
	if g, ok := c.group(r.Name); ok {
		return g.Priority, g.NoPreempt
	}
	return r.Priority, r.NoPreempt
}

// Effect is what a check's failure does to a router: subtract Weight from the priority, or, with 0, put it in FAULT.
type Effect struct {
	Check  string
	Weight int // 0 or negative
}

// Check is a command check; or, for baton only, one of another type.
type Check struct {
	Name       string
	Command    string            // split at spaces
	Socket     map[string]string // by node; instead of Command
	Keys       string            // of a check of any type, as a flow mapping has them, for baton; instead of Command
	Interval   time.Duration     // its timeout as well
	Rise, Fall int
}

// Pair is the usual configuration: the router web, VRID 51, in which node a has priority 200 and b 190. IPv6
// addresses that one advertisement has no room for are the routers web2, web3 and so on.
func Pair(interval time.Duration, addresses ...string) Config {
	size := len(addresses)
	if Address(addresses[0]).Is6() {
		size = maxIPv6
	}
	var c Config
	for part := range slices.Chunk(addresses, size) {
		r := Router{
			Name: "web", VRID: 51 + len(c.Routers), Interval: interval, Addresses: part,
			Priority: map[string]int{"a": 200, "b": 190},
		}
		if len(c.Routers) > 0 {
			r.Name += fmt.Sprint(len(c.Routers) + 1)
		}
		c.Routers = append(c.Routers, r)
	}
	return c
}

// maxIPv6 is how many addresses keepalived puts into an IPv6 advertisement on Ethernet; one more would fit.
const maxIPv6 = 89

// BatonYAML writes the one file for all nodes of the site.
func (s *Site) BatonYAML(c Config) string {
	var b strings.Builder
	b.WriteString("log: {format: json}\nnodes:\n")
	networks := slices.ContainsFunc(c.Routers, func(r Router) bool { return r.Unicast && r.is6() })
	for _, name := range s.hosts {
		if networks {
			fmt.Fprintf(&b, "  %s: {cluster: %v, ipv6: \"%v\"}\n", name, s.own(name, false), s.own(name, true))
		} else {
			fmt.Fprintf(&b, "  %s: %v\n", name, s.own(name, false))
		}
	}
	if len(c.Checks) > 0 {
		b.WriteString("checks:\n")
	}
	for _, check := range c.Checks {
		what := "type: command, command: " + check.Command
		if check.Socket != nil {
			what = "type: haproxy, socket: " + flow(check.Socket)
		}
		if check.Keys != "" {
			what = check.Keys
		}
		fmt.Fprintf(&b, "  %s: {%s, interval: %v, timeout: %v, rise: %d, fall: %d}\n",
			check.Name, what, check.Interval, check.Interval, check.Rise, check.Fall)
	}
	b.WriteString("virtual_routers:\n")
	for _, r := range c.Routers {
		_, member := c.group(r.Name)
		writeRouter(&b, r, member)
	}
	if len(c.Groups) > 0 {
		b.WriteString("groups:\n")
	}
	for _, g := range c.Groups {
		fmt.Fprintf(&b, "  %s:\n    members: [%s]\n    priority: %s\n    preempt: %v\n",
			g.Name, strings.Join(g.Members, ", "), flow(g.Priority), !g.NoPreempt)
		if len(g.Track) > 0 {
			fmt.Fprintf(&b, "    track: %s\n", effects(g.Track))
		}
		writeLines(&b, "    ", g.More)
	}
	b.WriteString(c.More)
	return b.String()
}

// writeRouter writes a router of baton.yaml. What a group decides, its members may not say.
func writeRouter(b *strings.Builder, r Router, member bool) {
	var quoted []string
	for _, a := range r.Addresses {
		quoted = append(quoted, fmt.Sprintf("%q", a))
	}
	fmt.Fprintf(b, "  %s:\n    interface: %s\n    vrid: %d\n", r.Name, r.on(), r.VRID)
	if !member {
		fmt.Fprintf(b, "    priority: %s\n    preempt: %v\n", flow(r.Priority), !r.NoPreempt)
	}
	fmt.Fprintf(b, "    advertisement_interval: %v\n    addresses: [%s]\n", r.Interval, strings.Join(quoted, ", "))
	if r.version() != 3 {
		fmt.Fprintf(b, "    version: %d\n", r.version())
	}
	if r.Password != "" {
		fmt.Fprintf(b, "    authentication: {type: pass, password: %s}\n", r.Password)
	}
	switch {
	case r.Unicast && r.is6():
		b.WriteString("    unicast: ipv6\n")
	case r.Unicast:
		b.WriteString("    unicast: true\n")
	}
	switch {
	case r.VirtualMAC && r.Unicast: // a unicast answer would come to the virtual MAC, which the peers have too
		b.WriteString("    virtual_mac: {advertise_from: interface}\n")
	case r.VirtualMAC:
		b.WriteString("    virtual_mac: true\n")
	}
	if len(r.Track) > 0 {
		fmt.Fprintf(b, "    track: %s\n", effects(r.Track))
	}
	if r.Notify != "" {
		fmt.Fprintf(b, "    notify: %s\n", r.Notify)
	}
	writeLines(b, "    ", r.More)
}

// writeLines writes a text with each of its lines indented.
func writeLines(b *strings.Builder, indent, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(b, "%s%s\n", indent, strings.TrimSuffix(line, "\n"))
	}
}

func effects(track []Effect) string {
	m := make(map[string]string)
	for _, e := range track {
		m[e.Check] = "fault"
		if e.Weight != 0 {
			m[e.Check] = fmt.Sprint(e.Weight)
		}
	}
	return flow(m)
}

// flow writes a YAML flow mapping with its keys in order.
func flow[V any](m map[string]V) string {
	var parts []string
	for k, v := range m {
		parts = append(parts, fmt.Sprintf("%s: %v", k, v))
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}

// KeepalivedConf writes the file of one node.
func (s *Site) KeepalivedConf(c Config, node string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\n  router_id %s\n  vrrp_version 3\n  script_user root\n}\n", node)
	for _, check := range c.Checks {
		seconds := max(1, int(check.Interval.Seconds())) // before 2.3 it takes whole ones only
		fmt.Fprintf(&b, "vrrp_script %s {\n  script \"%s\"\n  interval %d\n  timeout %d\n  rise %d\n  fall %d\n}\n",
			check.Name, check.Command, seconds, seconds, check.Rise, check.Fall)
	}
	for _, g := range c.Groups {
		fmt.Fprintf(&b, "vrrp_sync_group %s {\n  group {\n    %s\n  }\n", g.Name, strings.Join(g.Members, "\n    "))
		trackScripts(&b, g.Track)
		b.WriteString("}\n")
	}
	for _, r := range c.Routers {
		election, noPreempt := c.election(r)
		priority, ok := election[node]
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "vrrp_instance %s {\n  version %d\n  state BACKUP\n  interface %s\n  virtual_router_id %d\n  priority %d\n  advert_int %g\n",
			r.Name, r.version(), r.on(), r.VRID, priority, r.Interval.Seconds())
		if noPreempt {
			b.WriteString("  nopreempt\n")
		}
		if r.Password != "" {
			fmt.Fprintf(&b, "  authentication {\n    auth_type PASS\n    auth_pass %s\n  }\n", r.Password)
		}
		if r.Unicast {
			fmt.Fprintf(&b, "  unicast_src_ip %v\n  unicast_peer {\n", s.own(node, r.is6()))
			for _, other := range s.hosts {
				if _, runs := election[other]; runs && other != node {
					fmt.Fprintf(&b, "    %v\n", s.own(other, r.is6()))
				}
			}
			b.WriteString("  }\n")
		}
		if r.VirtualMAC {
			fmt.Fprintf(&b, "  use_vmac %s\n", r.virtualName())
			if r.Unicast {
				b.WriteString("  vmac_xmit_base\n")
			}
		}
		fmt.Fprintf(&b, "  virtual_ipaddress {\n    %s\n  }\n", strings.Join(r.Addresses, "\n    "))
		trackScripts(&b, r.Track)
		writeLines(&b, "  ", r.MoreKeepalived)
		b.WriteString("}\n")
	}
	return b.String()
}

func trackScripts(b *strings.Builder, track []Effect) {
	if len(track) == 0 {
		return
	}
	b.WriteString("  track_script {\n")
	for _, e := range track {
		fmt.Fprintf(b, "    %s weight %d\n", e.Check, e.Weight)
	}
	b.WriteString("  }\n")
}
