package control

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/trial"
)

var update = flag.Bool("update", false, "write the golden files of testdata")

const token = "0123456789abcdef"

// observed is a daemon that the HTTP listener shows.
type observed struct {
	*fake
	metrics Metrics
	hung    bool
}

func (o *observed) Metrics() Metrics { return o.metrics }

func (o *observed) Alive(ctx context.Context) error {
	if !o.hung {
		return nil
	}
	<-ctx.Done()
	return errors.New("the loop hangs")
}

// full is a node that has something of everything.
func full() *observed {
	at := time.Unix(1700000000, 250e6)
	o := &observed{fake: newFake(
		Router{Name: "admin", Role: "FAULT", Since: at, Priority: 190, Transitions: 3, Why: "out of the election: haproxy fails"},
		Router{Name: "edge", Group: true, Members: []string{"lan", "wan"}, Role: "BACKUP", Since: at, Priority: 100, Standby: &Standby{By: "root"}},
		Router{Name: "public", Role: "MASTER", Since: at, Priority: 200, Transitions: 2, Ready: true, Why: "master", Services: []Service{{Name: "cinder.service", State: "running"}}},
		Router{Name: "storage", Role: "MASTER", Since: at, Priority: 200, Why: "master, its services start"},
	)}
	s := o.status
	s.Version, s.Configuration, s.Started, s.Loaded = "1.2.3", "3f9a2c17", at, at.Add(time.Hour)
	s.Problems = []Problem{{Text: "haproxy fails"}}
	s.Services = []Service{{Name: "redis.service", State: "failed"}}
	o.checks = []Check{
		{Name: "galera", Verdict: "unknown"},
		{Name: "haproxy", Verdict: "fail", At: at, Took: 1500 * time.Microsecond, Passed: 900, Failed: 28, Hung: true, Forced: &Forced{Verdict: "fail"}},
	}
	o.metrics = Metrics{
		Links: []LinkMetrics{
			{Interface: "eth0", Family: "IPv4", Sent: 1000, Unsent: 1, Received: 2000, Refused: map[string]uint64{"ttl": 3, "vrid": 0}, Broken: 4, Lost: 5},
			{Interface: "eth0", Family: "IPv6", Sent: 10, Received: 20, Refused: map[string]uint64{"ttl": 0, "vrid": 6}},
		},
		Lateness:   Lateness{Bounds: []float64{0.0001, 0.01}, Counts: []uint64{1000, 20, 1}, Sum: 0.25, Worst: 0.032},
		TwoMasters: 2, TwoMastersFor: 1500 * time.Millisecond,
		Addresses: map[string]uint64{"repaired": 7, "failed": 0}, Announced: map[string]uint64{"ipv4": 50, "ipv6": 0},
		Hooks: map[string]uint64{"success": 11, "failure": 1, "timeout": 0}, ServiceFailures: map[string]uint64{"died": 1, "lost": 0},
		Reloads: map[string]uint64{"success": 4, "failure": 1}, ReloadFailed: true,
	}
	return o
}

// listening runs a listener on the loopback address, and returns it with where it is.
func listening(t *testing.T, d Observed, o ListenOptions) (*Listener, string) {
	t.Helper()
	l := NewListener(d, slog.New(slog.DiscardHandler))
	o.Address = freePort(t)
	l.Set(&o)
	run(t, l)
	trial.Await(t, 5*time.Second, "the listener is up", func() bool {
		c, err := net.Dial("tcp", o.Address.String())
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	scheme := "http://"
	if o.TLS != nil {
		scheme = "https://"
	}
	return l, scheme + o.Address.String()
}

func run(t *testing.T, l *Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the listener did not end")
		}
	})
}

func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	s, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Addr().(*net.TCPAddr).AddrPort()
}

// get asks, and returns the status and the body.
func get(t *testing.T, url, authorization string) (int, string) {
	t.Helper()
	return request(t, http.DefaultClient, http.MethodGet, url, authorization, nil)
}

func request(t *testing.T, c *http.Client, method, url, authorization string, body io.Reader) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// The whole exposition; that of Go and of the process is the library's matter.
func TestListener_Metrics(t *testing.T) {
	_, url := listening(t, full(), ListenOptions{})
	status, text := get(t, url+"/metrics", "")
	if status != http.StatusOK || !strings.Contains(text, "go_goroutines") || !strings.Contains(text, "process_cpu_seconds_total") {
		t.Fatalf("status %d:\n%s", status, text)
	}
	var own strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), "baton_") && !strings.HasPrefix(line, "go_") {
			own.WriteString(line)
		}
	}
	const golden = "testdata/metrics.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(own.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), own.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A scrape of a virtual router costs the same number of series whatever happens.
