package daemon

import (
	"slices"
	"strings"
	"time"

	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/role"
	"baton/internal/webhook"
	"baton/vrrp"
)

// What the role means for the services that are bound to a group: they run
// where it is, and a master that leaves of its own accord stops them first.

// bound is what the protocol loop knows of a group's services.
type bound struct {
	run    services
	wish   wish
	order  uint64 // of the wish
	chosen bool   // it is a Stop that a leave asked for
	progress
	services []config.Service // as configured
	at       int              // their AddressesAt
	since    time.Duration    // when the newest Start was, or a service died that is brought back

	served bool // all were ready once in this mastership: a fence has been, and promote_after is over
	atMark bool // the addresses have had their turn in this mastership
	// silent is the master that this node took over from in silence, until the
	// services run here: what makes sure that it is off may have to be tried again.
	silent string
	// stuck names the service that did not stop, for which this node stays
	// master though it was to leave.
	stuck string
}

// progress is how far the services have come with the newest wish.
type progress struct {
	ready     bool   // all that a Start began is ready
	died      string // the service that died last, while it is brought back
	stopped   bool   // nothing is left of what a Stop had to stop
	abandoned bool   // but for a service that did not stop
}

// become takes another wish. What came of the one before is over.
func (b *bound) become(w wish, chosen bool) {
	b.wish, b.chosen, b.progress = w, chosen, progress{}
	b.order++
}

// wish is what the services were told last.
type wish uint8

const (
	untold wish = iota // nothing: the role is not certain yet
	run
	stop
)

// services is the services of one group: see role.Sequence.
type services interface {
	Begin()
	StopLeft()
	Adopt(order uint64, t role.Transition)
	Start(order uint64, t role.Transition, delay time.Duration)
	Stop(order uint64, t role.Transition, chosen bool)
	StartNow(order uint64)
	Placed(order uint64)
	Abandon()
	Follow(t role.Transition)
	// Rebind gives them another configuration, and perhaps another router.
	Rebind(c config.Router, r role.Router)
}

// bind gives the group its services, if it has any.
func (g *group) bind() {
	c := g.routers[0].cfg
	if len(c.Services) == 0 {
		return
	}
	g.bound = &bound{run: g.node.out.services(c, g.hookRouter()), services: c.Services, at: c.AddressesAt}
}

// guide brings the services to what the role wants of them; leaving says that a
// master has to go, or has been told to. It returns whether nothing of them is
// left to stop.
func (g *group) guide(now time.Duration, leaving bool) (free bool) {
	b := g.bound
	if b == nil {
		return true
	}
	master := g.isMaster()
	switch {
	case master && !leaving:
		if b.wish != run {
			g.startServices(now)
		}
	case b.wish != stop && (master || g.certain()):
		g.stopServices()
	}
	return g.free()
}

// free tells whether nothing of the services is left to stop.
func (g *group) free() bool {
	return g.bound == nil || g.bound.wish == untold || g.bound.stopped
}

// certain tells whether it is known that this node is not to run the services:
// it has been told so before, is in FAULT, or hears the one that does.
func (g *group) certain() bool {
	by, _ := g.masterElsewhere()
	return g.bound.wish != untold || g.role == vrrp.Fault || by != nil
}

// startServices starts them on behalf of this mastership. Once they have been
// ready in it the old master is off: it is neither waited for again, nor fenced,
// since it may be back as a standby.
func (g *group) startServices(now time.Duration) {
	b, t := g.bound, g.last
	delay := max(0, g.masterSince+g.routers[0].cfg.PromoteAfter-now)
	if b.served {
		delay, t.Takeover = 0, ""
	}
	b.become(run, false)
	if g.resumed.adopt && g.resumed.Services.Served {
		g.resumed.Services.Served = false // once
		b.since, b.served = g.masterSince, true
		b.run.Adopt(b.order, t)
		return
	}
	b.since, b.atMark = now, false
	g.log.Info("services start", "takeover", t.Takeover, "after", round(delay))
	b.run.Start(b.order, t, delay)
	g.confirm(delay)
}

