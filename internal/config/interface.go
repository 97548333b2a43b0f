package config

import (
	"net/netip"
	"slices"
	"strings"
)

// mostName is how long the name of an interface can be, in bytes.
const mostName = 15

// interfaceName reads the name of an interface that addresses can be on. It is empty where the value is absent or wrong.
func (w *walk) interfaceName(f fields, name string) string {
	n := f.scalar(name)
	if n == nil || !w.isInterface(n) {
		return ""
	}
	w.config.ask(question{kind: askInterface, at: n.place, path: n.path, name: n.text})
	return n.text
}

// interfaceNames reads a list of them.
func (w *walk) interfaceNames(f fields, name string) []string {
	n := f.get(name)
	if n == nil {
		return nil
	}
	if n.kind != list {
		hint := ""
		if n.kind == scalar {
			hint = name + ": [" + short(n.text) + "]"
		}
		w.errorAt(n.place, n.path, hint, "is %s, want a list of interfaces", n.kind)
		return nil
	}
	var all []string
	for _, item := range n.items {
		switch {
		case item.kind != scalar:
			w.errorAt(item.place, n.path, "", "is %s, want the name of an interface", item.kind)
		case !w.isInterface(item):
		case slices.Contains(all, item.text):
			w.errorAt(item.place, n.path, "", "%q stands here twice", item.text)
		default:
			all = append(all, item.text)
		}
	}
	return all
}

// isInterface tells whether a value can be the name of an interface that leads somewhere, and reports why not.
func (w *walk) isInterface(n *node) bool {
	problem, hint := unfitInterface(n.text)
	if n.text == "lo" {
		problem = "is the loopback: no advertisement leaves the host there"
	}
	if problem != "" {
		w.errorAt(n.place, n.path, hint, "%s %s", quote(n.text), problem)
	}
	return problem == ""
}

// unfitInterface tells why a text cannot be the name of an interface.
func unfitInterface(text string) (problem, hint string) {
	switch {
	case isAddress(text):
		return "is an address", "the name of the interface that it is on, such as eth0"
	case strings.Contains(text, ":"):
		return "is an alias", "write " + short(text[:strings.IndexByte(text, ':')])
	case len(text) > mostName:
		return "is longer than 15 characters", ""
	case strings.ContainsAny(text, typographic):
		return "cannot be the name of an interface", `the quotes of YAML are " and '`
	case text == "" || text == "." || text == ".." || strings.ContainsAny(text, "/ \t\n\v\f\r"):
		return "cannot be the name of an interface", ""
	}
	return "", ""
}

// typographic are the quotes that word processors and web pages put in place of " and '.
const typographic = "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

// virtualMAC reads what stands under that key; nil is none. An empty name is one that is still to be given.
func (w *walk) virtualMAC(f fields) *VirtualMAC {
	n := f.get("virtual_mac")
	switch {
	case n == nil:
		return nil
	case n.kind != mapping:
		if f.boolean("virtual_mac") {
			return &VirtualMAC{}
		}
		return nil
	}
	m := w.fields(n, n.place, virtualMACKeys, "virtual_mac")
	v := &VirtualMAC{FromInterface: m.oneOf("advertise_from", "virtual_mac", "interface") == "interface"}
	if name := m.scalar("name"); name != nil && w.isInterface(name) {
		v.Name = name.text
	}
	return v
}

// nameVirtualMACs names those that the file does not name. Two with the same VRID would have the same name: both then have that of
// their interface too.
func (rr *routerReader) nameVirtualMACs() {
	w := rr.walk
	plain := func(r reading) string {
		if r.IPv6 {
			return "vrrp6." + itoa(int(r.VRID))
		}
		return "vrrp." + itoa(int(r.VRID))
	}
	count := map[string]int{}
	real := map[string]claim{}
	for _, r := range rr.read {
		real[r.Interface] = claim{router: r.Name, at: r.fields.at}
		if v := r.VirtualMAC; v != nil && v.Name == "" {
			count[plain(r)]++
		}
	}
	taken := map[string]claim{}
	for i, r := range rr.read {
		v := r.VirtualMAC
		if v == nil || r.VRID == 0 || r.Interface == "" { // what is missing has been said
			continue
		}
		n := r.fields.get("virtual_mac")
		v = &VirtualMAC{Name: v.Name, FromInterface: v.FromInterface} // the halves of a router share it until here
		rr.read[i].VirtualMAC = v
		switch {
		case v.Name != "" && r.both && r.IPv6:
			if v.Name += ".6"; len(v.Name) > mostName {
				w.errorAt(n.place, n.path, "a name of at most 13 characters", "%s, for the IPv6 addresses, is longer than 15 characters", v.Name)
				continue
			}
		case v.Name == "":
			if v.Name = plain(r); count[v.Name] > 1 {
				v.Name += "." + r.Interface
			}
			if len(v.Name) > mostName {
				w.errorAt(n.place, n.path, "virtual_mac: {name: NAME}", "several routers of this node have VRID %d, and %s is longer than 15 characters: give it a name", r.VRID, v.Name)
				continue
			}
		}
		if real, ok := real[v.Name]; ok {
			w.errorAt(n.place, n.path, "another name", "%s is the interface of %q (%s)", v.Name, real.router, real.at.from(n.place))
		} else if first, ok := taken[v.Name]; ok {
			w.errorAt(n.place, n.path, "another name for one of them", "%s is already the virtual MAC of %q (%s)", v.Name, first.router, first.at.from(n.place))
		} else {
			taken[v.Name] = claim{router: r.Name, at: r.fields.at}
		}
	}
}
