package control

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// Events returns the events that are kept and have a greater number than after, the
// oldest first. With wait it returns when there are some; only ctx bounds that. A
// daemon that is started anew counts from 1 again.
func (c *Client) Events(ctx context.Context, after uint64, wait bool) ([]Event, error) {
	q := url.Values{"after": {strconv.FormatUint(after, 10)}}
	var list []Event
	if !wait {
		err := c.ask(ctx, http.MethodGet, "/v1/events?"+q.Encode(), nil, &list)
		return list, err
	}
	q.Set("wait", "true")
	err := c.do(ctx, http.MethodGet, "/v1/events?"+q.Encode(), nil, &list)
	return list, err
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
		select {
		case s.waits <- struct{}{}:
			defer func() { <-s.waits }()
		default:
			s.fail(w, Errorf(Unavailable, "%d others wait already", maxWaits))
			return
		}
	}
	for {
		list, more := s.daemon.Events(after)
		if list == nil {
			list = []Event{} // in JSON an empty list, not null
		}
		if len(list) > 0 || wait != "true" {
			s.answer(w, http.StatusOK, list)
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
