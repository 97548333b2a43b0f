package runner

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/health"
	"baton/internal/command"
	"baton/internal/config"
	"baton/internal/role"
	"baton/internal/service"
	"baton/internal/trial"
)

const sample = `nodes:
  lb1: {cluster: 10.0.0.11, storage: 10.1.0.11}
  lb2: {cluster: 10.0.0.12, storage: 10.1.0.12}
checks:
  galera: {type: command, command: [check-galera, --price, 5$$, --node, $node], environment_file: galera.env}
  other: {type: command, command: check-other, user: nobody}
  redis: {type: ocf, agent: "heartbeat:redis", params: {port: "6379"}}
  talks: {type: connection, process: app, port: 5672}
  shop: {type: container, container: shop}
services:
  - {name: everywhere, command: {start: "start-it on $node", stop: stop-it}}
virtual_routers:
  web:
    interface: eth0
    vrid: 51
    prefer: lb1
    addresses: [10.0.0.100/24]
    track: {galera: fault, other: fault, redis: fault, talks: fault, shop: fault}
    notify:
      any: [/etc/baton/notify, "$role of $router"]
      master: {command: "/etc/baton/move $master.storage $previous_master", user: nobody}
      backup: {command: "/etc/baton/moved --to=$master:$master.cluster $$x", environment_file: hook.env}
    services:
      - {unit: osc.service}
      - {container: db}
      - {ocf: "heartbeat:Filesystem", params: {device: /dev/drbd0}}
      - {name: drbd, command: {start: drbdadm primary osc, stop: drbdadm secondary osc, status: "check-drbd --role $role"}}
    on_stop_failure: reboot
  mail: {interface: eth0, vrid: 52, prefer: lb2, addresses: [10.0.0.101/24], track: {galera: none}}
`

// place is a folder that only root can write, with a configuration.
func place(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		dir = trial.RootDir(t)
	}
	put(t, filepath.Join(dir, "baton.yaml"), text)
	put(t, filepath.Join(dir, "galera.env"), "PASSWORD=old\n")
	put(t, filepath.Join(dir, "hook.env"), "TOKEN=t\n")
	return dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func noProbe(config.Check) (health.Probe, error) { return fixed{}, nil }

type fixed struct{}

func (fixed) Probe(context.Context) health.Answer { return health.Answer{OK: true, Text: "well"} }

func newPolicy(t *testing.T, dir string) (*Policy, *trial.Log) {
	t.Helper()
	log := new(trial.Log)
	return NewPolicy(filepath.Join(dir, "baton.yaml"), "lb1", noProbe, slog.New(slog.NewTextHandler(log, nil))), log
}

