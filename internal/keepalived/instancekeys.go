package keepalived

import (
	"strings"
	"time"
)

type instanceKeyword = keyword[*instance]

// instanceKeywords are those of a vrrp_instance.
func instanceKeywords() []instanceKeyword {
	all := []instanceKeyword{
		{name: "state", read: (*conversion).keepState},
		{name: "interface", read: keep("interface")},
		{name: "virtual_router_id", read: keep("virtual_router_id")},
		{name: "priority", read: keep("priority")},
		{name: "advert_int", read: keep("advert_int")},
		{name: "version", read: keep("version")},
		{name: "nopreempt", read: keep("preempt")},
		{name: "preempt", read: keep("preempt")},
		{name: "preempt_delay", read: keep("preempt_delay")},
		{name: "accept", read: keep("accept")},
		{name: "no_accept", read: keep("accept")},
		{name: "down_timer_adverts", read: keep("down_timer_adverts")},
		{name: "use_vmac", read: keep("use_vmac")},
		{name: "vmac_xmit_base", read: keep("vmac_xmit_base")},
		{name: "no_virtual_ipaddress", read: keep("no_virtual_ipaddress")},
		{name: "track_src_ip", read: keep("track_src_ip")},
		{name: "v3_checksum_as_v2", read: keep("v3_checksum_as_v2")},
		{name: "unicast_ttl", read: keep("unicast_ttl")},
		{name: "mcast_src_ip", read: (*conversion).readSource},
		{name: "unicast_src_ip", read: (*conversion).readSource},
		{name: "mcast_dst_ip", read: func(c *conversion, _ *instance, b *Block) { c.multicast(b) }},
		{name: "unicast_peer", read: (*conversion).readPeers},
		{name: "authentication", read: (*conversion).readAuthentication},
		{name: "auth_hmac", read: (*conversion).readHMAC},
		{name: "virtual_ipaddress", read: func(c *conversion, in *instance, b *Block) { c.readAddresses(in, b, false) }},
		{name: "virtual_ipaddress_excluded", read: func(c *conversion, in *instance, b *Block) { c.readAddresses(in, b, true) }},
		{name: "virtual_routes", read: (*conversion).readRoutes},
		{name: "virtual_rules", read: (*conversion).readRules},
		{name: "strict_mode", read: func(c *conversion, in *instance, b *Block) {
			in.strict = c.onOff(b, in.strict)
			if in.strict {
				c.report.amend(b.Pos(), Approximated, strictText)
			}
		}},
		{name: "dont_track_primary", read: func(c *conversion, in *instance, b *Block) {
			c.flag(b)
			c.became1(Converted, b, "")
			in.router.set("track_link", false)
		}},
		{name: "old_unicast_checksum", read: (*conversion).readOldChecksum},
	}
	all = append(all, announceKeywords("", func(in *instance) *announce { return &in.announce })...)
	for _, name := range trackKeywords {
		all = append(all, instanceKeyword{name: name, read: func(c *conversion, in *instance, b *Block) { c.readTrack(&in.election, b) }})
	}
	for _, name := range notifyKeywords {
		all = append(all, instanceKeyword{name: name, read: func(c *conversion, in *instance, b *Block) { c.readNotify(&in.election, b) }})
	}
	return append(all, plainInstance()...)
}

// The keywords that an instance and a sync group have in common.
var (
	trackKeywords  = []string{"track_script", "track_process", "track_file", "track_interface", "track_bfd"}
	notifyKeywords = []string{"notify", "notify_master", "notify_backup", "notify_fault", "notify_stop", "notify_deleted", "notify_master_rx_lower_pri"}
)

// plainInstance are those of which nothing is in the output.
func plainInstance() (all []instanceKeyword) {
	for _, k := range []struct {
		outcome Outcome
		text    string
		names   []string
	}{
		{NotNeeded, "baton believes its peers alone, unless only_peers: false says otherwise", []string{"check_unicast_src"}},
		{NotNeeded, "another list of addresses is told in the log, and no reason to drop an advertisement", []string{"skip_check_adv_addr"}},
		{NotNeeded, "the addresses tell the family", []string{"native_ipv6"}},
		{NotNeeded, "baton does that by itself where it is needed", []string{"promote_secondaries"}},
		{NotNeeded, "baton hears of links from the kernel", []string{"linkbeat_use_polling"}},
		{NotNeeded, "it does nothing, with keepalived either; baton has log: {level: debug}", []string{"debug"}},
		{NotNeeded, buffers, []string{"kernel_rx_buf_size"}},
		{NotNeeded, "without a peer baton refuses the file", []string{"unicast_fault_no_peer"}},
		{NotNeeded, "after two masters the one that stays announces its addresses again, by itself", []string{"higher_prio_send_advert"}},
		{NotNeeded, "a baton that was late listens again before it acts, by itself", []string{"timer_expired_backup", "thread_timer_expired"}},
		{NotNeeded, logsOnly, []string{"notify_priority_changes"}},
		{Approximated, "baton answers a lower advertisement at once, as RFC 9568 has it", []string{"lower_prio_no_advert"}},
		{Unsupported, "an owner of baton's hears the others: take care that one node alone has priority 255", []string{"owner_ignore_adverts"}},
		{Unsupported, "virtual MACs are made for the router's own interface alone: give addresses on other interfaces a router of their own", []string{"use_vmac_addr", "vmac_addr_prefix", "garp_extra_if_vmac"}},
		{Unsupported, "there is virtual_mac: true, a macvlan, and no ipvlan: without it the addresses are on the interface itself", []string{"use_ipvlan"}},
		{Unsupported, "name the interface in the VRF: baton binds to that", []string{"vrf"}},
		{Unsupported, "IPVS connections are synchronized by ipvsadm --start-daemon: write a service with start and stop", []string{"lvs_sync_daemon_interface"}},
		{Unsupported, noMail, []string{"smtp_alert"}},
	} {
		for _, name := range k.names {
			all = append(all, instanceKeyword{name: name, outcome: k.outcome, text: k.text})
		}
	}
	return all
}

