package daemon

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// clearAmbient empties the ambient set of every thread of this process. A
// service manager gives a user who is not root its capabilities as ambient ones,
// which every program that is executed then inherits. What baton starts is to have
// none, whichever thread starts it; threads made later have what their maker has.
//
// They stay permitted and inheritable. A program that is to be executed in the
// place of this one, and to keep them, needs them raised again on the thread that
// does so.
func clearAmbient() error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0)
	if errno == syscall.ENOTSUP {
		return errors.New("clear the ambient capabilities: built with cgo, whose threads Go does not know")
	}
	if errno != 0 {
		return fmt.Errorf("clear the ambient capabilities: %w", errno)
	}
	return nil
}
