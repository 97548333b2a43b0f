package doctor

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// host is what the looks ask of this host. A test has another one.
type host struct {
	read       func(path string) (string, error)     // a small file of /proc, /sys or /run
	list       func(pattern string) []string         // as filepath.Glob
	stat       func(path string) (fileInfo, error)   // of a socket or folder
	interfaces func() ([]netInterface, error)        // all of this namespace
	ruleset    func() ([]chain, error)               // nftables
	clock      func() (synchronised bool, err error) // the kernel's
	filesystem func(path string) (magic int64, err error)
}

// fileInfo is what counts of a file.
type fileInfo struct {
	mode     fs.FileMode
	uid, gid uint32
}

// netInterface is what counts of an interface.
type netInterface struct {
	name      string
	index     int
	up        bool
	mtu       int
	addresses []net.IP
}

func newHost() host {
	return host{
		read: func(path string) (string, error) {
			text, err := os.ReadFile(path)
			return strings.TrimSpace(string(text)), err
		},
		list: func(pattern string) []string {
			found, _ := filepath.Glob(pattern) // the patterns are ours
			return found
		},
		stat:       statFile,
		interfaces: listInterfaces,
		ruleset:    readRuleset,
		clock: func() (bool, error) {
			var t unix.Timex
			state, err := unix.Adjtimex(&t)
			return state != unix.TIME_ERROR, err
		},
		filesystem: func(path string) (int64, error) {
			var s unix.Statfs_t
			err := unix.Statfs(path, &s)
			return int64(s.Type), err
		},
	}
}

func statFile(path string) (fileInfo, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return fileInfo{}, err
	}
	mode := fs.FileMode(s.Mode & 0o777)
	if s.Mode&unix.S_IFMT == unix.S_IFSOCK {
		mode |= fs.ModeSocket
	}
	return fileInfo{mode, s.Uid, s.Gid}, nil
}

func listInterfaces() ([]netInterface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var list []netInterface
	for _, i := range all {
		n := netInterface{name: i.Name, index: i.Index, up: i.Flags&net.FlagUp != 0 && i.Flags&net.FlagRunning != 0, mtu: i.MTU}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			if p, ok := a.(*net.IPNet); ok {
				n.addresses = append(n.addresses, p.IP)
			}
		}
		list = append(list, n)
	}
	return list, nil
}

// status is a field of /proc/PID/status.
func (h host) status(pid int, field string) string {
	text, err := h.read("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
