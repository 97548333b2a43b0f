package config

import (
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "10ms": 10 * time.Millisecond, "1s": time.Second, "1.5s": 1500 * time.Millisecond, "0.01s": 10 * time.Millisecond, "40.95s": 40950 * time.Millisecond,
		"1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "1m0.5s": 60500 * time.Millisecond, "365d": 365 * day,
	} {
		got, problem, _ := parseDuration(text)
		if problem != "" || got != want {
			t.Errorf("%s: got %s, %q, want %s", text, got, problem, want)
		}
	}
	for _, text := range []string{
		"", "1", "010s", "s", "1x", "1 s", "-1s", "+1s", "1e3s", "1.s", ".5s", "1..5s", "1.5.2s", "30m1h", "1s1s", "1:30", "366d", "99999999999999999999s", "0.0000000001s", "1µs", "1s ",
	} {
		if got, problem, _ := parseDuration(text); problem == "" {
			t.Errorf("%q is read as %s", text, got)
		}
	}
	for text, want := range map[string]string{"366d": `"366d" is too long: at most 365d`, "10min": `"10min" is no duration: write 10m`} {
		if _, err := ParseDuration(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 1500 * time.Millisecond: "1.5s", 90 * time.Minute: "1h30m", 250 * time.Millisecond: "250ms", 40950 * time.Millisecond: "40.95s", day: "1d",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}

func TestEachVariable(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "plain": "plain", "5$": "5$", "$1": "$1", "$": "$", "$-$": "$-$",
		"$node": "<node>", "a$node,": "a<node>,", "$$node": "<$>node", "$$$node": "<$><node>", "${node}": "<{>node}",
		"$node.cluster:80": "<node.cluster>:80", "$master.": "<master>.", "$master.7": "<master>.7", "$previous_master.st-2-": "<previous_master.st-2>-",
		"$router.log": "<router>.log", "$role$role": "<role><role>", "ä$nodeä": "ä<node>ä",
	} {
		var b strings.Builder
		eachVariable(text, func(s string) { b.WriteString(s) }, func(name, network string, i int) {
			if []rune(text)[i] != '$' {
				t.Errorf("%s: no dollar sign at %d", text, i)
			}
			if network != "" {
				name += "." + network
			}
			b.WriteString("<" + name + ">")
		})
		if got := b.String(); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"prioritty": "priority", "PRIORITY": "priority", "pirority": "priority", "prio": "priority", "vird": "vrid", "x": "", "advertisment_interval": "advertisement_interval",
		"qwertz": "", strings.Repeat("priority", 20): "",
	} {
		if got := nearest(word, routerKeys.names()); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}

// The caret finds its character in every way to write a text.
func TestInside(t *testing.T) {
	for name, text := range map[string]string{
		"plain":   "a: /bin/ä x|y\n",
		"single":  "a: '/bin/ä ''x|y'\n",
		"double":  `a: "/bin/\u00e4 \"x|y"` + "\n",
		"literal": "a: |\n\n  /bin/ä x\n  |y\n",
		"flow":    "a: {b: /bin/ä x|y}\n",
	} {
		y, problem := parse([]byte(text))
		if problem != "" {
			t.Fatal(problem)
		}
		src := &source{lines: strings.Split(text, "\n")}
		n := (&builder{src, newCollector()}).node(y, "").entries[0].value
		if n.kind == mapping {
			n = n.entries[0].value
		}
		at := n.inside(len([]rune(n.text[:strings.Index(n.text, "|")])))
		if got := []rune(src.line(at.line)); at.column > len(got) || got[at.column-1] != '|' {
			t.Errorf("%s: %d:%d", name, at.line, at.column)
		}
	}
	// A folded text is no text of one line: its beginning has to do.
	y, _ := parse([]byte("a: >\n  x\n  |y\n"))
	n := (&builder{&source{lines: []string{"a: >", "  x", "  |y"}}, newCollector()}).node(y, "").entries[0].value
	if at := n.inside(2); at != n.place {
		t.Errorf("folded: %d:%d", at.line, at.column)
	}
}

func TestReport_LongLines(t *testing.T) {
	line := strings.Repeat("x", 400) + "\x1b[31m|" + strings.Repeat("y", 400)
	text, before := excerpt(line, 406)
	if strings.Contains(text, "\x1b") || len(text) > 180 {
		t.Errorf("%q", text)
	}
	if got := text[len(before)]; got != '|' {
		t.Errorf("the caret stands under %q of %q", got, text)
	}
	if _, before := excerpt("\ta|", 3); before != "\t " {
		t.Errorf("before the caret stands %q", before)
	}
}

func TestImmovable(t *testing.T) {
	nodes := []Node{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	for _, tc := range []struct {
		name       string
		priorities []uint8
		weights    []int
		movable    bool // the first of them
	}{
		{"one step", []uint8{200, 190, 180}, []int{-20}, true},
		{"too small", []uint8{200, 190, 180}, []int{-9}, false},
		{"only a tie", []uint8{200, 190, 180}, []int{-10}, false},
		{"one more than a tie", []uint8{200, 190, 180}, []int{-11}, true},
		{"two together", []uint8{200, 190, 180}, []int{-6, -5}, true},
		{"two together, a tie", []uint8{200, 190, 180}, []int{-5, -5}, false},
		{"between the last two", []uint8{200, 100, 99}, []int{-2}, true},
		{"added while it passes", []uint8{102, 100, 98}, []int{2}, false},
		{"added, enough", []uint8{102, 100, 98}, []int{3}, true},
		{"equal", []uint8{100, 100, 100}, []int{-1}, true},
		{"owner and two others", []uint8{255, 100, 90}, []int{-20}, true},
		{"capped", []uint8{254, 254, 254}, []int{10}, false},
		{"at the floor", []uint8{1, 1, 1}, []int{-10}, false},
	} {
		r := reading{Router: Router{Priorities: map[string]uint8{}}}
		for i, p := range tc.priorities {
			r.Priorities[nodes[i].Name] = p
		}
		for i, w := range tc.weights {
			r.Track = append(r.Track, Track{Check: string(rune('p' + i)), Effect: Weight, Weight: w})
		}
		if problem, _ := immovable(r.Track[0], r, nodes); (problem == "") != tc.movable {
			t.Errorf("%s: %q", tc.name, problem)
		}
	}
}
