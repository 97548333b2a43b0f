package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// maxNodes bounds `nodes`: there are 254 priorities that a node without the address itself can have.
const maxNodes = 254

// Node is an entry of `nodes`.
type Node struct {
	Name     string
	Cluster  netip.Addr            // the address by which the nodes know each other
	Networks map[string]netip.Addr // the others; the same names on every node
}

func (n Node) networks() []string {
	return append([]string{"cluster"}, slices.Sorted(maps.Keys(n.Networks))...)
}

func (n Node) hasNetwork(network string) bool { return slices.Contains(n.networks(), network) }

// Has tells whether an address is one of the node's own.
func (n Node) Has(a netip.Addr) bool { return slices.Contains(n.Addresses(), a) }

// Address returns the node's address in a network, "cluster" among them; invalid where it has none.
func (n Node) Address(network string) netip.Addr {
	if network == "cluster" {
		return n.Cluster
	}
	return n.Networks[network]
}

// Addresses returns the node's addresses, that in the network "cluster" first.
func (n Node) Addresses() []netip.Addr {
	all := []netip.Addr{n.Cluster}
	for _, name := range slices.Sorted(maps.Keys(n.Networks)) {
		all = append(all, n.Networks[name])
	}
	return all
}

// readNodes reads `nodes`, before anyone reads the rest as one of them.
func (w *walk) readNodes(n *node) {
	if n == nil {
		w.noNodes = true
		return
	}
	if n.kind != mapping || len(n.entries) == 0 {
		what := n.kind.String()
		if n.kind == mapping {
			what = "empty"
		}
		w.errorAt(n.place, "nodes", "nodes: {NAME: ADDRESS, ...}; leave it out for a file of one node", "is %s, want NAME: ADDRESS for every node", what)
		return
	}
	if len(n.entries) > maxNodes {
		w.errorAt(n.place, "nodes", "", "%d nodes, at most %d", len(n.entries), maxNodes)
		return
	}
	owner := map[netip.Addr]place{}
	var firstEntry entry
	for _, e := range n.entries {
		if !w.nodeName(e.key) {
			continue
		}
		node := w.readNode(e, owner)
		if len(w.nodes) == 0 {
			firstEntry = e
		} else if want, have := w.nodes[0].networks(), node.networks(); !slices.Equal(want, have) {
			w.errorAt(e.key.place, "nodes."+node.Name, "the same networks on every node", "has the networks %s, but %s (%s) has %s",
				strings.Join(have, ", "), w.nodes[0].Name, firstEntry.key.from(e.key.place), strings.Join(want, ", "))
			for _, network := range want { // so that what refers to them is not an error as well
				if network != "cluster" && !node.hasNetwork(network) {
					node.Networks[network] = netip.Addr{}
				}
			}
		}
		w.nodes = append(w.nodes, node)
	}
	if len(n.entries) == 1 && len(w.nodes) == 1 {
		w.warnAt(n.entries[0].key.place, "nodes", "name every node that has this file", "%s is the only node: nobody takes over", w.nodes[0].Name)
	}
}

func (w *walk) nodeName(key *node) bool {
	if key.text == "default" {
		w.errorAt(key.place, "nodes", "it stands for all other nodes in {NODE: VALUE, default: VALUE}", `"default" cannot be the name of a node`)
		return false
	}
	return w.name(key, "node")
}

