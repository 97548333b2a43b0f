package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const schemaFile = "../../configs/baton.schema.json"

// The file that ships is what the tables of keys make (`make golden` writes it).
func TestSchema_File(t *testing.T) {
	got, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(schemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("configs/baton.schema.json is not what Schema returns: make golden")
	}
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("baton.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("baton.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON is a YAML file as an editor hands it to a schema.
func asJSON(path string) (any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	return jsonValue(v), nil
}

func jsonValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = jsonValue(e)
		}
	case map[any]any:
		m := map[string]any{}
		for k, e := range v {
			m[fmt.Sprint(k)] = jsonValue(e)
		}
		return m
	case []any:
		for i, e := range v {
			v[i] = jsonValue(e)
		}
	}
	return v
}

// What the parser takes without a word, the schema takes.
func TestSchema_Good(t *testing.T) {
	s := compiledSchema(t)
	var files []string
	for _, glob := range []string{"testdata/good/*.yaml", "testdata/good/*/*.yaml", "../../configs/*.yaml", "../../configs/*/*.yaml"} {
		found, err := filepath.Glob(glob)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, err %v", glob, len(found), err)
		}
		files = append(files, found...)
	}
	for _, path := range files {
		v, err := asJSON(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Of the files with mistakes the schema refuses all but those listed, whose mistakes
// hang on other values, on other files, or on what a text says.
func TestSchema_Mistakes(t *testing.T) {
	s := compiledSchema(t)
	text, err := os.ReadFile("testdata/schema_blind")
	if err != nil && !*update {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/mistakes/*.yaml")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d files, err %v", len(files), err)
	}
	var blind []string
	for _, path := range files {
		golden, err := os.ReadFile(strings.TrimSuffix(path, ".yaml") + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		v, err := asJSON(path)
		refused := err != nil || s.Validate(v) != nil // YAML that is broken is refused by its reader
		switch {
		case !bytes.Contains(golden, []byte(": error: ")):
			if refused {
				t.Errorf("%s has nothing but warnings, and the schema refuses it: %v", path, s.Validate(v))
			}
		case !refused:
			blind = append(blind, name)
		}
	}
	if *update {
		if err := os.WriteFile("testdata/schema_blind", []byte(strings.Join(blind, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		text = []byte(strings.Join(blind, "\n"))
	}
	if want := strings.Fields(string(text)); !slices.Equal(blind, want) {
		t.Errorf("the schema does not see %v; testdata/schema_blind has %v", blind, want)
	}
}

// A want that speaks of a mapping or of several forms is one that the schema knows.
func TestSchema_Structured(t *testing.T) {
	var look func(where string, s *schema)
	look = func(where string, s *schema) {
		if s == nil {
			return
		}
		if strings.Contains(s.Description, "a mapping") && (s.Type == nil && s.AnyOf == nil && s.Ref == "" || s.Ref == "#/$defs/text") && !strings.HasPrefix(where, ".defaults.check.") {
			t.Errorf("%s wants %q, and the schema takes any text", where, s.Description)
		}
		for name, p := range s.Properties {
			look(where+"."+name, p)
		}
	}
	for name, table := range map[string]keys{
		"": topKeys, "virtual_router": routerKeys, "group": groupKeys, "service": serviceKeys, "webhook": webhookKeys,
	} {
		look(name, tableSchema(name, table))
	}
	for i, kind := range checkTypes()[1:] {
		look(kind.name, tableSchema(kind.name, CheckType(i+1).table()))
	}
}
