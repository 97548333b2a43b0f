package tlsclient

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// write puts a certificate that signs itself, and its key, into files.
func write(t *testing.T, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	der, err = x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSource_Mistakes(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("cert"), at("key"))
	write(t, at("cert2"), at("key2"))
	must(t, os.WriteFile(at("empty"), nil, 0o600))
	must(t, os.WriteFile(at("large"), nil, 0o600))
	must(t, os.Truncate(at("large"), maxPEM+1))
	must(t, syscall.Mkfifo(at("pipe"), 0o600))
	tests := []struct {
		o    Options
		want string
	}{
		{Options{}, "<nil>"},
		{Options{CAFile: at("cert"), CertFile: at("cert"), KeyFile: at("key")}, "<nil>"},
		{Options{CAFile: at("missing")}, "read ca_file " + at("missing") + ": no such file or directory"},
		{Options{CAFile: at("empty")}, "read ca_file " + at("empty") + ": it has no certificate in PEM"},
		{Options{CAFile: at("large")}, "read ca_file " + at("large") + ": it has more than 4 MiB"},
		{Options{CAFile: at("pipe")}, "read ca_file: " + at("pipe") + " is a named pipe, not a regular file"},
		{Options{CertFile: at("cert"), KeyFile: at("pipe")}, "read key_file: " + at("pipe") + " is a named pipe, not a regular file"},
		{Options{CertFile: at("cert"), KeyFile: at("key2")},
			"read cert_file " + at("cert") + " and key_file " + at("key2") + ": tls: private key does not match public key"},
	}
	for _, tt := range tests {
		_, err := New(tt.o).Config()
		got := "<nil>"
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", tt.o, got, tt.want)
		}
	}
}

// The same files are not read again; another one is.
func TestSource_Renewed(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	write(t, cert, key)
	s := New(Options{CertFile: cert, KeyFile: key, ServerName: "n"}, "http/1.1")
	first, err := s.Config()
	must(t, err)
	if first.ServerName != "n" || first.NextProtos[0] != "http/1.1" || len(first.Certificates) != 1 {
		t.Errorf("got %+v", first)
	}
	if again, err := s.Config(); err != nil || again != first {
		t.Errorf("read again: %v", err)
	}
	write(t, cert, key)
	later := time.Now().Add(time.Second) // the clock of a file system may be coarse
	must(t, os.Chtimes(cert, later, later))
	second, err := s.Config()
	must(t, err)
	if second == first || string(second.Certificates[0].Certificate[0]) == string(first.Certificates[0].Certificate[0]) {
		t.Error("not read again")
	}
	must(t, os.Remove(key))
	if _, err := s.Config(); err == nil {
		t.Error("no error for a file that is gone")
	}
}
