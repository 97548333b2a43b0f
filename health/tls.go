package health

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"baton/internal/tlsclient"
)

// tlsClient speaks TLS.
type tlsClient struct {
	*tlsclient.Source
}

// newTLSClient takes host as the name that the certificate must have, unless o
// has another. protocols are offered by ALPN.
func newTLSClient(o tlsclient.Options, host string, protocols ...string) (*tlsClient, error) {
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("cert_file and key_file go together")
	}
	if o.ServerName == "" {
		o.ServerName, _, _ = strings.Cut(host, "%") // an IPv6 zone is in no certificate
	}
	if o.ServerName == "" && !o.SkipVerify {
		return nil, errors.New("server_name is missing: a socket's path is in no certificate")
	}
	return &tlsClient{tlsclient.New(o, protocols...)}, nil
}

// read is Config, with what to say where that fails: then there is no configuration.
func (c *tlsClient) read() (*tls.Config, Answer) {
	config, err := c.Config()
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
		if from := invalid.Cert.NotBefore; time.Now().Before(from) {
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
