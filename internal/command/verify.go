package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links a path may pass, as in the kernel.
const maxLinks = 40

// Verify refuses a program that root would run and somebody else could change:
// the file, each folder on its way and on the way of each symbolic link it
// passes must belong to root and be writable by root alone. A sticky folder such
// as /tmp is refused too. The error names the offender and the mend.
// Where baton does not run as root there is nothing to gain, and it passes.
func Verify(path string) error { return VerifyFor(path, nil) }

// VerifyRoot is Verify whoever runs this process: the program must be one that
// nobody but root can change.
func VerifyRoot(path string) error { return verify(path, 0) }

// VerifyFor is Verify for a program that u will run; nil is the daemon itself.
// What belongs to u passes as well.
func VerifyFor(path string, u *User) error {
	if !privileged() {
		return nil
	}
	var uid uint32
	if u != nil {
		uid = u.UID
	}
	return verify(path, uid)
}

// privileged tells whether this process is root in earnest. In a user namespace
// that an ordinary user made for itself root is that user, and the real root's
// files seem to be nobody's.
func privileged() bool {
	if os.Geteuid() != 0 {
		return false
	}
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return true
	}
	f := strings.Fields(string(b)) // inside, outside, count
	return !(len(f) == 3 && f[0] == "0" && f[1] != "0" && f[2] == "1")
}

func verify(path string, uid uint32) error {
	return onTheWay(path, func(at string, link bool) error {
		if link {
			// It cannot be changed, only replaced, and the folder it is in has been
			// looked at: what counts is where it leads.
			return nil
		}
		if err := onlyBy(at, uid); err != nil {
			return refused(path, err)
		}
		return nil
	})
}

// onTheWay has a look at each folder on the way to path and on the way of each
// symbolic link it passes, at each such link, and at what path names at last.
// The first error ends it.
func onTheWay(path string, look func(at string, link bool) error) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s: not an absolute path", path)
	}
	// todo is what is still to be walked from at, which holds no link.
	at, links := "/", 0
	todo := strings.Split(path, "/")
	if err := look(at, false); err != nil {
		return err
	}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		fi, err := os.Lstat(next)
		if err != nil {
			return err
		}
		link := fi.Mode()&fs.ModeSymlink != 0
		if err := look(next, link); err != nil {
			return err
		}
		if !link {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return fmt.Errorf("%s: %w", path, syscall.ELOOP)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return nil
}

func refused(path string, err error) error {
	return fmt.Errorf("refused to run %s: %w", path, err)
}

// onlyBy checks that only root and uid can write what path names. Access lists
// need no look of their own: their mask shows in the group's bits.
func onlyBy(path string, uid uint32) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no owner is known of " + path)
	}
	if st.Uid != 0 && st.Uid != uid {
		return fmt.Errorf("%s belongs to %s: chown root %s, or keep the program elsewhere, or run it as that user", path, owner(st.Uid), path)
	}
	who, mend := "", ""
	switch fi.Mode().Perm() & 0o022 {
	case 0o020:
		who, mend = "its group", "g-w"
	case 0o002:
		who, mend = "everybody", "o-w"
	case 0o022:
		who, mend = "everybody", "go-w"
	default:
		return nil
	}
	if fi.Mode()&fs.ModeSticky != 0 {
		return fmt.Errorf("%s is writable by %s (%s): keep the program in a folder that only root can write, /etc/baton for instance", path, who, fi.Mode())
	}
	return fmt.Errorf("%s is writable by %s (%s): chmod %s %s", path, who, fi.Mode(), mend, path)
}

func owner(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "user " + id
}
