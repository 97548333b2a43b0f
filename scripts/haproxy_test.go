package scripts_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shortDir is a folder whose name leaves room for the name of a unix socket (107 bytes).
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "baton-scripts-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// haproxy is a real one that listens on unix sockets only.
type haproxy struct {
	cmd    *exec.Cmd
	socket string
	pids   string // its pid file
	log    bytes.Buffer
}

// startHAProxy starts one whose backend "web" has a server that is up, one that is down and one without a check.
func startHAProxy(t *testing.T) *haproxy {
	t.Helper()
	dir := shortDir(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	up, err := net.Listen("unix", path("up.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	go func() {
		for {
			c, err := up.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	config := write(t, dir, "haproxy.cfg", strings.ReplaceAll(`
global
    stats socket DIR/admin.sock mode 600 level user
defaults
    mode tcp
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend front
    bind unix@DIR/front.sock
    default_backend web
backend web
    server a unix@DIR/up.sock check inter 50ms rise 1 fall 1
    server b unix@DIR/down.sock check inter 50ms rise 1 fall 1
    server c unix@DIR/down.sock
backend empty
`, "DIR", dir), 0o600)
	h := &haproxy{socket: path("admin.sock"), pids: path("haproxy.pid")}
	h.cmd = exec.Command(need(t, "haproxy"), "-W", "-db", "-f", config, "-p", h.pids)
	h.cmd.Stdout, h.cmd.Stderr = &h.log, &h.log
	// A group of its own, so that the worker can be ended with its master.
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.kill()
		if t.Failed() {
			t.Logf("haproxy said:\n%s", &h.log)
		}
	})
	eventually(t, "HAProxy answers and has seen that server b is down", func() (bool, string) {
		r := run(t, "", nil, "check-haproxy", "--socket", h.socket, "--backend", "web")
		return strings.Contains(r.stdout, "1 of 3 servers up"), r.stdout
	})
	return h
}

// kill ends HAProxy and its worker at once. It may be called again.
func (h *haproxy) kill() {
	if h.cmd.ProcessState == nil {
		_ = syscall.Kill(-h.cmd.Process.Pid, syscall.SIGKILL)
		_ = h.cmd.Wait()
	}
}

func TestCheckHAProxy_Real(t *testing.T) {
	h := startHAProxy(t)
	tests := []struct {
		name string
		args []string
		exit int
		want []string
	}{
		{"socket", nil, 0, []string{"pid ", ", not stopping\n"}},
		{"option with an equals sign", []string{"--timeout=5"}, 0, []string{", not stopping\n"}},
		{"pid file", []string{"--pid-file", h.pids}, 0, []string{", not stopping\n"}},
		{"no pid file", []string{"--pid-file", h.pids + "x"}, 1, []string{"no readable pid file"}},
		{"enough up", []string{"--backend", "web", "--min-up", "1"}, 0,
			[]string{", not stopping; web: 1 of 3 servers up, 1 have no check and are not counted\n"}},
		{"too few up", []string{"--backend", "web", "--min-up", "2"}, 1, []string{"web: 1 of 3 servers up", ", 2 wanted\n"}},
		{"no servers", []string{"--backend", "empty"}, 1, []string{"empty: 0 of 0 servers up, 1 wanted\n"}},
		{"unknown backend", []string{"--backend", "wbe"}, 2, []string{"knows no backend wbe"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run(t, "", nil, "check-haproxy", append([]string{"--socket", h.socket, "--timeout", "5"}, tt.args...)...).expect(t, tt.exit, tt.want...)
		})
	}

	// Each tool that can speak to a unix socket, alone.
	for _, tool := range []string{"socat", "nc", "perl", "python3"} {
		t.Run("by means of "+tool, func(t *testing.T) {
			env := []string{"PATH=" + tools(t, "timeout", tool)}
			run(t, "", env, "check-haproxy", "--socket", h.socket, "--timeout", "5", "--backend", "web").expect(t, 0, "pid ", "web: 1 of 3")
			gone := filepath.Join(shortDir(t), "gone.sock")
			abandon(t, gone)
			run(t, "", env, "check-haproxy", "--socket", gone, "--timeout", "5").expect(t, 1, gone+": connection refused")
			silent := answer(t, func(net.Conn) {})
			r := run(t, "", env, "check-haproxy", "--socket", silent, "--timeout", "0.2")
			r.expect(t, 1, silent+": no answer within 0.2s")
			if r.took > 5*time.Second {
				t.Errorf("took %v with a time limit of 0.2s", r.took)
			}
		})
	}
	t.Run("without a tool", func(t *testing.T) {
		env := []string{"PATH=" + tools(t, "timeout")}
		run(t, "", env, "check-haproxy", "--socket", h.socket).expect(t, 2, "apt install socat")
	})
	t.Run("without a time limit", func(t *testing.T) {
		env := []string{"PATH=" + tools(t, "socat")}
		run(t, "", env, "check-haproxy", "--socket", h.socket).expect(t, 2, "timeout is not installed")
	})
	t.Run("in the folder of the socket", func(t *testing.T) {
		run(t, filepath.Dir(h.socket), nil, "check-haproxy", "--socket", "admin.sock", "--timeout", "5").expect(t, 0, "not stopping")
	})

	h.kill()
	t.Run("killed", func(t *testing.T) {
		run(t, "", nil, "check-haproxy", "--socket", h.socket, "--timeout", "5").expect(t, 1, "connection refused: HAProxy does not run")
		run(t, "", nil, "check-haproxy", "--socket", h.socket, "--pid-file", h.pids).expect(t, 1, "is dead")
	})
}

// abandon leaves a socket file that nobody listens on, as a killed daemon does.
func abandon(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// answer listens on a unix socket and gives each connection, once its question has been read, to reply. The
// connection is closed after reply only when reply says so by closing it.
func answer(t *testing.T, reply func(net.Conn)) (path string) {
	t.Helper()
	path = filepath.Join(shortDir(t), "fake.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var conns []net.Conn
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
			if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
				reply(c)
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for _, c := range conns {
			c.Close()
		}
	})
	return path
}

func TestCheckHAProxy_Answers(t *testing.T) {
	const stat = "# pxname,svname,qcur,status,lastchg\n"
	tests := []struct {
		name, answer string
		args         []string
		exit         int
		want         string
	}{
		{"good", "Name: HAProxy\nPid: 12\nStopping: 0\n", nil, 0, "pid 12, not stopping\n"},
		{"stopping", "Pid: 12\nStopping: 1\n", nil, 1, "HAProxy pid 12 is stopping\n"},
		{"old", "Pid: 12\n", nil, 1, "older than"},
		{"nothing", "", nil, 1, "an empty answer"},
		{"something else", "220 mail\x1b[31m ESMTP\r\n", nil, 1, "not an answer of HAProxy: 220 mail [31m ESMTP"},
		{"on its way down counts", "Pid: 12\nStopping: 0\n\n" + stat + "web,a,0,UP 1/3,5\nweb,b,0,UP,5\nweb,c,0,DOWN 1/2,5\nweb,d,0,MAINT,5\n",
			[]string{"--backend", "web", "--min-up", "2"}, 0, "web: 2 of 4 servers up\n"},
		{"maintenance does not count", "Pid: 12\nStopping: 0\n\n" + stat + "web,a,0,MAINT,5\nweb,b,0,NOLB,5\nweb,c,0,DRAIN,5\n",
			[]string{"--backend", "web"}, 1, "web: 0 of 3 servers up, 1 wanted\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			socket := answer(t, func(c net.Conn) {
				fmt.Fprint(c, tt.answer)
				c.Close()
			})
			run(t, "", nil, "check-haproxy", append([]string{"--socket", socket, "--timeout", "5"}, tt.args...)...).expect(t, tt.exit, tt.want)
		})
	}
	t.Run("hangs in its answer", func(t *testing.T) {
		socket := answer(t, func(c net.Conn) { fmt.Fprint(c, "Pid: 12\nStopping: 0\n") })
		run(t, "", nil, "check-haproxy", "--socket", socket, "--timeout", "0.3").expect(t, 1, "no answer within 0.3s")
	})
}

