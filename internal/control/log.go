package control

import (
	"context"
	"net/http"
	"time"
)

// The bounds of a level that is set for a while.
const (
	ShortestLogLevel = time.Second
	LongestLogLevel  = 24 * time.Hour
)

// LogLevel is what the daemon logs.
type LogLevel struct {
	Level      string    `json:"level"`          // debug, info, warn or error
	Configured string    `json:"configured"`     // what holds when the time is over
	Until      time.Time `json:"until,omitzero"` // zero: for good
	By         string    `json:"by,omitempty"`   // the user who has set it
}

// logLevel is the body of a request to set it.
type logLevel struct {
	Level string        `json:"level"` // empty: the configured one
	For   time.Duration `json:"for"`   // nanoseconds
}

// LogLevel asks what is logged.
func (c *Client) LogLevel(ctx context.Context) (LogLevel, error) {
	var l LogLevel
	err := c.ask(ctx, http.MethodGet, "/v1/log", nil, &l)
	return l, err
}

// SetLogLevel sets what is logged, for ShortestLogLevel to LongestLogLevel. Without
// a level the configured one counts again.
func (c *Client) SetLogLevel(ctx context.Context, level string, lasting time.Duration) (LogLevel, error) {
	var l LogLevel
	err := c.ask(ctx, http.MethodPost, "/v1/log", logLevel{level, lasting}, &l)
	return l, err
}

func (s *Server) logLevel(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, s.daemon.LogLevel())
}

func (s *Server) setLogLevel(w http.ResponseWriter, r *http.Request) {
	var body logLevel
	if err := read(r, &body); err != nil {
		s.fail(w, err)
		return
	}
	if body.Level != "" && (body.For < ShortestLogLevel || body.For > LongestLogLevel) {
		s.fail(w, Errorf(BadRequest, "%s is not in %s to %s", body.For, ShortestLogLevel, LongestLogLevel))
		return
	}
	l, err := s.daemon.SetLogLevel(body.Level, body.For, userOf(r.Context()))
	if err != nil {
		s.fail(w, err)
		return
	}
	s.answer(w, http.StatusOK, l)
}
