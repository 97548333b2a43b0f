package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Each check that ships ready-made has the name of its file, and is silent where it is included and tracked.
func TestConfigs_ReadyMade(t *testing.T) {
	paths, err := filepath.Glob("../../configs/checks/*.yaml")
	if err != nil || len(paths) < 25 {
		t.Fatalf("%d files, err %v", len(paths), err)
	}
	secrets := t.TempDir()
	write(t, filepath.Join(secrets, "rabbitmq-password"), "secret\n", 0o400)
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			path, err := filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			main := filepath.Join(t.TempDir(), "baton.yaml")
			write(t, main, fmt.Sprintf(`include: [%s]
nodes: {c1: 172.20.1.11, c2: 172.20.1.12}
virtual_routers: {v: {interface: eth0, vrid: 51, prefer: c1, addresses: [172.20.1.10/24], track: {%s: fault}}}
`, path, name), 0o644)
			got := mustLoad(t, main, withSecrets("c2", secrets))
			if len(got.Checks) != 1 || got.Checks[0].Name != name {
				t.Fatalf("checks %+v, want one with the name of its file", got.Checks)
			}
			c := got.Checks[0]
			if c.HTTP != nil && !strings.HasPrefix(c.HTTP.URL, "http://172.20.1.12:") || c.Dialogue != nil && c.Type == TCPCheck && !strings.HasPrefix(c.Dialogue.Address, "172.20.1.12:") {
				t.Errorf("asks %+v %+v, want this node's address", c.HTTP, c.Dialogue)
			}
		})
	}
}