// stopServices stops them on behalf of the role that this node has, or is to have
// once they are stopped.
func (g *group) stopServices() {
	b, t := g.bound, g.last
	switch {
	case g.leaving:
		t = role.Transition{To: role.Stop, From: state(g.role), Reason: g.goodbye()}
	case g.isMaster():
		t = role.Transition{To: role.Fault, From: role.Master, Reason: strings.Join(g.common, "; ")}
		if g.order.leaves() {
			t.To, t.Reason = state(g.order.target()), g.orderReason()
		}
	}
	if b.wish == run {
		g.log.Info("services stop", "reason", t.Reason)
	}
	b.become(stop, g.leaving || g.order.leaves() && g.isMaster())
	b.run.Stop(b.order, g.withMasters(t), b.chosen)
}

// unplaced tells whether the addresses wait for their turn among the services.
func (g *group) unplaced() bool {
	return g.bound != nil && g.routers[0].cfg.AddressesAt > 0 && !g.bound.atMark
}

// serviceReport takes what the services of a group have to say. What belongs to
// an earlier wish says nothing of this one.
func (n *node) serviceReport(now time.Duration, name string, rep role.Report) {
	i := slices.IndexFunc(n.groups, func(g *group) bool { return g.name == name })
	if i < 0 || n.groups[i].bound == nil || rep.Order != n.groups[i].bound.order {
		return
	}
	n.groups[i].touch()
	n.groups[i].serviceReport(now, rep)
	n.settle(now)
}

// news are the reports that webhooks are told of, in a word.
var news = map[role.ReportKind]string{
	role.Ready: "ready", role.Stopped: "stopped", role.StartFailed: "not started", role.Died: "died", role.Lost: "lost", role.StopFailed: "not stopped",
}

func (g *group) serviceReport(now time.Duration, rep role.Report) {
	b := g.bound
	g.node.dirty = append(g.node.dirty, g)
	g.node.counters.service(rep.Kind)
	if what := news[rep.Kind]; what != "" {
		g.node.out.event(control.ServiceEvent, strings.TrimSpace(rep.Service+" "+g.name), what, rep.Text)
		g.node.out.announce(webhook.Service{Router: g.name, Service: rep.Service, What: what, Text: rep.Text})
	}
	switch rep.Kind {
	case role.AddressesOn:
		b.atMark = true
		for _, r := range g.routers {
			if r.wanted {
				r.hold()
			}
		}
		g.placed()
	case role.AddressesOff:
		b.atMark = false
		for _, r := range g.routers {
			r.inPlace = false
			r.addresses.Release()
		}
	case role.Ready:
		if b.died == "" || !b.served { // else the log was told that it is back
			g.log.Info("ready: every service runs", "after", round(now-g.masterSince))
		}
		b.ready, b.served, b.silent, b.died = true, true, "", ""
	case role.Stopped:
		b.stopped = true
		g.log.Debug("every service is stopped")
	case role.StartFailed:
		g.log.Error("service did not start: it is rolled back", "service", rep.Service, "err", rep.Text)
		g.fail(now, rep.Text)
	case role.Died:
		b.ready, b.died, b.since = false, rep.Service, now
	case role.Lost:
		g.log.Error("service cannot be brought back", "service", rep.Service, "err", rep.Text)
		g.fail(now, rep.Text)
	case role.StopFailed:
		g.stopFailed(now, rep)
	}
}

// fenced tells whether a fence stands between a silent master and the services.
func (g *group) fenced() bool {
	return g.bound != nil && slices.ContainsFunc(g.routers[0].cfg.Services, func(s config.Service) bool { return s.OnlyAfterSilence })
}

// wordless tells whether a master that goes into FAULT does not say so. Where there
// is a fence the next node would take the word for an orderly end, and leave its
// own fence out. So this one is silent when it took over in silence and has not
// come to serve, or when something of it did not stop.
func (g *group) wordless() bool {
	b := g.bound
	return g.fenced() && (b.abandoned || !b.served && g.last.Takeover == "silence")
}

