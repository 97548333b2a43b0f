package scripts_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rabbitBin has RabbitMQ's programs themselves. Debian's in /usr/sbin are wrappers that become the user rabbitmq.
const rabbitBin = "/usr/lib/rabbitmq/bin"

// rabbit is a real RabbitMQ in a sandbox.
type rabbit struct {
	*sandbox
	node   string
	env    []string
	server *server
}

// startRabbit starts a member with its own data, and does not wait for it.
func startRabbit(t *testing.T, s *sandbox, home, name string, port int, config, plugins string) *rabbit {
	t.Helper()
	need(t, "rabbitmq-server")
	dir := shortDir(t)
	write(t, dir, "plugins", plugins, 0o600)
	write(t, dir, "rabbit.conf", fmt.Sprintf("listeners.tcp.default = %d\n%s", port, config), 0o600)
	write(t, dir, "env", "", 0o600)
	r := &rabbit{sandbox: s, node: name + "@localhost"}
	r.env = []string{"PATH=" + rabbitBin + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "RABBITMQ_NODENAME=" + r.node, "RABBITMQ_MNESIA_BASE=" + dir,
		"RABBITMQ_LOG_BASE=" + dir, "RABBITMQ_LOGS=-", "RABBITMQ_CONFIG_FILE=" + filepath.Join(dir, "rabbit"), "RABBITMQ_CONF_ENV_FILE=" + filepath.Join(dir, "env"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "plugins"), "RABBITMQ_PID_FILE=" + filepath.Join(dir, "pid"),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", 20000+port)}
	r.server = s.start(t, dir, r.env, filepath.Join(rabbitBin, "rabbitmq-server"))
	return r
}

// wait waits until the member has started, which takes 5 seconds of CPU.
func (r *rabbit) wait(t *testing.T) {
	t.Helper()
	within(t, time.Minute, r.node+" has started", func() (bool, string) {
		log := readFile(t, r.server.path)
		return strings.Contains(log, "Server startup complete"), log[max(0, len(log)-500):]
	})
}

// control runs rabbitmqctl, which must succeed.
func (r *rabbit) control(t *testing.T, words ...string) string {
	t.Helper()
	return r.output(t, r.env, filepath.Join(rabbitBin, "rabbitmqctl"), words...)
}

// check runs check-rabbitmq with time enough for a busy machine.
func (r *rabbit) check(t *testing.T, args ...string) result {
	t.Helper()
	return r.sandbox.run(t, "", r.env, "check-rabbitmq", append([]string{"--timeout", "15"}, args...)...)
}

// Two members. It takes long to start them, so all that needs them is here.
func TestCheckRabbitMQ_Real(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	home := t.TempDir()
	write(t, home, ".erlang.cookie", "SANDBOX", 0o400)
	write(t, home, "login", "guest:guest\n", 0o640)
	write(t, home, "wrong", "guest:guess\n", 0o600)
	const cluster = `cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = a@localhost
`
	a := startRabbit(t, s, home, "a", 5672, "management.tcp.port = 15672\n", "[rabbitmq_management].")
	a.wait(t)
	b := startRabbit(t, s, home, "b", 5673, cluster, "[].")
	b.wait(t)

	url := []string{"--url", "http://127.0.0.1:15672", "--login-file", filepath.Join(home, "login")}
	both := func(t *testing.T, exit int, want string, args ...string) {
		t.Helper()
		a.check(t, args...).expect(t, exit, want)
		a.check(t, append(args, url...)...).expect(t, exit, want)
	}
	eventually(t, "the management plugin knows both members", func() (bool, string) {
		r := a.check(t, url...)
		return strings.HasPrefix(r.stdout, "2 of 2 "), r.stdout
	})
	t.Run("all run", func(t *testing.T) {
		both(t, 0, "2 of 2 running\n")
		both(t, 0, "2 of 2 running\n", "--majority")
		both(t, 0, "2 of 3 running\n", "--members", "3")
		both(t, 0, "2 of 2 running, no alarm\n", "--alarms")
		b.check(t, "--node", a.node).expect(t, 0, "2 of 2 running\n")
	})
	t.Run("login", func(t *testing.T) {
		a.check(t, "--url=http://127.0.0.1:15672/", "--login-file", filepath.Join(home, "wrong")).expect(t, 2, "login refused (HTTP status 401)")
		foreign := t.TempDir()
		write(t, foreign, ".erlang.cookie", "OTHER", 0o400)
		r := s.run(t, "", append(a.env, "HOME="+foreign), "check-rabbitmq", "--majority", "--timeout", "15")
		r.expect(t, 2, "RabbitMQ refuses rabbitmqctl", "Erlang cookie")
	})
	t.Run("alarm", func(t *testing.T) {
		a.control(t, "set_vm_memory_high_watermark", "0.00001")
		eventually(t, "there is an alarm", func() (bool, string) {
			r := a.check(t, "--alarms")
			return r.exit == 1 && r.stdout == "this member has an alarm: Memory alarm on node a@localhost\n", r.stdout
		})
		a.check(t, append(url, "--alarms")...).expect(t, 1, "this member has an alarm: ", "memory")
		b.check(t, "--alarms").expect(t, 0, "2 of 2 running, no alarm\n")
		a.control(t, "set_vm_memory_high_watermark", "0.9")
	})
	t.Run("stopped by hand", func(t *testing.T) {
		b.control(t, "stop_app")
		b.check(t).expect(t, 1, "RabbitMQ is stopped (stop_app)\n")
		b.check(t, "--majority").expect(t, 0, "no opinion: RabbitMQ is stopped (stop_app)\n")
	})
	t.Run("half of them are enough", func(t *testing.T) {
		b.server.kill()
		eventually(t, "a knows that b is dead", func() (bool, string) {
			r := a.check(t, url...)
			return strings.HasPrefix(r.stdout, "1 of 2 "), r.stdout
		})
		both(t, 0, "1 of 2 running\n", "--majority")
		both(t, 1, "1 of 3 running: not in the majority\n", "--majority", "--members", "3")
		b.check(t).expect(t, 1, "RabbitMQ does not run\n")
		b.check(t, "--majority").expect(t, 0, "no opinion: RabbitMQ does not run\n")
	})
	t.Run("paused", func(t *testing.T) {
		// As with cluster_partition_handling = pause_minority from the start; then it is told again of the death of b.
		a.control(t, "eval", `application:set_env(rabbit, cluster_partition_handling, pause_minority),
			rabbit_node_monitor ! {nodedown, 'b@localhost', []}.`)
		eventually(t, "a is paused", func() (bool, string) {
			r := a.check(t, "--majority")
			return r.exit == 1 && r.stdout == "RabbitMQ is paused: not in the majority, it waits for the other members\n", r.stdout
		})
		const down = "http://127.0.0.1:15672: connection refused or unreachable"
		a.check(t, url...).expect(t, 1, down)
		a.check(t, append(url, "--majority")...).expect(t, 0, "no opinion: "+down)
	})
	t.Run("hangs", func(t *testing.T) {
		a.server.signal(t, syscall.SIGSTOP)
		r := a.check(t, "--majority", "--timeout", "1.5")
		r.expect(t, 1, "RabbitMQ: no answer within 1.5s\n")
		if r.took > 10*time.Second {
			t.Errorf("took %v with a time limit of 1.5s", r.took)
		}
	})
}

// managed is a made-up management plugin.
func managed(t *testing.T, nodes, alarms http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user+":"+password != login {
			text(401, `{"error":"not_authorized"}`)(w, r)
			return
		}
		switch r.URL.Path {
		case "/api/nodes":
			nodes(w, r)
		case "/api/health/checks/local-alarms":
			alarms(w, r)
		default:
			text(404, "")(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestCheckRabbitMQ_API(t *testing.T) {
	need(t, "curl")
	dir := t.TempDir()
	write(t, dir, "login", login+"\n", 0o600)
	write(t, dir, "open", login+"\n", 0o604)
	write(t, dir, "half", "baton\n", 0o600)
	three := text(200, `[{"name":"rabbit@a","running":true},{"name":"rabbit@b","running":false},{"name":"rabbit@c","running":true}]`)
	one := text(200, `[{"name":"rabbit@a","running":true},{"name":"rabbit@b","running":false},{"name":"rabbit@c","running":false}]`)
	ok := text(200, `{"status":"ok"}`)
	tests := []struct {
		name          string
		nodes, alarms http.HandlerFunc
		args          []string
		exit          int
		want          string
	}{
		{"one of three is down", three, ok, nil, 0, "2 of 3 running\n"},
		{"two of three are down", one, ok, []string{"--majority"}, 1, "1 of 3 running: not in the majority\n"},
		{"five wanted", three, ok, []string{"--members", "5"}, 1, "2 of 5 running: not in the majority\n"},
		{"alarm", three, text(503, `{"status":"failed","reason":"disk"}`), []string{"--alarms"}, 1, `this member has an alarm: {"status":"failed","reason":"disk"}` + "\n"},
		{"no such health check", three, text(404, ""), []string{"--alarms"}, 1, "HTTP status 404"},
		{"the health check hangs", three, slow, []string{"--alarms", "--timeout", "0.5"}, 1, "no answer within 0.5s\n"},
		{"hangs", slow, ok, []string{"--majority", "--timeout", "0.3"}, 1, "no answer within 0.3s\n"},
		{"the tag is missing", text(401, ""), ok, []string{"--majority"}, 2, "has the user the tag monitoring?"},
		{"error", text(500, ""), ok, []string{"--majority"}, 1, "/api/nodes: HTTP status 500, want 200\n"},
		{"starting", text(503, ""), ok, []string{"--majority"}, 1, "/api/nodes: HTTP status 503, want 200\n"},
		{"something else", text(200, "<html>It works!</html>"), ok, nil, 1, "is this RabbitMQ?\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := managed(t, tt.nodes, tt.alarms)
			r := run(t, dir, nil, "check-rabbitmq", append([]string{"--url", m.URL, "--login-file", "login"}, tt.args...)...)
			r.expect(t, tt.exit, tt.want)
			if r.took > 5*time.Second {
				t.Errorf("took %v", r.took)
			}
		})
	}
	m := managed(t, three, ok)
	run(t, dir, nil, "check-rabbitmq", "--url", m.URL, "--login-file", "open").expect(t, 2, "./open is open to others: chmod o= it")
	run(t, dir, nil, "check-rabbitmq", "--url", m.URL, "--login-file", "half").expect(t, 2, "is not USER:PASSWORD")
	run(t, "", []string{"CREDENTIALS_DIRECTORY=" + dir}, "check-rabbitmq", "--url", m.URL, "--login-file", "login").expect(t, 0, "2 of 3 running\n")
	run(t, dir, []string{"PATH=" + tools(t)}, "check-rabbitmq", "--url", m.URL, "--login-file", "login").expect(t, 2, "apt install curl")
	m.Close()
	run(t, dir, nil, "check-rabbitmq", "--url", m.URL, "--login-file", "login").expect(t, 1, m.URL+": connection refused")
	run(t, dir, nil, "check-rabbitmq", "--url", m.URL, "--login-file", "login", "--majority").expect(t, 0, "no opinion: "+m.URL+": connection refused")

	bin, seen := spy(t, "curl")
	m = managed(t, three, ok)
	run(t, dir, []string{"PATH=" + bin}, "check-rabbitmq", "--url", m.URL, "--login-file", "login", "--alarms").expect(t, 0, "no alarm")
	if notes := seen(); !strings.Contains(notes, "/api/nodes") || strings.Contains(notes, `p"a`) || strings.Contains(notes, `p\"a`) {
		t.Errorf("the password is on a command line, or curl on none: %s", notes)
	}
	secure := httptest.NewTLSServer(m.Config.Handler)
	t.Cleanup(secure.Close)
	writePEM(t, filepath.Join(dir, "ca.pem"), secure.Certificate().Raw)
	run(t, dir, nil, "check-rabbitmq", "--url", secure.URL, "--login-file", "login", "--ca", "ca.pem").expect(t, 0, "2 of 3 running\n")
	run(t, dir, nil, "check-rabbitmq", "--url", secure.URL, "--login-file", "login").expect(t, 2, "certificate")
}

// What rabbitmqctl says, recorded from RabbitMQ 3.10.
func TestCheckRabbitMQ_Command(t *testing.T) {
	tests := []struct {
		name, says string
		status     int
		args       []string
		exit       int
		want       string
	}{
		{"three members", `{"alarms":[],"disk_nodes":["rabbit@a","rabbit@b"],"partitions":{},"ram_nodes":["rabbit@c"],"running_nodes":["rabbit@a","rabbit@c"]}`, 0, nil, 0, "2 of 3 running\n"},
		{"pretty", "{\n  \"disk_nodes\" : [\n \"rabbit@a\",\n \"rabbit@b\",\n \"rabbit@c\" ],\n  \"ram_nodes\" : [ ],\n  \"running_nodes\" : [ \"rabbit@a\" ]\n}", 0, nil, 1, "1 of 3 running: not in the majority\n"},
		{"not root", "\nOnly root or rabbitmq should run rabbitmqctl\n", 1, []string{"--majority"}, 2, "for root and rabbitmq only"},
		{"no names", "{}", 0, nil, 2, "names no member"},
		{"something new", "Error: \x1b[1mno", 64, []string{"--majority"}, 2, "rabbitmqctl failed with exit status 64: Error:  [1mno\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tools(t, "timeout")
			write(t, dir, "said", tt.says, 0o600)
			write(t, dir, "rabbitmqctl", fmt.Sprintf("#!/bin/sh\ncat %s/said\nexit %d\n", dir, tt.status), 0o755)
			run(t, "", []string{"PATH=" + dir}, "check-rabbitmq", tt.args...).expect(t, tt.exit, tt.want)
		})
	}
	run(t, "", []string{"PATH=" + tools(t, "timeout")}, "check-rabbitmq").expect(t, 2, "rabbitmqctl is not installed")
	dir := tools(t)
	if err := os.Symlink(need(t, "true"), filepath.Join(dir, "rabbitmqctl")); err != nil {
		t.Fatal(err)
	}
	run(t, "", []string{"PATH=" + dir}, "check-rabbitmq").expect(t, 2, "timeout is not installed")
}
