package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"baton": main, "apart": apart, "fake-daemon": fakeDaemon})
}

// TestScripts runs the scripts of testdata, which say for each command line
// what it prints and with which status it ends.
func TestScripts(t *testing.T) {
	privileged := unshares()
	if !privileged && os.Getenv("CI") != "" {
		t.Fatal("needs the privilege to make network namespaces")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"status": status},
		Condition: func(cond string) (bool, error) {
			if cond == "privileged" {
				return privileged, nil
			}
			return false, fmt.Errorf("there is no condition %q", cond)
		},
	})
}

// status N PROGRAM [ARGUMENT...] wants the program to end with status N.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM [ARGUMENT...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	default:
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s: status %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// unshares tells whether this process may make network namespaces.
func unshares() bool {
	could := make(chan bool)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		could <- unix.Unshare(unix.CLONE_NEWNET) == nil
	}()
	return <-could
}

// capabilities that apart can take away.
var capabilities = map[string]uintptr{
	"-CAP_NET_ADMIN": unix.CAP_NET_ADMIN,
	"-CAP_NET_RAW":   unix.CAP_NET_RAW,
}

// apart [-CAPABILITY...] PROGRAM [ARGUMENT...] runs a program in a network
// namespace of its own, without the capabilities, so that a daemon that starts
// against all expectation finds no network. An ordinary user's has no privilege
// to do harm with.
func apart() {
	args := os.Args[1:]
	runtime.LockOSThread() // both are of the thread, which becomes the program
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil && os.Geteuid() == 0 {
		fail(err)
	}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		c, known := capabilities[args[0]]
		if !known {
			fail(fmt.Errorf("no capability %s", args[0]))
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			fail(err)
		}
		args = args[1:]
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		fail(err)
	}
	fail(unix.Exec(path, args, os.Environ()))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "apart:", err)
	os.Exit(70)
}
