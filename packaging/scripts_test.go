package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A host is what a maintainer script finds: a folder that stands for the root, with programs that write down how they are called.
type host struct {
	t   *testing.T
	dir string
}

// newHost makes one with the programs and files that are named. A program may have what it does after a colon.
func newHost(t *testing.T, programs, files []string) *host {
	t.Helper()
	h := &host{t, t.TempDir()}
	for _, p := range append(programs, "timeout: shift; exec \"$@\"") {
		name, does, _ := strings.Cut(p, ":")
		does = strings.TrimSpace(does)
		text := fmt.Sprintf("#!/bin/sh\n%s\n", does)
		if name != "timeout" {
			text = fmt.Sprintf("#!/bin/sh\necho \"%s $*\" >>%s\n%s\n", name, filepath.Join(h.dir, "calls"), does)
		}
		h.write("bin/"+name, text, 0o755)
	}
	for _, name := range []string{"rm", "rmdir", "flock", "true"} {
		path, err := exec.LookPath(name)
		if err == nil {
			err = os.Symlink(path, filepath.Join(h.dir, "bin", name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range files {
		if folder, ok := strings.CutSuffix(name, "/"); ok {
			if err := os.MkdirAll(filepath.Join(h.dir, folder), 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		h.write(name, "x", 0o644)
	}
	return h
}

func (h *host) write(name, text string, mode os.FileMode) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), mode)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// script runs a maintainer script in the host's root, and returns the calls that it made and what it said.
func (h *host) script(name string, args ...string) (calls, said string) {
	h.t.Helper()
	text, err := os.ReadFile("scripts/" + name)
	if err != nil {
		h.t.Fatal(err)
	}
	moved := strings.NewReplacer("/usr/sbin/baton", "baton", " /run/", " "+h.dir+"/run/", " /etc/baton", " "+h.dir+"/etc/baton",
		" /var/lib/baton", " "+h.dir+"/var/lib/baton").Replace(string(text))
	cmd := exec.Command("/bin/sh", append([]string{"-c", moved, name}, args...)...)
	cmd.Env = []string{"PATH=" + filepath.Join(h.dir, "bin")}
	out, err := cmd.CombinedOutput()
	said = strings.ReplaceAll(string(out), h.dir, "")
	if err != nil {
		said += err.Error() + "\n"
	}
	log, _ := os.ReadFile(filepath.Join(h.dir, "calls")) // none: nothing was called
	return strings.ReplaceAll(string(log), h.dir, ""), said
}

// has tells whether there is such a file or folder.
func (h *host) has(name string) bool {
	_, err := os.Lstat(filepath.Join(h.dir, name))
	return err == nil
}

const (
	noUser     = "getent: exit 2"
	haproxy    = "getent: [ $2 = haproxy ]"
	notRunning = "baton: exit 2"
	configured = "etc/baton/baton.yaml"
	systemd    = "run/systemd/system/"
	writeFirst = "baton: write /etc/baton/baton.yaml (examples: /usr/share/doc/baton/configs), then: systemctl enable --now baton\n"
)

func TestPostinstall(t *testing.T) {
	for name, test := range map[string]struct {
		programs, files, args []string
		calls, said           string
	}{
		"first, deb": {
			programs: []string{"systemctl", "systemd-sysusers", noUser}, files: []string{systemd}, args: []string{"configure", ""},
			calls: "systemd-sysusers baton.conf\nsystemctl daemon-reload\ngetent group haproxy\n", said: writeFirst,
		},
		"first, rpm": {
			programs: []string{"systemctl", "systemd-sysusers", noUser}, files: []string{systemd}, args: []string{"1"},
			calls: "systemd-sysusers baton.conf\nsystemctl daemon-reload\ngetent group haproxy\n", said: writeFirst,
		},
		"first, beside HAProxy": {
			programs: []string{"systemd-sysusers", haproxy}, args: []string{"1"},
			calls: "systemd-sysusers baton.conf\ngetent group haproxy\n",
			said:  "baton: for checks of HAProxy: install -D -m 644 -t /etc/systemd/system/baton.service.d /usr/share/baton/systemd/haproxy.conf\n" + writeFirst,
		},
		"first, configured and enabled": {
			programs: []string{"systemctl", "systemd-sysusers", noUser}, files: []string{systemd, configured}, args: []string{"1"},
			calls: "systemd-sysusers baton.conf\nsystemctl daemon-reload\ngetent group haproxy\n" +
				"systemctl --quiet is-enabled baton.service\nsystemctl start baton.service\n",
		},
		"first, configured and enabled, Debian's way": {
			programs: []string{"systemctl", "deb-systemd-invoke", "systemd-sysusers", noUser}, files: []string{systemd, configured},
			args: []string{"configure"},
			calls: "systemd-sysusers baton.conf\nsystemctl daemon-reload\ngetent group haproxy\n" +
				"systemctl --quiet is-enabled baton.service\ndeb-systemd-invoke start baton.service\n",
		},
		"first, it does not start": {
			programs: []string{"systemctl: [ $1 != start ]", "systemd-sysusers", noUser}, files: []string{systemd, configured}, args: []string{"1"},
			calls: "systemd-sysusers baton.conf\nsystemctl daemon-reload\ngetent group haproxy\n" +
				"systemctl --quiet is-enabled baton.service\nsystemctl start baton.service\n",
			said: "baton: it did not start: systemctl status baton\n",
		},
		"first, configured and not enabled": {
			programs: []string{"systemctl: [ \"$2\" != is-enabled ]", "systemd-sysusers", noUser}, files: []string{systemd, configured}, args: []string{"1"},
			calls: "systemd-sysusers baton.conf\nsystemctl daemon-reload\ngetent group haproxy\nsystemctl --quiet is-enabled baton.service\n",
			said:  "baton: it is not started. To do that: baton validate && systemctl enable --now baton\n",
		},
		"first, configured, systemd does not run": {
			programs: []string{"systemctl", "systemd-sysusers", noUser}, files: []string{configured}, args: []string{"1"},
			calls: "systemd-sysusers baton.conf\ngetent group haproxy\n",
		},
		"first, without systemd": {
			programs: []string{"useradd", "groupadd", noUser}, args: []string{"configure"},
			calls: "getent passwd baton\ngetent group baton\ngroupadd --system baton\n" +
				"useradd --system --gid baton --home-dir /var/lib/baton --no-create-home --shell /usr/sbin/nologin --comment baton, virtual addresses by VRRP baton\n" +
				"getent group haproxy\n",
			said: writeFirst,
		},
		"first, the user cannot be made": {
			programs: []string{"systemctl", "systemd-sysusers: exit 1"}, files: []string{systemd}, args: []string{"configure"},
			calls: "systemd-sysusers baton.conf\n",
			said:  "baton: the user and the group baton could not be made: without them baton.service does not start\nexit status 1\n",
		},
		"upgrade, deb": {
			programs: []string{"systemctl", "systemd-sysusers", "baton: echo done"}, files: []string{systemd}, args: []string{"configure", "0.9"},
			calls: "systemd-sysusers baton.conf\nsystemctl daemon-reload\nbaton upgrade\nsystemctl try-restart baton-runner.service\n", said: "done\n",
		},
		"upgrade, rpm": {
			programs: []string{"systemctl", "systemd-sysusers", "baton: echo done"}, files: []string{systemd}, args: []string{"2"},
			calls: "systemd-sysusers baton.conf\nsystemctl daemon-reload\nbaton upgrade\nsystemctl try-restart baton-runner.service\n", said: "done\n",
		},
		"upgrade, nothing runs": {
			programs: []string{"systemctl", "systemd-sysusers", "baton: echo it does not run >&2; exit 2"}, files: []string{systemd, configured},
			args:  []string{"2"},
			calls: "systemd-sysusers baton.conf\nsystemctl daemon-reload\nbaton upgrade\nsystemctl try-restart baton-runner.service\n",
		},
		"upgrade, refused": {
			programs: []string{"systemctl", "systemd-sysusers", "baton: echo no >&2; exit 1"}, files: []string{systemd}, args: []string{"configure", "0.9"},
			calls: "systemd-sysusers baton.conf\nsystemctl daemon-reload\nbaton upgrade\n",
			said: "no\nbaton: the daemon that runs goes on as it was, with the program before. When that is mended: baton upgrade; " +
				"systemctl try-restart baton-runner\n",
		},
		"upgrade, systemd is broken": {
			programs: []string{"systemctl: exit 1", "systemd-sysusers", "baton: echo done"}, files: []string{systemd}, args: []string{"2"},
			calls: "systemd-sysusers baton.conf\nsystemctl daemon-reload\nbaton upgrade\nsystemctl try-restart baton-runner.service\n",
			said: "baton: systemctl daemon-reload failed: systemd has the units of before\ndone\n" +
				"baton: the runner did not start again: systemctl status baton-runner\n",
		},
		"Debian takes an upgrade back": {args: []string{"abort-upgrade", "0.9"}, programs: []string{"systemctl", "baton"}, files: []string{systemd}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, test.programs, test.files)
			calls, said := h.script("postinstall", test.args...)
			if diff := cmp.Diff([2]string{test.calls, test.said}, [2]string{calls, said}); diff != "" {
				t.Errorf("calls, said (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPreremove(t *testing.T) {
	const (
		stopped  = "systemctl stop baton.service\nsystemctl stop baton-runner.socket baton-runner.service\n"
		disabled = "systemctl --quiet disable baton.service baton-runner.service\n"
	)
	for name, test := range map[string]struct {
		programs, files, args []string
		calls, said           string
		keeps                 bool // the runtime directory
	}{
		"deb": {
			programs: []string{"systemctl", notRunning}, files: []string{systemd}, args: []string{"remove"},
			calls: stopped + disabled + "baton status\n",
		},
		"rpm": {
			programs: []string{"systemctl", notRunning}, files: []string{systemd}, args: []string{"0"},
			calls: stopped + disabled + "baton status\n",
		},
		"the daemon was killed": {
			programs: []string{"systemctl", "baton: [ $1 != status ] || exit 2"}, files: []string{systemd, "run/baton/record"}, args: []string{"0"},
			calls: stopped + disabled + "baton status\nbaton release\n",
		},
		"systemd does not run": {
			programs: []string{"systemctl", notRunning}, args: []string{"0"},
			calls: disabled + "baton status\n",
		},
		"without systemd": {programs: []string{notRunning}, args: []string{"remove"}, calls: "baton status\n"},
		"somebody else's daemon": {
			programs: []string{"baton: exit 1"}, args: []string{"remove"}, calls: "baton status\n", keeps: true,
			said: "baton: a daemon still runs, one that systemd has not started. It goes on without its files: end it\n",
		},
		"all fails": {
			programs: []string{"systemctl: exit 1", "baton: [ $1 = status ] && exit 2; exit 1"}, files: []string{systemd, "run/baton/record"},
			args:  []string{"remove"},
			calls: stopped + disabled + "baton status\nbaton release\n",
			said: "baton: it did not stop in order: journalctl -u baton\nbaton: the runner did not stop: systemctl status baton-runner\n" +
				"baton: the units could not be disabled\nbaton: see above: remove the addresses by hand, or wait until the kernel does\n",
		},
		"an upgrade, deb": {programs: []string{"systemctl", "baton"}, files: []string{systemd}, args: []string{"upgrade", "2.0"}, keeps: true},
		"an upgrade, rpm": {programs: []string{"systemctl", "baton"}, files: []string{systemd}, args: []string{"1"}, keeps: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, test.programs, append(test.files, "run/baton/baton.pid"))
			calls, said := h.script("preremove", test.args...)
			if diff := cmp.Diff([2]string{test.calls, test.said}, [2]string{calls, said}); diff != "" {
				t.Errorf("calls, said (-want +got):\n%s", diff)
			}
			if h.has("run/baton") != test.keeps {
				t.Errorf("/run/baton is kept: %t", !test.keeps)
			}
		})
	}
}

func TestPostremove(t *testing.T) {
	files := []string{systemd, "var/lib/baton/standby.json", "etc/baton/"}
	for name, test := range map[string]struct {
		files, args  []string
		locked       bool
		calls, said  string
		gone, stands []string
	}{
		"deb": {
			args: []string{"remove"}, stands: []string{"var/lib/baton/standby.json", "etc/baton"},
			calls: "systemctl daemon-reload\nsystemctl --quiet reset-failed baton.service baton-runner.service baton-release.service\n",
		},
		"rpm": {
			args: []string{"0"}, stands: []string{"var/lib/baton/standby.json", "etc/baton"},
			calls: "systemctl daemon-reload\nsystemctl --quiet reset-failed baton.service baton-runner.service baton-release.service\n",
		},
		"upgrade, deb": {args: []string{"upgrade", "2.0"}, stands: []string{"var/lib/baton/standby.json", "etc/baton"}},
		"upgrade, rpm": {args: []string{"1"}, stands: []string{"var/lib/baton/standby.json", "etc/baton"}},
		"purge":        {args: []string{"purge"}, gone: []string{"var/lib/baton", "etc/baton"}, stands: []string{"var/lib", "etc"}},
		"purge, a daemon has ended since": {
			files: []string{"run/baton/baton.pid"}, args: []string{"purge"}, gone: []string{"var/lib/baton", "etc/baton", "run/baton"},
		},
		"purge, a daemon runs": {
			locked: true, files: []string{"run/baton/baton.pid"}, args: []string{"purge"}, gone: []string{"var/lib/baton"}, stands: []string{"run/baton"},
		},
		"purge keeps what is the operator's": {
			files: []string{configured, "var/lib/baton/.ssh/id"}, args: []string{"purge"},
			gone: []string{"var/lib/baton/standby.json"}, stands: []string{configured, "var/lib/baton/.ssh/id"},
			said: "baton: /var/lib/baton stays: what is in it is not the package's\nbaton: /etc/baton stays: what is in it is not the package's\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, []string{"systemctl: exit $(($# - 1))"}, append(test.files, files...))
			if test.locked {
				lock, err := os.Open(filepath.Join(h.dir, "run/baton/baton.pid"))
				if err == nil {
					defer lock.Close()
					err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			calls, said := h.script("postremove", test.args...)
			if diff := cmp.Diff([2]string{test.calls, test.said}, [2]string{calls, said}); diff != "" {
				t.Errorf("calls, said (-want +got):\n%s", diff)
			}
			for _, name := range test.gone {
				if h.has(name) {
					t.Errorf("%s is left", name)
				}
			}
			for _, name := range test.stands {
				if !h.has(name) {
					t.Errorf("%s is gone", name)
				}
			}
		})
	}
	h := newHost(t, nil, nil)
	for _, args := range []string{"remove", "purge", "0"} {
		if calls, said := h.script("postremove", args); calls != "" || said != "" {
			t.Errorf("where there is nothing: %q, %q", calls, said)
		}
	}
}
