package daemon

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"baton/internal/config"
	"baton/vrrp"
)

// holds tells whether the address is on the interface.
func holds(t *testing.T, name string, addr netip.Addr) bool {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		return false
	}
	all, err := netlink.AddrList(l, netlink.FAMILY_V4)
	must(t, err)
	for _, a := range all {
		if a.IP.String() == addr.String() {
			return true
		}
	}
	return false
}

// The whole daemon on a real interface: one that is not there at first, a
// peer that takes the role and leaves it, and the end.
func TestDaemon(t *testing.T) {
	needNamespace(t)
	dir := t.TempDir()
	told := filepath.Join(dir, "told")
	file := filepath.Join(dir, "baton.yaml")
	must(t, os.WriteFile(file, []byte(`
nodes: {a: 10.77.0.1, b: 10.77.0.2}
virtual_routers:
  web:
    interface: eth0
    vrid: 51
    prefer: a
    advertisement_interval: 50ms
    addresses: [10.77.0.100/24]
    notify: {any: [sh, -c, 'echo "$role $$BATON_PREVIOUS_MASTER" >> `+told+`']}
`), 0o600))
	cfg, report := config.Load(file, config.Options{Node: "a"})
	if cfg == nil {
		var b strings.Builder
		_, _ = report.WriteTo(&b)
		t.Fatal(b.String())
	}
	log := newLines()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log.String())
		}
	})
	d, err := newDaemon(cfg, t.TempDir(), t.TempDir(), nil, slog.New(slog.NewTextHandler(log, nil)))
	must(t, err)
	d.logging = newLogging(io.Discard, cfg.Log, "", false)
	signals := make(chan os.Signal, 2)
	ended := make(chan error, 1)
	go func() { ended <- d.run(signals) }()
	over := false
	t.Cleanup(func() {
		for range 2 {
			signals <- syscall.SIGTERM
		}
		if !over {
			<-ended
		}
	})

	at := 0
	virtual, peer := netip.MustParseAddr("10.77.0.100"), netip.MustParseAddr("10.77.0.2")
	log.await(t, &at, "msg=role", "to=FAULT", `reason="interface eth0 does not exist"`)
	log.await(t, &at, `msg="hook ran"`, "state=FAULT")
	cable(t, "eth0", "far0")
	log.await(t, &at, `msg="reasons for FAULT changed"`, `reason="interface eth0 has no IPv4 address of its own"`)
	addAddress(t, "eth0", "10.77.0.1/24")
	log.await(t, &at, "msg=role", "to=BACKUP", `reason="no reason for FAULT is left"`)
	log.await(t, &at, "msg=role", "to=MASTER", `reason="heard nobody for`)
	log.await(t, &at, `msg="hook ran"`, "state=MASTER")
	if !holds(t, "eth0", virtual) {
		t.Error("hooks have been told of MASTER, and the address is not on")
	}

	w := newWire(t, "far0")
	better := vrrp.Advertisement{VRID: 51, Priority: 250, Interval: 2 * time.Second, Addresses: []netip.Addr{virtual}}
	w.advertise(peer, 64, better)
	log.await(t, &at, `msg="packet refused"`, "interface=eth0", "from=10.77.0.2", "reason="+vrrp.RefusedTTL.String())
	better.VRID = 52
	w.advertise(peer, 255, better)
	log.await(t, &at, `msg="packet refused"`, "reason="+vrrp.RefusedVRID.String())
	better.VRID = 51
	// Not two that began at the same moment: it has been master for some time.
	for _, a := range w.advertisements(3) {
		if a.VRID != 51 || a.Priority != 200 {
			t.Errorf("advertises VRID %d with priority %d, want 51 with 200", a.VRID, a.Priority)
		}
	}
	heard := time.Now()
	w.advertise(peer, 255, better)
	log.await(t, &at, "msg=role", "to=BACKUP", `reason="b is higher: 250 above 200"`)
	if !holds(t, "eth0", virtual) {
		t.Error("the address has gone before the successor announced it")
	}
	w.announce(virtual)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for holds(t, "eth0", virtual) {
		if time.Since(heard) > patience {
			t.Fatal("the address stays though the successor has it")
		}
		<-tick.C
	}
	if took := time.Since(heard); took >= time.Second {
		t.Errorf("the address went after %s: by the time limit, not by the announcement", took)
	}
	better.Priority = 0
	w.advertise(peer, 255, better)
	log.await(t, &at, "msg=role", "to=MASTER", `reason="b left (priority 0); skew`)
	log.await(t, &at, `msg="hook ran"`, "state=MASTER")

	text, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, []byte(strings.Replace(string(text), "prefer: a", "prefer: d", 1)+
		"checks: {nobodys: {type: file, path: /nowhere}}\n"), 0o600)) // a mistake, and a warning
	signals <- syscall.SIGHUP
	log.await(t, &at, "reload failed, and nothing has changed", `err="1 mistake"`)
	log.await(t, &at, "mistake in the configuration", "line=7")
	if n := strings.Count(log.String(), "mistake in the configuration"); n != 1 {
		t.Errorf("%d mistakes are logged", n)
	}
	must(t, os.WriteFile(file, []byte(strings.Replace(string(text), "[10.77.0.100/24]", "[10.77.0.100/24, 10.77.0.101/24]", 1)), 0o600))
	signals <- syscall.SIGHUP
	log.await(t, &at, "configuration changed", `what="addresses: + 10.77.0.101/24" cost="added and announced; stays MASTER"`)
	for began := time.Now(); !holds(t, "eth0", netip.MustParseAddr("10.77.0.101")); <-tick.C {
		if time.Since(began) > patience {
			t.Fatal("the new address is not there")
		}
	}
	left := time.Now()
	signals <- syscall.SIGTERM
	log.await(t, &at, `msg="baton leaves"`, "signal=terminated")
	log.await(t, &at, "msg=role", "to=INIT", `reason="baton stops"`)
	if !holds(t, "eth0", virtual) {
		t.Error("the address has gone before a successor was heard")
	}
	signals <- syscall.SIGINT
	log.await(t, &at, "second signal: the addresses go at once")
	select {
	case err := <-ended:
		over = true
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the daemon does not end")
	}
	if took := time.Since(left); took >= 2*time.Second {
		t.Errorf("it ended after %s: when the handover must be over, not at the second signal", took)
	}
	if holds(t, "eth0", virtual) {
		t.Error("the address is still on")
	}
	text, err = os.ReadFile(told)
	must(t, err)
	if got, want := string(text), "FAULT \nBACKUP \nMASTER \nBACKUP a\nMASTER b\nSTOP a\n"; got != want {
		t.Errorf("hooks were told %q, want %q", got, want)
	}
}

