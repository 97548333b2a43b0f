package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests run in a network namespace of their own, all of the process, since
// goroutines of the daemon open sockets. It is empty at first, and ends with
// the process.

const (
	insideVariable = "BATON_DAEMON_TEST_INSIDE" // set in the process that is inside, to the user who runs it
	lockVariable   = "BATON_DAEMON_TEST_LOCK"   // directory: take the locks, say so, wait for the end of input
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(lockVariable); dir != "" {
		os.Exit(holdLocks(dir))
	}
	if os.Getenv(insideVariable) != "" {
		os.Exit(m.Run())
	}
	status, err := runInside()
	if err != nil && os.Getenv("CI") != "" {
		fmt.Fprintln(os.Stderr, "make a network namespace for the tests:", err)
		os.Exit(1)
	}
	if err != nil {
		status = m.Run()
	}
	os.Exit(status)
}

// runInside runs this program again in a new network namespace, as root of a
// new user namespace where that is needed, and returns its exit status.
func runInside() (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	runtime.LockOSThread() // Pdeathsig is of the thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"="+strconv.Itoa(os.Geteuid()))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if status := cmd.ProcessState.ExitCode(); status >= 0 {
		return status, nil
	}
	return 1, nil // ended by a signal
}

// needNamespace skips the test where the process is not in a network namespace
// of its own. In CI it never is elsewhere.
func needNamespace(t *testing.T) {
	t.Helper()
	if os.Getenv(insideVariable) == "" {
		t.Skip("needs the privilege to make network namespaces")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
