package config

import (
	"slices"
	"strings"
)

func (w *walk) allCheck(f fields, c *Check) {
	c.Combination = w.combination(f)
	c.Combination.Least = len(c.Combination.Of)
}

func (w *walk) anyCheck(f fields, c *Check) {
	c.Combination = w.combination(f)
	c.Combination.Least = 1
}

func (w *walk) atLeastCheck(f fields, c *Check) {
	c.Combination = w.combination(f)
	f.require("count", "count: 2")
	if n := f.scalar("count"); n != nil {
		most := len(w.members(f.raw("of")))
		if most == 0 { // which has been said
			most = 1000
		}
		c.Combination.Least = f.number("count", 1, most)
	}
}

// combination reads which checks one is made of.
func (w *walk) combination(f fields) *Combination {
	c := &Combination{}
	n := f.get("of")
	if n == nil {
		return c
	}
	if n.kind != list {
		hint := "of: [CHECK, CHECK]"
		if n.kind == scalar {
			hint = "of: [" + short(n.text) + "]"
		}
		w.errorAt(n.place, n.path, hint, "is %s, want a list of checks", n.kind)
		return c
	}
	if len(n.items) == 0 {
		w.errorAt(n.place, n.path, "of: [CHECK, CHECK]", "names no check")
	}
	for _, item := range n.items {
		switch {
		case item.kind != scalar:
			w.errorAt(item.place, n.path, "", "is %s, want the name of a check", item.kind)
		case w.checkNode[item.text] == nil:
			w.errorAt(item.place, n.path, didYouMean(item.text, w.checks), "there is no check %q", short(item.text))
		case slices.Contains(c.Of, item.text):
			w.errorAt(item.place, n.path, "", "%q stands here twice", item.text)
		default:
			c.Of = append(c.Of, item.text)
		}
	}
	return c
}

// members returns the items of a list that name something.
func (w *walk) members(of *node) (all []*node) {
	if of == nil {
		return nil
	}
	for _, item := range of.items {
		if item.kind == scalar {
			all = append(all, item)
		}
	}
	return all
}

// membersOf returns the checks that one is made of, each of them there; none of what is no combination. It asks the tree: whoever
// wants a check does so before checks are read.
func (w *walk) membersOf(name string) []*node {
	n := w.checkNode[name]
	if n == nil {
		return nil
	}
	switch typeOf(n, w.checkDefaults.child("type")) {
	case AllCheck, AnyCheck, AtLeastCheck:
	default:
		return nil
	}
	of := n.child("of")
	if of == nil {
		of = w.checkDefaults.child("of")
	}
	return slices.DeleteFunc(w.members(of), func(m *node) bool { return w.checkNode[m.text] == nil })
}

// lintCycles reports checks that are made of themselves, each cycle once.
func (w *walk) lintCycles(checks *node) {
	if checks == nil {
		return
	}
	done := map[string]bool{}
	var way []string // from one that was looked at first, each made of the next
	var look func(name string)
	look = func(name string) {
		if done[name] {
			return
		}
		way = append(way, name)
		for _, m := range w.membersOf(name) {
			if i := slices.Index(way, m.text); i >= 0 {
				w.errorAt(m.place, m.path, "take one of them out", "a check cannot be made of itself: %s", short(strings.Join(append(slices.Clone(way[i:]), m.text), ", ")))
				continue
			}
			look(m.text)
		}
		way = way[:len(way)-1]
		done[name] = true
	}
	for _, e := range checks.entries {
		look(e.key.text)
	}
}
