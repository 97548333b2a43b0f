package test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/command"
	"baton/internal/lab"
	"baton/internal/runner"
	"baton/test/site"
)

// daemonUser is whom the daemons here are; nobody has that number.
const daemonUser = "4711"

// needUsers skips a test where this process cannot become other users.
func needUsers(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/uid_map")
	must(t, err)
	if f := strings.Fields(string(text)); os.Geteuid() == 0 && len(f) == 3 && f[2] != "1" {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("needs root and all users, and CI must run it so")
	}
	t.Skip("needs root and all users")
}

// told is a script that writes down who runs it, and with which words.
const toldScript = "#!/bin/sh\necho \"$(id -u) $* $BATON_STATE\" >>/run/told\n"

// dropped is a pair in which commands have three users, and a check asks what only root can see.
func dropped() site.Config {
	c := site.Pair(interval, site.Addresses(1, false)...)
	c.Checks = []site.Check{
		{Name: "own", Keys: "type: command, command: /run/is " + daemonUser, Interval: 500 * time.Millisecond, Rise: 1, Fall: 1},
		{Name: "other", Keys: "type: command, command: /run/is 65534, user: nobody", Interval: 500 * time.Millisecond, Rise: 1, Fall: 1},
		{Name: "see", Keys: "type: process, executable: /run/sleep", Interval: 500 * time.Millisecond, Rise: 1, Fall: 1},
	}
	c.Routers[0].Track = []site.Effect{{Check: "own"}, {Check: "other"}, {Check: "see"}}
	c.Routers[0].Notify = "{master: {command: '/run/tell hook', user: nobody}, backup: /run/tell root-hook}"
	c.Routers[0].More = "services: [{name: job, command: {start: '/run/tell start', stop: '/run/tell stop'}}, addresses]\npromote_after: 0s\n"
	return c
}

// prepared puts what the daemon of a host needs where root alone can write and all can read.
func prepared(t *testing.T, s *site.Site, name string, c site.Config) *site.Node {
	t.Helper()
	n := add(t, s, name, site.Baton, c)
	put := func(path, text string, mode os.FileMode) {
		path = n.Host.Path(path)
		must(t, os.WriteFile(path, []byte(text), mode))
		must(t, os.Chmod(path, mode))
	}
	binary, err := os.ReadFile(batonBinary)
	must(t, err)
	put("/run/baton", string(binary), 0o755)
	sleep, err := exec.LookPath("sleep")
	must(t, err)
	binary, err = os.ReadFile(sleep)
	must(t, err)
	put("/run/sleep", string(binary), 0o755)
	_, err = n.Host.Start([]string{"/run/sleep", "1000"}, lab.StartOptions{})
	must(t, err)
	config, err := os.ReadFile(filepath.Join(n.Dir, "baton.yaml"))
	must(t, err)
	put("/run/baton.yaml", string(config), 0o644)
	put("/run/tell", toldScript, 0o755)
	put("/run/told", "", 0o666)
	put("/run/is", "#!/bin/sh\n[ \"$(id -u)\" = \"$1\" ]\n", 0o755)
	return n
}

// start starts a daemon as words say, with more for the command.
func start(t *testing.T, n *site.Node, before, after []string) {
	t.Helper()
	run := []string{"/run/baton", "run", "-c", "/run/baton.yaml", "--node", n.Name, "--runtime-dir", "/run/b"}
	var err error
	n.Process, err = n.Host.Start(slices.Concat(before, run, after), lab.StartOptions{Dir: "/"})
	must(t, err)
}

// startAsUser starts a daemon as an ordinary user with two capabilities, as a unit or a container does.
func startAsUser(t *testing.T, n *site.Node, more ...string) {
	t.Helper()
	must(t, os.Mkdir(n.Host.Path("/run/b"), 0o755))
	must(t, os.Chown(n.Host.Path("/run/b"), 4711, 4711))
	start(t, n, []string{
		"setpriv", "--reuid=" + daemonUser, "--regid=" + daemonUser, "--clear-groups", "--no-new-privs",
		"--bounding-set=-all,+net_admin,+net_raw", "--inh-caps=-all,+net_admin,+net_raw", "--ambient-caps=-all,+net_admin,+net_raw",
	}, more)
}

// startRunner starts a runner for such a daemon.
func startRunner(t *testing.T, n *site.Node) *lab.Process {
	t.Helper()
	p, err := n.Host.Start([]string{"/run/baton", "runner", "-c", "/run/baton.yaml", "--node", n.Name, "--user", daemonUser, "--socket", "/run/runner.sock"}, lab.StartOptions{Dir: "/"})
	must(t, err)
	_, _, err = p.WaitLine(0, patience, func(line string) bool { return strings.Contains(line, "the runner starts") })
	must(t, err)
	return p
}

