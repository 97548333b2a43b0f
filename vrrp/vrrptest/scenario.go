package vrrptest

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"baton/vrrp"
)

// Run runs a scenario and returns it with the output that it has now.
//
// A scenario is blocks of commands, one a line, each block followed by a line
// "----", the output, and an empty line. Lines that begin with # are comments.
// Every line of output is the LAN's time in seconds, the node and VRID, and
// what happened; ordinary advertisements are left out unless asked for.
//
//	lan KEY=VALUE...             seed (before the first node), delay, jitter, loss,
//	                             duplicate, install; show=all shows every advertisement
//	node NAME ADDRESS... [clock=DURATION] [drift=MILLIONTHS]
//	router VRID ADDRESS... [interval=1s] [preempt=no] [checksum=rfc9568] [link=0]
//	                             [group=NUMBER] [missed=3] [preempt_delay=0s] [together=yes]
//	                             NODE=PRIORITY... [NODE.KEY=VALUE...] for one node: these,
//	                             addresses, best, slowest (rivals), version, password,
//	                             hmac=MODE, peers, nodes
//	start|stop|recover [WHO...]  WHO is NODE or NODE/VRID; nobody is everybody
//	adopt [WHO...]               start as what an earlier process of the node was master of
//	succeed [WHO...]             another process is about to
//	fault WHO REASON...          a check fails
//	deaf WHO REASON...           the link fails
//	priority WHO PRIORITY
//	mute WHO REASON...           it hears and cannot send
//	handover WHO ROLE [REASON...] a master gives the role away, and is BACKUP or FAULT then
//	takeover WHO                 a backup takes the role once
//	cut A B | cut A > B | cut A  both directions, one, or from everybody; [link=0] on one
//	heal [A [B]] [link=0]
//	pause NODE [lossy]           the process, or with lossy the whole host, stands still
//	resume NODE
//	stranger ADDRESS VERSION VRID PRIORITY INTERVAL VIRTUAL...
//	hush ADDRESS                 ends a stranger
//	advance DURATION
//	status                       role, priority and addresses of every router
//	expect WHO ROLE              fails the run where it is not so
//	expect VIRTUAL at NODE...    the nodes that have the address on, or nobody
//
// The error names the line of the command that failed.
func Run(script string) (string, error) {
	s := &scenario{lan: New(1), strangers: make(map[netip.Addr]*bool)}
	s.lan.Delay, s.lan.Install = 200*time.Microsecond, time.Millisecond
	s.lan.Trace = s.trace
	var result strings.Builder
	output := false
	for i, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		switch {
		case output:
			output = line != ""
			continue
		case line == "----":
			fmt.Fprintf(&result, "----\n%s\n", s.out.String())
			s.out.Reset()
			output = true
			continue
		}
		result.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := s.command(strings.Fields(line)); err != nil {
			return "", fmt.Errorf("line %d: %s: %w\n%s", i+1, line, err, s.out.String())
		}
	}
	if s.out.Len() > 0 {
		fmt.Fprintf(&result, "----\n%s\n", s.out.String())
	}
	return strings.TrimRight(result.String(), "\n") + "\n", nil
}

type scenario struct {
	lan       *LAN
	out       strings.Builder
	all       bool
	strangers map[netip.Addr]*bool // set when it is to be silent
}

func (s *scenario) trace(r Record) {
	if r.Periodic && !s.all {
		return
	}
	s.line(r.Router, r.String())
}

func (s *scenario) line(r *Router, text string) {
	fmt.Fprintf(&s.out, "%10.6f %s %s\n", s.lan.Now().Seconds(), label(r), text)
}

func label(r *Router) string { return fmt.Sprintf("%s/%d", r.Node.Name, r.Config.VRID) }

func (s *scenario) command(words []string) error {
	name, args := words[0], words[1:]
	event := map[string]vrrp.EventKind{
		"start": vrrp.Startup, "stop": vrrp.Shutdown, "recover": vrrp.Recovered, "takeover": vrrp.TakeOver, "succeed": vrrp.Succeeded,
	}
	switch name {
	case "lan":
		return s.settings(args)
	case "node":
		return s.node(args)
	case "router":
		return s.router(args)
	case "start", "stop", "recover", "takeover", "succeed":
		return s.each(args, func(r *Router) { r.Step(vrrp.Event{Kind: event[name]}) })
	case "adopt":
		return s.each(args, func(r *Router) { r.Step(vrrp.Event{Kind: vrrp.Startup, Adopt: true}) })
	case "fault", "deaf", "mute":
		if len(args) < 2 {
			return fmt.Errorf("want a router and a reason")
		}
		e := vrrp.Event{Kind: vrrp.Faulty, Deaf: name == "deaf", Mute: name == "mute", Reason: strings.Join(args[1:], " ")}
		return s.each(args[:1], func(r *Router) { r.Step(e) })
	case "handover":
		if len(args) < 2 || args[1] != "BACKUP" && args[1] != "FAULT" {
			return fmt.Errorf("want a router, and BACKUP or FAULT")
		}
		e := vrrp.Event{Kind: vrrp.HandOver, To: vrrp.Backup, Reason: strings.Join(args[2:], " ")}
		if args[1] == "FAULT" {
			e.To = vrrp.Fault
		}
		return s.each(args[:1], func(r *Router) { r.Step(e) })
	case "priority":
		if len(args) != 2 {
			return fmt.Errorf("want a router and a priority")
		}
		p, err := strconv.ParseUint(args[1], 10, 8)
		if err != nil {
			return err
		}
		return s.each(args[:1], func(r *Router) { r.Step(vrrp.Event{Kind: vrrp.Reprioritised, Priority: uint8(p)}) })
	case "cut", "heal":
		return s.cut(name, args)
	case "pause", "resume":
		return s.pause(name, args)
	case "stranger", "hush":
		return s.stranger(name, args)
	case "advance":
		if len(args) != 1 {
			return fmt.Errorf("want a duration")
		}
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		s.lan.Advance(d)
		return nil
	case "status":
		return s.each(nil, s.status)
	case "expect":
		return s.expect(args)
	}
	return fmt.Errorf("no such command")
}

