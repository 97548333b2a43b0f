package daemon

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"baton/internal/trial"
)

// TestClearAmbient runs itself in a process that has an ambient capability, as
// systemd's AmbientCapabilities= gives one. Whatever thread starts a child, the
// child has none.
func TestClearAmbient(t *testing.T) {
	const inner = "BATON_TEST_AMBIENT"
	if os.Getenv(inner) == "" {
		trial.NeedRoot(t)
		cmd := exec.Command(os.Args[0], "-test.run=^TestClearAmbient$", "-test.v")
		cmd.Env = append(os.Environ(), inner+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{AmbientCaps: []uintptr{unix.CAP_NET_RAW}}
		out, err := cmd.CombinedOutput()
		if err == nil && strings.Contains(string(out), "built with cgo") {
			t.Skip("this test binary was built with cgo, as the race detector wants; the program is not")
		}
		if err != nil || !strings.Contains(string(out), "no thread has any") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if got := ambientOfThreads(t); got != "0000000000002000" {
		t.Fatalf("this process should have CAP_NET_RAW: %s", got)
	}
	reserveThreads(8)
	if err := clearAmbient(); err != nil {
		if strings.Contains(err.Error(), "built with cgo") {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	reserveThreads(32) // more than there were
	if got := ambientOfThreads(t); got != "0000000000000000" {
		t.Fatalf("ambient capabilities of the threads: %s", got)
	}
	out, err := exec.Command("grep", "CapAmb", "/proc/self/status").Output()
	if err != nil || string(out) != "CapAmb:\t0000000000000000\n" {
		t.Fatalf("the child: %q, %v", out, err)
	}
	if !hasCapability(unix.CAP_NET_RAW) {
		t.Fatal("this process itself has lost CAP_NET_RAW")
	}
	t.Log("no thread has any")
}

// ambientOfThreads is the ambient set of all threads, each other one once.
func ambientOfThreads(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(files) == 0 {
		t.Fatal("no threads", err)
	}
	var sets []string
	seen := map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(b), "CapAmb:\t")
		set, _, _ := strings.Cut(rest, "\n")
		if !seen[set] {
			seen[set] = true
			sets = append(sets, set)
		}
	}
	return strings.Join(sets, " ")
}
