package scripts_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// galera is a real MariaDB that is a cluster of one.
type galera struct {
	*sandbox
	dir, socket string
	server      *server
}

// galeraPassword has what my.cnf and the shell give a meaning to.
const galeraPassword = `p"a#s;s' w$rd`

func startGalera(t *testing.T) *galera {
	t.Helper()
	dir := shortDir(t)
	g := &galera{sandbox: newSandbox(t), dir: dir, socket: filepath.Join(dir, "mysqld.sock")}
	g.output(t, nil, "mariadb-install-db", "--no-defaults", "--datadir="+dir+"/data", "--user=root",
		"--auth-root-authentication-method=normal", "--skip-test-db")
	g.start(t, "--wsrep-on=ON", "--wsrep-provider=/usr/lib/galera/libgalera_smm.so", "--wsrep-cluster-address=gcomm://",
		"--wsrep-new-cluster", "--wsrep-node-address=127.0.0.1", "--wsrep-provider-options=gcache.size=1M",
		"--binlog-format=ROW", "--innodb-autoinc-lock-mode=2")
	return g
}

// start starts the server with more options and waits for it.
func (g *galera) start(t *testing.T, options ...string) {
	t.Helper()
	g.server = g.sandbox.start(t, g.dir, nil, "mariadbd", append([]string{"--no-defaults", "--datadir=" + g.dir + "/data",
		"--socket=" + g.socket, "--pid-file=" + g.dir + "/pid", "--bind-address=127.0.0.1", "--port=3306", "--user=root",
		"--innodb-buffer-pool-size=16M"}, options...)...)
	eventually(t, "MariaDB answers", func() (bool, string) {
		r := g.sandbox.run(t, "", nil, need(t, "mariadb"), "--no-defaults", "--socket="+g.socket, "--execute=SELECT 1")
		return r.exit == 0, r.stderr
	})
}

func (g *galera) query(t *testing.T, query string) string {
	t.Helper()
	return strings.TrimSpace(g.output(t, nil, "mariadb", "--no-defaults", "--socket="+g.socket, "--batch", "--skip-column-names", "--execute="+query))
}

// check runs check-galera over the socket, with time enough for a busy machine.
func (g *galera) check(t *testing.T, args ...string) result {
	t.Helper()
	return g.sandbox.run(t, g.dir, nil, "check-galera", append([]string{"--socket", g.socket, "--timeout", "5"}, args...)...)
}

func TestCheckGalera_Real(t *testing.T) {
	t.Parallel()
	g := startGalera(t)
	const synced = "Primary, 1 member, Synced\n"

	t.Run("synced", func(t *testing.T) {
		g.check(t).expect(t, 0, synced)
		g.check(t, "--majority").expect(t, 0, synced)
		g.check(t, "--writable").expect(t, 0, synced)
		g.check(t, "--allow-donor", "--writable").expect(t, 0, synced)
	})
	t.Run("login", func(t *testing.T) { galeraLogin(t, g) })
	t.Run("read only", func(t *testing.T) {
		g.query(t, "SET GLOBAL read_only=ON")
		g.check(t, "--writable").expect(t, 1, "Primary, 1 member, Synced: read_only is ON\n")
		g.check(t).expect(t, 0, synced)
		g.query(t, "SET GLOBAL read_only=OFF")
	})
	t.Run("desynced", func(t *testing.T) {
		g.query(t, "SET GLOBAL wsrep_desync=ON")
		const found = "Primary, 1 member, Donor/Desynced"
		g.check(t).expect(t, 1, found+": state 2, want 4 (Synced)\n")
		g.check(t, "--allow-donor").expect(t, 0, found+"\n")
		g.check(t, "--majority").expect(t, 0, found+"\n")
		g.query(t, "SET GLOBAL wsrep_desync=OFF")
	})
	t.Run("minority", func(t *testing.T) {
		// A cluster of which no other member can be reached.
		g.query(t, "SET GLOBAL wsrep_cluster_address='gcomm://127.0.0.1:4599?pc.wait_prim=no'")
		eventually(t, "the member is in no primary component", func() (bool, string) {
			status := g.query(t, "SHOW STATUS LIKE 'wsrep_cluster_status'")
			return strings.HasSuffix(status, "non-Primary"), status
		})
		for _, args := range [][]string{nil, {"--majority"}, {"--allow-donor"}, {"--writable"}} {
			g.check(t, args...).expect(t, 1, "non-Primary, 1 member, Initialized: not in the majority\n")
		}
		g.query(t, "SET GLOBAL wsrep_provider_options='pc.bootstrap=1'")
		eventually(t, "the member is synced again", func() (bool, string) {
			r := g.sandbox.run(t, "", nil, need(t, "mariadb"), "--no-defaults", "--socket="+g.socket, "--execute=SELECT 1")
			return r.exit == 0 && g.check(t).exit == 0, r.stderr
		})
	})
	t.Run("full", func(t *testing.T) {
		// Error 1040, which an account without privileges gets: root has one connection more.
		g.query(t, "SET GLOBAL max_connections=10")
		occupy := func() {
			g.sandbox.start(t, g.dir, nil, "mariadb", "--defaults-file="+g.dir+"/login", "--socket="+g.socket, "--execute=SELECT SLEEP(60)")
		}
		for range 10 {
			occupy()
		}
		eventually(t, "there are too many connections", func() (bool, string) {
			r := g.check(t, "--login-file", "login")
			full := strings.Contains(r.stdout, "cannot be connected to: ERROR 1040")
			if !full {
				occupy() // in place of one that found the check in its place
			}
			return full, r.stdout
		})
		g.check(t, "--login-file", "login").expect(t, 1, "Too many connections")
		g.check(t, "--login-file", "login", "--majority").expect(t, 0, "no opinion: ", "Too many connections")
	})
	t.Run("hangs", func(t *testing.T) {
		g.server.signal(t, syscall.SIGSTOP)
		for _, args := range [][]string{nil, {"--majority"}} {
			r := g.check(t, append(args, "--timeout", "0.3")...)
			r.expect(t, 1, g.socket+": no answer within 0.3s\n")
			if r.took > 5*time.Second {
				t.Errorf("took %v with a time limit of 0.3s", r.took)
			}
		}
	})
	t.Run("stopped", func(t *testing.T) {
		g.server.kill()
		eventually(t, "nobody listens any more", func() (bool, string) {
			r := g.check(t)
			return r.exit == 1 && strings.HasPrefix(r.stdout, g.socket+" cannot be connected to: ERROR 2002 "), r.stdout
		})
		g.check(t, "--majority").expect(t, 0, "no opinion: "+g.socket+" cannot be connected to: ERROR 2002 ")
		g.sandbox.run(t, "", nil, "check-galera", "--port", "3306").expect(t, 1, "127.0.0.1:3306 cannot be connected to")
		g.sandbox.run(t, "", nil, "check-galera", "--port", "3306", "--majority").expect(t, 0, "no opinion: 127.0.0.1:3306 cannot")
	})
	t.Run("no member", func(t *testing.T) {
		g.start(t)
		for _, args := range [][]string{nil, {"--majority"}} {
			g.check(t, args...).expect(t, 2, g.socket+" runs, but is no member of a Galera cluster")
		}
	})
}

