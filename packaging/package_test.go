package packaging

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files of testdata")

// What the packages of the tests are built with: a version before a release, which each family writes in its own way.
const (
	version = "1.2.3-rc.1"
	commit  = "0123456789ab"
	epoch   = "1700000000" // 2023-11-14
)

// files are the packages of a build.
var files = []string{
	"baton_1.2.3~rc.1_amd64.deb", "baton_1.2.3~rc.1_arm64.deb", "baton-1.2.3~rc.1-1.x86_64.rpm", "baton-1.2.3~rc.1-1.aarch64.rpm",
}

// scratch is a folder for what is built once for all tests.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		flag.Parse()
		var err error
		if scratch, err = os.MkdirTemp("", "baton-packaging-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		return m.Run()
	}())
}

// copySource copies the sources to a folder, as somebody has them who unpacked an archive: without .git, and nothing built.
func copySource(dir string) error {
	return filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, ".."))
		switch {
		case path == "../.git" || path == "../bin":
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, info.Mode().Perm())
	})
}

// build makes the packages from a copy of the sources in a folder of that name, and returns the folder that they are in.
func build(name, umask string, env ...string) (string, error) {
	dir := filepath.Join(scratch, name)
	if err := copySource(dir); err != nil {
		return "", err
	}
	cmd := exec.Command("sh", "-c", `umask "$1"; shift; exec "$@"`, "sh", umask, "make", "package", "VERSION="+version, "COMMIT="+commit)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make package in %s: %w\n%s", dir, err, out)
	}
	return filepath.Join(dir, "bin/packages"), nil
}

var built = sync.OnceValues(func() (string, error) { return build("one", "022") })

// packages returns the folder of the packages, which are built once.
func packages(t *testing.T) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// golden compares a text with its file, or writes that.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs; if that is meant, make golden (-want +got):\n%s", name, diff)
	}
}

// Whoever builds, wherever and whenever, gets the same files.
func TestPackages_Reproducible(t *testing.T) {
	one := packages(t)
	other, err := build("a longer name for another folder", "077", "TZ=Pacific/Auckland", "LC_ALL=C.UTF-8", "GOFLAGS=-buildvcs=true")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		var sums [2][32]byte
		for i, dir := range []string{one, other} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			sums[i] = sha256.Sum256(text)
		}
		if sums[0] != sums[1] {
			t.Errorf("%s: %x and %x", name, sums[0], sums[1])
		}
	}
}

// globbed are the folders in which all files of a kind are installed: they stand in a golden file as one line each, so that a new
// page of the documentation does not change it.
var globbed = regexp.MustCompile(`(/usr/share/doc/baton/docs/|/usr/share/doc/baton/configs/|/usr/share/baton/checks/).*(\.[a-z]+)$`)

// contents lists what is in a package: mode, owner, group, path.
func contents(t *testing.T, path string) string {
	t.Helper()
	var lines []string
	if strings.HasSuffix(path, ".rpm") {
		lines = strings.Split(run(t, ".", "rpm", "-qp", "--qf", `[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]`, path), "\n")
	} else {
		for line := range strings.Lines(run(t, ".", "dpkg-deb", "-c", path)) {
			f := strings.Fields(line) // mode, owner/group, size, day, time, path
			lines = append(lines, f[0]+" "+strings.Replace(f[1], "/", " ", 1)+" "+strings.TrimPrefix(f[5], "."))
		}
	}
	for i := range lines {
		lines[i] = globbed.ReplaceAllString(lines[i], "$1*$2")
	}
	slices.Sort(lines)
	return strings.TrimSpace(strings.Join(slices.Compact(lines), "\n")) + "\n"
}

func TestPackages_Contents(t *testing.T) {
	dir := packages(t)
	for _, name := range files {
		golden(t, strings.TrimPrefix(filepath.Ext(name), ".")+".contents", contents(t, filepath.Join(dir, name)))
	}
}

// What both families are told about the package.
func TestPackages_Metadata(t *testing.T) {
	dir := packages(t)
	for _, name := range files {
		var text string
		if strings.HasSuffix(name, ".deb") {
			text = run(t, dir, "dpkg-deb", "-f", name)
			text = regexp.MustCompile(`Installed-Size: [0-9]+`).ReplaceAllString(text, "Installed-Size: ...")
		} else {
			text = run(t, dir, "rpm", "-qp", "--qf", `Name: %{NAME}
Version: %{VERSION}-%{RELEASE}
Architecture: %{ARCH}
License: %{LICENSE}
Packager: %{PACKAGER}
Group: %{GROUP}
Buildhost: %{BUILDHOST}
Summary: %{SUMMARY}
%{DESCRIPTION}
[Requires: %{REQUIRENEVRS}
][Provides: %{PROVIDENEVRS}
]`, name)
		}
		arch := regexp.MustCompile(`(amd64|arm64|x86_64|aarch64)`).FindString(name)
		if !strings.Contains(text, "Architecture: "+arch+"\n") {
			t.Errorf("%s is of another architecture:\n%s", name, text)
		}
		golden(t, strings.TrimPrefix(filepath.Ext(name), ".")+".metadata", strings.ReplaceAll(text, arch, "ARCH"))
	}
}