func TestPolicy_Command(t *testing.T) {
	dir := place(t, sample)
	p, log := newPolicy(t, dir)
	p.looked = time.Now().Add(time.Hour) // what is refused is refused
	if p.err != nil {
		t.Fatal(p.err, log)
	}
	words := func(s ...string) []string { return s }
	tests := map[string]struct {
		argv []string
		user string
		env  []string
		want string // the environment that it gets, or why it is refused
	}{
		"check":                     {argv: words("check-galera", "--price", "5$", "--node", "lb1"), want: "PASSWORD=old"},
		"its own environment":       {argv: words("check-galera", "--price", "5$", "--node", "lb1"), env: words("PASSWORD=stale"), want: "PASSWORD=old"},
		"a check has no role":       {argv: words("check-galera", "--price", "5$", "--node", "lb1"), env: words("BATON_STATE=MASTER"), want: `the variable "BATON_STATE" is not in its environment_file`},
		"another variable":          {argv: words("check-galera", "--price", "5$", "--node", "lb1"), env: words("LD_PRELOAD=/tmp/x"), want: `the variable "LD_PRELOAD" is not in`},
		"another node":              {argv: words("check-galera", "--price", "5$", "--node", "lb2"), want: "no command of"},
		"fewer words":               {argv: words("check-galera"), want: "no command of"},
		"as the user":               {argv: words("check-other"), user: "nobody", want: ""},
		"as root":                   {argv: words("check-other"), want: "no command of"},
		"as somebody else":          {argv: words("check-galera", "--price", "5$", "--node", "lb1"), user: "nobody", want: "no command of"},
		"any hook":                  {argv: words("/etc/baton/notify", "MASTER of web", "INSTANCE", "web", "MASTER", "200"), env: words("BATON_STATE=MASTER", "BATON_REASON=it is 'odd'"), want: "BATON_STATE=MASTER BATON_REASON=it is 'odd'"},
		"of another router":         {argv: words("/etc/baton/notify", "MASTER of mail", "INSTANCE", "mail", "MASTER", "200"), want: "no command of"},
		"priority that is none":     {argv: words("/etc/baton/notify", "MASTER of web", "INSTANCE", "web", "MASTER", "256"), want: "no command of"},
		"priority with a zero":      {argv: words("/etc/baton/notify", "MASTER of web", "INSTANCE", "web", "MASTER", "0200"), want: "no command of"},
		"state that is none":        {argv: words("/etc/baton/notify", "ROOT of web", "INSTANCE", "web", "MASTER", "200"), want: "no command of"},
		"without arguments":         {argv: words("/etc/baton/notify", "MASTER of web"), want: "no command of"},
		"another program":           {argv: words("/bin/sh", "MASTER of web", "INSTANCE", "web", "MASTER", "200"), want: "no command of"},
		"nothing":                   {want: "no command of"},
		"addresses":                 {argv: words("/etc/baton/move", "10.1.0.12", "lb1"), user: "nobody", want: ""},
		"nobody":                    {argv: words("/etc/baton/move", "", ""), user: "nobody", want: ""},
		"a stranger as master":      {argv: words("/etc/baton/move", "", "fe80::1"), user: "nobody", want: ""},
		"address of other network":  {argv: words("/etc/baton/move", "10.0.0.12", "lb1"), user: "nobody", want: "no command of"},
		"an option":                 {argv: words("/etc/baton/move", "--help", "lb1"), user: "nobody", want: "no command of"},
		"a path":                    {argv: words("/etc/baton/move", "10.1.0.12", "../../bin/sh"), user: "nobody", want: "no command of"},
		"no address":                {argv: words("/etc/baton/move", "", "../.."), user: "nobody", want: "no command of"},
		"half an address":           {argv: words("/etc/baton/move", "", "dead.beef"), user: "nobody", want: "no command of"},
		"a zone":                    {argv: words("/etc/baton/move", "", "fe80::1%;reboot"), user: "nobody", want: "no command of"},
		"two in a word":             {argv: words("/etc/baton/moved", "--to=192.0.2.1:10.0.0.12", "$x"), env: words("TOKEN=stale", "BATON_MASTER=x"), want: "TOKEN=t BATON_MASTER=x"},
		"two, and one is empty":     {argv: words("/etc/baton/moved", "--to=lb2:", "$x"), want: "TOKEN=t"},
		"two, and more":             {argv: words("/etc/baton/moved", "--to=lb2:lb1", "$x"), want: "no command of"},
		"odd name of a variable":    {argv: words("/etc/baton/moved", "--to=lb2:", "$x"), env: words("BATON_x()=() { :; }"), want: `the variable "BATON_x()"`},
		"no name of a variable":     {argv: words("/etc/baton/moved", "--to=lb2:", "$x"), env: words("=x"), want: `the variable ""`},
		"service":                   {argv: words("drbdadm", "primary", "osc"), env: words("BATON_TAKEOVER=silence"), want: "BATON_TAKEOVER=silence"},
		"role of a service":         {argv: words("check-drbd", "--role", "BACKUP"), want: ""},
		"everywhere":                {argv: words("start-it", "on", "lb1"), want: ""},
		"a unit is no command":      {argv: words("systemctl", "start", "osc.service"), want: "no command of"},
		"agent without environment": {argv: words("/usr/lib/ocf/resource.d/heartbeat/redis", "monitor"), want: "no command of"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := command.Spec{Argv: tt.argv, Env: tt.env, Dir: "/tmp", Timeout: time.Hour, Kill: time.Hour}
			if tt.user != "" {
				s.User = &command.User{Name: tt.user}
			}
			found, err := p.Command(s)
			if err != nil {
				if !strings.HasPrefix(err.Error(), tt.want) || tt.want == "" {
					t.Errorf("refused: %v; want %q", err, tt.want)
				}
				return
			}
			if got := strings.Join(found.Env, " "); got != tt.want {
				t.Errorf("environment %q, want %q", got, tt.want)
			}
			if found.Dir != dir || found.Timeout >= time.Hour || found.Kill > mostKill || !slices.Equal(found.Argv, tt.argv) {
				t.Errorf("runs %+v", found)
			}
		})
	}
}

