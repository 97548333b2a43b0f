package vrrp_test

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

// protocolItems is the number of rules in docs/protocol.md, section Conformance.
const protocolItems = 117

// TestProtocolTable holds docs/protocol.md to the tests: the items are all
// there, once and in order, each row names a test, and each test that a row
// names exists where it says.
func TestProtocolTable(t *testing.T) {
	doc, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (\d+) \| .+ \| .+ \| (.+) \|$`)
	test := regexp.MustCompile("(?:`([a-z/]+)` )?\\b((?:Test|Fuzz)[A-Z]\\w*)")
	defined := make(map[string]string) // package: source of its tests
	source := func(pkg string) string {
		if s, ok := defined[pkg]; ok {
			return s
		}
		var b strings.Builder
		files, err := fs.Glob(os.DirFS(".."), pkg+"/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			s, err := os.ReadFile("../" + f)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(s)
		}
		defined[pkg] = b.String()
		return defined[pkg]
	}
	rows := row.FindAllStringSubmatch(string(doc), -1)
	for i, r := range rows {
		if r[1] != fmt.Sprint(i+1) {
			t.Fatalf("row %d is item %s", i+1, r[1])
		}
		named := test.FindAllStringSubmatch(r[2], -1)
		if len(named) == 0 {
			t.Errorf("item %s: no test is named: %s", r[1], r[2])
		}
		for _, m := range named {
			pkg := m[1]
			if pkg == "" {
				pkg = "vrrp"
			}
			if !strings.Contains(source(pkg), "func "+m[2]+"(") {
				t.Errorf("item %s: there is no %s in %s", r[1], m[2], pkg)
			}
		}
	}
	if len(rows) != protocolItems {
		t.Errorf("%d rows, want %d", len(rows), protocolItems)
	}
}
