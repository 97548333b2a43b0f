// Package tlsclient is how whoever speaks TLS to a server verifies it and shows
// itself: the options of the configuration, and the files that they name.
//
// It knows of no protocol and makes no connection.
package tlsclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"baton/internal/regular"
)

// maxPEM bounds a file of certificates; that of all authorities has 250 KiB.
const maxPEM = 4 << 20

// Options are how a server is verified. The zero value is the usual way.
type Options struct {
	Use        bool   // of what has no word for it: speak TLS. An https URL needs no saying
	CAFile     string // absolute path; empty: the host's
	CertFile   string // of the client; absolute path; empty: none
	KeyFile    string
	ServerName string // that the certificate must have; empty: that of the address
	SkipVerify bool
}

// Source makes the configuration of a client. It keeps it for as long as the
// files are the same: what an administrator mends or renews counts the next time.
// Its methods may be called from any goroutine.
type Source struct {
	Options
	protocols []string

	mu     sync.Mutex
	files  [3]fileState // as config was made of them
	config *tls.Config
}

// fileState tells whether a file has changed.
type fileState struct {
	size    int64
	changed time.Time
}

// New returns a Source that has read nothing yet. protocols are what is offered
// by ALPN, if anything.
func New(o Options, protocols ...string) *Source {
	return &Source{Options: o, protocols: protocols}
}

// Config returns the present configuration, another one when a file has changed.
// Nobody may change it. The error names the key and the path of a file that is not
// what it should be.
func (s *Source) Config() (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var files [3]fileState
	for i, f := range []struct{ key, path string }{{"ca_file", s.CAFile}, {"cert_file", s.CertFile}, {"key_file", s.KeyFile}} {
		if f.path == "" {
			continue
		}
		fi, err := os.Stat(f.path)
		if err != nil {
			return nil, unread(f.key, f.path, err)
		}
		files[i] = fileState{fi.Size(), fi.ModTime()}
	}
	if s.config != nil && files == s.files {
		return s.config, nil
	}
	config, err := s.read()
	if err != nil {
		return nil, err
	}
	s.files, s.config = files, config
	return config, nil
}

// read makes a configuration of what the files have.
func (s *Source) read() (*tls.Config, error) {
	config := &tls.Config{ServerName: s.ServerName, InsecureSkipVerify: s.SkipVerify, NextProtos: s.protocols}
	if s.CAFile != "" {
		pem, err := readPEM("ca_file", s.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read ca_file %s: it has no certificate in PEM", s.CAFile)
		}
	}
	if s.CertFile != "" {
		cert, err := readPEM("cert_file", s.CertFile)
		if err != nil {
			return nil, err
		}
		key, err := readPEM("key_file", s.KeyFile)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("read cert_file %s and key_file %s: %w", s.CertFile, s.KeyFile, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func readPEM(key, path string) ([]byte, error) {
	text, err := regular.Read(path, maxPEM+1)
	switch {
	case err != nil:
		return nil, unread(key, path, err)
	case len(text) > maxPEM:
		return nil, fmt.Errorf("read %s %s: it has more than %d MiB", key, path, maxPEM>>20)
	}
	return text, nil
}

// unread is why a file could not be read, with its path once.
func unread(key, path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("read %s %s: %w", key, path, p.Err)
	}
	return fmt.Errorf("read %s: %w", key, err)
}
