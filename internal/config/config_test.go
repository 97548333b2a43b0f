package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// prefixes and addresses are compared as values.
var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.IgnoreUnexported(Config{}),
}

// someone is a host that says nothing about itself.
func someone(node string) Options {
	return Options{
		Node:      node,
		Getenv:    func(string) string { return "" },
		Hostname:  func() (string, error) { return "host.example.org", nil },
		HostAddrs: func() ([]netip.Addr, error) { return nil, nil },
	}
}

func mustLoad(t *testing.T, path string, o Options) *Config {
	t.Helper()
	c, report := Load(path, o)
	if c == nil || len(report.Diagnostics) > 0 {
		var b strings.Builder
		report.WriteTo(&b)
		t.Fatalf("config %v, findings:\n%s", c, b.String())
	}
	return c
}

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// plain is an address without options.
func plain(prefix string) Address {
	return Address{Prefix: netip.MustParsePrefix(prefix), Repair: true, Advertise: true}
}

func TestLoad_Minimal(t *testing.T) {
	addr := netip.MustParseAddr
	got := mustLoad(t, "../../configs/minimal.yaml", someone("lb2"))
	want := &Config{
		Path: "../../configs/minimal.yaml", Dir: "../../configs", Hash: got.Hash, Node: "lb2",
		Nodes: []Node{
			{Name: "lb1", Cluster: addr("10.0.0.11"), Networks: map[string]netip.Addr{}},
			{Name: "lb2", Cluster: addr("10.0.0.12"), Networks: map[string]netip.Addr{}},
		},
		Routers: []Router{{
			Name: "web", Interface: "eth0", VRID: 51, Priority: 190, Priorities: map[string]uint8{"lb1": 200, "lb2": 190},
			BestRival: 200, SlowestRival: 200, Interval: time.Second, Preempt: true, Version: 3, Accept: true, Missed: 3, TrackLink: true,
			Addresses:       []Address{plain("10.0.0.100/24")},
			AddressLifetime: time.Minute, Announce: Announce{Count: 5, AgainAfter: 5 * time.Second}, RetryAfter: 5 * time.Minute,
		}},
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(got.Hash) != 8 {
		t.Errorf("hash %q", got.Hash)
	}
}

func TestLoad_Everything(t *testing.T) {
	c := mustLoad(t, "testdata/good/everything.yaml", someone("lb2"))
	addr := netip.MustParseAddr
	notify := []Command{{Argv: []string{"/etc/baton/notify.sh"}, Timeout: 30 * time.Second}}
	want := &Config{
		Path: c.Path, Dir: c.Dir, Hash: c.Hash, Node: "lb2", Nodes: c.Nodes,
		Log: Log{slog.LevelDebug, true},
		Checks: []Check{
			{Name: "api", Type: CommandCheck, Interval: 500 * time.Millisecond, Timeout: 400 * time.Millisecond, Rise: 3, Fall: 2, Command: &Command{
				Argv: []string{"check-api", "--url", "http://10.0.0.12:80", "5 $"}, Timeout: 400 * time.Millisecond, User: "nobody",
			}},
			{Name: "extra", Type: CommandCheck, Interval: 500 * time.Millisecond, Timeout: 500 * time.Millisecond, Rise: 3, Fall: 2, Command: &Command{
				Argv: []string{"true"}, Timeout: 500 * time.Millisecond,
			}},
			{Name: "haproxy", Type: HAProxyCheck, Interval: 500 * time.Millisecond, Timeout: 500 * time.Millisecond, Rise: 3, Fall: 2, HAProxy: &HAProxy{
				Socket: "/run/lb2/admin.sock", Backend: "api", MinUp: 2,
			}},
			{Name: "quoting", Type: CommandCheck, Interval: 500 * time.Millisecond, Timeout: 500 * time.Millisecond, Rise: 3, Fall: 2, Command: &Command{
				Argv: []string{"/usr/bin/printf", "a | b", `c "d" $1`, "e f", "$HOME"}, Timeout: 500 * time.Millisecond,
			}},
		},
		Routers: []Router{
			{
				Name: "two-hosts", Interface: "eth0", VRID: 60, Priority: 100, Priorities: map[string]uint8{"lb1": 255, "lb2": 100},
				BestRival: 255, SlowestRival: 255, Interval: time.Second, Preempt: true, Version: 3, Accept: true, Missed: 3, TrackLink: true,
				Addresses:       []Address{plain("10.0.0.11/24")},
				AddressLifetime: time.Minute, Announce: Announce{Count: 5, AgainAfter: 5 * time.Second, Every: time.Minute}, RetryAfter: 5 * time.Minute,
				Track:  []Track{{Check: "haproxy"}, {Check: "api"}},
				Notify: Notify{Any: notify},
			},
			{
				Name: "web", Interface: "eno1", VRID: 51, Priority: 200, Priorities: map[string]uint8{"lb2": 200, "lb1": 190, "lb3.example.org": 180},
				BestRival: 190, SlowestRival: 160, Interval: 100 * time.Millisecond, PlainChecksum: true, Version: 3, Accept: true, Missed: 3, TrackLink: true,
				Addresses: []Address{plain("10.0.0.100/24"), plain("10.0.0.101/32"), {Prefix: netip.MustParsePrefix("10.0.0.102/32"), Advertise: true}},
				Source:    addr("10.0.0.12"), Known: []netip.Addr{addr("10.0.0.11"), addr("10.0.0.12"), addr("10.0.0.13")}, Announce: Announce{Count: 3, AgainAfter: 5 * time.Second, Every: time.Minute}, RetryAfter: 90 * time.Second,
				Track: []Track{
					{Check: "haproxy"}, {Check: "quoting", Effect: Weight, Weight: -20, When: Backup},
					{Check: "extra", Effect: Fault, When: Master, Grace: 4 * time.Minute},
				},
				Notify: Notify{
					Any:    notify,
					Master: []Command{{Argv: []string{"/bin/sh", "-c", `echo "$role" | logger -t $router`}, Timeout: 30 * time.Second}},
					Backup: []Command{
						{Argv: []string{"client", "--master", "$master.cluster", "--was", "$previous_master"}, Timeout: 5 * time.Second, User: "daemon"},
						{Argv: []string{"/bin/true"}, Timeout: 30 * time.Second},
					},
					Reassert: []Command{{Argv: []string{"/bin/true", "$$HOME", "lb2", "$$$role", "5$"}, Timeout: 30 * time.Second}},
				},
			},
			{
				Name: "web6", Interface: "eno1", IPv6: true, VRID: 51, Priority: 200, Priorities: map[string]uint8{"lb2": 200, "lb1": 190, "lb3.example.org": 180},
				BestRival: 210, SlowestRival: 180, Interval: time.Second, Version: 3, Accept: true, Missed: 3, TrackLink: true,
				Addresses:       []Address{plain("fe80::51/64"), plain("2001:db8::100/64")},
				AddressLifetime: time.Minute, Announce: Announce{Count: 5, AgainAfter: 5 * time.Second, Every: time.Minute}, RetryAfter: 5 * time.Minute,
				Track:  []Track{{Check: "haproxy", Effect: Weight, Weight: 20}, {Check: "api"}, {Check: "quoting", Effect: ReportOnly}},
				Notify: Notify{Any: notify},
			},
		},
	}
	if diff := cmp.Diff(want, c, byValue); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	third := mustLoad(t, "testdata/good/everything.yaml", someone("lb3.example.org"))
	var names []string
	for _, r := range third.Routers {
		names = append(names, r.Name)
	}
	if diff := cmp.Diff([]string{"web", "web6"}, names); diff != "" {
		t.Errorf("routers of the third node (-want +got):\n%s", diff)
	}
}

// Every check that some router of this node tracks is there, in whatever way; no other is.
func TestLoad_OnlyWhatRunsHere(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "baton.yaml"), `
nodes: {lb1: 10.0.0.11, lb2: 10.0.0.12, lb3: 10.0.0.13}
checks:
  shown: {type: command, command: /bin/a}
  there: {type: command, command: /bin/b, environment_file: not-on-this-host.env}
virtual_routers:
  a: {interface: eth0, vrid: 1, prefer: lb1, addresses: [10.0.0.1/24], track: {shown: report}}
  b: {interface: {lb2: eth0, lb3: eth0}, vrid: 2, prefer: lb2, addresses: [10.0.0.2/24], track: [there], notify: {any: {command: /bin/c, environment_file: nor-this}}}
`, 0o644)
	c := mustLoad(t, path, someone("lb1"))
	if len(c.Checks) != 1 || c.Checks[0].Name != "shown" || len(c.Routers) != 1 || c.Routers[0].Name != "a" {
		t.Errorf("checks %v, routers %v", c.Checks, c.Routers)
	}
	if _, report := Load(path, someone("lb2")); report.Errors() != 2 {
		t.Errorf("on lb2 both files are missing, found %v", report.Diagnostics)
	}
}

