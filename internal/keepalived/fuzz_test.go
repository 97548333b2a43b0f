package keepalived

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"baton/internal/config"
)

// FuzzRead reads any text as a file, which may include itself and another: it ends in
// blocks whose words have places in the files, or in one error.
func FuzzRead(f *testing.F) {
	for _, texts := range oracleFiles {
		f.Add(texts[1], strings.Join(texts[2:], "\n"))
	}
	f.Add("include keepalived.conf\n", "")
	f.Add("$A=$B\n$B=$A\n$A\n", "")
	f.Add("$A=\\\n$A\\\n$A\n$A\n", "")
	f.Add("~SEQ(i,1,100000) $i\n", "")
	f.Add("{{{{}}}}", "virtual_server a { b { c } }")
	f.Add("include x\ninclude [a-z]*\ninclude {x,y}", "script \"a\\x4'b c'\" d\n")
	f.Add("a ${_RANDOM 1 2} ${_PWD} ${_ENV A} $_HASH", "include_check +read -match\nglobal_defs {\ninclude_check brace_match\nincludea {x,y}\n}")
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, main, other string) {
		for name, text := range map[string]string{"keepalived.conf": main, "x": other} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		file, err := Read(filepath.Join(folder, "keepalived.conf"), Options{ID: "host1"})
		if err != nil {
			if strings.Contains(err.Error(), "%!") {
				t.Errorf("error: %v", err)
			}
			return
		}
		checkBlocks(t, file.Blocks, 0)
		for _, x := range file.Report.Findings {
			if x.Pos.Line < 1 || x.Pos.Column < 1 || x.What == "" || (x.Text == "") != (x.Outcome == Converted) {
				t.Errorf("finding %+v", x)
			}
		}
	})
}

func checkBlocks(t *testing.T, blocks []*Block, depth int) {
	if depth > maxDepth {
		t.Fatalf("%d deep", depth)
	}
	for _, b := range blocks {
		if len(b.Words) == 0 {
			t.Fatal("a block without words")
		}
		for _, w := range b.Words {
			if w.Pos.File == "" || w.Pos.Line < 1 || w.Pos.Column < 1 {
				t.Fatalf("%q at %v", w.Text, w.Pos)
			}
		}
		checkBlocks(t, b.Children, depth+1)
	}
}

// FuzzConvert converts any two files, alone and as the files of two nodes: what comes
// of it is a configuration that baton takes, or one without routers, and each word is
// accounted for once.
func FuzzConvert(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*/*.conf")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("%d seeds, err %v", len(seeds), err)
	}
	whole, err := filepath.Glob("testdata/whole/*/*.conf")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range append(seeds, whole...) {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), strings.ReplaceAll(string(text), "priority 1", "priority 9"))
	}
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a)+len(b) > 1<<15 {
			return // what is large is FuzzRead's
		}
		for _, texts := range [][2]string{{a, b}, {b, a}} {
			var sources []Source
			for i, text := range texts {
				name := filepath.Join(folder, string(rune('a'+i)))
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				file, err := Read(name, Options{ID: filepath.Base(name)})
				if err != nil {
					return
				}
				d := Convert(file)
				for _, problem := range unaccounted(file.Blocks, d.Report) {
					t.Error(problem)
				}
				checkDocument(t, d)
				sources = append(sources, Source{Node: filepath.Base(name), Document: d})
			}
			checkDocument(t, Merge(sources))
		}
	})
}

func checkDocument(t *testing.T, d *Document) {
	t.Helper()
	var text, report bytes.Buffer
	if _, err := d.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	if err := d.Report.Write(&report, true); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text.Bytes(), []byte("\nvirtual_routers:")) {
		return
	}
	if check := config.ValidateText("baton.yaml", text.Bytes()); check.Errors() > 0 {
		var said bytes.Buffer
		_, _ = check.WriteTo(&said)
		t.Errorf("baton does not take it:\n%s\n%s", said.String(), text.String())
	}
}
