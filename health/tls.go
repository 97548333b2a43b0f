package health

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// maxPEM bounds a file of certificates; that of all authorities has 250 KiB.
const maxPEM = 4 << 20

// TLS is how a server is verified. The zero value is the usual way.
type TLS struct {
	Use        bool   // of a dialogue: speak TLS. An https URL needs no saying
	CAFile     string // absolute path; empty: the host's
	CertFile   string // of the client; absolute path; empty: none
	KeyFile    string
	ServerName string // that the certificate must have; empty: that of the address
	SkipVerify bool
}

// tlsClient speaks TLS as its files say at the time: what an administrator mends
// or renews counts at the next run.
type tlsClient struct {
	TLS
	now func() time.Time

	mu     sync.Mutex
	files  [3]fileState // as config was made of them
	config *tls.Config
}

// fileState tells whether a file has changed.
type fileState struct {
	size    int64
	changed time.Time
}

// newTLSClient takes host as the name that the certificate must have, unless t
// has another.
func newTLSClient(t TLS, host string) (*tlsClient, error) {
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("cert_file and key_file go together")
	}
	if t.ServerName == "" {
		t.ServerName, _, _ = strings.Cut(host, "%") // an IPv6 zone is in no certificate
	}
	if t.ServerName == "" && !t.SkipVerify {
		return nil, errors.New("server_name is missing: a socket's path is in no certificate")
	}
	return &tlsClient{TLS: t, now: time.Now}, nil
}

// load returns the present configuration: another one when a file has changed.
func (c *tlsClient) load() (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var files [3]fileState
	for i, f := range []struct{ key, path string }{{"ca_file", c.CAFile}, {"cert_file", c.CertFile}, {"key_file", c.KeyFile}} {
		if f.path == "" {
			continue
		}
		fi, err := os.Stat(f.path)
		switch {
		case err != nil:
			return nil, fmt.Errorf("read %s %s: %w", f.key, f.path, bare(err))
		case !fi.Mode().IsRegular(): // a pipe would not end
			return nil, fmt.Errorf("read %s %s: it is no file", f.key, f.path)
		case fi.Size() > maxPEM:
			return nil, fmt.Errorf("read %s %s: it has more than %d MiB", f.key, f.path, maxPEM>>20)
		}
		files[i] = fileState{fi.Size(), fi.ModTime()}
	}
	if c.config != nil && files == c.files {
		return c.config, nil
	}
	config := &tls.Config{
		ServerName:         c.ServerName,
		InsecureSkipVerify: c.SkipVerify,
		NextProtos:         []string{"http/1.1"},
		Time:               c.now,
	}
	if c.Use { // a dialogue is no HTTP
		config.NextProtos = nil
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read ca_file %s: %w", c.CAFile, bare(err))
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read ca_file %s: it has no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read cert_file %s and key_file %s: %w", c.CertFile, c.KeyFile, bare(err))
		}
		config.Certificates = []tls.Certificate{pair}
	}
	c.files, c.config = files, config
	return config, nil
}

// read is load, with what to say where that fails: then there is no configuration.
func (c *tlsClient) read() (*tls.Config, Answer) {
	config, err := c.load()
	if err == nil {
		return config, Answer{}
	}
	a := Answer{Text: err.Error(), Hint: "the file is read again at each run: no reload is needed"}
	if errors.Is(err, fs.ErrPermission) {
		a.Hint = "baton must be allowed to read it"
	}
	return nil, a
}

// refused is the failure of a handshake, with what can be done about it.
func (c *tlsClient) refused(address string, err error) Answer {
	if timedOut(err) {
		return Answer{
			Text: address + " took the connection but does not answer the TLS handshake",
			Hint: "the service hangs, its host is overloaded, or it speaks no TLS",
		}
	}
	a := Answer{Text: fmt.Sprintf("TLS with %s: %v", address, plain(err)), Hint: tlsHint(err)}
	var (
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		name      x509.HostnameError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authority):
		a.Text = fmt.Sprintf("TLS with %s: its certificate is signed by an authority that is not known", address)
		if authority.Cert != nil {
			a.Text += ": " + words(authority.Cert.Issuer.String())
		}
		a.Hint = "ca_file: the certificate of that authority; now this host's own are taken"
		if c.CAFile != "" {
			a.Hint = "put that authority's certificate into " + c.CAFile
		}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		if from := invalid.Cert.NotBefore; c.now().Before(from) {
			a.Text = fmt.Sprintf("TLS with %s: its certificate is valid only from %s", address, from.UTC().Format(time.RFC3339))
			a.Hint = "is this host's clock right?"
			break
		}
		a.Text = fmt.Sprintf("TLS with %s: its certificate expired on %s", address, invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
		a.Hint = "renew it on the server, and let the server load it"
	case errors.As(err, &name):
		a.Text = fmt.Sprintf("TLS with %s: its certificate is not for %s", address, c.ServerName)
		if name.Certificate != nil {
			has := name.Certificate.DNSNames
			for _, ip := range name.Certificate.IPAddresses {
				has = append(has, ip.String())
			}
			a.Text += " but for " + words(some(has))
		}
		a.Hint = "server_name: a name that it has"
	case errors.As(err, &record):
		a.Text = fmt.Sprintf("%s does not speak TLS: it answers %s", address, excerpt(record.RecordHeader[:]))
		a.Hint = "is it meant to? Without TLS a URL begins with http:"
	}
	return a
}

// tlsHint tells what an alert that the server sent asks for. In TLS 1.3 one about
// the client's certificate comes after the handshake.
func tlsHint(err error) string {
	var op *net.OpError // the alert itself has no exported type
	if errors.As(err, &op) && op.Op == "remote error" && strings.Contains(op.Err.Error(), "certificate") {
		return "the server wants another certificate of its clients: cert_file and key_file"
	}
	return ""
}
