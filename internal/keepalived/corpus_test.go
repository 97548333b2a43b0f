package keepalived

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/internal/config"
)

var update = flag.Bool("update", false, "write the golden files of testdata")

// Each file of the corpus has its YAML and its report beside it. Each YAML is one that
// baton takes, and each word of the file is accounted for once.
func TestCorpus(t *testing.T) {
	t.Chdir("testdata/corpus")
	files, err := filepath.Glob("*.conf")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, err %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(name, ".conf"), func(t *testing.T) {
			f, err := Read(name, Options{ID: "lb1"})
			if err != nil {
				t.Fatal(err)
			}
			d := Convert(f)
			var text, report bytes.Buffer
			if _, err := d.WriteTo(&text); err != nil {
				t.Fatal(err)
			}
			if err := d.Report.Write(&report, true); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(name, ".conf")+".yaml", text.String())
			golden(t, strings.TrimSuffix(name, ".conf")+".report", report.String())
			loads(t, text.Bytes())
			for _, problem := range unaccounted(f.Blocks, d.Report) {
				t.Error(problem)
			}
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// loads tells whether baton takes a text. A file without routers is none of ours to
// judge.
func loads(t *testing.T, text []byte) {
	t.Helper()
	if !bytes.Contains(text, []byte("virtual_routers:")) {
		return
	}
	if check := config.ValidateText("baton.yaml", text); check.Errors() > 0 {
		t.Errorf("baton does not take it:\n%v\n%s", check, text)
	}
}

// unaccounted names the words that no finding, or more than one, accounts for. Those
// of a definition all stand where it is used.
func unaccounted(blocks []*Block, r Report) (problems []string) {
	times := map[Pos]int{}
	for _, p := range positions(blocks) {
		times[p]--
	}
	for _, f := range r.Findings {
		for _, p := range f.words {
			times[p]++
		}
	}
	for p, n := range times {
		if n != 0 {
			problems = append(problems, fmt.Sprintf("%v: words are accounted for %+d times too often", p, n))
		}
	}
	slices.Sort(problems)
	return problems
}
