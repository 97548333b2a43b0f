package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"baton/test/site"
)

// Where things are: the times are between left and right, a row is this high.
const (
	left, right = 92.0, 784.0
	row         = 30.0
	block       = 150.0 // of one program
	top         = 92.0
)

// timeline draws a scene: for each program who held the address, what it said, and what the client met.
func timeline(s scene, runs []run) []byte {
	x := func(since time.Duration) float64 {
		return left + (right-left)*float64(since+s.before)/float64(s.before+s.after)
	}
	bottom := top + block*float64(len(runs))
	var words []string
	for _, r := range runs {
		words = append(words, r.kind+": "+r.summary())
	}
	p := begin(int(bottom)+58, s.title, strings.Join(words, "; "))
	p.text("title", "start", 16, 26, s.title)
	p.text("small", "start", 16, 45, s.conditions(runs))
	for at := -s.before.Truncate(500 * time.Millisecond); at <= s.after; at += 500 * time.Millisecond {
		p.line("grid", x(at), top-14, x(at), bottom)
		if at%time.Second == 0 || s.after < 3*time.Second {
			p.text("small", "middle", x(at), bottom+16, fmt.Sprintf("%g s", at.Seconds()))
		}
	}
	for i, r := range runs {
		r.draw(p, x, top+block*float64(i), s.after)
	}
	p.line("event", x(0), top-16, x(0), bottom)
	p.text("eventText", "start", x(0)+6, top-8, s.event)
	legend(p, bottom+42)
	return p.end()
}

// draw draws what happened to one program.
func (r run) draw(p *svg, x func(time.Duration) float64, y float64, after time.Duration) {
	p.text("name", "start", 16, y+14, r.kind)
	p.text(r.class(), "end", right, y+14, r.summary())
	for i, node := range []string{"a", "b"} {
		at := y + 26 + row*float64(i)
		p.text("", "start", 16, at+15, node+" holds it")
		for _, span := range r.spans {
			if slices.Contains(span.Hosts, node) {
				from, to := x(span.From.Sub(r.at)), x(span.To.Sub(r.at))
				p.rect(node, from, at+6, max(to-from, 1), 12)
			}
		}
		for _, w := range r.words[node] {
			px := x(w.at)
			switch {
			case w.leaves:
				p.path("leaves", fmt.Sprintf("M%.1f %.1fl-5 -8h10z", px, at+6))
			case w.announce:
				p.path("announce", fmt.Sprintf("M%.1f %.1fl-4 7h8z", px, at+18))
			default:
				p.line("advert", px, at, px, at+8)
			}
		}
	}
	at := y + 26 + 2*row
	p.text("", "start", 16, at+15, "client")
	p.rect("answered", left, at+6, x(after)-left, 12)
	for _, w := range r.lost {
		from, to := x(w.From.Sub(r.at)), x(w.To.Sub(r.at))
		p.rect("lost", from, at+6, max(to-from, 1), 12)
	}
	if r.verdict > 0 {
		p.line("event", x(r.verdict), y+24, x(r.verdict), at+20)
		p.text("eventText", "start", x(r.verdict)+6, at+34, "the check says no")
	}
}

func (r run) class() string {
	if r.missing() == 0 {
		return "wellText"
	}
	return "lostText"
}

func (r run) missing() int {
	n := 0
	for _, w := range r.lost {
		n += w.Lost
	}
	return n
}

// summary is the run in words.
func (r run) summary() string {
	taken := r.spans[slices.IndexFunc(r.spans, func(s site.Span) bool { return slices.Contains(s.Hosts, "b") })]
	return fmt.Sprintf("b has it after %.2f s; %d of %d questions lost", taken.From.Sub(r.at).Seconds(), r.missing(), r.asked)
}

// legend tells what the marks are.
func legend(p *svg, y float64) {
	x := 16.0
	for _, item := range []struct {
		mark func()
		text string
		wide float64
	}{
		{func() { p.line("advert", x+5, y-10, x+5, y-1) }, "advertisement", 108},
		{func() { p.path("leaves", fmt.Sprintf("M%.1f %.1fl-5 -8h10z", x+5, y-1)) }, "priority 0: it leaves", 148},
		{func() { p.path("announce", fmt.Sprintf("M%.1f %.1fl-4 7h8z", x+5, y-8)) }, "announcement (ARP)", 146},
		{func() { p.rect("answered", x, y-10, 10, 10) }, "answered", 80},
		{func() { p.rect("lost", x, y-10, 10, 10) }, "lost; a question each millisecond", 0},
	} {
		item.mark()
		p.text("small", "start", x+16, y, item.text)
		x += 16 + item.wide
	}
}