func TestLoad_Environment(t *testing.T) {
	text := func(file string) string {
		return "checks:\n  a: {type: command, command: /bin/a, environment_file: " + file + "}\n" +
			"virtual_routers:\n  web: {interface: eth0, vrid: 1, addresses: [10.0.0.1/24], track: [a]}\n"
	}
	dir, credentials := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "both"), "FROM=dir\n", 0o600)
	write(t, filepath.Join(credentials, "both"), "# comment\n\n FROM=credentials\nQUOTED=\"a b\"\nEMPTY=\n", 0o440)
	write(t, filepath.Join(dir, "beside"), "FROM=dir", 0o640)
	write(t, filepath.Join(dir, "open"), "SECRET=dir", 0o644)
	write(t, filepath.Join(dir, "wrong"), "X=1\nSECRET", 0o600)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		file, problem string
		env           []string
	}{
		{"both", "", []string{"FROM=credentials", "QUOTED=a b", "EMPTY="}},
		{"beside", "", []string{"FROM=dir"}},
		{filepath.Join(dir, "both"), "", []string{"FROM=dir"}},
		{"open", "open to everyone (mode 0644)", nil},
		{"wrong", "line 2 is not NAME=VALUE", nil},
		{"absent", "no such file", nil},
		{"absent", "nor is it in $CREDENTIALS_DIRECTORY, " + credentials, nil},
		{"folder", "not a regular file", nil},
	} {
		o := someone("a")
		o.Getenv = func(name string) string {
			if name == "CREDENTIALS_DIRECTORY" {
				return credentials
			}
			return ""
		}
		c, report := Load(write(t, filepath.Join(dir, "baton.yaml"), text(tc.file), 0o644), o)
		var all strings.Builder
		report.WriteTo(&all)
		switch {
		case tc.problem == "" && c == nil:
			t.Errorf("%s: %s", tc.file, all.String())
		case tc.problem == "":
			if diff := cmp.Diff(tc.env, c.Checks[0].Command.Env); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.file, diff)
			}
		case !strings.Contains(all.String(), tc.problem) || strings.Contains(all.String(), "SECRET"):
			t.Errorf("%s: want %q, found:\n%s", tc.file, tc.problem, all.String())
		}
	}
}

