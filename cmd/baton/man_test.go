package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"baton/internal/config"
)

// roff reads a line that begins with a dot as an order: each is one that was meant.
func TestMan_Orders(t *testing.T) {
	known := regexp.MustCompile(`^(\.TH|\.SH|\.SS|\.PP|\.TP|\.B|\.nf|\.fi)( |$)`)
	for name, page := range map[string]string{"baton.8": commandsPage(newRoot()), "baton.yaml.5": languagePage()} {
		for line := range strings.Lines(page) {
			if (line[0] == '.' || line[0] == '\'') && !known.MatchString(strings.TrimSpace(line)) {
				t.Errorf("%s has the line %q", name, line)
			}
		}
	}
	if got, want := escape(".a-b\n'c\\"), "\\&.a\\-b\n\\&'c\\e"; got != want {
		t.Errorf("escaped: %q", got)
	}
}

// The manual has each key that the schema has, and says the same of it.
func TestMan_Keys(t *testing.T) {
	text, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	var tables []config.Key
	for _, table := range config.Tables() {
		tables = append(tables, table.Keys...)
	}
	keys := 0
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				look(e)
			}
		case map[string]any:
			properties, _ := v["properties"].(map[string]any)
			for name, p := range properties {
				want, _ := p.(map[string]any)["description"].(string)
				if want != "" && !slices.ContainsFunc(tables, func(k config.Key) bool { return k.Name == name && k.Want+". "+k.Does == want }) {
					t.Errorf("the manual has no key %s that is %q", name, want)
				}
				keys++
			}
			for _, e := range v {
				look(e)
			}
		}
	}
	look(schema)
	if keys < 150 {
		t.Errorf("%d keys in the schema", keys)
	}
}
