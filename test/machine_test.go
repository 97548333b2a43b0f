package test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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

	"baton/internal/lab"
	"baton/test/site"
)

// A machine is a host of a site with a Debian root of its own, which it may change as it likes: what it writes is gone with it.
type machine struct {
	booted        // dir is its root
	below  string // the root as it was made, see the script root
}

// systemd starts a machine as a Debian host starts. idle starts nothing at all, and /run is not mounted.
var (
	systemd = []string{"/lib/systemd/systemd", "--system", "--log-target=console", "--log-level=notice", "--show-status=0"}
	idle    = []string{"/bin/sleep", "infinity"}
)

// newMachine has a host of the site start as a machine with that first process. It ends with the test.
func newMachine(t *testing.T, s *site.Site, name string, first []string) *machine {
	t.Helper()
	if os.Geteuid() != 0 || os.Getenv("BATON_LAB_ENTERED") != "" {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root, and CI must run it as root")
		}
		t.Skip("needs root outside a user namespace")
	}
	out, err := exec.Command("./root").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("make the Debian root: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	m := &machine{booted: booted{t: t}, below: strings.TrimSpace(string(out))}

	// systemd needs a part of its hierarchy of cgroups to itself.
	group := "/sys/fs/cgroup"
	if _, err := os.Stat(group + "/systemd/cgroup.procs"); err == nil {
		group += "/systemd"
	}
	group, err = os.MkdirTemp(group, "baton-test-")
	must(t, err)
	argv := []string{
		"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec unshare --fork --kill-child --pid --mount --uts --ipc --cgroup testdata/root/boot "$@"`,
		group, m.below, t.TempDir(), name,
	}
	p, err := s.Ports[name].Host.Start(append(argv, first...), lab.StartOptions{})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s, the console:\n%s\nthe journal:\n%s", name, p.Output(), m.try("journalctl", "-q", "-o", "short-precise", "--no-hostname", "-n", "60"))
		}
		must(t, p.Kill()) // unshare, with which all of the machine ends
		m.until("the machine is gone", func() bool { return removeGroups(group) == nil })
	})
	m.until("the machine is up", func() bool {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.PID))
		if err != nil {
			t.Fatalf("the machine ended: %s", p.Output())
		}
		if m.first, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
			return false
		}
		m.dir = fmt.Sprintf("/proc/%d/root", m.first)
		if first[0] != systemd[0] {
			name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", m.first)) // not the script any more
			return strings.TrimSpace(string(name)) == filepath.Base(first[0])
		}
		return m.try("systemctl", "is-active", "multi-user.target") == "active"
	})
	return m
}

// run runs a command in the machine, at most a minute, and returns its exit status and what it says.
func (m *machine) run(argv ...string) (int, string) {
	m.t.Helper()
	cmd := exec.Command("timeout", append([]string{"60"}, m.in(argv...)...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TERM=dumb"}
	cmd.WaitDelay = time.Second // what it leaves in the background may hold its output
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		m.t.Fatalf("%v: %v", argv, err)
	}
	return cmd.ProcessState.ExitCode(), strings.TrimSpace(string(out))
}

// in is the command line that runs a command in the machine.
func (m *machine) in(argv ...string) []string {
	return append([]string{"nsenter", "--target", strconv.Itoa(m.first), "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--"}, argv...)
}

// do runs a command in the machine that must succeed, and returns what it says.
func (m *machine) do(argv ...string) string {
	m.t.Helper()
	status, out := m.run(argv...)
	if status != 0 {
		m.t.Fatalf("%v: exit %d\n%s", argv, status, out)
	}
	return out
}

// take copies files into the machine's /tmp, and returns their names there.
func (m *machine) take(paths ...string) []string {
	m.t.Helper()
	var names []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		must(m.t, err)
		name := "/tmp/" + filepath.Base(path)
		must(m.t, os.WriteFile(m.dir+name, text, 0o644))
		names = append(names, name)
	}
	return names
}

// has reports whether there is such a file in the machine.
func (m *machine) has(name string) bool {
	_, err := os.Lstat(filepath.Join(m.dir, name))
	return err == nil
}

// written is how the machine's root differs from the one it was made of: each file by name, with what is there now.
func (m *machine) written() map[string]string {
	m.t.Helper()
	all := make(map[string]string)
	upper := filepath.Join(m.dir, "dev/upper")
	must(m.t, filepath.WalkDir(upper, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the journal, for instance, does not stand still
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, upper)
		now := describe(path)
		// A folder is there too because of what is in it.
		if now != "" && now != describe(m.below+name) {
			all[name] = now
		}
		return nil
	}))
	return all
}

// describe tells all of a file that a package could change: kind, mode, owner, and content. Empty: there is none.
func describe(path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return ""
	}
	st := info.Sys().(*syscall.Stat_t)
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
		return "removed" // overlayfs writes it so
	}
	text := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
	switch {
	case info.Mode().IsRegular():
		content, err := os.ReadFile(path)
		if err != nil {
			return ""
		}
		text += fmt.Sprintf(" %x", sha256.Sum256(content))
	case info.Mode()&fs.ModeSymlink != 0:
		to, _ := os.Readlink(path) // gone meanwhile, or readable
		text += " -> " + to
	}
	return text
}

// differences are the lines by which two states of a root differ, but for files below the given names.
func differences(before, after map[string]string, but ...string) []string {
	names := slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)))
	slices.Sort(names)
	var list []string
	for _, name := range slices.Compact(names) {
		ours := func(prefix string) bool { return name == prefix || strings.HasPrefix(name, prefix+"/") }
		if before[name] != after[name] && !slices.ContainsFunc(but, ours) {
			list = append(list, fmt.Sprintf("%s: %q, before %q", name, after[name], before[name]))
		}
	}
	return list
}
