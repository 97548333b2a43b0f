package command

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// User is who runs a command, with all groups. One that was not made by
// LookupUser but has a Name is looked up at each run; its numbers are not
// believed, since the zero number is root.
type User struct {
	Name   string
	UID    uint32
	GID    uint32
	Groups []uint32 // all of them, the primary one included
	Home   string

	known bool // by LookupUser
}

// ErrNameless says that a command has a user, and nobody knows which.
var ErrNameless = errors.New("a user has neither a name nor a number")

// LookupUser finds a user by name (or by number) and all groups it is in. A
// static binary reads /etc/passwd and /etc/group only, no directory service.
func LookupUser(name string) (*User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if _, e := strconv.ParseUint(name, 10, 32); e == nil {
			u, err = user.LookupId(name)
		}
	}
	if err != nil {
		var (
			noName user.UnknownUserError
			noID   user.UnknownUserIdError
		)
		if errors.As(err, &noName) || errors.As(err, &noID) {
			return nil, fmt.Errorf("user %q does not exist on this host", name)
		}
		return nil, fmt.Errorf("look up user %q: %w", name, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("look up the groups of user %q: %w", name, err)
	}
	found := &User{Name: u.Username, Home: u.HomeDir, known: true}
	if found.UID, err = number(u.Uid); err == nil {
		found.GID, err = number(u.Gid)
	}
	for _, id := range ids {
		var gid uint32
		if gid, err = number(id); err != nil {
			break
		}
		found.Groups = append(found.Groups, gid)
	}
	if err != nil {
		return nil, fmt.Errorf("look up user %q: %w", name, err)
	}
	return found, nil
}

// String is the name, or the number of a user without one.
func (u *User) String() string {
	if u.Name != "" {
		return u.Name
	}
	return strconv.FormatUint(uint64(u.UID), 10)
}

// resolve returns a user whose numbers can be believed.
func (u *User) resolve() (*User, error) {
	switch {
	case u.known:
		return u, nil
	case u.Name != "":
		return LookupUser(u.Name)
	case u.UID == 0:
		return nil, ErrNameless
	}
	return u, nil
}

// own tells that an ordinary daemon is asked to run a command as the user that
// it is already; only root can set groups.
func (u *User) own() bool {
	return os.Geteuid() != 0 && int(u.UID) == os.Geteuid()
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

// baseEnv is the daemon's environment without what could change how a script
// or a loader reads its words, and without what systemd told the daemon alone.
func baseEnv(env []string) []string {
	drop := []string{"IFS", "LD_PRELOAD", "LD_LIBRARY_PATH",
		"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(drop, name)
	})
}

// environ is the environment of one command: the base, the user's own names
// when it is not the daemon's, and what was asked for; the later wins.
func environ(base []string, u *User, extra []string) []string {
	env := slices.Clone(base)
	if u != nil && u.Name != "" {
		env = append(env, "USER="+u.Name, "LOGNAME="+u.Name, "HOME="+u.Home)
	}
	env = append(env, extra...)
	last := make(map[string]int, len(env))
	for i, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		last[name] = i
	}
	kept := env[:0]
	for i, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); last[name] == i {
			kept = append(kept, kv)
		}
	}
	return kept
}
