package control

import (
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// documented is a request that docs/api.md explains, by its heading.
var documented = regexp.MustCompile("(?m)^### `((?:GET|POST|PUT|DELETE) /v1/[^`]*)`$")

func apiPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// Each request that there is has its heading in docs/api.md, "### `METHOD PATH`", and the page has no other.
func TestAPI_EveryRequestIsDocumented(t *testing.T) {
	var explained []string
	for _, m := range documented.FindAllStringSubmatch(apiPage(t), -1) {
		explained = append(explained, m[1])
	}
	there := NewServer(newFake(), Access{}, slog.New(slog.DiscardHandler)).routes().patterns
	for _, pattern := range there {
		if !slices.Contains(explained, pattern) {
			t.Errorf("docs/api.md does not explain %s: add a heading \"### `%s`\"", pattern, pattern)
		}
	}
	for _, pattern := range explained {
		if !slices.Contains(there, pattern) {
			t.Errorf("docs/api.md explains %s, which there is not", pattern)
		}
	}
}

// Each field of an answer and of a body, and each kind of an error, stands on the page.
func TestAPI_EveryFieldIsDocumented(t *testing.T) {
	page := apiPage(t)
	seen := make(map[reflect.Type]bool)
	var walk func(v reflect.Type)
	walk = func(v reflect.Type) {
		for v.Kind() == reflect.Slice || v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct || v == reflect.TypeFor[time.Time]() || seen[v] {
			return
		}
		seen[v] = true
		for i := range v.NumField() {
			f := v.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			if name == "" {
				t.Errorf("%s.%s has no name in JSON", v.Name(), f.Name)
			} else if !strings.Contains(page, "`"+name+"`") {
				t.Errorf("docs/api.md does not explain `%s` of %s", name, v.Name())
			}
			walk(f.Type)
		}
	}
	for _, v := range []any{Status{}, Cluster{}, Events{}, []Check{}, Result{}, LogLevel{}, Upgrade{}, Reload{}, reload{}, Error{}, Order{}, force{}, logLevel{}, upgrade{}} {
		walk(reflect.TypeOf(v))
	}
	if len(seen) < 20 {
		t.Errorf("%d types: are they found?", len(seen))
	}
	for _, k := range []Kind{NotFound, BadRequest, Forbidden, Refused, Mistaken, Unavailable, Failed} {
		if !strings.Contains(page, "| `"+string(k)+"` | ") {
			t.Errorf("docs/api.md does not explain the kind %s", k)
		}
	}
	for _, k := range []EventKind{RouterEvent, CheckEvent, HookEvent, ServiceEvent, AddressEvent, OperatorEvent, ConfigurationEvent, DaemonEvent} {
		if !strings.Contains(page, "`"+string(k)+"`") {
			t.Errorf("docs/api.md does not explain the kind of event %s", k)
		}
	}
}
