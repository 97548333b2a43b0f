package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"baton/internal/command"
)

// kept are the capabilities that a daemon has which is not root: the least that it
// can work with.
var kept = [...]uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}

// becomeUser starts a runner, gives root up for good, and executes the program again
// as the user, with a real-time policy; then it does not return. It does nothing
// where no user was named, or the process is that user already.
//
// All that belongs to a thread is changed on this one alone, and the program that
// it executes has nothing else: there is no moment at which some threads are root.
func (o Options) becomeUser() error {
	if o.User == "" {
		return nil
	}
	uid, gid, groups, err := findUser(o.User)
	switch {
	case err != nil:
		return err
	case os.Geteuid() == uid:
		return nil
	case uid == 0:
		return errors.New("become root: --user names whom baton becomes, and root it is without that")
	case os.Geteuid() != 0:
		return fmt.Errorf("become %s: only root can become somebody else", o.User)
	}
	for _, dir := range []string{o.RuntimeDir, o.StateDir} {
		if err := giveDirectory(dir, uid, gid); err != nil {
			return err
		}
	}
	env := os.Environ()
	if o.Runner == "" {
		started, err := o.forkRunner()
		if err != nil {
			return err
		}
		env = append(env, runnerVariable+"="+started)
	}
	path, err := os.Executable()
	if err == nil {
		runtime.LockOSThread() // never unlocked: it is somebody else, or the end
		err = dropPrivileges(uid, gid, groups)
	}
	if err == nil {
		err = unix.Exec(path, os.Args, env)
	}
	return fmt.Errorf("become %s: %w", o.User, err)
}

// findUser is a user by name, or by a number that needs no name.
func findUser(name string) (uid, gid int, groups []uint32, err error) {
	if n, e := strconv.ParseUint(name, 10, 31); e == nil {
		if _, e := user.LookupId(name); e != nil {
			return int(n), int(n), nil, nil
		}
	}
	u, err := command.LookupUser(name)
	if err != nil {
		return 0, 0, nil, err
	}
	return int(u.UID), int(u.GID), u.Groups, nil
}

// giveDirectory makes a folder and gives it to the user, with what a daemon that was
// root has left there. What is in a folder of somebody else is not looked at: it
// may lead anywhere.
func giveDirectory(dir string, uid, gid int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create %s: %w", dir, err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || st.Uid != 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.Lchown(filepath.Join(dir, e.Name()), uid, gid))
	}
	if err = errors.Join(err, os.Lchown(dir, uid, gid)); err != nil {
		return fmt.Errorf("give %s to baton's user: %w", dir, err)
	}
	return nil
}

// dropPrivileges makes of the calling thread one of the user, with the capabilities
// that are kept, and none else to be had ever again.
func dropPrivileges(uid, gid int, groups []uint32) error {
	// What takes root, and is inherited. Neither is needed.
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	if !isRealtime() {
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: realtimePriority}, 0)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	for c := uintptr(0); ; c++ {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil {
			break // there is none of that number
		} else if has == 1 && !isKept(c) {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				return fmt.Errorf("drop capability %d: %w", c, err)
			}
		}
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	// Raw: those of package syscall change all threads.
	var list unsafe.Pointer
	if len(groups) > 0 {
		list = unsafe.Pointer(&groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(list), 0); errno != 0 {
		return fmt.Errorf("set the groups: %w", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); errno != 0 {
		return fmt.Errorf("set the group: %w", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
		return fmt.Errorf("set the user: %w", errno)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for _, c := range kept {
		bit := uint32(1) << (c % 32)
		d := &data[c/32]
		d.Effective, d.Permitted, d.Inheritable = d.Effective|bit, d.Permitted|bit, d.Inheritable|bit
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("set the capabilities: %w", err)
	}
	raiseAmbient()
	return nil
}

func isKept(c uintptr) bool {
	for _, k := range kept {
		if k == c {
			return true
		}
	}
	return false
}
