package docs_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"baton/internal/config"
)

// keywords are those of keepalived's VRRP half, up to 2.4.3: of the blocks, of what stands in them, and the usual
// options of its command line.
const keywords = `
router_id default_interface vrrp_version vrrp_mcast_group4 vrrp_mcast_group6 vrrp_skip_check_adv_addr vrrp_check_unicast_src
vrrp_strict vrrp_lower_prio_no_advert vrrp_higher_prio_send_advert vrrp_owner_ignore_adverts vrrp_down_timer_adverts
v3_checksum_as_v2 vrrp_startup_delay vrrp_delay_after_boot dynamic_interfaces log_unknown_vrids vrrp_notify_priority_changes
startup_script shutdown_script process_name process_names umask child_wait_time use_pid_dir instance
vrrp_rx_bufs_policy vrrp_rx_bufs_multiplier vrrp_netlink_cmd_rcv_bufs vrrp_netlink_monitor_rcv_bufs process_monitor_rcv_bufs
global_defs vrrp_instance state interface virtual_router_id priority advert_int version native_ipv6 virtual_ipaddress
virtual_ipaddress_excluded dev label brd scope peer noprefixroute preferred_lft -nodad home mngtmpaddr autojoin no_track
no_virtual_ipaddress virtual_routes virtual_rules promote_secondaries use_vmac vmac_xmit_base vmac_prefix use_vmac_addr
vmac_addr_prefix use_ipvlan vrf mcast_src_ip unicast_src_ip mcast_dst_ip track_src_ip unicast_peer min_ttl max_ttl unicast_ttl
unicast_fault_no_peer old_unicast_checksum authentication auth_type auth_pass auth_hmac key active_key anti_replay time_window
mode nopreempt preempt preempt_delay dont_track_primary accept no_accept skip_check_adv_addr check_unicast_src strict_mode
down_timer_adverts lower_prio_no_advert higher_prio_send_advert owner_ignore_adverts timer_expired_backup kernel_rx_buf_size
debug linkbeat_use_polling linkbeat_interfaces lvs_sync_daemon_interface lvs_sync_daemon garp_master_delay garp_master_repeat
garp_master_refresh garp_master_refresh_repeat garp_lower_prio_delay garp_lower_prio_repeat vrrp_min_garp vrrp_garp_interval
vrrp_gna_interval garp_group garp_extra_if vrrp_garp_master_delay vrrp_garp_master_repeat vrrp_garp_master_refresh
vrrp_garp_master_refresh_repeat vrrp_garp_lower_prio_delay vrrp_garp_lower_prio_repeat vrrp_garp_extra_if vrrp_sync_group group
sync_group_tracking_weight global_tracking vrrp_script script interval timeout rise fall weight reverse noreverse user init_fail
track_script track_interface track_file vrrp_track_file file init_file vrrp_track_process process quorum quorum_max delay
fork_delay terminate_delay full_command param_match track_process bfd_instance neighbor_ip track_bfd interface_up_down_delays
static_ipaddress static_routes static_rules track_group notify notify_master notify_backup notify_fault notify_stop
notify_deleted notify_master_rx_lower_pri notify_fifo vrrp_notify_fifo notify_fifo_script vrrp_notify_fifo_script
fifo_write_vrrp_states_on_reload smtp_alert smtp_alert_vrrp notification_email notification_email_from smtp_server
smtp_helo_name smtp_connect_timeout no_email_faults enable_dbus dbus_service_name enable_snmp_vrrp enable_snmp_rfc
enable_snmp_rfcv2 enable_snmp_rfcv3 enable_traps snmp_socket json_version data_use_instance state_dump_file stats_dump_file
json_dump_file reload_check_config reload_time_file reload_repeat reload_file config_save_dir tmp_config_directory script_user
enable_script_security set_supplementary_groups use_symlink_paths net_namespace net_namespace_ipvs vrrp_priority
vrrp_rt_priority vrrp_rlimit_rttime vrrp_no_swap vrrp_cpu_affinity max_auto_priority min_auto_priority_delay nftables
nftables_priority nftables_counters nftables_ifindex vrrp_iptables vrrp_ipsets disable_local_igmp include includer includem
includew includeb includea include_check -i -s -l -D -S -g -G --flush-log-file -t virtual_server real_server
virtual_server_group`

