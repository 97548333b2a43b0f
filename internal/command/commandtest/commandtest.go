// Package commandtest is the test of whatever runs commands: in this process, or
// in another one.
package commandtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"baton/internal/command"
	"baton/internal/trial"

	"github.com/google/go-cmp/cmp"
)

// Run tests it. start returns what runs commands for one test; its programs run in
// this process's namespaces, as this process's user.
func Run(t *testing.T, start func(t *testing.T) command.RunFunc) {
	t.Run("Result", func(t *testing.T) { result(t, start(t)) })
	t.Run("TimeoutKillsGroup", func(t *testing.T) { timeoutKillsGroup(t, start(t)) })
	t.Run("KillGrace", func(t *testing.T) { killGrace(t, start(t)) })
	t.Run("Cancelled", func(t *testing.T) { cancelled(t, start(t)) })
	t.Run("ContextDeadline", func(t *testing.T) { contextDeadline(t, start(t)) })
	t.Run("OutputFlood", func(t *testing.T) { outputFlood(t, start(t)) })
	t.Run("OutputWhole", func(t *testing.T) { outputWhole(t, start(t)) })
	t.Run("User", func(t *testing.T) { user(t, start(t)) })
	t.Run("StartProblems", func(t *testing.T) { startProblems(t, start(t)) })
}

func sh(script string) command.Spec {
	return command.Spec{Argv: []string{"sh", "-c", script}, Timeout: 10 * time.Second}
}

func result(t *testing.T, run command.RunFunc) {
	tests := map[string]struct {
		spec   command.Spec
		ok     bool
		text   string // Result.String
		output string
	}{
		"success":           {sh("echo all well; echo more"), true, "exit 0: all well", "all well\nmore\n"},
		"silent":            {sh("exit 0"), true, "exit 0", ""},
		"failure":           {sh("echo not synced >&2; exit 3"), false, "exit 3: not synced", "not synced\n"},
		"both streams":      {sh("echo one; echo two >&2; exit 1"), false, "exit 1: one", "one\ntwo\n"},
		"signal":            {sh("kill -SEGV $$"), false, "killed by SIGSEGV", ""},
		"real-time signal":  {sh("kill -40 $$"), false, "killed by signal 40", ""},
		"no shell":          {command.Spec{Argv: []string{"echo", "a|b", "$HOME"}, Timeout: time.Second}, true, "exit 0: a|b $HOME", "a|b $HOME\n"},
		"stdin is empty":    {sh("cat; echo end"), true, "exit 0: end", "end\n"},
		"root folder":       {sh("pwd"), true, "exit 0: /", "/\n"},
		"folder":            {command.Spec{Argv: []string{"pwd"}, Dir: "/usr", Timeout: time.Second}, true, "exit 0: /usr", "/usr\n"},
		"no folder":         {command.Spec{Argv: []string{"pwd"}, Dir: "/nowhere", Timeout: time.Second}, false, "run /usr/bin/pwd in /nowhere: no such file or directory", ""},
		"umask":             {sh("umask"), true, "exit 0: 0022", "0022\n"},
		"no program":        {command.Spec{Argv: []string{"no-such-program-here"}, Timeout: time.Second}, false, `command "no-such-program-here": not found in /usr/libexec/baton nor in PATH (` + os.Getenv("PATH") + ")", ""},
		"no file":           {command.Spec{Argv: []string{"/nowhere/x"}, Timeout: time.Second}, false, "command /nowhere/x: file does not exist", ""},
		"no user":           {command.Spec{Argv: []string{"id"}, User: &command.User{Name: "nobody-here"}, Timeout: time.Second}, false, `user "nobody-here" does not exist on this host`, ""},
		"nameless user":     {command.Spec{Argv: []string{"id"}, User: &command.User{}, Timeout: time.Second}, false, "a user has neither a name nor a number", ""},
		"no words":          {command.Spec{Timeout: time.Second}, false, "no command", ""},
		"no timeout":        {command.Spec{Argv: []string{"id"}}, false, "run id: no timeout", ""},
		"escape sequences":  {sh(`printf '\033[2J\007red\tx\377\n'`), true, `exit 0: \x1b[2J\ared x\xff`, "\033[2J\007red\tx\377\n"},
		"blank lines first": {sh(`printf '\n \r\nwords\r\n'`), true, "exit 0: words", "\n \r\nwords\r\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := run(t.Context(), tt.spec)
			if res.OK() != tt.ok || res.String() != tt.text {
				t.Errorf("got %v %q, want %v %q", res.OK(), res, tt.ok, tt.text)
			}
			if diff := cmp.Diff(tt.output, string(res.Output)); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			if res.Left != nil || res.TimedOut {
				t.Errorf("left %v, timed out %v", res.Left != nil, res.TimedOut)
			}
		})
	}
}

func timeoutKillsGroup(t *testing.T, run command.RunFunc) {
	s := sh("sleep 100 & echo $!; wait")
	s.Timeout = time.Second // enough for the shell to say the number
	res := run(t.Context(), s)
	if !res.TimedOut || res.OK() || res.Took < s.Timeout || res.Took > s.Timeout+5*time.Second {
		t.Fatalf("timed out %v after %v", res.TimedOut, res.Took)
	}
	pid, err := strconv.Atoi(res.FirstLine())
	if err != nil {
		t.Fatalf("%q: %v", res, err)
	}
	if want := fmt.Sprintf("timed out after 1s: %d", pid); res.Left == nil && res.String() != want {
		t.Errorf("got %q, want %q", res, want)
	}
	trial.Await(t, 5*time.Second, "the grandchild is dead", func() bool { return !trial.Alive(pid) })
	trial.Await(t, 5*time.Second, "no child is left", func() bool { return len(trial.Children(t)) == 0 })
}

