package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/common/expfmt"
)

const (
	// makeLimit bounds the wait for the answers that are made before this one.
	makeLimit = 5 * time.Second
	// aliveLimit bounds the wait for the protocol loop. A loop that needs longer for a
	// turn has lost its roles.
	aliveLimit = 2 * time.Second
	// maxQuery bounds what stands behind the question mark.
	maxQuery = 512
)

// handler is what the HTTP listener answers. Probes need no token: a load balancer
// can seldom send one, and they tell no more than a role and its reason.
func (l *Listener) handler() http.Handler {
	server := &Server{daemon: l.daemon, log: l.log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", l.healthz)
	mux.HandleFunc("GET /readyz", l.inTurn(l.readyz))
	mux.HandleFunc("GET /metrics", l.guarded(l.inTurn(l.metrics)))
	mux.HandleFunc("GET /v1/status", l.guarded(l.inTurn(func(w http.ResponseWriter, r *http.Request) {
		server.status(w, r)
		if l.StatusTold != nil {
			l.StatusTold()
		}
	})))
	mux.HandleFunc("GET /v1/checks", l.guarded(l.inTurn(server.checks)))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			say(w, http.StatusMethodNotAllowed, "nothing can be changed here")
			return
		}
		say(w, http.StatusNotFound, "there are /metrics, /v1/status, /v1/checks, /healthz and /readyz")
	})
	return bodiless(mux)
}

// bodiless refuses what has a body, or a query of a length that nobody needs.
func bodiless(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, ok := r.Context().Value(visitorKey{}).(*visitor); ok {
			s.answer()
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case r.ContentLength != 0:
			say(w, http.StatusRequestEntityTooLarge, "a request has no body here")
		case len(r.URL.RawQuery) > maxQuery:
			say(w, http.StatusRequestURITooLong, "the query is too long")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// guarded wants the token, where there is one.
func (l *Listener) guarded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !l.allowed(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="baton"`)
			say(w, http.StatusUnauthorized, "Authorization: Bearer TOKEN is missing, or has another token than `listen`")
			return
		}
		next(w, r)
	}
}

// inTurn makes one answer at a time, so that nobody takes more than one processor
// from the protocol.
func (l *Listener) inTurn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		over := time.NewTimer(makeLimit)
		defer over.Stop()
		select {
		case l.busy <- struct{}{}:
		case <-over.C:
			say(w, http.StatusServiceUnavailable, "too many ask at a time")
			return
		case <-r.Context().Done():
			return
		}
		made := sync.OnceFunc(func() { <-l.busy })
		defer made()
		next(&maker{w, made}, r)
	}
}

// maker lets the next answer be made as soon as this one begins to be sent: a client
// that does not read it must not hold up the others.
type maker struct {
	http.ResponseWriter
	made func()
}

// WriteHeader is called when the answer is made.
func (m *maker) WriteHeader(status int) {
	m.made()
	m.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (m *maker) Unwrap() http.ResponseWriter { return m.ResponseWriter }

// allowed compares in constant time, whatever the lengths.
func (l *Listener) allowed(r *http.Request) bool {
	want := l.token()
	if want == "" {
		return true
	}
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(got))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

// metrics answers in Prometheus's text format.
func (l *Listener) metrics(w http.ResponseWriter, _ *http.Request) {
	families, err := l.registry.Gather()
	var text bytes.Buffer
	for _, f := range families {
		if err == nil {
			_, err = expfmt.MetricFamilyToText(&text, f)
		}
	}
	if err != nil {
		l.log.Error("metrics cannot be written", "err", err)
		say(w, http.StatusInternalServerError, "the metrics cannot be written: see the log")
		return
	}
	w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(text.Bytes()) // whom would one tell
}

// healthz answers 200 as long as the protocol loop turns.
func (l *Listener) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), aliveLimit)
	defer cancel()
	if err := l.daemon.Alive(ctx); err != nil {
		say(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	say(w, http.StatusOK, "alive")
}

// readyz answers 200 where a router has a role, master if none is asked for, and as
// master all that belongs to it.
func (l *Listener) readyz(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	name, role := q.Get("router"), strings.ToUpper(q.Get("role"))
	if role == "" {
		role = "MASTER"
	}
	switch {
	case name == "":
		say(w, http.StatusBadRequest, "router is missing: /readyz?router=NAME&role=master")
		return
	case !slices.Contains(states[:], role):
		say(w, http.StatusBadRequest, "there is no role "+quote(q.Get("role"))+": it is one of init, backup, master, fault")
		return
	}
	router, err := l.daemon.Status().Find(name)
	switch {
	case err != nil:
		say(w, http.StatusNotFound, "this node runs no virtual router and no group "+quote(name))
	case router.Role != role:
		say(w, http.StatusServiceUnavailable, fmt.Sprintf("%s is %s here: %s", router.Name, router.Role, router.Why))
	case role == "MASTER" && !router.Ready:
		say(w, http.StatusServiceUnavailable, fmt.Sprintf("%s is MASTER here, and not ready: %s", router.Name, router.Why))
	default:
		say(w, http.StatusOK, router.Name+" is "+role+" here")
	}
}

// say answers with one line.
func say(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(strings.ReplaceAll(line, "\n", " ") + "\n")) // whom would one tell
}

// visitorKey finds the connection in the context of its request.
type visitorKey struct{}

func withVisitor(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, visitorKey{}, c)
}

// cause is what the kernel says, without what stands around it.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
