package daemon

import (
	"baton/health"
	"baton/internal/command"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
	"baton/internal/role"
	"baton/internal/webhook"
	"baton/vip"
	"baton/vrrp"
)

// The parts do not know each other, nor the configuration. These functions
// hand each of them its share.

func tracksOf(cfg []config.Track) []health.Track {
	var tracks []health.Track
	for _, t := range cfg {
		e := health.Effect{Weight: t.Weight, Grace: t.Grace}
		switch t.Effect {
		case config.Fault:
			e.Kind = health.Fault
		case config.Weight:
			e.Kind = health.Weight
		case config.ReportOnly:
			e.Kind = health.Report
		}
		switch t.When {
		case config.Always:
			e.When = health.Always
		case config.Master:
			e.When = health.Master
		case config.Backup:
			e.When = health.Backup
		}
		tracks = append(tracks, health.Track{Check: t.Check, Effect: e})
	}
	return tracks
}

// electionOf is what the protocol has to know of a router on a link, in a group.
func electionOf(c config.Router, cfg *config.Config, link, group int) vrrp.Config {
	e := vrrp.Config{
		Link: link, Group: group, Family: vrrp.IPv4, VRID: c.VRID, Version: uint8(c.Version),
		Priority: c.Priority, BestRival: c.BestRival, SlowestRival: c.SlowestRival,
		Interval: c.Interval, Missed: uint8(c.Missed), Preempt: c.Preempt, PreemptDelay: c.PreemptDelay,
		Peers: c.Peers, AnySource: len(c.Peers) > 0 && !c.OnlyPeers, MinTTL: c.MinTTL, MaxTTL: c.MaxTTL,
		Together: c.VirtualMAC != nil, Bound: len(c.Services) > 0,
	}
	if c.MinTTL > 0 && c.MaxTTL == 0 {
		e.MaxTTL = 255
	}
	if c.IPv6 {
		e.Family = vrrp.IPv6
	}
	if c.PlainChecksum {
		e.Checksum = vrrp.MessageOnly
	}
	if c.Password != "" {
		e.Password = new([8]byte)
		copy(e.Password[:], c.Password)
	}
	if c.HMAC != nil {
		e.HMAC = &vrrp.HMAC{Keys: c.HMAC.Keys, Send: c.HMAC.Send, Window: c.HMAC.Window}
		switch c.HMAC.Mode {
		case config.HMACPermissive:
			e.HMAC.Mode = vrrp.HMACPermissive
		case config.HMACReceiveOnly:
			e.HMAC.Mode = vrrp.HMACReceiveOnly
		}
	}
	for _, a := range c.Addresses {
		if a.Advertise {
			e.Addresses = append(e.Addresses, a.Prefix.Addr())
		} else {
			e.Excluded = append(e.Excluded, a.Prefix.Addr())
		}
	}
	e.Nodes = append(e.Nodes, c.Known...)
	for _, n := range cfg.Nodes {
		e.Nodes = append(e.Nodes, n.Addresses()...)
	}
	return e
}

// addressesOf is what the address worker has to do for a router.
func addressesOf(c config.Router, name string) vip.Router {
	r := vip.Router{
		Name:      name,
		Interface: c.Interface,
		Lifetime:  c.AddressLifetime,
		Announce: vip.Announce{
			Count: c.Announce.Count, AgainAfter: c.Announce.AgainAfter, Every: c.Announce.Every,
			Gap: c.Announce.Gap, AlsoOn: c.Announce.AlsoOn,
		},
		Native: c.Priority == 255,
		Refuse: !c.Accept && c.Priority != 255,
	}
	if c.VirtualMAC != nil {
		r.VirtualMAC = &vip.VirtualMAC{Name: c.VirtualMAC.Name, MAC: link.VirtualMAC(c.VRID, c.IPv6)}
	}
	for _, a := range c.Addresses {
		r.Addresses = append(r.Addresses, vip.Address{
			Prefix: a.Prefix, Repair: a.Repair, Interface: a.Interface, Label: a.Label, Scope: a.Scope,
			Broadcast: a.Broadcast, Peer: a.Peer, NoPrefixRoute: a.NoPrefixRoute, Source: a.Source,
		})
	}
	for _, o := range c.Routes {
		r.Routes = append(r.Routes, vip.Route(o))
	}
	for _, o := range c.Rules {
		r.Rules = append(r.Rules, vip.Rule(o))
	}
	return r
}

// hooksOf is the commands that are told of a group's changes.
func hooksOf(n config.Notify) role.Hooks {
	list := func(commands []config.Command) []role.Hook {
		var hooks []role.Hook
		for _, c := range commands {
			hooks = append(hooks, *hookOf(&c))
		}
		return hooks
	}
	return role.Hooks{
		Any: list(n.Any), Master: list(n.Master), Backup: list(n.Backup),
		Fault: list(n.Fault), Stop: list(n.Stop), Reassert: list(n.Reassert),
		FIFO: n.FIFO,
	}
}

// hookOf is a command of the configuration; nil for none.
func hookOf(c *config.Command) *role.Hook {
	if c == nil {
		return nil
	}
	return &role.Hook{Argv: c.Argv, User: c.User, Timeout: c.Timeout, Env: c.Env, Retries: c.Retries}
}

// userNamed is the user that a command runs as, looked up at each run; nil is
// the daemon's own.
func userNamed(name string) *command.User {
	if name == "" {
		return nil
	}
	return &command.User{Name: name}
}

// lookupOf finds the address of a node in one of its networks.
func lookupOf(cfg *config.Config) role.Lookup {
	return func(name, network string) (string, bool) {
		for _, n := range cfg.Nodes {
			if addr := n.Address(network); n.Name == name && addr.IsValid() {
				return addr.String(), true
			}
		}
		return "", false
	}
}

// webhooksOf is the URLs that are told of changes.
func webhooksOf(cfg []config.Webhook) []webhook.Hook {
	var hooks []webhook.Hook
	for _, w := range cfg {
		hooks = append(hooks, webhook.Hook{
			Name: w.Name, URL: w.URL, Headers: w.Headers, Token: w.Token, Events: w.Events,
			Timeout: w.Timeout, Retries: w.Retries, TLS: w.TLS,
		})
	}
	return hooks
}

// listenerOf is where the configuration has this node listen for HTTP; nil: nowhere.
func listenerOf(l *config.Listen) *control.ListenOptions {
	if l == nil || !l.Address.IsValid() {
		return nil
	}
	o := &control.ListenOptions{Address: l.Address, Token: l.Token}
	if l.TLS != nil {
		o.TLS = &control.ListenTLS{CertFile: l.TLS.CertFile, KeyFile: l.TLS.KeyFile, ClientCAFile: l.TLS.ClientCAFile}
	}
	return o
}

// changesOf is what the address worker has to know of other configurations.
func changesOf(changes []addressChange) []vip.Change {
	var all []vip.Change
	for _, c := range changes {
		if h, ok := c.of.(*vip.Handle); ok {
			all = append(all, vip.Change{Handle: h, Router: c.router, Seq: c.seq, Remove: c.remove})
		}
	}
	return all
}
