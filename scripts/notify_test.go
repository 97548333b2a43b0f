package scripts_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var variables = []string{"BATON_STATE=MASTER", "BATON_ROUTER=web", "BATON_REASON=lb2 left\nFORGED=1", "BATON_TAKEOVER=", "OTHER=x\nBATON_FORGED=1"}

const shown = `BATON_REASON='lb2 left FORGED=1' BATON_ROUTER='web' BATON_STATE='MASTER' BATON_TAKEOVER=''`

func TestNotifyLog_File(t *testing.T) {
	path := func(dir string) string { return filepath.Join(dir, "hooks.log") }
	tests := []struct {
		name string
		args []string // FILE stands for the file
		want string
	}{
		{"any", []string{"--file", "FILE", "INSTANCE", "web", "MASTER", "200"}, "arguments: 'INSTANCE' 'web' 'MASTER' '200' " + shown},
		{"first argument", []string{"FILE", "INSTANCE", "web", "MASTER", "200"}, "arguments: 'INSTANCE' 'web' 'MASTER' '200' " + shown},
		{"none", []string{"--file=FILE"}, "arguments: none " + shown},
		{"own arguments", []string{"--file=FILE", "--", "--file", "two words", "", "a\nb"}, "arguments: '--file' 'two words' '' 'a b' " + shown},
		{"a second path is an argument", []string{"FILE", "/dev/vda", "x"}, "arguments: '/dev/vda' 'x' " + shown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			file := write(t, dir, "hooks.log", "before\n", 0o600)
			args := []string{"--no-syslog"}
			for _, a := range tt.args {
				args = append(args, strings.Replace(a, "FILE", file, 1))
			}
			r := run(t, dir, variables, "notify-log", args...)
			r.expect(t, 0)
			if r.stdout != tt.want+"\n" {
				t.Errorf("printed %q, want %q", r.stdout, tt.want)
			}
			b, err := os.ReadFile(path(dir))
			if err != nil {
				t.Fatal(err)
			}
			stamped := regexp.MustCompile(`^before\n\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} ` + regexp.QuoteMeta(tt.want) + `\n$`)
			if !stamped.Match(b) {
				t.Errorf("the file holds %q, want %q with a time before it", b, tt.want)
			}
		})
	}
}

func TestNotifyLog_FileCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	r := run(t, dir, variables, "notify-log", "--no-syslog", "--file", dir, "x")
	if want := "arguments: 'x' " + shown + "\n"; r.exit != 1 || r.stdout != want {
		t.Errorf("exit status %d, printed %q, want 1 and %q", r.exit, r.stdout, want)
	}
	if want := "notify-log: cannot append to " + dir + "\n"; r.stderr != want {
		t.Errorf("stderr %q, want %q", r.stderr, want)
	}
}

func TestNotifyLog_Syslog(t *testing.T) {
	// A logger that notes its arguments in place of this machine's syslog.
	logger := func(t *testing.T, body string) (dir, path string) {
		dir, bin := t.TempDir(), tools(t, "timeout", "sleep")
		write(t, bin, "logger", "#!/bin/sh\n"+body+"\n", 0o755)
		return dir, "PATH=" + bin
	}
	t.Run("good", func(t *testing.T) {
		dir, path := logger(t, `printf '<%s>' "$@" >called`)
		run(t, dir, append([]string{path}, variables...), "notify-log", "--tag", "vip", "x").expect(t, 0, "arguments: 'x' "+shown)
		b, err := os.ReadFile(filepath.Join(dir, "called"))
		if err != nil {
			t.Fatal(err)
		}
		if want := "<-t><vip><-p><daemon.notice><--><arguments: 'x' " + shown + ">"; string(b) != want {
			t.Errorf("logger was called with %s, want %s", b, want)
		}
	})
	t.Run("refused", func(t *testing.T) {
		dir, path := logger(t, "exit 1")
		if r := run(t, dir, []string{path}, "notify-log"); r.exit != 1 || r.stdout != "arguments: none\n" || r.stderr != "notify-log: logger failed\n" {
			t.Errorf("exit status %d, printed %q, stderr %q", r.exit, r.stdout, r.stderr)
		}
	})
	t.Run("hangs", func(t *testing.T) {
		dir, path := logger(t, "exec sleep 60")
		if r := run(t, dir, []string{path}, "notify-log", "--timeout", "0.2"); r.exit != 1 || r.took > 5*time.Second {
			t.Errorf("exit status %d after %v, want 1 after 0.2s", r.exit, r.took)
		}
	})
	t.Run("not wanted", func(t *testing.T) {
		dir, path := logger(t, "exit 1")
		run(t, dir, []string{path}, "notify-log", "--no-syslog").expect(t, 0, "arguments: none")
	})
	t.Run("not there", func(t *testing.T) {
		run(t, "", []string{"PATH=" + tools(t)}, "notify-log").expect(t, 0, "arguments: none")
	})
}