// extract unpacks a Debian package and returns the folder.
func extract(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, packages(t), "dpkg-deb", "-x", name, dir)
	return dir
}

// The program is of its architecture, is linked with nothing, and says which version it is.
func TestPackages_Program(t *testing.T) {
	for name, machine := range map[string]string{files[0]: "X86-64", files[1]: "AArch64"} {
		path := filepath.Join(extract(t, name), program)
		headers := run(t, ".", "readelf", "-hl", path)
		if !strings.Contains(headers, machine) || strings.Contains(headers, "INTERP") {
			t.Errorf("%s: not a static program for %s:\n%s", name, machine, headers)
		}
	}
	out, err := exec.Command("go", "env", "GOARCH", "GOVERSION").Output()
	if err != nil {
		t.Fatal(err)
	}
	arch, goVersion, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	said := run(t, ".", filepath.Join(extract(t, "baton_1.2.3~rc.1_"+arch+".deb"), program), "version")
	if want := fmt.Sprintf("baton %s commit %s %s\n", version, commit, goVersion); said != want {
		t.Errorf("%q, want %q", said, want)
	}
}

// Each library in the program is named, with its licence.
func TestPackages_Copyright(t *testing.T) {
	dir := extract(t, files[0])
	text, err := os.ReadFile(filepath.Join(dir, "usr/share/doc/baton/copyright"))
	if err != nil {
		t.Fatal(err)
	}
	list := run(t, ".", "go", "version", "-m", filepath.Join(dir, program))
	libraries := regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(list, -1)
	if len(libraries) < 10 {
		t.Fatalf("the program has %d libraries:\n%s", len(libraries), list)
	}
	for _, l := range libraries {
		if _, licence, found := strings.Cut(string(text), "\n"+l[1]+" "+l[2]+"\n\n"); !found || strings.HasPrefix(strings.TrimSpace(licence), "---") {
			t.Errorf("%s %s or its licence is missing", l[1], l[2])
		}
	}
}

func TestPackages_Lintian(t *testing.T) {
	cmd := exec.Command("lintian", "--allow-root", "--info", "--fail-on", "error,warning", filepath.Join(packages(t), files[0]))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Which version and commit a build has, and of which date its packages are.
func TestMakefile_Version(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"Makefile", "VERSION"} {
		text, err := os.ReadFile("../" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile("../VERSION")
	if err != nil {
		t.Fatal(err)
	}
	inFile := string(bytes.TrimSpace(file))
	git := func(argv ...string) string {
		t.Helper()
		return run(t, dir, append([]string{"git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"}, argv...)...)
	}
	// expect looks at the commands that make would run.
	expect := func(release, commit, date string) {
		t.Helper()
		out := run(t, dir, "env", "-u", "SOURCE_DATE_EPOCH", "make", "-n", "package")
		for _, want := range []string{"release=" + release + " ", "commit=" + commit + "'", "VERSION='" + release + "'", "SOURCE_DATE_EPOCH='" + date + "'"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
	}
	run(t, dir, "touch", "-d", "@1600000000", "VERSION")
	expect(inFile, "", "1600000000")

	git("init", "-q")
	git("add", ".")
	t.Setenv("GIT_COMMITTER_DATE", "1650000000 +0000")
	git("commit", "-q", "-m", "one")
	commit := strings.TrimSpace(git("rev-parse", "--short=12", "HEAD"))
	expect(inFile, commit, "1650000000")
	git("tag", "other")
	expect(inFile, commit, "1650000000")
	git("tag", "v9.8.7-rc.1")
	expect("9.8.7-rc.1", commit, "1650000000")

	if err := os.WriteFile(filepath.Join(dir, "VERSION"), []byte("9.9.9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect("9.8.7-rc.1", commit+"-dirty", "1650000000")
	git("commit", "-q", "-a", "-m", "two")
	expect("9.9.9", strings.TrimSpace(git("rev-parse", "--short=12", "HEAD")), "1650000000")
}

// The scripts are POSIX shell, and clean.
func TestScripts_ShellCheck(t *testing.T) {
	scripts, err := filepath.Glob("scripts/*")
	if err != nil || len(scripts) < 3 {
		t.Fatal(scripts, err)
	}
	run(t, ".", append([]string{"shellcheck", "build", "libraries"}, scripts...)...)
}
