// Package docs_test holds the documentation to the code: what it shows must be accepted, what it links must exist, and
// what it explains must be said by the program.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"baton/internal/config"
)

// pages are the Markdown files of the repository, as seen from this folder.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"../README.md", "../CHANGELOG.md"}
	for folder, least := range map[string]int{"*.md": 6, "guides/*.md": 13} {
		here, err := filepath.Glob(folder)
		if err != nil || len(here) < least {
			t.Fatalf("%d pages in docs/%s, err %v", len(here), folder, err)
		}
		all = append(all, here...)
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block is a fenced block of a page.
type block struct {
	language string
	line     int // of its first line
	text     string
}

func blocks(page string) []block {
	var all []block
	var now *block
	for i, line := range strings.Split(page, "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && now == nil:
			now = &block{language: language, line: i + 2}
		case fence:
			all = append(all, *now)
			now = nil
		case now != nil:
			now.text += line + "\n"
		}
	}
	return all
}

// badMark begins a block that shows mistakes.
const badMark = "# bad\n"

// Each YAML block is a whole configuration. It validates without a finding, or, where it is marked as bad, with an error.
func TestDocs_YAML(t *testing.T) {
	good, bad := 0, 0
	for _, page := range pages(t) {
		for _, b := range blocks(read(t, page)) {
			if b.language != "yaml" {
				continue
			}
			path := filepath.Join(t.TempDir(), "baton.yaml")
			if err := os.WriteFile(path, []byte(b.text), 0o644); err != nil {
				t.Fatal(err)
			}
			report := config.Validate(path)
			if strings.HasPrefix(b.text, badMark) {
				bad++
				if report.Errors() == 0 {
					t.Errorf("%s:%d: is marked as bad and has no error", page, b.line)
				}
				continue
			}
			good++
			if len(report.Diagnostics) > 0 {
				var findings strings.Builder
				_, _ = report.WriteTo(&findings)
				t.Errorf("%s:%d:\n%s", page, b.line, findings.String())
			}
		}
	}
	if good < 10 || bad == 0 {
		t.Errorf("%d good blocks and %d bad ones: are they found?", good, bad)
	}
}

// The template for Heat is YAML, it writes the file of its page, and what it refers to is there.
func TestDocs_Heat(t *testing.T) {
	var template struct {
		Parameters, Resources map[string]yaml.Node
	}
	var text, file string
	for _, b := range blocks(read(t, "guides/heat.md")) {
		switch b.language {
		case "hot":
			text = b.text
		case "yaml":
			file = b.text
		}
	}
	if err := yaml.Unmarshal([]byte(text), &template); err != nil || len(template.Resources) < 5 {
		t.Fatalf("%d resources, err %v", len(template.Resources), err)
	}
	for word, known := range map[string]map[string]yaml.Node{"get_param": template.Parameters, "get_resource": template.Resources, `get_attr`: template.Resources} {
		for _, m := range regexp.MustCompile(word+`: \[?([a-z0-9_]+)`).FindAllStringSubmatch(text, -1) {
			if _, ok := known[m[1]]; !ok {
				t.Errorf("%s: there is no %s", word, m[1])
			}
		}
	}
	// From the checks on they are the same, but for comments and what a parameter says.
	comment := regexp.MustCompile(` *#.*`)
	_, within, _ := strings.Cut(file, "checks:")
	within = strings.ReplaceAll(comment.ReplaceAllString(within, ""), "192.168.10.100", "VIRTUAL")
	if !strings.Contains(strings.ReplaceAll(text, "\n                  ", "\n"), "checks:"+within) {
		t.Errorf("the template does not write the file of the page:\n%s", within)
	}
}

