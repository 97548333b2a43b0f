package daemon

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"baton/internal/config"
)

var _ config.Host = Host{}

func TestHost(t *testing.T) {
	needNamespace(t)
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo)) // brings 127.0.0.1
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	must(t, os.WriteFile(open, []byte("#!/bin/sh\n"), 0o755))
	must(t, os.Chmod(open, 0o777))
	plain := filepath.Join(dir, "plain")
	must(t, os.WriteFile(plain, nil, 0o644))
	socket := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", socket)
	must(t, err)
	defer l.Close()

	var h Host
	forbidden := open
	if os.Getenv(insideVariable) != "0" {
		forbidden = "" // an ordinary user has nothing to lose by it
	}
	for _, tt := range []struct {
		name string
		err  error
		want string // a part of the error; empty: none
	}{
		{"interface", h.Interface("lo"), ""},
		{"no interface", h.Interface("none0"), "there is no interface none0 here"},
		{"address", h.Address(netip.MustParseAddr("127.0.0.1")), ""},
		{"no address", h.Address(netip.MustParseAddr("192.0.2.1")), "no interface of this host has it"},
		{"socket", h.Socket(socket), ""},
		{"no socket", h.Socket(plain), plain + " is no socket"},
		{"nothing", h.Socket(filepath.Join(dir, "nothing")), "no such file or directory"},
		{"command", h.Command([]string{"sh", "-c", ":"}, ""), ""},
		{"command of a user", h.Command([]string{"/bin/sh"}, "root"), ""},
		{"no command", h.Command([]string{"no-such-program"}, ""), "no-such-program"},
		{"not executable", h.Command([]string{plain}, ""), plain},
		{"no user", h.Command([]string{"/bin/sh"}, "no-such-user"), "no-such-user"},
		{"writable by others", h.Command([]string{open}, ""), forbidden},
		{"writable by others, of a user", h.Command([]string{open}, "root"), forbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			switch {
			case tt.want == "" && tt.err != nil:
				t.Errorf("error %v, want none", tt.err)
			case tt.want != "" && (tt.err == nil || !strings.Contains(tt.err.Error(), tt.want)):
				t.Errorf("error %v, want one with %q", tt.err, tt.want)
			}
		})
	}
}