// each calls f for the routers that the words name, or for all.
func (s *scenario) each(who []string, f func(*Router)) error {
	if len(who) == 0 {
		for _, n := range s.lan.Nodes() {
			for _, r := range n.Routers() {
				f(r)
			}
		}
		return nil
	}
	for _, w := range who {
		name, vrid, one := strings.Cut(w, "/")
		n, err := s.find(name)
		if err != nil {
			return err
		}
		found := false
		for _, r := range n.Routers() {
			if !one || vrid == strconv.Itoa(int(r.Config.VRID)) {
				f(r)
				found = true
			}
		}
		if !found {
			return fmt.Errorf("there is no router %s", w)
		}
	}
	return nil
}

func (s *scenario) find(name string) (*Node, error) {
	i := slices.IndexFunc(s.lan.Nodes(), func(n *Node) bool { return n.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no node %s", name)
	}
	return s.lan.Nodes()[i], nil
}

// cut cuts or heals what passes between nodes, on one link or on all.
func (s *scenario) cut(name string, args []string) error {
	do := map[string]func(from, to *Node){"cut": s.lan.Cut, "heal": s.lan.Heal}[name]
	if n := len(args); n > 0 && strings.HasPrefix(args[n-1], "link=") {
		link, err := strconv.Atoi(strings.TrimPrefix(args[n-1], "link="))
		if err != nil {
			return err
		}
		args = args[:n-1]
		onLink := map[string]func(int, *Node, *Node){"cut": s.lan.CutLink, "heal": s.lan.HealLink}[name]
		do = func(from, to *Node) { onLink(link, from, to) }
	}
	return s.directions(args, do)
}

// directions calls f for each direction between nodes that the words name.
func (s *scenario) directions(args []string, f func(from, to *Node)) error {
	oneWay := len(args) == 3 && args[1] == ">"
	if oneWay {
		args = []string{args[0], args[2]}
	}
	if len(args) > 2 {
		return fmt.Errorf("want at most two nodes")
	}
	var named []*Node
	for _, a := range args {
		n, err := s.find(a)
		if err != nil {
			return err
		}
		named = append(named, n)
	}
	for _, from := range s.lan.Nodes() {
		for _, to := range s.lan.Nodes() {
			if from == to {
				continue
			}
			both := slices.Contains(named, from) && slices.Contains(named, to)
			switch {
			case len(named) == 0,
				len(named) == 1 && (from == named[0] || to == named[0]),
				len(named) == 2 && both && (!oneWay || from == named[0]):
				f(from, to)
			}
		}
	}
	return nil
}

func (s *scenario) pause(name string, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want a node")
	}
	n, err := s.find(args[0])
	if err != nil {
		return err
	}
	if name == "resume" {
		n.Resume()
		return nil
	}
	n.Pause(len(args) == 2 && args[1] == "lossy")
	return nil
}

func (s *scenario) status(r *Router) {
	st := r.State()
	text := fmt.Sprintf("%s %d", st.Role, st.Priority)
	if st.Master.Addr.IsValid() {
		text += fmt.Sprintf(", master %s (%d)", st.Master.Addr, st.Master.Priority)
	}
	var on []string
	for i, addr := range r.Config.Addresses {
		if r.on[i] {
			on = append(on, addr.String())
		}
	}
	if st.Ready {
		text += ", ready"
	}
	if len(on) > 0 {
		text += ", has " + strings.Join(on, " ")
	}
	s.line(r, text)
}

func (s *scenario) expect(args []string) error {
	if len(args) > 2 && args[1] == "at" {
		addr, err := netip.ParseAddr(args[0])
		if err != nil {
			return err
		}
		var got []string
		for _, n := range s.lan.Holders(addr) {
			got = append(got, n.Name)
		}
		if len(got) == 0 {
			got = []string{"nobody"}
		}
		if !slices.Equal(got, args[2:]) {
			return fmt.Errorf("%s is at %s", addr, strings.Join(got, " "))
		}
		return nil
	}
	if len(args) != 2 {
		return fmt.Errorf("want a router and a role, or an address, at, and nodes")
	}
	var wrong error
	err := s.each(args[:1], func(r *Router) {
		if got := r.State().Role.String(); got != args[1] {
			wrong = fmt.Errorf("%s is %s", label(r), got)
		}
	})
	if err != nil {
		return err
	}
	return wrong
}
