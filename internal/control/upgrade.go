package control

import (
	"context"
	"net/http"
	"time"
)

// Upgrade is what a daemon says that is about to be replaced.
type Upgrade struct {
	From   string    `json:"from"` // versions
	To     string    `json:"to"`
	PID    int       `json:"pid"` // which stays
	Binary string    `json:"binary"`
	Before time.Time `json:"before,omitzero"` // Status.Upgraded until now: the new process has another
}

// upgrade is the body of a request for an upgrade.
type upgrade struct {
	Binary string `json:"binary,omitempty"` // empty: the daemon's own, which may have been replaced on disk
}

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	var body upgrade
	if err := read(r, &body); err != nil {
		s.fail(w, err)
		return
	}
	u, err := s.daemon.Upgrade(r.Context(), body.Binary)
	if err != nil {
		s.fail(w, err)
		return
	}
	s.answer(w, http.StatusOK, u)
}

// Upgrade has the daemon replaced by a binary, in place; empty: by its own, as it
// is on disk now. It returns when that is about to happen. It may wait for half a
// minute until nothing is under way.
func (c *Client) Upgrade(ctx context.Context, binary string) (Upgrade, error) {
	var u Upgrade
	err := c.do(ctx, http.MethodPost, "/v1/upgrade", upgrade{binary}, &u)
	return u, err
}
