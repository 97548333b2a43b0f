package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
)

// reader is somebody who follows "Getting started": two nodes and a client, each with an /etc of its own, a Debian
// with HAProxy and a firewall that drops what it does not know, and a clone of the repository.
type reader struct {
	t       *testing.T
	dir     string
	clone   string
	hosts   map[string]*lab.Host
	running map[string]*lab.Process // baton in the terminal of a node
	read    map[string]int          // lines of it that the page has shown
	haproxy map[string]*lab.Process
	unused  map[string]bool // those of standIns that the page has not asked for
}

// standIns are the commands that cannot run here, with the reason, and how what they do is checked.
var standIns = []struct {
	command, why string
	instead      func(r *reader, host string)
}{
	{"systemctl restart haproxy", "systemd is not the first process of these hosts: HAProxy is run as its unit has it", (*reader).startHAProxy},
	{"systemctl stop haproxy", "the same", (*reader).stopHAProxy},
	{"systemctl start haproxy", "the same", (*reader).startHAProxy},
	{"systemctl daemon-reload", "the same: the unit with its drop-in is verified", (*reader).verifyUnit},
	{"systemctl enable --now baton", "the same: what the unit says is started as the user, and with the rights, that it says", (*reader).startUnit},
}

// The policy of a host whose firewall somebody has set up without a thought of VRRP.
const startFirewall = `table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iif lo accept
    icmp type echo-request accept
    tcp dport { 22, 80 } accept
  }
}
`

// TestGettingStarted does what docs/getting-started.md says, in its order, and compares what comes with what it shows.
func TestGettingStarted(t *testing.T) {
	if os.Geteuid() != 0 || os.Getenv("BATON_LAB_ENTERED") != "" {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root, and CI must run it as root")
		}
		t.Skip("needs root outside a user namespace: it makes a user")
	}
	for _, program := range []string{"haproxy", "nft", "curl", "systemd-analyze", "setpriv", "chrt", "unshare", "make"} {
		need(t, program)
	}
	// Not beside others: it builds baton, and they count single packets.
	all := pageSteps(t, "../docs/getting-started.md")
	if len(all) < 30 {
		t.Errorf("%d steps: are they found?", len(all))
	}
	r := newReader(t)
	for _, s := range all {
		r.do(s)
	}
	for command := range r.unused {
		t.Errorf("the page does not say %q any more", command)
	}
}

func newReader(t *testing.T) *reader {
	l, err := lab.New("start")
	must(t, err)
	r := &reader{
		t: t, dir: t.TempDir(), hosts: map[string]*lab.Host{}, running: map[string]*lab.Process{},
		read: map[string]int{}, haproxy: map[string]*lab.Process{}, unused: map[string]bool{},
	}
	t.Cleanup(func() {
		if t.Failed() {
			for name, p := range r.running {
				t.Logf("the terminal of %s:\n%s", name, p.Output())
			}
		}
		must(t, l.Close())
	})
	for _, e := range standIns {
		r.unused[e.command] = true
	}
	sw, err := l.Switch("lan")
	must(t, err)
	for name, at := range map[string][2]string{"lb1": {"eth0", "10.0.0.11/24"}, "lb2": {"eno1", "10.0.0.12/24"}, "client": {"eth0", "10.0.0.9/24"}} {
		r.hosts[name], err = l.Host(name)
		must(t, err)
		_, err = sw.Attach(r.hosts[name], at[0], at[1])
		must(t, err)
		if name != "client" {
			r.install(name)
		}
	}
	r.clone = filepath.Join(r.dir, "baton")
	must(t, os.Mkdir(r.clone, 0o755))
	r.sh("client", fmt.Sprintf("tar -C .. --exclude ./.git --exclude ./bin -c . | tar -C %s -x", r.clone))
	return r
}

// install makes a node what Debian's installer leaves, as far as the page touches it.
func (r *reader) install(name string) {
	r.t.Helper()
	for _, own := range []string{"/etc", "/usr/local/sbin", "/usr/local/share", "/usr/local/lib", "/usr/libexec", "/var/lib"} {
		dir := filepath.Join(r.dir, name, own)
		must(r.t, os.MkdirAll(dir, 0o755))
		if own == "/etc" {
			r.sh(name, "cp -a /etc/. "+dir)
		}
		r.sh(name, "mkdir -p "+own+" && mount --bind "+dir+" "+own)
	}
	r.sh(name, "rm -rf /etc/baton && mkdir -p /var/lib/haproxy && chmod 755 "+r.dir)
	rules := filepath.Join(r.dir, name, "etc/nftables.conf")
	must(r.t, os.WriteFile(rules, []byte("flush ruleset\n"+startFirewall), 0o644))
	r.sh(name, "nft -f /etc/nftables.conf")
}

// sh runs what the page does not say.
func (r *reader) sh(host, command string) {
	r.t.Helper()
	_, err := r.hosts[host].Run(patience, "sh", "-ec", command)
	must(r.t, err)
}

