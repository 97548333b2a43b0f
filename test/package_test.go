package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"baton/internal/lab"
	"baton/test/site"
)

// The packages are made of this tree twice, under two versions.
const (
	older = "0.0.8"
	newer = "0.0.9"
)

// packages makes the packages of both versions, once, and returns the folder that they are in. It takes half a minute, in a copy of
// the tree, so that what is in bin/ stays what it was.
var packages = sync.OnceValues(func() (string, error) {
	script := `set -e
mkdir -p "$0/tree"
tar -C .. --exclude=./.git --exclude=./bin -cf - . | tar -C "$0/tree" -xf -
for version; do
    make --no-print-directory -s -C "$0/tree" package ARCHITECTURES=amd64 VERSION="$version" PACKAGES="$0/$version"
done`
	dir := filepath.Join(scratch, "packages")
	out, err := exec.Command("sh", "-c", script, dir, older, newer).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("make the packages: %w\n%s", err, out)
	}
	return dir, nil
})

// A format is a kind of package, and how it is handled.
type format struct {
	name string
	// file is the package's name, with the version for VERSION.
	file                        string
	install, upgrade, downgrade []string // the package's file follows
	remove                      []string
	purge                       []string // none: remove is all there is
	verify                      []string
	leaves                      []string // what the package manager itself writes
}

var (
	deb = format{
		name: "deb", file: "baton_VERSION_amd64.deb",
		install: []string{"dpkg", "-i"}, upgrade: []string{"dpkg", "-i"}, downgrade: []string{"dpkg", "-i"},
		remove: []string{"dpkg", "-r", "baton"}, purge: []string{"dpkg", "-P", "baton"},
		verify: []string{"dpkg", "-V", "baton"}, leaves: []string{"/var/lib/dpkg", "/var/log/dpkg.log"},
	}
	// rpm's own database is empty in Debian, so that it finds nothing to depend on. Folders that every package of rpm's world may take
	// for granted are not taken away.
	rpm = format{
		name: "rpm", file: "baton-VERSION-1.x86_64.rpm",
		install: []string{"rpm", "--force-debian", "--nodeps", "-i"}, upgrade: []string{"rpm", "--force-debian", "--nodeps", "-U"},
		downgrade: []string{"rpm", "--force-debian", "--nodeps", "-U", "--oldpackage"},
		remove:    []string{"rpm", "--force-debian", "--nodeps", "-e", "baton"},
		verify:    []string{"rpm", "--nodeps", "-V", "baton"}, leaves: []string{"/var/lib/rpm", "/root/.rpmdb", "/usr/share/fish", "/usr/share/zsh/site-functions"},
	}
)

// of returns the package's file of a version in the machine.
func (f format) of(m *machine, version string) string {
	m.t.Helper()
	dir, err := packages()
	must(m.t, err)
	return m.take(filepath.Join(dir, version, strings.ReplaceAll(f.file, "VERSION", version)))[0]
}

// installed runs one of the format's commands on a version, which must succeed, and returns what it says.
func (f format) installed(m *machine, command []string, version string) string {
	m.t.Helper()
	return m.do(append(slices.Clone(command), f.of(m, version))...)
}

// gone takes away what a removal keeps: the configuration by hand, since it is the operator's own, and the rest by the purge.
func (f format) gone(m *machine) {
	m.t.Helper()
	must(m.t, os.Remove(m.dir+"/etc/baton/baton.yaml"))
	if f.purge == nil {
		must(m.t, os.Remove(m.dir+"/etc/baton")) // nothing else is in it
		return
	}
	m.do(f.purge...)
	if left := m.do("find", "/var/lib/dpkg/info", "-name", "baton.*"); left != "" {
		m.t.Error("dpkg keeps ", left)
	}
}

// A packaged is a pair whose node a is a machine on which baton comes from a package, and b baton as it is built.
type packaged struct {
	*machine
	s *site.Site
	c site.Config
	b *site.Node
}

// newPackaged makes such a pair. Neither has been installed or started.
func newPackaged(t *testing.T, first []string, priority map[string]int) *packaged {
	t.Helper()
	s := newSite(t)
	// At an interval at which a miss shows.
	c := site.Pair(300*time.Millisecond, site.Addresses(1, false)...)
	c.Routers[0].Priority = priority
	return &packaged{newMachine(t, s, "a", first), s, c, add(t, s, "b", site.Baton, c)}
}

// configure writes the configuration of a.
func (p *packaged) configure() { p.file("etc/baton/baton.yaml", p.s.BatonYAML(p.c)) }

// runs waits until a's unit is active, and baton answers as that version.
func (p *packaged) runs(version string) {
	p.t.Helper()
	p.until("baton "+version+" runs", func() bool {
		_, out := p.run("baton", "status", "--json")
		return p.property("ActiveState") == "active" && strings.Contains(strings.ReplaceAll(out, ": ", ":"), `"version":"`+version+` `)
	})
}