// A block that begins as an example file does is that file.
func TestDocs_Examples(t *testing.T) {
	files, err := filepath.Glob("../configs/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string]string{} // by the first line
	for _, f := range files {
		text := read(t, f)
		first, _, _ := strings.Cut(text, "\n")
		examples[first] = text
	}
	found := 0
	for _, page := range pages(t) {
		for _, b := range blocks(read(t, page)) {
			first, _, _ := strings.Cut(b.text, "\n")
			text, begins := examples[first]
			if !begins {
				continue
			}
			found++
			if b.text != text {
				t.Errorf("%s:%d: begins as an example file, and goes on otherwise", page, b.line)
			}
		}
	}
	if found < 2 {
		t.Errorf("%d examples: are they found?", found)
	}
}

var (
	linked  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	code    = regexp.MustCompile("`[^`\n]*`")
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
)

// prose is a page without its blocks.
func prose(page string) string {
	var b strings.Builder
	within := false
	for _, line := range strings.Split(page, "\n") {
		if strings.HasPrefix(line, "```") {
			within = !within
		} else if !within {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// No merge has left its marks.
func TestDocs_Merged(t *testing.T) {
	mark := regexp.MustCompile(`(?m)^(<<<<<<<|=======|>>>>>>>)( .*)?$`)
	for _, page := range pages(t) {
		if m := mark.FindString(read(t, page)); m != "" {
			t.Errorf("%s: %s", page, m)
		}
	}
}

// anchor is the name that a heading's link has.
func anchor(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(strings.TrimSpace(heading)) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Each relative link leads to a file, and to a heading of it where it names one.
func TestDocs_Links(t *testing.T) {
	links := 0
	for _, page := range pages(t) {
		for _, m := range linked.FindAllStringSubmatch(code.ReplaceAllString(prose(read(t, page)), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			path, name, _ := strings.Cut(m[1], "#")
			target := filepath.Join(filepath.Dir(page), path)
			if path == "" {
				target = page
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: %v", page, m[1], err)
				continue
			}
			if name == "" {
				continue
			}
			text := prose(read(t, target))
			headings := heading.FindAllStringSubmatch(text, -1)
			if !strings.Contains(text, `<a id="`+name+`">`) && !slices.ContainsFunc(headings, func(h []string) bool { return anchor(h[1]) == name }) {
				t.Errorf("%s: %s: there is no such heading", page, m[1])
			}
		}
	}
	if links < 20 {
		t.Errorf("%d links: are they found?", links)
	}
}

// literals are the texts in the code that is no test.
func literals(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	eachFile(t, func(_ string, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if text, err := strconv.Unquote(l.Value); err == nil {
					all[text] = true
				}
			}
			return true
		})
	})
	return all
}

// eachFile visits the code that is no test.
func eachFile(t *testing.T, visit func(path string, file *ast.File)) {
	t.Helper()
	for _, folder := range []string{"../internal", "../vip", "../vrrp", "../health", "../cmd"} {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			visit(path, file)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	variable = regexp.MustCompile("`BATON_([A-Z_]+)`")
)

// logged are the messages of level info and above that the program can log: the
// first text of each call of Info, Warn and Error, and what else is called a message.
func logged(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{"packet refused": true, "hook ran": true, "hook failed": true, "check changed": true} // their level varies
	eachFile(t, func(path string, file *ast.File) {
		if strings.Contains(path, "/lab/") || strings.Contains(path, "/demo/") || strings.Contains(path, "/trial/") {
			return // no part of the daemon
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"Info", "Warn", "Error"}, method.Sel.Name) {
				return true
			}
			if l, ok := call.Args[0].(*ast.BasicLit); ok && l.Kind == token.STRING {
				if text, err := strconv.Unquote(l.Value); err == nil {
					all[text] = true
				}
			}
			return true
		})
	})
	return all
}

// The log messages that logs.md explains are those of the program, and it explains
// all of them.
func TestDocs_LogMessages(t *testing.T) {
	said, wanted := literals(t), logged(t)
	if len(wanted) < 100 {
		t.Errorf("%d messages in the program: are they found?", len(wanted))
	}
	within := false
	for _, line := range strings.Split(read(t, "logs.md"), "\n") {
		switch {
		case strings.HasPrefix(line, "| Message |"):
			within = true
		case line == "":
			within = false
		case within && strings.HasPrefix(line, "| `"):
			first, _, _ := strings.Cut(line[2:], " | ")
			for _, m := range quoted.FindAllStringSubmatch(first, -1) {
				delete(wanted, m[1])
				if !said[m[1]] {
					t.Errorf("logs.md: %q is said nowhere", m[1])
				}
			}
		}
	}
	for _, message := range slices.Sorted(maps.Keys(wanted)) {
		t.Errorf("logs.md does not explain %q", message)
	}
}

// The variables that hooks.md lists are those that hooks get.
func TestDocs_HookEnvironment(t *testing.T) {
	said := literals(t)
	names := variable.FindAllStringSubmatch(read(t, "hooks.md"), -1)
	if len(names) < 13 {
		t.Errorf("%d variables: are they found?", len(names))
	}
	for _, m := range names {
		if !said[m[1]] {
			t.Errorf("hooks.md: no hook gets BATON_%s", m[1])
		}
	}
}

// No page has the marks of a merge that was not finished.
func TestDocs_MergeMarks(t *testing.T) {
	mark := regexp.MustCompile(`(?m)^(<<<<<<<|=======|>>>>>>>).*`)
	for _, page := range pages(t) {
		if m := mark.FindString(read(t, page)); m != "" {
			t.Errorf("%s has %q", page, m)
		}
	}
}
