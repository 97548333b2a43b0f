package runner

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"baton/health"
	"baton/internal/command"
	"baton/internal/config"
	"baton/internal/role"
	"baton/internal/service"
)

const (
	// mostKill is how long a command may have between SIGTERM and SIGKILL.
	mostKill = 10 * time.Second
	// mostVariables bounds the variables of a request.
	mostVariables = 64
)

// allowed is what one configuration allows.
type allowed struct {
	hash     string
	commands []template
	agents   []service.OCF

	units      map[string]bool
	containers map[containerName]bool // true: it may be started and stopped
	checks     map[string]*check
	reboot     bool
}

// template is a command of the configuration.
type template struct {
	argv      [][]piece
	arguments []string // four more words, which keepalived's are, of which the state and the priority change; none: no more
	variables bool     // the request may set BATON_...
	dir       string
	user      string
	env       []string
	timeout   time.Duration
}

func newAllowed(cfg *config.Config, probe func(config.Check) (health.Probe, error)) *allowed {
	a := &allowed{hash: cfg.Hash, units: map[string]bool{}, containers: map[containerName]bool{}, checks: map[string]*check{}}
	values := newValues(cfg)
	for _, c := range cfg.Checks {
		switch {
		case c.Type == config.CommandCheck:
			t := template{dir: cfg.Dir, user: c.Command.User, env: c.Command.Env, timeout: c.Command.Timeout}
			for _, w := range c.Command.Argv {
				t.argv = append(t.argv, []piece{{literal: w}})
			}
			a.commands = append(a.commands, t)
		case c.Type == config.OCFCheck:
			a.agents = append(a.agents, AgentOf(*c.OCF, c.Name))
		case c.Type == config.ContainerCheck:
			a.containers[containerName{c.Container.Socket, c.Container.Name}] = false // a service of that name says more, below
		case Asks(c):
			if p, err := probe(c); err == nil {
				a.checks[c.Name] = newCheck(p)
			}
		}
	}
	a.services(cfg.Services, cfg.Dir, values.of(""))
	for _, r := range cfg.Routers {
		name := r.Name
		if r.Group != "" {
			name = r.Group
		}
		v := values.of(name)
		a.services(r.Services, cfg.Dir, v)
		for _, hooks := range [][]config.Command{r.Notify.Master, r.Notify.Backup, r.Notify.Fault, r.Notify.Stop, r.Notify.Reassert} {
			for _, h := range hooks {
				a.commands = append(a.commands, v.template(h, cfg.Dir))
			}
		}
		for _, h := range r.Notify.Any {
			t := v.template(h, cfg.Dir)
			if t.arguments = []string{"INSTANCE", name}; r.Group != "" {
				t.arguments[0] = "GROUP"
			}
			a.commands = append(a.commands, t)
		}
		a.reboot = a.reboot || r.OnStopFailure == config.StopFailureReboot
	}
	return a
}

// services allows those of a router, or of every node.
func (a *allowed) services(list []config.Service, dir string, v values) {
	for _, s := range list {
		switch s.Kind {
		case config.UnitService:
			a.units[s.Unit] = true
		case config.ContainerService:
			a.containers[containerName{s.Container.Socket, s.Container.Name}] = true
		case config.OCFService:
			a.agents = append(a.agents, AgentOf(s.OCF, s.Name))
		}
		for _, c := range []*config.Command{s.Start, s.Stop, s.Status, s.Promote, s.Demote, s.Follow} {
			if c != nil {
				a.commands = append(a.commands, v.template(*c, dir))
			}
		}
	}
}

// AgentOf is a resource agent of the configuration; instance tells its uses apart.
func AgentOf(a config.OCF, instance string) service.OCF {
	return service.OCF{Provider: a.Provider, Agent: a.Agent, Instance: instance, Params: a.Params, User: a.User}
}

// Asks tells whether the runner asks a check that is no command, since only root
// can: about the connections of other users' processes, and the programs that they
// run.
func Asks(c config.Check) bool {
	return c.Type == config.ConnectionCheck || c.Type == config.ProcessCheck && c.Processes.Path != ""
}

// command returns the one that a request means. All but its words, and what baton
// tells of the change, is taken from the configuration: the folder, the user and
// what its environment_file says.
func (a *allowed) command(s command.Spec) (command.Spec, error) {
	if spec, ok := a.agent(s); ok {
		return spec, nil
	}
	user := ""
	if s.User != nil {
		user = s.User.Name
	}
	var problem error
	for i := range a.commands {
		t := &a.commands[i]
		if t.user != user || !t.matches(s.Argv) {
			continue
		}
		env, err := t.environment(s.Env)
		if err != nil {
			problem = err
			continue
		}
		found := command.Spec{Argv: s.Argv, Dir: t.dir, Env: env, Timeout: s.Timeout, Kill: min(s.Kill, mostKill)}
		if t.timeout > 0 {
			found.Timeout = min(found.Timeout, t.timeout)
		}
		if user != "" {
			found.User = &command.User{Name: user}
		}
		return found, nil
	}
	if problem == nil {
		problem = errors.New("no command of the configuration has these words and this user; after a change of the file: baton reload")
	}
	return command.Spec{}, problem
}

