package scripts_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// sandbox is a network of its own with nothing but its loopback, in which servers may have their usual ports. It has its
// own process numbers, and a /proc that has them: whatever a server leaves behind, such as Erlang's epmd, ends with it.
type sandbox struct {
	pid int // of its first process
}

// newSandbox makes one. It takes root: without, the test is skipped on a laptop and fails in CI.
func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("not root, and CI must be")
		}
		t.Skip("needs root, for a network namespace")
	}
	// It ends with its standard input, so also when this test is killed.
	cmd := exec.Command(need(t, "sh"), "-c", "mount --make-rprivate / && mount -t proc proc /proc && ip link set lo up && hostname sandbox && echo ready && read -r _")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("make a sandbox: %q, %v", line, err)
	}
	return &sandbox{pid: cmd.Process.Pid}
}

// enter is a command line that runs a program of this host in the sandbox, in dir: to enter a mount namespace loses it.
func (s *sandbox) enter(t *testing.T, dir, path string, args ...string) []string {
	t.Helper()
	words := []string{need(t, "nsenter"), "--target", strconv.Itoa(s.pid), "--net", "--uts", "--pid", "--mount", "--",
		need(t, "sh"), "-c", `cd "$0" && exec "$@"`, dir, path}
	return append(words, args...)
}

// command prepares a program or a script of this folder to run in the sandbox.
func (s *sandbox) command(t *testing.T, dir string, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	if dir == "" {
		dir = t.TempDir()
	}
	words := s.enter(t, dir, path, args...)
	return prepare(t, dir, env, words[0], words[1:]...)
}

// run is like the function run, in the sandbox.
func (s *sandbox) run(t *testing.T, dir string, env []string, script string, args ...string) result {
	t.Helper()
	return finish(t, s.command(t, dir, env, script, args...))
}

// output runs a program of this host in the sandbox, which must succeed.
func (s *sandbox) output(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	r := s.run(t, "", env, need(t, name), args...)
	if r.exit != 0 {
		t.Fatalf("%s %q: exit status %d: %s%s", name, args, r.exit, r.stdout, r.stderr)
	}
	return r.stdout
}

// server is a daemon in a sandbox.
type server struct {
	cmd  *exec.Cmd
	path string // of what it prints
}

// start starts a daemon that stays in the foreground. It is killed at the end of the test, or before.
func (s *sandbox) start(t *testing.T, dir string, env []string, name string, args ...string) *server {
	t.Helper()
	words := s.enter(t, dir, need(t, name), args...)
	d := &server{cmd: exec.Command(words[0], words[1:]...)}
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.path = log.Name()
	d.cmd.Dir = dir
	d.cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir}, env...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			log := readFile(t, d.path)
			t.Logf("%s said:\n%s", name, log[max(0, len(log)-4000):])
		}
	})
	return d
}

// signal sends one to the daemon and its children.
func (d *server) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-d.cmd.Process.Pid, sig); err != nil {
		t.Fatal(err)
	}
}

// kill ends the daemon at once, as a crash does. It may be called again.
func (d *server) kill() {
	if d.cmd.ProcessState == nil {
		_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
		_ = d.cmd.Wait()
	}
}

// expectNoSecret looks for a secret in what a script printed.
func (r result) expectNoSecret(t *testing.T, secret string) {
	t.Helper()
	if strings.Contains(r.stdout+r.stderr, secret) {
		t.Errorf("the password is shown: %s", fmt.Sprintf("%.300s%.300s", r.stdout, r.stderr))
	}
}
