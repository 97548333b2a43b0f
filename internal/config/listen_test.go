package config

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/internal/tlsclient"
)

var sameAddr = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// Each node knows where it listens, and where the others are reached.
func TestLoad_Listen(t *testing.T) {
	const token = "0123456789abcdef"
	at := netip.MustParseAddrPort
	for _, tc := range []struct {
		name, address, node string
		want                Listen
	}{
		{name: "the same words everywhere", address: "$node.cluster:9112", node: "b",
			want: Listen{Address: at("10.0.0.12:9112"), Nodes: map[string]netip.AddrPort{"a": at("10.0.0.11:9112"), "b": at("10.0.0.12:9112"), "c": at("10.0.0.13:9112")}}},
		{name: "another network, of IPv6", address: "$node.admin:80", node: "a",
			want: Listen{Address: at("[fd00::11]:80"), Nodes: map[string]netip.AddrPort{"a": at("[fd00::11]:80"), "b": at("[fd00::12]:80"), "c": at("[fd00::13]:80")}}},
		{name: "all addresses", address: `"[::]:9112"`, node: "c",
			want: Listen{Address: at("[::]:9112"), Nodes: map[string]netip.AddrPort{"a": at("10.0.0.11:9112"), "b": at("10.0.0.12:9112"), "c": at("10.0.0.13:9112")}}},
		{name: "nobody else reaches a loopback address", address: "{a: 127.0.0.1:9112, b: 10.0.0.99:1}", node: "a",
			want: Listen{Address: at("127.0.0.1:9112"), Nodes: map[string]netip.AddrPort{"b": at("10.0.0.99:1")}}},
		{name: "not here", address: "{b: 10.0.0.12:9112}", node: "c",
			want: Listen{Nodes: map[string]netip.AddrPort{"b": at("10.0.0.12:9112")}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, filepath.Join(t.TempDir(), "baton.yaml"), `
nodes:
  a: {cluster: 10.0.0.11, admin: "fd00::11"}
  b: {cluster: 10.0.0.12, admin: "fd00::12"}
  c: {cluster: 10.0.0.13, admin: "fd00::13"}
virtual_routers:
  web: {interface: eth0, vrid: 1, prefer: a, addresses: [10.0.0.1/24]}
listen: {token: `+token+`, address: `+tc.address+"}\n", 0o644)
			tc.want.Token = token
			if diff := cmp.Diff(&tc.want, mustLoad(t, path, someone(tc.node)).Listen, sameAddr); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	path := write(t, filepath.Join(t.TempDir(), "baton.yaml"), "virtual_routers:\n  web: {interface: eth0, vrid: 1, addresses: [10.0.0.1/24]}\nlisten: {address: 127.0.0.1:9112}\n", 0o644)
	if diff := cmp.Diff(&Listen{Address: at("127.0.0.1:9112"), Nodes: map[string]netip.AddrPort{}}, mustLoad(t, path, someone("a")).Listen, sameAddr); diff != "" {
		t.Errorf("without nodes (-want +got):\n%s", diff)
	}
}

func TestLoad_ListenTLS(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	pemFiles(t, in("cert.pem"), in("key.pem"))
	pemFiles(t, in("ca.pem"), in("ca.key"))
	write(t, in("listen-token"), "0123456789abcdef\n", 0o600)
	file := func(tls string) *Listen {
		t.Helper()
		return mustLoad(t, write(t, in("baton.yaml"), "virtual_routers:\n  web: {interface: eth0, vrid: 1, addresses: [10.0.0.1/24]}\nlisten: {address: 10.0.0.11:9112, token_file: listen-token, tls: {cert_file: cert.pem, key_file: key.pem"+tls+"}}\n", 0o644), someone("a")).Listen
	}
	l := file("")
	if diff := cmp.Diff(&ListenTLS{CertFile: in("cert.pem"), KeyFile: in("key.pem")}, l.TLS); diff != "" || l.Token != "0123456789abcdef" {
		t.Errorf("token %q, TLS (-want +got):\n%s", l.Token, diff)
	}
	if diff := cmp.Diff(tlsclient.Options{Use: true}, l.Client()); diff != "" {
		t.Errorf("client (-want +got):\n%s", diff)
	}
	l = file(", ca_file: ca.pem, client_ca_file: ca.pem")
	if diff := cmp.Diff(tlsclient.Options{Use: true, CAFile: in("ca.pem"), CertFile: in("cert.pem"), KeyFile: in("key.pem")}, l.Client()); diff != "" {
		t.Errorf("client that shows itself (-want +got):\n%s", diff)
	}
	if got := (&Listen{}).Client(); got != (tlsclient.Options{}) {
		t.Errorf("plain HTTP: %+v", got)
	}
}

// An address that is not on this host is a warning: it may come, and is listened on then.
func TestCheckHost_Listen(t *testing.T) {
	for address, want := range map[string]int{"10.0.0.11:9112": 1, `"[::]:9112"`: 0, "10.0.0.12:9112": 0} { // that of another node has been warned of
		path := write(t, filepath.Join(t.TempDir(), "baton.yaml"), "nodes: {a: 10.0.0.11, b: 10.0.0.12}\nvirtual_routers:\n  web: {interface: eth0, vrid: 1, prefer: a, addresses: [10.0.0.1/24]}\nlisten: {token: 0123456789abcdef, address: "+address+"}\n", 0o644)
		c, report := Load(path, someone("a"))
		if c == nil {
			t.Fatal(report)
		}
		found := c.CheckHost(strange{})
		if len(found) != want || want > 0 && (found[0].Severity != Warning || !strings.Contains(found[0].Message, "not on this host") || !strings.Contains(found[0].Hint, "listens then")) {
			t.Errorf("%s: %+v", address, found)
		}
	}
}

// strange is a host that has everything but addresses.
type strange struct{}

func (strange) Interface(string) error         { return nil }
func (strange) Command([]string, string) error { return nil }
func (strange) Socket(string) error            { return nil }
func (strange) Address(netip.Addr) error       { return errors.New("not on this host") }
