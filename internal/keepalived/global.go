package keepalived

import (
	"net/netip"
	"time"
)

// globals is what global_defs says of all instances.
type globals struct {
	version      int // 2, or 3
	strict       bool
	checksum     bool // without the pseudo-header in version 3
	missed       int  // 0: not said
	startDelay   time.Duration
	announce     announce
	minimal      bool // vrrp_min_garp
	macPrefix    string
	interfaceFor string // default_interface; empty: not said
	fifo         string
	garpGroups   []garpGroup
}

// garpGroup is the pace of announcements on some interfaces.
type garpGroup struct {
	interfaces []string
	gap        time.Duration
}

const (
	logsOnly   = "the log tells it"
	processes  = "baton is one process, and its unit sets how it runs"
	buffers    = "baton sizes its buffers itself, and reads everything anew when one has overflowed"
	reloads    = "baton checks a file before it takes any of it: baton reload"
	priorities = "the unit gives baton real-time priority, and it locks its memory"
	noSNMP     = "baton has no SNMP: monitor it with /metrics, baton status --json or a webhook"
	noDBus     = "baton has no D-Bus: ask baton status --json or its socket"
	noMail     = "baton sends no mail: a webhook, or a notify command, tells of changes"
	noLVS      = "baton balances no load: HAProxy, or ipvsadm from a unit of its own, can"
	noFirewall = "baton sets up its own nftables where accept: false needs them"
)

// readGlobals reads global_defs, before all else: they are defaults, wherever they
// stand.
func (c *conversion) readGlobals(blocks []*Block) {
	c.globals.version = 2
	c.globals.announce = announce{count: 5, againAfter: 5 * time.Second, lowerCount: -1, lowerAfter: -1}
	for _, b := range blocks {
		switch b.Keyword() {
		case "global_defs":
			if args := b.Arguments(); len(args) > 0 {
				c.report.words(Ignored, "global_defs has no name", args...)
			}
			c.report.words(Converted, "", b.Words[0])
			readBlock(c, &c.globals, b.Children, globalKeywords())
		case "garp_group":
			c.readGarpGroup(b)
		}
	}
	g := &c.globals
	if g.minimal { // of what is not said otherwise
		if !g.announce.counted {
			g.announce.count = 1
		}
		if !g.announce.delayed {
			g.announce.againAfter = 0
		}
	}
}

type globalKeyword = keyword[*globals]

func globalKeywords() []globalKeyword {
	all := []globalKeyword{
		{name: "vrrp_version", read: (*conversion).readVersion},
		{name: "vrrp_strict", read: func(c *conversion, g *globals, b *Block) {
			c.flag(b)
			g.strict = true
			c.became1(Approximated, b, strictText)
		}},
		{name: "v3_checksum_as_v2", read: func(c *conversion, g *globals, b *Block) { g.checksum = c.onOff(b, g.checksum) }},
		{name: "vrrp_down_timer_adverts", read: func(c *conversion, g *globals, b *Block) {
			if n, ok := c.number(b, 1, 100); ok {
				g.missed = n
				c.became(Converted, b, "")
			}
		}},
		{name: "vrrp_startup_delay", read: func(c *conversion, g *globals, b *Block) {
			if d, ok := c.seconds(b, 0, 1<<31*time.Microsecond); ok {
				g.startDelay = min(d, time.Hour)
				c.became(Converted, b, "")
			}
		}},
		{name: "vrrp_mcast_group4", read: func(c *conversion, _ *globals, b *Block) { c.multicast(b) }},
		{name: "vrrp_mcast_group6", read: func(c *conversion, _ *globals, b *Block) { c.multicast(b) }},
		{name: "vrrp_min_garp", read: func(c *conversion, g *globals, b *Block) { g.minimal = c.onOff(b, g.minimal) }},
		{name: "default_interface", read: (*conversion).readDefaultInterface},
		{name: "vmac_prefix", read: func(c *conversion, g *globals, b *Block) {
			if w, ok := c.first(b); ok {
				g.macPrefix = w.Text
				c.became(Converted, b, "")
			}
		}},
		{name: "script_user", read: func(c *conversion, _ *globals, b *Block) { c.readScriptUser(b) }},
		{name: "notify_fifo", read: (*conversion).readFIFO},
		{name: "vrrp_notify_fifo", read: (*conversion).readFIFO},
	}
	all = append(all, announceKeywords("vrrp_", func(g *globals) *announce { return &g.announce })...)
	return append(all, plainGlobals()...)
}

