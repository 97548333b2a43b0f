package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"baton/internal/config"
)

// interfaces looks at those that routers name.
func interfaces(p Patient, h host) []Finding {
	all, err := h.interfaces()
	if err != nil {
		return []Finding{{"interface", Unknown, "the interfaces of this host: " + err.Error(), ""}}
	}
	var found []Finding
	seen := map[string]bool{}
	for _, r := range p.Config.Routers {
		key := fmt.Sprint(r.Interface, r.IPv6)
		if seen[key] {
			continue
		}
		seen[key] = true
		i := slices.IndexFunc(all, func(n netInterface) bool { return n.name == r.Interface })
		switch {
		case i < 0:
			found = append(found, Finding{"interface", Bad, fmt.Sprintf("%s: there is no interface %s here", r.Name, r.Interface), "ip link; then mend `interface` for this node"})
			continue
		case !all[i].up:
			found = append(found, Finding{"interface", Bad, fmt.Sprintf("%s: %s is down, or has no carrier", r.Name, r.Interface), "ip link set " + r.Interface + " up; look at the cable or the bond"})
		case !hasOwn(all[i], r, p.Config):
			family := "IPv4 address"
			if r.IPv6 {
				family = "IPv6 link-local address"
			}
			found = append(found, Finding{"interface", Bad, fmt.Sprintf("%s: %s has no %s of its own to speak from", r.Name, r.Interface, family), "give this host an address there beside the virtual one"})
		}
		if need := advertisementLength(r); need > all[i].mtu {
			found = append(found, Finding{"interface", Bad, fmt.Sprintf("%s: an advertisement of %d addresses has %d bytes, and %s carries %d", r.Name, len(r.Addresses), need, r.Interface, all[i].mtu),
				"raise the MTU, or write advertise: false for addresses that the peers need not know"})
		}
	}
	return found
}

// hasOwn tells whether an interface has an address that advertisements can come from.
func hasOwn(i netInterface, r config.Router, cfg *config.Config) bool {
	return slices.ContainsFunc(i.addresses, func(ip net.IP) bool {
		if (ip.To4() == nil) != r.IPv6 || r.IPv6 && !ip.IsLinkLocalUnicast() && !r.Source.IsValid() && len(r.Peers) == 0 {
			return false
		}
		return r.Priority == 255 || !slices.ContainsFunc(cfg.Routers, func(o config.Router) bool {
			return slices.ContainsFunc(o.Addresses, func(a config.Address) bool { return a.Prefix.Addr().String() == ip.String() })
		})
	})
}

// advertisementLength is that of the IP packet, in bytes (RFC 9568 section 5.1).
func advertisementLength(r config.Router) int {
	header, each := 20, 4
	if r.IPv6 {
		header, each = 40, 16
	}
	n := 0
	for _, a := range r.Addresses {
		if a.Advertise {
			n++
		}
	}
	return header + 8 + n*each
}

// nonlocalBind looks whether a server that binds a virtual address can start where
// that is not.
func nonlocalBind(p Patient, h host) []Finding {
	haproxy := slices.ContainsFunc(p.Config.Checks, func(c config.Check) bool { return c.Type == config.HAProxyCheck })
	if !haproxy {
		return nil
	}
	var found []Finding
	for _, six := range []bool{false, true} {
		if !slices.ContainsFunc(p.Config.Routers, func(r config.Router) bool { return r.IPv6 == six }) {
			continue
		}
		key := "net.ipv4.ip_nonlocal_bind"
		if six {
			key = "net.ipv6.ip_nonlocal_bind"
		}
		value, err := h.read("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
		if err == nil && value == "0" {
			found = append(found, Finding{"nonlocal bind", Doubt, key + " is 0: an HAProxy that binds the virtual address cannot start on a host without it",
				"echo '" + key + " = 1' >/etc/sysctl.d/60-nonlocal-bind.conf && sysctl --system; or bind :80"})
		}
	}
	return found
}

// sockets looks whether the daemon may connect to the sockets that checks ask.
func sockets(p Patient, h host) []Finding {
	uid, groups := identity(p, h)
	var found []Finding
	for _, c := range p.Config.Checks {
		path := ""
		switch {
		case c.HAProxy != nil:
			path = c.HAProxy.Socket
		case c.HTTP != nil:
			path = c.HTTP.Socket
		case c.Dialogue != nil && c.Dialogue.Network == "unix":
			path = c.Dialogue.Address
		}
		if path == "" {
			continue
		}
		info, err := h.stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			found = append(found, Finding{"socket", Bad, fmt.Sprintf("check %s: there is no socket %s", c.Name, path), "is the server running, and is that its stats socket?"})
		case err != nil:
			found = append(found, Finding{"socket", Unknown, fmt.Sprintf("check %s: %v", c.Name, err), ""})
		case info.mode&fs.ModeSocket == 0:
			found = append(found, Finding{"socket", Bad, fmt.Sprintf("check %s: %s is no socket", c.Name, path), ""})
		case uid == 0 || uid == info.uid && info.mode&0o200 != 0 || info.mode&0o002 != 0:
		case slices.Contains(groups, info.gid) && info.mode&0o020 != 0:
		default:
			found = append(found, Finding{"socket", Bad, fmt.Sprintf("check %s: %s is for user %d and group %d (mode %04o), and baton is neither", c.Name, path, info.uid, info.gid, info.mode.Perm()),
				"systemctl edit baton: [Service] SupplementaryGroups=GROUP"})
		}
	}
	return found
}

