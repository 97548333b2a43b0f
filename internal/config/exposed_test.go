package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every file that this node reads is asked about, and a bad one is a mistake where it is named. Another node's files are its
// own matter.
func TestLoad_Exposed(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"baton.yaml": `include: conf.d/*.yaml
nodes: {a: 10.0.0.1, b: 10.0.0.2}
virtual_routers:
  web:
    interface: eth0
    vrid: 51
    prefer: a
    addresses: [10.0.0.100/24]
    authentication: {type: hmac, keys: {1: one.key}, send: 1}
`,
		"conf.d/more.yaml": "checks: {c: {type: command, command: /bin/true, environment_file: c.env}}\ndefaults: {virtual_router: {track: {c: report}}}\n",
		"one.key":          "hex:" + strings.Repeat("ab", 32) + "\n",
		"c.env":            "A=b\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var asked []string
	load := func(bad string) string {
		asked = nil
		cfg, report := Load(filepath.Join(dir, "baton.yaml"), Options{Node: "a", Exposed: func(path string) (string, string) {
			name := strings.TrimPrefix(path, dir+"/")
			asked = append(asked, name)
			if name == bad {
				return name + " is writable by everybody", "chmod o-w " + name
			}
			return "", ""
		}})
		if (cfg == nil) != (report.Errors() > 0) {
			t.Errorf("%s: configuration %v with %d errors", bad, cfg, report.Errors())
		}
		var b strings.Builder
		for _, d := range report.Diagnostics {
			if d.Severity == Error {
				b.WriteString(strings.TrimPrefix(d.File, dir+"/") + ":" + itoa(d.Line) + ": " + d.Message + "; " + d.Hint + "\n")
			}
		}
		return b.String()
	}
	for bad, want := range map[string]string{
		"":                 "",
		"baton.yaml":       "baton.yaml:0: baton.yaml is writable by everybody; chmod o-w baton.yaml\n",
		"conf.d/more.yaml": "baton.yaml:1: conf.d/more.yaml is writable by everybody; chmod o-w conf.d/more.yaml\n",
		"one.key":          "baton.yaml:9: one.key is writable by everybody; chmod o-w one.key\n",
		"c.env":            "conf.d/more.yaml:1: c.env is writable by everybody; chmod o-w c.env\n",
	} {
		if diff := cmp.Diff(want, load(bad)); diff != "" {
			t.Errorf("%q is bad: (-want +got)\n%s", bad, diff)
		}
		for _, name := range []string{"baton.yaml", "conf.d/more.yaml", "one.key", "c.env"} {
			if !strings.Contains(" "+strings.Join(asked, " ")+" ", " "+name+" ") {
				t.Errorf("%q is bad: nobody asked about %s, only %v", bad, name, asked)
			}
		}
	}
}
