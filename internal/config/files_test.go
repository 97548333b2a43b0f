package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What was kept of a configuration gives the same one, whatever has become of its
// files meanwhile; only secrets are read anew.
func TestLoadFiles(t *testing.T) {
	dir := t.TempDir()
	main := filepath.Join(dir, "baton.yaml")
	text := `include: [conf.d/*.yaml]
virtual_routers:
  web: {interface: eth0, vrid: 51, addresses: [10.0.0.100/24], version: 2, authentication: {type: pass, password_file: secret}}
`
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("baton.yaml", text)
	write("conf.d/a.yaml", "virtual_routers: {db: {interface: eth0, vrid: 52, addresses: [10.0.0.101/24]}}\n")
	write("secret", "abc\n")
	before, report := Load(main, Options{})
	if before == nil {
		t.Fatal(report)
	}
	var names []string
	for _, f := range before.Files() {
		names = append(names, f.Name)
	}
	if diff := cmp.Diff([]string{main, filepath.Join(dir, "conf.d/a.yaml")}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}

	write("baton.yaml", "virtual_routers: {web: {vrid: 0}}\n")
	write("conf.d/a.yaml", "{")
	write("conf.d/b.yaml", "virtual_routers: {more: {interface: eth0, vrid: 53, addresses: [10.0.0.102/24]}}\n")
	write("secret", "xyz\n")
	after, report := LoadFiles(before.Files(), Options{})
	if after == nil {
		t.Fatal(report)
	}
	if after.Hash != before.Hash || len(after.Routers) != 2 || after.Path != main {
		t.Errorf("hash %s, want %s; %d routers; of %s", after.Hash, before.Hash, len(after.Routers), after.Path)
	}
	for _, r := range after.Routers {
		if r.Name == "web" && r.Password != "xyz" {
			t.Errorf("password %q", r.Password)
		}
	}
	if cfg, _ := LoadFiles(before.Files()[:1], Options{}); cfg != nil {
		t.Error("loaded without an included file")
	}
}