// identity is the user that the daemon runs as, and its groups; without a daemon
// they are those of whoever asks.
func identity(p Patient, h host) (uid uint32, groups []uint32) {
	pid := p.PID
	if pid == 0 {
		pid = unix.Getpid()
	}
	number := func(s string) uint32 {
		n, _ := strconv.ParseUint(s, 10, 32)
		return uint32(n)
	}
	if fields := strings.Fields(h.status(pid, "Uid")); len(fields) > 1 {
		uid = number(fields[1]) // effective
	}
	for _, g := range append(strings.Fields(h.status(pid, "Gid")), strings.Fields(h.status(pid, "Groups"))...) {
		groups = append(groups, number(g))
	}
	return uid, groups
}

// process looks at the running daemon: its rights, its scheduling, its directory.
func process(p Patient, h host) []Finding {
	var found []Finding
	if magic, err := h.filesystem(p.Dir); err == nil && magic != unix.TMPFS_MAGIC && magic != unix.RAMFS_MAGIC {
		found = append(found, Finding{"runtime directory", Doubt, p.Dir + " is no tmpfs: the record that a restart adopts from waits for a disk", "let systemd make it (RuntimeDirectory=baton), or choose one under /run"})
	}
	if p.PID == 0 {
		return found
	}
	effective, err := strconv.ParseUint(h.status(p.PID, "CapEff"), 16, 64)
	if err != nil {
		return append(found, Finding{"capability", Unknown, "the capabilities of the daemon: " + err.Error(), ""})
	}
	for name, bit := range map[string]int{"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_NET_RAW": unix.CAP_NET_RAW} {
		if effective>>bit&1 == 0 {
			found = append(found, Finding{"capability", Bad, "the daemon does not have " + name, "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in its unit"})
		}
	}
	if attr, err := unix.SchedGetAttr(p.PID, 0); err == nil && attr.Policy == unix.SCHED_NORMAL {
		found = append(found, Finding{"scheduling", Doubt, "the daemon has ordinary scheduling: a busy host delays its advertisements", "CPUSchedulingPolicy=rr and CPUSchedulingPriority=1 in its unit, or CAP_SYS_NICE"})
	}
	if locked := h.status(p.PID, "VmLck"); strings.HasPrefix(locked, "0 ") {
		found = append(found, Finding{"memory", Doubt, "the daemon's memory is not locked: a host that swaps delays its advertisements", "LimitMEMLOCK=infinity in its unit, or CAP_IPC_LOCK"})
	}
	return found
}

// leftovers looks for virtual addresses on a host where nobody looks after them.
func leftovers(p Patient, h host) []Finding {
	if p.PID != 0 {
		return nil
	}
	all, err := h.interfaces()
	if err != nil {
		return nil // interfaces has said so
	}
	var left []string
	for _, r := range p.Config.Routers {
		for _, a := range r.Addresses {
			for _, i := range all {
				if r.Priority != 255 && slices.ContainsFunc(i.addresses, func(ip net.IP) bool { return ip.String() == a.Prefix.Addr().String() }) {
					left = append(left, a.Prefix.Addr().String()+" on "+i.name)
				}
			}
		}
	}
	if len(left) == 0 {
		return nil
	}
	return []Finding{{"leftovers", Bad, "no baton runs here, and this host has virtual addresses: " + strings.Join(left, ", "), "baton release removes what a dead baton has left; ip address del what something else has put there"}}
}