// plainGlobals are those of which nothing is in the output.
func plainGlobals() (all []globalKeyword) {
	for _, group := range []struct {
		outcome Outcome
		text    string
		names   []string
	}{
		{NotNeeded, "a label for mails and SNMP: baton's nodes have names", []string{"router_id"}},
		{NotNeeded, "baton believes its peers alone, unless only_peers: false says otherwise", []string{"vrrp_check_unicast_src"}},
		{NotNeeded, "another list of addresses is told in the log, and no reason to drop an advertisement", []string{"vrrp_skip_check_adv_addr"}},
		{NotNeeded, "baton checks who could change a script that root runs, always", []string{"enable_script_security", "use_symlink_paths", "set_supplementary_groups"}},
		{NotNeeded, "an interface may always come and go", []string{"dynamic_interfaces", "allow_if_changes"}},
		{NotNeeded, "after two masters the one that stays announces its addresses again, by itself", []string{"vrrp_higher_prio_send_advert"}},
		{NotNeeded, logsOnly, []string{"log_unknown_vrids", "vrrp_notify_priority_changes", "checker_log_all_failures", "fifo_write_vrrp_states_on_reload"}},
		{NotNeeded, processes, []string{
			"process_names", "process_name", "vrrp_process_name", "checker_process_name", "lvs_process_name", "bfd_process_name", "umask", "child_wait_time", "use_pid_dir", "instance",
			"disable_local_igmp", "tmp_config_directory", "config_save_dir", "data_use_instance", "state_dump_file", "stats_dump_file", "json_dump_file", "json_version", "random_seed",
			"vrrp_cpu_affinity", "checker_cpu_affinity", "bfd_cpu_affinity", "iproute_usr_config", "iproute_etc_config",
		}},
		{NotNeeded, buffers, []string{
			"vrrp_rx_bufs_policy", "vrrp_rx_bufs_multiplier", "vrrp_netlink_cmd_rcv_bufs", "vrrp_netlink_cmd_rcv_bufs_force", "vrrp_netlink_monitor_rcv_bufs",
			"vrrp_netlink_monitor_rcv_bufs_force", "lvs_netlink_cmd_rcv_bufs", "lvs_netlink_cmd_rcv_bufs_force", "lvs_netlink_monitor_rcv_bufs", "lvs_netlink_monitor_rcv_bufs_force",
			"process_monitor_rcv_bufs", "process_monitor_rcv_bufs_force",
		}},
		{NotNeeded, reloads, []string{"reload_check_config", "reload_time_file", "reload_repeat", "reload_file", "include_check"}},
		{NotNeeded, priorities, []string{
			"max_auto_priority", "min_auto_priority_delay", "vrrp_priority", "checker_priority", "bfd_priority", "vrrp_no_swap", "checker_no_swap", "bfd_no_swap",
			"vrrp_rt_priority", "checker_rt_priority", "bfd_rt_priority", "vrrp_rlimit_rttime", "checker_rlimit_rttime", "bfd_rlimit_rttime",
			"vrrp_rlimit_rtime", "checker_rlimit_rtime", "bfd_rlimit_rtime",
		}},
		{NotNeeded, noFirewall, []string{"nftables", "nftables_priority", "nftables_counters", "nftables_ifindex", "vrrp_iptables", "vrrp_ipsets", "namespace_with_ipsets"}},
		{NotNeeded, "baton hears of links from the kernel", []string{"linkbeat_use_polling"}},
		{NotNeeded, "there is no mail", []string{"no_email_faults", "no_checker_emails"}},
		{Approximated, "baton answers a lower advertisement at once, as RFC 9568 has it", []string{"vrrp_lower_prio_no_advert"}},
		{Unsupported, "an owner of baton's hears the others: take care that one node alone has priority 255", []string{"vrrp_owner_ignore_adverts"}},
		{Unsupported, "give the unit After= what has to be there first; start_delay counts from the start of baton", []string{"vrrp_delay_after_boot"}},
		{Unsupported, "write ExecStartPre= or ExecStopPost= in a drop-in of baton's unit", []string{"startup_script", "startup_script_timeout", "shutdown_script", "shutdown_script_timeout"}},
		{Unsupported, "start the program that reads the named pipe as a service of its own", []string{"notify_fifo_script", "vrrp_notify_fifo_script"}},
		{Unsupported, "put NetworkNamespacePath= in a drop-in of baton's unit", []string{"net_namespace"}},
		{Unsupported, "virtual MACs are made for the router's own interface alone", []string{"vmac_addr_prefix"}},
		{Unsupported, noMail, []string{"notification_email", "notification_email_from", "smtp_server", "smtp_helo_name", "smtp_connect_timeout", "smtp_alert", "smtp_alert_vrrp"}},
		{Unsupported, noLVS, []string{
			"net_namespace_ipvs", "nftables_ipvs", "nftables_ipvs_priority", "nftables_ipvs_start_fwmark", "lvs_timeouts", "lvs_flush", "lvs_flush_on_stop", "lvs_flush_onstop",
			"lvs_notify_fifo", "lvs_notify_fifo_script", "rs_init_notifies", "smtp_alert_checker",
		}},
		{Unsupported, "IPVS connections are synchronized by ipvsadm --start-daemon: write a service with start and stop", []string{"lvs_sync_daemon"}},
		{Unsupported, noSNMP, []string{"snmp_socket", "enable_snmp_vrrp", "enable_snmp_keepalived", "enable_snmp_checker", "enable_snmp_rfc", "enable_snmp_rfcv2", "enable_snmp_rfcv3", "enable_traps"}},
		{Unsupported, noDBus, []string{"enable_dbus", "dbus_service_name"}},
	} {
		for _, name := range group.names {
			all = append(all, globalKeyword{name: name, outcome: group.outcome, text: group.text})
		}
	}
	return all
}

