package test

import (
	"bytes"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"baton/test/site"
)

// A file of testdata/meaning has the keepalived.conf of both nodes, and the faults that
// a pair of keepalived and a pair of baton made of it go through, one in each line of
// `steps`. After each step the same nodes hold the same addresses.
//
// The lines of its comment are: `quiet D`, how long nothing may change until a step is
// over, and `addresses ADDRESS...`. In the files @DIR@ is a folder of the node's own.
func TestConvert_Meaning(t *testing.T) {
	need(t, "keepalived")
	files, err := filepath.Glob("testdata/meaning/*.txtar")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, err %v", len(files), err)
	}
	var all sync.WaitGroup // side by side: they wait most of the time, and count no packets
	for _, file := range files {
		run := func(t *testing.T) {
			m := readMeaning(t, file)
			var keepalived, baton []string
			var pairs sync.WaitGroup
			pairs.Go(func() { t.Run("keepalived", func(t *testing.T) { keepalived = m.run(t, site.Keepalived) }) })
			pairs.Go(func() { t.Run("baton", func(t *testing.T) { baton = m.run(t, site.Baton) }) })
			pairs.Wait()
			if diff := cmp.Diff(keepalived, baton); diff != "" {
				t.Errorf("who holds what (-keepalived +baton):\n%s", diff)
			}
		}
		all.Go(func() { t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), run) })
	}
	all.Wait()
}

// meaning is one file of testdata/meaning.
type meaning struct {
	files     map[string]string // by node
	steps     []string
	quiet     time.Duration
	addresses []netip.Addr
}

func readMeaning(t *testing.T, name string) meaning {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	must(t, err)
	m := meaning{files: make(map[string]string)}
	for line := range strings.Lines(string(archive.Comment)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 2 && words[0] == "quiet":
			m.quiet, err = time.ParseDuration(words[1])
			must(t, err)
		case len(words) > 1 && words[0] == "addresses":
			for _, word := range words[1:] {
				m.addresses = append(m.addresses, netip.MustParseAddr(word))
			}
		}
	}
	for _, f := range archive.Files {
		if f.Name == "steps" {
			for line := range strings.Lines(string(f.Data)) {
				m.steps = append(m.steps, strings.TrimSpace(line))
			}
			continue
		}
		m.files[strings.TrimSuffix(f.Name, ".conf")] = string(f.Data)
	}
	if m.quiet == 0 || len(m.addresses) == 0 || len(m.files) != 2 || len(m.steps) < 3 {
		t.Fatalf("%s is not whole: %+v", name, m)
	}
	return m
}

// run takes a pair of one kind through the steps, and returns who held what after each.
func (m meaning) run(t *testing.T, kind site.Kind) []string {
	s := newSite(t)
	must(t, s.AddLink())
	nodes := slices.Sorted(maps.Keys(m.files))
	for _, name := range nodes {
		n := add(t, s, name, kind, site.Pair(interval, site.Addresses(1, false)...))
		must(t, os.WriteFile(filepath.Join(n.Dir, "keepalived.conf"), []byte(strings.ReplaceAll(m.files[name], "@DIR@", n.Dir)), 0o644))
		must(t, os.WriteFile(filepath.Join(n.Dir, "good"), nil, 0o644))
	}
	if kind == site.Baton {
		m.convert(t, s, nodes)
	}
	var history []string
	for _, step := range m.steps {
		m.step(t, s, step)
		history = append(history, step+": "+m.settle(t, s))
	}
	return history
}

// convert writes the file that both batons have.
func (m meaning) convert(t *testing.T, s *site.Site, nodes []string) {
	t.Helper()
	var named []string
	for i, name := range nodes {
		named = append(named, name+"@10.99.0."+string(rune('1'+i))+"="+filepath.Join(s.Nodes[name].Dir, "keepalived.conf"))
	}
	cmd := exec.Command(batonBinary, "convert", "--nodes", strings.Join(named, ","))
	var report bytes.Buffer
	cmd.Stderr = &report
	text, err := cmd.Output()
	t.Logf("%s%s", text, &report)
	if err != nil {
		t.Fatalf("convert: %v", err)
	}
	for _, name := range nodes {
		must(t, os.WriteFile(filepath.Join(s.Nodes[name].Dir, "baton.yaml"), text, 0o644))
	}
}

// step does what one line says to a node: ACTION NODE.
func (m meaning) step(t *testing.T, s *site.Site, step string) {
	t.Helper()
	action, node, _ := strings.Cut(step, " ")
	n := s.Nodes[node]
	if n == nil {
		t.Fatalf("%q names no node", step)
	}
	good := filepath.Join(n.Dir, "good")
	switch action {
	case "start":
		must(t, n.Start())
	case "stop":
		must(t, n.Stop())
	case "cut":
		must(t, n.Port.Cut())
	case "mend":
		must(t, n.Port.Mend())
	case "down":
		must(t, n.Port.Down())
	case "up":
		must(t, n.Port.Up())
	case "unplug": // the second link
		must(t, s.Seconds[node].Down())
	case "plug":
		must(t, s.Seconds[node].Up())
	case "fail":
		must(t, os.Remove(good))
	case "pass":
		must(t, os.WriteFile(good, nil, 0o644))
	default:
		t.Fatalf("%q is no step", step)
	}
}

// settle waits until nothing has changed for the quiet time, and tells who holds what.
func (m meaning) settle(t *testing.T, s *site.Site) string {
	t.Helper()
	held, since := m.held(s), time.Now()
	for deadline := since.Add(patience + m.quiet); time.Since(since) < m.quiet; time.Sleep(20 * time.Millisecond) {
		if now := m.held(s); now != held {
			held, since = now, time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to rest: %s", held)
		}
	}
	return held
}

func (m meaning) held(s *site.Site) string {
	var all []string
	for _, a := range m.addresses {
		hosts := s.Holders.Now(a)
		all = append(all, a.String()+" "+strings.Join(hosts, "+"))
	}
	return strings.Join(all, ", ")
}