// agent is the action of a resource agent that a request means. What a request may
// choose is the action, and the two numbers that the agent is told.
func (a *allowed) agent(s command.Spec) (command.Spec, bool) {
	if len(s.Argv) != 2 || !slices.Contains([]string{"start", "stop", "monitor"}, s.Argv[1]) {
		return command.Spec{}, false
	}
	interval := variable(s.Env, service.OCFInterval)
	timeout, err := strconv.ParseInt(variable(s.Env, service.OCFTimeout), 10, 64)
	if err != nil || timeout < 0 || interval != "0" && interval != service.OCFMonitored {
		return command.Spec{}, false
	}
	for _, o := range a.agents {
		spec := o.Action(s.Argv[1], interval, time.Duration(timeout)*time.Millisecond)
		if slices.Equal(spec.Argv, s.Argv) && slices.Equal(spec.Env, s.Env) && sameUser(spec.User, s.User) {
			service.MakeOCFFolder()
			spec.Timeout = s.Timeout
			return spec, true
		}
	}
	return command.Spec{}, false
}

func sameUser(a, b *command.User) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Name == b.Name
}

// variable is the value of a variable; empty where there is none.
func variable(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// matches tells whether the words are the command's.
func (t *template) matches(argv []string) bool {
	if t.arguments != nil {
		n := len(argv) - 4
		if n < 0 || !areArguments(argv[n:], t.arguments) {
			return false
		}
		argv = argv[:n]
	}
	if len(argv) != len(t.argv) {
		return false
	}
	for i, w := range t.argv {
		if !match(w, argv[i]) {
			return false
		}
	}
	return true
}

// areArguments tells whether four words are those that keepalived gives a script.
func areArguments(words, first []string) bool {
	priority, err := strconv.ParseUint(words[3], 10, 8)
	return slices.Equal(words[:2], first) && isState(words[2]) && err == nil && strconv.FormatUint(priority, 10) == words[3]
}

func isState(s string) bool {
	return slices.Contains([]role.State{role.Init, role.Backup, role.Master, role.Fault, role.Stop}, role.State(s))
}

// environment is the command's own, with what baton tells of the change, if it
// does. The daemon sends the command's own as well, as it has read it; what the
// runner has read counts.
func (t *template) environment(asked []string) ([]string, error) {
	env := slices.Clone(t.env)
	told := 0
	for _, kv := range asked {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case t.variables && strings.HasPrefix(name, "BATON_") && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == "":
			if told++; told > mostVariables {
				return nil, errors.New("too many variables")
			}
			env = append(env, kv)
		case !slices.ContainsFunc(t.env, func(own string) bool { return strings.HasPrefix(own, name+"=") }):
			return nil, fmt.Errorf("the variable %.100q is not in its environment_file; after a change of the file: baton reload", name)
		}
	}
	return env, nil
}

// check is one that is asked here. A probe has no two runs at a time.
type check struct {
	probe health.Probe
	busy  chan struct{}
}

func newCheck(p health.Probe) *check { return &check{p, make(chan struct{}, 1)} }

func (c *check) ask(ctx context.Context) (health.Answer, error) {
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
		return c.probe.Probe(ctx), nil
	case <-ctx.Done():
		return health.Answer{}, errors.New("the run before has not ended")
	}
}

// values are what variables can stand for on this host.
type values struct {
	nodes    []string
	networks map[string][]string // addresses, by network
	router   string
}

func newValues(cfg *config.Config) values {
	v := values{nodes: []string{cfg.Node}, networks: map[string][]string{}}
	for _, n := range cfg.Nodes {
		v.nodes = append(v.nodes, n.Name)
		v.networks["cluster"] = append(v.networks["cluster"], n.Cluster.String())
		for name, addr := range n.Networks {
			v.networks[name] = append(v.networks[name], addr.String())
		}
	}
	return v
}

// of is v for a router or group.
func (v values) of(router string) values {
	v.router = router
	return v
}

// template is a command of a hook or a service.
func (v values) template(c config.Command, dir string) template {
	t := template{variables: true, dir: dir, user: c.User, env: c.Env, timeout: c.Timeout}
	for _, w := range c.Argv {
		t.argv = append(t.argv, v.pieces(w))
	}
	return t
}

// piece is a part of a word: a literal, or what a variable can be.
type piece struct {
	literal string
	anyOf   []string // with the longest first; none: it is the literal
	address bool     // or an address: of a master who is none of the nodes
}

func (v values) pieces(word string) []piece {
	var list []piece
	for _, p := range role.Pieces(word) {
		next := piece{}
		switch {
		case p.Name == "":
			next.literal = p.Text
		case p.Name == "router":
			next.literal = v.router
		case p.Name == "role":
			next.anyOf = []string{string(role.Master), string(role.Backup), string(role.Fault), string(role.Stop), string(role.Init), ""}
		case p.Network == "":
			next.anyOf, next.address = append(slices.Clone(v.nodes), ""), true
		default:
			next.anyOf = append(slices.Clone(v.networks[p.Network]), "")
		}
		slices.SortFunc(next.anyOf, func(a, b string) int { return len(b) - len(a) })
		list = append(list, next)
	}
	return list
}

// match tells whether a word is made of the pieces. Their values are few and short,
// and a word has few pieces.
func match(pieces []piece, word string) bool {
	if len(pieces) == 0 {
		return word == ""
	}
	p, rest := pieces[0], pieces[1:]
	if p.anyOf == nil {
		after, ok := strings.CutPrefix(word, p.literal)
		return ok && match(rest, after)
	}
	for _, value := range p.anyOf {
		if after, ok := strings.CutPrefix(word, value); ok && match(rest, after) {
			return true
		}
	}
	if !p.address {
		return false
	}
	n := len(word) - len(strings.TrimLeft(word, "0123456789abcdef:.")) // without a zone, as baton has them
	for ; n > 1; n-- {
		if _, err := netip.ParseAddr(word[:n]); err == nil && match(rest, word[n:]) {
			return true
		}
	}
	return false
}
