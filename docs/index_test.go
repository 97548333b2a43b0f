package docs_test

import (
	"path/filepath"
	"testing"
)

// The index leads to every page.
func TestIndex(t *testing.T) {
	linksTo := map[string]bool{"README.md": true}
	for _, m := range linked.FindAllStringSubmatch(read(t, "README.md"), -1) {
		linksTo[m[1]] = true
	}
	here, err := filepath.Glob("*.md")
	if err != nil || len(here) < 20 {
		t.Fatalf("%d pages, err %v", len(here), err)
	}
	for _, page := range here {
		if !linksTo[page] {
			t.Errorf("README.md does not lead to %s", page)
		}
	}
}