// places are what a snippet of a table is put into, by the table's heading; the snippet stands where %s is, in a flow mapping.
var places = map[string]string{
	"A virtual router":  "virtual_routers: {web: {%s}}",
	"Addresses":         "virtual_routers: {web: {addresses: [10.0.0.1/24, {%s}]}}",
	"Routes and rules":  "virtual_routers: {web: {%s}}",
	"Announcements":     "virtual_routers: {web: {%s}}",
	"Groups":            "groups: {edge: {%s}}",
	"Checks":            "virtual_routers: {web: {%s}}",
	"an entry of check": "checks: {asked: {%s}}",
	"Hooks":             "virtual_routers: {web: {%s}}",
	"The daemon":        "%s",
}

// around is what a snippet needs to be whole.
const around = `
nodes: {lb1: 10.0.0.11, lb2: 10.0.0.12}
checks:
  haproxy:  {type: haproxy, socket: /run/haproxy/admin.sock}
  upstream: {type: ping, address: 10.0.0.254}
  uplink:   {type: interface, interface: eth1}
  nginx:    {type: process, process: nginx}
  load:     {type: file, path: /run/load, want: number}
virtual_routers:
  web: {interface: eth0, vrid: 51, addresses: [10.0.0.100/24]}
  wan: {interface: eth0, vrid: 52, addresses: [10.0.0.101/24]}
  lan: {interface: eth1, vrid: 53, addresses: [10.1.0.101/24]}
`

// row is one of the tables of keywords.
type row struct {
	line        int
	place       string
	left, right string
}

// keywordRows reads the tables of a page.
func keywordRows(page string) []row {
	var all []row
	place, within := "", false
	for i, line := range strings.Split(page, "\n") {
		name, heading := strings.CutPrefix(line, "### ")
		switch {
		case heading:
			place = places[name]
		case strings.Contains(line, "an entry of `checks`:") || strings.Contains(line, "an entry of `checks`."):
			place = places["an entry of check"]
		case line == "| keepalived | baton |":
			within = true
		case !strings.HasPrefix(line, "|"):
			within = false
		case within && !strings.HasPrefix(line, "|---"):
			cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "| "), `\|`, "\x00"), " | ")
			if len(cells) == 2 {
				all = append(all, row{i + 1, place, cells[0], strings.ReplaceAll(cells[1], "\x00", "|")})
			}
		}
	}
	return all
}

// snippet is a part of a configuration among words; the others are names of commands and files.
var snippet = regexp.MustCompile(`^[a-z_]+: `)

var (
	// named is what looks like a key.
	named = regexp.MustCompile(`^[a-z]+_[a-z_]+$`)
	// otherwise is between two ways to say one thing.
	otherwise = regexp.MustCompile(`\bor\b|[;.]`)
)

// way is one of several that a cell has: keys with their values, which stand together, and other words.
type way struct{ keys, words []string }

func alternatives(cell string) []way {
	all, end := []way{{}}, 0
	for _, m := range quoted.FindAllStringSubmatchIndex(cell, -1) {
		text := cell[m[2]:m[3]]
		if otherwise.MatchString(cell[end:m[0]]) {
			all = append(all, way{})
		}
		end = m[1]
		last := &all[len(all)-1]
		switch {
		case strings.Contains(text, "..."):
		case snippet.MatchString(text):
			last.keys = append(last.keys, text)
		default:
			last.words = append(last.words, text)
		}
	}
	return all
}

// merge puts the keys of b into a, mappings in mappings.
func merge(a, b map[string]any) {
	for k, v := range b {
		old, isMap := a[k].(map[string]any)
		if add, ok := v.(map[string]any); ok && isMap {
			merge(old, add)
		} else {
			a[k] = v
		}
	}
}

