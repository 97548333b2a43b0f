package control

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"

	"baton/internal/regular"
)

const (
	// lookEvery is how often the files of a certificate are looked at, at most.
	lookEvery = time.Second
	// maxPEM bounds each of them.
	maxPEM = 1 << 20
)

// ListenTLS names the files of a listener that speaks TLS. All are in PEM.
type ListenTLS struct {
	CertFile     string
	KeyFile      string
	ClientCAFile string // whose certificates clients must have; empty: they need none
}

// certificate is what a listener shows its clients. Files that have changed are
// read again; while they are broken, what they were before serves on.
type certificate struct {
	files ListenTLS
	now   func() time.Time

	mu      sync.Mutex
	looked  time.Time
	found   [3]fileState
	config  *tls.Config // nil: never read
	problem error       // why the newest files cannot be used
}

// fileState tells whether a file has changed.
type fileState struct {
	size    int64
	changed time.Time
}

func newCertificate(files ListenTLS) *certificate {
	return &certificate{files: files, now: time.Now}
}

// server is the configuration of a TLS server that follows the files.
func (c *certificate) server() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current() },
	}
}

// current is the newest configuration that can be used. Its error says why there
// is none.
func (c *certificate) current() (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= lookEvery || c.looked.IsZero() {
		c.looked = now
		c.look()
	}
	if c.config == nil {
		return nil, c.problem
	}
	return c.config, nil
}

// trouble says why the newest files cannot be used; nil: they are.
func (c *certificate) trouble() error {
	_, _ = c.current()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problem
}

// look reads the files where one has changed.
func (c *certificate) look() {
	found, err := c.files.states()
	if err == nil && c.problem == nil && c.config != nil && found == c.found {
		return
	}
	var config *tls.Config
	if err == nil {
		config, err = c.files.read()
	}
	c.problem = err
	if err == nil {
		c.config, c.found = config, found
	}
}

func (f ListenTLS) states() (all [3]fileState, err error) {
	for i, path := range []string{f.CertFile, f.KeyFile, f.ClientCAFile} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return all, fmt.Errorf("read the certificate of the listener: %w", err)
		}
		all[i] = fileState{info.Size(), info.ModTime()}
	}
	return all, nil
}

func (f ListenTLS) read() (*tls.Config, error) {
	cert, err := readPEM(f.CertFile)
	if err != nil {
		return nil, err
	}
	key, err := readPEM(f.KeyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s are no certificate and its key: %w", f.CertFile, f.KeyFile, err)
	}
	// HTTP/1.1 only: HTTP/2 has many requests on one connection, which are what is bounded.
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	if f.ClientCAFile == "" {
		return config, nil
	}
	text, err := readPEM(f.ClientCAFile)
	if err != nil {
		return nil, err
	}
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM", f.ClientCAFile)
	}
	return config, nil
}

func readPEM(path string) ([]byte, error) {
	text, err := regular.Read(path, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of the listener: %w", err)
	}
	return text, nil
}