// start starts a command of the page, in the clone, on a host that knows its name.
func (r *reader) start(host, command string) *lab.Process {
	r.t.Helper()
	argv := []string{"unshare", "--uts", "sh", "-c", `echo "$1" >/proc/sys/kernel/hostname && exec sh -c "$0"`, command, host}
	p, err := r.hosts[host].Start(argv, lab.StartOptions{Dir: r.clone, Env: []string{"PATH=/usr/local/sbin:" + os.Getenv("PATH")}})
	must(r.t, err)
	return p
}

// do does a step on each node that it is for.
func (r *reader) do(s step) {
	r.t.Helper()
	nodes := []string{"lb1", "lb2"}
	if s.on != "" {
		nodes = []string{s.on}
	}
	for i, node := range nodes {
		switch {
		case s.file != "":
			r.write(node, s)
		case s.terminal != "":
			r.see(s)
			return
		case s.command == "^C":
			r.interrupt(node)
		case s.command == "baton run":
			r.launch(node, s)
		case r.stands(node, s.command, i == len(nodes)-1):
		default:
			r.run(node, s)
		}
	}
}

func (r *reader) write(node string, s step) {
	path := filepath.Join(r.dir, node, s.file)
	must(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	how := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if s.adds {
		how = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	}
	f, err := os.OpenFile(path, how, 0o644)
	must(r.t, err)
	_, err = f.WriteString(s.text)
	must(r.t, err)
	must(r.t, f.Close())
}

// stands does what is done in place of a command that cannot run here.
func (r *reader) stands(node, command string, last bool) bool {
	for _, e := range standIns {
		if e.command == command {
			if last {
				delete(r.unused, command)
			}
			e.instead(r, node)
			return true
		}
	}
	return false
}

// exited is what a page says of the status behind a command that fails.
var exited = regexp.MustCompile(`^exit status (\d+)$`)

// run runs a command of the page. Where its status is not 0 the page says so in the last line that it shows.
func (r *reader) run(node string, s step) {
	r.t.Helper()
	p := r.start(node, s.command)
	status, err := p.Wait(10 * patience) // it may be a build
	must(r.t, err)
	want, shows := "0", s.shows
	for len(shows) > 0 && strings.TrimSpace(shows[len(shows)-1]) == "" {
		shows = shows[:len(shows)-1]
	}
	if len(shows) > 0 {
		if m := exited.FindStringSubmatch(shows[len(shows)-1]); m != nil {
			want, shows = m[1], shows[:len(shows)-1]
		}
	}
	if fmt.Sprint(status) != want {
		r.t.Fatalf("line %d, on %s: %s: exit status %d, want %s\n%s", s.line, node, s.command, status, want, p.Output())
	}
	r.t.Logf("%s: %s\n%s", node, s.command, p.Output())
	if len(shows) == 0 {
		return // the page shows nothing of it
	}
	if d := differs(shows, p.Output()); d != "" {
		r.t.Errorf("line %d, on %s: %s: %s", s.line, node, s.command, d)
	}
}

// launch runs baton in a terminal of its own, where it goes on.
func (r *reader) launch(node string, s step) {
	r.t.Helper()
	r.running[node], r.read[node] = r.start(node, "exec "+s.command), 0
	r.see(step{line: s.line, terminal: node, lines: s.shows})
}

// see waits for the lines that a terminal shows, in their order.
func (r *reader) see(s step) {
	r.t.Helper()
	p := r.running[s.terminal]
	if p == nil {
		r.t.Fatalf("line %d: nothing runs in the terminal of %s", s.line, s.terminal)
	}
	for _, line := range s.lines {
		if strings.TrimSpace(line) == "" || strings.TrimSpace(line) == "..." {
			continue
		}
		_, next, err := p.WaitLine(r.read[s.terminal], patience, like(line).MatchString)
		if err != nil {
			r.t.Fatalf("line %d: the terminal of %s does not show %q: %v", s.line, s.terminal, line, err)
		}
		r.read[s.terminal] = next
	}
}

// interrupt is Ctrl-C: baton hands over and ends with status 0.
func (r *reader) interrupt(node string) {
	r.t.Helper()
	p := r.running[node]
	must(r.t, p.Signal(unix.SIGINT))
	status, err := p.Wait(patience)
	must(r.t, err)
	if status != 0 {
		r.t.Errorf("baton on %s: exit status %d", node, status)
	}
}

func (r *reader) startHAProxy(node string) {
	r.t.Helper()
	if r.haproxy[node] != nil {
		r.stopHAProxy(node)
	}
	r.sh(node, "install -d -o haproxy -g haproxy -m 2775 /run/haproxy") // its tmpfiles.d
	p := r.start(node, "exec haproxy -W -db -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid")
	r.haproxy[node] = p
	eventually(r.t, "HAProxy runs on "+node, func() (bool, string) {
		_, err := os.Stat(r.hosts[node].Path("/run/haproxy/admin.sock"))
		return err == nil, p.Output()
	})
}

func (r *reader) stopHAProxy(node string) {
	r.t.Helper()
	must(r.t, r.haproxy[node].SignalGroup(unix.SIGTERM))
	_, err := r.haproxy[node].Wait(patience)
	must(r.t, err)
	r.haproxy[node] = nil
}

// unitFolders are where the page leaves the unit, and what it adds to it.
const unitFolders = "/usr/local/lib/systemd/system:/etc/systemd/system:"

func (r *reader) verifyUnit(node string) {
	r.t.Helper()
	text, err := r.hosts[node].Run(patience, "sh", "-ec", "SYSTEMD_UNIT_PATH="+unitFolders+" systemd-analyze verify --man=no baton.service 2>&1")
	must(r.t, err)
	if strings.Contains(text, "baton") {
		r.t.Errorf("systemd-analyze on %s:\n%s", node, text)
	}
}

// startUnit starts what the unit says.
func (r *reader) startUnit(node string) {
	r.t.Helper()
	unit := r.setting(node)
	if unit["User"] == "" || unit["ExecStart"] == "" {
		r.t.Fatalf("the unit on %s: %v", node, unit)
	}
	var capabilities []string
	for _, c := range strings.Fields(unit["AmbientCapabilities"]) {
		capabilities = append(capabilities, "+"+strings.ToLower(strings.TrimPrefix(c, "CAP_")))
	}
	rights := strings.Join(capabilities, ",")
	r.sh(node, fmt.Sprintf("install -d -o %[1]s -g %[2]s /run/%[3]s /var/lib/%[4]s && rm -rf /run/%[3]s/*", unit["User"], unit["Group"], unit["RuntimeDirectory"], unit["StateDirectory"]))
	groups := strings.Join(append([]string{unit["Group"]}, strings.Fields(unit["SupplementaryGroups"])...), ",")
	argv := slices.Concat([]string{
		"chrt", "--" + unit["CPUSchedulingPolicy"], unit["CPUSchedulingPriority"],
		"setpriv", "--reuid", unit["User"], "--regid", unit["Group"], "--groups", groups,
		"--inh-caps", "-all," + rights, "--ambient-caps", "-all," + rights, "--bounding-set", "-all," + rights, "--no-new-privs",
	}, strings.Fields(unit["ExecStart"]))
	p := r.start(node, "exec "+strings.Join(argv, " "))
	r.running[node], r.read[node] = p, 0
	_, _, err := p.WaitLine(0, patience, func(line string) bool { return strings.Contains(line, "to=BACKUP") })
	must(r.t, err)
}

// setting is what the unit and its drop-ins say; a later word counts.
func (r *reader) setting(node string) map[string]string {
	root := filepath.Join(r.dir, node)
	files, err := filepath.Glob(root + "/etc/systemd/system/baton.service.d/*.conf")
	must(r.t, err)
	said := map[string]string{}
	for _, file := range append([]string{root + "/usr/local/lib/systemd/system/baton.service"}, files...) {
		text, err := os.ReadFile(file)
		must(r.t, err)
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
				said[name] = value
			}
		}
	}
	return said
}

