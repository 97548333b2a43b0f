package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
)

// tls reads how a server is verified.
func (w *walk) tls(f fields) TLS {
	n := f.get("tls")
	if n == nil || n.kind == empty {
		return TLS{}
	}
	t := w.fields(n, n.place, tlsKeys, "tls")
	if t.broken {
		return TLS{}
	}
	var all TLS
	var ca, cert, key []byte
	all.CAFile, ca = w.certificates(t, "ca_file")
	all.CertFile, cert = w.certificates(t, "cert_file")
	all.ServerName, all.SkipVerify = t.text("server_name"), !t.boolean("verify")
	if n := t.scalar("key_file"); n != nil {
		if path, text, ok := w.secret(n); ok {
			all.KeyFile, key = absolute(path), text
		}
	}
	if ca != nil && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		n := t.get("ca_file")
		w.errorAt(n.place, n.path, "-----BEGIN CERTIFICATE-----", "%s has no certificate in PEM", short(n.text))
	}
	switch c, k := t.get("cert_file"), t.get("key_file"); {
	case c != nil && k == nil:
		w.errorAt(c.place, n.path, "key_file: FILE", "a certificate of the client needs its key")
	case c == nil && k != nil:
		w.errorAt(k.place, n.path, "cert_file: FILE", "a key needs its certificate")
	case cert != nil && key != nil:
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			w.errorAt(c.place, n.path, "", "%s and %s are no certificate and its key: %s", short(c.text), short(k.text), short(strings.TrimPrefix(err.Error(), "tls: ")))
		}
	}
	for _, name := range []string{"ca_file", "server_name"} {
		if n := t.get(name); n != nil && all.SkipVerify {
			w.errorAt(n.place, n.path, "take verify: false out", "has no meaning where the server is not verified")
		}
	}
	return all
}

// certificates reads a file that is no secret, but is looked for as one is. A node that does not need it does without.
func (w *walk) certificates(f fields, name string) (path string, text []byte) {
	n := f.scalar(name)
	if n == nil {
		return "", nil
	}
	var err error
	for _, path = range w.places(n.text) {
		if text, err = w.files.disk.read(path); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	switch {
	case err == nil:
		return absolute(path), text
	case w.secrets.needed:
		w.errorAt(n.place, n.path, "", "%s", cause(err, path))
	}
	return "", nil
}

func absolute(path string) string {
	if a, err := filepath.Abs(path); err == nil {
		return a
	}
	return path
}
