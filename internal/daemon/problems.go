package daemon

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"baton/internal/control"
)

// What an operator has to mend, found in what is published when somebody asks: it
// costs the protocol loop nothing.

// longInit is how long a router may be in INIT before that is a problem: checks have
// answered by then.
const longInit = time.Minute

// problemsOf finds checks that fail and count, routers in FAULT for another reason,
// what is not in place or does not run though it should, two masters at a time, and
// what somebody has forced and may have forgotten.
func problemsOf(s *control.Status, checks []control.Check, now time.Time) []control.Problem {
	all, told := checkProblems(s, checks, now)
	all = append(all, faultProblems(s, told)...)
	for _, r := range s.Routers {
		all = append(all, routerProblems(r, now)...)
	}
	return append(all, serviceProblems(s.Services, nil)...)
}

// checkProblems are the checks that fail where it counts, and those that are forced.
// told are the former, by name.
func checkProblems(s *control.Status, checks []control.Check, now time.Time) (all []control.Problem, told map[string]bool) {
	told = make(map[string]bool)
	for _, c := range checks {
		routers := countsFor(s, c.Name)
		failed := len(routers) > 0 && (c.Verdict == "fail" || c.Forced != nil && c.Forced.Verdict == "fail")
		told[c.Name] = failed
		switch {
		case c.Forced != nil:
			all = append(all, control.Problem{
				Text: fmt.Sprintf("%s is forced to %s until %s by %s: %s", c.Name, c.Forced.Verdict, clockTime(c.Forced.Until, now), c.Forced.By, c.Forced.Reason),
				Hint: "to end it: baton checks force " + c.Name + " --clear", Routers: routers,
			})
		case failed:
			all = append(all, control.Problem{
				Text: fmt.Sprintf("%s has failed for %s (%s): %s", c.Name, control.Age(now.Sub(c.Since)), runsOf(c), c.Text),
				Hint: c.Hint, Routers: routers,
			})
		}
	}
	return all, told
}

// countsFor names the routers for which a failure of the check counts now: it faults
// them, or takes something off their priority.
func countsFor(s *control.Status, check string) []string {
	var names []string
	for _, r := range s.Routers {
		if slices.ContainsFunc(r.Tracks, func(t control.Track) bool { return t.Check == check && t.Counts }) {
			names = append(names, r.Name)
		}
	}
	return names
}

func runsOf(c control.Check) string {
	if c.Runs == 1 {
		return "1 run"
	}
	return fmt.Sprintf("%d runs", c.Runs)
}

// clockTime is a time of the day, with the date where it is not today's.
func clockTime(t, now time.Time) string {
	if t.Format(time.DateOnly) != now.Format(time.DateOnly) {
		return t.Format(time.DateTime)
	}
	return t.Format(time.TimeOnly)
}

// faultProblems are the reasons for FAULT that are no check's that has been told of:
// each once, as an interface that is down can hold a thousand routers.
func faultProblems(s *control.Status, told map[string]bool) []control.Problem {
	var all []control.Problem
	byReason := make(map[string]int)
	for _, r := range s.Routers {
		if r.Role != "FAULT" {
			continue
		}
		for _, reason := range r.Faults {
			check, _, fails := strings.Cut(reason, " fails")
			if fails && told[check] && !strings.HasSuffix(reason, held) {
				continue
			}
			i, known := byReason[reason]
			if !known {
				i = len(all)
				byReason[reason] = i
				all = append(all, control.Problem{Text: reason, Hint: faultHint(s, r, reason)})
			}
			all[i].Routers = append(all[i].Routers, r.Name)
		}
	}
	for i, p := range all {
		all[i].Text = inFault(p.Routers) + " in FAULT: " + p.Text
	}
	return all
}

// inFault names one or two routers, and counts more.
func inFault(names []string) string {
	switch len(names) {
	case 1:
		return names[0] + " is"
	case 2:
		return names[0] + " and " + names[1] + " are"
	}
	return fmt.Sprintf("%s, %s and %d more are", names[0], names[1], len(names)-2)
}

// faultHint says what to look at for a FAULT that is no check's.
func faultHint(s *control.Status, r control.Router, reason string) string {
	switch {
	case strings.HasSuffix(reason, held):
		return "mend what failed, then: baton clear " + r.Name
	case isStandby(reason) && s.Standby != nil:
		return "to end it: baton resume"
	case isStandby(reason):
		return "to end it: baton resume " + r.Name
	case strings.Contains(reason, "interface ") && len(r.Parts) > 0:
		for _, p := range r.Parts {
			if strings.Contains(reason, "interface "+p.Interface+" ") {
				return "look at it: ip address show " + p.Interface
			}
		}
		return "look at it: ip address show " + r.Parts[0].Interface
	}
	if isStandby(reason) {
		return "to end it: baton resume " + r.Name
	}
	return ""
}

// routerProblems are those of one router or group, whatever its role.
func routerProblems(r control.Router, now time.Time) []control.Problem {
	var all []control.Problem
	add := func(hint, format string, args ...any) {
		all = append(all, control.Problem{Text: r.Name + ": " + fmt.Sprintf(format, args...), Hint: hint, Routers: []string{r.Name}})
	}
	if in := now.Sub(r.Since); r.Role == "INIT" && in > longInit && !strings.Contains(r.Note, "start_delay") {
		add("", "in INIT for %s: %s", control.Age(in), r.Note)
	}
	for _, p := range r.Parts {
		for _, a := range p.Addresses {
			if a.Error != "" && r.Role == "MASTER" {
				add("it is tried again and again: ip address show "+p.Interface, "%s is not in place: %s", a.Address, a.Error)
			}
		}
		for _, f := range p.Failed {
			add("", "not in place: %s", f)
		}
		for _, peer := range p.Peers {
			if r.Role == "MASTER" && alsoMaster(p, peer, r.Since, now) {
				add("it does not hear this node, or takes it for another router: its firewall, its VRID, its version",
					"two masters: %s advertises priority %d, heard %s ago", nameOrAddress(peer), peer.Priority, control.Age(now.Sub(peer.LastHeard)))
			}
		}
	}
	return append(all, serviceProblems(r.Services, []string{r.Name})...)
}

// alsoMaster tells whether a peer goes on as master though this node has been it for
// longer than it takes to settle.
func alsoMaster(p control.Part, peer control.Peer, since, now time.Time) bool {
	const settles, silent = 3, 4 // intervals
	return peer.Priority > 0 && peer.LastHeard.After(since.Add(settles*p.Interval)) && now.Sub(peer.LastHeard) < silent*p.Interval
}

func nameOrAddress(p control.Peer) string {
	if p.Node != "" {
		return p.Node
	}
	return p.Address
}

// serviceProblems are the services that have failed.
func serviceProblems(services []control.Service, routers []string) []control.Problem {
	var all []control.Problem
	for _, s := range services {
		if s.State != "failed" {
			continue
		}
		p := control.Problem{Text: s.Name + " has failed", Routers: routers}
		if len(routers) > 0 {
			p.Text = routers[0] + ": " + p.Text
		}
		if s.Text != "" {
			p.Text += ": " + s.Text
		}
		if strings.Contains(s.Name, ".") { // a unit of systemd
			p.Hint = "look at it: systemctl status " + s.Name
		}
		all = append(all, p)
	}
	return all
}
