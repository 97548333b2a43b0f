package main

import (
	"strings"
	"testing"
	"time"

	"baton/internal/control"
)

// Several routers are in standby until they are resumed.
func TestPrintStandby_Several(t *testing.T) {
	for want, routers := range map[string][]string{
		"web is in standby until it is resumed, over restarts. To end it: baton resume web\n":                  {"web"},
		"admin, web are in standby until they are resumed, over restarts. To end it: baton resume admin web\n": {"admin", "web"},
	} {
		r := control.Result{Node: "lb1", Standby: &control.Standby{}}
		for _, name := range routers {
			r.Outcomes = append(r.Outcomes, control.Outcome{Router: name, From: "BACKUP", To: "FAULT", OK: true, Text: "held out"})
		}
		var b strings.Builder
		if err := printStandby(&b, time.Time{}, control.Order{Kind: control.StandbyOrder, Routers: routers}, r); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(b.String(), want) {
			t.Errorf("got %q, want its end to be %q", b.String(), want)
		}
	}
}
