package doctor

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"baton/internal/config"
	"baton/internal/control"
)

// healthy is a host on which nothing is wrong.
func healthy() host {
	files := map[string]string{
		"/proc/4711/status":                   "Uid:\t990\t990\t990\t990\nGid:\t990\t990\t990\t990\nGroups:\t99\nCapEff:\t0000000000003000\nVmLck:\t 9000 kB\n",
		"/proc/sys/net/ipv4/ip_nonlocal_bind": "1",
		"/run/systemd/netif/links/2":          "ADMIN_STATE=unmanaged",
		"/proc/1/comm":                        "systemd",
		"/proc/self/comm":                     "baton",
	}
	return host{
		read: func(path string) (string, error) {
			text, ok := files[path]
			if !ok {
				return "", fs.ErrNotExist
			}
			return text, nil
		},
		list: func(string) []string { return []string{"/proc/1/comm"} },
		stat: func(string) (fileInfo, error) { return fileInfo{fs.ModeSocket | 0o660, 0, 99}, nil },
		interfaces: func() ([]netInterface, error) {
			return []netInterface{{name: "eth0", index: 2, up: true, mtu: 1500, addresses: []net.IP{net.ParseIP("10.0.0.11")}}}, nil
		},
		ruleset:    func() ([]chain, error) { return nil, nil },
		clock:      func() (bool, error) { return true, nil },
		filesystem: func(string) (int64, error) { return unix.TMPFS_MAGIC, nil },
	}
}

func patient() Patient {
	web := config.Router{Name: "web", Interface: "eth0", VRID: 51, Version: 3, Priority: 200, HMAC: &config.HMAC{Window: time.Second},
		Addresses: []config.Address{{Prefix: netip.MustParsePrefix("10.0.0.100/24"), Advertise: true}}}
	cfg := &config.Config{Routers: []config.Router{web}, Checks: []config.Check{{Name: "haproxy", Type: config.HAProxyCheck, HAProxy: &config.HAProxy{Socket: "/run/haproxy/admin.sock"}}}}
	return Patient{Config: cfg, PID: 4711, Dir: "/run/baton"}
}