// onlySaid are commands in the page's sentences, which its reader may need and its test does not: with the reason, and
// what holds them.
var onlySaid = []struct{ command, why string }{
	{"make test", "for who changes baton"},
	{"make bench", "the same"},
	{"make demo", "has tests of its own, internal/demo"},
	{"apt install haproxy", "would install from the network; HAProxy is here, or there is no test"},
	{"firewall-cmd --permanent --add-protocol=vrrp", "firewalld is not here; it takes the names of /etc/protocols, and the test looks there"},
	{"firewall-cmd --reload", "the same"},
	{"iptables -I INPUT -p 112 -j ACCEPT", "iptables is not here; the doctor's tests have its rules"},
	{"systemctl edit baton", "an editor; the drop-ins are verified in packaging"},
	{"chgrp baton vrrp-1.key; chmod 0640 vrrp-1.key", "of a file that this page has not"},
}

// The page's commands stand in its blocks, where they are run, but for those that are only said.
func TestGettingStarted_OnlySaid(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/getting-started.md")
	must(t, err)
	page := regexp.MustCompile("(?s)```.*?\n```").ReplaceAllString(string(text), "")
	if m := regexp.MustCompile(`(?m)^    \S.*$`).FindString(page); m != "" {
		t.Errorf("an indented block is read by nobody: %q", m)
	}
	said := map[string]bool{}
	for _, m := range regexp.MustCompile("`([a-z][a-z-]* [^`]+)`").FindAllStringSubmatch(page, -1) {
		program, _, _ := strings.Cut(m[1], " ")
		if _, err := exec.LookPath(program); err == nil || slices.Contains([]string{"baton", "firewall-cmd", "iptables", "apt"}, program) {
			said[m[1]] = true
		}
	}
	for _, s := range onlySaid {
		if !said[s.command] {
			t.Errorf("the page does not say %q any more", s.command)
		}
		delete(said, s.command)
	}
	for _, s := range pageSteps(t, "../docs/getting-started.md") {
		delete(said, s.command) // it is run as well
	}
	for command := range said {
		t.Errorf("%q stands in a sentence, and is not run", command)
	}
	if protocols, err := os.ReadFile("/etc/protocols"); err == nil && !regexp.MustCompile(`(?m)^vrrp\s+112\b`).Match(protocols) {
		t.Error("vrrp is not protocol 112")
	}
}