// stopFailed does what on_stop_failure says. A master stays one only where its
// leave was chosen: in FAULT, or after a better one, there is nothing to stay.
func (g *group) stopFailed(now time.Duration, rep role.Report) {
	b := g.bound
	log := g.log.With("service", rep.Service, "err", rep.Text)
	policy := g.routers[0].cfg.OnStopFailure
	if g.stopFailedInOrder(policy, rep.Text) {
		return
	}
	switch {
	case policy == config.StopFailureReboot:
		log.Error("service did not stop: this host is rebooted (on_stop_failure)")
		g.node.out.reboot(g.name)
	case policy == config.StopFailureHold && b.chosen && g.isMaster():
		log.Error("service did not stop: this node stays master (on_stop_failure: hold); a second signal ends baton nevertheless, and another node takes over")
		g.leaving, b.stuck = false, rep.Service
		g.startServices(now)
		g.pending = &role.Transition{To: role.Master, From: role.Stop, Reason: rep.Text}
		g.placed()
	default:
		log.Error("service did not stop: the role is given up nevertheless, and it may run on two nodes")
		g.abandon()
	}
}

// abandon goes on as if the service had stopped that did not.
func (g *group) abandon() {
	g.bound.abandoned = true
	g.bound.run.Abandon()
}

// rebootFailed goes on without the reboot that on_stop_failure asks for.
func (n *node) rebootFailed(name string) {
	for _, g := range n.groups {
		if g.name == name && g.bound.wish == stop && !g.bound.stopped {
			g.log.Error("the role is given up with a service that did not stop, and it may run on two nodes")
			g.abandon()
		}
	}
}

// placed tells the services and the hooks of a mastership whose addresses are
// all on.
func (g *group) placed() {
	g.touch()
	if slices.ContainsFunc(g.routers, func(r *router) bool { return !r.inPlace }) {
		return
	}
	if g.bound != nil && g.bound.atMark {
		g.bound.run.Placed(g.bound.order)
	}
	if g.pending != nil {
		g.tell(*g.pending)
		g.pending = nil
	}
}

// followMaster tells the services of a node that is not master who is, when
// that has changed.
func (g *group) followMaster() {
	if g.bound == nil || g.role == vrrp.Master {
		return
	}
	g.node.dirty = append(g.node.dirty, g) // its role may be certain now
	g.bound.run.Follow(g.withMasters(role.Transition{To: state(g.role), From: state(g.role), Reason: "another master"}))
}

// stopMargin is how much longer than its limit the stop of a service may take: to
// ask for its status before, and to end what does not.
const stopMargin = 5 * time.Second

// stopTime is how long the services may take to stop, all of them one after
// another.
func (g *group) stopTime() time.Duration {
	var sum time.Duration
	for _, s := range g.routers[0].cfg.Services {
		sum += s.StopTimeout + stopMargin
	}
	return sum
}

// goodbye says why the group leaves for good.
func (g *group) goodbye() string {
	if g.removed && !g.node.leaving {
		return "it is not configured any more"
	}
	return "baton stops"
}

// leave takes the group out of the election for good, a master once its services
// are stopped.
func (g *group) leave(now time.Duration) {
	g.abort(g.goodbye())
	g.leaving, g.pending = true, nil
	from := state(g.role)
	var bound time.Duration
	for _, r := range g.routers {
		bound = max(bound, g.node.set.HandoverBound(r.id))
	}
	g.node.leaveBy = max(g.node.leaveBy, now+bound+g.stopTime()+leaveMargin)
	g.evaluate(now)
	g.tell(role.Transition{To: role.Stop, From: from, Reason: g.goodbye()})
}

// depart is the end of leave.
func (g *group) depart(now time.Duration) {
	g.left, g.evalAt = true, vrrp.Never
	if g.isMaster() && g.bound != nil && g.bound.stopped && !g.bound.abandoned && g.routers[0].cfg.PromoteAfter > 0 {
		g.node.departed, g.node.lingers = now, max(g.node.lingers, g.handoverBound())
	}
	silent := g.isMaster() && (g.wordless() || g.fenced() && !g.bound.stopped)
	for _, r := range g.routers {
		r.step(now, vrrp.Event{Kind: vrrp.Shutdown, Alone: silent})
	}
}
