package doctor

import (
	"net/netip"
	"os"
	"strings"
	"time"

	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
)

// facts is what the probes go by. They are collected once, so that a probe is a
// function of them alone. What could not be looked at is absent, and named in
// skipped.
type facts struct {
	cfg        *config.Config
	runtimeDir string

	running bool
	pid     int              // of the daemon; 0: none runs, or it is not known
	daemon  *process         // nil: none runs, or it could not be looked at
	self    process          // this one: what the daemon would have if it were started like it
	status  *control.Status  // nil: the daemon was not asked
	checks  []control.Check  // of the daemon
	cluster *control.Cluster // nil: the other nodes were not asked

	interfaces []link.Interface
	rules      *ruleset // of nftables; nil: it could not be read
	heard      []Heard
	left       []string  // of a daemon that died
	processes  []process // of this network namespace
	clock      *clock    // nil: it could not be asked
	volatile   bool      // the runtime directory is on a tmpfs
	kernel     [2]int    // version; 0: unknown

	sysctl func(name string) string              // empty: there is none
	read   func(path string) string              // a file; empty: it cannot be read
	glob   func(pattern string) []string         // files, by name
	stat   func(path string) (socketFile, error) // a socket, and the folders that lead to it

	skipped []Skipped
}

// process is what is known of one.
type process struct {
	pid      int
	name     string
	uid      uint32
	groups   []uint32
	caps     uint64 // effective
	realtime bool
	locked   bool // its memory is, or may be
}

// Heard is a master that was heard on a link.
type Heard struct {
	Interface string
	VRID      uint8
	IPv6      bool
	Version   int
	Source    netip.Addr
	Addresses []netip.Addr
	Signed    string // none, pass, ah or hmac
}

// clock is what the kernel says of the wall clock.
type clock struct {
	synchronised bool
	maxError     time.Duration
}

// socketFile is who may connect to a socket.
type socketFile struct {
	uid, gid uint32
	mode     os.FileMode
	group    string // its name
	blocked  string // a folder on the way that the daemon cannot pass; empty: none
}

// iface is the interface of that name.
func (f *facts) iface(name string) (link.Interface, bool) {
	for _, i := range f.interfaces {
		if i.Name == name {
			return i, true
		}
		for _, other := range i.AltNames {
			if other == name {
				return i, true
			}
		}
	}
	return link.Interface{}, false
}

// indexOf is that of an interface; 0: there is none of that name.
func (f *facts) indexOf(name string) int {
	i, _ := f.iface(name)
	return i.Index
}

// me is this node in the configuration.
func (f *facts) me() config.Node {
	for _, n := range f.cfg.Nodes {
		if n.Name == f.cfg.Node {
			return n
		}
	}
	return config.Node{Name: f.cfg.Node}
}

// virtual tells whether an address is one of a router of this node that does not own
// it.
func (f *facts) virtual(a netip.Addr) bool {
	for _, r := range f.cfg.Routers {
		for _, v := range r.Addresses {
			if r.Priority != 255 && v.Prefix.Addr() == a {
				return true
			}
		}
	}
	return false
}

// holders are the interfaces that have an address.
func (f *facts) holders(a netip.Addr) []string {
	var names []string
	for _, i := range f.interfaces {
		for _, o := range i.Addresses {
			if o.Prefix.Addr() == a {
				names = append(names, i.Name)
			}
		}
	}
	return names
}

// roleOf is that of a router, as the daemon has it; empty: it was not asked.
func (f *facts) roleOf(r config.Router) string {
	name := r.Name
	if r.Group != "" {
		name = r.Group
	}
	if f.status != nil {
		for _, s := range f.status.Routers {
			if s.Name == name {
				return s.Role
			}
		}
	}
	return ""
}

// number is a setting of the kernel; -1: there is none.
func (f *facts) number(name string) int {
	switch v := f.sysctl(name); {
	case len(v) == 1 && v >= "0" && v <= "9":
		return int(v[0] - '0')
	case v == "":
		return -1
	}
	return 10
}

// ofInterface is a setting of an interface. The kernel goes by the greater one of
// that and "all".
func (f *facts) ofInterface(iface, name string) int {
	return max(f.number("net.ipv4.conf.all."+name), f.number("net/ipv4/conf/"+iface+"/"+name))
}

// sysctlPath is where the kernel shows a setting: with dots between its parts, or
// with slashes where a name has dots.
func sysctlPath(name string) string {
	if !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, ".", "/")
	}
	return "/proc/sys/" + name
}
