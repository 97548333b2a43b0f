package keepalived

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestRead_Refused holds what becomes of files that are none, or that have no end.
func TestRead_Refused(t *testing.T) {
	laughs := "$L0=x\n"
	for i := range 30 {
		laughs += fmt.Sprintf("$L%d=\\\n${L%d}\\\n${L%d}\n", i+1, i, i)
	}
	silent := "$S0=\n"
	for i := range 40 {
		silent += fmt.Sprintf("$S%d=${S%d}${S%d}\n", i+1, i, i)
	}
	var chain strings.Builder
	for i := range 200 {
		fmt.Fprintf(&chain, "$C%d=\\\na\\\n$C%d\\\nb\n", i, i+1)
	}
	many := "with its includes, definitions and sequences it has more than 200000 lines or 4194304 bytes: does something repeat itself?"
	tests := []struct {
		name  string
		files []string
		want  string // DIR is the folder
	}{
		{"missing", []string{"x", ""}, "stat DIR/keepalived.conf: no such file or directory"},
		{"a folder", []string{"keepalived.conf/x", ""}, "DIR/keepalived.conf is a folder, not a regular file"},
		{"binary", []string{"keepalived.conf", "a b\nc\x00d"}, "DIR/keepalived.conf:2:2: a byte 0: this is no text"},
		{"binary included", []string{"keepalived.conf", "a\n include x\n", "x", "\x00"}, "DIR/keepalived.conf:2:2: include: DIR/x:1:1: a byte 0: this is no text"},
		{"includes itself", []string{"keepalived.conf", "include keepalived.conf"}, "DIR/keepalived.conf:1:1: include: DIR/keepalived.conf includes itself"},
		{"includes itself by a pattern", []string{"keepalived.conf", "a\ninclude *.conf", "a.conf", ""}, "DIR/keepalived.conf:2:1: include: DIR/keepalived.conf includes itself"},
		{"includes itself by a circle", []string{"keepalived.conf", "include d/a", "d/a", "include ../b", "b", "include d/../d/a"}, "DIR/b:1:1: include: DIR/d/a includes itself"},
		{"includes itself after a definition", []string{"keepalived.conf", "$F=keepalived\n{ @h include ${F}.conf"}, "DIR/keepalived.conf:2:6: include: DIR/keepalived.conf includes itself"},
		{"many files", []string{"keepalived.conf", "~SEQ(i, 1, 100000) include x", "x", "a\n"}, "DIR/keepalived.conf:1:20: include: DIR/x includes itself"},
		{"many files, one by one", []string{"keepalived.conf", strings.Repeat("include x\n", 1001), "x", "a\n"}, "DIR/keepalived.conf:1000:1: include: more than 1000 files"},
		{"many names", []string{"keepalived.conf", "include " + strings.Repeat("{a,b}", 20)}, "DIR/keepalived.conf:1:1: the patterns of the includes are compared with more than 100000 names"},
		{"large together", []string{"keepalived.conf", "include x\ninclude x\n", "x", strings.Repeat("# "+strings.Repeat("x", 1000)+"\n", 2500)}, "DIR/keepalived.conf:2:1: include: DIR/x: with its includes it has more than 4194304 bytes"},
		{"contains itself", []string{"keepalived.conf", "$A=x ${A}\nb $A"}, "DIR/keepalived.conf:2:3: the definition of $A contains itself"},
		{"contains itself in a circle", []string{"keepalived.conf", "$A=$B\n$B=${C}\n$C=${A}\nb $A"}, "DIR/keepalived.conf:4:3: the definition of $A contains itself"},
		{"contains itself in lines", []string{"keepalived.conf", "$A=\\\nx\\\ny $A\nb $A"}, "DIR/keepalived.conf:4:3: the definition of $A contains itself"},
		{"contains itself in the last word", []string{"keepalived.conf", "$A=\\\n$A\n$A"}, "DIR/keepalived.conf:3:1: the definition of $A contains itself"},
		{"a sequence of itself", []string{"keepalived.conf", "$A=~SEQ(i, 1, 2) $A\n$A"}, "DIR/keepalived.conf:2:1: more than 100 definitions and sequences within each other: does one contain itself?"},
		{"a long chain", []string{"keepalived.conf", chain.String() + "$C0"}, "DIR/keepalived.conf:801:1: more than 100 definitions and sequences within each other: does one contain itself?"},
		{"laughs", []string{"keepalived.conf", laughs + "$L30"}, "DIR/keepalived.conf:92:1: " + many},
		{"silent laughs", []string{"keepalived.conf", silent + "a $S40"}, "DIR/keepalived.conf:42:3: more than 1000000 names are replaced by their definitions: does one repeat itself?"},
		{"a sequence without end", []string{"keepalived.conf", "~SEQ(i, 1, 9223372036854775807) a"}, "DIR/keepalived.conf:1:33: " + many},
		{"a list of words without end", []string{"keepalived.conf", "~SEQ(i, -9223372036854775807, 9223372036854775807) " + strings.Repeat("a ", 400)}, "DIR/keepalived.conf:1:52: " + many},
		{"sequences of sequences", []string{"keepalived.conf", strings.Repeat("~SEQ(i,1,9) ", 80) + "a"}, "DIR/keepalived.conf:1:961: " + many},
		{"braces", []string{"keepalived.conf", "virtual_server x " + strings.Repeat("{ ", 300)}, "DIR/keepalived.conf:1:218: more than 100 braces within each other"},
		{"braces outside", []string{"keepalived.conf", strings.Repeat("{", 300_000)}, "DIR/keepalived.conf:1:200001: " + many},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			folder := writeFiles(t, tt.files...)
			checkRefused(t, filepath.Join(folder, "keepalived.conf"), strings.ReplaceAll(tt.want, "DIR", folder))
		})
	}
	t.Run("a pipe", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
		checkRefused(t, name, name+" is a named pipe, not a regular file")
	})
	for what, text := range map[string]string{"100 MB": "priority 100\n", "100 MB of one line": "x", "100 MB of braces": "{", "100 MB of nothing": "\n"} {
		t.Run(what, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "large")
			f, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for piece, i := strings.Repeat(text, 1<<20/len(text)), 0; i < 100; i++ {
				if _, err := f.WriteString(piece); err != nil {
					t.Fatal(err)
				}
			}
			checkRefused(t, name, name+": with its includes it has more than 4194304 bytes")
		})
	}
}

// checkRefused reads a file, wants one error, and no more memory than the bounds allow.
func checkRefused(t *testing.T, name, want string) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	_, err := Read(name, Options{ID: "h"})
	runtime.ReadMemStats(&after)
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 256<<20 {
		t.Errorf("took %d MB", grown>>20)
	}
	t.Logf("heap of the system +%d MB, allocated in all %d MB", (int64(after.HeapSys)-int64(before.HeapSys))>>20, (after.TotalAlloc-before.TotalAlloc)>>20)
}
