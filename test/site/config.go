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
	Checks  []Check
	More    string // more text for baton.yaml's top level
}

// Router is a virtual router; its addresses are of one family.
type Router struct {
	Name      string
	VRID      int
	Interval  time.Duration
	Addresses []string       // prefixes
	Priority  map[string]int // by node; a node without one does not run the router
	NoPreempt bool
	Track     []Effect
	Notify    string // for baton: a YAML flow mapping
}

// Effect is what a check's failure does to a router: subtract Weight from the priority, or, with 0, put it in FAULT.
type Effect struct {
	Check  string
	Weight int // 0 or negative
}

// Check is a command check; or, for baton only, a check of a HAProxy by its socket.
type Check struct {
	Name       string
	Command    string            // split at spaces
	Socket     map[string]string // by node; instead of Command
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
	for i, name := range s.hosts {
		fmt.Fprintf(&b, "  %s: 10.99.0.%d\n", name, i+1)
	}
	if len(c.Checks) > 0 {
		b.WriteString("checks:\n")
	}
	for _, check := range c.Checks {
		what := "type: command, command: " + check.Command
		if check.Socket != nil {
			what = "type: haproxy, socket: " + flow(check.Socket)
		}
		fmt.Fprintf(&b, "  %s: {%s, interval: %v, timeout: %v, rise: %d, fall: %d}\n",
			check.Name, what, check.Interval, check.Interval, check.Rise, check.Fall)
	}
	b.WriteString("virtual_routers:\n")
	for _, r := range c.Routers {
		var quoted []string
		for _, a := range r.Addresses {
			quoted = append(quoted, fmt.Sprintf("%q", a))
		}
		fmt.Fprintf(&b, "  %s:\n    interface: %s\n    vrid: %d\n    priority: %s\n    preempt: %v\n    advertisement_interval: %v\n    addresses: [%s]\n",
			r.Name, Interface, r.VRID, flow(r.Priority), !r.NoPreempt, r.Interval, strings.Join(quoted, ", "))
		if len(r.Track) > 0 {
			effects := make(map[string]string)
			for _, e := range r.Track {
				effects[e.Check] = "fault"
				if e.Weight != 0 {
					effects[e.Check] = fmt.Sprint(e.Weight)
				}
			}
			fmt.Fprintf(&b, "    track: %s\n", flow(effects))
		}
		if r.Notify != "" {
			fmt.Fprintf(&b, "    notify: %s\n", r.Notify)
		}
	}
	b.WriteString(c.More)
	return b.String()
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

// KeepalivedConf writes the file of one node. IPv4 and IPv6 are VRRP version 3.
func (c Config) KeepalivedConf(node string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\n  router_id %s\n  vrrp_version 3\n  script_user root\n}\n", node)
	for _, check := range c.Checks {
		seconds := max(1, int(check.Interval.Seconds())) // before 2.3 it takes whole ones only
		fmt.Fprintf(&b, "vrrp_script %s {\n  script \"%s\"\n  interval %d\n  timeout %d\n  rise %d\n  fall %d\n}\n",
			check.Name, check.Command, seconds, seconds, check.Rise, check.Fall)
	}
	for _, r := range c.Routers {
		priority, ok := r.Priority[node]
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "vrrp_instance %s {\n  version 3\n  state BACKUP\n  interface %s\n  virtual_router_id %d\n  priority %d\n  advert_int %g\n",
			r.Name, Interface, r.VRID, priority, r.Interval.Seconds())
		if r.NoPreempt {
			b.WriteString("  nopreempt\n")
		}
		fmt.Fprintf(&b, "  virtual_ipaddress {\n    %s\n  }\n", strings.Join(r.Addresses, "\n    "))
		if len(r.Track) > 0 {
			b.WriteString("  track_script {\n")
			for _, e := range r.Track {
				fmt.Fprintf(&b, "    %s weight %d\n", e.Check, e.Weight)
			}
			b.WriteString("  }\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}