func TestListener_MetricsAreBounded(t *testing.T) {
	o := full()
	o.status.Routers = nil
	for i := range 1000 {
		o.status.Routers = append(o.status.Routers, Router{Name: fmt.Sprintf("r%d", i), Role: "BACKUP", Since: time.Now(), Why: strings.Repeat("why ", i)})
	}
	_, url := listening(t, o, ListenOptions{})
	_, text := get(t, url+"/metrics", "")
	if n := strings.Count(text, `router="r7"`); n != 7 {
		t.Errorf("a virtual router has %d series, want 7", n)
	}
}

// BenchmarkMetrics is a scrape of a thousand virtual routers.
func BenchmarkMetrics(b *testing.B) {
	o := full()
	o.status.Routers = nil
	for i := range 1000 {
		o.status.Routers = append(o.status.Routers, Router{Name: fmt.Sprintf("router-%d", i), Role: "BACKUP", Since: time.Now()})
	}
	l := NewListener(o, slog.New(slog.DiscardHandler))
	for b.Loop() {
		l.metrics(httptest.NewRecorder(), nil)
	}
}

func TestListener_Probes(t *testing.T) {
	o := full()
	_, url := listening(t, o, ListenOptions{Token: token})
	for _, tc := range []struct {
		path string
		want int
		text string
	}{
		{"/healthz", 200, "alive"},
		{"/readyz?router=public&role=master", 200, "public is MASTER here"},
		{"/readyz?router=public", 200, "public is MASTER here"},
		{"/readyz?router=storage&role=master", 503, "storage is MASTER here, and not ready: master, its services start"},
		{"/readyz?router=admin&role=master", 503, "admin is FAULT here: out of the election: haproxy fails"},
		{"/readyz?router=edge&role=backup", 200, "edge is BACKUP here"},
		{"/readyz?router=lan&role=BACKUP", 200, "edge is BACKUP here"},
		{"/readyz?router=nobody&role=master", 404, `this node runs no virtual router and no group "nobody"`},
		{"/readyz", 400, "router is missing: /readyz?router=NAME&role=master"},
		{"/readyz?router=public&role=boss", 400, `there is no role "boss": it is one of init, backup, master, fault`},
		{"/readyz?router=public&role=master&x=" + strings.Repeat("x", 600), 414, "the query is too long"},
		{"/", 404, "there are /metrics, /v1/status, /v1/checks, /healthz and /readyz"},
	} {
		if status, text := get(t, url+tc.path, ""); status != tc.want || text != tc.text+"\n" {
			t.Errorf("%s: %d %q, want %d %q", tc.path, status, text, tc.want, tc.text)
		}
	}
	o.hung = true
	if status, text := get(t, url+"/healthz", ""); status != 503 || text != "the loop hangs\n" {
		t.Errorf("/healthz of a daemon that hangs: %d %q", status, text)
	}
}

func TestListener_Token(t *testing.T) {
	l, url := listening(t, full(), ListenOptions{Token: token})
	for _, path := range []string{"/metrics", "/v1/status", "/v1/checks"} {
		for authorization, want := range map[string]int{
			"": 401, "Bearer " + token: 200, "bearer " + token: 200, "Bearer " + token + "0": 401, "Bearer": 401, "Bearer  " + token: 401, "Basic " + token: 401, token: 401,
		} {
			if status, text := get(t, url+path, authorization); status != want || status != 200 && strings.Contains(text, token) {
				t.Errorf("%s with %q: %d %.80q, want %d", path, authorization, status, text, want)
			}
		}
	}
	// Another token counts at once, and closes nothing.
	l.mu.Lock()
	o := *l.options
	l.mu.Unlock()
	o.Token = "another"
	l.Set(&o)
	if status, _ := get(t, url+"/metrics", "Bearer another"); status != 200 {
		t.Errorf("the new token: %d", status)
	}
	if status, _ := get(t, url+"/metrics", "Bearer "+token); status != 401 {
		t.Errorf("the old token: %d", status)
	}
}

