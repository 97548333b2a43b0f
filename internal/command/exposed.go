package command

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Exposed tells who else could change a file that the daemon goes by: its
// configuration, a key. The file, each folder on its way and each symbolic link
// must belong to root or to the user who runs this, and be writable by nobody
// else. A sticky folder such as /tmp is no way to a file that belongs to one of
// these. The problem is empty where all is well; else mend is the command that
// helps.
func Exposed(path string) (problem, mend string) {
	uid := uint32(os.Geteuid())
	if uid == 0 && !privileged() {
		return "", "" // the real root's files seem to be nobody's
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err.Error(), ""
	}
	return exposed(path, uid)
}

func exposed(path string, uid uint32) (problem, mend string) {
	err := onTheWay(path, func(at string, _ bool) error {
		problem, mend = exposedBy(at, uid)
		if problem != "" {
			return fs.ErrPermission // ends the way
		}
		return nil
	})
	if err != nil && problem == "" {
		return err.Error(), ""
	}
	return problem, mend
}

// exposedBy is exposed for what is at path itself.
func exposedBy(path string, uid uint32) (problem, mend string) {
	fi, err := os.Lstat(path)
	if err != nil {
		return err.Error(), ""
	}
	st := fi.Sys().(*syscall.Stat_t)
	if st.Uid != 0 && st.Uid != uid {
		return fmt.Sprintf("%s belongs to %s, who could change it", path, owner(st.Uid)), "chown root " + path
	}
	if fi.Mode()&fs.ModeSymlink != 0 || fi.IsDir() && fi.Mode()&fs.ModeSticky != 0 {
		return "", "" // of a link the mode says nothing
	}
	others := fi.Mode().Perm() & 0o022
	if st.Gid == 0 { // root's group is root's
		others &= 0o002
	}
	switch others {
	case 0o020:
		return fmt.Sprintf("%s is writable by its group (%s)", path, fi.Mode()), "chmod g-w " + path
	case 0o002:
		return fmt.Sprintf("%s is writable by everybody (%s)", path, fi.Mode()), "chmod o-w " + path
	case 0o022:
		return fmt.Sprintf("%s is writable by everybody (%s)", path, fi.Mode()), "chmod go-w " + path
	}
	return "", ""
}
