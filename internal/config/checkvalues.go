package config

import (
	"net"
	"net/netip"
	"strings"
)

// What several types of checks ask for.

// expanded returns a value with its variables replaced. It is not ok where there is none, or one is not known, which is reported.
func (w *walk) expanded(n *node, s scope) (text string, ok bool) {
	if n == nil {
		return "", false
	}
	return w.expand(word{[]rune(n.text), n.inside}, s, n.path)
}

// path reads an absolute path. It is empty where the value is absent or wrong.
func (w *walk) path(f fields, name, example string, s scope) string {
	n := f.scalar(name)
	path, ok := w.expanded(n, s)
	switch {
	case !ok:
	case strings.HasPrefix(path, "unix:/"):
		w.errorAt(n.place, n.path, "write "+short("/"+strings.TrimLeft(strings.TrimPrefix(path, "unix:"), "/")), "%s is a URL, want a path", quote(n.text))
	case !strings.HasPrefix(path, "/"):
		w.errorAt(n.place, n.path, "write the whole path, such as "+example, "%s is no absolute path", quote(n.text))
	default:
		return path
	}
	return ""
}

// mostSocket is how long the path of a Unix socket can be, in bytes: see unix(7).
const mostSocket = 107

// socket reads the path of a Unix socket, and has the host asked for it.
func (w *walk) socket(f fields, example string, s scope) string {
	path, n := w.path(f, "socket", example, s), f.get("socket")
	switch {
	case path == "":
		return ""
	case len(path) > mostSocket:
		w.errorAt(n.place, n.path, "", "has %d bytes, a socket's path has at most %d", len(path), mostSocket)
		return ""
	}
	w.config.ask(question{kind: askSocket, at: n.place, path: n.path, name: path, unmet: s.unmet})
	return path
}

// port reads one. It is 0 where that is wrong.
func (w *walk) port(n *node) int {
	v, hint := parseNumber(n)
	switch {
	case n.kind != scalar:
		w.errorAt(n.place, n.path, "", "is %s, want a port", n.kind)
	case hint != "":
		w.errorAt(n.place, n.path, hint, "%s is no port", n.shown())
	case v < 1 || v > 65535:
		w.errorAt(n.place, n.path, "", "%s is out of range: want 1 to 65535", short(n.text))
	default:
		return v
	}
	return 0
}

// hostPort reads HOST:PORT. It is empty where the value is absent or wrong.
func (w *walk) hostPort(f fields, name string) string {
	n := f.scalar(name)
	text, ok := w.expanded(n, inURL)
	if !ok {
		return ""
	}
	host, port, err := net.SplitHostPort(text)
	switch {
	case strings.Contains(text, "/"):
		w.errorAt(n.place, n.path, "type: http asks a URL", "%s is not HOST:PORT", quote(text))
	case err != nil && isAddress(text) && strings.Contains(text, ":"):
		i := strings.LastIndexByte(text, ':')
		hint := `"[` + short(text) + `]:PORT"`
		if isPort(text[i+1:]) && isAddress(text[:i]) { // ::1:80 is either
			hint = `"[` + short(text[:i]) + `]:` + text[i+1:] + `", or ` + hint
		}
		w.errorAt(n.place, n.path, hint, "%s has no port", quote(text))
	case err != nil && strings.Count(text, ":") > 1 && !strings.HasPrefix(text, "["):
		w.errorAt(n.place, n.path, `an IPv6 address stands in brackets: "[2001:db8::1]:80"`, "%s is not HOST:PORT", quote(text))
	case err != nil && !strings.Contains(text, ":"):
		w.errorAt(n.place, n.path, short(text)+":PORT", "%s has no port", quote(text))
	case err != nil:
		w.errorAt(n.place, n.path, "", "%s is not HOST:PORT", quote(text))
	case !isPort(port):
		w.errorAt(n.place, n.path, "", "%s: the port is a number from 1 to 65535", quote(text))
	case !isHost(host):
		w.errorAt(n.place, n.path, "", "%s: %s is no host that one can connect to", quote(text), quote(host))
	default:
		return text
	}
	return ""
}

// isHost tells whether a text can be an address that somebody listens at, or a name.
func isHost(text string) bool {
	if a, err := netip.ParseAddr(text); err == nil {
		return !a.IsMulticast() && !a.IsUnspecified()
	}
	return text != "" && len(text) <= 253 && strings.Trim(text, letters+digits+".-_") == "" && strings.Trim(text, digits+".") != ""
}

// checkAddress reads an address in which variables are replaced. It is invalid where the value is absent or wrong.
func (w *walk) checkAddress(f fields, name string) netip.Addr {
	n := f.scalar(name)
	text, ok := w.expanded(n, inCheck)
	if !ok {
		return netip.Addr{}
	}
	if !isAddress(text) && isHost(text) {
		w.errorAt(n.place, n.path, "the address itself: a name would have to be looked up each time", "%s is no IP address", quote(text))
		return netip.Addr{}
	}
	value := *n
	value.text = text
	return w.address(&value)
}

// checkInterface reads the name of an interface that a check looks at, and has the host asked for it.
func (w *walk) checkInterface(f fields) string {
	name := w.routeInterface(f, "interface")
	if n := f.get("interface"); name != "" {
		w.config.ask(question{kind: askInterface, at: n.place, path: n.path, name: name, unmet: inCheck.unmet})
	}
	return name
}

// oneOrMore returns the values of a list, or the only one. What is neither is reported.
func (w *walk) oneOrMore(f fields, name string) []*node {
	n := f.get(name)
	if n == nil {
		return nil
	}
	items := n.items
	switch {
	case n.kind == scalar && n.text != "":
		items = []*node{n}
	case n.kind != list:
		f.scalar(name)
	case len(items) == 0:
		w.errorAt(n.place, n.path, "want "+f.table.find(name).want, "is empty")
	}
	var all []*node
	for _, item := range items {
		if item.kind != scalar || item.text == "" {
			w.errorAt(item.place, n.path, "want "+f.table.find(name).want, "has an item that is %s", item.kind)
			continue
		}
		all = append(all, item)
	}
	return all
}
