package test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A booted is a host whose first process is systemd, in namespaces of its own. What it starts has the sandbox that its
// unit says, filters of system calls included.
type booted struct {
	t     *testing.T
	dir   string // has etc and srv of that host
	first int    // PID of systemd here
	log   *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// boot makes such a host with the units of packaging and baton at /srv/baton, and removes it with the test.
func boot(t *testing.T, config string) *booted {
	t.Helper()
	b := &booted{t: t, dir: t.TempDir(), log: &lockedBuffer{}}
	must(t, os.Chmod(b.dir, 0o755))
	for _, name := range []string{"srv/units", "srv/dev"} {
		must(t, os.MkdirAll(filepath.Join(b.dir, name), 0o755))
	}
	b.here("cp", "-a", "/etc", filepath.Join(b.dir, "etc"))
	b.here("cp", batonBinary, filepath.Join(b.dir, "srv/baton"))
	must(t, os.CopyFS(filepath.Join(b.dir, "srv/units"), os.DirFS("testdata/systemd/units")))
	for _, name := range []string{"baton.service", "baton-release.service"} {
		unit, err := os.ReadFile(filepath.Join("../packaging", name))
		must(t, err)
		b.file("srv/units/"+name, strings.ReplaceAll(string(unit), "/usr/sbin/baton", "/srv/baton"))
	}
	// There is no journal. A file is as good, if it is not below what the sandbox hides.
	b.file("srv/units/baton.service.d/lab.conf", "[Service]\nStandardError=append:/srv/log\nEnvironment=BATON_NODE=lab\n")
	sysusers, err := os.ReadFile("../packaging/baton.sysusers")
	must(t, err)
	b.file("srv/baton.sysusers", string(sysusers))
	b.file("etc/baton/baton.yaml", config)

	// systemd needs a part of its hierarchy of cgroups to itself.
	group := "/sys/fs/cgroup"
	if _, err := os.Stat(group + "/systemd/cgroup.procs"); err == nil {
		group += "/systemd"
	}
	group = fmt.Sprintf("%s/baton-test-%d", group, os.Getpid())
	must(t, os.Mkdir(group, 0o755))
	cmd := exec.Command("sh", "-c", `echo $$ >"$0/cgroup.procs" && exec unshare --fork --kill-child --pid --mount --uts --ipc --net --cgroup testdata/systemd/boot "$1"`, group, b.dir)
	cmd.Stdout, cmd.Stderr = b.log, b.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		if t.Failed() {
			console, _ := os.ReadFile(filepath.Join(b.dir, "srv/console"))
			t.Logf("boot:\n%s\nsystemd:\n%s\nbaton:\n%s", b.log, console, b.said())
		}
		_ = cmd.Process.Kill() // unshare, with which all of the host ends
		_ = cmd.Wait()
		b.until("the host is gone", func() bool { return removeGroups(group) == nil })
	})
	b.until("systemd is up", func() bool {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil {
			return false
		}
		b.first, err = strconv.Atoi(strings.TrimSpace(string(children)))
		return err == nil && b.try("systemctl", "is-active", "basic.target") == "active"
	})
	return b
}

// removeGroups removes a cgroup and those in it.
func removeGroups(group string) error {
	var all []string
	err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	slices.Reverse(all)
	for _, g := range all {
		err = errors.Join(err, syscall.Rmdir(g))
	}
	return err
}

// here runs a command on this host.
func (b *booted) here(argv ...string) {
	b.t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// try runs a command in that host, at most 20 s, and returns what it says.
func (b *booted) try(argv ...string) string {
	in := append([]string{"20", "nsenter", "--target", strconv.Itoa(b.first), "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--"}, argv...)
	out, _ := exec.Command("timeout", in...).CombinedOutput() // the words tell
	return strings.TrimSpace(string(out))
}

// file writes a file of that host.
func (b *booted) file(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	must(b.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(b.t, os.WriteFile(path, []byte(text), 0o644))
}

// said is what baton has logged.
func (b *booted) said() string {
	text, _ := os.ReadFile(filepath.Join(b.dir, "srv/log")) // not there before it starts
	return string(text)
}

func (b *booted) until(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("it is never so that %s", what)
		}
	}
}

// property is one of baton.service, as systemd has it.
func (b *booted) property(name string) string {
	return b.try("systemctl", "show", "--value", "-p", name, "baton.service")
}

