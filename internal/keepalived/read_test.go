package keepalived

import (
	"fmt"
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

// reportText shows a report, one line each, without the name of the file.
func reportText(r Report) string {
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

// writeFiles writes files into a folder of the test: name and text, one after the other.
func writeFiles(t *testing.T, texts ...string) (folder string) {
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

// environment is one where only HOME is set.
func environment(name string) (string, bool) { return "/root", name == "HOME" }

func TestRead_Blocks(t *testing.T) {
	tests := []struct {
		name, text, want, report string
	}{
		{"empty", "", "", ""},
		{"blank lines and comments", "# a\n\n  ! b # c\n\t\r\n", "", ""},
		{"a block", "vrrp_instance A {\n  state MASTER # c\n  priority 100! d\n}\n", `
vrrp_instance A {}
  state MASTER
  priority 100
`, ""},
		{"carriage returns", "vrrp_instance A {\r\n  priority 100\r\n}\r\n", `
vrrp_instance A {}
  priority 100
`, ""},
		{"braces on lines of their own", "vrrp_instance A\n\n{\nvirtual_ipaddress\n{\n10.0.0.1\n}\n}", `
vrrp_instance A {}
  virtual_ipaddress {}
    10.0.0.1
`, ""},
		{"one line", "vrrp_instance A { virtual_ipaddress { 10.0.0.1 dev x } state BACKUP }", `
vrrp_instance A {}
  virtual_ipaddress {}
    10.0.0.1 dev x
  state BACKUP
`, ""},
		{"one line for two", "vrrp_instance A { priority 7 virtual_ipaddress { 10.0.0.1 } state BACKUP }", `
vrrp_instance A {}
  priority 7 virtual_ipaddress
  10.0.0.1
state BACKUP
`, `
1:48 ignored by keepalived: {: keepalived knows no block priority in vrrp_instance A: it reads what is in the braces as lines of vrrp_instance A, and their } as its end
1:74 ignored by keepalived: }: it closes nothing
`},
		{"quotes", "a \"b c\" d\"e\"f 'g h' \"#{\" i\\#j \\\"k # l", `
a "b c" d "e" f 'g h' "#{" i
`, ""},
		{"a quote without its end", "a b \"c # d {\ne f", `
a b
e f
`, `
1:5 ignored by keepalived: ": a quote without its end: keepalived reads the line only up to it, and takes # and braces after it for text
`},
		{"escapes of scripts", "vrrp_script c {\n script \"/a 'b c' \\x41\\101\\t\\q\" 'd' \\ e\n user \\x41\n}", `
vrrp_script c {}
  script "/a 'b c' AA	q" d " e"
  user \x41
`, ""},
		{"a script without its end", "vrrp_script c {\n script \"/a\n interval 2\n}", `
vrrp_script c {}
  interval 2
`, `
2:2 ignored by keepalived: script: a quote without its end: keepalived takes no script from this line
2:9 ignored by keepalived: ": a quote without its end: keepalived reads the line only up to it, and takes # and braces after it for text
`},
		{"a line that goes on", "vrrp_instance A {\n priority \\\n 100\n}", `
vrrp_instance A {}
  priority\
  100
`, `
2:2 ignored by keepalived: \: only a definition goes on in the next line: keepalived takes it for a part of the word, and the next line for itself
`},
		{"a block that keepalived does not know", "vrrp_instance A {\n track {\n x\n }\n priority 7\n}\nvrrp_script b {\n}", `
vrrp_instance A {}
  track
  x
priority 7
vrrp_script b {}
`, `
2:8 ignored by keepalived: {: keepalived knows no block track in vrrp_instance A: it reads what is in the braces as lines of vrrp_instance A, and their } as its end
6:1 ignored by keepalived: }: it closes nothing
`},
		{"a block outside", "foo {\n bar\n}\n{\n}", `
foo
bar
`, `
1:5 ignored by keepalived: {: keepalived knows no block foo: it reads what is in the braces as if it stood outside of them
3:1 ignored by keepalived: }: it closes nothing
4:1 ignored by keepalived: {: keepalived knows no block bar: it reads what is in the braces as if it stood outside of them
5:1 ignored by keepalived: }: it closes nothing
`},
		{"a block of values in values", "vrrp_instance A {\n track_script {\n a {\n }\n b\n}\n}", `
vrrp_instance A {}
  track_script {}
    a
  b
`, `
3:4 ignored by keepalived: {: nothing in track_script has a block: keepalived takes the brace for a value, and the next } for the end of track_script
7:1 ignored by keepalived: }: it closes nothing
`},
		{"no braces", "vrrp_instance A\n state BACKUP\n virtual_ipaddress\n 10.0.0.1\n }\n}\n", `
vrrp_instance A
  state BACKUP
  virtual_ipaddress
    10.0.0.1
`, `
1:1 ignored by keepalived: vrrp_instance A: no { follows it: keepalived reads the next lines as if it did
3:2 ignored by keepalived: virtual_ipaddress: no { follows it: keepalived reads the next lines as if it did
`},
		{"a } is missing", "vrrp_instance A {\n virtual_ipaddress {\n 10.0.0.1\n}\nvrrp_instance B {\n priority 9\n}\n", `
vrrp_instance A {}
  virtual_ipaddress {}
    10.0.0.1
  vrrp_instance B
  priority 9
`, `
5:17 ignored by keepalived: {: keepalived knows no block vrrp_instance in vrrp_instance A: it reads what is in the braces as lines of vrrp_instance A, and their } as its end
`},
		{"the end is missing", "vrrp_instance A {\n virtual_ipaddress {\n 10.0.0.1\n", `
vrrp_instance A {}
  virtual_ipaddress {}
    10.0.0.1
`, `
1:1 ignored by keepalived: vrrp_instance A: a } is missing: keepalived takes all until the end of the file for a part of it
2:2 ignored by keepalived: virtual_ipaddress: a } is missing: keepalived takes all until the end of the file for a part of it
`},
		{"for another process", "virtual_server 10.0.0.1 80 {\n delay_loop 6\n real_server 10.0.0.2 80 {\n TCP_CHECK {\n }\n { x }\n }\n}\nSSL\nvirtual_server_group g { 10.0.0.1 80", `
virtual_server 10.0.0.1 80 {}
  delay_loop 6
  real_server 10.0.0.2 80 {}
    TCP_CHECK {}
    { {}
      x
SSL
virtual_server_group g {}
  10.0.0.1 80
`, `
10:1 ignored by keepalived: virtual_server_group g: a } is missing: keepalived takes all until the end of the file for a part of it
`},
		{"names", "vrrp_instance A { priority 1\n}\nvrrp_instance { foo {\n}\n}\nvrrp_instance A B {\n}\nvrrp_sync_group A {\n}\nvrrp_instance A { priority 2\n}\nvrrp_instance C\n", `
vrrp_instance A {}
  priority 1
vrrp_sync_group A {}
vrrp_instance C
`, `
3:1 ignored by keepalived: vrrp_instance: it needs a name of one word: keepalived skips it
6:1 ignored by keepalived: vrrp_instance A: it needs a name of one word: keepalived skips it
10:1 ignored by keepalived: vrrp_instance A: there is one already at keepalived.conf:1:1: keepalived skips this one
12:1 ignored by keepalived: vrrp_instance C: a } is missing: keepalived takes all until the end of the file for a part of it
`},
		{"lines of other hosts", "@host1 a b\n@other auth_pass secret\n@^host1 c d\n@^other\te\n@other\n@host1.example f\n@host1 @other g\n", `
a b
e
@other g
`, `
2:1 not needed: @other auth_pass: not a line for host1
3:1 not needed: @^host1 c: not a line for host1
5:1 not needed: @other: nothing follows the id
6:1 not needed: @host1.example f: not a line for host1
`},
		{"definitions", "$A=x  y # c\n$B=$A\n$C = 1\n$D=\n$E=unused\na $A ${B},$B z${A}z $A/24 ${A/ $C ${D}. $\n$A=2\n$B\n", `
$C = 1
a x y x y,x y zx yz $A/24 $
A/ $C . $
2
`, `
1:1 converted: $A
2:1 converted: $B
4:1 converted: $D
5:1 not needed: $E: nothing uses this definition
6:21 ignored by keepalived: $A: keepalived knows a name without braces only before a blank, a comma, a closing parenthesis or the end of the line: write ${A}
6:27 ignored by keepalived: $A: keepalived knows it only with the } right after the name
6:28 ignored by keepalived: {: keepalived knows no block a: it reads what is in the braces as if it stood outside of them
7:1 converted: $A
`},
		{"standard definitions", "a ${_INSTANCE} \"${_HASH}${_BANG}\" ${_RANDOM} ${_RANDOM 007} ${_RANDOM 20 30} ${_ENV HOME} ${_ENV NONE}.\nb ${_HASH} c\n$_HASH=d\nb $_HASH\n", `
a host1 "#!" 0 7 20 /root .
b
b d
`, `
1:35 approximated: ${_RANDOM}: keepalived draws a number each time it starts: the least possible one, 0, is taken
1:46 approximated: ${_RANDOM 007}: keepalived draws a number each time it starts: the least possible one, 7, is taken
1:61 approximated: ${_RANDOM 20 30}: keepalived draws a number each time it starts: the least possible one, 20, is taken
1:78 converted: ${_ENV HOME}
1:91 not supported: ${_ENV NONE}: it is not set here and is read as nothing: set it for this command as it is for keepalived
3:1 converted: $_HASH
`},
		{"definitions of several lines", "$I= \\\n vrrp_instance $N { \\\n  $P \\\n } \\\n\n$P=priority \\\n 1$N.\\\nstate X\n$N=7\n$I\n$I x\n$N=8\n${I}", `
vrrp_instance 7 {}
  priority
  1$N.
  state X
$I x
vrrp_instance 8 {}
  priority
  1$N.
  state X
`, `
1:1 converted: $I
6:1 converted: $P
9:1 converted: $N
10:1 ignored by keepalived: $N: keepalived knows a name without braces only before a blank, a comma, a closing parenthesis or the end of the line: write ${N}
11:1 ignored by keepalived: $I: keepalived replaces a definition of several lines only at the end of a line
12:1 converted: $N
13:1 ignored by keepalived: $N: keepalived knows a name without braces only before a blank, a comma, a closing parenthesis or the end of the line: write ${N}
`},
		{"sequences", "$L=2\n~SEQ(i, 1, $L) a ${i}\n~SEQx( i , 15 , 16 ) b $i\n~LST({a, b}, {1, 2}, {3}) c ${a}.${b}\n~LST(a, x,y ) d $a\n~SEQ(1) e\n~SEQ(i,1,2,3,4) e\n~SEQ(i,2,1,1) e\n~SEQx(i,-1) e\n~LST(a) e\n~SEQ\n~SEQ(,1) e\n~LST\n~LST({a},{1,2}) e\n", `
a 1
a 2
b f
b 10
c 1.2
c 3.
d x
d y
`, `
1:1 converted: $L
2:1 converted: ~SEQ(i, 1, $L)
3:1 converted: ~SEQx( i , 15 , 16 )
4:1 converted: ~LST({a, b}, {1, 2}, {3})
5:1 converted: ~LST(a, x,y )
6:1 ignored by keepalived: ~SEQ(1): it takes a name, a comma, up to three numbers, and a )
7:1 ignored by keepalived: ~SEQ(i,1,2,3,4): it takes up to three numbers, with commas between them, and a )
8:1 ignored by keepalived: ~SEQ(i,2,1,1): its step does not lead from its start to its end
9:1 ignored by keepalived: ~SEQx(i,-1): ~SEQx takes no numbers below 0
10:1 ignored by keepalived: ~LST(a): it takes (NAME, VALUE, VALUE) or ({NAME, NAME}, {VALUE, VALUE}, {VALUE, VALUE})
11:1 ignored by keepalived: ~SEQ: no ( follows it
12:1 ignored by keepalived: ~SEQ(,1): it takes the name of a variable first
13:1 ignored by keepalived: ~LST: no ( follows it
14:1 ignored by keepalived: ~LST({a},{1,2}): a set has more values than there are names
`},
		{"a definition too long", "$A=" + strings.Repeat("x", 600) + "\na ${A} b\nc ${A}${A}\n", "\na " + strings.Repeat("x", 600) + " b\nc " + strings.Repeat("x", 600) + "$\nA\n", `
1:1 converted: $A
3:7 ignored by keepalived: $A: the line would have more than 1023 bytes with its definition: keepalived does not replace it
3:8 ignored by keepalived: {: keepalived knows no block c: it reads what is in the braces as if it stood outside of them
3:10 ignored by keepalived: }: it closes nothing
`},
		{"a long line", "a" + strings.Repeat(" ", 1021) + "bc\n# " + strings.Repeat("x", 1021) + "d\n", `
a b
c
d
`, `
1:1024 ignored by keepalived: a line of more than 1023 bytes: keepalived cuts it here: what follows is a line of its own
2:1024 ignored by keepalived: a line of more than 1023 bytes: keepalived cuts it here: what follows is a line of its own
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(writeFiles(t, "keepalived.conf", tt.text), "keepalived.conf")
			f, err := Read(name, Options{ID: "host1", Env: environment})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), outline(f.Blocks)); diff != "" {
				t.Errorf("blocks (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tt.report, "\n"), strings.ReplaceAll(reportText(f.Report), filepath.Dir(name)+"/", "")); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRead_Includes holds which files are read, in which order, and what is said of
// those that are not.
func TestRead_Includes(t *testing.T) {
	folder := writeFiles(t,
		"keepalived.conf", "a\ninclude conf.d/*.conf\nb\nglobal_defs { include_check match\n}\ninclude gone\ninclude gone*\n",
		"conf.d/2.conf", "two\n@h include ../x/more",
		"conf.d/1.conf", "one {_\ninclude none.conf\nincludew none*.conf\nincludem none.conf\nincludea {2,3}.conf\n",
		"conf.d/.3.conf", "hidden",
		"conf.d/4.conf", "executable",
		"conf.d/5.conf/x", "in a folder",
		"x/more", "more ${_PWD}\ninclude \"one\"\ninclude {one,two}\nincluder folder",
		"x/one", "within", "x/folder/x", "",
	)
	if err := os.Chmod(filepath.Join(folder, "conf.d/4.conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := Read(filepath.Join(folder, "keepalived.conf"), Options{ID: "h"})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, b := range f.Blocks {
		got.WriteString(strings.ReplaceAll(b.Pos().String()+" "+outline([]*Block{b}), folder+"/", ""))
	}
	want := `keepalived.conf:1:1 a
conf.d/1.conf:1:1 one
conf.d/1.conf:1:6 _
conf.d/2.conf:1:1 two
x/more:1:1 more x
x/one:1:1 within
keepalived.conf:3:1 b
keepalived.conf:4:1 global_defs {}
  include_check match
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
	var report strings.Builder
	for _, f := range f.Report.Findings {
		fmt.Fprintln(&report, strings.ReplaceAll(fmt.Sprint(f.Pos, " ", f.Outcome, ": ", f.What, ": ", f.Text), folder+"/", ""))
	}
	want = `conf.d/1.conf:1:5 ignored by keepalived: {: keepalived knows no block one: it reads what is in the braces as if it stood outside of them
conf.d/1.conf:2:1 ignored by keepalived: include none.conf: there is no such file here: keepalived goes on without it
conf.d/1.conf:3:1 not supported: includew none*.conf: there is no such file here: keepalived does not start like this; put it there and convert again
conf.d/1.conf:4:1 not supported: includem none.conf: there is no such file here: keepalived does not start like this; put it there and convert again
conf.d/1.conf:5:1 not supported: includea {2,3}.conf: there is no such file here: keepalived does not start like this; put it there and convert again
conf.d/2.conf:2:4 converted: include ../x/more: 
keepalived.conf:2:1 converted: include conf.d/*.conf: 
keepalived.conf:2:1 ignored by keepalived: include conf.d/4.conf: conf.d/4.conf is executable, and keepalived reads no such file: keepalived goes on without it
keepalived.conf:2:1 ignored by keepalived: include conf.d/5.conf: conf.d/5.conf is a folder: keepalived goes on without it
keepalived.conf:6:1 not supported: include gone: there is no such file here: keepalived does not start like this; put it there and convert again
keepalived.conf:7:1 ignored by keepalived: include gone*: there is no such file here: keepalived goes on without it
x/more:1:6 approximated: ${_PWD}: it is the folder of this file here: x
x/more:2:1 ignored by keepalived: include "one": keepalived takes the quotes for a part of the name, finds no such file and goes on without it
x/more:3:1 ignored by keepalived: include {one,two}: some of the files are not here: keepalived goes on without them
x/more:4:1 converted: includer folder: 
x/more:4:1 not supported: include x/folder: x/folder is a folder: keepalived does not start like this; put it there and convert again
`
	if diff := cmp.Diff(want, report.String()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// TestRead_Positions holds where words stand: after comments, escapes, braces and in
// definitions, which stand where they are used.
func TestRead_Positions(t *testing.T) {
	name := filepath.Join(writeFiles(t, "keepalived.conf", "\t a  \"b\" \\#c # d\r\n$A=e  f\n$M=g\\\n  h i\n  x $A,j ${A}k\n {  $M\n@h  l ~ m\n~SEQ(i,1,2)  n $i\nscript 'o' \"p q\"r"), "keepalived.conf")
	f, err := Read(name, Options{ID: "h"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range f.Blocks {
		for _, w := range b.Words {
			got = append(got, fmt.Sprintf("%d:%d %s", w.Pos.Line, w.Pos.Column, w.Text))
		}
	}
	want := []string{
		"1:3 a", "1:6 b", "5:3 x", "5:5 e", "5:5 f,j", "5:10 e", "5:10 fk", "6:5 g", "6:5 h", "6:5 i",
		"7:5 l", "7:7 ~", "7:9 m", "8:14 n", "8:16 1", "8:14 n", "8:16 2", "9:1 script", "9:8 o", "9:12 p qr",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