func TestCheckHAProxy_Files(t *testing.T) {
	dir := shortDir(t)
	run(t, dir, nil, "check-haproxy", "--socket", "missing.sock").expect(t, 1, "no socket ./missing.sock")
	write(t, dir, "file", "", 0o600)
	run(t, dir, nil, "check-haproxy", "--socket", "file").expect(t, 2, "./file is not a socket")

	// As somebody who may not write to the socket; root may, always.
	socket := answer(t, func(net.Conn) {})
	if err := os.Chmod(socket, 0); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("check-haproxy")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(socket)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := prepare(t, dir, nil, write(t, dir, "copy", string(script), 0o755), "--socket", socket)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	finish(t, cmd).expect(t, 2, socket+": permission denied for")

	socket = answer(t, func(c net.Conn) {
		fmt.Fprint(c, "Pid: 12\nStopping: 0\n")
		c.Close()
	})
	for _, tt := range []struct {
		content string
		exit    int
		want    string
	}{
		{strconv.Itoa(os.Getpid()) + "\n", 0, "not stopping"},
		{strconv.Itoa(os.Getpid()) + "\n4194399\n", 1, "process 4194399 of "},
		{"", 1, "is empty"},
		{"../etc", 2, "holds no process ids"},
	} {
		pids := write(t, dir, "pids", tt.content, 0o600)
		run(t, "", nil, "check-haproxy", "--socket", socket, "--timeout", "5", "--pid-file", pids).expect(t, tt.exit, tt.want)
	}
}