func (w *walk) readNode(e entry, owner map[netip.Addr]place) Node {
	n := Node{Name: e.key.text, Networks: map[string]netip.Addr{}}
	switch e.value.kind {
	case scalar:
		n.Cluster = w.nodeAddress(e.value, owner)
	case mapping:
		for _, net := range e.value.entries {
			if strings.Trim(net.key.text, letters+digits+"_-") != "" || !isLetter([]rune(net.key.text + " ")[0]) || strings.HasSuffix(net.key.text, "-") {
				w.errorAt(net.key.place, e.value.path, "letters, digits, dash and underscore: it stands in $node."+short(net.key.text), "%s cannot be the name of a network", quote(net.key.text))
				continue
			}
			a := w.nodeAddress(net.value, owner)
			if net.key.text == "cluster" {
				n.Cluster = a
			} else {
				n.Networks[net.key.text] = a
			}
		}
		if e.value.child("cluster") == nil {
			w.errorAt(e.key.place, e.value.path, "the address by which the nodes know each other", "cluster is missing")
		}
	default:
		w.errorAt(e.value.place, e.value.path, "ADDRESS, or {cluster: ADDRESS, NETWORK: ADDRESS}", "is %s, want an address", e.value.kind)
	}
	return n
}

func (w *walk) nodeAddress(n *node, owner map[netip.Addr]place) netip.Addr {
	if n.kind != scalar {
		w.errorAt(n.place, n.path, "", "is %s, want an address", n.kind)
		return netip.Addr{}
	}
	a := w.address(n)
	if !a.IsValid() {
		return a
	}
	if a.IsLinkLocalUnicast() && a.Is6() {
		w.errorAt(n.place, n.path, "", "%q is link-local: the others would have to know the interface", a)
		return a
	}
	if first, taken := owner[a]; taken {
		w.errorAt(n.place, n.path, "", "%s stands here twice, first in %s", a, first.from(n.place))
		return a
	}
	owner[a] = n.place
	return a
}

// whoAmI finds the node that this host is, as rule 2 of the language has it. Without nodes it finds a name.
func whoAmI(nodes []Node, o Options) (string, error) {
	if o.Node != "" {
		return chosen(nodes, "--node", o.Node)
	}
	if name := o.Getenv("BATON_NODE"); name != "" {
		return chosen(nodes, "$BATON_NODE", name)
	}
	tried := []string{"--node is not given", "$BATON_NODE is not set"}
	host, err := o.Hostname()
	shortHost, _, _ := strings.Cut(host, ".")
	if len(nodes) == 0 {
		if err != nil {
			return "", fmt.Errorf("read the host name: %w", err)
		}
		return shortHost, nil
	}
	if err != nil {
		tried = append(tried, fmt.Sprintf("the host name cannot be read (%v)", err))
	} else {
		for _, name := range []string{host, shortHost} {
			for _, n := range nodes {
				if strings.EqualFold(n.Name, name) {
					return n.Name, nil
				}
			}
		}
		tried = append(tried, "no node has the host name "+quote(host))
	}
	here, err := o.HostAddrs()
	if err != nil {
		tried = append(tried, fmt.Sprintf("this host's addresses cannot be read (%v)", err))
	}
	var mine []string
	for _, n := range nodes {
		if slices.ContainsFunc(n.Addresses(), func(a netip.Addr) bool { return slices.Contains(here, a) }) {
			mine = append(mine, n.Name)
		}
	}
	switch len(mine) {
	case 0:
		return "", errors.New("none of `nodes` is this host: " + strings.Join(append(tried, "no node has an address of this host"), ", "))
	case 1:
		return mine[0], nil
	}
	return "", errors.New("several of `nodes` are this host: " + strings.Join(append(tried, "this host has addresses of "+strings.Join(mine, " and ")), ", "))
}

func chosen(nodes []Node, by, name string) (string, error) {
	if len(nodes) == 0 || slices.ContainsFunc(nodes, func(n Node) bool { return n.Name == name }) {
		return name, nil
	}
	return "", fmt.Errorf("%s says %s, which is not in `nodes`", by, quote(name))
}

func hostAddresses() ([]netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr().Unmap())
		}
	}
	return all, nil
}

func (o Options) withDefaults() Options {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Hostname == nil {
		o.Hostname = os.Hostname
	}
	if o.HostAddrs == nil {
		o.HostAddrs = hostAddresses
	}
	return o
}