func TestLoad_Hash(t *testing.T) {
	dir := t.TempDir()
	text := "include: [d/*.yaml]\nvirtual_routers:\n  web: {interface: eth0, vrid: 1, addresses: [10.0.0.1/24]}\n"
	path := write(t, filepath.Join(dir, "baton.yaml"), text, 0o644)
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, included := range []string{"log: {level: info}\n", "log: {level: warn}\n", "# nothing\n"} {
		write(t, filepath.Join(dir, "d", "a.yaml"), included, 0o644)
		c := mustLoad(t, path, someone("a"))
		if other, twice := seen[c.Hash]; twice {
			t.Errorf("the same hash %s for %q and %q", c.Hash, included, other)
		}
		seen[c.Hash] = included
	}
	// What editors and package managers leave behind is not included.
	before := mustLoad(t, path, someone("a"))
	write(t, filepath.Join(dir, "d", ".a.yaml"), "}{", 0o644)
	if after := mustLoad(t, path, someone("a")); after.Hash != before.Hash {
		t.Error("a hidden file has been included")
	}
}

func TestLoad_Unreadable(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ path, want string }{
		{filepath.Join(dir, "absent.yaml"), "absent.yaml: error: open " + filepath.Join(dir, "absent.yaml") + ": no such file or directory"},
		{dir, "error: read " + dir + ": is a directory"},
	} {
		c, report := Load(tc.path, someone(""))
		var b strings.Builder
		report.WriteTo(&b)
		if c != nil || !strings.Contains(b.String(), tc.want) {
			t.Errorf("config %v, findings:\n%s\nwant %s", c, b.String(), tc.want)
		}
	}
}

