package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"baton/internal/lab"
	"baton/test/site"
)

// scene is one way in which the role goes from a to b, and the part of it that is shown.
type scene struct {
	name, title, event string
	more               string        // of its conditions
	before, after      time.Duration // of the event
	do                 func(*stage) error
}

var scenes = []scene{
	{
		name: "handover-stop", title: "A planned stop: the daemon of a is told to end", event: "a is told to stop",
		before: 500 * time.Millisecond, after: 2 * time.Second, do: (*stage).stop,
	},
	{
		name: "handover-check", title: "A failed check: HAProxy ends on a", event: "HAProxy ends on a",
		more: "; a check each 1s takes 60 off", before: time.Second, after: 5 * time.Second, do: (*stage).fail,
	},
	{
		name: "handover-silence", title: "Silence: the cable of a is cut", event: "the cable of a is cut",
		before: time.Second, after: 5 * time.Second, do: (*stage).cut,
	},
}

// conditions are those of the run.
func (s scene) conditions(runs []run) string {
	var programs []string
	for _, r := range runs {
		programs = append(programs, r.version)
	}
	return fmt.Sprintf("%s; advertisements each %v, priorities %d and %d%s", strings.Join(programs, " and "), interval, priorityA, priorityB, s.more)
}

const (
	interval = time.Second
	// patience bounds every wait.
	patience = 30 * time.Second
	// answerWithin is how late an answer may be.
	answerWithin = 500 * time.Millisecond
)

// The priorities are those of the benchmarks; the backup's makes its skew 609 ms.
const priorityA, priorityB = 150, 100

var vip = site.Address(site.Addresses(1, false)[0])

// stage is a pair with HAProxy on both nodes, and a as the master.
type stage struct {
	site *site.Site
	a, b *site.Node
	web  *lab.Process // HAProxy on a
	// version is the program's.
	version string
}

// The check of both programs: does HAProxy answer? It notes when it did not for the first time.
const (
	check  = "/run/check"
	seen   = "/run/seen"
	script = "#!/bin/sh\ncurl -sf -o /dev/null -m 1 http://127.0.0.1/ && exit 0\n[ -e " + seen + " ] || date +%s%N >" + seen + "\nexit 1\n"
)

// version is in what a program says of itself; Go's, behind it, is another.
var version = regexp.MustCompile(`^\S+ v?(\d+\.\d+\.\d+)`)

// program is a kind with the version that is tried.
func program(kind site.Kind, binary string) (string, error) {
	argv := []string{"keepalived", "--version"}
	if kind == site.Baton {
		argv = []string{binary, "version"}
	}
	text, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", argv[0], err)
	}
	if m := version.FindStringSubmatch(string(text)); m != nil {
		return kind.String() + " " + m[1], nil
	}
	return kind.String(), nil // one that is under way
}

// set makes the stage, and waits until all is quiet.
func (s scene) set(dir string, kind site.Kind, binary string) (*stage, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	st := &stage{}
	var err error
	if st.version, err = program(kind, binary); err != nil {
		return nil, err
	}
	if st.site, err = site.New(dir, "a", "b"); err != nil {
		return nil, err
	}
	c := site.Pair(interval, site.Addresses(1, false)...)
	c.Routers[0].Priority = map[string]int{"a": priorityA, "b": priorityB}
	c.Routers[0].Track = []site.Effect{{Check: "haproxy", Weight: -60}}
	c.Checks = []site.Check{{Name: "haproxy", Command: check, Interval: time.Second, Rise: 1, Fall: 1}}
	for _, name := range []string{"a", "b"} {
		n, err := st.site.Add(name, kind, binary, c)
		if err != nil {
			return st, err
		}
		if err := os.WriteFile(n.Host.Path(check), []byte(script), 0o755); err != nil {
			return st, err
		}
		web, err := st.site.StartHAProxy(n)
		if err != nil {
			return st, err
		}
		if name == "a" {
			st.a, st.web = n, web
		} else {
			st.b = n
		}
	}
	if err := st.site.StartAll(); err != nil {
		return st, err
	}
	if err := st.site.Holders.Await("a", patience, vip); err != nil {
		return st, fmt.Errorf("%w\n%s", err, st.site.Report())
	}
	time.Sleep(7 * interval) // the second burst of announcements is over
	return st, nil
}

func (st *stage) stop() error { return st.a.Process.Signal(15) }

func (st *stage) cut() error { return st.a.Port.Cut() }

func (st *stage) fail() error { return st.web.Kill() }

// run is what happened, with times since the event.
type run struct {
	kind     string
	version  string // kind, and which
	spans    []site.Span
	words    map[string][]word // by node: what it said
	lost     []lab.Window
	asked    int
	verdict  time.Duration // when the check said no for the first time; 0: it did not
	from, at time.Time     // of the picture's left edge, and of the event
}

// word is an advertisement, or an announcement.
type word struct {
	at       time.Duration
	announce bool
	leaves   bool // an advertisement with priority 0
}

// record plays the scene, and notes what is to be seen of it.
func (st *stage) record(s scene) (run, error) {
	r := run{kind: st.a.Kind.String(), version: st.version, words: map[string][]word{}}
	if err := os.Remove(st.a.Host.Path(seen)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	p, err := st.site.Ask(site.Addresses(1, false)[0], 80, answerWithin)
	if err != nil {
		return r, err
	}
	time.Sleep(s.before + 100*time.Millisecond)
	r.at = time.Now()
	if err := s.do(st); err != nil {
		return r, err
	}
	time.Sleep(s.after + 100*time.Millisecond)
	to := r.at.Add(s.after)
	r.from = r.at.Add(-s.before)
	if _, err := p.Stop(); err != nil {
		return r, err
	}
	report := p.Between(r.from, to)
	r.lost, r.asked = report.Windows, report.Sent
	if r.spans, err = st.site.Holders.Spans(vip, r.from, to); err != nil {
		return r, err
	}
	if len(r.spans) < 2 {
		return r, fmt.Errorf("the address has not moved within %v\n%s", s.after, st.site.Report())
	}
	for _, name := range []string{"a", "b"} {
		for _, packet := range st.site.Wire(name).Since(r.from) {
			if !packet.Sent || packet.At.After(to) {
				continue
			}
			w := word{at: packet.At.Sub(r.at), announce: packet.Announces() == vip}
			if packet.Advert != nil {
				w.leaves = packet.Advert.Priority == 0
			} else if !w.announce {
				continue
			}
			r.words[name] = append(r.words[name], w)
		}
	}
	r.verdict, err = st.verdict(r.at)
	return r, err
}

// verdict is when the check on a said no, since a time.
func (st *stage) verdict(since time.Time) (time.Duration, error) {
	text, err := os.ReadFile(st.a.Host.Path(seen))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, err
	}
	return time.Unix(0, ns).Sub(since), nil
}
