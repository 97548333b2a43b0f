package control

import (
	"context"
	"net/http"
)

// Reload is what came of a reload, or would come of it.
type Reload struct {
	Node      string       `json:"node"`
	DryRun    bool         `json:"dry_run"`            // nothing has been changed
	Before    string       `json:"before"`             // hash of the configuration that ran
	After     string       `json:"after"`              // and of the one on disk
	Changes   []Difference `json:"changes"`            // routers, checks, services, and the rest; none: both mean the same here
	Unchanged Unchanged    `json:"unchanged"`          // how many there are of what stays as it is
	Warnings  string       `json:"warnings,omitempty"` // about the configuration, as `baton validate` prints them
}

// Difference is one thing that two configurations do not have in common.
type Difference struct {
	Name string `json:"name"` // of a router, a group, a check, a service, or a key of the file
	What string `json:"what"` // "added", "removed", "interval: 500ms to 200ms"
	Cost string `json:"cost"` // what it means on this node now, in a few words
}

// Unchanged counts what a reload does not touch.
type Unchanged struct {
	Routers  int `json:"routers"`
	Checks   int `json:"checks"`
	Services int `json:"services"`
}

// reload is the body of a request for a reload.
type reload struct {
	DryRun bool `json:"dry_run,omitempty"`
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	var body reload
	if err := read(r, &body); err != nil {
		s.fail(w, err)
		return
	}
	result, err := s.daemon.Reload(r.Context(), body.DryRun, userOf(r.Context()))
	if err != nil {
		s.fail(w, err)
		return
	}
	if result.Changes == nil {
		result.Changes = []Difference{} // in JSON an empty list, not null
	}
	s.answer(w, http.StatusOK, result)
}

// Reload has the daemon read its configuration again and apply the difference, or
// with dryRun only tell it. Where the file has mistakes its error is an *Error of
// kind Mistaken, and nothing has changed.
func (c *Client) Reload(ctx context.Context, dryRun bool) (Reload, error) {
	var r Reload
	err := c.do(ctx, http.MethodPost, "/v1/reload", reload{dryRun}, &r)
	return r, err
}
