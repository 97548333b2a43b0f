package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// entered marks the process that runs inside the user namespace, so that it does not make another.
const entered = "BATON_LAB_ENTERED"

// ErrPrivilege says that this user may not make network namespaces on this machine.
var ErrPrivilege = errors.New("no privilege to make network namespaces (be root, or allow user namespaces)")

// Enter makes sure that this process may make network namespaces. Where it may not, it runs itself again, with the
// same arguments, as root of a new user namespace, passes SIGINT, SIGTERM and SIGHUP on, and ends this process with the
// other's exit status: in that case it does not return. Call it first thing in main. The error is ErrPrivilege
// where neither works.
func Enter() error {
	s, err := newSpace("privilege")
	if err == nil {
		s.close()
		return nil
	}
	if os.Getenv(entered) != "" {
		return fmt.Errorf("%w: %w", ErrPrivilege, err)
	}
	// The parent death signal below is of the thread, so this thread waits for its child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the running binary: %w", err)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), entered+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   unix.SIGKILL,
		Setpgid:     true, // a terminal's Ctrl-C would reach it twice
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w", ErrPrivilege, err)
	}
	go func() {
		for s := range signals {
			// An error means that it has ended.
			_ = cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("wait for %s in a user namespace: %w", self, err)
	}
	status := cmd.ProcessState.ExitCode()
	if status < 0 { // ended by a signal, which a shell reports so
		status = 128 + int(cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	}
	os.Exit(status)
	return nil
}
