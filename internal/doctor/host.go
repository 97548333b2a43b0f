package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"baton/internal/config"
	"baton/internal/control"
)

// node is a finding about the node as a whole.
func node(id string, level Level, mend, format string, args ...any) []Finding {
	return []Finding{{ID: id, Level: level, Text: fmt.Sprintf(format, args...), Mend: mend}}
}

// capabilities finds those that the daemon lacks.
func capabilities(f *facts) []Finding {
	p, who := f.daemon, "baton"
	switch {
	case p != nil:
		who = fmt.Sprintf("baton (PID %d)", p.pid)
	case !f.running && f.self.uid == 0:
		p, who = &f.self, "what root starts here"
	default:
		return nil
	}
	var lacks []string
	for bit, name := range map[uint]string{unix.CAP_NET_ADMIN: "CAP_NET_ADMIN", unix.CAP_NET_RAW: "CAP_NET_RAW"} {
		if p.caps>>bit&1 == 0 {
			lacks = append(lacks, name)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	slices.Sort(lacks)
	return node("capabilities", Problem, "unit: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW, and in CapabilityBoundingSet; container: --cap-add NET_ADMIN --cap-add NET_RAW, in the host's network namespace",
		"%s lacks %s: it cannot speak VRRP, or put addresses on", who, strings.Join(lacks, " and "))
}

// scheduling finds that a busy host may delay advertisements.
func scheduling(f *facts) []Finding {
	if f.daemon == nil {
		return nil
	}
	var found []Finding
	if !f.daemon.realtime {
		found = append(found, node("real-time", Advice, "unit: CPUSchedulingPolicy=rr and LimitRTPRIO=1; container: --cap-add SYS_NICE or --ulimit rtprio=1",
			"baton has ordinary scheduling: a busy host may delay advertisements by 100 ms")...)
	}
	if !f.daemon.locked {
		found = append(found, node("memory", Advice, "unit: LimitMEMLOCK=infinity; container: --ulimit memlock=-1",
			"baton may not lock its memory: a host that swaps may delay advertisements")...)
	}
	return found
}

// sockets finds those that checks ask and the daemon may not connect to.
func sockets(f *facts) []Finding {
	var found []Finding
	for _, c := range f.cfg.Checks {
		path := socketOf(c)
		if path == "" || f.daemon == nil {
			continue
		}
		server := "the server that listens there"
		if c.Type == config.HAProxyCheck {
			server = `HAProxy: systemctl status haproxy; its configuration needs "stats socket ` + path + `"`
		}
		s, err := f.stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			found = append(found, node("socket", Problem, "start "+server, "check %s: there is no socket %s", c.Name, path)...)
		case err != nil: // named among what could not be looked at
		case s.mode&fs.ModeSocket == 0:
			found = append(found, node("socket", Problem, "mend its path; or start "+server, "check %s: %s is no socket", c.Name, path)...)
		case s.blocked != "":
			found = append(found, node("socket", Problem, "a folder that baton may enter: chmod o+x "+s.blocked+", or the socket elsewhere", "check %s: baton (user %d) may not enter %s", c.Name, f.daemon.uid, s.blocked)...)
		case !mayWrite(*f.daemon, s):
			found = append(found, node("socket", Problem, fmt.Sprintf("systemctl edit baton: [Service] SupplementaryGroups=%s, then restart baton; in HAProxy: stats socket %s mode 660 group %s", s.group, path, s.group),
				"check %s: baton (user %d) may not connect to %s, which is for user %d and group %s (mode %04o)", c.Name, f.daemon.uid, path, s.uid, s.group, s.mode.Perm())...)
		}
	}
	return found
}

// socketOf is the Unix socket that a check asks; empty: it asks none.
func socketOf(c config.Check) string {
	switch {
	case c.HAProxy != nil:
		return c.HAProxy.Socket
	case c.HTTP != nil:
		return c.HTTP.Socket
	case c.Dialogue != nil && c.Dialogue.Network == "unix":
		return c.Dialogue.Address
	}
	return ""
}

// mayWrite tells whether a process may connect to a socket.
func mayWrite(p process, s socketFile) bool {
	switch {
	case p.uid == 0 && p.caps>>unix.CAP_DAC_OVERRIDE&1 == 1:
		return true
	case p.uid == s.uid:
		return s.mode&0o200 != 0
	case slices.Contains(p.groups, s.gid):
		return s.mode&0o020 != 0
	}
	return s.mode&0o002 != 0
}

// clocks finds clocks that nobody sets, where signatures are compared with them.
func clocks(f *facts) []Finding {
	return eachRouter(f, func(r config.Router) []Finding {
		switch {
		case r.HMAC == nil || r.HMAC.Window == 0 || f.clock == nil:
			return nil
		case !f.clock.synchronised:
			return []Finding{problem("clock", r, "run chrony or systemd-timesyncd: timedatectl set-ntp true; a container cannot: mend it on its host",
				"the clock is not synchronised, and advertisements are refused whose time differs by more than %s (authentication.window)", r.HMAC.Window)}
		case f.clock.maxError > r.HMAC.Window:
			return []Finding{problem("clock", r, "chronyc tracking, or timedatectl timesync-status",
				"the clock may be wrong by %s, and advertisements are refused whose time differs by more than %s (authentication.window)", f.clock.maxError, r.HMAC.Window)}
		}
		return nil
	})
}

// leftovers finds what a dead daemon has left.
func leftovers(f *facts) []Finding {
	if f.running {
		return nil
	}
	var found []Finding
	if len(f.left) > 0 {
		found = node("leftovers", Problem, "start baton, which removes them; or: baton release", "no baton runs here, and one that died has left %s", join(f.left))
	}
	return append(found, leftTable(f)...)
}

// directory finds a runtime directory that outlives the host's restart, or wears a
// disk out.
func directory(f *facts) []Finding {
	if f.volatile || f.runtimeDir == "" {
		return nil
	}
	return node("runtime-dir", Advice, "--runtime-dir below /run; container: --tmpfs "+f.runtimeDir, "%s is not on a tmpfs: the record is written twice a second, and a slow disk delays adoption after a crash", f.runtimeDir)
}

// kernel finds features that an old one lacks.
func kernel(f *facts) []Finding {
	switch v := f.kernel; {
	case v == [2]int{}:
		return nil
	case older(v, 5, 1):
		return node("kernel", Problem, "Linux 5.1 or newer", "Linux %d.%d lacks what baton needs", v[0], v[1])
	case older(v, 5, 18):
		return node("kernel", Advice, "Linux 5.18 or newer", "Linux %d.%d does not keep who has put an address on: after a crash only those that the record names are known to be baton's", v[0], v[1])
	}
	return nil
}

func older(v [2]int, major, minor int) bool { return v[0] < major || v[0] == major && v[1] < minor }

// running finds that the daemon runs with something else, and is degraded.
func running(f *facts) []Finding {
	if f.status == nil {
		return nil
	}
	var found []Finding
	if f.status.Configuration != f.cfg.Hash {
		found = append(found, node("changed-file", Advice, "baton reload --dry-run shows what would change, baton reload applies it",
			"%s is another configuration (%s) than the one that runs (%s)", f.cfg.Path, f.cfg.Hash, f.status.Configuration)...)
	}
	for _, p := range f.status.Problems {
		n := Finding{ID: "degraded", Level: Problem, Text: p.Text, Mend: p.Hint, Routers: p.Routers}
		if n.Mend == "" {
			n.Mend = "baton status"
		}
		found = append(found, n)
	}
	return found
}

// check is what the daemon says of one.
func (f *facts) check(name string) (control.Check, bool) {
	for _, c := range f.checks {
		if c.Name == name {
			return c, true
		}
	}
	return control.Check{}, false
}

// commands finds what baton would refuse to run.
func commands(f *facts, host config.Host) []Finding {
	var found []Finding
	for _, d := range f.cfg.CheckHost(host) {
		if d.Severity == config.Warning {
			continue // what may still come is looked at by others
		}
		found = append(found, node("command", Problem, d.Hint, "%s:%d: %s", d.File, d.Line, d.Message)...)
	}
	return found
}
