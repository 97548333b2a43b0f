package daemon

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"baton/health"
	"baton/internal/config"
	"baton/internal/role"
	"baton/vip"
)

func TestTracksOf(t *testing.T) {
	got := tracksOf([]config.Track{
		{Check: "a", Effect: config.Fault, When: config.Always},
		{Check: "b", Effect: config.Weight, Weight: -60, When: config.Master, Grace: time.Minute},
		{Check: "c", Effect: config.ReportOnly, When: config.Backup},
	})
	want := []health.Track{
		{Check: "a", Effect: health.Effect{Kind: health.Fault, When: health.Always}},
		{Check: "b", Effect: health.Effect{Kind: health.Weight, Weight: -60, When: health.Master, Grace: time.Minute}},
		{Check: "c", Effect: health.Effect{Kind: health.Report, When: health.Backup}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAddressesOf(t *testing.T) {
	web := webRouter()
	web.Addresses = append(web.Addresses, config.Address{Prefix: netip.MustParsePrefix("10.0.0.101/32"), Label: "eth0:1"})
	web.AddressLifetime = time.Minute
	web.Announce = config.Announce{Count: 5, AgainAfter: 5 * time.Second, Every: time.Hour}
	want := vip.Router{
		Name: "web", Interface: "eth0", Lifetime: time.Minute,
		Addresses: []vip.Address{
			{Prefix: netip.MustParsePrefix("10.0.0.100/24"), Repair: true},
			{Prefix: netip.MustParsePrefix("10.0.0.101/32"), Label: "eth0:1"},
		},
		Announce: vip.Announce{Count: 5, AgainAfter: 5 * time.Second, Every: time.Hour},
	}
	prefixes := cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})
	if diff := cmp.Diff(want, addressesOf(web, "web"), prefixes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	web.Priority = 255
	want.Native = true
	if diff := cmp.Diff(want, addressesOf(web, "web"), prefixes); diff != "" {
		t.Errorf("of an owner (-want +got):\n%s", diff)
	}
}

func TestHooksOf(t *testing.T) {
	web := webRouter()
	command := func(name string) []config.Command {
		return []config.Command{{Argv: []string{name}, Timeout: time.Second, User: "nobody", Env: []string{"A=1"}}}
	}
	web.Notify = config.Notify{
		Any: command("any"), Master: command("master"), Backup: command("backup"),
		Fault: command("fault"), Stop: command("stop"), Reassert: command("reassert"),
	}
	hook := func(name string) []role.Hook {
		return []role.Hook{{Argv: []string{name}, Timeout: time.Second, User: "nobody", Env: []string{"A=1"}}}
	}
	want := role.Hooks{
		Any: hook("any"), Master: hook("master"), Backup: hook("backup"),
		Fault: hook("fault"), Stop: hook("stop"), Reassert: hook("reassert"),
	}
	if diff := cmp.Diff(want, hooksOf(web.Notify)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Each type of check is asked in its own way; and fails closed: one that cannot
// be asked is a failing check with words, not a missing one.
func TestHost_Checks(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/no-such-socket")
	h := newHost(t.TempDir(), nil, slog.New(slog.DiscardHandler))
	defer h.close()
	address := netip.MustParseAddr("192.0.2.1")
	processes := &config.Processes{Name: "no-such-process", Least: 1, Most: -1, Ports: []int{5672}}
	checks := []config.Check{
		{Type: config.HAProxyCheck, HAProxy: &config.HAProxy{Socket: "/run/no-such-socket"}},
		{Type: config.CommandCheck, Command: &config.Command{Argv: []string{"/bin/sh"}, User: "no-such-user", Timeout: time.Second}},
		{Type: config.HTTPCheck, HTTP: &config.HTTP{URL: "http://x/", Socket: "/run/no-such-socket", Method: "GET", Statuses: [][2]int{{200, 299}}}},
		{Type: config.UnixCheck, Dialogue: &config.Dialogue{Network: "unix", Address: "/run/no-such-socket"}},
		{Type: config.ConnectionCheck, Processes: processes},
		{Type: config.ProcessCheck, Processes: processes},
		{Type: config.FileCheck, File: &config.File{Path: "/run/no-such-file"}},
		{Type: config.FileCheck, File: &config.File{Path: "/run/no-such-file", Want: config.FileNumber}},
		{Type: config.InterfaceCheck, Presence: &config.Presence{Interface: "no-such-eth"}},
		{Type: config.AddressCheck, Presence: &config.Presence{Address: address}},
		{Type: config.RouteCheck, Presence: &config.Presence{To: netip.PrefixFrom(address, 32), Table: 254}},
		{Type: config.UnitCheck, Unit: "no-such.service"},
		{Type: config.ContainerCheck, Container: &config.Container{Name: "no-such", Socket: "/run/no-such-socket"}},
		{Type: config.OCFCheck, OCF: &config.OCF{Provider: "no-such", Agent: "agent"}},
	}
	for i := range checks {
		c := &checks[i]
		c.Name, c.Interval, c.Timeout, c.Rise, c.Fall = c.Type.String(), time.Second, 2*time.Second, 3, 4
	}
	checks = append(checks, config.Check{
		Name: "most", Type: config.AtLeastCheck, Rise: 1, Fall: 1, Combination: &config.Combination{Of: []string{"http", "file"}, Least: 2},
	})
	got, err := h.checks(&config.Config{Checks: checks})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range got {
		want := health.Check{Name: checks[i].Name, Interval: time.Second, Timeout: 2 * time.Second, Rise: 3, Fall: 4}
		if checks[i].Combination != nil {
			want = health.Check{Name: "most", Rise: 1, Fall: 1, Of: []string{"http", "file"}, Least: 2}
		}
		if diff := cmp.Diff(want, c, cmpopts.IgnoreFields(health.Check{}, "Probe")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.Name, diff)
		}
		if c.Probe == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if answer := c.Probe.Probe(ctx); answer.OK || answer.Text == "" {
			t.Errorf("%s: %+v, want a failure with words", c.Name, answer)
		}
		cancel()
	}
	if _, err := h.checks(&config.Config{Checks: []config.Check{{Name: "odd", Type: 99}}}); err == nil {
		t.Error("a type that nobody knows is no check")
	}
}