// became1 accounts for the keyword alone.
func (c *conversion) became1(o Outcome, b *Block, text string) { c.report.words(o, text, b.Words[0]) }

const strictText = "what it does to each instance is in the output: no authentication, no preempt_delay, accept: false. Addresses that are to be pinged want accept: true"

func (c *conversion) readVersion(g *globals, b *Block) {
	if n, ok := c.number(b, 2, 3); ok {
		g.version = n
		c.became(Converted, b, "")
	}
}

// The groups that advertisements go to.
var multicastGroups = []netip.Addr{netip.MustParseAddr("224.0.0.18"), netip.MustParseAddr("ff02::12")}

// multicast accounts for a line that names the group.
func (c *conversion) multicast(b *Block) {
	w, ok := c.first(b)
	if !ok {
		return
	}
	a, ok := address(w.Text)
	switch {
	case !ok || !a.IsMulticast():
		c.became(Ignored, b, "it is no multicast address")
	case a == multicastGroups[0] || a == multicastGroups[1]:
		c.became(NotNeeded, b, "it is the group of VRRP anyway")
	default:
		c.became(Unsupported, b, "baton's advertisements go to "+multicastGroups[0].String()+" and "+multicastGroups[1].String()+
			" alone: take it out on all nodes first, or write peers. Two masters are the result of a mixture")
	}
}

func (c *conversion) readDefaultInterface(g *globals, b *Block) {
	w, ok := c.first(b)
	if !ok {
		return
	}
	g.interfaceFor = w.Text
	c.became(NotNeeded, b, "it is for static addresses, and for what names no interface: there it is written")
}

func (c *conversion) readScriptUser(b *Block) {
	args := b.Arguments()
	if len(args) == 0 {
		c.first(b)
		return
	}
	c.stray(b)
	if len(args) > 1 {
		if args[1].Text == args[0].Text {
			c.report.words(NotNeeded, "a command runs with the groups of its user", args[1])
		} else {
			c.report.words(Unsupported, "a command runs with the groups of its user: make it a member of "+short(args[1].Text), args[1])
		}
	}
	if len(args) > 2 {
		c.report.words(Ignored, "keepalived reads a user and a group", args[2:]...)
	}
	if why := unfitUser(args[0].Text); why != "" {
		c.report.words(Ignored, why, b.Words[:2]...)
		return
	}
	c.user = args[0].Text
	c.became(Converted, b, "")
}

func (c *conversion) readFIFO(g *globals, b *Block) {
	args := b.Arguments()
	if len(args) == 0 {
		c.first(b)
		return
	}
	c.stray(b)
	if len(args) > 1 {
		c.report.words(Unsupported, "baton makes the named pipe as its own user: chown it, or give the reader a group", args[1:]...)
	}
	path := args[0].Text
	switch {
	case len(path) == 0 || path[0] != '/' || unfitText(path) != "":
		c.became(Unsupported, b, "baton wants its whole path: notify: {fifo: /run/baton/notify}")
	case g.fifo != "" && g.fifo != path:
		c.became(Unsupported, b, "baton has one named pipe: "+short(g.fifo))
	default:
		g.fifo = path
		c.became(Converted, b, "")
	}
}
