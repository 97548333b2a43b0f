package keepalived

import (
	"strconv"
	"strings"
)

// readMAC writes virtual_mac.
func (c *conversion) readMAC(in *instance) {
	b, base := in.said["use_vmac"], in.said["vmac_xmit_base"]
	if base != nil {
		c.flag(base)
		if b == nil {
			c.became1(Ignored, base, "there is no use_vmac")
		} else {
			c.became1(Converted, base, "")
		}
	}
	if b == nil {
		return
	}
	c.stray(b)
	name := ""
	c.report.words(Converted, "", b.Words[0])
	for i, w := range b.Arguments() {
		switch {
		case strings.Count(w.Text, ":") >= 4:
			c.report.words(c.macOutcome(w.Text), "the MAC address is always that of the VRID (RFC 9568, section 7.3)", w)
		case i > 1 || name != "":
			c.report.words(Ignored, "keepalived reads a name and a MAC address", w)
		case len(w.Text) > 15 || !isInterface(w.Text) || w.Text == "lo":
			c.report.words(Unsupported, "it cannot be the name of an interface: baton names it by the VRID", w)
		default:
			name = w.Text
			c.report.words(Converted, "", w)
		}
	}
	plain := "vrrp." + itoa(in.vrid)
	if in.six {
		plain = "vrrp6." + itoa(in.vrid)
	}
	if name == "" && c.globals.macPrefix != "" && c.globals.macPrefix != "vrrp" {
		name = c.globals.macPrefix + strings.TrimPrefix(plain, "vrrp")
	}
	if name == "" || name == plain || len(name) > 15 || !isInterface(name) || name == in.iface {
		name = plain
	}
	in.virtualMAC = unused(name, func(s string) bool { return c.macs[s] })
	c.macs[in.virtualMAC] = true
	if in.virtualMAC != name {
		c.report.amend(b.Pos(), Approximated, "another instance has "+name+" already: it is "+in.virtualMAC)
	}
	m := newMapping()
	if in.virtualMAC != plain {
		m.set("name", in.virtualMAC)
	}
	if base != nil || len(in.unicast.peers) > 0 {
		m.set("advertise_from", "interface")
	}
	if m.empty() {
		in.router.set("virtual_mac", true)
		return
	}
	in.router.set("virtual_mac", m.flow())
}

// macOutcome is what becomes of a MAC address: keepalived ignores those of VRRP itself.
func (c *conversion) macOutcome(text string) Outcome {
	if strings.HasPrefix(strings.ToLower(text), "00:00:5e:00:0") {
		if _, err := strconv.ParseUint(text[len(text)-2:], 16, 8); err == nil {
			return Ignored
		}
	}
	return Unsupported
}