func killGrace(t *testing.T, run command.RunFunc) {
	t.Run("ends on SIGTERM", func(t *testing.T) {
		s := sh("trap 'echo bye; exit 0' TERM; sleep 100 & wait")
		s.Timeout, s.Kill = time.Second, 10*time.Second
		res := run(t.Context(), s)
		if !res.TimedOut || res.Exit != 0 || res.String() != "timed out after 1s: bye" || res.Took > 8*time.Second {
			t.Errorf("got %+v %q", res, res)
		}
	})
	t.Run("needs SIGKILL", func(t *testing.T) {
		s := sh("trap '' TERM; while :; do sleep 0.01; done")
		s.Timeout, s.Kill = 100*time.Millisecond, 200*time.Millisecond
		res := run(t.Context(), s)
		if !res.TimedOut || (res.Signal != "SIGKILL" && res.Left == nil) || res.Took < 300*time.Millisecond {
			t.Errorf("got %+v", res)
		}
	})
}

func cancelled(t *testing.T, run command.RunFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	res := run(ctx, sh("exec sleep 100"))
	if res.TimedOut || !errors.Is(res.Err, context.Canceled) || res.OK() || res.Took > 5*time.Second {
		t.Errorf("got %+v", res)
	}
}

func contextDeadline(t *testing.T, run command.RunFunc) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if res := run(ctx, sh("exec sleep 100")); !strings.HasPrefix(res.String(), "timed out after 100ms") {
		t.Errorf("got %q", res)
	}
}

func outputFlood(t *testing.T, run command.RunFunc) {
	res := run(t.Context(), sh("dd if=/dev/zero bs=1M count=20 2>/dev/null | tr '\\0' x; echo; echo end >&2; exit 4"))
	if res.Exit != 4 || res.TimedOut {
		t.Errorf("got %d, timed out %v", res.Exit, res.TimedOut)
	}
	if want := strings.Repeat("x", 4<<10); string(res.Output) != want {
		t.Errorf("%d bytes", len(res.Output))
	}
}

func outputWhole(t *testing.T, run command.RunFunc) {
	for range 50 {
		if res := run(t.Context(), sh("printf one; printf two; printf three")); string(res.Output) != "onetwothree" {
			t.Fatalf("got %q", res.Output)
		}
	}
}

func user(t *testing.T, run command.RunFunc) {
	trial.NeedRoot(t)
	u, err := command.LookupUser("nobody")
	if err != nil {
		t.Fatal(err)
	}
	script := `id -u; id -g; id -G; echo $HOME $USER $LOGNAME; grep -E '^Cap(Prm|Eff|Amb)' /proc/self/status | tr -d '\n\t'`
	s := sh(script)
	s.User = u
	want := fmt.Sprintf("65534\n65534\n65534\n%s nobody nobody\nCapPrm:0000000000000000CapEff:0000000000000000CapAmb:0000000000000000", u.Home)
	if diff := cmp.Diff(want, string(run(t.Context(), s).Output)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s = sh("id -un")
	s.User = &command.User{Name: "nobody"} // looked up at the run; its zero UID is not believed
	if res := run(t.Context(), s); res.FirstLine() != "nobody" {
		t.Errorf("ran as %q", res)
	}
}

func startProblems(t *testing.T, run command.RunFunc) {
	trial.NeedRoot(t)
	dir := trial.RootDir(t)
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "echo x\n", 0o755)
	orphan := write("orphan", "#!/nowhere/python\n", 0o755)
	private := write("private", "#!/bin/sh\n", 0o700)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		spec command.Spec
		want string
	}{
		"no #! line":     {command.Spec{Argv: []string{plain}}, "run " + plain + ": neither a program for this machine nor a script with a #! line: exec format error"},
		"no interpreter": {command.Spec{Argv: []string{orphan}}, "run " + orphan + ": the interpreter in its #! line, or its loader, is missing: no such file or directory"},
		"folder not for nobody": {command.Spec{Argv: []string{"/usr/bin/true"}, Dir: closed, User: &command.User{Name: "nobody"}},
			"run /usr/bin/true in " + closed + ": nobody may not execute it, or not enter the folder: permission denied"},
		"not for nobody":  {command.Spec{Argv: []string{private}, User: &command.User{Name: "nobody"}}, "run " + private + ": nobody may not execute it: permission denied"},
		"not executable":  {command.Spec{Argv: []string{write("data", "x", 0o644)}}, "command " + dir + "/data: is not executable: chmod +x " + dir + "/data"},
		"writable script": {command.Spec{Argv: []string{writable(t, write("open", "#!/bin/sh\n", 0o755))}}, "refused to run " + dir + "/open: " + dir + "/open is writable by everybody (-rwxrwxrwx): chmod go-w " + dir + "/open"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.spec.Timeout = 5 * time.Second
			if got := run(t.Context(), tt.spec).String(); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func writable(t *testing.T, path string) string {
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	return path
}
