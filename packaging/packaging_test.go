// Package packaging has what the packages install beside the program, and its
// tests. What a running systemd makes of the units is tested in ../test.
package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// program is where the units find baton.
const program = "/usr/sbin/baton"

// units are the unit files.
func units(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("*.service")
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	return names
}

// copied copies the units to a folder, with a program that is there.
func copied(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range units(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), program) {
			t.Errorf("%s does not run %s", name, program)
		}
		text = []byte(strings.ReplaceAll(string(text), program, "/bin/true"))
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	socket, err := os.ReadFile("baton-runner.socket")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "baton-runner.socket"), socket, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// run runs one of systemd's tools, which need no systemd that runs.
func run(t *testing.T, dir string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":", "SYSTEMD_COLORS=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

func TestUnits_Verify(t *testing.T) {
	dir := copied(t)
	for _, name := range append(units(t), "baton-runner.socket") {
		if out := run(t, dir, "systemd-analyze", "verify", "--man=no", "./"+name); strings.Contains(out, dir) || strings.Contains(out, "baton") {
			t.Errorf("%s:\n%s", name, out)
		}
	}
}

// Each drop-in goes with the unit.
func TestDropIns_Verify(t *testing.T) {
	names, err := filepath.Glob("drop-ins/*.conf")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		dir := copied(t)
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, "baton.service.d"), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "baton.service.d", filepath.Base(name)), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if out := run(t, dir, "systemd-analyze", "verify", "--man=no", "./baton.service"); strings.Contains(out, dir) || strings.Contains(out, "baton") {
			t.Errorf("%s:\n%s", name, out)
		}
	}
}

// The figure in the guide is the one that systemd gives.
func TestUnits_Exposure(t *testing.T) {
	dir := copied(t)
	guide, err := os.ReadFile("../docs/operation.md")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile("`(baton[a-z-]*\\.service)` has an exposure of ([0-9]+\\.[0-9])").FindAllStringSubmatch(string(guide), -1)
	if len(said) == 0 {
		t.Error("docs/operation.md says nothing of the exposure")
	}
	for _, s := range said {
		out := run(t, dir, "systemd-analyze", "security", "--offline=yes", "--threshold=25", "--no-pager", "./"+s[1])
		if want := fmt.Sprintf("Overall exposure level for %s: %s ", s[1], s[2]); !strings.Contains(out, want) {
			t.Errorf("the guide says %q, systemd:\n%s", want, out)
		}
	}
}

func TestSysusers(t *testing.T) {
	file, err := filepath.Abs("baton.sysusers")
	if err != nil {
		t.Fatal(err)
	}
	if out := run(t, ".", "systemd-sysusers", "--dry-run", file); strings.Contains(out, file) {
		t.Error(out)
	}
}

// Whatever the units run is a command of baton.
func TestUnits_Commands(t *testing.T) {
	out, err := exec.Command("go", "run", "../cmd/baton", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range units(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(regexp.QuoteMeta(program)+` (\S+)`).FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(string(out), "\n  "+m[1]+" ") {
				t.Errorf("%s: there is no command %q", name, m[1])
			}
		}
	}
}
