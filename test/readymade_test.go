package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
	"baton/test/site"
)

// realServers are the servers that the ready-made checks ask, all on one host.
type realServers struct {
	t    *testing.T
	host *lab.Host
	ip   string // the host's own address, on which they listen
	dir  string
}

// start starts a program, in a folder of its own that is its HOME.
func (r realServers) start(program string, env []string, args ...string) *lab.Process {
	r.t.Helper()
	need(r.t, program)
	p, err := r.host.Start(append([]string{program}, args...), lab.StartOptions{Dir: r.dir, Env: append([]string{"HOME=" + r.dir}, env...)})
	must(r.t, err)
	r.t.Cleanup(func() {
		if r.t.Failed() {
			out := p.Output()
			r.t.Logf("%s said:\n%s", p.Name, out[max(0, len(out)-2000):])
		}
	})
	return p
}

func (r realServers) write(name, content string, mode os.FileMode) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	must(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(r.t, os.WriteFile(path, []byte(content), mode))
	return path
}

// keystone starts the API alone, as Debian's package has it for tests. Only its own file is left out of the usual
// places, by HOME. The file that is returned disables it.
func (r realServers) keystone() (disable string) {
	r.t.Helper()
	need(r.t, "keystone-manage")
	disable = filepath.Join(r.dir, "disabled")
	file := r.write(".keystone/keystone.conf", fmt.Sprintf(`[DEFAULT]
log_dir =
use_stderr = true
[fernet_tokens]
key_repository = %[1]s/keys
[healthcheck]
backends = disable_by_file
disable_by_file_path = %[1]s/disabled
`, r.dir), 0o600)
	must(r.t, os.Mkdir(filepath.Join(r.dir, "keys"), 0o700))
	setup := r.start("keystone-manage", nil, "--config-file", file, "fernet_setup", "--keystone-user", "root", "--keystone-group", "root")
	if status, err := setup.Wait(time.Minute); err != nil || status != 0 {
		r.t.Fatalf("set up keystone: exit status %d, %v:\n%s", status, err, setup.Output())
	}
	r.start("keystone-wsgi-public", nil, "--host", r.ip, "--port", "5000")
	return disable
}

// rabbitmq starts a node. epmd is started before it, in the foreground: left to Erlang it would outlive the host.
func (r realServers) rabbitmq() *lab.Process {
	r.t.Helper()
	const bin = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	need(r.t, bin)
	r.start("epmd", nil)
	r.write(".erlang.cookie", "SITE", 0o400)
	r.write("plugins", "[].", 0o600)
	r.write("rabbit.conf", "listeners.tcp.1 = "+r.ip+":5672\n", 0o600)
	r.write("env", "", 0o600)
	return r.start(bin, []string{
		"RABBITMQ_NODENAME=rabbit@localhost", "RABBITMQ_MNESIA_BASE=" + r.dir, "RABBITMQ_LOG_BASE=" + r.dir, "RABBITMQ_LOGS=-",
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(r.dir, "rabbit"), "RABBITMQ_CONF_ENV_FILE=" + filepath.Join(r.dir, "env"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(r.dir, "plugins"),
	})
}

func (r realServers) mariadb() *lab.Process {
	r.t.Helper()
	data := filepath.Join(r.dir, "data")
	install := r.start("mariadb-install-db", nil, "--no-defaults", "--datadir="+data, "--user=root", "--skip-test-db")
	if status, err := install.Wait(time.Minute); err != nil || status != 0 {
		r.t.Fatalf("set up MariaDB: exit status %d, %v:\n%s", status, err, install.Output())
	}
	must(r.t, os.MkdirAll(r.host.Path("/run/mysqld"), 0o755))
	return r.start("mariadbd", nil, "--no-defaults", "--datadir="+data, "--socket=/run/mysqld/mysqld.sock", "--pid-file="+r.dir+"/mysqld.pid",
		"--skip-networking", "--user=root", "--innodb-buffer-pool-size=16M")
}

// worker starts what stands for a worker that listens nowhere: it is connected to the port of RabbitMQ with TLS.
func (r realServers) worker(name string) *lab.Process {
	r.t.Helper()
	need(r.t, "/usr/bin/socat")
	queue := net.JoinHostPort(r.ip, "5671")
	r.start("socat", nil, "TCP-LISTEN:5671,fork,reuseaddr,bind="+r.ip, "SYSTEM:cat")
	path := filepath.Join(r.dir, name)
	must(r.t, os.Symlink("/usr/bin/socat", path))
	return r.start(path, nil, "TCP:"+queue+",retry=100,interval=0.1", "SYSTEM:sleep 1000")
}

// The ready-made checks pass while the real servers are well and fail when they are not.
func TestReadyMade(t *testing.T) {
	s := newSiteOf(t, "a")
	r := realServers{t, s.Ports["a"].Host, "10.99.0.1", t.TempDir()}
	names := []string{"keystone", "memcached", "redis", "rabbitmq", "mariadb", "nova-scheduler"}
	files, track := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		path, err := filepath.Abs("../configs/checks/" + name + ".yaml")
		must(t, err)
		files[i], track[i] = path, name+": report"
	}
	memcached := r.start("memcached", nil, "-u", "root", "-l", r.ip)
	redis := r.start("redis-server", nil, "--bind", r.ip, "--protected-mode", "no", "--save", "")
	mariadb := r.mariadb()
	scheduler := r.worker("nova-scheduler")
	rabbitmq := r.rabbitmq()
	disabled := r.keystone()

	n := add(t, s, "a", site.Baton, site.Pair(interval, site.Addresses(1, false)...))
	must(t, os.WriteFile(filepath.Join(n.Dir, "baton.yaml"), fmt.Appendf(nil, `nodes: {a: %s}
include: [%s]
virtual_routers: {web: {interface: eth0, vrid: 51, priority: 200, addresses: [10.99.0.100/16], track: {%s}}}
`, r.ip, strings.Join(files, ", "), strings.Join(track, ", ")), 0o644))
	must(t, n.Start())

	// said waits for a verdict; it is not patient with servers but with the machine they start on.
	from := 0 // the line from which on a verdict counts
	said := func(name, verdict, text string) {
		t.Helper()
		_, _, err := n.Process.WaitLine(from, time.Minute, func(line string) bool {
			return strings.Contains(line, `msg="check changed" check=`+name+" ") && strings.Contains(line, " to="+verdict+" ") && strings.Contains(line, text)
		})
		if err != nil {
			t.Fatalf("%s: want %s with %q: %v", name, verdict, text, err)
		}
	}
	for _, name := range names {
		said(name, "pass", "")
	}
	from = len(n.Process.Lines())
	must(t, os.WriteFile(disabled, nil, 0o644)) // keystone's switch for maintenance
	for _, p := range []*lab.Process{memcached, redis, mariadb, scheduler, rabbitmq} {
		must(t, p.SignalGroup(unix.SIGKILL))
	}
	said("keystone", "fail", "503")
	for _, name := range []string{"memcached", "redis", "rabbitmq"} {
		said(name, "fail", "refused")
	}
	said("mariadb", "fail", "mysqld.sock")
	said("nova-scheduler", "fail", "nova-scheduler does not run")
}
