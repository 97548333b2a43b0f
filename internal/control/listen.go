package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxPath is how long the kernel lets the path of a Unix socket be.
const maxPath = 107

// SocketPath is where the daemon of a runtime directory listens.
func SocketPath(runtimeDir string) string { return filepath.Join(runtimeDir, "control.sock") }

// Listen makes the socket, which nobody but this user, root and the group that may
// read can connect to, and takes away one that a dead daemon has left. Only the
// holder of the runtime directory's lock may call it: the socket of a living daemon
// would go as well. Closing the listener removes the socket. Where the socket
// cannot be given to the group, there is a listener beside the error.
func Listen(path string, access Access) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("listen on %s: the path has %d bytes, that of a socket has at most %d", path, len(path), maxPath)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("look for an old control socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("listen on %s: it is there, and is no socket", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove an old control socket: %w", err)
		}
	}
	// The kernel gives the file the mode of the socket that is bound. So there is
	// no moment at which others could connect, and no umask that is set for the
	// whole process. The group comes after that.
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var err error
		if e := conn.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); e != nil {
			return e
		}
		return err
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	if g := access.Group; g.Name != "" {
		if err := share(path, g); err != nil {
			return l, err
		}
	}
	return l, nil
}

// share lets a group connect.
func share(path string, g Group) error {
	// As a rule the file has that group from the start, being the one of the user who runs baton. Then there is nothing to ask for: the
	// sandbox of the unit refuses every chown.
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	if err == nil && st.Gid != g.ID {
		err = os.Chown(path, -1, int(g.ID))
	}
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("give the control socket to the group %s: %w: the user who runs baton must be a member of it, and a unit needs SystemCallFilter=@chown", g.Name, err)
	case err != nil:
		return fmt.Errorf("give the control socket to the group %s: %w", g.Name, err)
	}
	return nil
}
