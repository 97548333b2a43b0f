package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"baton/internal/control"
	"baton/internal/lab"
	"baton/internal/service/servicetest"
	"baton/test/site"
)

// deployment is a site whose nodes have one of the shipped configurations, a
// systemd each, and programs in /run/bin.
type deployment struct {
	*site.Site
	systemd map[string]*servicetest.Systemd
	env     map[string][]string // of the daemons
}

// shipped is an example of configs/ with words replaced by others, in pairs. Each
// must be there once, so that what is tested is what people copy.
func shipped(t *testing.T, name string, pairs ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../configs", name))
	must(t, err)
	text := string(b)
	for i := 0; i < len(pairs); i += 2 {
		if n := strings.Count(text, pairs[i]); n != 1 {
			t.Fatalf("%s has %q %d times, want once", name, pairs[i], n)
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

// deploy makes it, and starts nothing. The files go beside the configuration, the
// programs to /run/bin.
func deploy(t *testing.T, nodes []string, config string, files map[string]string, programs []string) *deployment {
	t.Helper()
	return deployOn(t, newSiteOf(t, nodes...), nodes, config, files, programs)
}

// deployOn is the same on hosts that are there.
func deployOn(t *testing.T, on *site.Site, nodes []string, config string, files map[string]string, programs []string) *deployment {
	t.Helper()
	d := &deployment{on, map[string]*servicetest.Systemd{}, map[string][]string{}}
	for _, name := range nodes {
		n := add(t, d.Site, name, site.Baton, site.Pair(interval, site.Addresses(1, false)...))
		must(t, os.WriteFile(filepath.Join(n.Dir, "baton.yaml"), []byte(config), 0o644))
		for file, text := range files {
			must(t, os.WriteFile(filepath.Join(n.Dir, file), []byte(text), 0o600))
		}
		// Below /tmp, where anybody could replace them, baton would not run them.
		must(t, os.Mkdir(n.Host.Path("/run/bin"), 0o755))
		for _, program := range programs {
			b, err := os.ReadFile(program)
			must(t, err)
			must(t, os.WriteFile(n.Host.Path(filepath.Join("/run/bin", filepath.Base(program))), b, 0o755))
		}
		s, err := servicetest.NewSystemd(n.Dir)
		must(t, err)
		t.Cleanup(func() { must(t, s.Close()) })
		d.systemd[name] = s
		d.env[name] = []string{"DBUS_SYSTEM_BUS_ADDRESS=" + s.Address(), "PATH=/run/bin:" + os.Getenv("PATH")}
	}
	return d
}

// launch has the systemd of a node start its processes there, with more in their
// environment. One has begun with its first line of output that has the text, or
// with its end.
func (d *deployment) launch(name, begun string, env ...string) {
	d.systemd[name].Launch(func(argv []string) (servicetest.Process, error) {
		p, err := d.Nodes[name].Host.Start(argv, lab.StartOptions{Env: env})
		if err == nil {
			_, _, _ = p.WaitLine(0, patience, func(line string) bool { return strings.Contains(line, begun) }) // or it is dead, which systemd sees
		}
		return p, err
	})
}

func (d *deployment) start(t *testing.T, name string) {
	t.Helper()
	must(t, d.Nodes[name].StartWith(d.env[name]...))
}

// knows waits until a standby has heard its master, and has made sure that what must
// not run there does not.
func knows(t *testing.T, standby *site.Node, router, master string) {
	t.Helper()
	client := control.Dial(filepath.Join(standby.Dir, "run"))
	eventually(t, standby.Name+" knows its master", func() (bool, string) {
		st, err := client.Status(t.Context())
		if err != nil {
			return false, err.Error()
		}
		for _, r := range st.Routers {
			if r.Name == router {
				running := slices.ContainsFunc(r.Services, func(s control.Service) bool { return s.State != "stopped" })
				return r.Role == "BACKUP" && r.Master == master && !running, fmt.Sprintf("%+v", r)
			}
		}
		return false, "there is no such router"
	})
}

// said waits until a node has written a line that has all of the texts.
func (d *deployment) said(t *testing.T, name string, from time.Time, texts ...string) {
	t.Helper()
	p := d.Nodes[name].Process
	first := 0
	for lines := p.Lines(); first < len(lines) && lines[first].At.Before(from); first++ {
	}
	_, _, err := p.WaitLine(first, patience, func(line string) bool { return hasAll(line, texts) })
	if err != nil {
		t.Fatalf("%q: %v", texts, err)
	}
}

// times is how often a node has written such a line.
func (d *deployment) times(name string, texts ...string) int {
	n := 0
	for _, l := range d.Nodes[name].Process.Lines() {
		if hasAll(l.Text, texts) {
			n++
		}
	}
	return n
}

func hasAll(line string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(line, text) {
			return false
		}
	}
	return true
}

// dies is the end of a node's power: nothing of it is heard or runs any more.
func (d *deployment) dies(t *testing.T, name string, vip string, units ...string) {
	t.Helper()
	must(t, d.Ports[name].Cut())
	must(t, d.Nodes[name].Crash())
	for _, u := range units {
		d.systemd[name].Kill(u, 9)
	}
	must(t, d.Nodes[name].Host.RemoveAddress(site.Interface, prefix(vip)))
}

// eventually waits for a condition; it says what it found instead.
func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		good, found := ok()
		if good {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("not within %v: %s; %s", patience, what, found)
		}
	}
}
