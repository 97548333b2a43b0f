package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// No text makes the parser panic, and a report always says where.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/mistakes/*.yaml", "testdata/good/*.yaml", "../../configs/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatalf("%s: %d files, err %v", pattern, len(names), err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text, text[:len(text)/2])
		}
	}
	f.Fuzz(func(t *testing.T, main, included []byte) {
		if len(main)+len(included) > 1<<14 {
			t.Skip("long texts find nothing more")
		}
		d := disk{
			read: func(name string) ([]byte, error) {
				if strings.HasSuffix(name, "included.yaml") {
					return included, nil
				}
				return main, nil
			},
			glob: func(pattern string) ([]string, error) {
				_, err := filepath.Match(pattern, "")
				return []string{"included.yaml"}, err
			},
			secret: func(string) ([]byte, fs.FileMode, error) {
				if len(main)%2 == 0 {
					return nil, 0, errors.New("no secret")
				}
				return included, 0o600, nil
			},
		}
		c, report := load("main.yaml", someone("lb1"), d)
		if (c == nil) != (report.Errors() > 0) {
			t.Errorf("config %v with %d errors", c, report.Errors())
		}
		if _, err := report.WriteTo(io.Discard); err != nil {
			t.Error(err)
		}
		for _, d := range report.Diagnostics {
			if d.File == "" || d.Line < 1 || d.Column < 1 || d.Message == "" || strings.ContainsAny(d.Message+d.Path+d.Hint, "\n\x00\x1b") {
				t.Errorf("%+v", d)
			}
		}
		if c != nil {
			c.CheckHost(fakeHost{})
			if len(c.Routers) > 0 && (c.Routers[0].VRID == 0 || c.Routers[0].Priority == 0 || c.Routers[0].Interval == 0 || c.Routers[0].Version == 0 || c.Routers[0].Missed == 0) {
				t.Errorf("%+v", c.Routers[0])
			}
		}
		if again := validate("main.yaml", d); again.Errors() > report.Errors() {
			t.Errorf("validate finds more than load: %v", again.Diagnostics)
		}
	})
}
