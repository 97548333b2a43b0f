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
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// oracleRouter is a router as keepalived's own dump shows it, and as the blocks say.
type oracleRouter struct {
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
	var all sync.WaitGroup
	places := make(chan bool, 8)
	for name, texts := range oracleFiles {
		main := filepath.Join(writeFiles(t, texts...), "keepalived.conf")
		all.Go(func() {
			places <- true
			defer func() { <-places }()
			dump, err := dumpOf(t.Context(), main)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			f, err := Read(main, Options{ID: "host1"})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			log, _, _ := strings.Cut(dump, "< Global definitions >")
			if diff := cmp.Diff(dumped(dump), said(f.Blocks)); diff != "" {
				t.Errorf("%s (-keepalived +read):\n%s\n%s", name, diff, log)
			}
			if len(dumped(dump)) == 0 {
				t.Errorf("%s: nothing to compare:\n%s", name, log)
			}
		})
	}
	all.Wait()
}

// dumpOf runs keepalived until it has dumped its configuration.
func dumpOf(ctx context.Context, file string) (string, error) {
	ctx, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
		`mount -t tmpfs none /run && exec keepalived --dont-fork --log-console --log-detail --dump-conf --vrrp --config-id host1 --use-file "$0"`, file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return "", err
	}
	var dump strings.Builder
	for s := bufio.NewScanner(out); s.Scan(); {
		fmt.Fprintln(&dump, s.Text())
		if strings.Contains(s.Text(), "< Interfaces >") {
			break
		}
	}
	stop()
	_ = cmd.Wait() // it was killed
	return dump.String(), nil
}

var stamp = regexp.MustCompile(`^\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}: {2}`)

