package control

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const (
	// bindAgain is how soon an address that could not be listened on is tried again.
	bindAgain = time.Second
	// requestLimit bounds a TLS handshake and the reading of a request, replyLimit
	// all of it with the answer.
	requestLimit = 5 * time.Second
	replyLimit   = 15 * time.Second
	// maxVisitorHeader bounds a request's head, in bytes; net/http adds 4 KiB.
	maxVisitorHeader = 4 << 10
)

// ListenOptions say where the HTTP listener is, and who may ask it.
type ListenOptions struct {
	Address netip.AddrPort // unspecified: every address of this host
	Token   string         // what a client must show, but for probes; empty: nothing
	TLS     *ListenTLS     // nil: plain HTTP
}

// serves tells whether a listener made for o can go on with other.
func (o ListenOptions) serves(other ListenOptions) bool {
	same := o.TLS == nil && other.TLS == nil || o.TLS != nil && other.TLS != nil && *o.TLS == *other.TLS
	return same && o.Address == other.Address
}

// Listener answers over HTTP to whoever may reach it: metrics, probes, and what the
// control socket tells of the status. It changes nothing. Where its address cannot
// be listened on it tries again, and the rest of the daemon goes on.
type Listener struct {
	// StatusTold is called when somebody has been told the status; nil: nobody wants to
	// know. It is set before Run, and must not block.
	StatusTold func()

	daemon   Observed
	log      *slog.Logger
	registry *prometheus.Registry
	busy     chan struct{} // held by the one answer that is being made
	changed  chan struct{} // there are other options

	mu      sync.Mutex
	options *ListenOptions // nil: nothing listens
	cert    *certificate   // of what listens now; nil: none
	failed  error          // why nothing listens though it should
}

// NewListener returns one that listens nowhere.
func NewListener(d Observed, log *slog.Logger) *Listener {
	l := &Listener{daemon: d, log: log, registry: prometheus.NewRegistry(), busy: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	l.registry.MustRegister(collector{newFamilies(), d}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return l
}

// Set says where to listen from now on; nil: nowhere. Another token alone closes
// nothing. It does not wait, and may be called from any goroutine.
func (l *Listener) Set(o *ListenOptions) {
	l.mu.Lock()
	l.options = o
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// Problem is what an operator has to mend: the address cannot be listened on, or
// the certificate cannot be used. Nil: nothing.
func (l *Listener) Problem() *Problem {
	l.mu.Lock()
	failed, cert := l.failed, l.cert
	l.mu.Unlock()
	if failed != nil {
		return &Problem{Text: "nobody can ask over HTTP: " + failed.Error(), Hint: "it is tried each second; see listen in the configuration"}
	}
	if cert != nil {
		if err := cert.trouble(); err != nil {
			return &Problem{Text: "the HTTP listener's certificate: " + err.Error(), Hint: "what it was before serves on, if it was there; mended files are read by themselves"}
		}
	}
	return nil
}

// Run listens until ctx ends. Its error is always nil: what fails is a Problem, and
// is tried again.
func (l *Listener) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		l.mu.Lock()
		options := l.options
		l.mu.Unlock()
		wait := time.Duration(-1) // until there are others
		if options != nil {
			wait = l.try(ctx, *options)
		} else {
			l.fail(nil)
		}
		if wait == 0 {
			continue
		}
		l.pause(ctx, wait)
	}
	return nil
}

// pause waits so long, or for ever where that is negative, but not longer than until
// there are other options.
func (l *Listener) pause(ctx context.Context, d time.Duration) {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
	case <-l.changed:
	case <-over:
	}
}

// try listens for as long as the options are good. It returns how long to wait
// before the next try.
func (l *Listener) try(ctx context.Context, o ListenOptions) time.Duration {
	socket, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Address.String())
	if err != nil {
		l.fail(fmt.Errorf("listen on %s: %w", o.Address, cause(err)))
		return bindAgain
	}
	l.fail(nil)
	l.log.Info("HTTP listener is up", "address", o.Address.String(), "tls", o.TLS != nil, "token", o.Token != "")
	err = l.serve(ctx, socket, o)
	l.mu.Lock()
	l.cert = nil
	l.mu.Unlock()
	if err == nil {
		return 0
	}
	l.fail(fmt.Errorf("listen on %s: %w", o.Address, err))
	return bindAgain
}

// fail notes why nothing listens, and logs it once.
func (l *Listener) fail(err error) {
	l.mu.Lock()
	before := l.failed
	l.failed = err
	l.mu.Unlock()
	if err != nil && (before == nil || before.Error() != err.Error()) {
		l.log.Error("HTTP listener is not up: it is tried again each second", "err", err)
	}
}

// serve answers requests until ctx ends or the options ask for another listener.
func (l *Listener) serve(ctx context.Context, socket net.Listener, o ListenOptions) error {
	var cert *certificate
	listener := net.Listener(newCrowd(socket))
	if o.TLS != nil {
		cert = newCertificate(*o.TLS)
		listener = tls.NewListener(listener, cert.server())
	}
	l.mu.Lock()
	l.cert = cert
	l.mu.Unlock()
	server := &http.Server{
		Handler:           l.handler(),
		ReadHeaderTimeout: requestLimit,
		ReadTimeout:       requestLimit,
		WriteTimeout:      replyLimit,
		MaxHeaderBytes:    maxVisitorHeader,
		ErrorLog:          slog.NewLogLogger(l.log.Handler(), slog.LevelDebug), // visitors must not fill the log
		ConnContext:       withVisitor,
	}
	server.SetKeepAlivesEnabled(false)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	for {
		select {
		case err := <-served:
			_ = server.Close() // connections that are left
			return err
		case <-l.changed:
			l.mu.Lock()
			same := l.options != nil && o.serves(*l.options)
			l.mu.Unlock()
			if same {
				continue
			}
		case <-ctx.Done():
		}
		break
	}
	end, stop := context.WithTimeout(context.Background(), endLimit)
	defer stop()
	_ = server.Shutdown(end) // its error is that of end: then Close cuts what is left
	_ = server.Close()
	<-served
	return nil
}

// token is what a client has to show now.
func (l *Listener) token() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.options == nil {
		return ""
	}
	return l.options.Token
}