// during does something while the client asks the address, and fails the test when a question was lost.
func (p *packaged) during(what string, f func()) {
	p.t.Helper()
	end := asking(p.t, p.s, p.c.Routers[0].Addresses[0], 0)
	f()
	if n := lost(p.t, end); n != 0 {
		p.t.Errorf("%s: lost %d", what, n)
	}
}

// unmoved returns what fails the test where a daemon has changed its role since, or another process runs.
func (p *packaged) unmoved() func() {
	p.t.Helper()
	from, pid, theirs := time.Now(), p.property("MainPID"), len(p.b.Changes())
	cursor := "--after-cursor=" + strings.TrimPrefix(p.do("sh", "-c", "journalctl -q -n 0 --show-cursor"), "-- cursor: ")
	return func() {
		p.t.Helper()
		if now := p.property("MainPID"); now != pid || p.property("NRestarts") != "0" {
			p.t.Errorf("process %s is not %s any more, of before", now, pid)
		}
		for line := range strings.Lines(p.do("journalctl", "-q", "-o", "cat", "-u", "baton.service", cursor)) {
			if strings.Contains(line, `"msg":"role"`) && !strings.Contains(line, `"from":"INIT"`) {
				p.t.Error("a changed its role: ", line)
			}
		}
		if all := p.b.Changes(); len(all) != theirs {
			p.t.Errorf("b changed its role: %v", all[theirs:])
		}
		for _, prefix := range p.c.Routers[0].Addresses {
			heldThroughout(p.t, p.s, prefix, from)
		}
	}
}

// The life of a package on a host: it starts nothing by itself, is upgraded while it is master and leaves in order while a client
// asks, which loses nothing; purged, it leaves nothing behind; and it can come back.
func TestPackage_Life(t *testing.T) {
	t.Parallel()
	for _, f := range []format{deb, rpm} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			p := newPackaged(t, systemd, map[string]int{"a": 200, "b": 190})
			before := p.written()

			said := f.installed(p.machine, f.install, older)
			if state := p.property("ActiveState") + " " + p.property("UnitFileState"); state != "inactive disabled" || !strings.Contains(said, "/etc/baton/baton.yaml") {
				t.Errorf("without a configuration it is %s, and said:\n%s", state, said)
			}
			if user := p.do("stat", "-c", "%U:%G %a", "/usr/sbin/baton", "/etc/baton"); user != "root:root 755\nroot:root 755" || p.do("id", "-nu", "baton") != "baton" {
				t.Error("owners: ", user)
			}
			if said := p.do(f.verify...); said != "" {
				t.Error("what is installed is not what is in the package: ", said)
			}
			p.configure()
			p.do("baton", "validate")
			p.do("systemctl", "enable", "--now", "baton.service")
			must(t, p.b.Start())
			settled(t, p.s, "a", p.c)
			p.runs(older)

			unmoved := p.unmoved()
			p.during("upgrade", func() { t.Log(f.installed(p.machine, f.upgrade, newer)) })
			p.runs(newer)
			settled(t, p.s, "a", p.c)
			unmoved()

			p.during("removal", func() { t.Log(p.do(f.remove...)) })
			settled(t, p.s, "b", p.c)
			if log := p.do("journalctl", "-q", "-o", "cat", "-u", "baton.service"); strings.Contains(log, "cannot") || !strings.Contains(log, "baton has left") {
				t.Errorf("what baton said:\n%s", log)
			}
			if text := p.do("cat", "/etc/baton/baton.yaml"); text+"\n" != p.s.BatonYAML(p.c) {
				t.Error("the configuration is not kept: ", text)
			}
			if p.has("usr/sbin/baton") || p.has("run/baton") || p.property("LoadState") != "not-found" {
				t.Error("after the removal there is still something")
			}
			if left := p.do("sh", "-c", "systemctl list-units --no-legend 'baton*'; cat /proc/[0-9]*/comm | grep -x baton || true"); left != "" {
				t.Errorf("after the removal there is still:\n%s", left)
			}
			f.gone(p.machine)
			if left := differences(before, p.written(), slices.Concat(f.leaves, ofDebian)...); len(left) != 0 {
				t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
			}
			p.account()

			f.installed(p.machine, f.install, newer)
			p.do("baton", "version")
			p.do(f.remove...)
		})
	}
}