// dumped reads a dump.
func dumped(text string) []oracleRouter {
	var all []oracleRouter
	var list *[]string
	for line := range strings.Lines(text) {
		line = stamp.ReplaceAllString(strings.TrimRight(line, "\n"), "")
		key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		if key == "VRRP Instance" {
			all = append(all, oracleRouter{Name: value})
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
func said(blocks []*Block) []oracleRouter {
	var all []oracleRouter
	for _, b := range blocks {
		if b.Keyword() != "vrrp_instance" {
			continue
		}
		i := oracleRouter{Name: b.Words[1].Text}
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

const globalsText = "global_defs {\n dynamic_interfaces\n}\n"

// routerText is an instance with lines of the test's own.
func routerText(name, lines string) string {
	return "vrrp_instance " + name + " {\n state BACKUP\n interface eth9\n virtual_router_id 51\n priority 100\n " + lines + "\n}\n"
}

// routerTexts is an instance for each.
func routerTexts(lines ...string) string {
	var all strings.Builder
	for i, l := range lines {
		all.WriteString(routerText(fmt.Sprintf("R%d", i), fmt.Sprintf("virtual_router_id %d\n %s", i+1, l)))
	}
	return all.String()
}

const passwordText = "authentication {\n auth_type PASS\n auth_pass "

// oracleFiles is a set of files per construct: what the parser makes of it is seen in
// names, passwords, scripts and addresses.
var oracleFiles = map[string][]string{
	"passwords": {"keepalived.conf", globalsText + routerTexts(
		passwordText+"a\\#b\n }",                  // escaped hash
		passwordText+"a\\!b\n }",                  // escaped bang
		passwordText+"\"a#b!c\"\n }",              // quoted hash
		passwordText+"\"a\\#b\"\n }",              // quoted escaped hash
		passwordText+"'a b'\n }",                  // single quotes
		passwordText+"a\"b c\"d\n }",              // quote inside
		passwordText+"a\\\\b\\x\n }",              // backslashes
		passwordText+"\"a{b}\"\n }",               // quoted brace
		passwordText+"a$b$$\n }",                  // dollars
		passwordText+"$x\n }",                     // undefined
		passwordText+"a${_HASH}b\n }",             // hash
		passwordText+"\"a${_HASH}b${_BANG}\"\n }", // hash quoted
	)},
	"scripts": {"keepalived.conf", globalsText + routerTexts(
		`notify_master "/usr/bin/echo 'a b' c\"d \x41\tz 'e\'f' g\\\\h"`,      // script
		`notify_master "/usr/bin/echo 'a b' c\\\"d \\x41\\tz 'e\\'f' g\\\\h"`, // script twice
		`notify_master /usr/bin/echo\ x`,                                      // script bare
		`notify_master '/usr/bin/echo "a b" c' root`,                          // script single
		`notify_master "/usr/bin/echo \101 \\101 \cA\e"`,                      // script octal
		`notify_master "/usr/bin/echo "'a b'"c"`,                              // script glued
		"notify_master \"/usr/bin/echo a\n priority 7",                        // script open quote
	)},
	"blocks": {"keepalived.conf", globalsText + routerTexts(
		"virtual_ipaddress {\n 10.0.0.1/24 dev eth9 label x\n 10.0.0.2/25\n}",                     // plain
		"# x }\n! y {\n virtual_ipaddress { # {\n 10.0.0.1/24 ! }\n 10.0.0.2/24# x\n}",            // comments
		"virtual_ipaddress { 10.0.0.1/24 } virtual_ipaddress_excluded { 10.0.0.2/24 } priority 7", // one line, several
		"# x \\\n priority 8",             // comment continued
		"priority \\\n 7\n priority 8 \\", // continued
		"@host1 priority 7\n @host2 priority 8\n @^host1 priority 9\n @^host2 virtual_router_id 8\n @host1\n @host1.example priority 10\n", // ids
		"virtual_ipaddress { @host1 10.0.0.1/24\n @host2 10.0.0.2/24 }\n }\n",                                                              // ids after braces
	)},
	"sequences": {"keepalived.conf", globalsText + routerTexts(
		"virtual_ipaddress {\n ~SEQ(i, 1, 3) 10.0.0.$i\n 10.0.1.1\n ~SEQ(i, 1, 3, 9) 10.0.1.${i}/24\n ~SEQ(i,3) 10.0.2.${i}/24\n ~SEQ(i,6,5) 10.0.3.${i}/24\n ~SEQ(i,1,4,8) 10.0.4.${i}/24 }\n", // sequence
		"virtual_ipaddress {\n 10.0.0.1\n ~SEQ(i, 1, 0, 3) 10.0.0.${i}\n ~SEQ(i, x, 2) 10.0.1.${i}\n ~SEQ(1,2) 10.0.2.9\n ~SEQ i 10.0.2.7\n ~SEQ(i,3,-1,1) 10.0.2.${i}\n }\n",                   // sequence bad
		"virtual_ipaddress {\n ~SEQx(i, 9, 11) fd00::${i}/64\n }\n",                                                    // sequence hex
		"virtual_ipaddress {\n ~SEQ(i, 07, 0x9) 10.0.0.${i}/24\n }\n",                                                  // sequence octal
		"virtual_ipaddress {\n ~SEQ(i, 1, 2) ~SEQ(j, $i, 3) 10.0.${i}.${j}/24\n 10.1.1.1\n }\n",                        // sequence nested
		"virtual_ipaddress {\n ~LST(i, 1, 5,7 ) 10.0.0.$i\n ~LST({a, b}, {1, 2}, {3}, {4,5}) 10.0.${a}.1${b}/24\n }\n", // list
		"virtual_ipaddress {\n 10.0.0.1\n ~LST(i 1) 10.0.1.1\n ~LST({a,b}, {1,2,3}) 10.0.1.2\n ~LST(a, 1\n }\n",        // list bad
	)},
	"brace in word":         {"keepalived.conf", globalsText + routerText("A", passwordText+"a{b\n }\n priority 9")},
	"one line":              {"keepalived.conf", globalsText + "vrrp_instance A { state BACKUP\n interface eth9\n virtual_router_id 5\n priority 9\n virtual_ipaddress { 10.0.0.1/24 dev eth9 } }\n"},
	"braces alone":          {"keepalived.conf", globalsText + "vrrp_instance A\n{\nstate BACKUP\ninterface eth9\nvirtual_router_id 5\npriority 9\nvirtual_ipaddress\n\n{\n10.0.0.1/24\n}\n}\n"},
	"brace glued":           {"keepalived.conf", globalsText + "vrrp_instance A{\nstate BACKUP\ninterface eth9\nvirtual_router_id 5\npriority 9\nvirtual_ipaddress{\n10.0.0.1/24}\n}\n"},
	"carriage returns":      {"keepalived.conf", strings.ReplaceAll(globalsText+routerText("A", "virtual_ipaddress {\n 10.0.0.1/24\n}"), "\n", "\r\n")},
	"no final newline":      {"keepalived.conf", globalsText + strings.TrimRight(routerText("A", "priority 8"), "\n")},
	"unknown keyword":       {"keepalived.conf", globalsText + routerText("A", "prioriti 7\n priority 8") + "foo bar\n" + routerText("B", "priority 9\nvirtual_router_id 6")},
	"unknown block":         {"keepalived.conf", globalsText + routerText("A", "foo {\n priority 7\n priority 8\n }\n priority 9") + routerText("B", "virtual_router_id 6")},
	"unknown root block":    {"keepalived.conf", globalsText + "foo {\n bar\n}\n" + routerText("A", "")},
	"block of no block":     {"keepalived.conf", globalsText + routerText("A", "priority 7 {\n }\n priority 8")},
	"missing close":         {"keepalived.conf", globalsText + routerText("A", "virtual_ipaddress {\n 10.0.0.1/24") + "vrrp_instance B {\n priority 4\n}\n"},
	"missing open":          {"keepalived.conf", globalsText + "vrrp_instance A\n state BACKUP\n interface eth9\n virtual_router_id 5\n priority 9\n}\n" + routerText("B", "virtual_router_id 6")},
	"surplus close":         {"keepalived.conf", globalsText + routerText("A", "") + "}\n}\n" + routerText("B", "virtual_router_id 6")},
	"surplus open":          {"keepalived.conf", globalsText + routerText("A", "{ priority 9") + routerText("B", "virtual_router_id 6")},
	"no value brace":        {"keepalived.conf", globalsText + routerText("A", "virtual_ipaddress\n 10.0.0.1/24\n 10.0.0.2/24\n }\n priority 9")},
	"virtual server":        {"keepalived.conf", globalsText + "virtual_server 10.0.0.1 80 {\n real_server 10.0.0.2 80 {\n foo { bar { } }\n }\n}\n" + routerText("A", "") + "virtual_server_group G { 1.2.3.4 80 }\n" + routerText("B", "virtual_router_id 7")},
	"same name":             {"keepalived.conf", globalsText + routerText("A", "") + routerText("A", "priority 7\n foo {\n }") + routerText("B", "virtual_router_id 7")},
	"two names":             {"keepalived.conf", globalsText + "vrrp_instance A B {\n foo {\n }\n priority 8\n}\n" + routerText("C", "")},
	"no name":               {"keepalived.conf", globalsText + "vrrp_instance {\n priority 8\n}\n" + routerText("C", "")},
	"quoted name":           {"keepalived.conf", globalsText + routerText("\"A b\"", "")},
	"a definition too long": {"keepalived.conf", "$A=" + strings.Repeat("7", 600) + "\n" + globalsText + routerText("A", "foo ${A} x ${A}\n priority 8") + routerText("B", "virtual_router_id 6\n priority 7")},
	"a long line":           {"keepalived.conf", globalsText + routerText("A", "virtual_ipaddress {\n 10.0.0.1/24 "+strings.Repeat(" ", 1023-13)+"10.0.0.2/24\n }")},
	"a long comment":        {"keepalived.conf", globalsText + routerText("A", "# "+strings.Repeat("x", 1022-3)+" \npriority 8\n"+"# "+strings.Repeat("x", 1021)+"priority 9")},
	"ids of blocks":         {"keepalived.conf", globalsText + "@host2 vrrp_instance B {\n@host1 vrrp_instance A {\n state BACKUP\n interface eth9\n virtual_router_id 5\n priority 7 @host2 8\n}\n"},
	"definition":            {"keepalived.conf", "$P=7\n$N = 8\n$_x9=10.0.0.1\n" + globalsText + routerText("A", "priority $P\n virtual_ipaddress {\n ${_x9}/24\n $_x9/25\n}")},
	"definition, spaces":    {"keepalived.conf", "$P=  7  # c\n" + globalsText + routerText("A", "priority   ${P}")},
	"definition anew":       {"keepalived.conf", "$P=7\n" + globalsText + routerText("A", "priority $P\n$P=8\npriority $P")},
	"definition late":       {"keepalived.conf", "$A=${B}\n$B=7\n" + globalsText + routerText("A", "priority $A\n$B=8\npriority $A")},
	"definition of more":    {"keepalived.conf", "$A=virtual_ipaddress { 10.0.0.1/24 }\n$B=10.0.0.2/24 10.0.0.3\n" + globalsText + routerText("A", "$A\n virtual_ipaddress_excluded {\n $B\n }")},
	"definition in word":    {"keepalived.conf", "$A=1\n" + globalsText + routerText("A", "priority ${A}${A}\n virtual_ipaddress {\n 10.${A}.0.${A}/2${A}\n}")},
	"definition, comma":     {"keepalived.conf", "$A=1\n" + globalsText + routerText("x$A", "") + routerText("y$A,$A)", "virtual_router_id 9")},
	"undefined braces":      {"keepalived.conf", globalsText + routerText("A", "priority ${x}\n priority 9")},
	"blank in braces":       {"keepalived.conf", "$A=1\n" + globalsText + routerText("A", passwordText+"${A }z\n }")},
	"lines":                 {"keepalived.conf", "$A=virtual_ipaddress {\\\n  10.0.0.1/24 \\\n # c\n 10.0.0.2/24 \\\n }\n\n" + globalsText + routerText("A", "$A\n priority 9")},
	"lines, whole":          {"keepalived.conf", "$A= \\\n vrrp_instance A$N { \\\n state BACKUP \\\n interface eth9 \\\n virtual_router_id 1$N \\\n priority $N \\\n }\n$N=7\n" + globalsText + "$A\n$N=8\n$A\n"},
	"lines, nested":         {"keepalived.conf", "$V= \\\n virtual_ipaddress { \\\n 10.0.0.${N}/24 \\\n }\n$A= \\\n state BACKUP \\\n interface eth9 \\\n virtual_router_id 1${N} \\\n $V \\\n priority 7$N\n$N=7\n" + globalsText + "vrrp_instance A {\n $A\n}\n$N=8\nvrrp_instance B { $A\n }\n"},
	"lines, one":            {"keepalived.conf", "$A=priority 8\\\npriority 7\n" + globalsText + routerText("A", "${A}")},
	"lines, middle":         {"keepalived.conf", "$A=priority 7\\\n priority 8\n" + globalsText + routerText("A", "$A x\n")},
	"lines, blank end":      {"keepalived.conf", "$A=priority 7 \\\n\n" + globalsText + routerText("A", "$A")},
	"instance":              {"keepalived.conf", globalsText + routerText("A${_INSTANCE}", "")},
	"sequence of blocks":    {"keepalived.conf", "$R= \\\n vrrp_instance A$i { \\\n state BACKUP \\\n interface eth9 \\\n virtual_router_id $i \\\n ~SEQ(j, 1, 2) priority 10$j \\\n }\n" + globalsText + "~SEQ(i, 1, 3) $R\n"},
	"sequence of lines":     {"keepalived.conf", globalsText + routerText("A", "virtual_ipaddress {\n ~SEQ(i, 1, 3) 10.0.0.$i }\n 10.0.1.1\n }\n")},
	"sequence in value":     {"keepalived.conf", "$S=~SEQ(i, 1, 2) 10.0.0.$i\n" + globalsText + routerText("A", "virtual_ipaddress {\n $S\n }\n")},
	"include":               {"keepalived.conf", globalsText + "include conf.d/*.conf\n", "conf.d/b.conf", routerText("B", "virtual_router_id 9\n include ../x"), "conf.d/a.conf", routerText("A", ""), "conf.d/.hidden.conf", routerText("H", "virtual_router_id 10"), "x", "priority 5\ninclude conf.d/y", "conf.d/y", "garp_master_delay 3\n priority 4\n"},
	"include braces":        {"keepalived.conf", globalsText + "include {b,nothing,a}.conf\n", "b.conf", routerText("B", "virtual_router_id 9"), "a.conf", routerText("A", "")},
	"include missing":       {"keepalived.conf", globalsText + "include nothing\ninclude \"a.conf\"\ninclude nothing/*.conf\n" + routerText("B", "virtual_router_id 9"), "a.conf", routerText("A", "")},
	"include of part":       {"keepalived.conf", globalsText + "vrrp_instance A {\n state BACKUP\n interface eth9\ninclude a.conf\n virtual_router_id 9\n }\n", "a.conf", "priority 7\n virtual_ipaddress {\n 10.0.0.1/24\n}"},
	"include over end":      {"keepalived.conf", globalsText + "include a.conf\n virtual_router_id 9\n}\n", "a.conf", "vrrp_instance A {\n state BACKUP\n interface eth9\n priority 7"},
	"include in sequence":   {"keepalived.conf", globalsText + "~SEQ(i, 1, 2) include a$i\n" + routerText("C", "virtual_router_id 9"), "a1", routerText("A", ""), "a2", routerText("B", "virtual_router_id 6")},
	"include in lines":      {"keepalived.conf", "$I= \\\n$F= x$N \\\n$N=3\n" + globalsText + "$J=include a\n${J}1\n" + routerText("C", "virtual_router_id 9"), "a1", routerText("A", "")},
	"include with ids":      {"keepalived.conf", globalsText + "@host1 include a\n@host2 include b\n", "a", routerText("A", ""), "b", routerText("B", "virtual_router_id 9")},
	"include brackets":      {"keepalived.conf", globalsText + "include [^b]?.conf\n", "a1.conf", routerText("A", ""), "b1.conf", routerText("B", "virtual_router_id 9"), "c12.conf", routerText("C", "virtual_router_id 8")},
	"globals cut":           {"keepalived.conf", "global_defs {\n dynamic_interfaces\n foo {\n bar\n }\n router_id x\n}\n" + routerText("A", "")},
	"missing quote":         {"keepalived.conf", globalsText + routerText("A", passwordText+"abc \"d # }\n }\n priority 4")},
	"empty word":            {"keepalived.conf", globalsText + "\"\"\n" + routerText("A", "\"\" {\n }\n")},
	"marks":                 {"keepalived.conf", "\xef\xbb\xbf" + globalsText + globalsText + routerText("A", "")},
}
