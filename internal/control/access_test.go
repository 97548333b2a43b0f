package control

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"baton/internal/trial"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	stranger = 54321 // a user whom no file names
	readers  = 54322
	admins   = 54323
)

// dialAs connects as another user.
func dialAs(t *testing.T, path string, uid, gid uint32, groups ...uint32) (net.Conn, error) {
	t.Helper()
	type dialed struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialed, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its user
		list := append(groups, 0)
		for _, call := range [][4]uintptr{
			{unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&list[0]))},
			{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
			{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
		} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				done <- dialed{err: errno}
				return
			}
		}
		conn, err := net.Dial("unix", path)
		done <- dialed{conn, err}
	}()
	d := <-done
	return d.conn, d.err
}

// clientAs is the client of another user.
func clientAs(path string, t *testing.T, uid, gid uint32, groups ...uint32) *Client {
	return newClient(path, func(context.Context, string, string) (net.Conn, error) { return dialAs(t, path, uid, gid, groups...) })
}

// open lets other users reach the socket of a test.
func (s served) open(t *testing.T) {
	t.Helper()
	must(t, os.Chmod(filepath.Dir(s.dir), 0o755))
	must(t, os.Chmod(s.dir, 0o755))
}

// Who asks is known by the connection, and not by what he says.
func TestServe_KnowsWhoAsks(t *testing.T) {
	trial.NeedRoot(t)
	c := serveFor(t, newFake(), Access{Admin: Group{"admins", admins}})
	c.open(t)
	must(t, os.Chmod(c.path, 0o666))
	for uid, want := range map[uint32]string{65534: "nobody", stranger: "user 54321"} {
		got, err := clientAs(c.path, t, uid, admins).ForceCheck(t.Context(), "haproxy", "pass", time.Minute, "drill")
		if err != nil {
			t.Fatal(err)
		}
		if got.Forced.By != want {
			t.Errorf("by %q, want %q", got.Forced.By, want)
		}
	}
}

// What each user may, and what he is told where he may not.
func TestAccess(t *testing.T) {
	trial.NeedRoot(t)
	both := Access{Group: Group{"ops", readers}, Admin: Group{"admins", admins}}
	const (
		notRead   = "user 54321 may not ask here: root, the user who runs baton and the group ops may (usermod -aG ops user 54321, then log in anew)"
		notChange = "user 54321 may read here and change nothing: root, the user who runs baton and the group admins may (usermod -aG admins user 54321, then log in anew)"
		nobody    = "user 54321 may not ask here: root and the user who runs baton may, and a group where baton run has --socket-group"
		noAdmins  = "user 54321 may read here and change nothing: root and the user who runs baton may, and a group where baton run has --admin-group"
	)
	for name, test := range map[string]struct {
		access       Access
		uid, gid     uint32
		groups       []uint32
		read, change string
	}{
		"root":                   {Access{}, 0, 0, nil, "", ""},
		"stranger":               {both, stranger, stranger, []uint32{1, 2}, notRead, notChange},
		"in the group":           {both, stranger, readers, nil, "", notChange},
		"supplementary group":    {both, stranger, stranger, []uint32{7, readers}, "", notChange},
		"many groups":            {both, stranger, stranger, append(make([]uint32, 100), readers), "", notChange},
		"admin":                  {both, stranger, admins, nil, "", ""},
		"supplementary admin":    {both, stranger, readers, []uint32{admins}, "", ""},
		"no groups are named":    {Access{}, stranger, 0, []uint32{0}, nobody, noAdmins},
		"group that may read":    {Access{Group: Group{"ops", readers}}, stranger, readers, nil, "", noAdmins},
		"only admins are named":  {Access{Admin: Group{"admins", admins}}, stranger, admins, nil, "", ""},
		"not of the admin group": {Access{Admin: Group{"admins", admins}}, stranger, readers, nil, nobody, notChange},
	} {
		t.Run(name, func(t *testing.T) {
			d := newFake()
			c := serveFor(t, d, test.access)
			c.open(t)
			must(t, os.Chmod(c.path, 0o666)) // the file's mode is another matter
			client := clientAs(c.path, t, test.uid, test.gid, test.groups...)
			_, readErr := client.Status(t.Context())
			_, changeErr := client.ForceCheck(t.Context(), "haproxy", "pass", time.Minute, "drill")
			for what, got := range map[string]struct {
				err  error
				want string
			}{"read": {readErr, test.read}, "change": {changeErr, test.change}} {
				var e *Error
				switch {
				case got.want == "" && got.err != nil, got.want != "" && (!errors.As(got.err, &e) || e.Kind != Forbidden || e.Text != got.want):
					t.Errorf("%s: %v, want %q", what, got.err, got.want)
				}
			}
			if done := len(d.forced) > 0; done != (test.change == "") {
				t.Errorf("the daemon was told: %v", done)
			}
		})
	}
}

// The file lets the group connect, and tells others which it is.
func TestListen_Group(t *testing.T) {
	trial.NeedRoot(t)
	c := serveFor(t, newFake(), Access{Group: Group{"ops", readers}})
	c.open(t)
	var stat unix.Stat_t
	must(t, unix.Stat(c.path, &stat))
	if stat.Mode&0o777 != 0o660 || stat.Gid != readers {
		t.Errorf("mode %o, group %d", stat.Mode&0o777, stat.Gid)
	}
	if _, err := clientAs(c.path, t, stranger, readers).Status(t.Context()); err != nil {
		t.Error(err)
	}
	_, err := clientAs(c.path, t, stranger, stranger).Status(t.Context())
	want := "connect " + c.path + ": permission denied: only root, the user who runs baton and the group 54322 may (usermod -aG 54322 YOU, then log in anew)"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	alone := serve(t, newFake())
	alone.open(t)
	_, err = clientAs(alone.path, t, stranger, stranger).Status(t.Context())
	if want := "connect " + alone.path + ": permission denied: only root and the user who runs baton may"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestFindAccess(t *testing.T) {
	root := Group{"root", 0}
	for _, test := range []struct {
		group, admin string
		want         Access
		err          string
	}{
		{"root", "", Access{Group: root}, ""},
		{"0", "root", Access{root, root}, ""},
		{"root", "nobody-has-this", Access{Group: root}, "find the group nobody-has-this of the control socket: group: unknown group nobody-has-this"},
		{"4294967290", "", Access{}, "find the group 4294967290 of the control socket: group: unknown groupid 4294967290"},
	} {
		got, err := FindAccess(test.group, test.admin)
		if text := ""; err != nil || test.err != "" {
			if err != nil {
				text = err.Error()
			}
			if text != test.err {
				t.Errorf("%q, %q: %v, want %s", test.group, test.admin, err, test.err)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q, %q: %s", test.group, test.admin, diff)
		}
	}
	if _, err := FindAccess("", ""); err != nil { // whether or not there is a group baton
		t.Error(err)
	}
}

// One user who opens all the connections that he gets keeps no other out.
func TestServe_ConnectionsOfOneUser(t *testing.T) {
	trial.NeedRoot(t)
	c := serveFor(t, newFake(), Access{Group: Group{"ops", readers}})
	c.open(t)
	for range maxConnections + 10 {
		conn, err := dialAs(t, c.path, stranger, readers)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	trial.Await(t, 10*time.Second, "the user's connections", func() bool {
		_, err := clientAs(c.path, t, stranger, readers).Status(t.Context())
		return err != nil && strings.Contains(err.Error(), "broke off")
	})
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("root: %v", err)
	}
	if _, err := clientAs(c.path, t, stranger+1, readers).Status(t.Context()); err != nil {
		t.Errorf("another user: %v", err)
	}
}
