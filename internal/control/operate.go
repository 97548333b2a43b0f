package control

import (
	"context"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What an operator orders of a node: to be in standby, to hand a role over, to take
// one. Each answer comes when it is done. An order stands though who gave it goes away.

// The bounds of a standby that ends by itself.
const (
	ShortestStandby = time.Second
	LongestStandby  = 365 * 24 * time.Hour
)

// OrderKind is what is ordered.
type OrderKind string

// The orders.
const (
	StandbyOrder  OrderKind = "standby"  // out of the election, until Resume or for a while
	ResumeOrder   OrderKind = "resume"   // ends that
	FailoverOrder OrderKind = "failover" // a master gives the role away, and is a backup then
	TakeoverOrder OrderKind = "takeover" // a backup takes the role from a master that loses to it
	ClearOrder    OrderKind = "clear"    // ends the hold of retry_after
	AnnounceOrder OrderKind = "announce" // announces the addresses again
)

// Order is what an operator asks for.
type Order struct {
	Kind    OrderKind     `json:"-"`
	Routers []string      `json:"routers,omitempty"` // standby and resume: of these routers and groups; none: of the node. Else one
	For     time.Duration `json:"for,omitempty"`     // standby: nanoseconds, ShortestStandby to LongestStandby; 0: until it is resumed
	Reason  string        `json:"reason,omitempty"`  // standby: one line of at most 200 bytes
	Force   bool          `json:"force,omitempty"`   // standby: also where nobody takes over
	By      string        `json:"-"`                 // the user
}

// Result is what came of an order.
type Result struct {
	Node     string    `json:"node"`
	Outcomes []Outcome `json:"outcomes"`          // of each router or group that it was about, by name
	Standby  *Standby  `json:"standby,omitempty"` // standby: what holds now
	Unsaved  string    `json:"unsaved,omitempty"` // standby and resume: why it is forgotten when baton is started anew
}

// Outcome is what came of an order for one router or group.
type Outcome struct {
	Router    string        `json:"router"`
	Interface string        `json:"interface,omitempty"` // its links, with commas between them
	From      string        `json:"from"`                // the role before
	To        string        `json:"to"`                  // and after it
	OK        bool          `json:"ok"`                  // it is as it was wished
	Text      string        `json:"text"`                // what happened, in one sentence
	Master    string        `json:"master,omitempty"`    // who has the role after it, as far as was heard
	Heard     time.Duration `json:"heard,omitempty"`     // how long after this node said that it leaves the successor was heard, nanoseconds
	Held      time.Duration `json:"held,omitempty"`      // and how long the addresses were kept, nanoseconds
	Stopped   time.Duration `json:"stopped,omitempty"`   // how long the services took to stop, nanoseconds
	Addresses int           `json:"addresses,omitempty"` // announce: how many
}

// Order has the daemon carry out an order, and returns what came of it. Only ctx
// bounds the wait; its end does not undo the order.
func (c *Client) Order(ctx context.Context, o Order) (Result, error) {
	path := "/v1/" + string(o.Kind)
	var body any = o
	if o.Kind != StandbyOrder && o.Kind != ResumeOrder {
		path = "/v1/routers/" + escape(strings.Join(o.Routers, "")) + "/" + string(o.Kind)
		body = nil
	}
	var r Result
	err := c.do(ctx, http.MethodPost, path, body, &r)
	return r, err
}

// registerOrders adds the requests of this file.
func (s *Server) registerOrders(mux *routes) {
	for _, kind := range []OrderKind{StandbyOrder, ResumeOrder} {
		mux.HandleFunc("POST /v1/"+string(kind), func(w http.ResponseWriter, r *http.Request) {
			var o Order
			if err := read(r, &o); err != nil {
				s.fail(w, err)
				return
			}
			o.Kind = kind
			s.order(w, r, o)
		})
	}
	for _, kind := range []OrderKind{FailoverOrder, TakeoverOrder, ClearOrder, AnnounceOrder} {
		mux.HandleFunc("POST /v1/routers/{name}/"+string(kind), func(w http.ResponseWriter, r *http.Request) {
			s.order(w, r, Order{Kind: kind, Routers: []string{r.PathValue("name")}})
		})
	}
}

// order carries out an order, and answers when it is done.
func (s *Server) order(w http.ResponseWriter, r *http.Request, o Order) {
	if err := o.validate(); err != nil {
		s.fail(w, err)
		return
	}
	status := s.daemon.Status()
	for _, name := range o.Routers {
		if _, err := status.Find(name); err != nil {
			s.fail(w, err)
			return
		}
	}
	if !s.mayWait(w) {
		return
	}
	defer s.waited()
	o.By = userOf(r.Context())
	result, err := s.daemon.Order(r.Context(), o)
	if err != nil {
		s.fail(w, err)
		return
	}
	if result.Outcomes == nil {
		result.Outcomes = []Outcome{} // in JSON an empty list, not null
	}
	s.answer(w, http.StatusOK, result)
}

// validate says what is wrong with an order, but for the names in it.
func (o Order) validate() error {
	switch {
	case o.Kind == ResumeOrder && (o.For != 0 || o.Reason != "" || o.Force):
		return Errorf(BadRequest, "resume has routers, and nothing else")
	case o.For != 0 && (o.For < ShortestStandby || o.For > LongestStandby):
		return Errorf(BadRequest, "%s is not in %s to %s", o.For, ShortestStandby, LongestStandby)
	case len(o.Reason) > maxReason:
		return Errorf(BadRequest, "the reason has %d bytes, at most %d are kept", len(o.Reason), maxReason)
	case !utf8.ValidString(o.Reason) || strings.ContainsFunc(o.Reason, func(r rune) bool { return !unicode.IsPrint(r) }):
		return Errorf(BadRequest, "the reason %q has characters that do not print", o.Reason)
	}
	return nil
}
