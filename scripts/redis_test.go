package scripts_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const redisPassword = "s3cret-w0rd"

// redis starts a real server with a password and waits for it.
func startRedis(t *testing.T, s *sandbox, port int, options ...string) *server {
	t.Helper()
	dir := shortDir(t)
	d := s.start(t, dir, nil, "redis-server", append([]string{"--dir", dir, "--port", fmt.Sprint(port), "--bind", "127.0.0.1",
		"--requirepass", redisPassword, "--masterauth", redisPassword, "--save", "", "--daemonize", "no", "--repl-diskless-sync-delay", "0"}, options...)...)
	eventually(t, fmt.Sprintf("Redis answers on port %d", port), func() (bool, string) {
		r := s.run(t, "", redisEnv, need(t, "redis-cli"), "-p", fmt.Sprint(port), "PING")
		return strings.Contains(r.stdout, "PONG"), r.stdout + r.stderr
	})
	return d
}

var redisEnv = []string{"REDISCLI_AUTH=" + redisPassword}

// checkRedis runs check-redis with time enough for a busy machine.
func checkRedis(t *testing.T, s *sandbox, port int, args ...string) result {
	t.Helper()
	return s.run(t, "", redisEnv, "check-redis", append([]string{"--port", fmt.Sprint(port), "--timeout", "5"}, args...)...)
}

// redisCommand gives a server a command, which must succeed.
func redisCommand(t *testing.T, s *sandbox, port int, words ...string) string {
	t.Helper()
	return s.output(t, redisEnv, "redis-cli", append([]string{"-e", "-p", fmt.Sprint(port)}, words...)...)
}

func TestCheckRedis_Real(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	socket := filepath.Join(shortDir(t), "redis.sock")
	master := startRedis(t, s, 6379, "--unixsocket", socket, "--unixsocketperm", "700")
	startRedis(t, s, 6380, "--replicaof", "127.0.0.1 6379")
	eventually(t, "the replica is linked", func() (bool, string) {
		r := checkRedis(t, s, 6380, "--promotable")
		return r.exit == 0, r.stdout
	})

	t.Run("roles", func(t *testing.T) {
		for _, tt := range []struct {
			port int
			role string
			exit int
			want string
		}{
			{6379, "master", 0, "master, version "},
			{6379, "MASTER", 0, "master, version "},
			{6379, "replica", 1, ": want replica\n"},
			{6379, "BACKUP", 1, ": want replica\n"},
			{6380, "replica", 0, "link to 127.0.0.1 up\n"},
			{6380, "slave", 0, "link to 127.0.0.1 up\n"},
			{6380, "BACKUP", 0, "replica, version "},
			{6380, "FAULT", 0, "replica, version "},
			{6380, "master", 1, ": want master\n"},
			{6380, "MASTER", 1, ": want master\n"},
		} {
			checkRedis(t, s, tt.port, "--role", tt.role).expect(t, tt.exit, tt.want)
		}
		checkRedis(t, s, 6379).expect(t, 0, "master, version ")
		checkRedis(t, s, 6379, "--promotable").expect(t, 0, "master, version ")
		checkRedis(t, s, 6380, "--promotable", "--role", "BACKUP").expect(t, 0, "link to 127.0.0.1 up, heard its master ")
		s.run(t, filepath.Dir(socket), redisEnv, "check-redis", "--socket", socket).expect(t, 0, "master, version ")
	})
	t.Run("login", func(t *testing.T) {
		s.run(t, "", nil, "check-redis").expect(t, 2, "127.0.0.1:6379: login refused: is REDISCLI_AUTH right? (NOAUTH")
		s.run(t, "", []string{"REDISCLI_AUTH=guess"}, "check-redis").expect(t, 2, "login refused")
		redisCommand(t, s, 6379, "ACL", "SETUSER", "baton", "on", ">"+redisPassword+"2", "+info", "+ping")
		redisCommand(t, s, 6379, "ACL", "SETUSER", "blind", "on", ">"+redisPassword+"2", "+ping")
		env := []string{"REDISCLI_AUTH=" + redisPassword + "2"}
		s.run(t, "", env, "check-redis", "--user", "baton").expect(t, 0, "master, version ")
		s.run(t, "", env, "check-redis", "--user", "blind").expect(t, 2, "login refused", "NOPERM")
		bin, seen := spy(t, "redis-cli")
		r := s.run(t, "", append(env, "PATH="+bin), "check-redis", "--timeout", "5", "--user", "baton")
		r.expect(t, 0, "master, version ")
		r.expectNoSecret(t, redisPassword)
		if notes := seen(); !strings.Contains(notes, "INFO") || strings.Contains(notes, redisPassword) {
			t.Errorf("the password is on a command line, or redis-cli on none: %s", notes)
		}
	})
	t.Run("a replica that was never linked", func(t *testing.T) {
		startRedis(t, s, 6381, "--replicaof", "127.0.0.1 1")
		checkRedis(t, s, 6381, "--role", "replica").expect(t, 0, "link to 127.0.0.1 down\n")
		checkRedis(t, s, 6381, "--promotable").expect(t, 1, "it has had no link to a master since it was started")
	})
	t.Run("a full synchronisation", func(t *testing.T) {
		redisCommand(t, s, 6379, "SET", "key", "value")
		redisCommand(t, s, 6379, "CONFIG", "SET", "rdb-key-save-delay", "10000000") // 10 s
		startRedis(t, s, 6382, "--replicaof", "127.0.0.1 6379")
		eventually(t, "the synchronisation is under way", func() (bool, string) {
			r := checkRedis(t, s, 6382, "--promotable")
			return r.exit == 1 && strings.Contains(r.stdout, "link to 127.0.0.1 down: a full synchronisation is under way"), r.stdout
		})
		checkRedis(t, s, 6382, "--role", "replica").expect(t, 0, "replica, version ")
		redisCommand(t, s, 6379, "CONFIG", "SET", "rdb-key-save-delay", "0")
	})
	t.Run("hangs", func(t *testing.T) {
		master.signal(t, syscall.SIGSTOP)
		r := checkRedis(t, s, 6379, "--timeout", "0.3")
		r.expect(t, 1, "127.0.0.1:6379: no answer within 0.3s\n")
		if r.took > 5*time.Second {
			t.Errorf("took %v with a time limit of 0.3s", r.took)
		}
		checkRedis(t, s, 6380, "--promotable").expect(t, 0, "link to 127.0.0.1 up")
	})
	t.Run("the master dies", func(t *testing.T) {
		master.kill()
		eventually(t, "nobody listens any more", func() (bool, string) {
			r := checkRedis(t, s, 6379)
			return r.exit == 1 && strings.HasPrefix(r.stdout, "127.0.0.1:6379: connection refused: Redis does not run"), r.stdout
		})
		s.run(t, "", redisEnv, "check-redis", "--socket", socket).expect(t, 1, socket+": connection refused: Redis does not run")
		eventually(t, "the replica knows it, and can be promoted", func() (bool, string) {
			r := checkRedis(t, s, 6380, "--promotable")
			return r.exit == 0 && strings.Contains(r.stdout, "link to 127.0.0.1 down, heard its master "), r.stdout
		})
		eventually(t, "its data is too old at last", func() (bool, string) {
			r := checkRedis(t, s, 6380, "--promotable", "--max-lag", "1")
			return r.exit == 1 && strings.HasSuffix(r.stdout, "s ago, want less than 1s\n"), r.stdout
		})
		redisCommand(t, s, 6380, "REPLICAOF", "NO", "ONE")
		checkRedis(t, s, 6380, "--role", "MASTER").expect(t, 0, "master, version ")
	})
}

