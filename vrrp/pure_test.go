package vrrp_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport is all that the protocol needs. net/netip and time are for their
// values; which of time's functions may be used is said below.
var mayImport = []string{
	"cmp", "container/heap", "crypto/hmac", "crypto/sha256", "crypto/subtle", "encoding/binary", "fmt", "hash", "math", "net/netip",
	"slices", "strings", "time",
}

// TestPure holds what the package's documentation promises: no I/O, no
// goroutine, no clock.
func TestPure(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		files++
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range impurities(t, name, src) {
			t.Error(p)
		}
	}
	if files < 5 {
		t.Errorf("only %d files were read", files)
	}
}

// TestPure_Finds shows that each of these would be found.
func TestPure_Finds(t *testing.T) {
	for _, src := range []string{
		`package p; import "net"`,
		`package p; import "os"`,
		`package p; import "syscall"`,
		`package p; import "crypto/rand"`,
		`package p; import "time"; var _ = time.Now()`,
		`package p; import "time"; var _ = time.Since`,
		`package p; import "time"; func f() { <-time.After(1) }`,
		`package p; import clock "time"; func f() { clock.Sleep(1) }`,
		`package p; import "time"; var _ *time.Timer`,
		`package p; import . "time"`,
		`package p; func f() { go f() }`,
		`package p; var c chan int`,
		`package p; func f() { select {} }`,
		`package p; var state int`,
		`package p; import "baton/health"`,
	} {
		if len(impurities(t, "p.go", []byte(src))) == 0 {
			t.Errorf("nothing found in %s", src)
		}
	}
}

func impurities(t *testing.T, name string, src []byte) []string {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	report := func(p token.Pos, what string) { found = append(found, set.Position(p).String()+": "+what) }
	timeName := ""
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(mayImport, path) {
			report(i.Pos(), "imports "+path)
		}
		if i.Name != nil && i.Name.Name == "." {
			report(i.Pos(), "dot import of "+path)
		}
		if path == "time" {
			timeName = "time"
			if i.Name != nil {
				timeName = i.Name.Name
			}
		}
	}
	values := []string{"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
			for _, s := range g.Specs {
				for _, n := range s.(*ast.ValueSpec).Names {
					// Tables of words are constant in all but name.
					if n.Name != "_" && !strings.HasSuffix(n.Name, "Names") {
						report(n.Pos(), "package variable "+n.Name)
					}
				}
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			report(n.Pos(), "starts a goroutine")
		case *ast.ChanType, *ast.SelectStmt:
			report(n.Pos(), "uses a channel")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && timeName != "" && x.Name == timeName && !slices.Contains(values, n.Sel.Name) {
				report(n.Pos(), "uses time."+n.Sel.Name)
			}
		}
		return true
	})
	return found
}