func TestLoad_WhichNode(t *testing.T) {
	nodes := []Node{
		{Name: "lb1", Cluster: netip.MustParseAddr("10.0.0.11")},
		{Name: "lb2.example.org", Cluster: netip.MustParseAddr("10.0.0.12"), Networks: map[string]netip.Addr{"x": netip.MustParseAddr("10.1.0.12")}},
		{Name: "lb2", Cluster: netip.MustParseAddr("10.0.0.13")},
	}
	for name, tc := range map[string]struct {
		nodes           []Node
		flag, env, host string
		addrs           []string
		hostErr         error
		want, problem   string
	}{
		"flag":                      {nodes: nodes, flag: "lb1", env: "lb2", host: "lb2", want: "lb1"},
		"flag names nobody":         {nodes: nodes, flag: "lb9", host: "lb2", problem: `--node says "lb9", which is not in`},
		"environment":               {nodes: nodes, env: "lb1", host: "lb2", want: "lb1"},
		"environment names nobody":  {nodes: nodes, env: "lb9", host: "lb2", problem: `$BATON_NODE says "lb9"`},
		"whole host name":           {nodes: nodes, host: "lb2.example.org", want: "lb2.example.org"},
		"short host name":           {nodes: nodes, host: "LB1.example.org", want: "lb1"},
		"short after whole":         {nodes: nodes, host: "lb2.example.com", want: "lb2"},
		"address":                   {nodes: nodes, host: "other", addrs: []string{"127.0.0.1", "10.1.0.12"}, want: "lb2.example.org"},
		"two addresses":             {nodes: nodes, host: "other", addrs: []string{"10.0.0.11", "10.0.0.12"}, problem: "addresses of lb1 and lb2.example.org"},
		"nothing":                   {nodes: nodes, host: "other", problem: `--node is not given, $BATON_NODE is not set, no node has the host name "other", no node has an address of this host`},
		"no host name":              {nodes: nodes, hostErr: errors.New("boom"), addrs: []string{"10.0.0.11"}, want: "lb1"},
		"no nodes":                  {host: "lb7.example.org", want: "lb7"},
		"no nodes, flag":            {flag: "x", host: "lb7.example.org", want: "x"},
		"no nodes, environment":     {env: "y", host: "lb7.example.org", want: "y"},
		"no nodes and no host name": {hostErr: errors.New("boom"), problem: "read the host name: boom"},
	} {
		got, err := whoAmI(tc.nodes, Options{
			Node:     tc.flag,
			Getenv:   func(string) string { return tc.env },
			Hostname: func() (string, error) { return tc.host, tc.hostErr },
			HostAddrs: func() (all []netip.Addr, err error) {
				for _, a := range tc.addrs {
					all = append(all, netip.MustParseAddr(a))
				}
				return all, nil
			},
		})
		switch {
		case tc.problem == "" && (err != nil || got != tc.want):
			t.Errorf("%s: got %q, %v, want %q", name, got, err, tc.want)
		case tc.problem != "" && (err == nil || !strings.Contains(err.Error(), tc.problem)):
			t.Errorf("%s: got %q, %v, want an error with %q", name, got, err, tc.problem)
		}
	}

	c, report := Load("../../configs/minimal.yaml", someone(""))
	if c != nil || report.Errors() != 1 || !strings.Contains(report.Diagnostics[0].Message, "none of `nodes` is this host") {
		t.Errorf("config %v, report %v", c, report.Diagnostics)
	}
}

