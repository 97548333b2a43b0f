package control

import (
	"context"
	"errors"
	"net/http"
	"os/user"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An order arrives as it was given, with the name of who gave it.
func TestOrder(t *testing.T) {
	d := newFake(Router{Name: "web"}, Router{Name: "a b"}, Router{Name: "edge", Group: true, Members: []string{"wan"}})
	want := Result{Node: "lb1", Outcomes: []Outcome{{Router: "web", From: "MASTER", To: "FAULT", OK: true, Text: "lb2 was heard", Heard: time.Second}},
		Standby: &Standby{Since: time.Unix(1e9, 0).UTC(), By: "root"}, Unsaved: "no space left on device"}
	d.order = func(context.Context, Order) (Result, error) { return want, nil }
	c := serve(t, d)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Order{
		{Kind: StandbyOrder},
		{Kind: StandbyOrder, Routers: []string{"web", "wan"}, For: 2 * time.Hour, Reason: "kernel update", Force: true},
		{Kind: ResumeOrder},
		{Kind: ResumeOrder, Routers: []string{"edge"}},
		{Kind: FailoverOrder, Routers: []string{"web"}},
		{Kind: TakeoverOrder, Routers: []string{"a b"}},
		{Kind: ClearOrder, Routers: []string{"edge"}},
		{Kind: AnnounceOrder, Routers: []string{"web"}},
	} {
		d.orders = nil
		got, err := c.Order(t.Context(), o)
		if err != nil {
			t.Errorf("%+v: %v", o, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		o.By = me.Username
		if diff := cmp.Diff([]Order{o}, d.orders); diff != "" {
			t.Error(diff)
		}
	}
}

func TestOrder_Refusals(t *testing.T) {
	d := newFake(Router{Name: "web"})
	d.order = func(_ context.Context, o Order) (Result, error) {
		return Result{}, Errorf(Refused, "web is MASTER here already")
	}
	c := serve(t, d)
	known := []string{"web"}
	for what, test := range map[string]struct {
		order Order
		want  *Error
	}{
		"unknown":     {Order{Kind: FailoverOrder, Routers: []string{"wbe"}}, &Error{Kind: NotFound, Text: `this node runs no virtual router and no group "wbe"`, Name: "wbe", Known: known}},
		"one unknown": {Order{Kind: StandbyOrder, Routers: []string{"web", "db"}}, &Error{Kind: NotFound, Text: `this node runs no virtual router and no group "db"`, Name: "db", Known: known}},
		"dots":        {Order{Kind: ClearOrder, Routers: []string{".."}}, &Error{Kind: NotFound, Text: `this node runs no virtual router and no group ".."`, Name: "..", Known: known}},
		"refused":     {Order{Kind: TakeoverOrder, Routers: []string{"web"}}, &Error{Kind: Refused, Text: "web is MASTER here already"}},
		"long":        {Order{Kind: StandbyOrder, For: 9000 * time.Hour}, &Error{Kind: BadRequest, Text: "9000h0m0s is not in 1s to 8760h0m0s"}},
		"negative":    {Order{Kind: StandbyOrder, For: -time.Hour}, &Error{Kind: BadRequest, Text: "-1h0m0s is not in 1s to 8760h0m0s"}},
		"long reason": {Order{Kind: StandbyOrder, Reason: strings.Repeat("x", 201)}, &Error{Kind: BadRequest, Text: "the reason has 201 bytes, at most 200 are kept"}},
		"lines":       {Order{Kind: StandbyOrder, Reason: "a\nb"}, &Error{Kind: BadRequest, Text: `the reason "a\nb" has characters that do not print`}},
		"resume for":  {Order{Kind: ResumeOrder, For: time.Hour}, &Error{Kind: BadRequest, Text: "resume has routers, and nothing else"}},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := c.Order(t.Context(), test.order)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, e); diff != "" {
				t.Error(diff)
			}
		})
	}
	if status, _ := c.request(t, http.MethodPost, "/v1/standby", `{"router": "web"}`); status != http.StatusBadRequest {
		t.Errorf("a misspelt key: status %d", status)
	}
}

// A client that goes away ends the wait, and the order is the daemon's matter.
func TestOrder_ClientGoes(t *testing.T) {
	d := newFake(Router{Name: "web"})
	begun, gone := make(chan struct{}), make(chan struct{})
	d.order = func(ctx context.Context, _ Order) (Result, error) {
		close(begun)
		<-ctx.Done()
		close(gone)
		return Result{}, Errorf(Unavailable, "baton ends")
	}
	c := serve(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if _, err := c.Order(ctx, Order{Kind: StandbyOrder}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-gone
}
