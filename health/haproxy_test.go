package health

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/internal/trial"

	"golang.org/x/sys/unix"
)

// probeIn asks once, within d.
func probeIn(t testing.TB, p Probe, d time.Duration) Answer {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return p.Probe(ctx)
}

// eventually waits for what somebody else brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	trial.Await(t, 10*time.Second, what, ok)
}

const haproxyConfig = `
global
  stats socket %[1]s mode 600 level admin
  log stdout local0 emerg
defaults
  mode http
  timeout client 1s
  timeout server 1s
  timeout connect 1s
backend web
  server unchecked 127.0.0.1:1
  server checked unix@%[1]s check
  server dead unix@%[1]s.none check inter 10ms
  server off 127.0.0.1:1 disabled
  server other 127.0.0.1:1
backend empty
`

// startHAProxy runs the real one in a network namespace of its own.
func startHAProxy(t *testing.T) (socket string, cmd *exec.Cmd) {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/haproxy")
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("haproxy is not installed, and CI must test against it")
		}
		t.Skip("haproxy is not installed")
	}
	dir := trial.ShortDir(t)
	socket = filepath.Join(dir, "s")
	config := filepath.Join(dir, "cfg")
	if err := os.WriteFile(config, fmt.Appendf(nil, haproxyConfig, socket), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(path, "-db", "-q", "-f", config)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	}
	runtime.LockOSThread() // or the death of the thread is the parent's death
	t.Cleanup(runtime.UnlockOSThread)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, "HAProxy answers", func() bool {
		return probeIn(t, NewHAProxyProbe(socket, "", 0), time.Second).OK
	})
	return socket, cmd
}

func TestHAProxy_Real(t *testing.T) {
	socket, cmd := startHAProxy(t)
	pid := cmd.Process.Pid
	say := func(commands string) {
		t.Helper()
		p := NewHAProxyProbe(socket, "", 0).(*haproxyProbe)
		if _, err := p.ask(t.Context(), commands); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(backend string, minUp int, ok bool, text string) {
		t.Helper()
		a := probeIn(t, NewHAProxyProbe(socket, backend, minUp), time.Second)
		if a.OK != ok || a.Text != text {
			t.Errorf("%q, %d: got %v %q, want %v %q", backend, minUp, a.OK, a.Text, ok, text)
		}
	}
	expect("", 0, true, fmt.Sprintf("pid %d, not stopping", pid))
	eventually(t, "the dead server is found dead", func() bool {
		return !probeIn(t, NewHAProxyProbe(socket, "web", 4), time.Second).OK
	})
	expect("web", 3, true, "3 of 5 servers UP in web")
	expect("web", 4, false, "3 of 5 servers UP in web, fewer than 4")
	expect("empty", 0, true, "0 of 0 servers UP in empty")
	expect("empty", 1, false, "0 of 0 servers UP in empty, fewer than 1")
	expect("wbe", 1, false, fmt.Sprintf(`HAProxy (pid %d) has no backend "wbe"; it has web, empty`, pid))
	say("set server web/other state drain")
	expect("web", 3, false, "2 of 5 servers UP in web, fewer than 3")
	say("set server web/unchecked state maint")
	expect("web", 1, true, "1 of 5 servers UP in web")
	say("set server web/checked health down")
	expect("web", 1, false, "0 of 5 servers UP in web, fewer than 1")

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	expect("", 0, false, "connect "+socket+": connection refused")
}

// reply is what a fake HAProxy says to each line of commands; it then closes,
// as HAProxy does, unless hang is set.
type reply struct {
	info, stat string
	hang       bool
}

// fakeHAProxy listens on a socket until the test ends.
func fakeHAProxy(t testing.TB, r reply) (socket string) {
	socket = filepath.Join(trial.ShortDir(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.answer(conn)
		}
	}()
	return socket
}

func (r reply) answer(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 256)
	n, _ := conn.Read(buf)
	switch line := string(buf[:n]); {
	case line == "show info\n":
		io.WriteString(conn, r.info)
	case strings.HasPrefix(line, "show stat ") && strings.HasSuffix(line, "\n"):
		io.WriteString(conn, r.stat)
	default:
		io.WriteString(conn, "Unknown command: "+line)
	}
	if r.hang {
		_, _ = conn.Read(buf) // until the other side closes
	}
}

