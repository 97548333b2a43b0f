package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/internal/trial"
)

// realUnits are what the real systemd runs; the user's manager knows the same
// kinds as the system's.
var realUnits = map[string]string{
	"good.service":     "[Service]\nExecStart=/bin/sleep 60\n",
	"stubborn.service": "[Service]\nExecStart=/bin/sh -c 'trap \"\" TERM; for i in $(seq 1000); do sleep 0.05; done'\nTimeoutStopSec=1h\n",
	"oneshot.service":  "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
	"ends.service":     "[Service]\nType=oneshot\nExecStart=/bin/true\n",
	"fails.service":    "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 3'\n",
	"slow.service":     "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 60\n",
	"again.service":    "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStartPre=/bin/false\nExecStart=/bin/sleep 60\nRestart=always\nRestartSec=1h\n",
	"limited.service":  "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=1\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'exit 5'\n",
	"needs.service":    "[Unit]\nRequires=fails.service\nAfter=fails.service\n[Service]\nExecStart=/bin/sleep 60\n",
	"unmet.service":    "[Unit]\nConditionPathExists=/nowhere\n[Service]\nExecStart=/bin/sleep 60\n",
	"bad.service":      "[Service]\nType=simple\n",
	"test.target":      "[Unit]\nRequires=good.service\n",
}

// realSystemd runs the manager of a user in namespaces of its own.
func realSystemd(t *testing.T) *Systemd {
	t.Helper()
	trial.NeedRoot(t)
	const systemd = "/lib/systemd/systemd"
	if _, err := os.Stat(systemd); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("systemd is not installed, and CI must test against it")
		}
		t.Skip("systemd is not installed")
	}
	leavesNothing(t)
	dir := trial.ShortDir(t)
	units := filepath.Join(dir, "config/systemd/user")
	if err := os.MkdirAll(units, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range realUnits {
		if err := os.WriteFile(filepath.Join(units, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/null", filepath.Join(units, "masked.service")); err != nil {
		t.Fatal(err)
	}
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o755); err != nil {
		t.Fatal(err)
	}
	// A user's manager starts only where the system was booted with systemd, which
	// is a folder to it. It shares this process's PID namespace: from another one it
	// would not let anybody in. Told to end it stops what it runs. It takes all
	// processes of its control group for its own and moves them into one below: so it
	// is given one for itself.
	script := `mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system || exit 1
for root in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -e "$root/cgroup.procs" ] || continue
    mkdir "$root/$1" 2>/dev/null && echo $$ 2>/dev/null >"$root/$1/cgroup.procs" || :
done
exec "$0" --user --unit=basic.target`
	group := fmt.Sprintf("baton-test-%d", os.Getpid())
	before := ownGroups(t)
	t.Cleanup(func() {
		removeGroups(t, group)
		if now := ownGroups(t); now != before {
			t.Errorf("systemd has moved this process into other control groups:\n%s\nbefore:\n%s", now, before)
		}
	})
	out := new(trial.Log)
	cmd := exec.Command("/bin/sh", "-c", script, systemd, group)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+run, "XDG_CONFIG_HOME="+dir+"/config", "HOME="+dir, "SYSTEMD_LOG_TARGET=console", "DBUS_SESSION_BUS_ADDRESS=unix:path=/nowhere")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // or it is dead
		late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
		if t.Failed() {
			t.Log(out)
		}
	})
	socket := filepath.Join(run, "systemd/private")
	eventually(t, "systemd listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	s := newSystemd("unix:path="+socket, true, slog.New(slog.DiscardHandler))
	t.Cleanup(s.Close)
	return s
}

// ownGroups are the control groups of this process.
func ownGroups(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// removeGroups removes a control group that nobody is in any more, and those in it.
func removeGroups(t *testing.T, name string) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
		roots, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, root := range roots {
			var all []string
			_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					all = append(all, path)
				}
				return nil
			})
			for _, path := range slices.Backward(all) {
				eventually(t, "control group "+path+" is empty", func() bool {
					err := os.Remove(path)
					return err == nil || errors.Is(err, os.ErrNotExist)
				})
			}
		}
	}
}

