package docs_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// From the symptoms one comes to each part of the log that has a message which asks for
// something: one of level warn or error.
func TestTroubleshooting_ReachesTheLog(t *testing.T) {
	guide := read(t, "troubleshooting.md")
	title, sections := "", map[string]int{}
	for line := range strings.Lines(read(t, "logs.md")) {
		if rest, ok := strings.CutPrefix(line, "## "); ok {
			title = strings.TrimSpace(rest)
		}
		if cells := strings.Split(line, " | "); title != "" && len(cells) == 3 && strings.HasPrefix(line, "| `") && regexp.MustCompile(`warn|error`).MatchString(cells[1]) {
			sections[title]++
		}
	}
	if len(sections) < 8 {
		t.Errorf("messages in %d parts of the log: are they found?", len(sections))
	}
	for title := range sections {
		if !strings.Contains(guide, "(logs.md#"+anchor(title)+")") {
			t.Errorf("troubleshooting.md leads nowhere to %q, which has %d messages", title, sections[title])
		}
	}
}

// The lines of the log that it shows are those of the program, and each symptom of the
// table has its section.
func TestTroubleshooting_Shows(t *testing.T) {
	said, shown := literals(t), 0
	page := read(t, "troubleshooting.md")
	for _, b := range blocks(page) {
		for _, m := range regexp.MustCompile(`msg="([^"]+)"`).FindAllStringSubmatch(b.text, -1) {
			shown++
			if !said[m[1]] {
				t.Errorf("troubleshooting.md:%d: %q is said nowhere", b.line, m[1])
			}
		}
	}
	if shown < 3 {
		t.Errorf("%d lines of the log: are they found?", shown)
	}
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^\| .* \| \[(.*)\]\(#.*\) \|$`).FindAllStringSubmatch(page, -1) {
		listed = append(listed, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(page, -1) {
		if !slices.Contains(listed, m[1]) {
			t.Errorf("troubleshooting.md: no line of the first table leads to %q", m[1])
		}
	}
	if len(listed) < 19 {
		t.Errorf("%d symptoms are listed", len(listed))
	}
}