// What the daemon asks for is in the configuration, whatever has become of a router.
func TestPolicy_WhatIsAsked(t *testing.T) {
	p, log := newPolicy(t, place(t, sample))
	p.looked = time.Now().Add(time.Hour)
	cfg, _ := config.Load(p.path, config.Options{Node: "lb1"})
	if cfg == nil {
		t.Fatal(log)
	}
	var mu sync.Mutex
	asked := 0
	run := role.Exec(func(_ context.Context, s command.Spec) command.Result {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if _, err := p.Command(s); err != nil {
			t.Errorf("%q for %v: %v", s.Argv, s.User, err)
		}
		return command.Result{}
	}, cfg.Dir)
	hook := func(c *config.Command) *role.Hook {
		if c == nil {
			return nil
		}
		return &role.Hook{Argv: c.Argv, User: c.User, Timeout: c.Timeout, Env: c.Env}
	}
	lookup := func(node, network string) (string, bool) {
		for _, n := range cfg.Nodes {
			if n.Name == node {
				return n.Address(network).String(), true
			}
		}
		return "", false
	}
	i := slices.IndexFunc(cfg.Routers, func(r config.Router) bool { return r.Name == "web" })
	web := cfg.Routers[i]
	r := role.Router{Name: "web", Node: "lb1", Hooks: role.Hooks{
		Any: []role.Hook{*hook(&web.Notify.Any[0])}, Master: []role.Hook{*hook(&web.Notify.Master[0])}, Backup: []role.Hook{*hook(&web.Notify.Backup[0])},
	}}
	var transitions []role.Transition
	for _, master := range []string{"", "lb1", "lb2", "192.0.2.7", "2001:db8::7"} {
		for _, to := range []role.State{role.Master, role.Backup, role.Fault, role.Stop} {
			transitions = append(transitions, role.Transition{To: to, From: role.Init, Priority: 255, Reason: "haproxy fails: \x01", Master: master, PreviousMaster: master, Takeover: "silence"})
		}
	}
	for _, tr := range transitions {
		q := role.New(r, run, slog.New(slog.DiscardHandler), lookup)
		q.Tell(tr)
		if err := q.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, s := range slices.Concat(web.Services, cfg.Services) {
			c := role.NewCommandControl(role.Commands{Start: hook(s.Start), Stop: hook(s.Stop), Status: hook(s.Status)}, r, run, lookup)
			if s.Start == nil {
				continue
			}
			_ = c.Start(t.Context(), tr)
			_ = c.Status(t.Context(), tr)
			_ = c.Stop(t.Context(), tr)
		}
	}
	agents := []service.OCF{AgentOf(web.Services[2].OCF, web.Services[2].Name)}
	for _, c := range cfg.Checks {
		if c.OCF != nil {
			agents = append(agents, AgentOf(*c.OCF, c.Name))
		}
	}
	for _, a := range agents {
		o := service.NewOCF(func(ctx context.Context, s command.Spec) command.Result {
			return run(ctx, role.Hook{Timeout: s.Timeout}, s.Argv, s.Env)
		}, a)
		_ = o.Start(t.Context())
		o.Status(t.Context())
		_ = o.Stop(t.Context())
		o.Status(t.Context())
	}
	if asked < 5*len(transitions) {
		t.Errorf("only %d commands were asked for", asked)
	}
}

