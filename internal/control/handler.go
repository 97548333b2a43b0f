package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The bounds of a forced verdict. Who needs a longer one than that has another
// check in mind.
const (
	ShortestForce = time.Second
	LongestForce  = 7 * 24 * time.Hour
	maxReason     = 200 // bytes
)

// force is the body of a request to force a check.
type force struct {
	Verdict string        `json:"verdict"` // pass or fail; empty: no longer
	For     time.Duration `json:"for"`     // nanoseconds
	Reason  string        `json:"reason"`
}

// routes are the requests that there are. Each is explained in docs/api.md, which a
// test holds.
type routes struct {
	http.ServeMux
	patterns []string
}

// HandleFunc adds a request.
func (r *routes) HandleFunc(pattern string, handle func(http.ResponseWriter, *http.Request)) {
	r.patterns = append(r.patterns, pattern)
	r.ServeMux.HandleFunc(pattern, handle)
}

func (s *Server) routes() *routes {
	mux := new(routes)
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/wait", s.wait)
	mux.HandleFunc("GET /v1/checks", s.checks)
	mux.HandleFunc("POST /v1/checks/{name}/run", s.runCheck)
	mux.HandleFunc("POST /v1/checks/{name}/force", s.forceCheck)
	mux.HandleFunc("GET /v1/cluster", s.cluster)
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("POST /v1/upgrade", s.upgrade)
	mux.HandleFunc("POST /v1/reload", s.reload)
	mux.HandleFunc("GET /v1/log", s.logLevel)
	mux.HandleFunc("POST /v1/log", s.setLogLevel)
	s.registerOrders(mux)
	return mux
}

func (s *Server) handler() http.Handler {
	mux := s.routes()
	mux.ServeMux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, Errorf(BadRequest, "this version of baton knows no request %s %s", r.Method, r.URL.Path))
	})
	return s.withBody(s.withAccess(mux))
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, s.daemon.Status())
}

func (s *Server) checks(w http.ResponseWriter, _ *http.Request) {
	all := s.daemon.Checks()
	if all == nil {
		all = []Check{} // in JSON an empty list, not null
	}
	s.answer(w, http.StatusOK, all)
}

func (s *Server) runCheck(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := s.knows(name); err != nil {
		s.fail(w, err)
		return
	}
	c, err := s.daemon.RunCheck(r.Context(), name)
	if err != nil {
		s.fail(w, err)
		return
	}
	s.answer(w, http.StatusOK, c)
}

func (s *Server) forceCheck(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := s.knows(name); err != nil {
		s.fail(w, err)
		return
	}
	var body force
	if err := read(r, &body); err != nil {
		s.fail(w, err)
		return
	}
	if err := body.validate(); err != nil {
		s.fail(w, err)
		return
	}
	f := Forced{By: userOf(r.Context())}
	if body.Verdict != "" {
		f.Verdict, f.Until, f.Reason = body.Verdict, time.Now().Add(body.For), body.Reason
	}
	c, err := s.daemon.ForceCheck(name, f)
	if err != nil {
		s.fail(w, err)
		return
	}
	s.answer(w, http.StatusOK, c)
}

// validate says what is wrong with a request to force a check.
func (f force) validate() error {
	switch {
	case f.Verdict == "":
	case f.Verdict != "pass" && f.Verdict != "fail":
		return Errorf(BadRequest, "a check is forced to pass or to fail, not to %q", f.Verdict)
	case f.For < ShortestForce || f.For > LongestForce:
		return Errorf(BadRequest, "%s is not in %s to %s", f.For, ShortestForce, LongestForce)
	case strings.TrimSpace(f.Reason) == "":
		return Errorf(BadRequest, "a reason is missing: others will ask")
	case len(f.Reason) > maxReason:
		return Errorf(BadRequest, "the reason has %d bytes, at most %d are kept", len(f.Reason), maxReason)
	case !utf8.ValidString(f.Reason) || strings.ContainsFunc(f.Reason, func(r rune) bool { return !unicode.IsPrint(r) }):
		return Errorf(BadRequest, "the reason %q has characters that do not print", f.Reason)
	}
	return nil
}

// knows returns an error where there is no check of that name.
func (s *Server) knows(name string) error {
	var names []string
	for _, c := range s.daemon.Checks() {
		if c.Name == name {
			return nil
		}
		names = append(names, c.Name)
	}
	return &Error{Kind: NotFound, Text: "no router of this node tracks a check " + quote(name), Name: name, Known: names}
}

// withBody reads the whole body before anything is done. A client whose body
// does not come is cut off: else the server would wait for the rest of it. And
// only when it is read does the server notice that a client goes.
func (s *Server) withBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.SetReadDeadline(time.Now().Add(bodyLimit)) // it can only fail on a connection that is gone
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			s.fail(w, Errorf(BadRequest, "the body has more than %d bytes", maxBody))
			return
		case err != nil:
			panic(http.ErrAbortHandler) // closes the connection, and logs nothing
		}
		_ = c.SetReadDeadline(time.Time{})
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// read decodes the body of a request.
func read(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields() // a misspelt key would be one that is missing
	if err := d.Decode(into); err != nil {
		return Errorf(BadRequest, "the body cannot be read: %v", err)
	}
	return nil
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Kind: Failed}
	}
	told := *e
	told.Text = err.Error() // with what was wrapped around it
	s.answer(w, told.Kind.status(), told)
}

// answer sends a value. A client that does not read it is cut off.
func (s *Server) answer(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		s.log.Error("an answer on the control socket cannot be written as JSON", "err", err)
		status, body = http.StatusInternalServerError, []byte(`{"kind":"failed","error":"the answer cannot be written as JSON"}`)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerLimit))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // whom would one tell
}

// quote shows a name that came from outside.
func quote(name string) string {
	const most = 64
	if len(name) > most {
		return strconv.Quote(name[:most]) + "..."
	}
	return strconv.Quote(name)
}
