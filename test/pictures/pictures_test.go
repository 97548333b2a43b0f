package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"baton/internal/lab"
	"baton/test/site"
)

// images is where the pictures are.
const images = "../../docs/images"

// fault is what is wrong with a picture; empty: nothing.
func fault(picture []byte) string {
	d := xml.NewDecoder(strings.NewReader(string(picture)))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err.Error()
		}
		if e, ok := token.(xml.StartElement); ok && (e.Name.Local == "script" || e.Name.Local == "image") {
			return "has a " + e.Name.Local
		}
	}
	text := string(picture)
	for _, m := range regexp.MustCompile(`font(?:-size)?: ?(?:\d+ )?(\d+)px`).FindAllStringSubmatch(text, -1) {
		if size, _ := strconv.Atoi(m[1]); size < 13 {
			return "has letters of " + m[1] + " px"
		}
	}
	for _, m := range regexp.MustCompile(` x[12]?="(-?[\d.]+)"`).FindAllStringSubmatch(text, -1) {
		if x, err := strconv.ParseFloat(m[1], 64); err != nil || x < 0 || x > width {
			return "goes beyond its edge: " + m[1]
		}
	}
	for _, want := range []string{"<title", "<desc", "prefers-color-scheme: dark", `viewBox="0 0 800 `} {
		if !strings.Contains(text, want) {
			return "has no " + want
		}
	}
	return ""
}

// The pictures of the documentation are whole, can be read at 800 pixels, and are dark where the reader is.
func TestPictures(t *testing.T) {
	names := []string{"roles.svg"}
	for _, s := range scenes {
		names = append(names, s.name+".svg")
	}
	for _, name := range names {
		picture, err := os.ReadFile(filepath.Join(images, name))
		if err != nil {
			t.Fatal(err)
		}
		if f := fault(picture); f != "" {
			t.Errorf("%s %s", name, f)
		}
		if name == "roles.svg" && string(picture) != string(roles()) {
			t.Errorf("%s is not what is drawn now: make pictures", name)
		}
	}
	all, err := filepath.Glob(filepath.Join(images, "*"))
	if err != nil || len(all) != len(names) {
		t.Errorf("%d pictures are there, err %v, and %d are drawn", len(all), err, len(names))
	}
}

func TestFault(t *testing.T) {
	good := string(roles())
	for name, bad := range map[string]string{
		"no end":        strings.Replace(good, "</svg>", "", 1),
		"small letters": strings.Replace(good, "13px", "9px", 1),
		"a wide box":    strings.Replace(good, `x="20.0"`, `x="2000.0"`, 1),
		"no dark":       strings.Replace(good, "prefers-color-scheme", "prefers", 1),
		"a script":      strings.Replace(good, "<title", "<script/><title", 1),
	} {
		if fault([]byte(bad)) == "" {
			t.Errorf("%s is nothing", name)
		}
	}
}

// What a timeline shows is what happened.
func TestTimeline(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	after := func(ms int) time.Time { return at.Add(time.Duration(ms) * time.Millisecond) }
	r := run{
		kind: "baton", version: "baton 1.2.3", from: after(-500), at: at, asked: 2500, verdict: 100 * time.Millisecond,
		spans: []site.Span{{From: after(-500), To: after(600), Hosts: []string{"a"}}, {From: after(600), To: after(602), Hosts: []string{"a", "b"}}, {From: after(602), To: after(2000), Hosts: []string{"b"}}},
		words: map[string][]word{"a": {{leaves: true}}, "b": {{at: 600 * time.Millisecond}, {at: 601 * time.Millisecond, announce: true}}},
		lost:  []lab.Window{{From: after(100), To: after(150), Lost: 50}},
	}
	picture := timeline(scenes[0], []run{r, r})
	if f := fault(picture); f != "" {
		t.Errorf("it %s", f)
	}
	for what, n := range map[string]int{
		"b has it after 0.60 s; 50 of 2500 questions lost</text>": 2,
		`<rect class="a"`:        4, // both spans of both runs
		`<rect class="b"`:        4,
		`<rect class="lost"`:     3, // and in the legend
		`<path class="leaves"`:   3,
		`<path class="announce"`: 3,
		"the check says no":      2,
		"baton 1.2.3 and baton 1.2.3; advertisements each 1s, priorities 150 and 100": 1,
	} {
		if got := strings.Count(string(picture), what); got != n {
			t.Errorf("%q is there %d times, want %d", what, got, n)
		}
	}
	r.lost = nil
	if !strings.Contains(string(timeline(scenes[0], []run{r})), `class="wellText"`) {
		t.Error("nothing lost is not well")
	}
}
