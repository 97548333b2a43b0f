package keepalived

// others are the keywords of the top level that end here.
var others = []keyword[struct{}]{
	{name: "virtual_server", outcome: Unsupported, text: noLVS + ". A service on the router starts and stops one with the role"},
	{name: "virtual_server_group", outcome: Unsupported, text: noLVS},
	{name: "SSL", outcome: Unsupported, text: noLVS},
	{name: "static_ipaddress", outcome: Unsupported, text: "baton has no static addresses: networkd, netplan, ifupdown or NetworkManager puts them on"},
	{name: "static_routes", outcome: Unsupported, text: "baton has no static routes: networkd, netplan, ifupdown or NetworkManager puts them on"},
	{name: "static_rules", outcome: Unsupported, text: "baton has no static rules: networkd (RoutingPolicyRule), netplan (routing-policy) or NetworkManager puts them on"},
	{name: "interface_up_down_delays", outcome: Unsupported, text: "baton counts the loss of the router's own link at once; another link is a check {type: interface}, with rise and fall"},
	{name: "linkbeat_interfaces", outcome: NotNeeded, text: "baton hears of links from the kernel"},
	{name: "linkbeat_use_polling", outcome: NotNeeded, text: "baton hears of links from the kernel"},
	{name: "net_namespace", outcome: Unsupported, text: "put NetworkNamespacePath= in a drop-in of baton's unit"},
	{name: "net_namespace_ipvs", outcome: Unsupported, text: noLVS},
	{name: "namespace_with_ipsets", outcome: NotNeeded, text: noFirewall},
	{name: "instance", outcome: NotNeeded, text: processes},
	{name: "use_pid_dir", outcome: NotNeeded, text: processes},
	{name: "child_wait_time", outcome: NotNeeded, text: processes},
}

// read elsewhere.
var blocksOfOthers = []string{
	"global_defs", "garp_group", "vrrp_instance", "vrrp_sync_group", "vrrp_script", "vrrp_track_process", "vrrp_track_file", "track_file", "bfd_instance", "track_group",
}

// readOther accounts for a block of the top level that nobody else has.
func (c *conversion) readOther(b *Block) {
	for _, name := range blocksOfOthers {
		if b.Keyword() == name {
			return
		}
	}
	known := append([]string(nil), blocksOfOthers...)
	for _, k := range others {
		if k.name == b.Keyword() {
			c.report.block(k.outcome, b, k.text)
			return
		}
		known = append(known, k.name)
	}
	c.report.block(Ignored, b, unknown(b.Keyword(), known))
}
