package control

import (
	"net/http"
	"slices"
	"strings"
)

// Wait is what a client waits for.
type Wait struct {
	Router string   // the name of a virtual router or a group
	States []string // INIT, BACKUP, MASTER, FAULT: one of them
	Ready  bool     // and ready, which only a master can be
}

// wait answers when a router has one of the states, and is ready where that
// is asked.
func (s *Server) wait(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	want, err := parseWait(q.Get("router"), q.Get("state"), q.Get("ready"))
	if err != nil {
		s.fail(w, err)
		return
	}
	if !s.mayWait(w) {
		return
	}
	defer s.waited()
	for {
		changed := s.daemon.Changed()
		router, err := s.daemon.Status().Find(want.Router)
		switch {
		case err != nil:
			s.fail(w, err)
			return
		case want.met(router):
			s.answer(w, http.StatusOK, router)
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done(): // the client has gone, or the daemon ends
			s.fail(w, Errorf(Unavailable, "baton ends"))
			return
		}
	}
}

// mayWait takes one of the places for requests that last, and answers one that finds
// none. waited gives it back.
func (s *Server) mayWait(w http.ResponseWriter) bool {
	select {
	case s.waits <- struct{}{}:
		return true
	default:
		s.fail(w, Errorf(Unavailable, "%d others wait already", maxWaits))
		return false
	}
}

func (s *Server) waited() { <-s.waits }

// states are the roles that can be waited for.
var states = [...]string{"INIT", "BACKUP", "MASTER", "FAULT"}

// ParseStates reads a list of roles, in upper or lower case, with commas
// between them.
func ParseStates(list string) ([]string, error) {
	var all []string
	for word := range strings.SplitSeq(list, ",") {
		state := strings.ToUpper(strings.TrimSpace(word))
		if !slices.Contains(states[:], state) {
			return nil, Errorf(BadRequest, "there is no state %s: it is one of init, backup, master, fault", quote(word))
		}
		all = append(all, state)
	}
	return all, nil
}

func parseWait(router, list, ready string) (Wait, error) {
	want := Wait{Router: router, Ready: ready == "true"}
	if router == "" {
		return want, Errorf(BadRequest, "a router is missing")
	}
	if ready != "" && ready != "true" && ready != "false" {
		return want, Errorf(BadRequest, "ready is true or false, not %s", quote(ready))
	}
	var err error
	want.States, err = ParseStates(list)
	return want, err
}

func (want Wait) met(r Router) bool {
	return slices.Contains(want.States, r.Role) && (r.Ready || !want.Ready)
}

// Find returns the router or group of that name, and for a member its group,
// with which it shares the role. Its error is a NotFound.
func (s *Status) Find(name string) (Router, error) {
	var names []string
	for _, r := range s.Routers {
		if r.Name == name || slices.Contains(r.Members, name) {
			return r, nil
		}
		names = append(append(names, r.Name), r.Members...)
	}
	slices.Sort(names)
	return Router{}, &Error{Kind: NotFound, Text: "this node runs no virtual router and no group " + quote(name), Name: name, Known: names}
}