// activateRunner has one started by the first who connects, as systemd does.
func activateRunner(t *testing.T, n *site.Node) {
	t.Helper()
	need(t, "systemd-socket-activate")
	_, err := n.Host.Start([]string{
		"systemd-socket-activate", "-l", "/run/runner.sock",
		"/run/baton", "runner", "-c", "/run/baton.yaml", "--node", n.Name, "--user", daemonUser,
	}, lab.StartOptions{Dir: "/"})
	must(t, err)
	for deadline := time.Now().Add(patience); os.Chmod(n.Host.Path("/run/runner.sock"), 0o666) != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("there is no socket")
		}
	}
}

// heard waits for a line that /run/tell has written.
func heard(t *testing.T, n *site.Node, line string) {
	t.Helper()
	var text []byte
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text, _ = os.ReadFile(n.Host.Path("/run/told"))
		if slices.Contains(strings.Split(string(text), "\n"), line) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q is missing on %s:\n%s", line, n.Name, text)
		}
	}
}

// confined checks what each thread of a daemon may do.
func confined(t *testing.T, pid int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	must(t, err)
	if len(tasks) < 2 {
		t.Fatalf("%d threads", len(tasks))
	}
	want := map[string]string{
		"Uid": strings.Join([]string{daemonUser, daemonUser, daemonUser, daemonUser}, " "), "Groups": "",
		"CapPrm": "0000000000003000", "CapEff": "0000000000003000", "CapBnd": "0000000000003000", "CapAmb": "0000000000000000", "NoNewPrivs": "1",
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			if w, ok := want[name]; ok && strings.Join(strings.Fields(value), " ") != w {
				t.Errorf("%s: %s is %q, want %q", task, name, strings.TrimSpace(value), w)
			}
		}
	}
}

func children(t *testing.T, pid int) (list []int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	must(t, err)
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for _, f := range strings.Fields(string(text)) {
			n, err := strconv.Atoi(f)
			must(t, err)
			list = append(list, n)
		}
	}
	return list
}

// runnerOf is the PID of the runner that a daemon has started.
func runnerOf(t *testing.T, pid int) int {
	t.Helper()
	for _, child := range children(t, pid) {
		if text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child)); strings.Contains(string(text), "\x00runner\x00") {
			return child
		}
	}
	t.Fatalf("process %d has no runner", pid)
	return 0
}

// A daemon that root starts with --user has a runner of its own, and two capabilities. All that it does goes on, each
// command as its user, and the runner ends with it.
func TestUser(t *testing.T) {
	needUsers(t)
	t.Parallel()
	s := newSite(t)
	c := dropped()
	a, b := prepared(t, s, "a", c), prepared(t, s, "b", c)
	for _, n := range []*site.Node{a, b} {
		start(t, n, nil, []string{"--user", daemonUser})
		if n == a {
			must(t, s.Holders.Await("a", patience, addresses(c.Routers[0].Addresses)...))
		}
	}
	settled(t, s, "a", c)
	confined(t, a.Process.PID)
	if attr, err := unix.SchedGetAttr(a.Process.PID, 0); err != nil || attr.Policy != unix.SCHED_RR {
		t.Errorf("it has scheduling policy %v, %v", attr, err)
	}
	if attr, err := unix.SchedGetAttr(runnerOf(t, a.Process.PID), 0); err != nil || attr.Policy != unix.SCHED_NORMAL {
		t.Errorf("its runner has scheduling policy %v, %v", attr, err)
	}
	heard(t, a, "0 start MASTER")
	heard(t, a, "65534 hook MASTER")
	heard(t, b, "0 root-hook BACKUP")
	of := map[*site.Node]int{a: runnerOf(t, a.Process.PID), b: runnerOf(t, b.Process.PID)}
	// Its successor in the same process has the same runner, and no more rights.
	_, err := a.Host.Run(patience, "/run/baton", "upgrade", "--runtime-dir", "/run/b")
	must(t, err)
	settled(t, s, "a", c)
	confined(t, a.Process.PID)
	if got := runnerOf(t, a.Process.PID); got != of[a] {
		t.Errorf("it has runner %d after the upgrade, and had %d", got, of[a])
	}
	must(t, a.Stop())
	settled(t, s, "b", c)
	heard(t, a, "0 stop STOP")
	heard(t, b, "65534 hook MASTER")
	must(t, b.Process.Signal(syscall.SIGKILL))
	for n, pid := range of {
		for deadline := time.Now().Add(patience); unix.Kill(pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the runner of %s outlives it", n.Name)
			}
		}
	}
}

