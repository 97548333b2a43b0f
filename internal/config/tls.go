package config

import (
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"strings"

	"baton/internal/tlsclient"
)

// tls reads how a server is verified: true, or a mapping.
func (w *walk) tls(f fields) tlsclient.Options {
	n := f.get("tls")
	if n == nil {
		return tlsclient.Options{}
	}
	if n.kind != mapping {
		return tlsclient.Options{Use: f.boolean("tls")}
	}
	m := w.fields(n, n.place, tlsKeys, "tls")
	t := tlsclient.Options{Use: true, SkipVerify: !m.boolean("verify"), ServerName: w.serverName(m)}
	t.CAFile = w.authorities(m, "ca_file", t.SkipVerify)
	t.CertFile, t.KeyFile = w.certificate(m)
	return t
}

func (w *walk) serverName(m fields) string {
	n := m.scalar("server_name")
	if n == nil {
		return ""
	}
	if !isHost(n.text) {
		m.wrong("server_name", n, "a name such as api.example.org, without a port")
		return ""
	}
	return n.text
}

// authorities reads the name of a file of certificates, and whether there is one in it.
func (w *walk) authorities(m fields, name string, skip bool) string {
	n := m.scalar(name)
	if n == nil {
		return ""
	}
	if skip {
		w.errorAt(n.place, n.path, "take one of them out", "is not looked at with verify: false")
	}
	path, text, ok := w.publicFile(n)
	if !ok {
		return ""
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		w.errorAt(n.place, n.path, "PEM begins with -----BEGIN CERTIFICATE-----", "%s has no certificate in PEM", path)
	}
	return absolute(path)
}

// certificate reads the names of two files that belong together.
func (w *walk) certificate(m fields) (cert, key string) {
	c, k := m.scalar("cert_file"), m.scalar("key_file")
	switch {
	case c == nil && k == nil:
		return "", ""
	case k == nil && !m.has("key_file"):
		w.errorAt(c.place, m.path, "", "key_file is missing: a certificate is of no use without its key")
	case c == nil && !m.has("cert_file"):
		w.errorAt(k.place, m.path, "", "cert_file is missing: a key is of no use without its certificate")
	}
	if c == nil || k == nil {
		return "", ""
	}
	cert, certText, certOK := w.publicFile(c)
	key, keyText, keyOK := w.secret(k)
	if !certOK || !keyOK {
		return "", ""
	}
	if _, err := tls.X509KeyPair(certText, keyText); err != nil {
		w.errorAt(c.place, c.path, "", "%s and %s are no certificate and its key: %s", cert, key, short(strings.TrimPrefix(err.Error(), "tls: ")))
	}
	return absolute(cert), absolute(key)
}

// absolute makes a name good for one who runs in another folder.
func absolute(path string) string {
	if a, err := filepath.Abs(path); err == nil {
		return a
	}
	return path
}
