package keepalived

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Files that are put together of lines of the corpus, in any order and of any block,
// become something that baton takes, and each word of them is accounted for.
func TestConvert_Shuffled(t *testing.T) {
	lines := map[string][]*Block{} // by the keyword of the block that they stand in
	files, err := filepath.Glob("testdata/corpus/*.conf")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, err %v", len(files), err)
	}
	for _, name := range files {
		f, err := Read(name, Options{ID: "lb1"})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range f.Blocks {
			lines[b.Keyword()] = append(lines[b.Keyword()], b.Children...)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	some := func(keyword string, n int) (text string) {
		for range n {
			all := lines[keyword]
			text += written(all[r.IntN(len(all))], "    ")
		}
		return text
	}
	names := []string{"a", "b", "c", "wan", "lan", "on", "a b", "_x"}
	name := func() string { return `"` + names[r.IntN(len(names))] + `"` }
	for range 500 {
		text := "global_defs {\n" + some("global_defs", r.IntN(5)) + "}\n"
		for range 1 + r.IntN(4) {
			text += "vrrp_instance " + name() + " {\n interface eth" + itoa(r.IntN(3)) + "\n virtual_router_id " + itoa(1+r.IntN(4)) + "\n" + some("vrrp_instance", 2+r.IntN(12)) + "}\n"
		}
		for range r.IntN(3) {
			text += "vrrp_sync_group " + name() + " {\n group {\n " + name() + " " + name() + "\n }\n" + some("vrrp_sync_group", r.IntN(4)) + "}\n"
		}
		converts(t, text)
		if t.Failed() {
			t.Fatalf("of this file:\n%s", text)
		}
	}
}

// written is a block as one writes it.
func written(b *Block, indent string) string {
	var words []string
	for _, w := range b.Words {
		words = append(words, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w.Text)+`"`)
	}
	words[0] = b.Keyword()
	text := indent + strings.Join(words, " ")
	if !b.Braces {
		return text + "\n"
	}
	text += " {\n"
	for _, child := range b.Children {
		text += written(child, indent+"    ")
	}
	return text + indent + "}\n"
}

// converts tells whether baton takes what becomes of a text, and whether each word is
// accounted for.
func converts(t *testing.T, text string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Read(name, Options{ID: "lb1"})
	if err != nil {
		return
	}
	d := Convert(f)
	var out bytes.Buffer
	if _, err := d.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	loads(t, out.Bytes())
	for _, problem := range unaccounted(f.Blocks, d.Report) {
		t.Error(problem)
	}
}

func TestNameFor(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"VI_1", "VI_1"}, {"VI 1", "VI-1"}, {"on", "router-on"}, {"No", "router-No"}, {"default", "router-default"}, {"_x", "r_x"}, {"", "r"}, {"grün", "gr-n"},
		{strings.Repeat("x", 70), strings.Repeat("x", 63)},
	} {
		if got := nameFor(c.in); got != c.want {
			t.Errorf("nameFor(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestPrefix(t *testing.T) {
	type result struct {
		Prefix   string
		Fits, OK bool
	}
	for in, want := range map[string]result{
		"10.0.0.1":               {"10.0.0.1/32", true, true},
		"2001:db8::1":            {"2001:db8::1/128", true, true},
		"10.0.0.1/24":            {"10.0.0.1/24", true, true},
		"10.0.0.1/24,":           {"10.0.0.1/24", false, true}, // as keepalived's own dump shows it, and the next ones
		"10.0.0.1/":              {"10.0.0.1/0", false, true},
		"10.0.0.1/x":             {"10.0.0.1/0", false, true},
		"10.0.0.1/33":            {"10.0.0.1/32", false, true},
		"10.0.0.1/255.255.255.0": {"10.0.0.1/32", false, true},
		"fe80::1%eth0/64":        {"invalid Prefix", false, false},
		"web":                    {"invalid Prefix", false, false},
	} {
		p, fits, ok := prefix(in)
		if diff := cmp.Diff(want, result{p.String(), fits, ok}); diff != "" {
			t.Errorf("prefix(%q) (-want +got):\n%s", in, diff)
		}
	}
}

func TestParseSeconds(t *testing.T) {
	for in, want := range map[string]string{
		"1": "1s", "0.25": "250ms", "1.5": "1.5s", ".5": "500ms", "2.": "2s", "0.0000001": "0s", "1000000000": "", "1s": "", "": "", ".": "", "-1": "", "1e3": "",
	} {
		d, ok := parseSeconds(in)
		if got := map[bool]string{true: d.String()}[ok]; got != want {
			t.Errorf("parseSeconds(%q) = %q, want %q", in, got, want)
		}
	}
}
