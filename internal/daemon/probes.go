package daemon

import (
	"fmt"
	"log/slog"

	"baton/health"
	"baton/internal/command"
	"baton/internal/config"
	"baton/internal/runner"
	"baton/internal/service"
)

// host is what of this host the checks and the services share.
type host struct {
	dir       string // of the configuration: where commands run
	runner    *command.Runner
	remote    *runner.Client // what needs root is done there; nil: in this process
	systemd   *service.Systemd
	processes *health.ProcessTable
	files     *health.Inotify
}

func newHost(dir string, remote *runner.Client, log *slog.Logger) *host {
	return &host{
		dir: dir, runner: command.NewRunner(log), remote: remote, systemd: service.NewSystemd("", log),
		processes: health.NewProcessTable(), files: health.NewInotify(),
	}
}

func (h *host) close() {
	h.systemd.Close()
	h.runner.Close()
	if h.remote != nil {
		h.remote.Close()
	}
}

// run is how the commands of hooks and services are run: by root, where they name
// nobody else.
func (h *host) run() command.RunFunc {
	if h.remote != nil {
		return h.remote.Run
	}
	return h.runner.Run
}

// runCheck is how that of a check is run: by the daemon's own user, and within its
// sandbox, where it names nobody else.
func (h *host) runCheck(user string) command.RunFunc {
	if user == "" {
		return h.runner.Run
	}
	return h.run()
}

func (h *host) unit(name string) service.Service {
	u := h.systemd.Unit(name)
	if h.remote != nil {
		return h.remote.Unit(u, name)
	}
	return u
}

func (h *host) container(c config.Container) service.Service {
	if h.remote != nil {
		return h.remote.Container(c.Socket, c.Name)
	}
	return service.NewContainer(c.Socket, c.Name)
}

func (h *host) checks(cfg *config.Config) ([]health.Check, error) {
	var checks []health.Check
	for _, c := range cfg.Checks {
		check := health.Check{Name: c.Name, Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall}
		if c.Combination != nil {
			check.Of, check.Least = c.Combination.Of, c.Combination.Least
		} else {
			var err error
			if check.Probe, err = h.probe(c); err != nil {
				return nil, fmt.Errorf("check %s: %w", c.Name, err)
			}
		}
		checks = append(checks, check)
	}
	return checks, nil
}

// probe is how a check asks that is no combination of others.
func (h *host) probe(c config.Check) (health.Probe, error) {
	if h.remote != nil && runner.Asks(c) {
		return h.remote.Check(c.Name), nil
	}
	switch c.Type {
	case config.CommandCheck:
		return health.NewCommandProbe(h.runCheck(c.Command.User), command.Spec{
			Argv: c.Command.Argv, Dir: h.dir, Env: c.Command.Env, User: userNamed(c.Command.User), Timeout: c.Command.Timeout,
		}, nil), nil
	case config.HAProxyCheck:
		return health.NewHAProxyProbe(c.HAProxy.Socket, c.HAProxy.Backend, c.HAProxy.MinUp), nil
	case config.HTTPCheck:
		r := c.HTTP
		return health.NewHTTPProbe(health.HTTP{
			URL: r.URL, Socket: r.Socket, Method: r.Method, Headers: r.Headers, User: r.User, Password: r.Password,
			Statuses: r.Statuses, Match: r.Match, TLS: r.TLS,
		})
	case config.TCPCheck, config.UnixCheck:
		d := health.Dialogue{Network: c.Dialogue.Network, Address: c.Dialogue.Address, TLS: c.Dialogue.TLS}
		for _, s := range c.Dialogue.Steps {
			d.Steps = append(d.Steps, health.Step(s))
		}
		return health.NewDialogueProbe(d)
	case config.ConnectionCheck:
		return health.NewConnectionProbe(h.processes, health.Processes(*c.Processes)), nil
	case config.ProcessCheck:
		return health.NewProcessProbe(h.processes, health.Processes(*c.Processes)), nil
	case config.FileCheck:
		return health.NewFileProbe(h.files, health.File{Path: c.File.Path, Want: wantOf(c.File.Want)}), nil
	case config.PingCheck, config.InterfaceCheck, config.AddressCheck, config.RouteCheck, config.QuorumCheck:
		return networkProbe(c), nil
	case config.UnitCheck:
		return health.NewServiceProbe(h.systemd.Unit(c.Unit), "unit "+c.Unit), nil
	case config.ContainerCheck:
		return health.NewServiceProbe(h.container(*c.Container), "container "+c.Container.Name), nil
	case config.OCFCheck:
		return health.NewServiceProbe(h.ocf(*c.OCF, c.Name), "agent "+c.OCF.Provider+":"+c.OCF.Agent), nil
	}
	return nil, fmt.Errorf("%s: nobody knows how to ask", c.Type)
}

func networkProbe(c config.Check) health.Probe {
	switch c.Type {
	case config.PingCheck:
		return health.NewPingProbe(health.Ping(*c.Ping))
	case config.InterfaceCheck:
		return health.NewInterfaceProbe(c.Presence.Interface)
	case config.AddressCheck:
		return health.NewAddressProbe(health.Presence(*c.Presence))
	case config.RouteCheck:
		return health.NewRouteProbe(health.Presence(*c.Presence))
	}
	q := health.Quorum{Witnesses: c.Quorum.Witnesses, Port: c.Quorum.Port}
	for _, n := range c.Quorum.Nodes {
		q.Nodes = append(q.Nodes, health.QuorumNode{Name: n.Name, Addr: n.Cluster})
	}
	return health.NewQuorumProbe(q)
}

func wantOf(w config.FileWant) health.FileWant {
	switch w {
	case config.FileAbsent:
		return health.FileAbsent
	case config.FileNumber:
		return health.FileNumber
	}
	return health.FilePresent
}

// ocf is a resource agent; instance tells its uses apart.
func (h *host) ocf(a config.OCF, instance string) service.Service {
	return service.NewOCF(h.run(), runner.AgentOf(a, instance))
}