// What the stand-in of systemd says is what the real one says.
func TestSystemd_Real(t *testing.T) {
	s := realSystemd(t)
	n := watching(t, s.Unit("good.service").(Watcher))
	eventually(t, "it watches", func() bool { return n.Load() == 1 })
	for range 20 { // to ask is no change
		s.Unit("good.service").Status(in(t, 10*time.Second))
	}
	if n.Load() != 1 {
		t.Errorf("told %d times of nothing", n.Load())
	}
	const ends = "it is inactive (dead) after its start: it ended by itself (Type=oneshot then needs RemainAfterExit=yes), or one of its conditions does not hold; see systemctl status "
	const unknown = "no such unit: install it, or mend the name; after a change of its file: systemctl daemon-reload"
	const bad = "its file cannot be loaded (bad-setting): Unit bad.service has a bad unit file setting."
	steps := []struct {
		do, name string
		err      string // without "start NAME: "
		is       State
		text     string
	}{
		{"ask", "good.service", "", Stopped, "inactive (dead)"},
		{"start", "good.service", "", Running, "active (running)"},
		{"start", "good.service", "", Running, "active (running)"},
		{"stop", "good.service", "", Stopped, "inactive (dead)"},
		{"stop", "good.service", "", Stopped, "inactive (dead)"},
		{"start", "stubborn.service", "", Running, "active (running)"},
		{"stop", "stubborn.service", "", Stopped, "inactive (dead)"},
		{"start", "oneshot.service", "", Running, "active (exited)"},
		{"stop", "oneshot.service", "", Stopped, "inactive (dead)"},
		{"start", "ends.service", ends + "ends.service", Stopped, "inactive (dead)"},
		{"start", "unmet.service", ends + "unmet.service", Stopped, "inactive (dead)"},
		{"start", "fails.service", "job failed: exit-code 3; see journalctl -u fails.service", Failed, "failed: exit-code 3"},
		{"start", "needs.service", "job dependency: a unit that it requires did not start; see systemctl list-dependencies needs.service", Stopped, "inactive (dead)"},
		{"start", "again.service", "job failed: exit-code; see journalctl -u again.service", Starting, "activating (auto-restart)"},
		{"stop", "again.service", "", Stopped, "inactive (dead)"},
		// Its limit of one start an hour does not stand against a second on purpose.
		{"start", "limited.service", "job failed: exit-code 5; see journalctl -u limited.service", Failed, "failed: exit-code 5"},
		{"start", "limited.service", "job failed: exit-code 5; see journalctl -u limited.service", Failed, "failed: exit-code 5"},
		{"start", "bad.service", bad + ": systemd-analyze verify bad.service", Stopped, bad},
		{"stop", "bad.service", "", Stopped, bad},
		{"start", "masked.service", "masked: systemctl unmask masked.service", Stopped, "masked"},
		{"stop", "masked.service", "", Stopped, "masked"},
		{"start", "none.service", unknown, Stopped, "no such unit"},
		{"stop", "none.service", "", Stopped, "no such unit"},
		{"start", "test.target", "", Running, "active (active)"},
		{"ask", "good.service", "", Running, "active (running)"}, // the target required it
	}
	for _, step := range steps {
		u := s.Unit(step.name)
		var err error
		switch step.do {
		case "start":
			err = u.Start(in(t, 20*time.Second))
		case "stop":
			err = u.Stop(in(t, 4*time.Second))
		}
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), step.do+" "+step.name+": ")
		}
		st := u.Status(in(t, 10*time.Second))
		if got != step.err || st.State != step.is || st.Text != step.text {
			t.Errorf("%s %s: got %q, %v: %s\nwant %q, %v: %s", step.do, step.name, got, st.State, st.Text, step.err, step.is, step.text)
		}
	}

	// A start that is given up does not come up later.
	slow := s.Unit("slow.service")
	if err := slow.Start(in(t, 300*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	eventually(t, "it is taken back", func() bool { return slow.Status(in(t, 10*time.Second)).State == Failed })

	// An upgrade of systemd, which executes itself anew and drops all connections.
	b, err := s.connect(in(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	before := n.Load()
	_, _ = b.call(in(t, 10*time.Second), systemdPath, managerIface+".Reexecute") // it has no answer
	good := s.Unit("good.service")
	if err := good.Stop(in(t, 20*time.Second)); err != nil {
		t.Error(err)
	}
	eventually(t, "it is watched again", func() bool { return n.Load() > before })
	if err := good.Start(in(t, 20*time.Second)); err != nil {
		t.Error(err)
	}
	before = n.Load()
	if b, err = s.connect(in(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.call(in(t, 10*time.Second), systemdPath, managerIface+".KillUnit", "good.service", "all", int32(9)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its death is told", func() bool { return n.Load() > before })
	eventually(t, "it has failed", func() bool { return good.Status(in(t, 10*time.Second)).Text == "failed: signal" })
}