// What the control socket tells is told in the same words, and nothing can be changed.
func TestListener_ReadOnly(t *testing.T) {
	o := full()
	_, url := listening(t, o, ListenOptions{})
	socket := serve(t, o.fake)
	for _, path := range []string{"/v1/status", "/v1/checks"} {
		status, text := get(t, url+path, "")
		if _, want := request(t, socket.http, http.MethodGet, "http://baton"+path, "", nil); status != 200 || text != want {
			t.Errorf("%s: %d %s, the socket answers %s", path, status, text, want)
		}
	}
	for _, tc := range []struct {
		method, path, body string
		want               int
	}{
		{http.MethodPost, "/v1/checks/haproxy/force", `{"verdict":"pass"}`, 413},
		{http.MethodPost, "/v1/checks/haproxy/run", "", 405},
		{http.MethodPut, "/v1/status", "", 405},
		{http.MethodDelete, "/metrics", "", 405},
		{http.MethodGet, "/v1/status", "{}", 413},
		{http.MethodGet, "/v1/wait?router=public&state=master", "", 404},
		{http.MethodGet, "/v1/events", "", 404},
		{http.MethodHead, "/v1/status", "", 200},
	} {
		var body io.Reader
		if tc.body != "" {
			body = strings.NewReader(tc.body)
		}
		if status, text := request(t, http.DefaultClient, tc.method, url+tc.path, "", body); status != tc.want {
			t.Errorf("%s %s: %d %s, want %d", tc.method, tc.path, status, text, tc.want)
		}
	}
	if len(o.forced) > 0 || len(o.orders) > 0 {
		t.Error("something was changed")
	}
}

// An address that is not there is a problem, and no end: it is listened on as soon
// as it can be.
func TestListener_BindsLater(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log trial.Log
	l := NewListener(full(), slog.New(slog.NewTextHandler(&log, nil)))
	run(t, l)
	l.Set(&ListenOptions{Address: taken.Addr().(*net.TCPAddr).AddrPort()})
	trial.Await(t, 5*time.Second, "a problem", func() bool { return l.Problem() != nil })
	if want := fmt.Sprintf("nobody can ask over HTTP: listen on %s: address already in use", taken.Addr()); l.Problem().Text != want {
		t.Errorf("%q, want %q", l.Problem().Text, want)
	}
	address := taken.Addr().String()
	taken.Close()
	trial.Await(t, 5*time.Second, "no problem", func() bool { return l.Problem() == nil })
	if status, _ := get(t, "http://"+address+"/healthz", ""); status != 200 {
		t.Errorf("status %d", status)
	}
	if text := log.String(); strings.Count(text, "not up") != 1 || strings.Count(text, "is up") != 1 {
		t.Errorf("the log:\n%s", text)
	}
	// Other options close it, and it moves.
	elsewhere := freePort(t)
	l.Set(&ListenOptions{Address: elsewhere})
	trial.Await(t, 5*time.Second, "it has moved", func() bool {
		_, err := net.Dial("tcp", address)
		c, there := net.Dial("tcp", elsewhere.String())
		if there == nil {
			c.Close()
		}
		return err != nil && there == nil
	})
	l.Set(nil)
	trial.Await(t, 5*time.Second, "it is closed", func() bool { _, err := net.Dial("tcp", elsewhere.String()); return err != nil })
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// issue writes a certificate for 127.0.0.1 with a name, and its key.
func (a *authority) issue(t *testing.T, name, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: text}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TLS follows the files: a renewed certificate is shown, a broken one is a problem
// while the last good one serves on.
func TestListener_TLS(t *testing.T) {
	dir, a := t.TempDir(), newAuthority(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	a.issue(t, "first", in("cert.pem"), in("key.pem"))
	a.issue(t, "client", in("client.pem"), in("client.key"))
	if err := os.WriteFile(in("ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(in("client.pem"), in("client.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	shown := func(url string, certs ...tls.Certificate) (string, error) {
		c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certs}}}
		answer, err := c.Get(url + "/healthz")
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		return answer.TLS.PeerCertificates[0].Subject.CommonName, nil
	}

	l, url := listening(t, full(), ListenOptions{TLS: &ListenTLS{CertFile: in("cert.pem"), KeyFile: in("key.pem")}})
	if name, err := shown(url); name != "first" {
		t.Fatalf("%q, %v", name, err)
	}
	a.issue(t, "second, which is longer", in("cert.pem"), in("key.pem"))
	trial.Await(t, 5*time.Second, "the renewed certificate", func() bool { name, _ := shown(url); return strings.HasPrefix(name, "second") })
	if err := os.WriteFile(in("cert.pem"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	trial.Await(t, 5*time.Second, "a problem", func() bool { return l.Problem() != nil })
	if name, err := shown(url); !strings.HasPrefix(name, "second") {
		t.Errorf("while the file is broken: %q, %v", name, err)
	}
	a.issue(t, "third", in("cert.pem"), in("key.pem"))
	trial.Await(t, 5*time.Second, "no problem", func() bool { return l.Problem() == nil })

	_, url = listening(t, full(), ListenOptions{TLS: &ListenTLS{CertFile: in("cert.pem"), KeyFile: in("key.pem"), ClientCAFile: in("ca.pem")}})
	if _, err := shown(url); err == nil {
		t.Error("a client without a certificate was answered")
	}
	if name, err := shown(url, pair); name != "third" {
		t.Errorf("a client with a certificate: %q, %v", name, err)
	}
}
