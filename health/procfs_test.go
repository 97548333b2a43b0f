package health

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// start runs a program until the test ends; it must end with its input.
func start(t *testing.T, path string, args ...string) (pid int, stop func()) {
	t.Helper()
	runtime.LockOSThread() // the thread's death is the parent's
	t.Cleanup(runtime.UnlockOSThread)
	cmd := exec.Command(path)
	cmd.Args = args
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	stop = func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	return cmd.Process.Pid, stop
}

// copyOf puts a program where it has a name of its own.
func copyOf(t *testing.T, program, name string) string {
	t.Helper()
	from, err := exec.LookPath(program)
	must(t, err)
	b, err := os.ReadFile(from)
	must(t, err)
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, b, 0o755))
	return path
}

func TestProcesses_Find(t *testing.T) {
	dir := t.TempDir()
	path := copyOf(t, "cat", "baton-test-program-1")
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(path, link))
	one, _ := start(t, path, "/opt/osc/baton-test-worker: idle") // what setproctitle leaves
	two, _ := start(t, path, "/opt/osc/baton-test-named", "-")
	script := filepath.Join(dir, "baton-test-scr")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\nread x\n"), 0o755))
	three, _ := start(t, script, script)
	gone := copyOf(t, "cat", "baton-test-gone")
	four, _ := start(t, gone, gone)
	must(t, os.Remove(gone))
	must(t, os.WriteFile(gone, []byte("an upgrade"), 0o755))
	// A zombie: nobody waits for it before the test ends.
	dead := exec.Command(copyOf(t, "true", "baton-test-dead"))
	must(t, dead.Start())
	defer func() { _ = dead.Wait() }()
	eventually(t, "a zombie", func() bool { return zombie(dead.Process.Pid) })
	for _, pid := range []int{one, two, three, four} {
		if zombie(pid) {
			t.Errorf("process %d has ended", pid)
		}
	}
	file := func(name, content string) string {
		name = filepath.Join(dir, name)
		must(t, os.WriteFile(name, []byte(content), 0o600))
		return name
	}
	tests := map[string]struct {
		processes Processes
		want      []int
		err       string
	}{
		"cut name":     {Processes{Name: "baton-test-program-1"}, []int{one, two}, "<nil>"},
		"15 of it":     {Processes{Name: "baton-test-prog"}, []int{one, two}, "<nil>"},
		"14 of it":     {Processes{Name: "baton-test-pro"}, nil, "<nil>"},
		"first word":   {Processes{Name: "baton-test-named"}, []int{two}, "<nil>"},
		"script":       {Processes{Name: "baton-test-scr"}, []int{three}, "<nil>"},
		"nobody":       {Processes{Name: "baton-test-none"}, nil, "<nil>"},
		"zombie":       {Processes{Name: "baton-test-dead"}, nil, "<nil>"},
		"path":         {Processes{Path: path}, []int{one, two}, "<nil>"},
		"link":         {Processes{Path: link}, []int{one, two}, "<nil>"},
		"deleted":      {Processes{Path: gone}, []int{four}, "<nil>"},
		"no path":      {Processes{Path: "/nonexistent"}, nil, "<nil>"},
		"PID file":     {Processes{PIDFile: file("pid", fmt.Sprintf(" %d\nhost\n", one))}, []int{one}, "<nil>"},
		"stale":        {Processes{PIDFile: file("stale", strconv.Itoa(dead.Process.Pid))}, nil, "<nil>"},
		"no process":   {Processes{PIDFile: file("none", "4194999\n")}, nil, "<nil>"},
		"no number":    {Processes{PIDFile: file("odd", "-1\n")}, nil, fmt.Sprintf(`read PID file %s/odd: no process number: "-1"`, dir)},
		"empty":        {Processes{PIDFile: file("empty", "")}, nil, fmt.Sprintf(`read PID file %s/empty: no process number: nothing`, dir)},
		"no file":      {Processes{PIDFile: "/nonexistent"}, nil, "read PID file /nonexistent: no such file or directory"},
		"a folder":     {Processes{PIDFile: dir}, nil, fmt.Sprintf("read PID file %s: it is no file", dir)},
		"never ending": {Processes{PIDFile: "/dev/zero"}, nil, "read PID file /dev/zero: it is no file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.processes.find()
			if tt.processes.Path == "/nonexistent" && errors.Is(err, fs.ErrPermission) {
				return // the host has a process that not even root may look at
			}
			if fmt.Sprint(err) != tt.err {
				t.Errorf("got %v, want %v", err, tt.err)
			}
			if d := cmp.Diff(fmt.Sprint(tt.want), fmt.Sprint(got)); d != "" {
				t.Error(d)
			}
		})
	}
	if !replaced(four) || replaced(one) {
		t.Error("replaced: got", replaced(four), replaced(one))
	}
}
