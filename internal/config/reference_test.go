package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// withSecrets is a host that has a directory of credentials.
func withSecrets(node, directory string) Options {
	o := someone(node)
	o.Getenv = func(name string) string {
		if name == "CREDENTIALS_DIRECTORY" {
			return directory
		}
		return ""
	}
	return o
}

// Each example that ships is silent, and loads on each of its nodes.
func TestConfigs_Load(t *testing.T) {
	paths, err := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%d files, err %v", len(paths), err)
	}
	secrets := t.TempDir() // what the examples name, as systemd would hand it over
	write(t, filepath.Join(secrets, "vrrp-1.key"), "hex:"+strings.Repeat("01", 32)+"\n", 0o400)
	write(t, filepath.Join(secrets, "vrrp-2.key"), "hex:"+strings.Repeat("02", 32)+"\n", 0o400)
	write(t, filepath.Join(secrets, "vrrp.password"), "k33palvd\n", 0o400)
	write(t, filepath.Join(secrets, "listen-token"), "0123456789abcdef0123456789abcdef\n", 0o400)
	write(t, filepath.Join(secrets, "redis.env"), "REDISCLI_AUTH=secret\n", 0o400)
	pemFiles(t, filepath.Join(secrets, "osc-ca.pem"), filepath.Join(secrets, "osc-ca.key"))
	for _, path := range paths {
		c := newCollector()
		nodes := newReader(path, realDisk(), c).nodes
		if len(nodes) == 0 {
			t.Errorf("%s names no node", path)
		}
		for _, n := range nodes {
			if got := mustLoad(t, path, withSecrets(n.Name, secrets)); len(got.Routers) == 0 {
				t.Errorf("%s: %s runs no router", path, n.Name)
			}
		}
	}
}

// The reference has every key that the parser knows, with the default that the parser takes.
func TestConfigs_Reference(t *testing.T) {
	const path = "../../configs/reference.yaml"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	root := newReader(path, realDisk(), newCollector()).files.root
	type seen struct {
		table  keys
		within []*node // the mappings that have these keys
	}
	tables := map[string]*seen{}
	add := func(name string, table keys, n *node) {
		if tables[name] == nil {
			tables[name] = &seen{table: table}
		}
		if n != nil && n.kind == mapping {
			tables[name].within = append(tables[name].within, n)
		}
	}
	add("top", topKeys, root)
	add("log", logKeys, root.child("log"))
	add("defaults", defaultsKeys, root.child("defaults"))
	for _, e := range root.child("checks").entries {
		typ := typeNamed(e.value.child("type").text)
		table := typ.table()
		if typ != CommandCheck { // with which the keys of every check are shown
			table = slices.DeleteFunc(table, func(k key) bool {
				common := checkKeys.find(k.name)
				return common != nil && *common == k
			})
		}
		add(typ.String(), table, e.value)
		add("tls", tlsKeys, e.value.child("tls"))
		add("count", countKeys, e.value.child("count"))
		if dialogue := e.value.child("dialogue"); dialogue != nil {
			for _, step := range dialogue.items {
				add("step", stepKeys, step)
			}
		}
	}
	for _, e := range root.child("virtual_routers").entries {
		add("router", routerKeys, e.value)
		add("announce", announceKeys, e.value.child("announce"))
		add("notify", notifyKeys, e.value.child("notify"))
		add("authentication", authenticationKeys, e.value.child("authentication"))
		add("virtual_mac", virtualMACKeys, e.value.child("virtual_mac"))
		for name, table := range map[string]keys{"addresses": addressKeys, "routes": routeKeys, "rules": ruleKeys} {
			if list := e.value.child(name); list != nil {
				for _, item := range list.items {
					add(name, table, item)
				}
			}
		}
		if track := e.value.child("track"); track != nil {
			for _, c := range track.entries {
				add("track", trackKeys, c.value)
			}
		}
		if notify := e.value.child("notify"); notify != nil {
			for _, c := range notify.entries {
				add("hook", commandKeys, c.value)
			}
		}
	}
	for _, e := range root.child("groups").entries {
		add("group", groupKeys, e.value)
	}
	for _, list := range []*node{root.child("services"), root.child("virtual_routers").child("web").child("services")} {
		for _, item := range list.items {
			add("service", serviceKeys, item)
			add("service command", serviceCommandKeys, item.child("command"))
			add("revive", reviveKeys, item.child("revive"))
		}
	}
	for _, e := range root.child("webhooks").entries {
		add("webhook", webhookKeys, e.value)
		add("webhook tls", tlsKeys, e.value.child("tls"))
	}
	add("listen", listenKeys, root.child("listen"))
	add("listen tls", listenTLSKeys, root.child("listen").child("tls"))
	if len(tables) != 21+len(checkTypeNames())+3 {
		t.Errorf("%d kinds of mappings", len(tables))
	}
	for name, s := range tables {
		for _, k := range s.table {
			present, asDefault := false, k.def == ""
			for _, n := range s.within {
				v := n.child(k.name)
				if v == nil {
					continue
				}
				present = true
				if v.kind == mapping && k.perNode {
					v = v.child("default")
				}
				if v != nil && v.kind == list && len(v.items) == 1 {
					v = v.items[0]
				}
				asDefault = asDefault || v != nil && v.text == k.def
			}
			switch commented := regexp.MustCompile(`(?m)^ +# ` + k.name + `: `).Match(text); {
			case !present && !commented:
				t.Errorf("%s: %s is not in the reference", name, k.name)
			case !asDefault:
				t.Errorf("%s: %s is not shown with its default, %s", name, k.name, k.def)
			}
		}
	}
}
