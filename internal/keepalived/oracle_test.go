package keepalived

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// dumpedInstance is a router as keepalived's own dump shows it, and as the blocks say.
type dumpedInstance struct {
	Name, Interface, VRID, Priority, Password string
	Addresses, Excluded                       []string
	Master                                    string // the words of its script
}

// TestRead_AgainstKeepalived runs files through keepalived itself, in a namespace
// where no interface is, and compares what it dumps with what Read makes of them.
func TestRead_AgainstKeepalived(t *testing.T) {
	if _, err := exec.LookPath("keepalived"); os.Getenv("CI") == "" && (err != nil || os.Geteuid() != 0) {
		t.Skip("needs keepalived and root")
	}
	for name, texts := range oracleFiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := files(t, texts...)
			main := filepath.Join(folder, "keepalived.conf")
			f, err := Read(main, Options{ID: "host1"})
			if err != nil {
				t.Fatal(err)
			}
			dump := dumpOf(t, main)
			if diff := cmp.Diff(dumped(dump), said(f.Blocks)); diff != "" {
				log, _, _ := strings.Cut(dump, "< Global definitions >")
				t.Errorf("(-keepalived +read):\n%s\n%s", diff, log)
			}
			if len(f.Blocks) == 0 || len(dumped(dump)) == 0 {
				t.Errorf("nothing to compare:\n%s", dump)
			}
		})
	}
}

// dumpOf runs keepalived until it has dumped its configuration.
func dumpOf(t *testing.T, file string) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
		`mount -t tmpfs none /run && exec keepalived --dont-fork --log-console --log-detail --dump-conf --vrrp --config-id host1 --use-file "$0"`, file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var dump strings.Builder
	for s := bufio.NewScanner(out); s.Scan(); {
		fmt.Fprintln(&dump, s.Text())
		if strings.Contains(s.Text(), "< Interfaces >") {
			break
		}
	}
	stop()
	cmd.Wait() // killed
	return dump.String()
}

var stamp = regexp.MustCompile(`^\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}: {2}`)

// dumped reads a dump.
func dumped(text string) []dumpedInstance {
	var all []dumpedInstance
	var list *[]string
	for line := range strings.Lines(text) {
		line = stamp.ReplaceAllString(strings.TrimRight(line, "\n"), "")
		key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		if key == "VRRP Instance" {
			all = append(all, dumpedInstance{Name: value})
		}
		if len(all) == 0 {
			continue
		}
		i := &all[len(all)-1]
		deep := strings.HasPrefix(line, "    ")
		switch {
		case strings.HasPrefix(key, "Virtual IP ("):
			list = &i.Addresses
		case strings.HasPrefix(key, "Virtual IP Excluded"):
			list = &i.Excluded
		case deep && list != nil:
			*list = append(*list, strings.Fields(line)[0])
		default:
			list = nil
		}
		switch key {
		case "Interface":
			i.Interface = value
		case "Virtual Router ID":
			i.VRID = value
		case "Priority":
			i.Priority = value
		case "Password":
			i.Password = value
		case "Master state transition script":
			i.Master, _, _ = strings.Cut(value, ", uid:gid")
		}
	}
	return all
}

// said reads the same out of blocks.
func said(blocks []*Block) []dumpedInstance {
	var all []dumpedInstance
	for _, b := range blocks {
		if b.Keyword() != "vrrp_instance" {
			continue
		}
		i := dumpedInstance{Name: b.Words[1].Text}
		addresses := func(b *Block) (list []string) {
			for _, a := range b.Children {
				text, _, _ := strings.Cut(a.Keyword(), "/")
				if _, err := netip.ParseAddr(text); err == nil { // keepalived skips others
					list = append(list, a.Keyword())
				}
			}
			return list
		}
		for _, k := range b.Children {
			first := ""
			if len(k.Words) > 1 {
				first = k.Words[1].Text
			}
			switch k.Keyword() {
			case "interface":
				i.Interface = first
			case "virtual_router_id":
				i.VRID = first
			case "priority":
				if i.Priority = first; strings.Trim(first, "0123456789") != "" {
					i.Priority = "100"
				}
			case "authentication":
				for _, a := range k.Children {
					if a.Keyword() == "auth_pass" && len(a.Words) > 1 {
						i.Password = a.Words[1].Text
					}
				}
			case "virtual_ipaddress":
				i.Addresses = append(i.Addresses, addresses(k)...)
			case "virtual_ipaddress_excluded":
				i.Excluded = append(i.Excluded, addresses(k)...)
			case "notify_master":
				if words, err := splitCommand(first); err == nil {
					i.Master = "'" + strings.Join(words, "' '") + "'"
				}
			}
		}
		all = append(all, i)
	}
	return all
}