func TestCheckRedis_TLS(t *testing.T) {
	s := newSandbox(t)
	dir := shortDir(t)
	foreign := filepath.Join(dir, "other.pem")
	writeOtherCertificate(t, foreign)
	cert := filepath.Join(dir, "redis.pem")
	writeOtherCertificate(t, cert)
	startRedis(t, s, 6379, "--tls-port", "6390", "--tls-cert-file", cert, "--tls-key-file", cert+".key", "--tls-ca-cert-file", cert)
	tls := []string{"--tls", "--cert", cert, "--key", cert + ".key"}
	checkRedis(t, s, 6390, append(tls, "--ca", cert)...).expect(t, 0, "master, version ")
	checkRedis(t, s, 6390, append(tls, "--ca", foreign)...).expect(t, 2, "certificate")
	s.run(t, "", append(redisEnv, "CREDENTIALS_DIRECTORY="+dir), "check-redis", "--timeout=5", "--port=6390", "--tls",
		"--ca", "redis.pem", "--cert", "redis.pem", "--key", "redis.pem.key").expect(t, 0, "master, version ")
	if r := checkRedis(t, s, 6390, "--tls", "--ca", cert); r.exit == 0 {
		t.Errorf("passes without the certificate that the server wants: %s", r.stdout)
	}
}

// A server that loads its data answers INFO, and little else.
func TestCheckRedis_Loading(t *testing.T) {
	for _, tt := range []struct {
		name, info string
		args       []string
		exit       int
		want       string
	}{
		{"loading", `redis_version:7.0.15\r\nloading:1\r\nrole:master\r\n`, nil, 1, "master, version 7.0.15: it is loading its data\n"},
		{"Valkey", `redis_version:7.2.4\r\nvalkey_version:8.0.1\r\nloading:0\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_link_status:up\r\n` +
			`master_last_io_seconds_ago:3\r\nmaster_sync_in_progress:0\r\n`, []string{"--promotable"}, 0,
			"replica, version 8.0.1, link to 10.0.0.1 up, heard its master 3s ago\n"},
		{"a silent master", `loading:0\r\nrole:slave\r\nmaster_host:m\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:59\r\nmaster_sync_in_progress:0\r\n`,
			[]string{"--promotable"}, 0, "59s ago\n"},
		{"a master silent for too long", `loading:0\r\nrole:slave\r\nmaster_host:m\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:60\r\nmaster_sync_in_progress:0\r\n`,
			[]string{"--promotable"}, 1, "60s ago, want less than 60s\n"},
		{"a sentinel", `redis_version:7.0.15\r\nrole:sentinel\r\n`, []string{"--promotable"}, 1, "neither master nor replica"},
		{"something else", `HTTP/1.1 400 Bad Request\r\n`, nil, 1, "not an answer of Redis: HTTP/1.1 400 Bad Request"},
		{"nothing", ``, nil, 1, "an empty answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := tools(t, "timeout")
			write(t, dir, "valkey-cli", "#!/bin/sh\nprintf '"+tt.info+"'\n", 0o755)
			run(t, "", []string{"PATH=" + dir}, "check-redis", tt.args...).expect(t, tt.exit, tt.want)
		})
	}
	run(t, "", []string{"PATH=" + tools(t, "timeout")}, "check-redis").expect(t, 2, "apt install redis-tools")
	run(t, "", []string{"PATH=" + tools(t, "redis-cli")}, "check-redis").expect(t, 2, "timeout is not installed")
}
