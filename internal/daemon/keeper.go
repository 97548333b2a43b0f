package daemon

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"time"

	"baton/health"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/role"
)

const (
	// commandStatusEvery is how often a status command is run: so that a service that
	// died is found before a check of it, which fails twice, costs the role.
	commandStatusEvery = time.Second
	// agentStatusTimeout bounds a resource agent's monitor. Pacemaker's users give it
	// 20 to 30 s.
	agentStatusTimeout = 20 * time.Second
)

// services makes the sequence of what is bound to a router or group.
func (d *daemon) services(c config.Router, r role.Router) services {
	b := &boundServices{daemon: d, router: r, configured: c}
	b.Sequence = role.NewSequence(role.Options{Router: r, Items: b.items(nil), Log: d.log, Report: func(rep role.Report) {
		d.loop.post(d.ctx, func(now time.Duration) { d.loop.node.serviceReport(now, b.router.Name, rep) })
	}})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bound = append(d.bound, b)
	return b
}

// boundServices are those of a router or group. The loop changes them, under the
// daemon's lock.
type boundServices struct {
	*role.Sequence
	daemon     *daemon
	router     role.Router
	configured config.Router
}

// items are the services in order, with the mark of the addresses. Those that stay
// keep their control.
func (b *boundServices) items(keeps func(config.Service) bool) []role.Item {
	items := b.daemon.items(b.configured.Services, b.router, keeps)
	if at := b.configured.AddressesAt; at > 0 {
		items = slices.Insert(items, at, role.Item{Addresses: true})
	}
	return items
}

// Rebind gives them another configuration. A service that is the same in both goes on
// as it is, and so does one of which other things have changed than what it is.
func (b *boundServices) Rebind(c config.Router, r role.Router) {
	same := sameRouter(b.router, r)
	was := b.configured.Services
	b.daemon.mu.Lock()
	b.router, b.configured = r, c
	b.daemon.mu.Unlock()
	b.Rearrange(r, b.items(func(s config.Service) bool { return same && keeps(was, s) }))
}

// keeps tells whether a service is the same as before.
func keeps(was []config.Service, s config.Service) bool {
	return slices.ContainsFunc(was, func(o config.Service) bool { return reflect.DeepEqual(o, s) })
}

// sequenceEverywhere makes the sequence of the services that run on every node; nil
// where there are none.
func (d *daemon) sequenceEverywhere() *role.Sequence {
	if len(d.config().Services) == 0 {
		return nil
	}
	r := role.Router{Node: d.config().Node}
	return role.NewSequence(role.Options{Router: r, Items: d.items(d.config().Services, r, nil), Everywhere: true, Log: d.log})
}

// items are services for a sequence. Those that keeps names have no control: they
// keep theirs.
func (d *daemon) items(services []config.Service, r role.Router, keeps func(config.Service) bool) []role.Item {
	var items []role.Item
	for _, s := range services {
		var control role.Control
		if keeps == nil || !keeps(s) {
			control = d.controlOf(s, r)
		}
		item := role.Item{
			Name: s.Name, What: whatOf(s), Control: control, OnlyAfterSilence: s.OnlyAfterSilence,
			StartTimeout: s.StartTimeout, StopTimeout: s.StopTimeout, Ready: d.readiness(s.Ready), Revive: role.Revive(s.Revive),
		}
		switch {
		case s.Kind == config.OCFService:
			item.StatusTimeout = agentStatusTimeout
		case s.Status != nil:
			item.StatusEvery, item.StatusTimeout = commandStatusEvery, s.Status.Timeout
		}
		switch s.AtStart {
		case config.AtStartStop:
			item.AtStart = role.StopFirst
		case config.AtStartLeave:
			item.AtStart = role.Leave
		}
		items = append(items, item)
	}
	return items
}

func (d *daemon) controlOf(s config.Service, r role.Router) role.Control {
	switch s.Kind {
	case config.UnitService:
		return role.Fixed(d.host.unit(s.Unit))
	case config.ContainerService:
		return role.Fixed(d.host.container(s.Container))
	case config.OCFService:
		return role.Fixed(d.host.ocf(s.OCF, s.Name))
	}
	return role.NewCommandControl(role.Commands{
		Start: hookOf(s.Start), Stop: hookOf(s.Stop), Status: hookOf(s.Status),
		Promote: hookOf(s.Promote), Demote: hookOf(s.Demote), Follow: hookOf(s.Follow),
	}, r, role.Exec(d.host.run(), d.config().Dir), d.lookup)
}

// readiness tells whether a check passes by an answer that it was asked for after
// a moment; nil where there is no check.
func (d *daemon) readiness(check string) func(after time.Time) (ok bool, text string) {
	if check == "" {
		return nil
	}
	return func(after time.Time) (bool, string) {
		r, _ := d.scheduler.Result(check)
		switch asked := r.At.Add(-r.Took); {
		case r.Verdict == health.Pass && r.OK && asked.After(after):
			return true, ""
		case r.OK:
			return false, check + " has not passed yet"
		}
		return false, check + ": " + r.Text
	}
}

// statesOf is what is known of the services of a sequence.
func statesOf(s *role.Sequence) []control.Service {
	if s == nil {
		return nil
	}
	now := time.Now()
	var list []control.Service
	for _, i := range s.States() {
		list = append(list, control.Service{Name: i.Name, State: i.State.String(), Since: onWall(i.Since, now), Text: i.Text})
	}
	return list
}

// rebootFor reboots this host for a service of a group that does not stop.
func (d *daemon) rebootFor(group string) {
	d.parts.Go(func() {
		if err := d.host.reboot(); err != nil {
			d.log.Error("this host could not be rebooted", "err", err)
		}
		d.loop.post(d.ctx, func(time.Duration) { d.loop.node.rebootFailed(group) })
	})
}

// closeRoles ends the hooks, and the watch over services, all at once: nothing is
// begun any more, and nobody waits for another. It stops no service: what a role had
// to stop has been, and the rest stays as it is.
func (d *daemon) closeRoles(ctx context.Context) {
	var ends sync.WaitGroup
	d.mu.Lock()
	queues, sequences := slices.Clone(d.queues), []*role.Sequence{}
	for _, b := range d.bound {
		sequences = append(sequences, b.Sequence)
	}
	if d.everywhere != nil {
		sequences = append(sequences, d.everywhere)
	}
	d.mu.Unlock()
	for _, q := range queues {
		ends.Go(func() {
			if err := q.Close(ctx); err != nil {
				d.log.Warn("hooks were cut short", "err", err)
			}
		})
	}
	for _, s := range sequences {
		ends.Go(func() {
			if err := s.Close(ctx); err != nil {
				d.log.Warn("commands of services were cut short", "err", err)
			}
		})
	}
	ends.Wait()
}