func TestPolicy_Agent(t *testing.T) {
	p, _ := newPolicy(t, place(t, sample))
	p.looked = time.Now().Add(time.Hour)
	a := service.OCF{Provider: "heartbeat", Agent: "redis", Instance: "redis", Params: map[string]string{"port": "6379"}}
	good := a.Action("monitor", "0", 20*time.Second)
	if _, err := p.Command(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*command.Spec){
		"another action":   func(s *command.Spec) { s.Argv[1] = "meta-data" },
		"another agent":    func(s *command.Spec) { s.Argv[0] = "/usr/lib/ocf/resource.d/heartbeat/../../../../tmp/x" },
		"another param":    func(s *command.Spec) { s.Env[len(s.Env)-1] = "OCF_RESKEY_port=1" },
		"one more":         func(s *command.Spec) { s.Env = append(s.Env, "OCF_RESKEY_binary=/tmp/x") },
		"another path":     func(s *command.Spec) { s.Env[0] = "PATH=/tmp" },
		"another interval": func(s *command.Spec) { s.Env[8] = service.OCFInterval + "=x" },
		"another user":     func(s *command.Spec) { s.User = &command.User{Name: "nobody"} },
	} {
		s := good
		s.Argv, s.Env = slices.Clone(good.Argv), slices.Clone(good.Env)
		change(&s)
		if _, err := p.Command(s); err == nil {
			t.Errorf("%s: allowed", name)
		}
	}
}

func TestPolicy_Others(t *testing.T) {
	p, _ := newPolicy(t, place(t, sample))
	p.looked = time.Now().Add(time.Hour)
	ok := func(what string, err error, want bool) {
		t.Helper()
		if (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	const docker = "/var/run/docker.sock"
	ok("unit", p.unit("osc.service"), true)
	ok("another unit", p.unit("sshd.service"), false)
	ok("reboot", p.reboot(), true)
	ok("stop of a service", p.container(containerName{docker, "db"}, true), true)
	ok("status of a check", p.container(containerName{docker, "shop"}, false), true)
	ok("stop of a check", p.container(containerName{docker, "shop"}, true), false)
	ok("another socket", p.container(containerName{"/tmp/s", "db"}, false), false)
	ask, err := p.check("talks")
	ok("check", err, true)
	if a, err := ask(t.Context()); err != nil || !a.OK {
		t.Errorf("%+v, %v", a, err)
	}
	_, err = p.check("galera")
	ok("a check that the daemon asks itself", err, false)
}

func command1(words ...string) command.Spec {
	return command.Spec{Argv: words, Timeout: time.Second}
}

// The configuration is read again for a command that is not in it, and the one
// before counts as well; the third does not any more.
func TestPolicy_Reload(t *testing.T) {
	write := func(dir, hook string) {
		put(t, filepath.Join(dir, "baton.yaml"), "virtual_routers: {web: {interface: eth0, vrid: 51, priority: 100, addresses: [10.0.0.100/24], notify: {master: {command: "+hook+", environment_file: hook.env}}}}\n")
	}
	dir := place(t, "")
	write(dir, "one")
	p, log := newPolicy(t, dir)
	can := func(name string, want bool) {
		t.Helper()
		p.looked = time.Time{}
		if _, err := p.Command(command1(name)); (err == nil) != want {
			t.Errorf("%s: %v\n%s", name, err, log)
		}
	}
	can("one", true)
	can("two", false)
	write(dir, "two")
	p.looked = time.Now()
	if _, err := p.Command(command1("two")); err == nil {
		t.Error("it is read at each request")
	}
	can("two", true)
	can("one", true)
	put(t, filepath.Join(dir, "baton.yaml"), "nonsense")
	can("three", false)
	if _, err := p.Command(command1("three")); err == nil || !strings.Contains(err.Error(), "baton validate") {
		t.Errorf("says %v", err)
	}
	can("one", true)
	can("two", true)
	write(dir, "three")
	can("three", true)
	can("two", true)
	can("one", false)
	can("two", true) // to look for one has read three again, which is no newer one
}

// An environment file is read with the configuration.
func TestPolicy_Environment(t *testing.T) {
	dir := place(t, sample)
	p, _ := newPolicy(t, dir)
	put(t, filepath.Join(dir, "hook.env"), "TOKEN=new\n")
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	s, err := p.Command(command1("/etc/baton/moved", "--to=:", "$x"))
	if err != nil || !cmp.Equal(s.Env, []string{"TOKEN=new"}) {
		t.Errorf("%q, %v", s.Env, err)
	}
	if len(p.known) != 1 {
		t.Errorf("%d are known", len(p.known))
	}
}

// forGroup lets a group write a file.
func forGroup(path string) error {
	return errors.Join(os.Chown(path, 0, 4711), os.Chmod(path, 0o660))
}

func TestPolicy_Owners(t *testing.T) {
	trial.NeedRoot(t)
	tests := map[string]struct {
		change func(dir string) error
		want   string
	}{
		"file of another":      {func(dir string) error { return os.Chown(dir+"/baton.yaml", 65534, 0) }, "/baton.yaml belongs to nobody"},
		"writable file":        {func(dir string) error { return forGroup(dir + "/baton.yaml") }, "/baton.yaml is writable by its group"},
		"writable folder":      {func(dir string) error { return os.Chmod(dir, 0o777) }, " is writable by everybody"},
		"environment":          {func(dir string) error { return os.Chown(dir+"/hook.env", 65534, 0) }, "/hook.env belongs to nobody"},
		"writable environment": {func(dir string) error { return forGroup(dir + "/galera.env") }, "/galera.env is writable by its group"},
		"included": {func(dir string) error {
			err := os.WriteFile(dir+"/more.yaml", []byte("{}\n"), 0o666)
			return errors.Join(err, os.Chmod(dir+"/more.yaml", 0o666))
		}, "/more.yaml is writable by everybody"},
		"link": {func(dir string) error {
			other, err := os.MkdirTemp("", "baton-test-")
			if err != nil {
				return err
			}
			t.Cleanup(func() { os.RemoveAll(other) })
			put(t, other+"/hook.env", "")
			put(t, other+"/galera.env", "")
			err = os.Chmod(other, 0o777)
			err = errors.Join(err, os.Rename(dir+"/baton.yaml", other+"/baton.yaml"))
			return errors.Join(err, os.Symlink(other+"/baton.yaml", dir+"/baton.yaml"))
		}, " is writable by everybody"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := place(t, "include: ['mor?.yaml']\n"+sample)
			put(t, dir+"/more.yaml", "{}\n")
			if err := tt.change(dir); err != nil {
				t.Fatal(err)
			}
			p, log := newPolicy(t, dir)
			_, err := p.Command(command1("check-other"))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "refused to run") {
				t.Errorf("says %v\n%s", err, log)
			}
		})
	}
}

