package control

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Events are the events that are kept and have a greater number than was asked for.
type Events struct {
	// Since is when the process began to keep them. Another time is another process,
	// which counts from 1 again.
	Since  time.Time `json:"since"`
	Newest uint64    `json:"newest"` // the greatest number so far; 0: nothing has happened
	Events []Event   `json:"events"` // the oldest first
}

// Events returns the events with a greater number than after, all of them where no
// number is as great. With wait it returns when there are some; only ctx bounds that.
func (c *Client) Events(ctx context.Context, after uint64, wait bool) (Events, error) {
	q := url.Values{"after": {strconv.FormatUint(after, 10)}}
	var e Events
	if !wait {
		err := c.ask(ctx, http.MethodGet, "/v1/events?"+q.Encode(), nil, &e)
		return e, err
	}
	q.Set("wait", "true")
	err := c.do(ctx, http.MethodGet, "/v1/events?"+q.Encode(), nil, &e)
	return e, err
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	after, err := strconv.ParseUint(q.Get("after"), 10, 64)
	if err != nil && q.Get("after") != "" {
		s.fail(w, Errorf(BadRequest, "after is a number, not %s", quote(q.Get("after"))))
		return
	}
	wait := q.Get("wait")
	if wait != "" && wait != "true" && wait != "false" {
		s.fail(w, Errorf(BadRequest, "wait is true or false, not %s", quote(wait)))
		return
	}
	if wait == "true" {
		if !s.mayWait(w) {
			return
		}
		defer s.waited()
	}
	for {
		e, more := s.daemon.Events(after)
		if e.Events == nil {
			e.Events = []Event{} // in JSON an empty list, not null
		}
		if len(e.Events) > 0 || wait != "true" {
			s.answer(w, http.StatusOK, e)
			return
		}
		select {
		case <-more:
		case <-r.Context().Done(): // the client has gone, or the daemon ends
			s.fail(w, Errorf(Unavailable, "baton ends"))
			return
		}
	}
}
