package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"baton/internal/command"
)

// Host answers what only this host knows of a configuration: it is the
// config.Host of `baton validate --here`.
type Host struct{}

// Interface fails where no interface has the name.
func (Host) Interface(name string) error {
	if _, err := net.InterfaceByName(name); err != nil {
		return fmt.Errorf("there is no interface %s here", name)
	}
	return nil
}

// Command fails where baton would refuse to run argv as the user.
func (Host) Command(argv []string, user string) error {
	path, err := command.Lookup(argv[0])
	if err != nil {
		return err
	}
	if user == "" {
		return command.Verify(path)
	}
	u, err := command.LookupUser(user)
	if err != nil {
		return err
	}
	return command.VerifyFor(path, u)
}

// Exposed tells who else could change a file that the daemon goes by: a Config
// must not come from one.
func (Host) Exposed(path string) (problem, mend string) { return command.Exposed(path) }

// Socket fails where path is no socket.
func (Host) Socket(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s is no socket", path)
	}
	return nil
}

// Address fails where no interface has the address.
func (Host) Address(a netip.Addr) error {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if p, err := netip.ParsePrefix(addr.String()); err == nil && p.Addr() == a {
			return nil
		}
	}
	return errors.New("no interface of this host has it")
}
