package docs_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const monitoring = "../configs/monitoring/"

// metric is a family of the golden exposition.
type metric struct {
	kind   string
	labels map[string]bool
}

// exposed reads the golden exposition.
func exposed(t *testing.T) map[string]metric {
	t.Helper()
	all := map[string]metric{}
	family := ""
	for line := range strings.Lines(read(t, "../internal/control/testdata/metrics.golden")) {
		switch words := strings.Fields(line); {
		case strings.HasPrefix(line, "# TYPE "):
			family = words[2]
			all[family] = metric{words[3], map[string]bool{}}
		case !strings.HasPrefix(line, "#"):
			for _, m := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(line, -1) {
				if m[1] != "le" {
					all[family].labels[m[1]] = true
				}
			}
		}
	}
	if len(all) < 30 {
		t.Fatalf("%d metrics", len(all))
	}
	return all
}

// The table of the guide is the exposition.
func TestMonitoring_EveryMetricIsDocumented(t *testing.T) {
	metrics := exposed(t)
	for _, m := range regexp.MustCompile("(?m)^\\| `(baton_\\w+)` \\| (\\w+) \\| ([^|]*) \\| .+ \\|$").FindAllStringSubmatch(read(t, "monitoring.md"), -1) {
		is, known := metrics[m[1]]
		if !known {
			t.Errorf("%s does not exist, or stands there twice", m[1])
			continue
		}
		labels := strings.Fields(strings.ReplaceAll(m[3], "`", ""))
		if m[2] != is.kind || len(labels) != len(is.labels) || slices.ContainsFunc(labels, func(l string) bool { return !is.labels[l] }) {
			t.Errorf("%s is a %s with %v, documented as a %s with %v", m[1], is.kind, is.labels, m[2], labels)
		}
		delete(metrics, m[1])
	}
	for name := range metrics {
		t.Errorf("monitoring.md does not explain %s", name)
	}
}

// expressions are those of the alert rules and of the dashboard, by where they stand.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, monitoring+"baton.rules.yml")), &rules); err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			all["alert "+r.Alert] = r.Expr
		}
	}
	var dashboard any
	if err := json.Unmarshal([]byte(read(t, monitoring+"dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if title, ok := v["title"].(string); ok {
				at = title
			}
			for key, value := range v {
				if text, ok := value.(string); ok && (key == "expr" || key == "query") {
					all[fmt.Sprintf("dashboard %s %d", at, len(all))] = text
				}
				walk(at, value)
			}
		case []any:
			for _, value := range v {
				walk(at, value)
			}
		}
	}
	walk("", dashboard)
	return all
}

// What the rules and the dashboard ask for exists, and every metric of baton is
// asked for by one of them.
func TestMonitoring_RulesAndDashboard(t *testing.T) {
	metrics, used := exposed(t), map[string]bool{}
	find := func(name string) (string, metric, bool) {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			base := strings.TrimSuffix(name, suffix)
			if m, ok := metrics[base]; ok && (suffix == "" || m.kind == "histogram" && base != name) {
				return base, m, true
			}
		}
		return "", metric{}, false
	}
	all := expressions(t)
	if len(all) < 40 {
		t.Fatalf("%d expressions", len(all))
	}
	for at, text := range all {
		for _, m := range regexp.MustCompile(`(baton_\w+)(\{[^}]*\})?`).FindAllStringSubmatch(text, -1) {
			base, is, known := find(m[1])
			if !known {
				t.Errorf("%s: %s does not exist", at, m[1])
				continue
			}
			used[base] = true
			for _, l := range regexp.MustCompile(`(\w+)\s*(=|!=|=~|!~)\s*"`).FindAllStringSubmatch(m[2], -1) {
				if !is.labels[l[1]] && l[1] != "job" && l[1] != "instance" {
					t.Errorf("%s: %s has no label %s", at, m[1], l[1])
				}
			}
		}
	}
	for name := range metrics {
		if !used[name] && name != "baton_check_last_run_timestamp_seconds" {
			t.Errorf("nothing shows %s", name)
		}
	}
}

// Each alert is explained, and tells an operator what to do.
func TestMonitoring_AlertsAreDocumented(t *testing.T) {
	guide, rules := read(t, "monitoring.md"), read(t, monitoring+"baton.rules.yml")
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1)
	if n := strings.Count(rules, "description: "); n != len(alerts) || n != strings.Count(rules, "summary: ") || n != strings.Count(rules, "severity: ") {
		t.Errorf("%d alerts, %d descriptions", len(alerts), n)
	}
	for _, m := range alerts {
		if !strings.Contains(guide, "| `"+m[1]+"` |") {
			t.Errorf("monitoring.md does not explain %s", m[1])
		}
	}
	if n := strings.Count(guide, "| `Baton"); n != len(alerts) {
		t.Errorf("monitoring.md has %d alerts, there are %d", n, len(alerts))
	}
}

// promtool checks the rules, and tries them on sample series, where it is installed.
func TestMonitoring_Promtool(t *testing.T) {
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("no promtool here: TestMonitoring_RulesAndDashboard holds the rules to the metrics")
		return
	}
	for _, args := range [][]string{{"check", "rules", "baton.rules.yml"}, {"test", "rules", "baton.rules_test.yml"}} {
		c := exec.Command(path, args...)
		c.Dir = monitoring
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
