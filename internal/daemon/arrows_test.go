package daemon

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrows is which packages of baton each package may import. What stands in
// nobody's list, such as this package, is imported by nobody. Test code may
// import what it likes; tests themselves live in test/ and in _test.go files.
var arrows = map[string][]string{
	"vrrp":                         {},
	"vrrp/vrrptest":                {"vrrp"},
	"vip":                          {},
	"health":                       {"internal/command", "internal/regular", "internal/service", "internal/tlsclient"},
	"internal/command":             {},
	"internal/link":                {},
	"internal/lab":                 {},
	"internal/config":              {"vrrp", "internal/tlsclient"},
	"internal/role":                {"internal/command", "internal/service"},
	"internal/service":             {"internal/command"},
	"internal/service/servicetest": {},
	"internal/control":             {"internal/regular", "internal/tlsclient"},
	"internal/demo":                {"internal/lab"},
	"internal/runner":              {"health", "internal/command", "internal/config", "internal/role", "internal/service"},
	"internal/command/commandtest": {"internal/command", "internal/trial"},
	"internal/statefile":           {"internal/control"},
	"internal/trial":               {},
	"internal/webhook":             {"internal/tlsclient"},
	"internal/record":              {"health", "vip", "internal/config"},
	"internal/regular":             {},
	"internal/tlsclient":           {"internal/regular"},
	"internal/daemon": {
		"vrrp", "vip", "health",
		"internal/command", "internal/config", "internal/control", "internal/link", "internal/record", "internal/role", "internal/runner", "internal/service",
		"internal/statefile", "internal/webhook",
	},
	"internal/keepalived": {"internal/config", "internal/regular"},
	"internal/doctor":     {"internal/config", "internal/control", "internal/link"},
	"cmd/baton":           {"internal/doctor", "internal/config", "internal/control", "internal/daemon", "internal/demo", "internal/keepalived", "internal/lab", "internal/runner", "internal/statefile"},
}

// pure is what vrrp may import of the standard library: nothing that reaches
// the system.
var pure = []string{
	"cmp", "container/heap", "crypto/hmac", "crypto/sha256", "crypto/subtle", "encoding/binary", "errors", "fmt", "hash",
	"iter", "maps", "math", "math/bits", "net/netip", "slices", "strings", "time",
}

// clock is what of package time vrrp must not use: it is told what time it is.
var clock = []string{
	"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until",
}

// source is a parsed file of baton that is no test.
type source struct {
	name string // relative to the module's root
	file *ast.File
}

func (s source) imports() []string {
	var all []string
	for _, i := range s.file.Imports {
		path, _ := strconv.Unquote(i.Path.Value) // the parser has accepted it
		all = append(all, path)
	}
	return all
}

// sources returns the files of each package, by its folder.
func sources(t *testing.T) map[string][]source {
	t.Helper()
	root := filepath.Join("..", "..")
	all := make(map[string][]source)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (name == "test" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && name != "."):
			return filepath.SkipDir
		case d.IsDir(), !strings.HasSuffix(name, ".go"), strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder := filepath.Dir(name)
		all[folder] = append(all[folder], source{name, file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestArrows(t *testing.T) {
	packages := sources(t)
	for _, folder := range slices.Sorted(maps.Keys(packages)) {
		allowed, known := arrows[folder]
		if !known {
			t.Errorf("package %s has no arrows yet: say here what of baton it may import", folder)
			continue
		}
		for _, s := range packages[folder] {
			for _, path := range s.imports() {
				if ours, ok := strings.CutPrefix(path, "baton/"); ok && !slices.Contains(allowed, ours) {
					t.Errorf("%s imports %s; package %s may import %q of baton", s.name, path, folder, allowed)
				}
			}
		}
	}
	for _, folder := range []string{"vrrp", "vip", "health", "internal/daemon", "cmd/baton"} {
		if len(packages[folder]) == 0 {
			t.Errorf("no files of %s were found: this test looks in the wrong place", folder)
		}
	}
}

func TestArrows_VRRPIsPureAndReadsNoClock(t *testing.T) {
	for _, s := range sources(t)["vrrp"] {
		for _, path := range s.imports() {
			if !slices.Contains(pure, path) {
				t.Errorf("%s imports %s, which may reach beyond arguments and results", s.name, path)
			}
		}
		for _, use := range uses(s.file, "time") {
			if slices.Contains(clock, use) {
				t.Errorf("%s uses time.%s", s.name, use)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if _, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s starts a goroutine", s.name)
			}
			return true
		})
	}
}

// uses returns what a file selects from a package.
func uses(file *ast.File, name string) []string {
	var all []string
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && fmt.Sprint(s.X) == name {
			all = append(all, s.Sel.Name)
		}
		return true
	})
	return all
}
