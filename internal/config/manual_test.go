package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each key says in sentences what it is for, and its example is one that an example file has.
func TestTables_Explained(t *testing.T) {
	paths, err := filepath.Glob("../../configs/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var configs strings.Builder
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		configs.Write(text)
	}
	examples := 0
	for _, table := range Tables() {
		if strings.HasPrefix(table.Name, "checks.NAME, type: ") && !strings.HasSuffix(table.About, ".") {
			t.Errorf("%s: when does it pass?", table.Name)
		}
		for _, k := range table.Keys {
			if !strings.HasSuffix(k.Does, ".") || strings.Contains(k.Does, "|") {
				t.Errorf("%s: %s says of itself %q", table.Name, k.Name, k.Does)
			}
			if strings.HasSuffix(k.Want, ".") {
				t.Errorf("%s: %s wants %q", table.Name, k.Name, k.Want)
			}
			if k.Example == "" {
				continue
			}
			examples++
			if !strings.Contains(configs.String(), k.Name+": "+k.Example) {
				t.Errorf("%s: no file in configs has %s: %s", table.Name, k.Name, k.Example)
			}
		}
	}
	if examples < 40 {
		t.Errorf("%d examples", examples)
	}
}