// What one node alone would stumble over keeps all of them from starting.
func TestLoad_OtherNodesMistakes(t *testing.T) {
	c, report := Load("testdata/mistakes/per_node_one_wrong.yaml", someone("lb1"))
	if c != nil || report.Errors() != 1 || cmp.Diff([]string{"lb2"}, report.Diagnostics[0].Nodes) != "" {
		t.Errorf("config %v, report %v", c, report.Diagnostics)
	}
}

// A load that costs too much of a processor is a warning.
func TestValidate_TooManyAdvertisements(t *testing.T) {
	var b strings.Builder
	b.WriteString("virtual_routers:\n")
	for i := range 600 {
		fmt.Fprintf(&b, "  r%d: {interface: eth%d, vrid: %d, addresses: [10.%d.%d.1/24], advertisement_interval: 10ms}\n", i, i/200, 1+i%200, i/200, i%200)
	}
	path := write(t, filepath.Join(t.TempDir(), "baton.yaml"), b.String(), 0o644)
	report := Validate(path)
	if len(report.Diagnostics) != 1 || report.Warnings() != 1 || !strings.Contains(report.Diagnostics[0].Message, "600 routers send 60000 advertisements a second") {
		t.Errorf("%v", report.Diagnostics)
	}
}

type fakeHost struct {
	absent map[string]error
	hooks  *int // how often it was asked for the hook of the defaults
}

func (h fakeHost) Interface(name string) error { return h.absent[name] }
func (h fakeHost) Command(argv []string, user string) error {
	if h.hooks != nil && argv[0] == "/etc/baton/notify.sh" {
		*h.hooks++
	}
	return h.absent[strings.Join(argv, " ")+" as "+user]
}
func (h fakeHost) Socket(path string) error   { return h.absent[path] }
func (h fakeHost) Address(a netip.Addr) error { return h.absent[a.String()] }

func TestCheckHost(t *testing.T) {
	c := mustLoad(t, "testdata/good/everything.yaml", someone("lb2"))
	if found := c.CheckHost(fakeHost{}); len(found) > 0 {
		t.Errorf("nothing is absent, found %v", found)
	}
	absent := map[string]error{}
	for _, what := range []string{
		"eno1", "/run/lb2/admin.sock", "10.0.0.12", "check-api --url http://10.0.0.12:80 5 $ as nobody", "/etc/baton/notify.sh as ",
		"eth1", "10.0.0.11", // not on this node
	} {
		absent[what] = fmt.Errorf("%s: %w", what, fs.ErrNotExist)
	}
	var got []string
	hooks := 0
	for _, d := range c.CheckHost(fakeHost{absent, &hooks}) {
		got = append(got, fmt.Sprintf("%d:%d %s %s: %s; %s", d.Line, d.Column, d.Severity, d.Path, d.Message, d.Hint))
	}
	if hooks != 1 {
		t.Errorf("asked %d times for one value of the defaults", hooks)
	}
	want := []string{
		"13:19 error defaults.virtual_router.notify.any: /etc/baton/notify.sh as : file does not exist; the hook is not run until this is mended",
		"15:76 warning checks.haproxy.socket.lb2: /run/lb2/admin.sock: file does not exist; the check fails as long as nothing answers there",
		"18:71 error checks.api.command.default: check-api --url http://10.0.0.12:80 5 $ as nobody: file does not exist; the check fails until this is mended",
		"27:37 warning virtual_routers.web.interface.default: eno1: file does not exist; baton waits for it: the router is in FAULT until it is there",
		"36:43 warning virtual_routers.web.source_address.lb2: 10.0.0.12: file does not exist; no advertisement can be sent from it",
		"51:37 warning virtual_routers.web6.interface.default: eno1: file does not exist; baton waits for it: the router is in FAULT until it is there",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
