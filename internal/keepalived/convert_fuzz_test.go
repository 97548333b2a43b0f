package keepalived

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"baton/internal/config"
)

// FuzzConvert makes of any text a file that baton takes, or none, and accounts for
// each of its words.
func FuzzConvert(f *testing.F) {
	files, err := filepath.Glob("testdata/corpus/*.conf")
	if err != nil || len(files) == 0 {
		f.Fatalf("%d files, err %v", len(files), err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<14 || bytes.Contains([]byte(text), []byte("include")) { // no other files
			return
		}
		dir := t.TempDir()
		name := filepath.Join(dir, "keepalived.conf")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := Read(name, Options{ID: "lb1"})
		if err != nil {
			return
		}
		d := Convert(file)
		for _, problem := range unaccounted(file.Blocks, d.Report) {
			t.Error(problem)
		}
		var out bytes.Buffer
		if _, err := d.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(out.Bytes(), []byte("\nvirtual_routers:")) {
			return
		}
		yaml := filepath.Join(dir, "baton.yaml")
		if err := os.WriteFile(yaml, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if report := config.Validate(yaml); report.Errors() > 0 {
			t.Errorf("baton does not take it:\n%v\n%s", report, out.Bytes())
		}
	})
}