const unitConfig = `
nodes: {lab: 10.77.0.1, other: 10.77.0.2}
checks:
  command: {type: command, command: /srv/check, interval: 200ms}
  ping:    {type: ping, address: 10.77.0.1, interval: 200ms}
  process: {type: process, process: systemd, interval: 200ms}
  file:    {type: file, path: /srv/check, want: present, interval: 200ms}
  nobody:  {type: tcp, address: 10.77.0.1:81, interval: 200ms}
virtual_routers:
  web:
    interface: eth0
    vrid: 51
    prefer: lab
    advertisement_interval: 300ms
    addresses: [10.77.0.100/24]
    track: {command: fault, ping: fault, process: fault, file: fault, nobody: report}
    notify: {any: /srv/hook}
  mac:
    interface: eth0
    vrid: 52
    prefer: lab
    advertisement_interval: 300ms
    virtual_mac: {name: vmac}
    addresses: ["fe80::52/64", "fd77::100/64"]
`

// The unit of the package under a systemd that is the first process: baton works within its sandbox, has the rights that
// it needs and no more, gives none of them to its children, and is started again.
func TestUnit(t *testing.T) {
	if os.Geteuid() != 0 || os.Getenv("BATON_LAB_ENTERED") != "" {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root, and CI must run it as root")
		}
		t.Skip("needs root outside a user namespace")
	}
	b := boot(t, unitConfig)
	for name, script := range map[string]string{
		"srv/check": "#!/bin/sh\nexit 0\n",
		"srv/hook":  "#!/bin/sh\n{ echo \"$3\"; grep -e ^Cap -e NoNewPrivs /proc/self/status; sleep 0.05; awk '{print \"policy\", $41}' /proc/self/stat; id -un; } >>/run/baton/told\n",
	} {
		b.file(name, script)
		must(t, os.Chmod(filepath.Join(b.dir, name), 0o755))
	}
	for _, line := range []string{"link add eth0 type veth peer name eth1", "link set lo up", "link set eth1 up", "link set eth0 up", "address add 10.77.0.1/24 dev eth0", "-6 address add fd77::1/64 dev eth0 nodad"} {
		if out := b.try(append([]string{"ip"}, strings.Fields(line)...)...); out != "" {
			t.Fatal(line, out)
		}
	}
	if out := b.try("systemctl", "start", "baton.service"); out != "" {
		t.Fatal(out, b.try("systemctl", "status", "baton.service"))
	}
	holds := func() bool {
		out := b.try("ip", "-o", "address", "show")
		return strings.Contains(out, "10.77.0.100/24") && strings.Contains(out, "fd77::100/64")
	}
	b.until("both addresses are on", holds)
	b.until("the hook was told", func() bool { return strings.Contains(b.try("cat", "/run/baton/told"), "MASTER") })
	b.child(b.try("cat", "/run/baton/told"))
	b.daemon()
	if checks := b.try("/srv/baton", "checks"); strings.Count(checks, "pass") != 4 || strings.Count(checks, "FAIL") != 1 {
		t.Errorf("checks:\n%s", checks)
	}
	refused(t, b.said())

	// Replaced in place, it is the same process with the same rights.
	before := b.property("MainPID")
	if out := b.try("/srv/baton", "upgrade"); !strings.Contains(out, "answers again") || b.property("MainPID") != before {
		t.Error(out)
	}
	b.daemon()

	// Killed, it is back.
	killed := b.property("MainPID")
	b.try("kill", "-KILL", killed)
	b.until("it is started again", func() bool {
		return b.property("NRestarts") == "1" && b.property("ActiveState") == "active" && b.property("MainPID") != killed
	})
	b.until("the addresses are on again", holds)

	// Stopped, it is not, and its addresses are gone.
	b.try("systemctl", "stop", "baton.service")
	if state := b.property("ActiveState"); state != "inactive" || holds() {
		t.Errorf("after the stop it is %s; %s", state, b.try("ip", "-o", "address", "show"))
	}

	// With the drop-in for it, it is root, and a command may be somebody else.
	drop, err := os.ReadFile("../packaging/drop-ins/root.conf")
	must(t, err)
	b.file("srv/units/baton.service.d/root.conf", string(drop))
	b.file("etc/baton/baton.yaml", strings.Replace(unitConfig, "{any: /srv/hook}", "{any: /srv/hook, master: {command: id, user: daemon}}", 1))
	b.try("systemctl", "daemon-reload")
	b.try("systemctl", "start", "baton.service")
	b.until("a hook ran as root", func() bool { return strings.HasSuffix(b.try("cat", "/run/baton/told"), "root") })
	b.until("a hook ran as daemon", func() bool { return strings.Contains(b.said(), "(daemon)") })
	b.try("systemctl", "stop", "baton.service")
	refused(t, b.said())

	// A loop of crashes ends, and then baton-release takes off what is left.
	must(t, os.Remove(filepath.Join(b.dir, "srv/units/baton.service.d/root.conf")))
	b.try("systemctl", "daemon-reload")
	b.try("systemctl", "start", "baton.service")
	b.until("the addresses are on once more", holds)
	b.try("touch", "/run/baton/left")
	b.try("sh", "-c", "until systemctl is-failed -q baton; do systemctl kill -s KILL --kill-who=main baton; sleep 0.1; done")
	if n := b.property("NRestarts"); n != "20" && n != "19" {
		t.Errorf("it was started again %s times", n)
	}
	b.until("the addresses are gone", func() bool { return !holds() })
	b.until("baton-release has ended", func() bool { return b.try("systemctl", "is-active", "baton-release.service") == "inactive" })
	if began := b.try("systemctl", "show", "--value", "-p", "ExecMainStartTimestampMonotonic", "-p", "Result", "baton-release.service"); !strings.HasPrefix(began, "success\n") || strings.HasSuffix(began, "\n0") {
		t.Error("baton-release: ", began)
	}
	if out := b.try("ls", "/run/baton/left"); out != "/run/baton/left" {
		t.Error("the runtime directory was gone before baton-release could read it: ", out)
	}
}

