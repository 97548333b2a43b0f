package daemon

import (
	"baton/health"
	"baton/internal/command"
	"baton/internal/config"
	"baton/internal/role"
	"baton/vip"
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

func addressesOf(c config.Router) vip.Router {
	r := vip.Router{
		Name:      c.Name,
		Interface: c.Interface,
		Lifetime:  c.AddressLifetime,
		Announce:  vip.Announce{Count: c.Announce.Count, AgainAfter: c.Announce.AgainAfter, Every: c.Announce.Every},
		Native:    c.Priority == 255,
	}
	for _, a := range c.Addresses {
		r.Addresses = append(r.Addresses, vip.Address{Prefix: a.Prefix, Repair: a.Repair})
	}
	return r
}

func hooksOf(c config.Router, cfg *config.Config) role.Router {
	r := role.Router{Name: c.Name, Node: cfg.Node, Interface: c.Interface, VRID: c.VRID}
	for _, a := range c.Addresses {
		r.Addresses = append(r.Addresses, a.Prefix.String())
	}
	list := func(commands []config.Command) []role.Hook {
		var hooks []role.Hook
		for _, c := range commands {
			hooks = append(hooks, role.Hook{Argv: c.Argv, User: c.User, Timeout: c.Timeout, Env: c.Env})
		}
		return hooks
	}
	n := c.Notify
	r.Hooks = role.Hooks{
		Any: list(n.Any), Master: list(n.Master), Backup: list(n.Backup),
		Fault: list(n.Fault), Stop: list(n.Stop), Reassert: list(n.Reassert),
	}
	return r
}

func checksOf(cfg *config.Config, runner *command.Runner) []health.Check {
	var checks []health.Check
	for _, c := range cfg.Checks {
		check := health.Check{Name: c.Name, Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall}
		switch c.Type {
		case config.HAProxyCheck:
			check.Probe = health.NewHAProxyProbe(c.HAProxy.Socket, c.HAProxy.Backend, c.HAProxy.MinUp)
		case config.CommandCheck:
			check.Probe = commandProbe(c, cfg.Dir, runner)
		}
		checks = append(checks, check)
	}
	return checks
}

func commandProbe(c config.Check, dir string, runner *command.Runner) health.Probe {
	return health.NewCommandProbe(runner, command.Spec{
		Argv: c.Command.Argv, Dir: dir, Env: c.Command.Env, User: userNamed(c.Command.User), Timeout: c.Command.Timeout,
	}, nil)
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
