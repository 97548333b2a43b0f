package config

import (
	"net"
	"net/netip"
	"strings"

	"baton/internal/tlsclient"
)

// Listen is the HTTP listener, and where the other nodes have theirs.
type Listen struct {
	Address netip.AddrPort            // of this node; unspecified: every address of this host; invalid: this node does not listen
	Nodes   map[string]netip.AddrPort // where each node is reached, this one too; one that does not listen, or on its loopback address only, has none
	Token   string                    // what a client must show as a bearer token; secret; empty: nothing
	TLS     *ListenTLS                // nil: plain HTTP
}

// ListenTLS is what a listener shows its clients, and what it wants of them. All paths are absolute.
type ListenTLS struct {
	CertFile     string
	KeyFile      string
	ClientCAFile string // clients must have a certificate of one of these; empty: they need none
	CAFile       string // by which nodes believe each other's listeners; empty: this host's
}

// Client is how a node verifies the listener of another one, and what it shows there.
func (l *Listen) Client() tlsclient.Options {
	if l.TLS == nil {
		return tlsclient.Options{}
	}
	o := tlsclient.Options{Use: true, CAFile: l.TLS.CAFile}
	if l.TLS.ClientCAFile != "" {
		o.CertFile, o.KeyFile = l.TLS.CertFile, l.TLS.KeyFile
	}
	return o
}

// shortToken is below what nobody tries out, in bytes.
const shortToken = 16

// listen reads the HTTP listener. It is nil where the file has none.
func (w *walk) listen(n *node) *Listen {
	if n == nil || n.kind == empty {
		return nil
	}
	if n.kind == scalar {
		w.errorAt(n.place, n.path, "listen: {address: $node.cluster:9112, token_file: FILE}", "is a single value, want a mapping")
		return nil
	}
	f := w.fields(n, n.place, listenKeys, "listen")
	if f.broken || !f.require("address", "address: $node.cluster:9112") {
		return nil
	}
	l := &Listen{Address: w.listenAddress(f), Token: w.token(f), TLS: w.listenTLS(f)}
	if !l.Address.IsValid() {
		return l
	}
	at := f.get("address")
	open := !f.has("token") && !f.has("token_file") && (l.TLS == nil || l.TLS.ClientCAFile == "")
	if open && !l.Address.Addr().IsLoopback() {
		w.warnAt(at.place, at.path, "token_file: FILE; or listen on 127.0.0.1", "everybody who reaches it can read the status of this node")
	}
	if n := f.get("token"); n != nil && l.Token != "" && len(l.Token) < shortToken {
		w.warnAt(n.place, n.path, "openssl rand -hex 32", "has %d characters: it can be found by trying", len(l.Token))
	}
	return l
}

// listenAddress reads where this node listens. It is invalid where it does not, or the value is wrong.
func (w *walk) listenAddress(f fields) netip.AddrPort {
	n := f.scalar("address")
	text, ok := w.expanded(n, inListen)
	if !ok {
		return netip.AddrPort{}
	}
	host, port, err := net.SplitHostPort(text)
	switch {
	case isPort(text):
		w.errorAt(n.place, n.path, "$node.cluster:"+text, "%s names no address", quote(text))
	case strings.Contains(text, "/"):
		w.errorAt(n.place, n.path, "want "+listenKeys.find("address").want, "%s is not ADDRESS:PORT", quote(text))
	case err != nil && isAddress(strings.Trim(text, "[]")):
		w.errorAt(n.place, n.path, net.JoinHostPort(strings.Trim(text, "[]"), "9112"), "%s has no port", quote(text))
	case err != nil && strings.Count(text, ":") > 1:
		w.errorAt(n.place, n.path, `an IPv6 address stands in brackets: "[2001:db8::1]:9112"`, "%s is not ADDRESS:PORT", quote(text))
	case err != nil:
		w.errorAt(n.place, n.path, short(text)+":9112", "%s has no port", quote(text))
	case !isPort(port):
		w.errorAt(n.place, n.path, "", "%s: the port is a number from 1 to 65535", quote(text))
	case host == "" || host == "*":
		w.errorAt(n.place, n.path, "$node.cluster:"+port+`; or for every address of this host "[::]:`+port+`"`, "%s names no address", quote(text))
	default:
		return w.bindable(n, text)
	}
	return netip.AddrPort{}
}

// bindable reads ADDRESS:PORT, and warns of an address that this node is not known to have.
func (w *walk) bindable(n *node, text string) netip.AddrPort {
	ap, err := netip.ParseAddrPort(text)
	if err != nil {
		w.errorAt(n.place, n.path, "the address itself, or $node.cluster:PORT", "%s: a name is no address to listen on", quote(text))
		return netip.AddrPort{}
	}
	a := ap.Addr()
	if a.Zone() != "" || a.IsLinkLocalUnicast() {
		w.errorAt(n.place, n.path, "", "%s: %s is link-local: whoever connects would have to know the interface", quote(text), a.WithZone(""))
		return netip.AddrPort{}
	}
	if problem, hint := unusable(a); problem != "" && !a.IsUnspecified() && !a.IsLoopback() || a.Is4In6() {
		w.errorAt(n.place, n.path, hint, "%s: %s %s", quote(text), a, problem)
		return netip.AddrPort{}
	}
	if owner, known := w.shared.owners[a]; known && owner != w.me.Name {
		w.warnAt(n.place, n.path, "$node.cluster:PORT, or {NODE: ADDRESS:PORT}", "%s is an address of %s: it cannot be listened on here", a, owner)
	} else if !a.IsUnspecified() {
		w.config.ask(question{kind: askAddress, at: n.place, path: n.path, addr: a, unmet: "baton tries again until the address is there, and listens then"})
	}
	return ap
}

// listenTLS reads what the listener shows its clients; nil where it speaks plain HTTP.
func (w *walk) listenTLS(f fields) *ListenTLS {
	n := f.get("tls")
	if n == nil {
		return nil
	}
	t := &ListenTLS{}
	if n.kind != mapping {
		w.errorAt(n.place, n.path, "tls: {cert_file: FILE, key_file: FILE}", "is %s, want a mapping", n.kind)
		return t
	}
	m := w.fields(n, n.place, listenTLSKeys, "listen tls")
	if !m.has("cert_file") && !m.has("key_file") {
		m.require("cert_file", "cert_file: FILE, and key_file: FILE with its key")
	}
	t.CertFile, t.KeyFile = w.certificate(m)
	t.ClientCAFile = w.authorities(m, "client_ca_file", false)
	t.CAFile = w.authorities(m, "ca_file", false)
	return t
}

// reached is where the other nodes find the listener of a node: where it listens, or, on every address, its first in
// `nodes`. It is invalid where they cannot.
func (l *Listen) reached(n Node) netip.AddrPort {
	switch a := l.Address.Addr(); {
	case !l.Address.IsValid() || a.IsLoopback():
		return netip.AddrPort{}
	case a.IsUnspecified():
		return netip.AddrPortFrom(n.Cluster, l.Address.Port())
	}
	return l.Address
}
