package doctor

import (
	"fmt"
	"path"
	"strings"

	"baton/internal/config"
)

// networkManagers finds programs that take off what they have not put on.
func networkManagers(f *facts) []Finding {
	return eachRouter(f, func(r config.Router) (found []Finding) {
		if r.VirtualMAC != nil {
			if i := f.indexOf(r.VirtualMAC.Name); i != 0 && f.networkdManages(i) {
				found = append(found, advice("networkd", r, "a .network file with [Match] Name="+r.VirtualMAC.Name+" and [Link] Unmanaged=yes; networkctl reload",
					"systemd-networkd manages %s, the interface of a virtual MAC", r.VirtualMAC.Name))
			} else if i != 0 && f.runs("NetworkManager") && f.setting(fmt.Sprintf("/run/NetworkManager/devices/%d", i), "managed") == "true" {
				found = append(found, advice("networkmanager", r, "in /etc/NetworkManager/conf.d/60-baton.conf: [device-baton] match-device=interface-name:"+r.VirtualMAC.Name+" managed=0; systemctl reload NetworkManager",
					"NetworkManager manages %s, the interface of a virtual MAC", r.VirtualMAC.Name))
			}
			return found
		}
		link := f.indexOf(r.Interface)
		if !f.networkdManages(link) {
			return nil
		}
		state := fmt.Sprintf("/run/systemd/netif/links/%d", link)
		file := f.setting(state, "NETWORK_FILE")
		if keep := f.dropIns(file, "KeepConfiguration"); file != "" && keep != "static" && keep != "yes" && keep != "true" {
			found = append(found, advice("networkd", r, fmt.Sprintf("in /etc/systemd/network/%s.d/60-baton.conf: [Network] KeepConfiguration=static; networkctl reload", path.Base(file)),
				"systemd-networkd manages %s by %s without KeepConfiguration=static: when it starts it may remove virtual addresses, which baton then puts back", r.Interface, file))
		}
		if len(r.Routes)+len(r.Rules) > 0 && f.networkdConf("ManageForeignRoutes") != "no" {
			found = append(found, advice("networkd", r, "in /etc/systemd/networkd.conf.d/60-baton.conf: [Network] ManageForeignRoutes=no and ManageForeignRoutingPolicyRules=no; systemctl restart systemd-networkd, on a node that is a backup",
				"systemd-networkd removes routes and rules that it has not made when it starts: those of this router, too"))
		}
		return found
	})
}

func (f *facts) runs(name string) bool {
	for _, p := range f.processes {
		if p.name == name {
			return true
		}
	}
	return false
}

// networkdManages tells whether systemd-networkd goes by a file for an interface. The
// kernel keeps 15 letters of its name.
func (f *facts) networkdManages(index int) bool {
	if index == 0 || !f.runs("systemd-network") {
		return false
	}
	state := f.setting(fmt.Sprintf("/run/systemd/netif/links/%d", index), "ADMIN_STATE")
	return state != "" && state != "unmanaged"
}

// setting is the last value of a key in a file of KEY=VALUE; empty: it has none.
func (f *facts) setting(file, key string) (value string) {
	for line := range strings.Lines(f.read(file)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.TrimSpace(k) == key {
			value = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return value
}

// dropIns is a setting of a file of systemd with its drop-ins.
func (f *facts) dropIns(file, key string) string {
	value := f.setting(file, key)
	for _, dir := range folders("/systemd/network/") {
		for _, name := range f.glob(dir + path.Base(file) + ".d/*.conf") {
			if v := f.setting(name, key); v != "" {
				value = v
			}
		}
	}
	return value
}

// networkdConf is a setting of systemd-networkd itself.
func (f *facts) networkdConf(key string) string {
	value := f.setting("/etc/systemd/networkd.conf", key)
	for _, dir := range folders("/systemd/") {
		for _, name := range f.glob(dir + "networkd.conf.d/*.conf") {
			if v := f.setting(name, key); v != "" {
				value = v
			}
		}
	}
	return strings.NewReplacer("false", "no", "off", "no").Replace(value)
}

// folders are those of systemd's files; a later one goes before an earlier one.
func folders(below string) []string {
	return []string{"/lib" + below, "/usr/lib" + below, "/usr/local/lib" + below, "/run" + below, "/etc" + below}
}
