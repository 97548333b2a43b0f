package health

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// worker is the test's own binary as a process that connects, with TestWorker.
const worker = "BATON_TEST_WORKER"

func TestWorker(t *testing.T) {
	to := os.Getenv(worker)
	if to == "" {
		return
	}
	if to != "nothing" {
		conn, err := net.Dial("tcp", to)
		must(t, err)
		defer conn.Close()
	}
	fmt.Println("connected")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// startWorker runs a program of that name, connected to an address.
func startWorker(t *testing.T, name, to string, flags uintptr) int {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestWorker$")
	cmd.Args[0] = name
	cmd.Env = append(os.Environ(), worker+"="+to)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	_, err = stdout.Read(make([]byte, 64))
	must(t, err)
	return cmd.Process.Pid
}

func TestConnection(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	runtime.LockOSThread() // the thread's death is the parent's
	defer runtime.UnlockOSThread()
	sink := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	fakeAt(t, "tcp", "127.0.0.1:5672", sink)
	fakeAt(t, "tcp", "[::1]:5671", sink)
	fakeAt(t, "tcp", "127.0.0.1:3306", sink)
	// A name of their own: all processes of the host are looked at.
	own := func(name string) string { return fmt.Sprintf("nova-%s-%d", name, os.Getpid()) }
	four := startWorker(t, own("scheduler"), "127.0.0.1:5672", 0)
	six := startWorker(t, own("conductor"), "[::1]:5671", 0)
	mapped := startWorker(t, own("mapped"), "[::ffff:127.0.0.1]:5672", 0)
	startWorker(t, own("database"), "127.0.0.1:3306", 0)
	idle := startWorker(t, own("idle"), "nothing", 0)
	one, two := startWorker(t, own("twice"), "nothing", 0), startWorker(t, own("twice"), "127.0.0.1:5672", 0)
	amqp := []int{5672, 5671}
	const lost = "it runs but has lost its server: is that reachable from here?"
	tests := map[string]struct {
		processes Processes
		want      Answer
	}{
		"IPv4":         {Processes{Name: own("scheduler"), Ports: amqp}, Answer{OK: true, Text: fmt.Sprintf(own("scheduler")+" (pid %d) is connected to 127.0.0.1:5672", four)}},
		"IPv6":         {Processes{Name: own("conductor"), Ports: amqp}, Answer{OK: true, Text: fmt.Sprintf(own("conductor")+" (pid %d) is connected to [::1]:5671", six)}},
		"mapped":       {Processes{Name: own("mapped"), Ports: amqp}, Answer{OK: true, Text: fmt.Sprintf(own("mapped")+" (pid %d) is connected to 127.0.0.1:5672", mapped)}},
		"one of them":  {Processes{Name: own("twice"), Ports: amqp}, Answer{OK: true, Text: fmt.Sprintf(own("twice")+" (pid %d) is connected to 127.0.0.1:5672", two)}},
		"none of them": {Processes{Name: own("twice"), Ports: []int{5671}}, Answer{Text: fmt.Sprintf(own("twice")+" (pids %d, %d) has no connection to port 5671", one, two), Hint: lost}},
		"another port": {Processes{Name: own("idle"), Ports: amqp}, Answer{Text: fmt.Sprintf(own("idle")+" (pid %d) has no connection to port 5672 or 5671", idle), Hint: lost}},
		"does not run": {Processes{Name: own("none"), Ports: amqp}, Answer{Text: own("none") + " does not run"}},
		"no PID file":  {Processes{PIDFile: "/nonexistent", Ports: amqp}, Answer{Text: "read the pid file: stat /nonexistent: no such file or directory", Hint: "pid_file must name a file that the process writes its pid to"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := NewConnectionProbe(NewProcessTable(), tt.processes)
			for range 2 { // the second time it looks at that process first
				if got := probeIn(t, p, time.Hour); got != tt.want {
					t.Errorf("got  %+v\nwant %+v", got, tt.want)
				}
			}
		})
	}
}

// A listening, or a closing, socket is no connection; nor is one that came in at
// the port.
func TestConnection_Others(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:5672")
	must(t, err)
	defer l.Close()
	p := NewConnectionProbe(NewProcessTable(), Processes{PIDFile: pidFile(t, os.Getpid()), Ports: []int{5672}})
	expect := func(ok bool) {
		t.Helper()
		if a := probeIn(t, p, time.Hour); a.OK != ok {
			t.Error(a)
		}
	}
	expect(false)
	out, err := net.Dial("tcp", "127.0.0.1:5672")
	must(t, err)
	in, err := l.Accept()
	must(t, err)
	expect(true)
	must(t, in.Close()) // the other end is left in CLOSE-WAIT
	eventually(t, "the connection is none any more", func() bool { return !probeIn(t, p, time.Hour).OK })
	out.Close()
}

func pidFile(t *testing.T, pid int) string {
	name := t.TempDir() + "/pid"
	must(t, os.WriteFile(name, fmt.Appendln(nil, pid), 0o600))
	return name
}

// A process in a network of its own, as in a container, is looked at there.
func TestConnection_Container(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	runtime.LockOSThread() // the thread's death is the parent's
	defer runtime.UnlockOSThread()
	b := newPeer(t, "eth0")
	fake(t, b.listen(t, "127.0.0.1:5672"), func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	fake(t, b.listen(t, "[::1]:5671"), func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	var four, six int
	b.do(t, func() {
		four = startWorker(t, "four", "127.0.0.1:5672", 0)
		six = startWorker(t, "six", "[::1]:5671", 0)
	})
	for _, tt := range []struct {
		pid, port int
		to        string
	}{{four, 5672, "127.0.0.1:5672"}, {six, 5671, "[::1]:5671"}, {six, 5672, ""}, {four, 5671, ""}} {
		p := Processes{PIDFile: pidFile(t, tt.pid), Ports: []int{tt.port}}
		a := probeIn(t, NewConnectionProbe(NewProcessTable(), p), time.Hour)
		if want := fmt.Sprintf("the process of %s (pid %d) is connected to %s", p.PIDFile, tt.pid, tt.to); a.OK != (tt.to != "") || a.OK && a.Text != want {
			t.Errorf("got %v, want %s", a, want)
		}
	}
}

func TestConnection_NotAllowed(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	runtime.LockOSThread() // the thread's death is the parent's
	defer runtime.UnlockOSThread()
	fakeAt(t, "tcp", "127.0.0.1:5672", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	name := fmt.Sprintf("nova-scheduler-%d", os.Getpid())
	pid := startWorker(t, name, "127.0.0.1:5672", 0)
	answer := make(chan Answer)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread, which may do nothing now, ends
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&header, &make([]unix.CapUserData, 2)[0]); err != nil {
			t.Error(err)
		}
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
		}
		answer <- NewConnectionProbe(NewProcessTable(), Processes{Name: name, Ports: []int{5672}}).Probe(context.Background())
	}()
	want := Answer{Text: fmt.Sprintf("look at the sockets of process %d: permission denied", pid), Hint: mayLook}
	if got := <-answer; got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseConnection(t *testing.T) {
	tests := map[string]struct {
		line   string
		inode  uint64
		remote netip.AddrPort
		ok     bool
	}{
		"head":        {line: "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"},
		"IPv4":        {"   0: 0100007F:8D3A 0201A8C0:1628 01 00000000:00000000 02:000A 00000000  1000        0 41822 2 0000000000000000 20 4 30 10 -1", 41822, netip.MustParseAddrPort("192.168.1.2:5672"), true},
		"listens":     {line: "   0: 0100007F:1628 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 41822 1 0000000000000000 100 0 0 10 0"},
		"IPv6":        {"   1: 00000000000000000000000001000000:D431 B80D0120000000000000000002000000:1628 01 00000000:00000000 00:00000000 00000000     0        0 52001 1 0 20 4 30 10 -1", 52001, netip.MustParseAddrPort("[2001:db8::2]:5672"), true},
		"IPv4 mapped": {"   1: 0000000000000000FFFF00000100007F:D431 0000000000000000FFFF00000100007F:1628 01 0:0 00:0 0     0        0 52001 1 0 20 4 30 10 -1", 52001, netip.MustParseAddrPort("127.0.0.1:5672"), true},
		"cut":         {line: "   0: 0100007F:8D3A 0201A8C0:1628 01"},
		"no address":  {line: "   0: 0100007F:8D3A x:1628 01 a b c d e 1"},
		"odd length":  {line: "   0: 0100007F:8D3A 0100:1628 01 a b c d e 1"},
		"no port":     {line: "   0: 0100007F:8D3A 0201A8C0 01 a b c d e 1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inode, remote, ok := parseConnection([]byte(tt.line))
			if ok != tt.ok || ok && (inode != tt.inode || remote != tt.remote) {
				t.Errorf("got %v %v %v", inode, remote, ok)
			}
		})
	}
	if _, _, ok := parseDiag([]byte(strings.Repeat("x", 71))); ok {
		t.Error("a cut message is read")
	}
}
