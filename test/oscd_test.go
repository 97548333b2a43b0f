package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// oscd is an Open Security Controller as far as baton can see it: the test binary
// itself is that, where oscEnv names the folder that the nodes share.
type oscd struct {
	shared, node, vip string
}

const (
	oscEnv   = "BATON_TEST_OSC"
	oscLogin = "baton:s3cret w0rd"
	oscURL   = "https://127.0.0.1:8090/api/server/v1/serverManagement/status"
	oscStart = 300 * time.Millisecond // until it listens
	oscStop  = 50 * time.Millisecond
)

// event writes a line to the log of all nodes, as those of the scripts do.
func (o oscd) event(text string) {
	addrs, err := net.InterfaceAddrs()
	if err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool { return strings.HasPrefix(a.String(), o.vip+"/") }) {
		text += ", with the address"
	}
	f, err := os.OpenFile(filepath.Join(o.shared, "events"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintln(f, o.node, text)
}

func (o oscd) has(file string) bool {
	_, err := os.Stat(filepath.Join(o.shared, file))
	return err == nil
}

// run serves until SIGTERM; it returns the exit status.
func (o oscd) run() int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	if o.has(o.node + ".broken") {
		return 1
	}
	what := "osc starts"
	if !o.has(o.node + ".mounted") {
		what += " without its data"
	}
	// The kernel gives the lock back however it ends.
	lock, err := os.Create(filepath.Join(o.shared, "lock"))
	if err != nil {
		log.Fatal(err)
	}
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		what += " beside another"
	}
	o.event(what)
	fmt.Println("begun")
	select {
	case <-time.After(oscStart):
		go o.serve()
		<-stop
	case <-stop:
	}
	time.Sleep(oscStop)
	o.event("osc ends")
	return 0
}

// serve answers, first that it is not ready.
func (o oscd) serve() {
	var asked atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/server/v1/serverManagement/status", func(w http.ResponseWriter, _ *http.Request) {
		switch n := asked.Add(1); {
		case n == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case n == 2:
			o.event("osc is well")
		}
		fmt.Fprintf(w, `{"version":"0.8.0","dbVersion":"99","pid":"%d"}`, os.Getpid())
	})
	mux.HandleFunc("GET /api/server/v1/alarms", func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user+":"+password != oscLogin {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	s := http.Server{Addr: "127.0.0.1:8090", Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	log.Fatal(s.ListenAndServeTLS(filepath.Join(o.shared, "osc.pem"), filepath.Join(o.shared, "osc.key")))
}

// certificate makes one for 127.0.0.1 that is signed by itself, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "osc"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	must(t, err)
	bytes, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	_, err = tls.X509KeyPair(pemOf("CERTIFICATE", signed), pemOf("PRIVATE KEY", bytes))
	must(t, err)
	return string(pemOf("CERTIFICATE", signed)), string(pemOf("PRIVATE KEY", bytes))
}

func pemOf(kind string, bytes []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes})
}
