package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"baton/test/frame"
	"baton/test/site"
)

func vip() netip.Addr { return site.Address(site.Addresses(1, false)[0]) }

// The priorities are those of keepalived's own examples; the backup's makes its skew 609 ms at a 1 s interval.
const priorityA, priorityB = 150, 100

func config(interval time.Duration) func() site.Config {
	return func() site.Config {
		c := site.Pair(interval, site.Addresses(1, false)...)
		c.Routers[0].Priority = map[string]int{"a": priorityA, "b": priorityB}
		return c
	}
}

func measures() []Measure {
	var list []Measure
	for _, m := range []struct {
		interval    time.Duration
		runs, sites int
	}{{time.Second, 20, 5}, {100 * time.Millisecond, 40, 2}, {10 * time.Millisecond, 50, 1}} {
		list = append(list, Measure{
			Name: fmt.Sprintf("silence to takeover, beyond the protocol's limit, %v", m.interval),
			Unit: "ms", Runs: m.runs, Sites: m.sites, Config: config(m.interval),
			Once: func(s *site.Site) (float64, error) { return silence(s, m.interval) },
		})
	}
	return append(list,
		Measure{
			Name: "planned stop, lost of one question each ms", Unit: "lost", Runs: 20, Sites: 2,
			Config: config(time.Second), Once: plannedStop,
		},
		Measure{
			Name: "planned stop with a virtual MAC, lost of one question each ms", Unit: "lost", Runs: 20, Sites: 2,
			Config: virtualMAC, Once: plannedStop,
		},
		Measure{
			Name: "check answers no, to address moved", Unit: "ms", Runs: 20, Sites: 5,
			Config: weighted, Prepare: installCheck,
			Once: func(s *site.Site) (float64, error) { return checkFails(s, true) },
		},
		Measure{
			Name: "service fails, to address moved (check each 1s)", Unit: "ms", Runs: 20, Sites: 5,
			Config: weighted, Prepare: installCheck,
			Once: func(s *site.Site) (float64, error) { return checkFails(s, false) },
		},
		Measure{
			Name: "CPU of the daemon and its children, 500 checks at 1s", Unit: "% of a core", Runs: 3, Sites: 1,
			Config: manyChecks, Once: cpuShare,
		},
	)
}

// silence cuts the master's link where it does not notice and returns by how many milliseconds the backup was later
// than three intervals and its skew after the last advertisement that it received: both stamped by its own kernel.
func silence(s *site.Site, interval time.Duration) (float64, error) {
	cut := time.Now()
	if err := s.Nodes["a"].Port.Cut(); err != nil {
		return 0, err
	}
	first, err := s.AwaitAdvert("b", cut, patience, nil)
	if err != nil {
		return 0, err
	}
	var last time.Time
	for _, p := range s.Wire("b").Packets() {
		if !p.Sent && p.Advert != nil && p.Advert.Priority == priorityA && p.At.Before(first.At) {
			last = p.At
		}
	}
	if last.IsZero() {
		return 0, errors.New("b has received nothing of a")
	}
	if err := s.Nodes["a"].Port.Mend(); err != nil {
		return 0, err
	}
	limit := 3*interval + skew(priorityB, interval)
	return milliseconds(first.At.Sub(last) - limit), nil
}

// skew is that of a priority (RFC 9568, section 6.1).
func skew(priority int, interval time.Duration) time.Duration {
	return time.Duration(256-priority) * interval / 256
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// plannedStop stops the master in order, and returns how many questions of a client were lost until the backup had
// the address, and in the half second after that.
func plannedStop(s *site.Site) (float64, error) {
	a := s.Nodes["a"]
	p, err := s.Ask(site.Addresses(1, false)[0], 0, 500*time.Millisecond)
	if err != nil {
		return 0, err
	}
	time.Sleep(100 * time.Millisecond)
	if err := a.Stop(); err != nil {
		return 0, err
	}
	if err := s.Holders.Await("b", patience, vip()); err != nil {
		return 0, err
	}
	time.Sleep(500 * time.Millisecond)
	r, err := p.Stop()
	if err != nil {
		return 0, err
	}
	return float64(r.Lost), a.Start()
}

// virtualMAC is the usual pair with one, as keepalived's use_vmac has it.
func virtualMAC() site.Config {
	c := config(time.Second)()
	c.Routers[0].VirtualMAC = true
	return c
}

// weighted is a check each second that takes 60 off when it fails.
func weighted() site.Config {
	c := config(time.Second)()
	c.Checks = []site.Check{{Name: "chk", Command: "/run/check", Interval: time.Second, Rise: 1, Fall: 1}}
	c.Routers[0].Track = []site.Effect{{Check: "chk", Weight: -60}}
	return c
}

// A host's /run is its own. The check leaves the time at which it first found the service gone.
const (
	healthy = "/run/healthy"
	seen    = "/run/seen"
	script  = "#!/bin/sh\n[ -e " + healthy + " ] && exit 0\n[ -e " + seen + " ] || date +%s%N >" + seen + "\nexit 1\n"
)

func installCheck(s *site.Site) error {
	for _, n := range s.Nodes {
		if err := os.WriteFile(n.Host.Path("/run/check"), []byte(script), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(n.Host.Path(healthy), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// checkFails ends the service on the master and returns the milliseconds until the backup has the address: since
// the check answered no, or since the end of the service.
func checkFails(s *site.Site, sinceAnswer bool) (float64, error) {
	a := s.Nodes["a"].Host
	if err := os.Remove(a.Path(seen)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	begin := time.Now()
	if err := os.Remove(a.Path(healthy)); err != nil {
		return 0, err
	}
	if _, err := s.AwaitAdvert("b", begin, patience, func(a *frame.Advert) bool { return a.Priority == priorityB }); err != nil {
		return 0, err
	}
	if err := s.Holders.Await("b", patience, vip()); err != nil {
		return 0, err
	}
	moved, ok := s.Holders.When("b", vip(), true, begin)
	if !ok {
		return 0, errors.New("b did not take the address")
	}
	if sinceAnswer {
		text, err := os.ReadFile(a.Path(seen))
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return 0, err
		}
		begin = time.Unix(0, ns)
	}
	return milliseconds(moved.Sub(begin)), os.WriteFile(a.Path(healthy), nil, 0o644)
}
