package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/tlsclient"
	"baton/internal/trial"
)

// connectionStart is how RabbitMQ greets (AMQP 0-9-1: a method frame, class 10,
// method 10, version 0-9).
var connectionStart = "\x01\x00\x00\x00\x00\x00\x10\x00\x0a\x00\x0a\x00\x09\x00\x00\x01\xc6\x0ccapabilities\xce"

// fakeServer answers what it hears by a table; what is not in it ends the talk.
func fakeServer(greeting string, answers map[string]string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, greeting)
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			answer, ok := answers[string(buf[:n])]
			if err != nil || !ok {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

// A reply may come in parts, wherever the network cuts it.
func TestListen_Parts(t *testing.T) {
	const reply, expect = "# Replication\r\nrole:mamaster\r\n", "master"
	for cut := 1; cut < len(reply); cut++ {
		here, there := net.Pipe() // what is written is one read, or some
		go func() {
			for _, part := range []string{reply[:cut], reply[cut:]} {
				_, _ = io.WriteString(there, part)
			}
			there.Close()
		}()
		heard, end, err := listen(here, nil, expect)
		if err != nil || end < 0 || string(heard[:end]) != "# Replication\r\nrole:mamaster" {
			t.Errorf("cut at %d: heard %q up to %d, %v", cut, heard, end, err)
		}
		here.Close()
	}
}

func TestDialogue(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	socket := filepath.Join(trial.ShortDir(t), "s")
	fakeAt(t, "unix", socket, fakeServer("", map[string]string{"PING\r\n": "+PONG\r\n"}))
	fakeAt(t, "tcp", "127.0.0.1:6379", fakeServer("", map[string]string{
		"AUTH secret\r\n": "+OK\r\n", "AUTH wrong\r\n": "-WRONGPASS invalid password\r\n", "PING\r\n": "+PONG\r\n",
		"INFO replication\r\n": "$60\r\n# Replication\r\nrole:master\r\nconnected_slaves:2\r\n", "PING": "", "ROLE\r\n": "*3\r\n$6\r\nmaster\r\n"}))
	fakeAt(t, "tcp", "127.0.0.1:11211", fakeServer("", map[string]string{"version\r\n": "VERSION 1.6.38\r\n"}))
	fakeAt(t, "tcp", "127.0.0.1:5672", fakeServer("", map[string]string{"AMQP\x00\x00\x09\x01": connectionStart, "AMQP\x00\x01\x00\x00": "AMQP\x00\x00\x09\x01"}))
	fakeAt(t, "tcp", "127.0.0.1:25", fakeServer("220 mx ESMTP\r\n250 ready\r\n", nil))
	fakeAt(t, "tcp", "127.0.0.1:26", func(c net.Conn) { // says no end
		for {
			if _, err := c.Write(bytes.Repeat([]byte("x\n"), 2048)); err != nil {
				return
			}
		}
	})
	fakeAt(t, "tcp", "127.0.0.1:27", func(c net.Conn) { // resets
		_ = c.(*net.TCPConn).SetLinger(0)
		_, _ = io.WriteString(c, "bye")
		_, _ = c.Read(make([]byte, 1))
	})
	const hangs, overloaded = " took the connection but does not answer", "the service hangs, or its host is overloaded"
	tests := map[string]struct {
		address string
		steps   []Step
		want    Answer
	}{
		"connect":      {"127.0.0.1:6379", nil, Answer{OK: true, Text: "connected to 127.0.0.1:6379"}},
		"redis":        {"127.0.0.1:6379", []Step{{"PING\r\n", "+PONG"}}, Answer{OK: true, Text: `127.0.0.1:6379 answers "+PONG"`}},
		"redis login":  {"127.0.0.1:6379", []Step{{"AUTH secret\r\n", "+OK\r\n"}, {"PING\r\n", "+PONG"}}, Answer{OK: true, Text: `127.0.0.1:6379 answers "+PONG"`}},
		"redis role":   {"127.0.0.1:6379", []Step{{"INFO replication\r\n", "role:master"}}, Answer{OK: true, Text: `127.0.0.1:6379 answers "role:master"`}},
		"wrong login":  {"127.0.0.1:6379", []Step{{"AUTH wrong\r\n", "+OK"}, {"PING\r\n", "+PONG"}}, Answer{Text: `127.0.0.1:6379 answers in step 1 "-WRONGPASS invalid password", not "+OK"`}},
		"wrong answer": {"127.0.0.1:6379", []Step{{"PING\r\n", "+PING"}}, Answer{Text: `127.0.0.1:6379 answers "+PONG", not "+PING"`}},
		"no line end":  {"127.0.0.1:6379", []Step{{"PING", "+PONG"}}, Answer{Text: "127.0.0.1:6379" + hangs, Hint: overloaded}},
		"no second": {"127.0.0.1:6379", []Step{{"PING\r\n", "+PONG\r\n"}, {"PING", "+PONG"}}, Answer{
			Text: "127.0.0.1:6379 does not answer in step 2", Hint: `the service hangs, or waits for more: does what is sent end as it should, with \r\n?`}},
		"said before": {"127.0.0.1:6379", []Step{{"ROLE\r\n", "*3"}, {"PING\r\n", "master"}}, Answer{Text: `127.0.0.1:6379 answers in step 2 "+PONG", not "master"`}},
		"send only":   {"127.0.0.1:6379", []Step{{"PING\r\n", ""}}, Answer{OK: true, Text: "connected to 127.0.0.1:6379"}},
		"memcached":   {"127.0.0.1:11211", []Step{{"version\r\n", "VERSION "}}, Answer{OK: true, Text: `127.0.0.1:11211 answers "VERSION 1.6.38"`}},
		"closes":      {"127.0.0.1:11211", []Step{{"quit\r\n", "x"}}, Answer{Text: "127.0.0.1:11211 closed the connection without an answer"}},
		"AMQP": {"127.0.0.1:5672", []Step{{"AMQP\x00\x00\x09\x01", "\x00\x0a\x00\x0a"}}, Answer{OK: true,
			Text: `127.0.0.1:5672 answers "\x01\x00\x00\x00\x00\x00\x10\x00"`}},
		"other AMQP": {"127.0.0.1:5672", []Step{{"AMQP\x00\x01\x00\x00", "\x00\x0a\x00\x0a"}}, Answer{
			Text: `127.0.0.1:5672 answers "AMQP\x00\x00\t\x01", not "\x00\n\x00\n"`}},
		"listen twice": {"127.0.0.1:25", []Step{{"", "220"}, {"", "250"}}, Answer{OK: true, Text: `127.0.0.1:25 answers "250 ready"`}},
		"says no end":  {"127.0.0.1:26", []Step{{"", "y"}}, Answer{Text: `127.0.0.1:26 answers with more than 64 KiB without "y": "x"`}},
		"resets":       {"127.0.0.1:27", []Step{{"x", "z"}}, Answer{Text: `127.0.0.1:27: connection reset by peer, after "bye"`}},
		"refused":      {"127.0.0.1:9", nil, Answer{Text: "connect 127.0.0.1:9: connection refused", Hint: "nothing listens there: does the service run, and on this address?"}},
		"IPv6":         {"[::1]:9", nil, Answer{Text: "connect [::1]:9: connection refused", Hint: "nothing listens there: does the service run, and on this address?"}},
		"a name":       {"localhost:6379", nil, Answer{OK: true, Text: "connected to localhost:6379"}},
		"socket":       {socket, []Step{{"PING\r\n", "+PONG"}}, Answer{OK: true, Text: socket + ` answers "+PONG"`}},
		"no socket":    {socket + "x", nil, Answer{Text: "connect " + socket + "x: no such file or directory", Hint: "the service does not run, or has its socket elsewhere"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			network, within := "tcp", time.Hour
			if strings.HasPrefix(tt.address, "/") {
				network = "unix"
			}
			if strings.Contains(tt.want.Text, ", not ") || strings.Contains(tt.want.Text, "does not answer") {
				within = 300 * time.Millisecond // it waits for more
			}
			p, err := NewDialogueProbe(Dialogue{Network: network, Address: tt.address, Steps: tt.steps})
			if got := probeIn(t, probeMust(t, p, err), within); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestDialogue_Wrong(t *testing.T) {
	tests := map[string]struct {
		dialogue Dialogue
		want     string
	}{
		"network": {Dialogue{Network: "udp", Address: "h:1"}, `network "udp" is neither tcp nor unix`},
		"no port": {Dialogue{Network: "tcp", Address: "h"}, "address h: address h: missing port in address"},
		"port 0":  {Dialogue{Network: "tcp", Address: "h:0"}, "address h:0: a port is 1 to 65535"},
		"a name":  {Dialogue{Network: "tcp", Address: "h:redis"}, "address h:redis: a port is 1 to 65535"},
		"TLS":     {Dialogue{Network: "unix", Address: "/s", TLS: tlsclient.Options{Use: true}}, "server_name is missing: a socket's path is in no certificate"},
		"well":    {Dialogue{Network: "unix", Address: "/s", TLS: tlsclient.Options{Use: true, SkipVerify: true}}, "<nil>"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := NewDialogueProbe(tt.dialogue); fmt.Sprint(err) != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// The frames that are expected are those of a real server.
func TestDialogue_Frames(t *testing.T) {
	if kind, class, method := connectionStart[0], binary.BigEndian.Uint16([]byte(connectionStart[7:])), binary.BigEndian.Uint16([]byte(connectionStart[9:])); kind != 1 || class != 10 || method != 10 {
		t.Error(kind, class, method)
	}
}

func TestDialogue_RealServers(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	start := func(name string, args ...string) {
		path, err := exec.LookPath(name)
		if err != nil && os.Getenv("CI") == "" {
			t.Skipf("%s is not installed", name)
		}
		must(t, err)
		cmd := exec.Command(path, args...)
		cmd.Dir = t.TempDir()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		must(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
	runtime.LockOSThread() // the thread's death is the parent's
	defer runtime.UnlockOSThread()
	start("redis-server", "--bind", "127.0.0.1", "--save", "", "--requirepass", "secret")
	start("memcached", "-u", "root", "-l", "127.0.0.1")
	expect := func(address string, ok bool, text string, steps ...Step) {
		t.Helper()
		p, err := NewDialogueProbe(Dialogue{Network: "tcp", Address: address, Steps: steps})
		probeMust(t, p, err)
		var a Answer
		eventually(t, address+" answers", func() bool {
			a = probeIn(t, p, 500*time.Millisecond)
			return !strings.HasPrefix(a.Text, "connect ")
		})
		if a.OK != ok || !strings.HasPrefix(a.Text, text) {
			t.Errorf("got %v, want %v %q", a, ok, text)
		}
	}
	expect("127.0.0.1:6379", false, `127.0.0.1:6379 answers "-NOAUTH`, Step{"PING\r\n", "+PONG"})
	expect("127.0.0.1:6379", true, `127.0.0.1:6379 answers "+PONG"`, Step{"AUTH secret\r\n", "+OK"}, Step{"PING\r\n", "+PONG"})
	expect("127.0.0.1:6379", true, `127.0.0.1:6379 answers "role:master"`, Step{"AUTH secret\r\n", "+OK"}, Step{"INFO replication\r\n", "role:master"})
	expect("127.0.0.1:11211", true, `127.0.0.1:11211 answers "VERSION 1.`, Step{"version\r\n", "VERSION "})
}

func TestDialogue_NotAllowed(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root, and CI must run it as root")
		}
		t.Skip("needs root")
	}
	socket := filepath.Join(trial.ShortDir(t), "s")
	fakeAt(t, "unix", socket, fakeServer("", nil))
	must(t, os.Chmod(filepath.Dir(socket), 0o755))
	must(t, os.Chmod(socket, 0o660))
	must(t, os.Chown(socket, 0, 3))
	p, err := NewDialogueProbe(Dialogue{Network: "unix", Address: socket})
	probeMust(t, p, err)
	ask := func() Answer {
		answer := make(chan Answer)
		go func() {
			runtime.LockOSThread() // not unlocked: the thread, which is nobody now, ends
			_ = unix.Setfsuid(65534)
			answer <- probeIn(t, p, time.Second)
		}()
		return <-answer
	}
	want := Answer{
		Text: "connect " + socket + ": permission denied",
		Hint: "the socket is for its owner and group sys (-rw-rw----): baton must be in that group: SupplementaryGroups=sys in its unit",
	}
	if got := ask(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	must(t, os.Chmod(filepath.Dir(socket), 0o700))
	want.Hint = "baton may not enter the folder of the socket: SupplementaryGroups=GROUP in its unit, with the folder's group"
	if got := ask(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A probe ends when it is told to, not only at its deadline.
func TestProbes_Cancelled(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	fakeAt(t, "tcp", "127.0.0.1:80", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	newPeer(t, "eth0").swallow(t, "eth0", "10.0.0.2")
	address(t, "eth0", "10.0.0.1/24")
	http, err := NewHTTPProbe(HTTP{URL: "http://127.0.0.1/", Statuses: ok200})
	must(t, err)
	dialogue, err := NewDialogueProbe(Dialogue{Network: "tcp", Address: "127.0.0.1:80", Steps: []Step{{"x", "y"}}})
	must(t, err)
	connect, err := NewDialogueProbe(Dialogue{Network: "tcp", Address: "10.0.0.2:80"})
	must(t, err)
	secure, err := NewHTTPProbe(HTTP{URL: "https://127.0.0.1:80/", Statuses: ok200})
	must(t, err)
	for name, p := range map[string]Probe{
		"http": http, "dialogue": dialogue, "connect": connect, "TLS": secure,
		"ping":   NewPingProbe(Ping{Address: addr("10.0.0.2")}),
		"quorum": NewQuorumProbe(Quorum{Nodes: []QuorumNode{{"b", addr("10.0.0.2")}}, Port: 80}),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			time.AfterFunc(50*time.Millisecond, cancel)
			ended := make(chan Answer)
			go func() { ended <- p.Probe(ctx) }()
			select {
			case a := <-ended:
				if a.OK {
					t.Error(a)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the probe does not end")
			}
		})
	}
}