const (
	wellInfo = "Name: HAProxy\nVersion: 3.2.1\nPid: 4338\nnode: x\nStopping: 0\nJobs: 2\n\n"
	// Columns moved, some of them gone and one new, as versions differ.
	statHead = "# pxname,svname,newcol,status,last_chk,type,\n"
)

func TestHAProxy_Fake(t *testing.T) {
	many := statHead
	for i := range 20 {
		many += fmt.Sprintf("b%02d,BACKEND,,UP,,1,\n", i)
	}
	tests := map[string]struct {
		reply   reply
		backend string
		minUp   int
		want    Answer
	}{
		"well":            {reply{info: wellInfo}, "", 0, Answer{OK: true, Text: "pid 4338, not stopping"}},
		"stopping":        {reply{info: "Pid: 4338\nStopping: 1\n\n"}, "", 0, Answer{Text: "HAProxy (pid 4338) is stopping"}},
		"stopping, web":   {reply{info: "Pid: 4338\nStopping: 1\n\n", stat: statHead}, "web", 0, Answer{Text: "HAProxy (pid 4338) is stopping"}},
		"no Stopping":     {reply{info: "Pid: 4338\n\n"}, "", 0, Answer{Text: "HAProxy (pid 4338) does not say whether it is stopping"}},
		"no Pid":          {reply{info: "Stopping: 0\n\n"}, "", 0, Answer{Text: `SOCKET does not answer as HAProxy: "Stopping: 0"`}},
		"not allowed":     {reply{info: "Permission denied\n\n"}, "", 0, Answer{Text: `SOCKET does not answer as HAProxy: "Permission denied"`}},
		"nothing":         {reply{}, "", 0, Answer{Text: "SOCKET does not answer as HAProxy: nothing"}},
		"something else":  {reply{info: "\x1b[2J\x00" + strings.Repeat("x", 200)}, "", 0, Answer{Text: `SOCKET does not answer as HAProxy: "\x1b[2J\x00` + strings.Repeat("x", 75) + `"`}},
		"too much":        {reply{info: strings.Repeat("x\n", maxReply/2+1)}, "", 0, Answer{Text: `ask SOCKET: the reply to "show info" is longer than 4 MiB`}},
		"hangs":           {reply{hang: true}, "", 0, Answer{Text: "SOCKET took the connection but does not answer", Hint: "HAProxy hangs, or its host is overloaded"}},
		"no statistics":   {reply{info: wellInfo, stat: "Permission denied\n"}, "web", 1, Answer{Text: `HAProxy (pid 4338) lists no servers: "Permission denied"`}},
		"empty list":      {reply{info: wellInfo}, "web", 1, Answer{Text: "HAProxy (pid 4338) lists no servers: nothing"}},
		"no backends":     {reply{info: wellInfo, stat: statHead + "\n"}, "web", 1, Answer{Text: `HAProxy (pid 4338) has no backend "web"; it has none`}},
		"many backends":   {reply{info: wellInfo, stat: many}, "web", 1, Answer{Text: `HAProxy (pid 4338) has no backend "web"; it has b00, b01, b02, b03, b04, b05, b06, b07 and 12 more`}},
		"not the backend": {reply{info: wellInfo, stat: statHead + "web,BACKEND,,UP,,1,\nweb2,a,,UP,,2,\n"}, "web", 0, Answer{OK: true, Text: "0 of 0 servers UP in web"}},
		"every status": {reply{info: wellInfo, stat: statHead +
			"web,a,,UP,,2,\nweb,b,,UP 1/3,,2,\nweb,c,,no check,,2,\nweb,d,,DOWN,,2,\nweb,e,,DOWN 1/2,,2,\nweb,f,,MAINT,,2,\nweb,g,,MAINT (via x/y),,2,\n" +
			"web,h,,DRAIN,,2,\nweb,i,,NOLB,,2,\nweb,j,,NOLB 1/2,,2,\nweb,k,,UPSET,,2,\nweb,BACKEND,,UP,,1,\nweb,FRONTEND,,OPEN,,0,\n\n"}, "web", 3,
			Answer{OK: true, Text: "3 of 11 servers UP in web"}},
		"quotes and commas": {reply{info: wellInfo, stat: statHead + "web,a,,UP,\"said \"\"no, thanks\"\"\",2,\nweb,b,,UP,bare \" quote,2,\nweb,BACKEND,,UP,,1,\n\n"}, "web", 2,
			Answer{OK: true, Text: "2 of 2 servers UP in web"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			socket := fakeHAProxy(t, tt.reply)
			within := 5 * time.Second
			if tt.reply.hang {
				within = 100 * time.Millisecond
			}
			got := probeIn(t, NewHAProxyProbe(socket, tt.backend, tt.minUp), within)
			tt.want.Text = strings.ReplaceAll(tt.want.Text, "SOCKET", socket)
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestHAProxy_NotThere(t *testing.T) {
	socket := filepath.Join(trial.ShortDir(t), "s")
	refused := filepath.Join(trial.ShortDir(t), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: refused, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	const cannot = "; it cannot start while a VIP that it binds is not on this host, unless "
	tests := map[string]struct {
		socket, v4, v6 string
		text, hint     string
	}{
		"no socket":        {socket, "1", "1", "connect SOCKET: no such file or directory", `HAProxy does not run here, or its configuration has no "stats socket SOCKET"`},
		"refused":          {refused, "1", "1", "connect SOCKET: connection refused", "HAProxy does not run here: systemctl status haproxy"},
		"refused, v4 off":  {refused, "0", "1", "connect SOCKET: connection refused", "HAProxy does not run here: systemctl status haproxy" + cannot + "net.ipv4.ip_nonlocal_bind=1"},
		"refused, v6 off":  {refused, "1", "0", "connect SOCKET: connection refused", "HAProxy does not run here: systemctl status haproxy" + cannot + "net.ipv6.ip_nonlocal_bind=1"},
		"refused, no IPv6": {refused, "1", "", "connect SOCKET: connection refused", "HAProxy does not run here: systemctl status haproxy"},
		"no socket, both": {socket, "0", "0", "connect SOCKET: no such file or directory",
			`HAProxy does not run here, or its configuration has no "stats socket SOCKET"` + cannot + "net.ipv4.ip_nonlocal_bind=1 and net.ipv6.ip_nonlocal_bind=1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := NewHAProxyProbe(tt.socket, "", 0).(*haproxyProbe)
			p.sysctl = func(name string) string {
				return map[string]string{"net.ipv4.ip_nonlocal_bind": tt.v4, "net.ipv6.ip_nonlocal_bind": tt.v6}[name]
			}
			got := probeIn(t, p, time.Second)
			want := Answer{Text: strings.ReplaceAll(tt.text, "SOCKET", tt.socket), Hint: strings.ReplaceAll(tt.hint, "SOCKET", tt.socket)}
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
	if v := sysctl("net.ipv4.ip_nonlocal_bind"); !regexp.MustCompile(`^[01]$`).MatchString(v) {
		t.Errorf("the kernel's setting reads %q", v)
	}
}

// What hangs for long has its queue full of the runs before.
func TestHAProxy_Full(t *testing.T) {
	socket := filepath.Join(trial.ShortDir(t), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, err := range []error{unix.Bind(fd, &unix.SockaddrUnix{Name: socket}), unix.Listen(fd, 0)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p := NewHAProxyProbe(socket, "", 0)
	probeIn(t, p, 100*time.Millisecond)
	want := Answer{Text: "connect " + socket + ": resource temporarily unavailable", Hint: "its queue of connections is full: the service hangs"}
	if got := probeIn(t, p, time.Second); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestHAProxy_NotAllowed(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root, and CI must run it as root")
		}
		t.Skip("needs root")
	}
	socket := fakeHAProxy(t, reply{info: wellInfo})
	for _, err := range []error{os.Chmod(filepath.Dir(socket), 0o755), os.Chmod(socket, 0o660), os.Chown(socket, 0, 3)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	answer := make(chan Answer)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread, which is nobody now, ends
		_ = unix.Setfsuid(65534)
		answer <- probeIn(t, NewHAProxyProbe(socket, "", 0), time.Second)
	}()
	want := Answer{
		Text: "connect " + socket + ": permission denied",
		Hint: "the socket is for its owner and group sys (-rw-rw----): baton must be in that group: SupplementaryGroups=sys in its unit",
	}
	if got := <-answer; got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A probe ends when it is told to, not only at its deadline.
func TestHAProxy_Cancelled(t *testing.T) {
	socket := fakeHAProxy(t, reply{hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	time.AfterFunc(50*time.Millisecond, cancel)
	ended := make(chan Answer)
	go func() { ended <- NewHAProxyProbe(socket, "", 0).Probe(ctx) }()
	select {
	case a := <-ended:
		if a.OK {
			t.Error(a)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the probe does not end")
	}
}