// clocks looks at the wall clock where signatures depend on it.
func clocks(p Patient, h host) []Finding {
	windowed := func(r config.Router) bool { return r.HMAC != nil && r.HMAC.Window > 0 }
	if !slices.ContainsFunc(p.Config.Routers, windowed) {
		return nil
	}
	switch synchronised, err := h.clock(); {
	case err != nil:
		return []Finding{{"clock", Unknown, "the state of the clock: " + err.Error(), ""}}
	case !synchronised:
		return []Finding{{"clock", Bad, "the clock is not synchronised, and signatures have a window: peers will refuse this node's advertisements once it is off by more", "timedatectl set-ntp true, or chrony"}}
	}
	return nil
}

// others looks for other programs of the kind.
func others(_ Patient, h host) []Finding {
	var found []Finding
	own, _ := h.read("/proc/self/comm")
	for _, path := range h.list("/proc/[0-9]*/comm") {
		name, err := h.read(path)
		if err != nil || name == own || name != "keepalived" && name != "vrrpd" && name != "corosync" && name != "ucarp" {
			continue
		}
		pid := filepath.Base(filepath.Dir(path))
		found = append(found, Finding{"other programs", Doubt, fmt.Sprintf("%s runs here (PID %s): two programs must not have one virtual address", name, pid),
			"baton scan IFACE shows the VRIDs in use; systemctl disable --now " + name + " once baton has taken over"})
		if len(found) == 3 { // one tells it
			break
		}
	}
	return found
}

// managers looks for programs that manage the interfaces and may take addresses of
// others away.
func managers(p Patient, h host) []Finding {
	all, err := h.interfaces()
	if err != nil {
		return nil // interfaces has said so
	}
	var found []Finding
	for _, i := range all {
		if !slices.ContainsFunc(p.Config.Routers, func(r config.Router) bool { return r.Interface == i.name }) {
			continue
		}
		if text, err := h.read(fmt.Sprintf("/run/systemd/netif/links/%d", i.index)); err == nil && strings.Contains(text, "ADMIN_STATE=configured") {
			found = append(found, Finding{"network manager", Doubt, "systemd-networkd configures " + i.name + ": a reconfiguration removes addresses that it does not know; baton puts them back",
				"[Network] KeepConfiguration=yes for it, and ManageForeignRoutes=no, ManageForeignRoutingPolicyRules=no in networkd.conf"})
		}
		if text, err := h.read(fmt.Sprintf("/run/NetworkManager/devices/%d", i.index)); err == nil && strings.Contains(text, "managed=true") {
			found = append(found, Finding{"network manager", Doubt, "NetworkManager manages " + i.name + ": a reapplied connection removes addresses that it does not know; baton puts them back",
				"do not reapply the connection while this node is master; keep baton's macvlans unmanaged"})
		}
	}
	return found
}

// heard looks whether any other node has been heard.
func heard(p Patient, _ host) []Finding {
	if p.Status == nil {
		return nil
	}
	var found []Finding
	for _, r := range p.Status.Routers {
		any, peers := false, 0
		for _, part := range r.Parts {
			for _, peer := range part.Peers {
				any = any || !peer.LastHeard.IsZero()
				peers++
			}
		}
		if !any && peers > 0 && r.Role == "MASTER" {
			found = append(found, Finding{"nobody heard", Doubt, r.Name + ": this node is master and has never heard another one",
				"that is so while the others are backups, which are silent. Are they? baton status there; if one is master as well, a firewall or a switch keeps the advertisements"})
		}
	}
	return found
}

// Speaker is somebody else who was heard with the VRID of a router.
type Speaker struct {
	Source    string
	Version   int
	Addresses []string
}

// Collisions tells of speakers that are no peers of the router: they have its VRID,
// and another version or none of its addresses.
func Collisions(r config.Router, speakers []Speaker) []Finding {
	var found []Finding
	for _, s := range speakers {
		ours := slices.ContainsFunc(s.Addresses, func(addr string) bool {
			return slices.ContainsFunc(r.Addresses, func(a config.Address) bool { return a.Prefix.Addr().String() == addr })
		})
		switch {
		case ours && s.Version != r.Version:
			found = append(found, Finding{"VRID", Bad, fmt.Sprintf("%s: %s has its addresses and speaks version %d, not %d: neither hears the other", r.Name, s.Source, s.Version, r.Version), "`version`, or keepalived's vrrp_version, the same on both"})
		case !ours:
			found = append(found, Finding{"VRID", Bad, fmt.Sprintf("%s: VRID %d is in use on %s by %s, for %s", r.Name, r.VRID, r.Interface, s.Source, strings.Join(s.Addresses, ", ")), "choose another one: baton scan " + r.Interface + " lists those in use"})
		}
	}
	return found
}
