package vip

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// String returns the route as the arguments of ip(8), less the verb: "route
// default via 192.0.2.14", or "-6 route unreachable 2001:db8::/32".
func (r Route) String() string {
	var b strings.Builder
	if r.To.Addr().Is6() {
		b.WriteString("-6 ")
	}
	b.WriteString("route ")
	if r.Type != unix.RTN_UNICAST {
		b.WriteString(typeName(r.Type) + " ")
	}
	if r.To.Bits() == 0 {
		b.WriteString("default")
	} else {
		b.WriteString(r.To.String())
	}
	if r.Via.IsValid() {
		b.WriteString(" via " + r.Via.String())
	}
	if r.Interface != "" {
		b.WriteString(" dev " + r.Interface)
	}
	if r.Table != unix.RT_TABLE_MAIN {
		fmt.Fprintf(&b, " table %d", r.Table)
	}
	if s := scopeWithout(r); r.Scope != s && r.To.Addr().Is4() {
		fmt.Fprintf(&b, " scope %s", scopeName(r.Scope))
	}
	if r.Source.IsValid() {
		b.WriteString(" src " + r.Source.String())
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if r.MTU != 0 {
		fmt.Fprintf(&b, " mtu %d", r.MTU)
	}
	if r.OnLink {
		b.WriteString(" onlink")
	}
	return b.String()
}

// scopeWithout is the scope that ip(8) gives the route when none is named.
func scopeWithout(r Route) uint8 {
	if r.Type == unix.RTN_UNICAST && !r.Via.IsValid() {
		return unix.RT_SCOPE_LINK
	}
	return unix.RT_SCOPE_UNIVERSE
}

func typeName(t uint8) string {
	switch t {
	case unix.RTN_UNREACHABLE:
		return "unreachable"
	case unix.RTN_BLACKHOLE:
		return "blackhole"
	case unix.RTN_PROHIBIT:
		return "prohibit"
	case unix.RTN_THROW:
		return "throw"
	}
	return fmt.Sprint(t)
}

func scopeName(s uint8) string {
	switch s {
	case unix.RT_SCOPE_UNIVERSE:
		return "global"
	case unix.RT_SCOPE_SITE:
		return "site"
	case unix.RT_SCOPE_LINK:
		return "link"
	case unix.RT_SCOPE_HOST:
		return "host"
	}
	return fmt.Sprint(s)
}

// String returns the rule as the arguments of ip(8), less the verb: "rule from
// 10.0.0.0/8 lookup 100 priority 200".
func (r Rule) String() string {
	var b strings.Builder
	if r.IPv6 {
		b.WriteString("-6 ")
	}
	b.WriteString("rule from ")
	if r.From.Bits() > 0 {
		b.WriteString(r.From.String())
	} else {
		b.WriteString("all")
	}
	if r.To.Bits() > 0 {
		b.WriteString(" to " + r.To.String())
	}
	switch {
	case r.FwMask != 0:
		fmt.Fprintf(&b, " fwmark %#x/%#x", r.FwMark, r.FwMask)
	case r.FwMark != 0:
		fmt.Fprintf(&b, " fwmark %#x", r.FwMark)
	}
	if r.Input != "" {
		b.WriteString(" iif " + r.Input)
	}
	if r.Output != "" {
		b.WriteString(" oif " + r.Output)
	}
	fmt.Fprintf(&b, " lookup %d priority %d", r.Table, r.Priority)
	return b.String()
}
