// Package scripts_test runs the scripts that ship with baton: against real servers, HAProxy, MariaDB with Galera, RabbitMQ
// and Redis, and where there is none, against made-up ones.
package scripts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limit is for one run of a script, whose own limits are far below.
const limit = 20 * time.Second

// need finds a program that a test cannot do without. It skips the test on a laptop and fails it in CI.
func need(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin"} {
		if path := filepath.Join(dir, name); executable(path) {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed, and CI must have it", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// result is how a script ended and what it printed.
type result struct {
	exit           int
	stdout, stderr string
	took           time.Duration
}

// run runs a script of this folder with its arguments and more environment, in dir (empty: a new one).
func run(t *testing.T, dir string, env []string, script string, args ...string) result {
	t.Helper()
	return finish(t, prepare(t, dir, env, script, args...))
}

func prepare(t *testing.T, dir string, env []string, script string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := filepath.Abs(script)
	if err != nil {
		t.Fatal(err)
	}
	if dir == "" {
		dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	// Nothing of this machine's environment but PATH: no proxy, no CREDENTIALS_DIRECTORY.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		t.Fatalf("%s: %v", cmd, err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String(), time.Since(start)}
}

// expect compares a check's exit status, and looks for words in its one line of output.
func (r result) expect(t *testing.T, exit int, words ...string) {
	t.Helper()
	if r.exit != exit {
		t.Errorf("exit status %d, want %d: %q, stderr %q", r.exit, exit, r.stdout, r.stderr)
	}
	if strings.Count(r.stdout, "\n") != 1 || !strings.HasSuffix(r.stdout, "\n") || r.stderr != "" {
		t.Errorf("want one line of output: %q, stderr %q", r.stdout, r.stderr)
	}
	for _, w := range words {
		if !strings.Contains(r.stdout, w) {
			t.Errorf("the output lacks %q: %q", w, r.stdout)
		}
	}
}

// shipped lists the scripts: all files here but the tests.
func shipped(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") {
			names = append(names, e.Name())
		}
	}
	if want := []string{"check-drbd", "check-galera", "check-haproxy", "check-mongodb", "check-osc", "check-rabbitmq", "check-redis", "drill", "move-cloud-address", "notify-log"}; !slices.Equal(names, want) {
		t.Fatalf("files here: %q, want %q", names, want)
	}
	return names
}

func TestScripts_Shellcheck(t *testing.T) {
	shellcheck := need(t, "shellcheck")
	out, err := exec.CommandContext(t.Context(), shellcheck, append([]string{"--norc", "--shell=sh"}, shipped(t)...)...).CombinedOutput()
	if err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

func TestScripts_Help(t *testing.T) {
	for _, name := range shipped(t) {
		t.Run(name, func(t *testing.T) {
			r := run(t, "", nil, name, "--help")
			if r.exit != 0 || r.stderr != "" {
				t.Errorf("exit status %d, want 0; stderr %q", r.exit, r.stderr)
			}
			for _, want := range []string{"Usage: " + name + " ", "Exit status:\n  0  ", "\n  1  ", "\n  2  ", "--timeout SECONDS", "--help"} {
				if !strings.Contains(r.stdout, want) {
					t.Errorf("the help lacks %q:\n%s", want, r.stdout)
				}
			}
		})
	}
}

func TestScripts_WrongUsage(t *testing.T) {
	tests := []struct{ script, args, want string }{
		{"check-haproxy", "--sokcet /x", "unknown argument --sokcet"},
		{"check-haproxy", "--sokcet=/x", "unknown option --sokcet"},
		{"check-haproxy", "web", "unknown argument web"},
		{"check-haproxy", "--socket", "--socket needs a value"},
		{"check-haproxy", "--socket=", "--socket needs a value"},
		{"check-haproxy", "--socket /run/a,b", "only letters"},
		{"check-haproxy", "--timeout 0", "not a number of seconds"},
		{"check-haproxy", "--timeout 1s", "not a number of seconds"},
		{"check-haproxy", "--timeout 1.2.3", "not a number of seconds"},
		{"check-haproxy", "--min-up 2", "--min-up needs --backend"},
		{"check-haproxy", "--backend web --min-up 0", "not a whole number"},
		{"check-haproxy", "--backend web --min-up two", "not a whole number"},
		{"check-haproxy", "--backend web;shutdown", "not a name that HAProxy allows"},
		{"check-osc", "--verbose", "unknown argument --verbose"},
		{"check-osc", "--url", "--url needs a value"},
		{"check-osc", "--url=", "--url needs a value"},
		{"check-osc", "--url file:///etc/passwd", "want https://"},
		{"check-osc", "--url https://u:p@127.0.0.1/", "holds a login"},
		{"check-osc", "--timeout -1", "not a number of seconds"},
		{"check-osc", "--deep", "--deep needs --login-file"},
		{"check-osc", "--login-file x", "of no use without --deep"},
		{"check-osc", "--ca x --insecure", "exclude each other"},
		{"check-osc", "--ca missing.pem", "--ca ./missing.pem: cannot be read"},
		{"check-osc", "--deep --login-file x --url http://127.0.0.1/serverManagement/status", "must begin with https"},
		{"check-osc", "--deep --login-file x --url https://127.0.0.1/status", "ends in /serverManagement/status"},
		{"check-osc", "--deep --login-file missing", "./missing: no such file"},
		{"check-galera", "--login", "unknown argument --login"},
		{"check-galera", "--port", "--port needs a value"},
		{"check-galera", "--port 3306x", "not a port"},
		{"check-galera", "--timeout 1s", "not a number of seconds"},
		{"check-galera", "--socket /s --port 3306", "--socket excludes --host and --port"},
		{"check-galera", "--majority --writable", "--majority excludes"},
		{"check-galera", "--majority --allow-donor", "--majority excludes"},
		{"check-galera", "--login-file missing", "./missing: no such file"},
		{"check-rabbitmq", "--quorum", "unknown argument --quorum"},
		{"check-rabbitmq", "--quorum=1", "unknown option --quorum"},
		{"check-rabbitmq", "--members 0", "not a whole number"},
		{"check-rabbitmq", "--members three", "not a whole number"},
		{"check-rabbitmq", "--node a;b", "not the name of a member"},
		{"check-rabbitmq", "--timeout .", "not a number of seconds"},
		{"check-rabbitmq", "--url http://127.0.0.1:15672", "--url needs --login-file"},
		{"check-rabbitmq", "--url http://a:b@127.0.0.1", "holds a login"},
		{"check-rabbitmq", "--url 127.0.0.1", "want http://"},
		{"check-rabbitmq", "--url http://127.0.0.1 --node a", "exclude each other"},
		{"check-rabbitmq", "--url http://127.0.0.1 --login-file missing", "./missing: no such file"},
		{"check-rabbitmq", "--login-file x", "of no use without --url"},
		{"check-redis", "--role", "--role needs a value"},
		{"check-redis", "--role primary", "want master, replica"},
		{"check-redis", "--max-lag 60", "of no use without --promotable"},
		{"check-redis", "--promotable --max-lag 1m", "not a whole number"},
		{"check-redis", "--timeout 0", "not a number of seconds"},
		{"check-redis", "--port x", "not a port"},
		{"check-redis", "--socket /s --tls", "--socket excludes"},
		{"check-redis", "--ca x", "of no use without --tls"},
		{"check-redis", "--tls --ca missing", "./missing: cannot be read"},
		{"check-redis", "--user baton", "--user needs a password in REDISCLI_AUTH"},
		{"check-redis", "osc", "unknown argument osc"},
		{"check-mongodb", "--role master", "want primary or secondary"},
		{"check-mongodb", "--host a'b", "not a host name"},
		{"check-mongodb", "--port 1234567", "not a port"},
		{"check-mongodb", "--ca x", "of no use without --tls"},
		{"check-mongodb", "--tls --ca missing", "./missing: cannot be read"},
		{"check-mongodb", "--deep", "unknown argument --deep"},
		{"check-drbd", "", "no RESOURCE is given"},
		{"check-drbd", "all", "not the name of one resource"},
		{"check-drbd", "r0 r1", "one resource is asked at a time"},
		{"check-drbd", "r0 --role master", "want Primary, Secondary"},
		{"check-drbd", "r0 --promotable", "unknown argument --promotable"},
		{"check-drbd", "r0 --timeout x", "not a number of seconds"},
		{"drill", "", "want well, fail or run"},
		{"drill", "--force well web", "unknown option --force"},
		{"drill", "--pause=1 start web", "unknown command start"},
		{"drill", "well", "well wants a ROUTER"},
		{"drill", "well web haproxy", "well wants a ROUTER alone"},
		{"drill", "well web;id", "not the name of a router"},
		{"drill", "fail web", "fail wants a CHECK"},
		{"drill", "fail web $(id)", "not the name of a check"},
		{"drill", "run web", "run wants a STEP"},
		{"drill", "run web a,b=moved", "want CHECK[,CHECK]...=fault, backup or same"},
		{"drill", "run web =same", "not CHECK[,CHECK]...[=EXPECT]"},
		{"drill", "--expect pass fail web haproxy", "want fault, backup or same"},
		{"drill", "--peer -v fail web haproxy", "not a host name"},
		{"drill", "--peer b --no-peer fail web haproxy", "exclude each other"},
		{"drill", "--except a,b well web", "not the name of a check"},
		{"drill", "--timeout 0 well web", "not a whole number of seconds"},
		{"drill", "--return 1m well web", "not a whole number of seconds"},
		{"drill", "--runtime-dir= well web", "--runtime-dir needs a value"},
		{"move-cloud-address", "", "--floating-ip is missing"},
		{"move-cloud-address", "10.0.0.1", "unknown argument 10.0.0.1"},
		{"move-cloud-address", "--floating-ip 10.0.0.1", "not a number"},
		{"move-cloud-address", "--floating-ip 1 --server web", "not a number"},
		{"move-cloud-address", "--floating-ip 1 --api http://api", "want https://"},
		{"move-cloud-address", "--floating-ip 1 --api https://a:b@api", "holds white space or a login"},
		{"move-cloud-address", "--floating-ip 1 --timeout 0", "not a number of seconds"},
		{"notify-log", "--colour", "unknown option --colour"},
		{"notify-log", "--colour=1", "unknown option --colour"},
		{"notify-log", "--file", "--file needs a value"},
		{"notify-log", "--file=", "--file needs a value"},
		{"notify-log", "--timeout 0", "not a number of seconds above 0"},
		{"notify-log", "--timeout soon", "not a number"},
	}
	for _, tt := range tests {
		t.Run(tt.script+" "+tt.args, func(t *testing.T) {
			run(t, "", nil, tt.script, strings.Fields(tt.args)...).expect(t, 2, tt.script+": ", tt.want)
		})
	}
}

// tools makes a folder for PATH that holds, of the programs a script may use, the usual ones and those named.
func tools(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append([]string{"sh", "cat", "id", "tr", "sed", "grep", "awk", "head", "tail", "find", "date", "sort", "paste"}, names...) {
		if err := os.Symlink(need(t, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// write makes a file in dir with the given content and mode, whatever the umask.
func write(t *testing.T, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// eventually polls a condition that another process brings about, and shows what it saw last when that does not come.
func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	within(t, limit, what, ok)
}

// within is eventually with its own limit.
func within(t *testing.T, limit time.Duration, what string, ok func() (bool, string)) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for {
		done, saw := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %v: %s; last seen: %s", limit, what, fmt.Sprintf("%.500s", saw))
		}
	}
}

// spy makes a folder for PATH whose programs first note how they were called. seen has the notes.
func spy(t *testing.T, names ...string) (dir string, seen func() string) {
	t.Helper()
	dir = t.TempDir()
	notes := filepath.Join(t.TempDir(), "seen")
	for _, name := range append([]string{"sed", "tr", "head", "grep", "awk", "tail", "find", "id", "cat", "timeout", "date"}, names...) {
		write(t, dir, name, fmt.Sprintf("#!/bin/sh\nprintf '%%s ' %s \"$@\" >>%s\nexec %s \"$@\"\n", name, notes, need(t, name)), 0o755)
	}
	return dir, func() string {
		t.Helper()
		return readFile(t, notes)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