// Each thing that is wrong is found, and nothing on a healthy host.
func TestLooks(t *testing.T) {
	tests := []struct {
		name string
		look func(Patient, host) []Finding
		ill  func(p *Patient, h *host)
		want string // level, topic and a part of the text; empty: nothing
	}{
		{"healthy", interfaces, nil, ""},
		{"no interface", interfaces, func(p *Patient, _ *host) { p.Config.Routers[0].Interface = "eth7" }, "bad interface web: there is no interface eth7 here"},
		{"down", interfaces, change(func(i *netInterface) { i.up = false }), "bad interface web: eth0 is down"},
		{"no address", interfaces, change(func(i *netInterface) { i.addresses = nil }), "bad interface web: eth0 has no IPv4 address of its own"},
		{"only the virtual one", interfaces, change(func(i *netInterface) { i.addresses = []net.IP{net.ParseIP("10.0.0.100")} }), "bad interface web: eth0 has no IPv4 address"},
		{"no link-local address", interfaces, func(p *Patient, _ *host) { p.Config.Routers[0].IPv6 = true }, "no IPv6 link-local address"},
		{"small MTU", interfaces, change(func(i *netInterface) { i.mtu = 31 }), "an advertisement of 1 addresses has 32 bytes, and eth0 carries 31"},
		{"healthy", nonlocalBind, nil, ""},
		{"nonlocal bind", nonlocalBind, file("/proc/sys/net/ipv4/ip_nonlocal_bind", "0"), "doubt nonlocal bind net.ipv4.ip_nonlocal_bind is 0"},
		{"no HAProxy", nonlocalBind, func(p *Patient, h *host) {
			p.Config.Checks = nil
			file("/proc/sys/net/ipv4/ip_nonlocal_bind", "0")(p, h)
		}, ""},
		{"healthy", sockets, nil, ""},
		{"no socket", sockets, func(_ *Patient, h *host) {
			h.stat = func(string) (fileInfo, error) { return fileInfo{}, fs.ErrNotExist }
		}, "bad socket check haproxy: there is no socket /run/haproxy/admin.sock"},
		{"no socket at all", sockets, func(_ *Patient, h *host) {
			h.stat = func(string) (fileInfo, error) { return fileInfo{0o660, 0, 99}, nil }
		}, "bad socket check haproxy: /run/haproxy/admin.sock is no socket"},
		{"another group", sockets, func(_ *Patient, h *host) {
			h.stat = func(string) (fileInfo, error) { return fileInfo{fs.ModeSocket | 0o660, 0, 98}, nil }
		}, "bad socket check haproxy: /run/haproxy/admin.sock is for user 0 and group 98 (mode 0660)"},
		{"the group may not write", sockets, func(_ *Patient, h *host) {
			h.stat = func(string) (fileInfo, error) { return fileInfo{fs.ModeSocket | 0o640, 0, 99}, nil }
		}, "bad socket"},
		{"its own socket", sockets, func(_ *Patient, h *host) {
			h.stat = func(string) (fileInfo, error) { return fileInfo{fs.ModeSocket | 0o600, 990, 0}, nil }
		}, ""},
		{"capability", process, file("/proc/4711/status", "CapEff:\t0000000000001000\nVmLck:\t 9 kB\n"), "bad capability the daemon does not have CAP_NET_RAW"},
		{"swap", process, file("/proc/4711/status", "CapEff:\t0000000000003000\nVmLck:\t 0 kB\n"), "doubt memory"},
		{"disk", process, func(_ *Patient, h *host) { h.filesystem = func(string) (int64, error) { return 0xEF53, nil } }, "doubt runtime directory /run/baton is no tmpfs"},
		{"healthy", leftovers, nil, ""},
		{"left", leftovers, func(p *Patient, h *host) {
			p.PID = 0
			change(func(i *netInterface) { i.addresses = []net.IP{net.ParseIP("10.0.0.100")} })(p, h)
		}, "bad leftovers no baton runs here, and this host has virtual addresses: 10.0.0.100 on eth0"},
		{"healthy", clocks, nil, ""},
		{"clock", clocks, func(_ *Patient, h *host) { h.clock = func() (bool, error) { return false, nil } }, "bad clock"},
		{"clock that cannot be asked", clocks, func(_ *Patient, h *host) { h.clock = func() (bool, error) { return false, errors.New("no") } }, "unknown clock"},
		{"healthy", others, nil, ""},
		{"keepalived", others, file("/proc/1/comm", "keepalived"), "doubt other programs keepalived runs here (PID 1)"},
		{"healthy", managers, nil, ""},
		{"networkd", managers, file("/run/systemd/netif/links/2", "ADMIN_STATE=configured\nX=1"), "doubt network manager systemd-networkd configures eth0"},
		{"NetworkManager", managers, file("/run/NetworkManager/devices/2", "[device]\nmanaged=true"), "doubt network manager NetworkManager manages eth0"},
		{"never heard", heard, func(p *Patient, _ *host) {
			p.Status = &control.Status{Routers: []control.Router{{Name: "web", Role: "MASTER", Parts: []control.Part{{Peers: []control.Peer{{Node: "lb2"}}}}}}}
		}, "doubt nobody heard web"},
		{"heard", heard, func(p *Patient, _ *host) {
			p.Status = &control.Status{Routers: []control.Router{{Name: "web", Role: "MASTER", Parts: []control.Part{{Peers: []control.Peer{{LastHeard: time.Unix(1, 0)}}}}}}}
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, h := patient(), healthy()
			if tt.ill != nil {
				tt.ill(&p, &h)
			}
			var got []string
			for _, f := range tt.look(p, h) {
				got = append(got, string(f.Level)+" "+f.Topic+" "+f.Text)
			}
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("found %q", got)
			case tt.want != "" && !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, tt.want) }):
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

func change(how func(*netInterface)) func(*Patient, *host) {
	return func(_ *Patient, h *host) {
		all, _ := h.interfaces()
		how(&all[0])
		h.interfaces = func() ([]netInterface, error) { return all, nil }
	}
}

func file(path, text string) func(*Patient, *host) {
	return func(_ *Patient, h *host) {
		before := h.read
		h.read = func(p string) (string, error) {
			if p == path {
				return text, nil
			}
			return before(p)
		}
	}
}

// The pieces of rules, as nft makes them.
func l4proto(p byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}}}
}

func iif(name string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(name), 0)}}
}

