package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/tlsclient"
)

func TestLoad_Checks(t *testing.T) {
	c := mustLoad(t, "testdata/good/checks.yaml", someone("lb2"))
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	ok := [][2]int{{200, 299}}
	hello := []Step{{Send: "HELO\r\n"}}
	others := []Node{c.Nodes[0], c.Nodes[2]}
	want := map[string]Check{
		"http": {Type: HTTPCheck, HTTP: &HTTP{URL: "http://10.0.0.12:5000/healthcheck", Method: "GET", Statuses: ok}},
		"https": {Type: HTTPCheck, HTTP: &HTTP{
			URL: "https://[2001:db8::12]:8090/a?b=$c", Socket: "/run/lb2/api.sock", Method: "HEAD",
			Headers:  map[string]string{"Host": "api.lb2", "X-Auth-Token": "a:b $"},
			Statuses: [][2]int{{200, 200}, {300, 300}, {500, 599}, {401, 403}}, User: "admin", Password: "pass $word",
			TLS: tlsclient.Options{ServerName: "api.example.org", SkipVerify: true},
		}},
		"match":      {Type: HTTPCheck, HTTP: &HTTP{URL: "http://localhost", Method: "GET", Statuses: ok, Match: `^\s*\{"ok":\s*true`}},
		"tcp":        {Type: TCPCheck, Dialogue: &Dialogue{Network: "tcp", Address: "[2001:db8::12]:6379", Steps: hello, TLS: tlsclient.Options{Use: true}}},
		"plain":      {Type: TCPCheck, Dialogue: &Dialogue{Network: "tcp", Address: "db.example.org:3306", Steps: []Step{{Expect: "+OK"}, {Send: "QUIT\r\n"}}}},
		"bracketed":  {Type: TCPCheck, Dialogue: &Dialogue{Network: "tcp", Address: "[2001:db8::12]:80", Steps: []Step{{Send: "AMQP\x00\x00\x09\x01", Expect: "\x01\x00\x00"}}}},
		"unix":       {Type: UnixCheck, Dialogue: &Dialogue{Network: "unix", Address: "/run/redis.sock", Steps: hello}},
		"connection": {Type: ConnectionCheck, Processes: &Processes{Name: "nova-compute", Least: 1, Most: -1, Ports: []int{5672, 5671}}},
		"connected":  {Type: ConnectionCheck, Processes: &Processes{Path: "/usr/bin/lb2", Least: 1, Most: -1, Ports: []int{5672}}},
		"process":    {Type: ProcessCheck, Rise: 1, Processes: &Processes{Name: "nginx", Least: 1, Most: -1}},
		"exactly":    {Type: ProcessCheck, Rise: 1, Processes: &Processes{Path: "/usr/sbin/nginx", Least: 4, Most: 4}},
		"none":       {Type: ProcessCheck, Rise: 1, Processes: &Processes{Name: "fsck"}},
		"also-none":  {Type: ProcessCheck, Rise: 1, Processes: &Processes{Name: "fsck"}},
		"between":    {Type: ProcessCheck, Rise: 1, Processes: &Processes{Name: "nginx", Least: 2, Most: 4}},
		"at-most":    {Type: ProcessCheck, Rise: 1, Processes: &Processes{Name: "nginx", Least: 1, Most: 4}},
		"pid":        {Type: ProcessCheck, Rise: 1, Processes: &Processes{PIDFile: "/run/nginx.pid", Least: 1, Most: -1}},
		"ping":       {Type: PingCheck, Ping: &Ping{Address: addr("fe80::1"), Interface: "eth0"}},
		"peer":       {Type: PingCheck, Ping: &Ping{Address: addr("2001:db8::12")}},
		"file":       {Type: FileCheck, Rise: 1, File: &File{Path: "/etc/baton/maintenance", Want: FileAbsent}},
		"load":       {Type: FileCheck, Rise: 1, File: &File{Path: "/run/lb2/load", Want: FileNumber}},
		"link":       {Type: InterfaceCheck, Presence: &Presence{Interface: "eno1"}},
		"address":    {Type: AddressCheck, Presence: &Presence{Address: addr("10.0.0.12")}},
		"address-on": {Type: AddressCheck, Presence: &Presence{Address: addr("2001:db8::1"), Interface: "eth0"}},
		"route":      {Type: RouteCheck, Presence: &Presence{To: prefix("0.0.0.0/0"), Table: 254}},
		"route6":     {Type: RouteCheck, Presence: &Presence{To: prefix("::/0"), Via: addr("fe80::1"), Interface: "eth0", Table: 100}},
		"route-to":   {Type: RouteCheck, Presence: &Presence{To: prefix("10.2.0.0/16"), Table: 254}},
		"unit":       {Type: UnitCheck, Rise: 1, Unit: "nginx.service"},
		"mount":      {Type: UnitCheck, Rise: 1, Unit: "srv-data.mount"},
		"template":   {Type: UnitCheck, Rise: 1, Unit: "app@1.2.service"},
		"docker":     {Type: ContainerCheck, Rise: 1, Container: &Container{Name: "web", Socket: "/var/run/docker.sock"}},
		"podman":     {Type: ContainerCheck, Rise: 1, Container: &Container{Name: "web.1_a-b", Socket: "/run/podman/podman.sock"}},
		"remote":     {Type: ContainerCheck, Rise: 1, Container: &Container{Name: "web", Socket: "/run/docker-2.sock"}},
		"ocf": {Type: OCFCheck, Interval: 5 * time.Second, Timeout: 5 * time.Second, OCF: &OCF{
			Provider: "heartbeat", Agent: "redis", Params: map[string]string{"bin": "/usr/bin/redis-server", "client_passwd": "", "ip": "10.0.0.12"}, User: "nobody",
		}},
		"ocf-user": {Type: OCFCheck, Interval: 10 * time.Second, Timeout: 3 * time.Second, OCF: &OCF{Provider: "openstack", Agent: "nova-api", User: "root"}},
		"majority": {Type: QuorumCheck, Interval: 500 * time.Millisecond, Timeout: 500 * time.Millisecond, Quorum: &Quorum{Nodes: others}},
		"majority-and": {Type: QuorumCheck, Interval: 500 * time.Millisecond, Timeout: 200 * time.Millisecond, Quorum: &Quorum{
			Nodes: others, Witnesses: []netip.Addr{addr("10.0.0.1"), addr("2001:db8::1")}, Port: 9112,
		}},
		"all": {Type: AllCheck, Rise: 1, Combination: &Combination{Of: []string{"http", "https", "match", "tcp", "plain", "bracketed", "unix", "connection", "connected", "one"}, Least: 10}},
		"any": {Type: AnyCheck, Combination: &Combination{Of: []string{"process", "exactly", "none", "also-none", "between", "at-most", "pid", "ping", "peer"}, Least: 1}},
		"one": {Type: AnyCheck, Rise: 1, Combination: &Combination{Of: []string{"file"}, Least: 1}},
		"some": {Type: AtLeastCheck, Rise: 1, Combination: &Combination{
			Of: []string{"link", "address", "address-on", "route", "route6", "route-to", "unit", "mount", "template", "docker", "podman", "remote", "ocf", "ocf-user"}, Least: 2,
		}},
	}
	got := map[string]Check{}
	for _, check := range c.Checks {
		got[check.Name] = check
	}
	for name, check := range want {
		check.Name, check.Fall = name, 3
		if check.Rise == 0 {
			check.Rise = 2
		}
		if check.Interval == 0 {
			check.Interval, check.Timeout = time.Second, time.Second
		}
		want[name] = check
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// pemFiles writes a certificate for itself, and its key.
func pemFiles(t *testing.T, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644)
	text, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text})), 0o600)
}

