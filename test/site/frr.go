package site

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"baton/internal/lab"
)

// frrDir has FRR's files and sockets: in the /run of its host, since its own user must reach them.
const frrDir = "/run/frr"

// FRRBinaries is where Debian puts FRR's daemons.
const FRRBinaries = "/usr/lib/frr"

func frrArgv(daemon string) []string {
	return []string{
		filepath.Join(FRRBinaries, daemon), "--vty_socket", frrDir, "-z", frrDir + "/z.sock", "-i", frrDir + "/" + daemon + ".pid",
		"-u", "frr", "-g", "frr", "-f", frrDir + "/" + daemon + ".conf",
	}
}

// configureFRR writes the files of zebra and vrrpd.
func (n *Node) configureFRR() error {
	dir := n.Host.Path(frrDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	const header = "log stdout debugging\n"
	if err := os.WriteFile(filepath.Join(dir, "zebra.conf"), []byte(header), 0o644); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(header + "debug vrrp protocol packets\n")
	for _, r := range n.config.Routers {
		priority, noPreempt := n.config.election(r)
		if _, ok := priority[n.Name]; !ok {
			continue
		}
		set := fmt.Sprintf(" vrrp %d ", r.VRID)
		fmt.Fprintf(&b, "interface %s\n%sversion %d\n%spriority %d\n%sadvertisement-interval %d\n",
			r.on(), set, r.version(), set, priority[n.Name], set, r.Interval.Milliseconds())
		if noPreempt {
			fmt.Fprintf(&b, " no vrrp %d preempt\n", r.VRID)
		}
		family := "ip"
		if r.is6() {
			family = "ipv6"
		}
		for _, a := range r.Addresses {
			fmt.Fprintf(&b, "%s%s %v\n", set, family, Address(a))
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "vrrpd.conf"), []byte(b.String()), 0o644); err != nil {
		return err
	}
	return chownFRR(dir)
}

// chownFRR gives a directory and its files to FRR's user.
func chownFRR(dir string) error {
	frr, err := user.Lookup("frr")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(frr.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(frr.Gid)
	if err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	for _, name := range append(names, dir) {
		if err := os.Lchown(name, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// prepareFRR makes what vrrpd needs before its first start: a macvlan for each virtual router, with the virtual MAC
// address and the virtual addresses, out of use until vrrpd takes it; and zebra, by which vrrpd does so.
func (n *Node) prepareFRR() error {
	if n.zebra != nil {
		return nil
	}
	for key, value := range map[string]string{
		// The addresses of a backup are on its macvlan too, and may not be answered for by others.
		"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/all/arp_announce": "2",
	} {
		if err := n.Host.Sysctl(key, value); err != nil {
			return err
		}
	}
	for _, r := range n.config.Routers {
		family, name := 1, r.nameForFRR()
		if r.is6() {
			family = 2
		}
		commands := []string{
			fmt.Sprintf("link add name %s link %s address 00:00:5e:00:%02x:%02x type macvlan mode bridge", name, r.on(), family, r.VRID),
			"link set dev " + name + " protodown on",
			// Else every node's virtual router has the same link-local address.
			"link set dev " + name + " addrgenmode random",
		}
		for _, a := range r.Addresses {
			commands = append(commands, "address add "+a+" dev "+name)
		}
		for _, c := range append(commands, "link set dev "+name+" up") {
			if _, err := n.Host.Run(commandTimeout, append([]string{"ip"}, strings.Fields(c)...)...); err != nil {
				return err
			}
		}
	}
	var err error
	if n.zebra, err = n.Host.Start(frrArgv("zebra"), lab.StartOptions{}); err != nil {
		return err
	}
	for deadline := time.Now().Add(StopTimeout); ; time.Sleep(5 * time.Millisecond) {
		_, err := os.Stat(n.Host.Path(frrDir + "/zebra.vty")) // made after the socket that vrrpd uses
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(err, errors.New(n.zebra.Output()))
		}
	}
}

// leftByFRR puts the macvlans out of use after the end of vrrpd. It asks zebra for that and ends, and zebra, which may
// notice the end first, then never reads what it asked.
func (n *Node) leftByFRR() error {
	for _, r := range n.config.Routers {
		if _, err := n.Host.Run(commandTimeout, "ip", "link", "set", "dev", r.nameForFRR(), "protodown", "on"); err != nil {
			return err
		}
	}
	return nil
}

// nameForFRR is the name of the router's macvlan on a FRR, which finds it by its MAC address.
func (r Router) nameForFRR() string {
	if r.is6() {
		return fmt.Sprintf("vrrp6-%d", r.VRID)
	}
	return fmt.Sprintf("vrrp4-%d", r.VRID)
}

var frrState = regexp.MustCompile(`\[VRID (\d+)\] \[IPv([46])\] \w+ -> (\w+)`)

// frrRoles are FRR's words.
var frrRoles = map[string]string{"Initialize": "INIT", "Backup": "BACKUP", "Master": "MASTER"}

func (n *Node) changeFRR(line lab.Line) (Change, bool) {
	m := frrState.FindStringSubmatch(line.Text)
	if m == nil {
		return Change{}, false
	}
	for _, r := range n.config.Routers {
		if strconv.Itoa(r.VRID) == m[1] && r.is6() == (m[2] == "6") {
			return Change{At: line.At, Router: r.Name, To: frrRoles[m[3]]}, true
		}
	}
	return Change{}, false
}
