package test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A step is one thing that a page has its reader do, or see. Its line is that of the page.
type step struct {
	line int
	// A command, on a machine (empty: on both nodes), and what the page shows of its output; nil: nothing.
	command, on string
	shows       []string
	// A file that the reader writes, on both nodes; added to what is there, or in place of it.
	file, text string
	adds       bool
	// Lines that the terminal of a node shows meanwhile.
	terminal string
	lines    []string
}

var (
	prompt = regexp.MustCompile(`^(lb1|lb2|client|)[#$] (.*)$`)
	// placed is the end of the sentence before a block that is a file.
	placed = regexp.MustCompile("(Add to )?`(/[^`]+)`[^`]*:$")
)

// steps reads the blocks of a page: `console` has commands behind their prompts, and what they print; `text lb1` is in
// the terminal of lb1; any other, behind a sentence that names its place, is a file.
func steps(page string) ([]step, error) {
	var all []step
	lines := strings.Split(page, "\n")
	before := "" // the last line of prose
	for i := 0; i < len(lines); i++ {
		info, fence := strings.CutPrefix(lines[i], "```")
		if !fence {
			if strings.TrimSpace(lines[i]) != "" {
				before = lines[i]
			}
			continue
		}
		first := i + 1
		for i++; i < len(lines) && lines[i] != "```"; i++ {
		}
		if i == len(lines) {
			return nil, fmt.Errorf("line %d: the block has no end", first)
		}
		body := lines[first:i]
		switch language, node, _ := strings.Cut(info, " "); {
		case language == "console":
			commands, err := commandsOf(body, first+1)
			if err != nil {
				return nil, err
			}
			all = append(all, commands...)
		case node != "":
			all = append(all, step{line: first + 1, terminal: node, lines: body})
		default:
			if m := placed.FindStringSubmatch(before); m != nil {
				all = append(all, step{line: first + 1, file: m[2], text: strings.Join(body, "\n") + "\n", adds: m[1] != ""})
			}
		}
		before = ""
	}
	return all, nil
}

// commandsOf reads a block of commands. A comment behind one is the reader's.
func commandsOf(body []string, line int) ([]step, error) {
	var all []step
	for i, text := range body {
		if m := prompt.FindStringSubmatch(text); m != nil {
			command, _, _ := strings.Cut(m[2], "    # ")
			all = append(all, step{line: line + i, on: m[1], command: strings.TrimSpace(command)})
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("line %d: output of no command", line+i)
		}
		last := &all[len(all)-1]
		last.shows = append(last.shows, text)
	}
	return all, nil
}

// variable are the parts of an output that differ from run to run, and what else may stand in their place.
var variable = []struct{ is, may string }{
	{`\d\d:\d\d:\d\d\.\d{3}`, `\d\d:\d\d:\d\d\.\d{3}`},
	{`\b(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?(?:ms|µs|sec|s|m|h|d)\b`, `(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?(?:ms|µs|sec|s|m|h|d)`},
	{`\b(?:pid|PID) \d+\b`, `(?:pid|PID) \d+`},
	{`\b[0-9a-f]{8}\b`, `[0-9a-f]{8}`},
	{` +`, ` +`}, // columns are as wide as their widest cell
}

var (
	alternatives = func() *regexp.Regexp {
		var is []string
		for _, v := range variable {
			is = append(is, "("+v.is+")")
		}
		return regexp.MustCompile(strings.Join(append(is, `(\.\.\.)`), "|"))
	}()
)

// like is the expression of a line that a page shows. Times, process numbers and hashes may be others, spaces more or
// fewer, and `...` is any text.
func like(shown string) *regexp.Regexp {
	var b strings.Builder
	rest := strings.TrimRight(shown, " ")
	for rest != "" {
		m := alternatives.FindStringSubmatchIndex(rest)
		if m == nil {
			break
		}
		b.WriteString(regexp.QuoteMeta(rest[:m[0]]))
		for i := range variable {
			if m[2*i+2] >= 0 {
				b.WriteString(variable[i].may)
			}
		}
		if m[2*len(variable)+2] >= 0 {
			b.WriteString(`.*`)
		}
		rest = rest[m[1]:]
	}
	b.WriteString(regexp.QuoteMeta(rest))
	return regexp.MustCompile(b.String())
}