// whole is a configuration with the snippets in their place.
func whole(place string, snippets []string) (string, error) {
	all := map[string]any{}
	if err := yaml.Unmarshal([]byte(around), &all); err != nil {
		return "", err
	}
	into := map[string]any{}
	if err := yaml.Unmarshal(fmt.Appendf(nil, "{"+place+"}", strings.Join(snippets, ", ")), &into); err != nil {
		return "", err
	}
	merge(all, into)
	if checks, ok := all["checks"].(map[string]any); ok {
		if asked, ok := checks["asked"].(map[string]any); ok && asked["type"] == nil {
			asked["type"], asked["command"] = "command", "/bin/true"
		}
	}
	if addresses, ok := all["virtual_routers"].(map[string]any)["web"].(map[string]any)["addresses"].([]any); ok && len(addresses) == 2 {
		if last, ok := addresses[1].(map[string]any); ok && last["address"] == nil {
			last["address"] = "10.0.0.102/24"
		}
	}
	if groups, ok := all["groups"].(map[string]any); ok {
		if edge, ok := groups["edge"].(map[string]any); ok && edge["members"] == nil {
			edge["members"] = []string{"wan", "lan"}
		}
	}
	text, err := yaml.Marshal(all)
	return string(text), err
}

// mistakes are what baton says against a configuration.
func mistakes(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "baton.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(filepath.Dir(path), "conf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "conf.d/more.yaml"), []byte("log: {level: info}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	report := config.Validate(path)
	if report.Errors() == 0 {
		return ""
	}
	var b strings.Builder
	for _, d := range report.Diagnostics {
		if d.Severity == config.Error {
			fmt.Fprintf(&b, "%s (%s)\n", d.Message, d.Hint)
		}
	}
	return b.String()
}

// Each snippet of the tables of keywords loads, in the place that its table says; and each key that is named is one.
func TestKeywords_Load(t *testing.T) {
	known := map[string]bool{}
	for _, table := range config.Tables() {
		for _, k := range table.Keys {
			known[k.Name] = true
		}
	}
	rows, loaded := keywordRows(read(t, "replacing-keepalived.md")), 0
	for _, r := range rows {
		if r.place == "" {
			t.Errorf("line %d: a table without a place", r.line)
			continue
		}
		for _, snippets := range alternatives(r.right) {
			for _, word := range snippets.words {
				if named.MatchString(word) && !known[word] && !strings.Contains(keywords, word) {
					t.Errorf("line %d: %q is no key", r.line, word)
				}
			}
			if len(snippets.keys) == 0 {
				continue
			}
			loaded++
			place := r.place
			if strings.HasPrefix(snippets.keys[0], "addresses:") {
				place = places["A virtual router"]
			}
			text, err := whole(place, snippets.keys)
			if err != nil {
				t.Errorf("line %d: %v", r.line, err)
			} else if m := mistakes(t, text); m != "" {
				t.Errorf("line %d: %q:\n%s", r.line, snippets.keys, m)
			}
		}
	}
	if loaded < 60 {
		t.Errorf("%d snippets: are they found?", loaded)
	}
}

// Each keyword of keepalived has its row.
func TestKeywords_Complete(t *testing.T) {
	missing := map[string]bool{}
	for _, word := range strings.Fields(keywords) {
		missing[word] = true
	}
	for _, r := range keywordRows(read(t, "replacing-keepalived.md")) {
		for _, m := range quoted.FindAllStringSubmatch(r.left, -1) {
			word, _, _ := strings.Cut(m[1], " ")
			delete(missing, word)
		}
	}
	for word := range maps.Keys(missing) {
		t.Errorf("replacing-keepalived.md has no row for %q", word)
	}
}

// A snippet with a mistake is found.
func TestKeywords_Mistakes(t *testing.T) {
	for _, bad := range []struct{ place, snippet string }{
		{"A virtual router", "prioritty: 150"},
		{"Checks", "track: [nobody]"},
		{"an entry of check", "rise: 0"},
		{"The daemon", "log: {level: loud}"},
	} {
		text, err := whole(places[bad.place], []string{bad.snippet})
		if err != nil {
			t.Fatal(err)
		}
		if mistakes(t, text) == "" {
			t.Errorf("%s is no mistake:\n%s", bad.snippet, text)
		}
	}
}