const head = "global_defs {\n dynamic_interfaces\n}\n"

// someRouter is an instance with lines of the test's own.
func someRouter(name, lines string) string {
	return "vrrp_instance " + name + " {\n state BACKUP\n interface eth9\n virtual_router_id 51\n priority 100\n " + lines + "\n}\n"
}

const password = "authentication {\n auth_type PASS\n auth_pass "

// oracleFiles is a set of files per construct: what the parser makes of it is seen in
// names, passwords, scripts and addresses.
var oracleFiles = map[string][]string{
	"plain":               {"keepalived.conf", head + someRouter("A", "virtual_ipaddress {\n 10.0.0.1/24 dev eth9 label x\n 10.0.0.2/25\n}")},
	"comments":            {"keepalived.conf", head + someRouter("A", "# x }\n! y {\n virtual_ipaddress { # {\n 10.0.0.1/24 ! }\n 10.0.0.2/24# x\n}")},
	"escaped hash":        {"keepalived.conf", head + someRouter("A", password+"a\\#b\n }")},
	"escaped bang":        {"keepalived.conf", head + someRouter("A", password+"a\\!b\n }")},
	"quoted hash":         {"keepalived.conf", head + someRouter("A", password+"\"a#b!c\"\n }")},
	"quoted escaped hash": {"keepalived.conf", head + someRouter("A", password+"\"a\\#b\"\n }")},
	"single quotes":       {"keepalived.conf", head + someRouter("A", password+"'a b'\n }")},
	"quote inside":        {"keepalived.conf", head + someRouter("A", password+"a\"b c\"d\n }")},
	"backslashes":         {"keepalived.conf", head + someRouter("A", password+"a\\\\b\\x\n }")},
	"quoted brace":        {"keepalived.conf", head + someRouter("A", password+"\"a{b}\"\n }")},
	"brace in word":       {"keepalived.conf", head + someRouter("A", password+"a{b\n }\n priority 9")},
	"dollars":             {"keepalived.conf", head + someRouter("A", password+"a$b$$\n }")},
	"script":              {"keepalived.conf", head + someRouter("A", `notify_master "/usr/bin/echo 'a b' c\"d \x41\tz 'e\'f' g\\\\h"`)},
	"script twice":        {"keepalived.conf", head + someRouter("A", `notify_master "/usr/bin/echo 'a b' c\\\"d \\x41\\tz 'e\\'f' g\\\\h"`)},
	"script bare":         {"keepalived.conf", head + someRouter("A", `notify_master /usr/bin/echo\ x`)},
	"script single":       {"keepalived.conf", head + someRouter("A", `notify_master '/usr/bin/echo "a b" c' root`)},
	"script octal":        {"keepalived.conf", head + someRouter("A", `notify_master "/usr/bin/echo \101 \\101 \cA\e"`)},
	"script glued":        {"keepalived.conf", head + someRouter("A", `notify_master "/usr/bin/echo "'a b'"c"`)},
	"script open quote":   {"keepalived.conf", head + someRouter("A", "notify_master \"/usr/bin/echo a\n priority 7")},
	"one line":            {"keepalived.conf", head + "vrrp_instance A { state BACKUP\n interface eth9\n virtual_router_id 5\n priority 9\n virtual_ipaddress { 10.0.0.1/24 dev eth9 } }\n"},
	"one line, several":   {"keepalived.conf", head + someRouter("A", "virtual_ipaddress { 10.0.0.1/24 } virtual_ipaddress_excluded { 10.0.0.2/24 } priority 7")},
	"braces alone":        {"keepalived.conf", head + "vrrp_instance A\n{\nstate BACKUP\ninterface eth9\nvirtual_router_id 5\npriority 9\nvirtual_ipaddress\n\n{\n10.0.0.1/24\n}\n}\n"},
	"brace glued":         {"keepalived.conf", head + "vrrp_instance A{\nstate BACKUP\ninterface eth9\nvirtual_router_id 5\npriority 9\nvirtual_ipaddress{\n10.0.0.1/24}\n}\n"},
	"carriage returns":    {"keepalived.conf", strings.ReplaceAll(head+someRouter("A", "virtual_ipaddress {\n 10.0.0.1/24\n}"), "\n", "\r\n")},
	"no final newline":    {"keepalived.conf", head + strings.TrimRight(someRouter("A", "priority 8"), "\n")},
	"unknown keyword":     {"keepalived.conf", head + someRouter("A", "prioriti 7\n priority 8") + "foo bar\n" + someRouter("B", "priority 9\nvirtual_router_id 6")},
	"unknown block":       {"keepalived.conf", head + someRouter("A", "foo {\n priority 7\n priority 8\n }\n priority 9") + someRouter("B", "virtual_router_id 6")},
	"unknown root block":  {"keepalived.conf", head + "foo {\n bar\n}\n" + someRouter("A", "")},
	"block of no block":   {"keepalived.conf", head + someRouter("A", "priority 7 {\n }\n priority 8")},
	"missing close":       {"keepalived.conf", head + someRouter("A", "virtual_ipaddress {\n 10.0.0.1/24") + "vrrp_instance B {\n priority 4\n}\n"},
	"missing open":        {"keepalived.conf", head + "vrrp_instance A\n state BACKUP\n interface eth9\n virtual_router_id 5\n priority 9\n}\n" + someRouter("B", "virtual_router_id 6")},
	"surplus close":       {"keepalived.conf", head + someRouter("A", "") + "}\n}\n" + someRouter("B", "virtual_router_id 6")},
	"surplus open":        {"keepalived.conf", head + someRouter("A", "{ priority 9") + someRouter("B", "virtual_router_id 6")},
	"no value brace":      {"keepalived.conf", head + someRouter("A", "virtual_ipaddress\n 10.0.0.1/24\n 10.0.0.2/24\n }\n priority 9")},
	"virtual server":      {"keepalived.conf", head + "virtual_server 10.0.0.1 80 {\n real_server 10.0.0.2 80 {\n foo { bar { } }\n }\n}\n" + someRouter("A", "") + "virtual_server_group G { 1.2.3.4 80 }\n" + someRouter("B", "virtual_router_id 7")},
	"same name":           {"keepalived.conf", head + someRouter("A", "") + someRouter("A", "priority 7\n foo {\n }") + someRouter("B", "virtual_router_id 7")},
	"two names":           {"keepalived.conf", head + "vrrp_instance A B {\n foo {\n }\n priority 8\n}\n" + someRouter("C", "")},
	"no name":             {"keepalived.conf", head + "vrrp_instance {\n priority 8\n}\n" + someRouter("C", "")},
	"quoted name":         {"keepalived.conf", head + someRouter("\"A b\"", "")},
	"continued":           {"keepalived.conf", head + someRouter("A", "priority \\\n 7\n priority 8 \\")},
	"comment continued":   {"keepalived.conf", head + someRouter("A", "# x \\\n priority 8")},
	"a long line":         {"keepalived.conf", head + someRouter("A", "virtual_ipaddress {\n 10.0.0.1/24 "+strings.Repeat(" ", 1023-13)+"10.0.0.2/24\n }")},
	"a long comment":      {"keepalived.conf", head + someRouter("A", "# "+strings.Repeat("x", 1022-3)+" \npriority 8\n"+"# "+strings.Repeat("x", 1021)+"priority 9")},
	"ids":                 {"keepalived.conf", head + someRouter("A", "@host1 priority 7\n @host2 priority 8\n @^host1 priority 9\n @^host2 virtual_router_id 8\n @host1\n @host1.example priority 10\n")},
	"ids of blocks":       {"keepalived.conf", head + "@host2 vrrp_instance B {\n@host1 vrrp_instance A {\n state BACKUP\n interface eth9\n virtual_router_id 5\n priority 7 @host2 8\n}\n"},
	"ids after braces":    {"keepalived.conf", head + someRouter("A", "virtual_ipaddress { @host1 10.0.0.1/24\n @host2 10.0.0.2/24 }\n }\n")},
	"definition":          {"keepalived.conf", "$P=7\n$N = 8\n$_x9=10.0.0.1\n" + head + someRouter("A", "priority $P\n virtual_ipaddress {\n ${_x9}/24\n $_x9/25\n}")},
	"definition, spaces":  {"keepalived.conf", "$P=  7  # c\n" + head + someRouter("A", "priority   ${P}")},
	"definition anew":     {"keepalived.conf", "$P=7\n" + head + someRouter("A", "priority $P\n$P=8\npriority $P")},
	"definition late":     {"keepalived.conf", "$A=${B}\n$B=7\n" + head + someRouter("A", "priority $A\n$B=8\npriority $A")},
	"definition of more":  {"keepalived.conf", "$A=virtual_ipaddress { 10.0.0.1/24 }\n$B=10.0.0.2/24 10.0.0.3\n" + head + someRouter("A", "$A\n virtual_ipaddress_excluded {\n $B\n }")},
	"definition in word":  {"keepalived.conf", "$A=1\n" + head + someRouter("A", "priority ${A}${A}\n virtual_ipaddress {\n 10.${A}.0.${A}/2${A}\n}")},
	"definition, comma":   {"keepalived.conf", "$A=1\n" + head + someRouter("x$A", "") + someRouter("y$A,$A)", "virtual_router_id 9")},
	"undefined":           {"keepalived.conf", head + someRouter("A", password+"$x\n }")},
	"undefined braces":    {"keepalived.conf", head + someRouter("A", "priority ${x}\n priority 9")},
	"blank in braces":     {"keepalived.conf", "$A=1\n" + head + someRouter("A", password+"${A }z\n }")},
	"lines":               {"keepalived.conf", "$A=virtual_ipaddress {\\\n  10.0.0.1/24 \\\n # c\n 10.0.0.2/24 \\\n }\n\n" + head + someRouter("A", "$A\n priority 9")},
	"lines, whole":        {"keepalived.conf", "$A= \\\n vrrp_instance A$N { \\\n state BACKUP \\\n interface eth9 \\\n virtual_router_id 1$N \\\n priority $N \\\n }\n$N=7\n" + head + "$A\n$N=8\n$A\n"},
	"lines, nested":       {"keepalived.conf", "$V= \\\n virtual_ipaddress { \\\n 10.0.0.${N}/24 \\\n }\n$A= \\\n state BACKUP \\\n interface eth9 \\\n virtual_router_id 1${N} \\\n $V \\\n priority 7$N\n$N=7\n" + head + "vrrp_instance A {\n $A\n}\n$N=8\nvrrp_instance B { $A\n }\n"},
	"lines, one":          {"keepalived.conf", "$A=priority 8\\\npriority 7\n" + head + someRouter("A", "${A}")},
	"lines, middle":       {"keepalived.conf", "$A=priority 7\\\n priority 8\n" + head + someRouter("A", "$A x\n")},
	"lines, blank end":    {"keepalived.conf", "$A=priority 7 \\\n\n" + head + someRouter("A", "$A")},
	"hash":                {"keepalived.conf", head + someRouter("A", password+"a${_HASH}b\n }")},
	"hash quoted":         {"keepalived.conf", head + someRouter("A", password+"\"a${_HASH}b${_BANG}\"\n }")},
	"instance":            {"keepalived.conf", head + someRouter("A${_INSTANCE}", "")},
	"sequence":            {"keepalived.conf", head + someRouter("A", "virtual_ipaddress {\n ~SEQ(i, 1, 3) 10.0.0.$i\n 10.0.1.1\n ~SEQ(i, 1, 3, 9) 10.0.1.${i}/24\n ~SEQ(i,3) 10.0.2.${i}/24\n ~SEQ(i,6,5) 10.0.3.${i}/24\n ~SEQ(i,1,4,8) 10.0.4.${i}/24 }\n")},
	"sequence bad":        {"keepalived.conf", head + someRouter("A", "virtual_ipaddress {\n 10.0.0.1\n ~SEQ(i, 1, 0, 3) 10.0.0.${i}\n ~SEQ(i, x, 2) 10.0.1.${i}\n ~SEQ(1,2) 10.0.2.9\n ~SEQ i 10.0.2.7\n ~SEQ(i,3,-1,1) 10.0.2.${i}\n }\n")},
	"sequence hex":        {"keepalived.conf", head + someRouter("A", "virtual_ipaddress {\n ~SEQx(i, 9, 11) fd00::${i}/64\n }\n")},
	"sequence octal":      {"keepalived.conf", head + someRouter("A", "virtual_ipaddress {\n ~SEQ(i, 07, 0x9) 10.0.0.${i}/24\n }\n")},
	"sequence nested":     {"keepalived.conf", head + someRouter("A", "virtual_ipaddress {\n ~SEQ(i, 1, 2) ~SEQ(j, $i, 3) 10.0.${i}.${j}/24\n 10.1.1.1\n }\n")},
	"sequence of blocks":  {"keepalived.conf", "$R= \\\n vrrp_instance A$i { \\\n state BACKUP \\\n interface eth9 \\\n virtual_router_id $i \\\n ~SEQ(j, 1, 2) priority 10$j \\\n }\n" + head + "~SEQ(i, 1, 3) $R\n"},
	"sequence of lines":   {"keepalived.conf", head + someRouter("A", "virtual_ipaddress {\n ~SEQ(i, 1, 3) 10.0.0.$i }\n 10.0.1.1\n }\n")},
	"sequence in value":   {"keepalived.conf", "$S=~SEQ(i, 1, 2) 10.0.0.$i\n" + head + someRouter("A", "virtual_ipaddress {\n $S\n }\n")},
	"list":                {"keepalived.conf", head + someRouter("A", "virtual_ipaddress {\n ~LST(i, 1, 5,7 ) 10.0.0.$i\n ~LST({a, b}, {1, 2}, {3}, {4,5}) 10.0.${a}.1${b}/24\n }\n")},
	"list bad":            {"keepalived.conf", head + someRouter("A", "virtual_ipaddress {\n 10.0.0.1\n ~LST(i 1) 10.0.1.1\n ~LST({a,b}, {1,2,3}) 10.0.1.2\n ~LST(a, 1\n }\n")},
	"include":             {"keepalived.conf", head + "include conf.d/*.conf\n", "conf.d/b.conf", someRouter("B", "virtual_router_id 9\n include ../x"), "conf.d/a.conf", someRouter("A", ""), "conf.d/.hidden.conf", someRouter("H", "virtual_router_id 10"), "x", "priority 5\ninclude conf.d/y", "conf.d/y", "garp_master_delay 3\n priority 4\n"},
	"include braces":      {"keepalived.conf", head + "include {b,nothing,a}.conf\n", "b.conf", someRouter("B", "virtual_router_id 9"), "a.conf", someRouter("A", "")},
	"include missing":     {"keepalived.conf", head + "include nothing\ninclude \"a.conf\"\ninclude nothing/*.conf\n" + someRouter("B", "virtual_router_id 9"), "a.conf", someRouter("A", "")},
	"include of part":     {"keepalived.conf", head + "vrrp_instance A {\n state BACKUP\n interface eth9\ninclude a.conf\n virtual_router_id 9\n }\n", "a.conf", "priority 7\n virtual_ipaddress {\n 10.0.0.1/24\n}"},
	"include over end":    {"keepalived.conf", head + "include a.conf\n virtual_router_id 9\n}\n", "a.conf", "vrrp_instance A {\n state BACKUP\n interface eth9\n priority 7"},
	"include in sequence": {"keepalived.conf", head + "~SEQ(i, 1, 2) include a$i\n" + someRouter("C", "virtual_router_id 9"), "a1", someRouter("A", ""), "a2", someRouter("B", "virtual_router_id 6")},
	"include in lines":    {"keepalived.conf", "$I= \\\n$F= x$N \\\n$N=3\n" + head + "$J=include a\n${J}1\n" + someRouter("C", "virtual_router_id 9"), "a1", someRouter("A", "")},
	"include with ids":    {"keepalived.conf", head + "@host1 include a\n@host2 include b\n", "a", someRouter("A", ""), "b", someRouter("B", "virtual_router_id 9")},
	"include brackets":    {"keepalived.conf", head + "include [^b]?.conf\n", "a1.conf", someRouter("A", ""), "b1.conf", someRouter("B", "virtual_router_id 9"), "c12.conf", someRouter("C", "virtual_router_id 8")},
	"globals cut":         {"keepalived.conf", "global_defs {\n dynamic_interfaces\n foo {\n bar\n }\n router_id x\n}\n" + someRouter("A", "")},
	"missing quote":       {"keepalived.conf", head + someRouter("A", password+"abc \"d # }\n }\n priority 4")},
	"empty word":          {"keepalived.conf", head + "\"\"\n" + someRouter("A", "\"\" {\n }\n")},
	"marks":               {"keepalived.conf", "\xef\xbb\xbf" + head + head + someRouter("A", "")},
}
