package control

import (
	"errors"
	"fmt"
	"net/http"
)

// ErrNotRunning says that no daemon listens in the runtime directory.
var ErrNotRunning = errors.New("no baton runs here")

// Error is why the daemon did not do what it was asked, in its own words.
type Error struct {
	Kind  Kind     `json:"kind"`
	Text  string   `json:"error"`
	Name  string   `json:"name,omitempty"`  // that was not found
	Known []string `json:"known,omitempty"` // those that there are
	// Mistakes are those of the configuration, as `baton validate` prints them.
	Mistakes string `json:"mistakes,omitempty"`
}

// Error is the daemon's words.
func (e *Error) Error() string { return e.Text }

// Kind says what a caller can do about an Error.
type Kind string

// The kinds.
const (
	NotFound    Kind = "not found"   // there is nothing of that name
	BadRequest  Kind = "bad request" // it cannot be understood
	Refused     Kind = "refused"     // it is understood, and must not be done now
	Forbidden   Kind = "forbidden"   // who asks may not
	Mistaken    Kind = "mistaken"    // the configuration has mistakes
	Unavailable Kind = "unavailable" // the daemon starts, ends or is busy: a later request can succeed
	Failed      Kind = "failed"      // it was tried
)

// Errorf returns an Error of that kind.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// status is the HTTP status that goes with the kind.
func (k Kind) status() int {
	switch k {
	case NotFound:
		return http.StatusNotFound
	case BadRequest:
		return http.StatusBadRequest
	case Refused:
		return http.StatusConflict
	case Mistaken:
		return http.StatusUnprocessableEntity
	case Forbidden:
		return http.StatusForbidden
	case Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