// account holds that of users and groups nothing has changed but for the user and the group baton.
func (p *packaged) account() {
	p.t.Helper()
	for _, name := range []string{"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"} {
		before, err := os.ReadFile(p.below + name)
		must(p.t, err)
		now, err := os.ReadFile(p.dir + name)
		must(p.t, err)
		more, ok := strings.CutPrefix(string(now), string(before))
		if !ok || strings.Count(more, "\n") > 1 || more != "" && !strings.HasPrefix(more, "baton:") {
			p.t.Errorf("%s has now:\n%s", name, more)
		}
	}
}

// ofDebian is what a Debian that runs writes by itself, and where the user stays that a package has made: his number must not become
// another's.
var ofDebian = []string{
	"/var/log/journal", "/var/log/wtmp", "/var/lib/systemd",
	"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/.pwd.lock",
}

// What a package is asked to do on a host whose baton is a backup, is stopped, or cannot read its configuration.
func TestPackage_Upgrade(t *testing.T) {
	t.Parallel()
	for _, f := range []format{deb, rpm} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			p := newPackaged(t, systemd, map[string]int{"a": 190, "b": 200})
			must(t, p.b.Start())
			must(t, p.s.Holders.Await("b", patience, addresses(p.c.Routers[0].Addresses)...))

			// A configuration that is there before the package.
			p.configure()
			f.installed(p.machine, f.install, older)
			p.do("systemctl", "enable", "--now", "baton.service")
			p.runs(older)
			settled(t, p.s, "b", p.c)
			unmoved := p.unmoved()

			p.during("everything", func() {
				f.installed(p.machine, f.upgrade, newer)
				p.runs(newer)
				if status, said := p.run(append(slices.Clone(f.upgrade), f.of(p.machine, newer))...); (status != 0) != (f.name == "rpm") {
					t.Errorf("the same version again: exit %d: %s", status, said)
				}
				p.runs(newer)
				f.installed(p.machine, f.downgrade, older)
				p.runs(older)

				// The old daemon goes on, the package is installed, and it is said what there is to do.
				p.file("etc/baton/baton.yaml", "virtual_routers: {web: {vird: 51}}\n")
				said := f.installed(p.machine, f.upgrade, newer)
				for _, want := range []string{"goes on", "/etc/baton/baton.yaml:1:", "baton upgrade"} {
					if !strings.Contains(said, want) {
						t.Errorf("of a configuration with a mistake it does not say %q:\n%s", want, said)
					}
				}
				p.runs(older)
				if version := p.do("baton", "version"); !strings.HasPrefix(version, "baton "+newer) {
					t.Error("on the disk is ", version)
				}
				p.configure()
				p.do("baton", "upgrade")
				p.runs(newer)
			})
			unmoved()

			p.do("systemctl", "stop", "baton.service")
			if said := f.installed(p.machine, f.downgrade, older); p.property("ActiveState") != "inactive" || strings.Contains(said, "baton:") {
				t.Errorf("one that is stopped is %s after an upgrade, which says:\n%s", p.property("ActiveState"), said)
			}
			p.do("systemctl", "start", "baton.service")
			p.runs(older)
			p.do(f.remove...)
			p.during("after the end of a", func() { f.installed(p.machine, f.install, newer) })
			if state := p.property("ActiveState"); state != "inactive" {
				t.Errorf("installed again after a removal it is %s", state)
			}
		})
	}
}

// Where no systemd runs, and /run is a folder like others: nothing fails, and a daemon that was started by hand is upgraded as well.
func TestPackage_WithoutSystemd(t *testing.T) {
	t.Parallel()
	for _, f := range []format{deb, rpm} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			p := newPackaged(t, idle, map[string]int{"a": 200, "b": 190})
			before := p.written()
			f.installed(p.machine, f.install, older)
			p.do("id", "baton")
			f.installed(p.machine, f.upgrade, newer)
			f.installed(p.machine, f.downgrade, older)
			p.configure()
			daemon, err := p.s.Ports["a"].Host.Start(p.in("baton", "run"), lab.StartOptions{})
			must(t, err)
			answers := func(version string) func() bool {
				return func() bool { return strings.Contains(p.try("baton", "status", "--json"), version) }
			}
			p.until("baton runs", answers(older))
			must(t, p.b.Start())
			settled(t, p.s, "a", p.c)
			p.during("upgrade", func() { f.installed(p.machine, f.upgrade, newer) })
			p.until("baton is the new one", answers(newer))

			// It is not the package's to end.
			if said := p.do(f.remove...); !strings.Contains(said, "a daemon still runs") {
				t.Error("of the daemon that runs it says nothing: ", said)
			}
			must(t, daemon.Signal(syscall.SIGTERM))
			if _, err := daemon.Wait(site.StopTimeout); err != nil {
				t.Error(err)
			}
			f.gone(p.machine)
			if left := differences(before, p.written(), slices.Concat(f.leaves, ofDebian, []string{"/run/baton"})...); len(left) != 0 {
				t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
			}
			p.account()
		})
	}
}
