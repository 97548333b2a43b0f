package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait for something real.
const patience = 5 * time.Second

// holdLocks is the other daemon of the tests, in a process of its own.
func holdLocks(dir string) int {
	if _, err := takeLocks(dir); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends it
	return 0
}

// otherDaemon takes the locks in another process of this namespace.
func otherDaemon(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), lockVariable+"="+dir)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return cmd
}

func TestLocks_ASecondDaemonIsToldOfTheFirst(t *testing.T) {
	needNamespace(t)
	dir := filepath.Join(t.TempDir(), "run", "baton") // does not exist yet
	other := otherDaemon(t, dir)
	for _, tt := range []struct{ dir, want string }{
		{dir, fmt.Sprintf("baton runs already in this runtime directory (%s): PID %d", dir, other.Process.Pid)},
		{t.TempDir(), fmt.Sprintf("baton runs already in this network namespace: PID %d", other.Process.Pid)},
	} {
		l, err := takeLocks(tt.dir)
		if err == nil {
			l.release()
			t.Fatalf("locks of %s taken twice", tt.dir)
		}
		var running *RunningError
		if !errors.As(err, &running) || err.Error() != tt.want {
			t.Errorf("%T %q, want %q", err, err, tt.want)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "baton.pid")); string(text) != fmt.Sprintln(other.Process.Pid) {
		t.Errorf("the lock file says %q (%v) after a failed attempt, want %d", text, err, other.Process.Pid)
	}

	// The locks end with the process, however it ends.
	must(t, other.Process.Kill())
	_ = other.Wait()
	l, err := takeLocks(dir)
	must(t, err)
	l.release()
}

// A failed attempt leaves nothing locked.
func TestLocks_OneWithoutTheOther(t *testing.T) {
	needNamespace(t)
	first, second := t.TempDir(), t.TempDir()
	l, err := takeLocks(first)
	must(t, err)
	if _, err := takeLocks(second); err == nil {
		t.Fatal("two daemons in one network namespace")
	}
	l.release()
	l, err = takeLocks(second)
	must(t, err)
	l.release()
}

func TestLocks_OfAnUnusableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	_, err := takeLocks(filepath.Join(file, "run"))
	if err == nil || !strings.HasPrefix(err.Error(), "create the runtime directory: mkdir ") {
		t.Errorf("error %v, want one that names the runtime directory", err)
	}
}

func TestRunningError_WithoutAPID(t *testing.T) {
	err := &RunningError{What: "network namespace"}
	if got, want := err.Error(), "baton runs already in this network namespace"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
