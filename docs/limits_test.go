package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// numbers are the constants of a package that are numbers or times; times are in
// nanoseconds.
func numbers(t *testing.T, folder string) map[string]float64 {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]ast.Expr{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(folder, e.Name()), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			constants, ok := d.(*ast.GenDecl)
			if !ok || constants.Tok != token.CONST {
				continue
			}
			for _, s := range constants.Specs {
				spec := s.(*ast.ValueSpec)
				for i, name := range spec.Names {
					if i < len(spec.Values) {
						values[name.Name] = spec.Values[i]
					}
				}
			}
		}
	}
	all := map[string]float64{}
	for name, value := range values {
		if n, ok := number(values, value); ok {
			all[name] = n
		}
	}
	return all
}

// number is what an expression of constants comes to.
func number(values map[string]ast.Expr, e ast.Expr) (float64, bool) {
	units := map[string]time.Duration{"Nanosecond": 1, "Microsecond": time.Microsecond, "Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}
	switch e := e.(type) {
	case *ast.BasicLit:
		n, err := strconv.ParseInt(e.Value, 0, 64)
		return float64(n), err == nil
	case *ast.ParenExpr:
		return number(values, e.X)
	case *ast.Ident:
		value, ok := values[e.Name]
		if !ok {
			return 0, false
		}
		return number(values, value)
	case *ast.SelectorExpr:
		unit, ok := units[e.Sel.Name]
		return float64(unit), ok
	case *ast.BinaryExpr:
		x, ok := number(values, e.X)
		y, also := number(values, e.Y)
		if !ok || !also {
			return 0, false
		}
		switch e.Op {
		case token.MUL:
			return x * y, true
		case token.ADD:
			return x + y, true
		case token.SUB:
			return x - y, true
		case token.SHL:
			return float64(int64(x) << int64(y)), true
		}
	}
	return 0, false
}

// The limits that the page names are those of the code.
func TestLimits(t *testing.T) {
	units := map[string]float64{"": 1, "bytes": 1, "characters": 1, "KiB": 1 << 10, "MiB": 1 << 20,
		"ms": float64(time.Millisecond), "s": float64(time.Second), "min": float64(time.Minute), "d": float64(24 * time.Hour)}
	packages := map[string]map[string]float64{}
	rows := 0
	for _, m := range regexp.MustCompile("(?m)^\\| .* \\| ([0-9.]+) ?(\\w*) \\| `(\\S+) (\\w+)` \\|$").FindAllStringSubmatch(read(t, "limits.md"), -1) {
		rows++
		folder, name := m[3], m[4]
		if packages[folder] == nil {
			packages[folder] = numbers(t, filepath.Join("..", folder))
		}
		is, known := packages[folder][name]
		unit, understood := units[m[2]]
		says, err := strconv.ParseFloat(m[1], 64)
		switch {
		case !known:
			t.Errorf("%s has no number %s", folder, name)
		case !understood || err != nil:
			t.Errorf("%s: what is %q %q?", name, m[1], m[2])
		case says*unit != is:
			t.Errorf("%s of %s is %v, and limits.md says %s %s", name, folder, is, m[1], m[2])
		}
	}
	if page := read(t, "limits.md"); rows < 60 || rows != strings.Count(page, "` |\n") {
		t.Errorf("%d rows are understood, of %d", rows, strings.Count(page, "` |\n"))
	}
}