func TestRun_WithMistakesStartsNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "baton.yaml")
	must(t, os.WriteFile(file, []byte("virtual_routers: {web: {vrid: 0}}\n"), 0o600))
	var log strings.Builder
	err := Run(Options{Config: file, RuntimeDir: filepath.Join(dir, "run"), Log: &log})
	var mistakes *ConfigError
	if !errors.As(err, &mistakes) || mistakes.Report.Errors() == 0 {
		t.Fatalf("error %v, want a *ConfigError with mistakes", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "run")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the runtime directory was made: %v", err)
	}
	if log.Len() > 0 {
		t.Errorf("something was logged: %s", log.String())
	}
}

// Whoever can change the file could run commands as the daemon.
func TestRun_FileThatOthersCanWrite(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "baton.yaml")
	must(t, os.WriteFile(file, []byte("virtual_routers: {web: {interface: nowhere, vrid: 1, addresses: [10.0.0.1/24]}}\n"), 0o600))
	must(t, os.Chmod(file, 0o602))
	err := Run(Options{Config: file, RuntimeDir: filepath.Join(dir, "run"), Log: io.Discard, Signals: func() <-chan os.Signal {
		signals := make(chan os.Signal, 1)
		signals <- syscall.SIGTERM // where it should start after all
		return signals
	}})
	var mistakes *ConfigError
	if !errors.As(err, &mistakes) {
		t.Fatalf("error %v, want a *ConfigError", err)
	}
	var b strings.Builder
	_, _ = mistakes.Report.WriteTo(&b)
	if want := file + " is writable by everybody (-rw-----w-)"; !strings.Contains(b.String(), want) || !strings.Contains(b.String(), "chmod o-w "+file) {
		t.Errorf("got %s, want %q and its mend", b.String(), want)
	}
}
