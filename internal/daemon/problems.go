package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"baton/internal/command"
	"baton/internal/control"
	"baton/internal/role"
)

// noted keeps the end of each hook for those who ask what has happened.
func (d *daemon) noted(router string, run role.RunFunc) role.RunFunc {
	return func(ctx context.Context, h role.Hook, argv, env []string) command.Result {
		r := run(ctx, h, argv, env)
		d.loop.node.counters.hook(r)
		text := filepath.Base(argv[0])
		if line := r.FirstLine(); line != "" {
			text += ": " + line
		}
		d.events.add(control.HookEvent, router, fmt.Sprintf("%s after %s", r.String(), r.Took.Round(time.Millisecond)), text)
		return r
	}
}

// problemsOf finds what an operator has to mend: checks that fail and count,
// routers in FAULT for another reason, addresses and services that are not as they
// have to be, and what somebody has set and may have forgotten.
func problemsOf(s *control.Status, checks []control.Check, now time.Time) []control.Problem {
	var all []control.Problem
	told := map[string]bool{}
	for _, c := range checks {
		if c.Forced != nil {
			all = append(all, control.Problem{Text: fmt.Sprintf("%s is forced to %s by %s: %s", c.Name, c.Forced.Verdict, c.Forced.By, c.Forced.Reason),
				Hint: "to end it: baton checks force " + c.Name + " --clear"})
		}
		if c.Verdict != "fail" || !counts(s, c.Name) {
			continue
		}
		told[c.Name] = true
		text := fmt.Sprintf("%s has failed for %s (%s): %s", c.Name, now.Sub(c.Since).Round(time.Second), runs(c.Runs), c.Text)
		all = append(all, control.Problem{Text: text, Hint: c.Hint})
	}
	for _, r := range s.Routers {
		if r.Role == "FAULT" {
			for _, reason := range r.Faults {
				if check, _, _ := strings.Cut(reason, " fails"); !told[check] {
					all = append(all, control.Problem{Text: r.Name + " is in FAULT: " + reason, Hint: faultHint(r, reason)})
				}
			}
		}
		for _, p := range r.Parts {
			for _, a := range p.Addresses {
				if a.Error != "" {
					all = append(all, control.Problem{Text: fmt.Sprintf("%s: %s is not in place: %s", r.Name, a.Address, a.Error)})
				}
			}
		}
		all = append(all, failedServices(r.Name+": ", r.Services)...)
	}
	return append(all, failedServices("", s.Services)...)
}

func runs(n int) string {
	if n == 1 {
		return "1 run"
	}
	return fmt.Sprintf("%d runs", n)
}

// counts tells whether a failure of the check has an effect on a router.
func counts(s *control.Status, check string) bool {
	return slices.ContainsFunc(s.Routers, func(r control.Router) bool {
		return slices.ContainsFunc(r.Tracks, func(t control.Track) bool {
			effect, when, _ := strings.Cut(t.Effect, ", ")
			return t.Check == check && effect != "report" && (when == "" || (when == "master") == (r.Role == "MASTER"))
		})
	})
}

// faultHint says what ends a FAULT that does not end by itself.
func faultHint(r control.Router, reason string) string {
	if strings.HasSuffix(reason, "(held: it failed as master)") {
		return "mend what failed, then: baton clear " + r.Name
	}
	return ""
}

func failedServices(of string, services []control.Service) []control.Problem {
	var all []control.Problem
	for _, s := range services {
		if s.State == "failed" {
			all = append(all, control.Problem{Text: strings.TrimSuffix(of+s.Name+" has failed: "+s.Text, ": ")})
		}
	}
	return all
}
