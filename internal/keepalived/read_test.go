package keepalived

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// outline shows blocks in the short form of the tables: one line each, words in
// double quotes where they were, what is in braces indented.
func outline(blocks []*Block) string {
	var b strings.Builder
	var write func(blocks []*Block, indent string)
	write = func(blocks []*Block, indent string) {
		for _, k := range blocks {
			b.WriteString(indent)
			for i, w := range k.Words {
				if i > 0 {
					b.WriteByte(' ')
				}
				if w.Quoted || w.Text == "" || strings.ContainsAny(w.Text, spaces) {
					b.WriteString(`"` + w.Text + `"`)
				} else {
					b.WriteString(w.Text)
				}
			}
			if k.Braces {
				b.WriteString(" {}")
			}
			b.WriteByte('\n')
			write(k.Children, indent+"  ")
		}
	}
	write(blocks, "")
	return b.String()
}

// findings shows a report, one line each, without the name of the file.
func findings(r Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		p := f.Pos
		p.File = filepath.Base(p.File)
		b.WriteString(strings.TrimPrefix(p.String(), "keepalived.conf:") + " " + f.Outcome.String() + ": " + f.What)
		if f.Text != "" {
			b.WriteString(": " + f.Text)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// files writes files into a folder of the test: name and text, one after the other.
func files(t *testing.T, texts ...string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for i := 0; i < len(texts); i += 2 {
		name := filepath.Join(folder, texts[i])
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(texts[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestRead_Blocks(t *testing.T) {
	tests := []struct {
		name   string
		text   string
		want   string
		report string
	}{
		{"empty", "", "", ""},
		{"blank lines and comments", "# a\n\n  ! b # c\n\t\r\n", "", ""},
		{"a block", "vrrp_instance A {\n  state MASTER # c\n  priority 100! d\n}\n", "vrrp_instance A {}\n  state MASTER\n  priority 100\n", ""},
		{"carriage returns", "vrrp_instance A {\r\n  priority 100\r\n}\r\n", "vrrp_instance A {}\n  priority 100\n", ""},
		{"braces on lines of their own", "vrrp_instance A\n\n{\nvirtual_ipaddress\n{\n10.0.0.1\n}\n}", "vrrp_instance A {}\n  virtual_ipaddress {}\n    10.0.0.1\n", ""},
		{"one line", "vrrp_instance A { priority 7 virtual_ipaddress { 10.0.0.1 } state BACKUP }", "vrrp_instance A {}\n  priority 7 virtual_ipaddress\n  10.0.0.1\nstate BACKUP\n",
			"1:48 ignored by keepalived: {: keepalived knows no block priority in vrrp_instance A: it reads what is in the braces as lines of vrrp_instance A, and their } as its end\n1:74 ignored by keepalived: }: it closes nothing\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(files(t, "keepalived.conf", tt.text), "keepalived.conf")
			f, err := Read(name, Options{ID: "host1"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, outline(f.Blocks)); diff != "" {
				t.Errorf("blocks (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.report, findings(f.Report)); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}