// Certificates and keys are looked up as secrets are; only a key must be one. Whoever reads them later may be in another folder.
func TestLoad_TLS(t *testing.T) {
	dir, credentials := t.TempDir(), t.TempDir()
	t.Chdir(dir)
	pemFiles(t, "ca.pem", "other.key")
	pemFiles(t, "client.pem", filepath.Join(credentials, "client.key"))
	o := withSecrets("a", credentials)
	text := func(url, tls string) string {
		return "checks:\n  a: {type: http, url: '" + url + "', tls: {" + tls + "}}\n" +
			"virtual_routers:\n  web: {interface: eth0, vrid: 1, addresses: [10.0.0.1/24], track: [a]}\n"
	}
	c := mustLoad(t, write(t, "baton.yaml", text("https://10.0.0.1/", "ca_file: ca.pem, cert_file: client.pem, key_file: client.key"), 0o644), o)
	want := tlsclient.Options{CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "client.pem"), KeyFile: filepath.Join(credentials, "client.key")}
	if diff := cmp.Diff(want, c.Checks[0].HTTP.TLS); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := os.Chmod(filepath.Join(credentials, "client.key"), 0o604); err != nil {
		t.Fatal(err)
	}
	for tls, problem := range map[string]string{
		"ca_file: absent.pem":                         "checks.a.tls.ca_file: open absent.pem: no such file or directory",
		"cert_file: client.pem, key_file: client.key": "client.key is open to everyone (mode 0604)",
		"cert_file: client.pem, key_file: other.key":  "private key does not match public key",
		"ca_file: baton.yaml":                         "baton.yaml has no certificate in PEM",
	} {
		_, report := Load(write(t, "baton.yaml", text("https://10.0.0.1/", tls), 0o644), o)
		if report.Errors() != 1 || !strings.Contains(report.Diagnostics[0].Path+": "+report.Diagnostics[0].Message, problem) {
			t.Errorf("%s: want %q, found %v", tls, problem, report.Diagnostics)
		}
	}
}

