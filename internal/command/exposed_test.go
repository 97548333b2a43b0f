package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"baton/internal/trial"
)

func TestExposed(t *testing.T) {
	trial.NeedRoot(t)
	const nobody = 65534
	group := func(x *tree, path string) string { // not root's: a build machine may have any
		x.must(os.Lchown(path, -1, nobody))
		return path
	}
	// As in TestVerify; want is the problem and the mend.
	tests := map[string]struct {
		build      func(x *tree) string
		uid        uint32
		want, mend string
	}{
		"root's":                {func(x *tree) string { return x.file("f", 0o644) }, nobody, "", ""},
		"the daemon's own":      {func(x *tree) string { return x.own(x.file("f", 0o600), nobody) }, nobody, "", ""},
		"readable by its group": {func(x *tree) string { return group(x, x.file("f", 0o640)) }, nobody, "", ""},
		"root's group":          {func(x *tree) string { return x.file("f", 0o664) }, 0, "", ""},
		"somebody's":            {func(x *tree) string { return x.own(x.file("f", 0o600), 12345) }, nobody, "D/f belongs to user 12345, who could change it", "chown root D/f"},
		"group":                 {func(x *tree) string { return group(x, x.file("f", 0o664)) }, 0, "D/f is writable by its group (-rw-rw-r--)", "chmod g-w D/f"},
		"everybody":             {func(x *tree) string { return x.file("f", 0o666) }, 0, "D/f is writable by everybody (-rw-rw-rw-)", "chmod o-w D/f"},
		"both":                  {func(x *tree) string { return group(x, x.file("f", 0o622)) }, 0, "D/f is writable by everybody (-rw--w--w-)", "chmod go-w D/f"},
		"own, and everybody's":  {func(x *tree) string { return x.own(x.file("f", 0o602), nobody) }, nobody, "D/f is writable by everybody (-rw-----w-)", "chmod o-w D/f"},
		"folder": {func(x *tree) string { x.dir("a", 0o757); return x.file("a/f", 0o644) }, 0,
			"D/a is writable by everybody (drwxr-xrwx)", "chmod o-w D/a"},
		"somebody's folder": {func(x *tree) string { x.own(x.dir("a", 0o755), nobody); return x.file("a/f", 0o644) }, 0,
			"D/a belongs to nobody, who could change it", "chown root D/a"},
		"sticky folder": {func(x *tree) string { x.dir("a", 0o777|os.ModeSticky); return x.file("a/f", 0o644) }, 0, "", ""},
		"link":          {func(x *tree) string { x.dir("a", 0o755); x.file("a/f", 0o644); return x.link("l", "a/f") }, 0, "", ""},
		"somebody's link in a sticky folder": {func(x *tree) string {
			x.file("f", 0o644)
			x.dir("a", 0o777|os.ModeSticky)
			return x.lown(x.link("a/l", "../f"), nobody)
		}, 0, "D/a/l belongs to nobody, who could change it", "chown root D/a/l"},
		"link to a bad folder": {func(x *tree) string { x.dir("a", 0o777); x.file("a/f", 0o644); return x.link("l", "a/f") }, 0,
			"D/a is writable by everybody (drwxrwxrwx)", "chmod o-w D/a"},
		"missing": {func(x *tree) string { return x.d + "/none" }, 0, "lstat D/none: no such file or directory", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			x := &tree{t: t, d: trial.RootDir(t)}
			problem, mend := exposed(tt.build(x), tt.uid)
			if want := strings.ReplaceAll(tt.want, "D/", x.d+"/"); problem != want {
				t.Errorf("problem %q, want %q", problem, want)
			}
			if want := strings.ReplaceAll(tt.mend, "D/", x.d+"/"); mend != want {
				t.Errorf("mend %q, want %q", mend, want)
			}
		})
	}
}

// A relative name is one, and what this user has just made is his own.
func TestExposed_Relative(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("f", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if problem, mend := Exposed("f"); problem != "" {
		t.Error(problem, mend)
	}
	if problem, _ := Exposed("none"); !strings.Contains(problem, string(filepath.Separator)+"none") {
		t.Error(problem)
	}
}
