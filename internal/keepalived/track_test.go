package keepalived

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What keepalived does to a priority, and what baton does, are the same: a check that
// is turned round passes while keepalived's fails.
func TestWeight_Effect(t *testing.T) {
	for _, w := range []weight{{0, false}, {0, true}, {20, false}, {20, true}, {-60, false}, {-60, true}, {253, true}, {-253, true}} {
		for _, up := range []bool{true, false} {
			keepalived, fault := 0, false
			switch sign := w.value; {
			case w.value == 0:
				fault = up == w.reverse
			case w.value > 0 && up, w.value < 0 && !up:
				if w.reverse {
					sign = -sign
				}
				keepalived = sign
			}
			value, inverted := w.effect()
			passes := up != inverted
			baton := 0
			if value > 0 && passes || value < 0 && !passes {
				baton = value
			}
			if baton != keepalived || (value == 0 && !passes) != fault {
				t.Errorf("%+v, up %v: baton adds %d, keepalived %d; FAULT %v, want %v", w, up, baton, keepalived, value == 0 && !passes, fault)
			}
		}
	}
}

// The check of a process that is turned round passes where the other fails.
func TestProcess_Inverted(t *testing.T) {
	for _, p := range []process{{least: 1, most: -1}, {least: 3, most: -1}, {least: 0, most: 0}, {least: 1, most: 1}, {least: 1, most: 5}, {least: 2, most: 5}} {
		for n := range 8 {
			want := !(n >= p.least && (p.most < 0 || n <= p.most))
			got := false
			for _, r := range p.outside() {
				least := r.least
				if r.most != 0 {
					least = max(least, 1) // as baton counts: none is never enough
				}
				got = got || n >= least && (r.most < 0 || n <= r.most)
			}
			if got != want {
				t.Errorf("%d to %d, %d run: passes %v, want %v", p.least, p.most, n, got, want)
			}
		}
	}
}

// So many answers take at least as long as keepalived waits, and hardly longer.
func TestProcess_Answers(t *testing.T) {
	for _, delays := range [][2]time.Duration{{0, 0}, {0, time.Second}, {250 * time.Millisecond, 2 * time.Second}, {time.Millisecond, time.Millisecond}, {0, time.Hour}, {10 * time.Millisecond, time.Hour}} {
		interval, rise, fall := process{forked: delays[0], finished: delays[1]}.answers()
		if interval < 50*time.Millisecond || max(rise, fall) > mostAnswers || min(rise, fall) < 1 {
			t.Errorf("%v: interval %v, rise %d, fall %d", delays, interval, rise, fall)
		}
		for i, n := range []int{rise, fall} {
			if waits := time.Duration(n-1) * interval; waits < delays[i] || waits >= delays[i]+interval {
				t.Errorf("%v: waits %v", delays[i], waits)
			}
		}
	}
}

// The command that asks whether a file has another number than 0 reads it as
// keepalived does.
func TestTrackFile_Zero(t *testing.T) {
	for text, fails := range map[string]bool{
		"-": false, // there is no file
		"":  false, "0": false, "0\n": false, "-0\n": false, "000\n": false, "0x0\n": false, "abc\n": false, "x1\n": false, "\n": false,
		"1": true, "5\n": true, "-3\n": true, "+7": true, "  4\n": true, "007\n": true, "0x1F\n": true, "10": true, "12 rest": true,
	} {
		path := filepath.Join(t.TempDir(), "a 'file'")
		if text != "-" {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, inverted := range []bool{false, true} {
			m := trackFile{path: path}.zero(inverted)
			var argv []string
			for _, n := range m.get("command").Content {
				argv = append(argv, strings.ReplaceAll(n.Value, "$$", "$"))
			}
			err := exec.Command(argv[0], argv[1:]...).Run()
			if (err != nil) != (fails != inverted) {
				t.Errorf("%q, inverted %v: %v", text, inverted, err)
			}
		}
	}
}

// The words of commands are those that keepalived's own dump shows.
func TestCommand(t *testing.T) {
	for line, want := range map[string]struct {
		argv    []string
		note    string // a piece of it
		problem string
	}{
		`/bin/true 'a b' "c d" e\ f x|y`: {argv: []string{"/bin/true", "a b", "c d", "e f", "x|y"}},
		`ps aux | grep x`:                {argv: []string{"ps", "aux", "|", "grep", "x"}, note: "| is an argument"},
		`a >/dev/null`:                   {argv: []string{"a", ">/dev/null"}, note: ">/dev/null is an argument"},
		`sh -c 'a | b; c'`:               {argv: []string{"sh", "-c", "a | b; c"}},
		`/bin/bash -lc 'a | b'`:          {argv: []string{"/bin/bash", "-lc", "a | b"}},
		`scripts/x -a`:                   {argv: []string{"/scripts/x", "-a"}, note: "relative"},
		`./x && y`:                       {argv: []string{"/x", "&&", "y"}, note: "a service; no shell"},
		`a ''`:                           {argv: []string{"a", ""}},
		``:                               {problem: "names no program"},
		`''`:                             {problem: "names no program"},
		`A=b c`:                          {problem: "A=b is the program's name"},
		`“a”`:                            {problem: "quotes"},
		`a 'b`:                           {problem: "quote"},
		"a\xff":                          {problem: "UTF-8"},
		`a \xff`:                         {problem: "no text"},
		`a \000`:                         {problem: "no text"},
	} {
		argv, note, problem := command(line)
		if diff := cmp.Diff(want.argv, argv); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
		for _, text := range [][2]string{{note, want.note}, {problem, want.problem}} {
			if !strings.Contains(text[0], text[1]) || text[1] == "" && text[0] != "" {
				t.Errorf("%s: %q, want %q", line, text[0], text[1])
			}
		}
	}
}

// Names are unique, also where many are mended to the same one.
func TestCheckName(t *testing.T) {
	c := &conversion{}
	c.readChecks(nil)
	long := strings.Repeat("x", 80)
	seen := map[string]bool{}
	for i := range 1000 {
		want := []string{"a+b", "a-b", "a-b-2", long, long + strconv.Itoa(i), "no", "-", ""}[i%8]
		name, _ := c.checkName(want)
		if seen[name] || len(name) > mostName || name == "" {
			t.Fatalf("%q gives %q", want, name)
		}
		seen[name] = true
	}
}