// What another node would need need not be here, and is not run here: the members of a combination neither.
func TestLoad_MembersRunWhereTheCombinationDoes(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "baton.yaml"), `
nodes: {lb1: 10.0.0.11, lb2: 10.0.0.12, lb3: 10.0.0.13}
defaults: {check: {type: any, of: [c]}}
checks:
  outer: {type: all, of: [inner, d, e]}
  inner: {}
  c: {type: http, url: "https://10.0.0.1/", tls: {ca_file: absent.pem}}
  d: {type: http, url: "http://10.0.0.1/", user: a, password_file: absent.password}
  e: {type: unix, socket: /e.sock}
  here: {type: file, path: /x}
virtual_routers:
  a: {interface: eth0, vrid: 1, prefer: lb1, addresses: [10.0.0.1/24], track: [here]}
  b: {interface: {lb2: eth0, lb3: eth0}, vrid: 2, prefer: lb2, addresses: [10.0.0.2/24], track: [outer]}
`, 0o644)
	c := mustLoad(t, path, someone("lb1"))
	if len(c.Checks) != 1 || c.Checks[0].Name != "here" {
		t.Errorf("checks %v", c.Checks)
	}
	if found := c.CheckHost(fakeHost{absent: map[string]error{"/e.sock": fs.ErrNotExist}}); len(found) > 0 {
		t.Errorf("asked for what is not run here: %v", found)
	}
	if _, report := Load(path, someone("lb2")); report.Errors() != 2 {
		t.Errorf("on lb2 both files are missing, found %v", report.Diagnostics)
	}
}

// A number can move a priority anywhere: nothing is said of weights beside it, and rivals can come to anything.
func TestLoad_NumberedWeight(t *testing.T) {
	for want, rival := range map[string][2]uint8{"number": {254, 1}, "absent": {190, 187}} {
		path := write(t, filepath.Join(t.TempDir(), "baton.yaml"), `
nodes: {lb1: 10.0.0.11, lb2: 10.0.0.12}
defaults: {check: {want: `+want+`}}
checks:
  load: {type: file, path: /run/load}
  b: {type: unit, unit: b}
virtual_routers:
  a: {interface: eth0, vrid: 1, prefer: lb1, addresses: [10.0.0.1/24], track: {load: -1, b: -2}}
`, 0o644)
		c, report := Load(path, someone("lb1"))
		if r := c.Routers[0]; r.BestRival != rival[0] || r.SlowestRival != rival[1] {
			t.Errorf("want %s: the best rival %d, the slowest %d", want, r.BestRival, r.SlowestRival)
		}
		if warned := report.Warnings() > 0; warned != (want == "absent") {
			t.Errorf("want %s: %v", want, report.Diagnostics)
		}
	}
}

func TestCheckHost_Checks(t *testing.T) {
	c := mustLoad(t, "testdata/good/checks.yaml", someone("lb2"))
	absent := map[string]error{}
	for _, what := range []string{"/run/lb2/api.sock", "/run/redis.sock", "/run/podman/podman.sock", "/run/docker-2.sock", "eno1", "/usr/lib/ocf/resource.d/heartbeat/redis as nobody"} {
		absent[what] = fmt.Errorf("%s: %w", what, fs.ErrNotExist)
	}
	var got []string
	for _, d := range c.CheckHost(fakeHost{absent: absent}) {
		got = append(got, fmt.Sprintf("%s %s: %s; %s", d.Severity, d.Path, d.Message, d.Hint))
	}
	want := []string{
		"warning checks.https.socket: /run/lb2/api.sock: file does not exist; the check fails as long as nothing answers there",
		"warning checks.unix.socket.lb2: /run/redis.sock: file does not exist; the check fails as long as nothing answers there",
		"warning checks.link.interface.default: eno1: file does not exist; the check fails until it is there",
		"warning checks.podman.container: /run/podman/podman.sock: file does not exist; the check fails as long as nothing answers there",
		"warning checks.remote.socket.lb2: /run/docker-2.sock: file does not exist; the check fails as long as nothing answers there",
		"error checks.ocf.agent: /usr/lib/ocf/resource.d/heartbeat/redis as nobody: file does not exist; the check fails until this is mended",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The table has every type, and each of them a name and a reader.
func TestCheckTypes(t *testing.T) {
	if n := len(checkTypes()); n != int(AtLeastCheck)+1 {
		t.Errorf("%d types", n)
	}
	seen := map[string]bool{}
	for i, k := range checkTypes()[1:] {
		typ := CheckType(i + 1)
		if k.name == "" || seen[k.name] || k.read == nil || typ.String() != k.name || typeNamed(k.name) != typ {
			t.Errorf("type %d: %q, %s", i+1, k.name, typ)
		}
		seen[k.name] = true
		for _, key := range k.keys {
			if checkKeys.find(key.name) != nil {
				t.Errorf("%s: %s is a key of every check", k.name, key.name)
			}
		}
		for _, need := range k.needs {
			if !slices.ContainsFunc(k.keys, func(key key) bool { return key.name == need }) {
				t.Errorf("%s needs %s, which is none of its keys", k.name, need)
			}
		}
	}
	if got := CheckType(100).String() + ", " + CheckType(0).String(); got != "check type 100, check type 0" {
		t.Error(got)
	}
}
