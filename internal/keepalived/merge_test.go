package keepalived

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"baton/internal/config"
)

// documents makes the Documents of nodes a, b ... of YAML texts.
func documents(t *testing.T, texts ...string) []Source {
	t.Helper()
	var all []Source
	for i, text := range texts {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(text), &n); err != nil {
			t.Fatal(err)
		}
		name := string(rune('a' + i))
		address := netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)})
		all = append(all, Source{Node: name, Address: address, Document: &Document{source: name + ".conf", top: mapping{n.Content[0]}}})
	}
	return all
}

// router is one virtual router, and lines below it.
func router(name string, vrid int, lines ...string) string {
	text := fmt.Sprintf("virtual_routers:\n  %s:\n    interface: eth0\n    vrid: %d\n    addresses: [10.0.0.100/24]\n", name, vrid)
	for _, line := range lines {
		text += "    " + line + "\n"
	}
	return text
}

const mergedHead = `# Made by baton convert of a.conf of a, b.conf of b.

# Host names, and each host's own address.
nodes: {a: 10.0.0.11, b: 10.0.0.12}

`

func TestMerge(t *testing.T) {
	same := router("web", 51)
	for name, tt := range map[string]struct {
		a, b, want string
		report     []string
	}{
		"the same": {
			a: same, b: same, want: same,
		},
		"priority and interface": {
			a:    router("web", 51, "priority: 150"),
			b:    strings.Replace(router("web", 51, "priority: 100"), "eth0", "eno1", 1),
			want: strings.Replace(router("web", 51, "priority: {a: 150, b: 100}"), "eth0", "{a: eth0, b: eno1}", 1),
		},
		"unicast to each other": {
			a:    router("web", 51, "source_address: 10.0.0.11", "peers: [10.0.0.12]"),
			b:    router("web", 51, "source_address: 10.0.0.12", "peers: [10.0.0.11]"),
			want: router("web", 51, "unicast: true"),
		},
		"unicast to a third": {
			a:    router("web", 51, "source_address: 10.0.0.11", "peers: [10.0.0.12, 10.0.0.13]"),
			b:    router("web", 51, "source_address: 10.0.0.12", "peers: [10.0.0.11]"),
			want: router("web", 51, "source_address: {a: 10.0.0.11, b: 10.0.0.12}", "peers: {a: [10.0.0.12, 10.0.0.13], b: [10.0.0.11]}"),
		},
		"another interval": {
			a: router("web", 51, "advertisement_interval: 1s"), b: router("web", 51, "advertisement_interval: 2s"),
			want:   router("web", 51, "advertisement_interval: 1s"),
			report: []string{"approximated: virtual_routers.web.advertisement_interval: 1s of a stands for all nodes; b has 2s"},
		},
		"a key of one": {
			a: router("web", 51), b: router("web", 51, "preempt: false"),
			want:   router("web", 51, "preempt: false"),
			report: []string{"approximated: virtual_routers.web.preempt: false of b stands for all nodes; a has none"},
		},
		"passwords": {
			a:      router("web", 51, "version: 2", "authentication: {type: pass, password: one}"),
			b:      router("web", 51, "version: 2", "authentication: {type: pass, password: two}"),
			want:   router("web", 51, "version: 2", "authentication: {type: pass, password: one}"),
			report: []string{"approximated: virtual_routers.web.authentication.password: the nodes do not have the same: that of a is taken"},
		},
		"another name": {
			a: router("web", 51), b: router("VI_1", 51), want: router("web", 51),
			report: []string{"converted: virtual_routers.VI_1: the same as web"},
		},
		"another VRID": {
			a: router("web", 51), b: strings.Replace(router("web", 52), "100/24", "101/24", 1),
			want: strings.Replace(router("web", 51), "eth0", "{a: eth0}", 1) +
				"  web-2:\n    interface: {b: eth0}\n    vrid: 52\n    addresses: [10.0.0.101/24]\n",
			report: []string{"approximated: virtual_routers.web-2: web of b has VRID 52, which web has on no other node: is that meant?"},
		},
		"hooks": {
			a:    router("web", 51, "notify:", "  any: /bin/one a", "  master: {command: /bin/two, user: nobody}"),
			b:    router("web", 51, "notify:", "  any: /bin/one b", "  master: {command: /bin/three, user: nobody}"),
			want: router("web", 51, "notify:", "  any: {command: {a: /bin/one a, b: /bin/one b}}", "  master: {command: {a: /bin/two, b: /bin/three}, user: nobody}"),
		},
		"checks of one name": {
			a:    "checks:\n  up:\n    type: command\n    command: /bin/up a\n" + router("web", 51, "track: [up]"),
			b:    "checks:\n  up:\n    type: command\n    command: /bin/up b\n" + router("web", 51, "track: [up]"),
			want: "checks:\n  up:\n    type: command\n    command: {a: /bin/up a, b: /bin/up b}\n\n" + router("web", 51, "track: [up]"),
		},
		"one check of two names": {
			a:      "checks:\n  up:\n    type: command\n    command: /bin/up\n" + router("web", 51, "track: [up]"),
			b:      "checks:\n  alive:\n    type: command\n    command: /bin/up\n" + router("web", 51, "track: {alive: -20}"),
			want:   "checks:\n  up:\n    type: command\n    command: /bin/up\n\n" + router("web", 51, "track: {up: fault}"),
			report: []string{"converted: checks.alive: the same as up", "approximated: virtual_routers.web.track.up: the effect fault of a stands for all nodes; they differ"},
		},
		"tracked by one": {
			a:      router("web", 51),
			b:      "checks:\n  up:\n    type: command\n    command: /bin/up\n" + router("web", 51, "track: [up]"),
			want:   router("web", 51, "track: {up: fault}") + "\nchecks:\n  up:\n    type: command\n    command: /bin/up\n",
			report: []string{"approximated: virtual_routers.web.track.up: tracked on every node now; a did not"},
		},
		"a group": {
			a:      router("web", 51) + "groups:\n  one:\n    members: [web]\n    priority: 150\n",
			b:      router("VI_1", 51) + "groups:\n  two:\n    members: [VI_1]\n    priority: 100\n",
			want:   router("web", 51) + "\ngroups:\n  one:\n    members: [web]\n    priority: {a: 150, b: 100}\n",
			report: []string{"converted: virtual_routers.VI_1: the same as web", "converted: groups.two: the same as one"},
		},
	} {
		d := Merge(documents(t, tt.a, tt.b))
		var b bytes.Buffer
		if _, err := d.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(mergedHead+tt.want, b.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		var report []string
		for _, f := range d.Report.Findings {
			f.Node = ""
			report = append(report, f.String())
		}
		if diff := cmp.Diff(tt.report, report); diff != "" {
			t.Errorf("%s: report (-want +got):\n%s", name, diff)
		}
		if check := config.ValidateText("baton.yaml", b.Bytes()); check.Errors() > 0 {
			var says bytes.Buffer
			_, _ = check.WriteTo(&says)
			t.Errorf("%s: baton refuses it:\n%s", name, &says)
		}
	}
}

// Where nobody tells a node's address, there is one to replace, and the report says so.
func TestMerge_Addresses(t *testing.T) {
	sources := documents(t, router("web", 51, "source_address: 10.0.0.1"), router("web", 51))
	sources[0].Address, sources[1].Address = netip.Addr{}, netip.Addr{}
	d := Merge(sources)
	if got := shown(d.top.get("nodes")); got != "{a: 10.0.0.1, b: 192.0.2.2}" {
		t.Errorf("nodes: %s", got)
	}
	if len(d.Report.Findings) == 0 || !strings.Contains(d.Report.Findings[0].String(), "nodes.b: the files do not tell the node's own address: put it in place of 192.0.2.2, or say --nodes b@ADDRESS=FILE") {
		t.Errorf("report: %v", d.Report.Findings)
	}
}
