package daemon

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"baton/health"
	"baton/internal/command"
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

func TestChecksOf(t *testing.T) {
	runner := command.NewRunner(slog.New(slog.DiscardHandler))
	defer runner.Close()
	got := checksOf(&config.Config{Checks: []config.Check{
		{Name: "haproxy", Type: config.HAProxyCheck, Interval: time.Second, Timeout: 2 * time.Second, Rise: 3, Fall: 4,
			HAProxy: &config.HAProxy{Socket: "/run/no-such-socket"}},
		{Name: "script", Type: config.CommandCheck, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1,
			Command: &config.Command{Argv: []string{"/bin/sh"}, User: "no-such-user", Timeout: time.Second}},
	}}, runner)
	want := []health.Check{
		{Name: "haproxy", Interval: time.Second, Timeout: 2 * time.Second, Rise: 3, Fall: 4},
		{Name: "script", Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(health.Check{}, "Probe")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Fail closed: one that cannot be asked is a failing check, not a missing one.
	for _, c := range got {
		if answer := c.Probe.Probe(t.Context()); answer.OK || answer.Text == "" {
			t.Errorf("%s: %+v, want a failure with words", c.Name, answer)
		}
	}
}
