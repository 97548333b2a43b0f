package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"baton/internal/trial"
)

func TestVerify(t *testing.T) {
	trial.NeedRoot(t)
	const nobody = 65534
	// Each case builds its tree in d, a folder only root can write, and gives
	// the path to verify. In want, D stands for d; empty means accepted.
	tests := map[string]struct {
		build func(x *tree) string
		uid   uint32
		want  string
	}{
		"root's file":           {func(x *tree) string { return x.file("s", 0o755) }, 0, ""},
		"readable by none else": {func(x *tree) string { return x.file("s", 0o700) }, 0, ""},
		"group can write":       {func(x *tree) string { return x.file("s", 0o775) }, 0, "D/s is writable by its group (-rwxrwxr-x): chmod g-w D/s"},
		"others can write":      {func(x *tree) string { return x.file("s", 0o757) }, 0, "D/s is writable by everybody (-rwxr-xrwx): chmod o-w D/s"},
		"somebody else's": {func(x *tree) string { return x.own(x.file("s", 0o755), nobody) }, 0,
			"D/s belongs to nobody: chown root D/s, or keep the program elsewhere, or run it as that user"},
		"the runner's own": {func(x *tree) string { return x.own(x.file("s", 0o755), nobody) }, nobody, ""},
		"another's than the runner's": {func(x *tree) string { return x.own(x.file("s", 0o755), 12345) }, nobody,
			"D/s belongs to user 12345: chown root D/s, or keep the program elsewhere, or run it as that user"},
		"runner's own, all can write": {func(x *tree) string { return x.own(x.file("s", 0o777), nobody) }, nobody,
			"D/s is writable by everybody (-rwxrwxrwx): chmod go-w D/s"},
		"folder": {func(x *tree) string { x.dir("a", 0o777); return x.file("a/s", 0o755) }, 0,
			"D/a is writable by everybody (drwxrwxrwx): chmod go-w D/a"},
		"folder far above": {func(x *tree) string { x.dir("a", 0o775); x.dir("a/b", 0o755); return x.file("a/b/s", 0o755) }, 0,
			"D/a is writable by its group (drwxrwxr-x): chmod g-w D/a"},
		"sticky folder": {func(x *tree) string { x.dir("a", 0o777|os.ModeSticky); return x.file("a/s", 0o755) }, 0,
			"D/a is writable by everybody (dtrwxrwxrwx): keep the program in a folder that only root can write, /etc/baton for instance"},
		"folder of somebody": {func(x *tree) string { x.own(x.dir("a", 0o755), nobody); return x.file("a/s", 0o755) }, 0,
			"D/a belongs to nobody: chown root D/a, or keep the program elsewhere, or run it as that user"},
		"link to good": {func(x *tree) string { x.dir("a", 0o755); x.file("a/s", 0o755); return x.link("l", "a/s") }, 0, ""},
		"link through bad folder": {func(x *tree) string { x.dir("a", 0o777); x.file("a/s", 0o755); return x.link("l", "a/s") }, 0,
			"D/a is writable by everybody (drwxrwxrwx): chmod go-w D/a"},
		"link in bad folder to good": {func(x *tree) string { x.dir("a", 0o777); x.file("s", 0o755); return x.link("a/l", "../s") }, 0,
			"D/a is writable by everybody (drwxrwxrwx): chmod go-w D/a"},
		"absolute link": {func(x *tree) string { x.dir("a", 0o755); x.file("a/s", 0o777); return x.link("l", x.d+"/a/s") }, 0,
			"D/a/s is writable by everybody (-rwxrwxrwx): chmod go-w D/a/s"},
		"linked folder": {func(x *tree) string {
			x.dir("a", 0o755)
			x.dir("bad", 0o777)
			x.dir("bad/b", 0o755)
			x.file("bad/b/s", 0o755)
			x.link("a/b", "../bad/b")
			return filepath.Join(x.d, "a/b/s")
		}, 0, "D/bad is writable by everybody (drwxrwxrwx): chmod go-w D/bad"},
		"out of bad by dots": {func(x *tree) string { x.dir("a", 0o777); x.file("s", 0o755); return x.d + "/a/../s" }, 0,
			"D/a is writable by everybody (drwxrwxrwx): chmod go-w D/a"},
		"link of somebody, root's folder": {func(x *tree) string { x.file("s", 0o755); return x.lown(x.link("l", "s"), nobody) }, 0, ""},
		"links in a ring":                 {func(x *tree) string { x.link("m", "l"); return x.link("l", "m") }, 0, "too many levels of symbolic links"},
		"missing":                         {func(x *tree) string { return x.d + "/none" }, 0, "lstat D/none: no such file or directory"},
		"relative":                        {func(x *tree) string { return "s" }, 0, "s: not an absolute path"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			x := &tree{t: t, d: trial.RootDir(t)}
			err := verify(tt.build(x), tt.uid)
			want := strings.ReplaceAll(tt.want, "D/", x.d+"/")
			switch {
			case (err == nil) != (want == ""):
				t.Errorf("got %v, want %q", err, want)
			case err != nil && !strings.HasSuffix(err.Error(), want):
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestVerify_TempIsRefused(t *testing.T) {
	trial.NeedRoot(t)
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Verify(path); err == nil {
		t.Errorf("%s was accepted", path)
	}
	if err := Verify("/bin/sh"); err != nil {
		t.Error(err)
	}
}

type tree struct {
	t *testing.T
	d string
}

func (x *tree) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *tree) file(name string, mode os.FileMode) string {
	path := filepath.Join(x.d, name)
	x.must(os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600))
	x.must(os.Chmod(path, mode))
	return path
}

func (x *tree) dir(name string, mode os.FileMode) string {
	path := filepath.Join(x.d, name)
	x.must(os.Mkdir(path, 0o700))
	x.must(os.Chmod(path, mode))
	return path
}

func (x *tree) link(name, target string) string {
	path := filepath.Join(x.d, name)
	x.must(os.Symlink(target, path))
	return path
}

func (x *tree) own(path string, uid int) string {
	x.must(os.Chown(path, uid, -1))
	return path
}

func (x *tree) lown(path string, uid int) string {
	x.must(os.Lchown(path, uid, -1))
	return path
}

func TestLookup(t *testing.T) {
	x := &tree{t: t, d: t.TempDir()}
	x.dir("lib", 0o755)
	x.dir("bin", 0o755)
	x.dir("bin/folder", 0o755)
	x.file("lib/both", 0o755)
	x.file("bin/both", 0o755)
	x.file("bin/one", 0o755)
	x.file("lib/unfit", 0o644)
	x.file("bin/unfit", 0o755)
	x.file("bin/data", 0o644)
	tests := map[string]struct{ word, path, err string }{
		"libexec first":   {"both", "D/lib/both", ""},
		"then PATH":       {"one", "D/bin/one", ""},
		"absolute":        {x.d + "/bin/one", "D/bin/one", ""},
		"unfit is passed": {"unfit", "D/bin/unfit", ""},
		"not executable":  {"data", "", "command D/bin/data: is not executable: chmod +x D/bin/data"},
		"folder":          {"folder", "", "command D/bin/folder: is a folder"},
		"device":          {"/dev/null", "", "command /dev/null: is not a file (Dc---------)"},
		"missing":         {"none", "", `command "none": not found in D/lib nor in PATH (.:D/bin)`},
		"relative":        {"bin/one", "", `command "bin/one": neither an absolute path nor a bare word`},
		"empty":           {"", "", "a command's first word is empty"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path, err := lookup(tt.word, x.d+"/lib", ".:"+x.d+"/bin")
			msg := ""
			if err != nil {
				path, msg = "", err.Error()
			}
			place := func(s string) string {
				return strings.ReplaceAll(s, "D/", x.d+"/")
			}
			if path != place(tt.path) || msg != place(tt.err) {
				t.Errorf("got %q, %q", path, msg)
			}
		})
	}
}

// A daemon may be started with an empty environment.
func TestLookup_WithoutPATH(t *testing.T) {
	t.Setenv("PATH", "")
	path, err := Lookup("sh")
	if err != nil || filepath.Base(path) != "sh" {
		t.Errorf("got %q, %v", path, err)
	}
}