// refused holds that nothing went wrong but what is meant to.
func refused(t *testing.T, said string) {
	t.Helper()
	for line := range strings.Lines(said) {
		if (strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")) && !strings.Contains(line, "check=nobody") && !strings.Contains(line, "was there at the start") {
			t.Error("it is refused something: ", line)
		}
	}
}

// child holds what the hook saw of itself to what it may have.
func (b *booted) child(told string) {
	b.t.Helper()
	const none = "\t0000000000000000"
	for _, want := range []string{"CapPrm:" + none, "CapEff:" + none, "CapAmb:" + none, "NoNewPrivs:\t1", "policy 0", "baton"} {
		if !strings.Contains(told, want+"\n") && !strings.HasSuffix(told, want) {
			b.t.Errorf("the hook has not %q:\n%s", want, told)
		}
	}
}

// daemon holds baton itself to what the unit says, each of its threads.
func (b *booted) daemon() {
	b.t.Helper()
	pid := b.property("MainPID")
	threads := b.try("sh", "-c", "cat /proc/"+pid+"/task/*/status")
	count := strings.Count(threads, "\nPid:")
	for _, want := range []string{
		"CapPrm:\t0000000000003000", "CapEff:\t0000000000003000", "CapBnd:\t0000000000003000", // net_admin, net_raw
		"CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
	} {
		if n := strings.Count(threads, want+"\n"); n != count {
			b.t.Errorf("%d of %d threads have %q", n, count, want)
		}
	}
	if user := b.try("stat", "-c", "%U %a", "/proc/"+pid, "/run/baton", "/var/lib/baton"); user != "baton 555\nbaton 755\nbaton 750" {
		b.t.Errorf("users and modes: %s", user)
	}
	policies := b.try("sh", "-c", "awk '{print $41}' /proc/"+pid+"/task/*/stat | sort -u")
	if policies != strconv.Itoa(unix.SCHED_RR) {
		b.t.Errorf("scheduling policies: %s", policies)
	}
	// A first process without CAP_SYS_RESOURCE cannot give what LimitMEMLOCK= says.
	limit := b.try("awk", "/^Max locked memory/ {print $4, $5}", "/proc/"+pid+"/limits")
	if locked := !strings.Contains(threads, "VmLck:\t       0 kB"); locked != (limit == "unlimited unlimited") {
		b.t.Errorf("memory is locked: %t; the limit is %s", locked, limit)
	}
}