// differs tells how an output differs from what a page shows, line by line; empty: it does not. A line of `...` alone
// is any number of lines.
func differs(shows []string, output string) string {
	got := strings.Split(strings.TrimRight(output, "\n"), "\n")
	at, free := 0, false
	for _, line := range shows {
		if strings.TrimSpace(line) == "..." {
			free = true
			continue
		}
		whole := regexp.MustCompile("^" + like(line).String() + `\s*$`)
		next := slices.IndexFunc(got[at:], whole.MatchString)
		if next < 0 || next > 0 && !free {
			return fmt.Sprintf("the page shows %q, and the output is, from its line %d on:\n%s", line, at+1, strings.Join(got[at:], "\n"))
		}
		at, free = at+next+1, false
	}
	if rest := strings.Join(got[at:], "\n"); !free && strings.TrimSpace(rest) != "" {
		return fmt.Sprintf("the page does not show:\n%s", rest)
	}
	return ""
}

func TestDiffers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, shows, output string
		same                bool
	}{
		{"equal", "a\nb", "a\nb\n", true},
		{"another word", "a\nb", "a\nc\n", false},
		{"one more line", "a", "a\nb\n", false},
		{"one line fewer", "a\nb", "a\n", false},
		{"nothing", "a", "", false},
		{"a line left out", "a\nc", "a\nb\nc\n", false},
		{"lines left out", "a\n...\nc", "a\nb\nb\nc\n", true},
		{"no lines left out", "a\n...\nc", "a\nc\n", true},
		{"the rest left out", "a\n...", "a\nb\n", true},
		{"the beginning left out", "...\nb", "a\nb\n", true},
		{"left out, and what follows is missing", "a\n...\nc", "a\nb\n", false},
		{"text left out", "to ... end", "to the end\n", true},
		{"text left out, and another end", "to ... end", "to the top\n", false},
		{"another time", "for 3.219s", "for 12ms\n", true},
		{"no time", "for 3.219s", "for ever\n", false},
		{"another time of day", "14:02:07.412  a", "01:00:00.000  a\n", true},
		{"another number of a process", "pid 12, not stopping", "pid 4711, not stopping\n", true},
		{"no number of a process", "pid 12, not stopping", "pid none, not stopping\n", false},
		{"another number", "priority 200", "priority 190\n", false},
		{"another hash", "hash 3f9a2c17", "hash 01234567\n", true},
		{"no hash", "hash 3f9a2c17", "hash 0123456\n", false},
		{"other columns", "web  MASTER  1s", "web     MASTER 12d\n", true},
		{"no columns", "web  MASTER", "webMASTER\n", false},
		{"a word more at the end", "exit 0", "exit 0 not\n", false},
		{"a word more at the beginning", "exit 0", "no exit 0\n", false},
		{"what an expression means is no expression", "a.c", "abc\n", false},
	}
	for _, tt := range tests {
		if got := differs(strings.Split(tt.shows, "\n"), tt.output); (got == "") != tt.same {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

func TestSteps(t *testing.T) {
	t.Parallel()
	got, err := steps("Add to `/etc/a.cfg`:\n\n```\nx\n```\n\n`/etc/b`, on both:\n\n```yaml\ny\n```\n\nSo:\n\n```yaml\nz\n```\n\n" +
		"```console\n# one    # a comment\nout\nlb1# two\nclient$ three\n```\n\n```text lb2\nsaid\n```\n")
	must(t, err)
	want := []step{
		{line: 4, file: "/etc/a.cfg", text: "x\n", adds: true},
		{line: 10, file: "/etc/b", text: "y\n"},
		{line: 20, command: "one", shows: []string{"out"}},
		{line: 22, command: "two", on: "lb1"},
		{line: 23, command: "three", on: "client"},
		{line: 27, terminal: "lb2", lines: []string{"said"}},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("\n%v, want\n%v", got, want)
	}
	for _, bad := range []string{"```console\nout\n```\n", "```console\n# one\n"} {
		if _, err := steps(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// pageSteps reads the steps of a page of the documentation.
func pageSteps(t *testing.T, path string) []step {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	all, err := steps(string(text))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return all
}