func (c *conversion) readSource(in *instance, b *Block) {
	w, ok := c.first(b)
	if !ok {
		return
	}
	if b.Keyword() == "unicast_src_ip" && in.unicast.said == nil {
		in.unicast.said = b
	}
	text, _, _ := strings.Cut(w.Text, "/") // keepalived takes a length, too
	a, ok := address(text)
	switch {
	case !ok:
		c.became(Ignored, b, "it is no address")
	case !in.takes(a):
		c.became(Ignored, b, "it is of another family than the instance: keepalived leaves it out")
	default:
		if in.sourceAt != nil {
			c.report.amend(in.sourceAt.Pos(), Ignored, again)
		}
		in.source, in.sourceAt = a, b
		c.became(Converted, b, "")
	}
}

func (c *conversion) readOldChecksum(_ *instance, b *Block) {
	if args := b.Arguments(); len(args) > 0 && args[0].Text == "never" {
		c.report.block(NotNeeded, b, "baton has no such sum")
		return
	}
	c.report.block(Unsupported, b, "it is the sum of keepalived before 1.3.7, with unicast in version 3: replace the peers' keepalived first, or take version 2")
}

// macAndAccept writes virtual_mac and accept.
func (c *conversion) macAndAccept(in *instance) {
	c.readMAC(in)
	accept := true
	b := in.said["accept"]
	if in.strict && in.priority != 255 {
		accept = false
	}
	if b != nil {
		c.flag(b)
		switch {
		case b.Keyword() == "no_accept":
			accept = false
			c.became1(Converted, b, "")
		case in.strict && in.version == 2:
			c.became1(Ignored, b, "keepalived drops it in strict mode with version 2")
		default:
			accept = true
			c.became1(Converted, b, "")
		}
	}
	if !accept {
		in.router.set("accept", false)
	}
}

// extras writes what stands on a router beside its place and its election.
func (c *conversion) extras(in *instance) {
	c.writeAddresses(in)
	m := in.router
	missed := c.globals.missed
	if b := in.said["down_timer_adverts"]; b != nil {
		if n, ok := c.number(b, 1, 100); ok {
			missed = n
			c.became(Converted, b, "")
		}
	}
	if missed != 0 && missed != 3 {
		m.set("missed_advertisements", missed)
	}
	plain := c.globals.checksum
	if b := in.said["v3_checksum_as_v2"]; b != nil {
		plain = c.onOff(b, plain)
		if in.version == 2 || in.six {
			c.report.amend(b.Pos(), NotNeeded, "version 2 and IPv6 have one sum alone")
		}
	}
	if plain && in.version == 3 && !in.six {
		m.set("checksum", "rfc9568")
	}
	if b := in.said["unicast_ttl"]; b != nil {
		if n, ok := c.number(b, 0, 255); ok {
			switch n {
			case 255:
				c.became(NotNeeded, b, "all advertisements leave with 255")
			default:
				c.became(Unsupported, b, "all advertisements leave with 255, which is what RFC 9568 wants: the peers' max_ttl must allow it")
			}
		}
	}
	if b := in.said["track_src_ip"]; b != nil {
		c.trackSource(in, b)
	}
	if a := c.announceOf(in); !a.empty() {
		m.set("announce", a)
	}
	if len(in.routes) > 0 {
		all := list(false)
		for _, r := range in.routes {
			all.Content = append(all.Content, r.node().node)
		}
		m.set("routes", all)
	}
	if len(in.rules) > 0 {
		all := list(false)
		for _, r := range in.rules {
			all.Content = append(all.Content, r.node().node)
		}
		m.set("rules", all)
	}
	c.lowerPriority(in)
}

// trackSource tracks whether the address is there that advertisements come from.
func (c *conversion) trackSource(in *instance, b *Block) {
	c.flag(b)
	if !in.sourceKept {
		c.became1(NotNeeded, b, "without an address of its own it takes one that is there")
		return
	}
	c.became1(Converted, b, "")
	name, _ := c.checkName("source-" + in.source.String())
	c.writeCheck(name, newMapping().with("type", "address").with("address", in.source.String()).flow(), where(b))
	in.track = append(in.track, tracked{check: name, keyword: "track_src_ip", pos: b.Pos()})
}

// lowerPriority tells where keepalived announces otherwise after a lower advertisement
// than when it takes the role.
func (c *conversion) lowerPriority(in *instance) {
	a := in.announce
	if (a.lowerCount < 0 || a.lowerCount == a.count) && (a.lowerAfter < 0 || a.lowerAfter == a.againAfter) {
		return
	}
	for _, name := range []string{"garp_lower_prio_repeat", "garp_lower_prio_delay"} {
		for _, b := range in.block.Children {
			if b.Keyword() == name {
				c.report.amend(b.Pos(), Approximated, lowerText+": "+itoa(a.count)+" messages, and as many after "+duration(max(a.againAfter, time.Duration(0))))
			}
		}
	}
}
