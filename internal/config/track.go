package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EffectKind says what a failing check does to a router.
type EffectKind uint8

// The effects.
const (
	Fault      EffectKind = iota // holds the router in FAULT
	Weight                       // changes the priority
	ReportOnly                   // is only shown
)

func (e EffectKind) String() string {
	switch e {
	case Fault:
		return "fault"
	case Weight:
		return "weight"
	case ReportOnly:
		return "report"
	}
	return fmt.Sprintf("effect %d", uint8(e))
}

// When says in which role of the router a check has its effect.
type When uint8

// The roles in which an effect counts.
const (
	Always When = iota
	Master      // while it is master
	Backup      // in every other role
)

func (w When) String() string {
	switch w {
	case Always:
		return "always"
	case Master:
		return "master"
	case Backup:
		return "backup"
	}
	return fmt.Sprintf("when %d", uint8(w))
}

// Track ties a check to a router.
type Track struct {
	Check  string
	Effect EffectKind
	Weight int // -253 to -1: added while the check fails; 1 to 253: added while it passes; 0 unless Effect is Weight
	When   When
	Grace  time.Duration // a failure does not count so long after the role began
}

// tracked is an entry of track before the defaults' and the router's are put together.
type tracked struct {
	Track
	none bool  // takes a default out
	name place // of the check's name
	at   *node // the effect
}

// track merges the defaults' entries and the router's, and tells where each effect stands.
func (rr *routerReader) track(f fields) ([]Track, map[string]*node) {
	all := rr.trackEntries(f.fallback["track"])
	for _, t := range rr.trackEntries(f.own["track"]) {
		i := slices.IndexFunc(all, func(o tracked) bool { return o.Check == t.Check })
		switch {
		case i >= 0:
			all[i] = t
		case t.none:
			rr.warnAt(t.at.place, t.at.path, "", `"none" takes out nothing: the defaults do not track %s`, t.Check)
		default:
			all = append(all, t)
		}
	}
	var track []Track
	at := map[string]*node{}
	for _, t := range all {
		if !t.none {
			track = append(track, t.Track)
			at[t.Check] = t.at
			rr.pull(rr.trackedBy, t.Check)
		}
	}
	return track, at
}

// want has a check run on this node, and those that it is made of.
func (w *walk) want(name string) {
	w.pull(w.trackedBy, name)
	w.pull(w.wanted, name)
}

func (w *walk) pull(into map[string]bool, name string) {
	if into[name] {
		return
	}
	into[name] = true
	for _, member := range w.membersOf(name) {
		w.pull(into, member.text)
	}
}

func (rr *routerReader) trackEntries(n *node) []tracked {
	w := rr.walk
	var all []tracked
	add := func(name, value *node) {
		if !slices.Contains(rr.checks, name.text) {
			hint := didYouMean(name.text, rr.checks)
			if len(rr.checks) == 0 {
				hint = "there are no checks"
			}
			w.errorAt(name.place, n.path, hint, "there is no check %q", short(name.text))
			return
		}
		if slices.ContainsFunc(all, func(o tracked) bool { return o.Check == name.text }) {
			w.errorAt(name.place, n.path, "", "%q stands here twice", name.text)
			return
		}
		t := tracked{Track: Track{Check: name.text}, name: name.place, at: name}
		if value != nil {
			t.at = value
			w.effect(&t, value)
		}
		all = append(all, t)
	}
	switch {
	case n == nil || n.kind == empty:
	case n.kind == list:
		for _, item := range n.items {
			if item.kind != scalar {
				w.errorAt(item.place, n.path, "for an effect write a mapping, without dashes: {CHECK: EFFECT}", "is %s, want the name of a check", item.kind)
				for _, e := range item.entries { // what was meant is clear
					add(e.key, e.value)
				}
				continue
			}
			add(item, nil)
		}
	case n.kind == mapping:
		for _, e := range n.entries {
			add(e.key, e.value)
		}
	default:
		w.errorAt(n.place, n.path, "track: ["+short(n.text)+"]", "is a single value, want a list of checks, or check: effect")
		add(n, nil)
	}
	return all
}

// effect reads what stands behind a check's name.
func (w *walk) effect(t *tracked, n *node) {
	f := fields{w: w, at: n.place, path: n.path, table: trackKeys, own: map[string]*node{"effect": n}}
	if n.kind == mapping {
		f = w.fields(n, n.place, trackKeys, "track")
	}
	switch f.oneOf("when", "always", "master", "backup") {
	case "master":
		t.When = Master
	case "backup":
		t.When = Backup
	}
	t.Grace = f.duration("grace", time.Millisecond, day, true)
	e := f.scalar("effect")
	if e == nil {
		return
	}
	t.at = e
	switch e.text {
	case "fault":
	case "report":
		t.Effect = ReportOnly
	case "none":
		t.none = true
	default:
		w.weight(t, e)
	}
	if g := f.get("grace"); g != nil && (t.Effect == ReportOnly || t.none) {
		w.warnAt(g.place, g.path, "", "a check without effect needs no grace")
	}
}

func (w *walk) weight(t *tracked, e *node) {
	words := []string{"fault", "report", "none"}
	v, wrong := parseNumber(e)
	switch {
	case wrong != "" && strings.Trim(e.text, "+-"+digits) != "":
		hint := "want fault, a number from -253 to 253, report or none"
		if near := nearest(e.text, words); near != "" {
			hint = "did you mean " + strconv.Quote(near) + "?"
		}
		w.errorAt(e.place, e.path, hint, "%s is no effect", quote(e.text))
	case wrong != "":
		w.errorAt(e.place, e.path, wrong, "%s is no effect", quote(e.text))
	case v == 0:
		w.errorAt(e.place, e.path, `keepalived's weight 0 is "fault"; "report" only shows the check`, "0 changes nothing")
	case v < -253 || v > 253:
		w.errorAt(e.place, e.path, `"fault" takes the router out of the election`, "%s is out of range: want -253 to 253", short(e.text))
	default:
		t.Effect, t.Weight = Weight, v
	}
}