// galeraLogin looks at the ways of login, and leaves a file "login" in the folder of g.
func galeraLogin(t *testing.T, g *galera) {
	g.query(t, `CREATE USER baton@localhost IDENTIFIED BY '`+strings.ReplaceAll(galeraPassword, "'", "''")+`'`)
	file := func(name, password string, mode uint32) {
		write(t, g.dir, name, "[client]\nuser=baton\npassword='"+strings.ReplaceAll(password, "'", `\'`)+"'\n", 0o600)
		if err := syscall.Chmod(filepath.Join(g.dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	file("login", galeraPassword, 0o640)
	file("wrong", "guess", 0o600)
	file("open", galeraPassword, 0o604)
	g.query(t, "SET PASSWORD FOR root@localhost = PASSWORD('x')")
	defer func() {
		g.output(t, nil, "mariadb", "--no-defaults", "--socket="+g.socket, "--password=x", "--execute=SET PASSWORD = ''")
	}()

	g.check(t, "--login-file", "login").expect(t, 0, "Synced\n")
	g.check(t, "--login-file", filepath.Join(g.dir, "login"), "--writable").expect(t, 0, "Synced\n")
	g.sandbox.run(t, g.dir, nil, "check-galera", "--host", "localhost", "--timeout", "5", "--login-file", "login").expect(t, 0, "Synced\n")
	g.sandbox.run(t, "", []string{"CREDENTIALS_DIRECTORY=" + g.dir}, "check-galera", "--port=3306", "--timeout", "5", "--login-file=login").expect(t, 0, "Synced\n")
	for _, args := range [][]string{nil, {"--majority"}} {
		g.check(t, append(args, "--login-file", "wrong")...).expect(t, 2, "login refused: ERROR 1045")
	}
	g.check(t).expect(t, 2, "login refused")
	g.check(t, "--login-file", "open").expect(t, 2, "./open is open to others: chmod o= it")

	bin, seen := spy(t, "mariadb")
	r := g.sandbox.run(t, g.dir, []string{"PATH=" + bin}, "check-galera", "--socket", g.socket, "--timeout", "5", "--login-file", "login")
	r.expect(t, 0, "Synced\n")
	r.expectNoSecret(t, galeraPassword)
	if notes := seen(); !strings.Contains(notes, "wsrep_on") || strings.Contains(notes, `p"a`) {
		t.Errorf("the password is on a command line, or mariadb on none: %s", notes)
	}
}

func TestCheckGalera_Tools(t *testing.T) {
	run(t, "", []string{"PATH=" + tools(t, "timeout")}, "check-galera").expect(t, 2, "apt install mariadb-client")
	run(t, "", []string{"PATH=" + tools(t, "mariadb")}, "check-galera").expect(t, 2, "timeout is not installed")
	// The older name of the client, and an answer in its words.
	dir := tools(t, "timeout")
	write(t, dir, "mysql", `#!/bin/sh
printf 'wsrep_local_state\t4\nwsrep_local_state_comment\tSynced\nwsrep_cluster_size\t3\nwsrep_cluster_status\tPrimary\nwsrep_ready\tOFF\nwsrep_on\tON\n'
`, 0o755)
	run(t, "", []string{"PATH=" + dir}, "check-galera").expect(t, 1, "Primary, 3 members, Synced: wsrep_ready is OFF")
	run(t, "", []string{"PATH=" + dir}, "check-galera", "--majority").expect(t, 0, "Primary, 3 members, Synced\n")
}