// The same with a runner that is a unit of its own: it is killed, it hangs, and it is back, and the daemon never waits.
func TestRunnerUnit(t *testing.T) {
	needUsers(t)
	t.Parallel()
	s := newSite(t)
	c := dropped()
	c.Routers[0].NoPreempt = true
	a, b := prepared(t, s, "a", c), prepared(t, s, "b", c)
	r := startRunner(t, a)
	activateRunner(t, b)
	unit := []string{"--runner", "/run/runner.sock"}
	startAsUser(t, a, unit...)
	must(t, s.Holders.Await("a", patience, addresses(c.Routers[0].Addresses)...))
	startAsUser(t, b, unit...)
	settled(t, s, "a", c)
	confined(t, a.Process.PID)
	heard(t, a, "0 start MASTER")
	heard(t, a, "65534 hook MASTER")

	// What does not stand in the configuration is not done, also for root.
	client := runner.NewClient(a.Host.Path("/run/runner.sock"), "", slog.New(slog.DiscardHandler))
	defer client.Close()
	run := func(user string, argv ...string) string {
		s := command.Spec{Argv: argv, Timeout: 5 * time.Second}
		if user != "" {
			s.User = &command.User{Name: user}
		}
		return client.Run(t.Context(), s).String()
	}
	if got := run("nobody", "/run/is", "65534"); got != "exit 0" {
		t.Errorf("what stands there: %s", got)
	}
	for _, got := range []string{run("", "/run/is", "65534"), run("nobody", "/run/is", "0"), run("", "/bin/sh", "-c", "id"), run("", "/run/tell", "restart")} {
		if !strings.Contains(got, "the runner refuses it") {
			t.Errorf("what does not: %s", got)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := client.Reboot(ctx); err == nil || !strings.Contains(err.Error(), "refuses") {
		t.Errorf("reboot: %v", err)
	}
	// Others get nothing, even where they can connect.
	must(t, os.Chmod(a.Host.Path("/run/runner.sock"), 0o666))
	out, err := a.Host.Run(patience, "setpriv", "--reuid=4712", "--clear-groups", "socat", "-T1", "-u", "UNIX-CONNECT:/run/runner.sock", "-")
	must(t, err)
	if !strings.Contains(out, "is neither root nor baton's user") {
		t.Errorf("another user hears %q", out)
	}

	// It is killed: the checks that it runs fail, and the others do not.
	from := time.Now()
	must(t, r.Signal(syscall.SIGKILL))
	change, err := a.AwaitRole("web", "FAULT", from, patience)
	must(t, err)
	if !strings.Contains(change.Reason, "other") || strings.Contains(change.Reason, "own") {
		t.Errorf("reason: %s", change.Reason)
	}
	settled(t, s, "b", c)
	r = startRunner(t, a)
	_, err = a.AwaitRole("web", "BACKUP", change.At, patience)
	must(t, err)
	heard(t, a, "0 root-hook BACKUP")

	// It hangs: so do its requests, each within its limit, and nothing else. On b it has started the services, and cannot
	// stop them; the address goes all the same.
	from = time.Now()
	must(t, r.Signal(syscall.SIGSTOP))
	_, err = a.AwaitRole("web", "FAULT", from, patience)
	must(t, err)
	var said string
	for deadline := time.Now().Add(patience); !strings.Contains(said, "the runner does not answer"); time.Sleep(50 * time.Millisecond) {
		if said, _ = a.Host.Run(patience, "/run/baton", "status", "--runtime-dir", "/run/b"); time.Now().After(deadline) {
			t.Fatalf("status does not say that the runner hangs:\n%s", said)
		}
	}
	from = time.Now()
	must(t, r.Signal(syscall.SIGCONT))
	_, err = a.AwaitRole("web", "BACKUP", from, patience)
	must(t, err)
	must(t, b.Stop())
	settled(t, s, "a", c)
}

// In a container everything is one user, who has the two capabilities. Then there is no second process.
func TestOneUser(t *testing.T) {
	needUsers(t)
	t.Parallel()
	s := newSite(t)
	c := dropped()
	c.Checks = c.Checks[:1]
	c.Routers[0].Track = c.Routers[0].Track[:1]
	c.Routers[0].Notify = "{master: /run/tell hook, backup: {command: /run/tell other, user: nobody}}"
	a, b := prepared(t, s, "a", c), prepared(t, s, "b", c)
	for _, n := range []*site.Node{a, b} {
		startAsUser(t, n)
		if n == a {
			must(t, s.Holders.Await("a", patience, addresses(c.Routers[0].Addresses)...))
		}
	}
	settled(t, s, "a", c)
	confined(t, a.Process.PID)
	heard(t, a, "4711 start MASTER")
	heard(t, a, "4711 hook MASTER")
	_, _, err := b.Process.WaitLine(0, patience, func(line string) bool { return strings.Contains(line, "may not change users") })
	must(t, err)
	must(t, a.Stop())
	settled(t, s, "b", c)
	heard(t, b, "4711 hook MASTER")
}
