package daemon

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"baton/health"
	"baton/internal/command"
	"baton/internal/control"
	"baton/vip"
)

// What is kept of what happens, for `baton events`.

// noteAddress keeps what befalls an address.
func (r *router) noteAddress(e vip.Event) {
	subject := "virtual addresses"
	switch {
	case e.Object != "":
		subject = e.Object
	case e.Address.IsValid():
		subject = r.prefixed(e.Address)
	case e.Kind == vip.Repaired, e.Kind == vip.Contested:
		subject = "interface " + r.macvlan()
	}
	what, text := "", ""
	switch e.Kind {
	case vip.Repaired:
		what, text = "removed by others", "put back and announced after "+round(e.After)+"; stays "+r.role.String()
		if e.Object != "" {
			text = "put back after " + round(e.After)
		}
	case vip.Removed:
		what, text = "removed by others", "stays away, as repair is false"
	case vip.Contested:
		what, text = "contested", fmt.Sprintf("is removed again and again: %v", e.Err)
	case vip.Failed:
		what, text = "not in place", fmt.Sprint(e.Err)
	case vip.Recovered:
		what, text = "in place", "after a failure"
	default:
		return
	}
	r.node.out.event(control.AddressEvent, r.group.name, what, subject+" "+text)
}

// prefixed is a virtual address as it is configured.
func (r *router) prefixed(addr netip.Addr) string {
	for _, a := range r.cfg.Addresses {
		if a.Prefix.Addr() == addr {
			return a.Prefix.String()
		}
	}
	return addr.String()
}

// noteHook keeps the end of a hook of a router or group.
func (e *events) noteHook(name, list string, argv []string, r command.Result) {
	what := "exit " + fmt.Sprint(r.Exit)
	switch {
	case r.TimedOut:
		what = "timed out"
	case r.Err != nil:
		what = "failed"
	case r.Signal != "":
		what = "killed by " + r.Signal
	}
	text := filepath.Base(argv[0])
	if list == "any" && len(argv) > 4 {
		text = strings.Join(argv[len(argv)-4:], " ") // what it was told says more
	}
	if !r.OK() {
		text += ": " + r.String()
	}
	e.add(control.HookEvent, name+" "+list, what+" after "+r.Took.Round(time.Millisecond).String(), text)
}

// noteVerdict keeps a check's new verdict.
func (n *node) noteVerdict(c health.Change) {
	if c.From == c.To {
		return // another number
	}
	runs := fmt.Sprintf("%d runs", c.Runs)
	if c.Runs == 1 {
		runs = "1 run"
	}
	n.out.event(control.CheckEvent, c.Check, verdictWord(c.From)+" to "+verdictWord(c.To), runs+": "+c.Text)
}

// verdictWord is a verdict so that a failure meets the eye.
func verdictWord(v health.Verdict) string {
	if v == health.Fail {
		return "FAIL"
	}
	return v.String()
}
