package daemon

import (
	"context"
	"maps"
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
	items := d.items(c.Services, r)
	mark := role.Item{Addresses: true}
	if at := c.AddressesAt; at > 0 {
		items = append(items[:at:at], append([]role.Item{mark}, items[at:]...)...)
	}
	s := role.NewSequence(role.Options{Router: r, Items: items, Log: d.log, Report: func(rep role.Report) {
		d.loop.post(d.ctx, func(now time.Duration) { d.loop.node.serviceReport(now, r.Name, rep) })
	}})
	d.sequences[r.Name] = s
	return s
}

// sequenceEverywhere makes the sequence of the services that run on every node; nil
// where there are none.
func (d *daemon) sequenceEverywhere() *role.Sequence {
	if len(d.cfg.Services) == 0 {
		return nil
	}
	r := role.Router{Node: d.cfg.Node}
	return role.NewSequence(role.Options{Router: r, Items: d.items(d.cfg.Services, r), Everywhere: true, Log: d.log})
}

func (d *daemon) items(services []config.Service, r role.Router) []role.Item {
	var items []role.Item
	for _, s := range services {
		item := role.Item{
			Name: s.Name, Control: d.controlOf(s, r), OnlyAfterSilence: s.OnlyAfterSilence,
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
	}, r, role.Exec(d.host.run(), d.cfg.Dir), lookupOf(d.cfg))
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
	for _, q := range d.queues {
		ends.Go(func() {
			if err := q.Close(ctx); err != nil {
				d.log.Warn("hooks were cut short", "err", err)
			}
		})
	}
	sequences := slices.Collect(maps.Values(d.sequences))
	if d.everywhere != nil {
		sequences = append(sequences, d.everywhere)
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
