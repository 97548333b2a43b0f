package health

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"baton/internal/tlsclient"
)

// authority signs certificates, and writes them to files.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign(x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign makes a certificate, its own authority where there is none yet.
func (a *authority) sign(c x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = &c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, parent, key.Public(), signer)
	must(a.t, err)
	cert, err := x509.ParseCertificate(der)
	must(a.t, err)
	return cert, key
}

// pair is a certificate for TLS.
func (a *authority) pair(c x509.Certificate) tls.Certificate {
	cert, key := a.sign(c)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// write puts a certificate and its key into files.
func (a *authority) write(dir string, cert *x509.Certificate, key *ecdsa.PrivateKey) (certFile, keyFile string) {
	a.t.Helper()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(a.t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600))
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		must(a.t, err)
		must(a.t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	}
	return certFile, keyFile
}

// serveTLS serves fakeAPI with a configuration.
func serveTLS(t *testing.T, address string, config *tls.Config) (connections *atomic.Int64) {
	l, err := net.Listen("tcp", address)
	must(t, err)
	return serveHTTP(t, tls.NewListener(l, config))
}

var loopback = []net.IP{net.IPv4(127, 0, 0, 1)}

func TestTLS(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := t.TempDir()
	ca, other := newAuthority(t, "OSC CA"), newAuthority(t, "Other CA")
	caFile, _ := ca.write(dir, ca.cert, nil)
	at := func(day int) time.Time { return time.Date(2020, 1, day, 12, 0, 0, 0, time.UTC) }
	serve := func(port string, certs ...tls.Certificate) {
		serveTLS(t, "127.0.0.1:"+port, &tls.Config{Certificates: certs})
	}
	serve("8090", ca.pair(x509.Certificate{IPAddresses: loopback, DNSNames: []string{"osc.example"}}))
	serve("8091", ca.pair(x509.Certificate{IPAddresses: loopback, NotBefore: at(1), NotAfter: at(3)}))
	serve("8092", ca.pair(x509.Certificate{IPAddresses: loopback, NotBefore: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2201, 1, 1, 0, 0, 0, 0, time.UTC)}))
	serve("8093", ca.pair(x509.Certificate{DNSNames: []string{"a.example", "b.example"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}}))
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	serveTLS(t, "127.0.0.1:8094", &tls.Config{
		Certificates: []tls.Certificate{ca.pair(x509.Certificate{IPAddresses: loopback})}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	l, err := net.Listen("tcp", "127.0.0.1:8095")
	must(t, err)
	serveHTTP(t, l)
	fakeAt(t, "tcp", "127.0.0.1:8096", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	client := func(a *authority, name string) (string, string) {
		sub := filepath.Join(dir, name)
		must(t, os.Mkdir(sub, 0o700))
		cert, key := a.sign(x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		return a.write(sub, cert, key)
	}
	goodCert, goodKey := client(ca, "good")
	badCert, badKey := client(other, "bad")
	noPEM := filepath.Join(dir, "empty")
	must(t, os.WriteFile(noPEM, nil, 0o600))
	const wants = "the server wants another certificate of its clients: cert_file and key_file"
	const again = "the file is read again at each run: no reload is needed"
	well := Answer{OK: true, Text: "200 OK"}
	tests := map[string]struct {
		port string
		tls  tlsclient.Options
		want Answer
	}{
		"well":    {"8090", tlsclient.Options{CAFile: caFile}, well},
		"skip":    {"8090", tlsclient.Options{SkipVerify: true}, well},
		"by name": {"8090", tlsclient.Options{CAFile: caFile, ServerName: "osc.example"}, well},
		"unknown": {"8090", tlsclient.Options{}, Answer{
			Text: "TLS with 127.0.0.1:8090: its certificate is signed by an authority that is not known: CN=OSC CA",
			Hint: "ca_file: the certificate of that authority; now this host's own are taken"}},
		"other authority": {"8090", tlsclient.Options{CAFile: badCert}, Answer{
			Text: "TLS with 127.0.0.1:8090: its certificate is signed by an authority that is not known: CN=OSC CA",
			Hint: "put that authority's certificate into " + badCert}},
		"expired": {"8091", tlsclient.Options{CAFile: caFile}, Answer{
			Text: "TLS with 127.0.0.1:8091: its certificate expired on 2020-01-03T12:00:00Z", Hint: "renew it on the server, and let the server load it"}},
		"not yet": {"8092", tlsclient.Options{CAFile: caFile}, Answer{
			Text: "TLS with 127.0.0.1:8092: its certificate is valid only from 2200-01-01T00:00:00Z", Hint: "is this host's clock right?"}},
		"not for it": {"8093", tlsclient.Options{CAFile: caFile}, Answer{
			Text: "TLS with 127.0.0.1:8093: its certificate is not for 127.0.0.1 but for a.example, b.example, 192.0.2.1", Hint: "server_name: a name that it has"}},
		"client":       {"8094", tlsclient.Options{CAFile: caFile, CertFile: goodCert, KeyFile: goodKey}, well},
		"no client":    {"8094", tlsclient.Options{CAFile: caFile}, Answer{Text: "GET https://127.0.0.1:8094/ok: the server: tls: certificate required", Hint: wants}},
		"other client": {"8094", tlsclient.Options{CAFile: caFile, CertFile: badCert, KeyFile: badKey}, Answer{Text: "GET https://127.0.0.1:8094/ok: the server: tls: certificate required", Hint: wants}},
		"plain": {"8095", tlsclient.Options{CAFile: caFile}, Answer{
			Text: `127.0.0.1:8095 does not speak TLS: it answers "HTTP/"`, Hint: "is it meant to? Without TLS a URL begins with http:"}},
		"hangs": {"8096", tlsclient.Options{CAFile: caFile}, Answer{
			Text: "127.0.0.1:8096 took the connection but does not answer the TLS handshake", Hint: "the service hangs, its host is overloaded, or it speaks no TLS"}},
		"no file":  {"8090", tlsclient.Options{CAFile: "/nonexistent"}, Answer{Text: "read ca_file /nonexistent: no such file or directory", Hint: again}},
		"no PEM":   {"8090", tlsclient.Options{CAFile: noPEM}, Answer{Text: "read ca_file " + noPEM + ": it has no certificate in PEM", Hint: again}},
		"endless":  {"8090", tlsclient.Options{CAFile: "/dev/zero"}, Answer{Text: "read ca_file: /dev/zero is a device, not a regular file", Hint: again}},
		"no pair":  {"8090", tlsclient.Options{CertFile: goodCert, KeyFile: badKey}, Answer{Text: "read cert_file " + goodCert + " and key_file " + badKey + ": tls: private key does not match public key", Hint: again}},
		"key gone": {"8090", tlsclient.Options{CertFile: goodCert, KeyFile: "/nonexistent"}, Answer{Text: "read key_file /nonexistent: no such file or directory", Hint: again}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			within := time.Minute
			if name == "hangs" {
				within = 300 * time.Millisecond
			}
			p, err := NewHTTPProbe(HTTP{URL: "https://127.0.0.1:" + tt.port + "/ok", Statuses: ok200, TLS: tt.tls})
			if got := probeIn(t, probeMust(t, p, err), within); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			if tt.port == "8094" || name == "plain" {
				return // a dialogue finds out later, or not
			}
			tt.tls.Use = true
			p, err = NewDialogueProbe(Dialogue{Network: "tcp", Address: "127.0.0.1:" + tt.port, TLS: tt.tls, Steps: []Step{{"GET /ok HTTP/1.0\r\n\r\n", "200"}}})
			got := probeIn(t, probeMust(t, p, err), within)
			if tt.want.OK {
				tt.want.Text = "127.0.0.1:" + tt.port + ` answers "HTTP/1.0 200 OK"`
			}
			if got != tt.want {
				t.Errorf("dialogue: got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
	plain, err := NewHTTPProbe(HTTP{URL: "http://127.0.0.1:8090/ok", Statuses: ok200})
	must(t, err)
	want := Answer{Text: "GET http://127.0.0.1:8090/ok: 400 Bad Request: Client sent an HTTP request to an HTTPS server."}
	if got := probeIn(t, plain, time.Minute); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A file that is mended or renewed counts at the next run, and what was kept of
// the old one goes.
func TestTLS_Renewed(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := t.TempDir()
	ca, other := newAuthority(t, "OSC CA"), newAuthority(t, "Other CA")
	file, _ := ca.write(dir, other.cert, nil)
	count := serveTLS(t, "127.0.0.1:443", &tls.Config{Certificates: []tls.Certificate{ca.pair(x509.Certificate{IPAddresses: loopback})}})
	p, err := NewHTTPProbe(HTTP{URL: "https://127.0.0.1/ok", Statuses: ok200, TLS: tlsclient.Options{CAFile: file}})
	probeMust(t, p, err)
	expect := func(ok bool, connections int64) {
		t.Helper()
		before := count.Load()
		if a := probeIn(t, p, time.Minute); a.OK != ok {
			t.Error(a)
		}
		for end := time.Now().Add(5 * time.Second); count.Load()-before < connections && time.Now().Before(end); {
			runtime.Gosched() // the server counts a connection that the client has given up already
		}
		if n := count.Load() - before; n != connections {
			t.Errorf("made %d connections, want %d", n, connections)
		}
	}
	expect(false, 1)
	at := time.Now()
	change := func(cert *x509.Certificate) {
		ca.write(dir, cert, nil)
		at = at.Add(time.Second) // the clock of a file system may be coarse
		must(t, os.Chtimes(file, at, at))
	}
	change(ca.cert)
	expect(true, 1)
	expect(true, 0)
	change(ca.cert)
	expect(true, 1)
	must(t, os.Remove(file))
	expect(false, 0)
	change(ca.cert)
	expect(true, 1)
}
