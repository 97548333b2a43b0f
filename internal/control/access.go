package control

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// defaultGroup may read where no other group is named, and it exists.
const defaultGroup = "baton"

// Access says who beside root and the user who runs the daemon may use the
// control socket. The zero value is nobody.
type Access struct {
	// Group may read. The socket is its, with mode 0660; without one it has 0600.
	Group Group
	// Admin may change something as well. Its members must be able to connect:
	// they are in Group, too.
	Admin Group
}

// Group is a group of users on this host. The zero value is none.
type Group struct {
	Name string
	ID   uint32
}

// FindAccess looks for the groups by name or number. Without a name for the group
// that may read, it is baton where there is such a group. An error names a group
// that does not exist; what it returns then leaves that one out.
func FindAccess(group, admin string) (Access, error) {
	var a Access
	var errs [2]error
	if group == "" {
		a.Group, _ = findGroup(defaultGroup) // it need not be there
	} else {
		a.Group, errs[0] = findGroup(group)
	}
	if admin != "" {
		a.Admin, errs[1] = findGroup(admin)
	}
	return a, errors.Join(errs[:]...)
}

func findGroup(name string) (Group, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		if _, e := strconv.ParseUint(name, 10, 32); e == nil {
			g, err = user.LookupGroupId(name)
		}
	}
	if err != nil {
		return Group{}, fmt.Errorf("find the group %s of the control socket: %w", name, err)
	}
	id, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return Group{}, fmt.Errorf("read the number of the group %s: %w", name, err)
	}
	return Group{g.Name, uint32(id)}, nil
}

// peer is who has connected, as the kernel knows him. What a client says of itself
// counts nothing.
type peer struct {
	uid    uint32
	groups []uint32 // his own first
	own    bool     // root, or the user who runs the daemon, or the daemon itself
}

// peerOf asks the kernel who is on the other side. A pipe within the process has
// nobody on it but the daemon.
func peerOf(c net.Conn) (peer, error) {
	if c.RemoteAddr() != nil && c.RemoteAddr().Network() == "pipe" {
		return peer{uid: uint32(os.Geteuid()), own: true}, nil
	}
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return peer{}, errors.New("the connection is no Unix socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var p peer
	e := raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil {
			return
		}
		p.uid, p.groups = cred.Uid, []uint32{cred.Gid}
		p.own = cred.Uid == 0 || int(cred.Uid) == os.Geteuid()
		if !p.own { // nobody asks for theirs
			var more []uint32
			more, err = peerGroups(int(fd))
			p.groups = append(p.groups, more...)
		}
	})
	return p, errors.Join(e, err)
}

// peerGroups are the supplementary groups that the peer had as it connected: an
// administrator is put in a group by them. golang.org/x/sys has no call for this.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == unix.ERANGE && int(size/4) > len(groups): // the kernel says how many there are, at most 65536
			groups = make([]uint32, size/4)
		case errno != 0:
			return nil, fmt.Errorf("ask for the groups of the peer: %w", errno)
		default:
			return groups[:size/4], nil
		}
	}
}

func (p peer) in(g Group) bool { return g.Name != "" && slices.Contains(p.groups, g.ID) }

// name is the name of the user.
func (p peer) name() string {
	number := strconv.FormatUint(uint64(p.uid), 10)
	if u, err := user.LookupId(number); err == nil && u.Username != "" {
		return u.Username
	}
	return "user " + number
}

// allows returns an error where the peer may not read, or not change anything.
func (a Access) allows(p peer, change bool) error {
	switch {
	case p.own, p.in(a.Admin), !change && p.in(a.Group):
		return nil
	case change:
		return Errorf(Forbidden, "%s may read here and change nothing: %s", p.name(), a.Admin.mayWith("--admin-group", p))
	}
	return Errorf(Forbidden, "%s may not ask here: %s", p.name(), a.Group.mayWith("--socket-group", p))
}

// mayWith says who may, and what would let the peer.
func (g Group) mayWith(flag string, p peer) string {
	if g.Name == "" {
		return fmt.Sprintf("root and the user who runs baton may, and a group where baton run has %s", flag)
	}
	return fmt.Sprintf("root, the user who runs baton and the group %s may (usermod -aG %s %s, then log in anew)", g.Name, g.Name, p.name())
}

// withAccess refuses requests of those who may not make them.
func (s *Server) withAccess(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := peerError(r.Context())
		if err == nil {
			change := r.Method != http.MethodGet && r.Method != http.MethodHead
			err = s.access.allows(peerIn(r.Context()), change)
		}
		if err != nil {
			s.fail(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// whoMay says who can connect to a socket.
func whoMay(path string) string {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o060 != 0o060 {
		return "only root and the user who runs baton may"
	}
	name := strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Gid), 10)
	if g, err := user.LookupGroupId(name); err == nil {
		name = g.Name
	}
	return fmt.Sprintf("only root, the user who runs baton and the group %s may (usermod -aG %s YOU, then log in anew)", name, name)
}