func established() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{6, 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func does(rule []expr.Any, kind expr.VerdictKind, chain ...string) []expr.Any {
	v := &expr.Verdict{Kind: kind}
	if len(chain) > 0 {
		v.Chain = chain[0]
	}
	return append(append([]expr.Any{&expr.Counter{}}, rule...), v)
}

func TestFirewall(t *testing.T) {
	input := func(drops bool, rules ...[]expr.Any) chain {
		return chain{table: "filter", name: "input", family: nftables.TableFamilyINet, hook: "input", drops: drops, rules: rules}
	}
	set := []expr.Any{&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4, DestRegister: 1}, &expr.Lookup{SourceRegister: 1, SetName: "trusted"}}
	group := []expr.Any{&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4, DestRegister: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{224, 0, 0, 18}}}
	tests := []struct {
		name   string
		chains []chain
		want   Level
	}{
		{"none", nil, ""},
		{"accepts all", []chain{input(false)}, ""},
		{"drops all", []chain{input(true)}, Bad},
		{"lets answers in", []chain{input(true, does(established(), expr.VerdictAccept), does(iif("lo"), expr.VerdictAccept), does(l4proto(6), expr.VerdictAccept))}, Bad},
		{"lets the protocol in", []chain{input(true, does(established(), expr.VerdictAccept), does(l4proto(112), expr.VerdictAccept))}, ""},
		{"lets the group in", []chain{input(true, does(group, expr.VerdictAccept))}, ""},
		{"lets the interface in", []chain{input(true, does(iif("eth0"), expr.VerdictAccept))}, ""},
		{"lets another interface in", []chain{input(true, does(iif("eth1"), expr.VerdictAccept))}, Bad},
		{"drops the protocol", []chain{input(false, does(l4proto(112), expr.VerdictDrop))}, Bad},
		{"rejects the rest", []chain{input(false, append(iif("eth0"), &expr.Reject{}))}, Bad},
		{"jumps", []chain{input(true, does(nil, expr.VerdictJump, "zone")), {table: "filter", name: "zone", family: nftables.TableFamilyINet, rules: [][]expr.Any{does(l4proto(112), expr.VerdictAccept)}}}, ""},
		{"jumps to nothing", []chain{input(true, does(nil, expr.VerdictJump, "zone")), {table: "filter", name: "zone", family: nftables.TableFamilyINet}}, Bad},
		{"jumps in a circle", []chain{input(true, does(nil, expr.VerdictJump, "input"))}, Doubt},
		{"of trusted addresses", []chain{input(true, does(set, expr.VerdictAccept))}, Doubt},
		{"of trusted addresses, and all", []chain{input(false, does(set, expr.VerdictAccept), does(nil, expr.VerdictAccept))}, ""},
		{"one of two tables drops", []chain{input(false), {table: "other", name: "in", family: nftables.TableFamilyIPv4, hook: "input", drops: true}}, Bad},
		{"another family drops", []chain{{table: "other", name: "in", family: nftables.TableFamilyIPv6, hook: "input", drops: true}}, ""},
		{"output drops", []chain{{table: "filter", name: "out", family: nftables.TableFamilyINet, hook: "output", drops: true}}, Bad},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := healthy()
			h.ruleset = func() ([]chain, error) { return tt.chains, nil }
			got := Level("")
			for _, f := range firewall(patient(), h) {
				got = f.Level
			}
			if got != tt.want {
				t.Errorf("found %q, want %q: %v", got, tt.want, firewall(patient(), h))
			}
		})
	}
	h := healthy()
	h.ruleset = func() ([]chain, error) { return nil, errors.New("operation not permitted") }
	if got := firewall(patient(), h); len(got) != 1 || got[0].Level != Unknown {
		t.Errorf("rules that cannot be read: %v", got)
	}
}

func TestCollisions(t *testing.T) {
	r := patient().Config.Routers[0]
	got := Collisions(r, []Speaker{
		{Source: "10.0.0.12", Version: 3, Addresses: []string{"10.0.0.100"}},
		{Source: "10.0.0.13", Version: 2, Addresses: []string{"10.0.0.100"}},
		{Source: "10.0.0.14", Version: 3, Addresses: []string{"10.0.0.200"}},
	})
	if len(got) != 2 || !strings.Contains(got[0].Text, "10.0.0.13 has its addresses and speaks version 2, not 3") || !strings.Contains(got[1].Text, "VRID 51 is in use on eth0 by 10.0.0.14") {
		t.Errorf("%v", got)
	}
}