// Who only runs commands needs no other secret.
func TestPolicy_NoOtherSecrets(t *testing.T) {
	dir := place(t, strings.Replace(sample, "    track: {galera", "    authentication: {type: hmac, keys: {1: gone.key}, send: 1}\n    track: {galera", 1))
	if cfg, _ := config.Load(filepath.Join(dir, "baton.yaml"), config.Options{Node: "lb1"}); cfg != nil {
		t.Error("a daemon does without its key")
	}
	if p, log := newPolicy(t, dir); p.err != nil {
		t.Error(p.err, log)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{"\x00\x00\x00\x02{}", "\x00\x00\x00\x0e{\"Kind\":\"fly\"}", "\xff\xff\xff\xff", `    {"Kind":"run","Argv":["AA=="],"Timeout":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r request
		if read(strings.NewReader(string(b)), &r) != nil || r.check() != nil {
			return
		}
		var back request
		var frame strings.Builder
		if err := write(&frame, r); err != nil {
			return // what was short may be longer in our words
		}
		if err := read(strings.NewReader(frame.String()), &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r.spec(), back.spec(), cmp.AllowUnexported(command.User{})); diff != "" {
			t.Error(diff)
		}
		p := policyOf(&config.Config{Nodes: []config.Node{{Name: "a"}}})
		if _, err := p.Command(r.spec()); err == nil {
			t.Error("allowed by nothing")
		}
	})
}

// A word that matches holds nothing but what the variables can be.
func FuzzMatch(f *testing.F) {
	v := values{nodes: []string{"lb1", "lb2"}, networks: map[string][]string{"cluster": {"10.0.0.11", "10.0.0.12"}}}.of("web")
	for _, s := range []string{"--to=lb1:10.0.0.11/MASTER$x", "--to=fe80::1::/BACKUP$x", "--to=:/$x"} {
		f.Add(s)
	}
	pieces := v.pieces("--to=$master:$master.cluster/$role$$x")
	f.Fuzz(func(t *testing.T, word string) {
		if !match(pieces, word) {
			return
		}
		if rest := strings.Trim(word, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:./-=$"); rest != "" || len(word) > 120 {
			t.Errorf("%q matches", word)
		}
	})
}
