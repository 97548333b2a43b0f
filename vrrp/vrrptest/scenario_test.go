package vrrptest

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the output in testdata; read the difference before you commit it")

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Errorf("only %d scenarios", len(files))
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Run(string(b))
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(strings.Split(string(b), "\n"), strings.Split(got, "\n")); d != "" {
				t.Errorf("%s (-want +got):\n%s", path, d)
			}
			again, err := Run(string(b))
			if err != nil || again != got {
				t.Error("a second run had another outcome")
			}
		})
	}
}

// Mistakes in a scenario are errors with the line, and so is an expectation
// that is not met, also when the output is rewritten.
func TestRun_Errors(t *testing.T) {
	setup := "node n1 192.0.2.1\nrouter 51 192.0.2.100 n1=100\n"
	for script, want := range map[string]string{
		"dance":                                   "line 1: dance: no such command",
		"lan speed=9":                             "line 1: lan speed=9: speed=9: no such setting",
		"node n1 here":                            "line 1: node n1 here: here: ParseAddr",
		setup + "start n2":                        "line 3: start n2: there is no node n2",
		setup + "start n1/52":                     "line 3: start n1/52: there is no router n1/52",
		setup + "priority n1 300":                 "line 3: priority n1 300: strconv",
		setup + "start\nexpect n1/51 MASTER":      "line 4: expect n1/51 MASTER: n1/51 is BACKUP",
		setup + "start\nexpect 192.0.2.100 at n1": "line 4: expect 192.0.2.100 at n1: 192.0.2.100 is at nobody",
		setup + "router 52 2001:db8::1 n1=1":      "line 3: router 52 2001:db8::1 n1=1: add router 52 to node n1: the node has no IPv6 address",
		setup + "router 51 192.0.2.101 n1=1":      "line 3: router 51 192.0.2.101 n1=1: node n1: add router VRID 51 IPv4: the VRID is taken on this link",
	} {
		_, err := Run(script)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\ngot  %v\nwant %s", script, err, want)
		}
	}
}
