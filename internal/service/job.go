package service

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// giveUp is how long a start insists on a systemd that does not answer: longer
	// than the second or two in which it executes itself anew after an upgrade, and
	// not so long that another node could serve meanwhile.
	giveUp = 10 * time.Second
	// withdrawLimit bounds the undoing of a start that was given up.
	withdrawLimit = 400 * time.Millisecond
	// pause is between two attempts at the same thing.
	pause = 200 * time.Millisecond
	// maxMargin is how much of a stop's time is kept back for killing.
	maxMargin = 5 * time.Second
)

// Start starts the unit and waits for the job. A start that is given up, or
// takes longer than ctx, is taken back: nothing must come up later. A unit that
// has failed before gets a clean slate, so that systemd's own limit of starts does
// not stand against a start on purpose.
func (u *unit) Start(ctx context.Context) error {
	sent := false
	err := u.insist(ctx, giveUp, func(b *bus) error { return u.start(ctx, b, &sent) })
	if err == nil {
		return nil
	}
	if sent {
		var gone *unreachable
		if ctx.Err() != nil || errors.As(err, &gone) {
			if e := u.withdraw(ctx); e != nil {
				return fmt.Errorf("start %s: %w; and it may still come up: %w", u.name, err, e)
			}
		}
	}
	return fmt.Errorf("start %s: %w", u.name, err)
}

func (u *unit) start(ctx context.Context, b *bus, sent *bool) error {
	for {
		now, err := b.ask(ctx, u.name)
		if err != nil {
			return err
		}
		if now.up() && now.JobID == 0 {
			return nil
		}
		if text, hint := u.unloadable(ctx, b, now); text != "" {
			return fmt.Errorf("%s: %s", text, hint)
		}
		if now.Active == "failed" {
			if _, err := b.call(ctx, systemdPath, managerIface+".ResetFailedUnit", u.name); err != nil {
				return err
			}
		}
		*sent = true
		result, err := b.queue(ctx, "StartUnit", u.name)
		if err != nil {
			return err
		}
		if now, err = b.ask(ctx, u.name); err != nil {
			return err
		}
		if now.up() {
			return nil
		}
		// Its job is gone, and it goes on without: somebody has cancelled the job.
		if now.Active == "activating" && now.Sub != "auto-restart" {
			if err := sleep(ctx, pause); err != nil {
				return err
			}
			continue
		}
		return u.unstarted(ctx, b, now, result)
	}
}

// unstarted words how a start ended that did not bring the unit up.
func (u *unit) unstarted(ctx context.Context, b *bus, now snapshot, result string) error {
	why := b.why(ctx, now)
	if why == "" {
		why = now.String()
	}
	switch {
	case result == "dependency":
		return fmt.Errorf("job dependency: a unit that it requires did not start; see systemctl list-dependencies %s", u.name)
	case result == "canceled":
		return fmt.Errorf("job canceled: somebody else stops it; it is %s", now)
	case now.Active == "inactive" && (result == "done" || result == "skipped" || result == ""):
		// Which of the two it was systemd has forgotten: it has unloaded the unit.
		return fmt.Errorf("it is %s after its start: it ended by itself (Type=oneshot then needs RemainAfterExit=yes), or one of its conditions does not hold; see systemctl status %s", now, u.name)
	case result == "done" || result == "":
		return fmt.Errorf("it came up and died: %s; see %s", why, u.journal())
	}
	return fmt.Errorf("job %s: %s; see %s", result, why, u.journal())
}

// withdraw takes back a start that was given up. Cancelling the job would not do:
// the unit would go on coming up without one.
func (u *unit) withdraw(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawLimit)
	defer cancel()
	b, err := u.systemd.connect(ctx)
	if err == nil {
		_, err = b.call(ctx, systemdPath, managerIface+".StopUnit", u.name, "replace")
	}
	return err
}

// Stop stops the unit and waits until nothing of it runs. Near the deadline of
// ctx, the last quarter of its time and at most five seconds, all of its
// processes get SIGKILL.
func (u *unit) Stop(ctx context.Context) error {
	gentle := ctx
	if end, ok := ctx.Deadline(); ok {
		var cancel func()
		gentle, cancel = context.WithDeadline(ctx, end.Add(-margin(end)))
		defer cancel()
	}
	err := u.insist(gentle, 0, func(b *bus) error { return u.stop(gentle, b) })
	if err != nil && gentle.Err() != nil && ctx.Err() == nil {
		err = u.insist(ctx, 0, func(b *bus) error { return u.kill(ctx, b, err) })
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", u.name, err)
	}
	return nil
}

// margin is what is kept back of the time until a stop's deadline.
func margin(end time.Time) time.Duration {
	return min(time.Until(end)/4, maxMargin)
}

// stop asks until it is down: a job may fail, or somebody may start it again. A
// unit that fails by being stopped, as one does that exits with 143 after SIGTERM,
// is not to be seen as failed.
func (u *unit) stop(ctx context.Context, b *bus) error {
	for {
		now, err := b.ask(ctx, u.name)
		if err != nil || now.down() {
			return err
		}
		result, err := b.queue(ctx, "StopUnit", u.name)
		switch {
		case isRefusal(err, "org.freedesktop.systemd1.NoSuchUnit"):
			return nil
		case err != nil && ctx.Err() != nil:
			return fmt.Errorf("it is %s: %w", b.last(ctx, u.name, now), ctx.Err())
		case err != nil:
			return err
		}
		if now, err = b.ask(ctx, u.name); err != nil || now.down() {
			return b.reset(ctx, now, err)
		}
		if sleep(ctx, pause) != nil {
			return fmt.Errorf("job %s: it is %s", result, now)
		}
	}
}

// reset makes a unit that has failed an inactive one; err is passed on.
func (b *bus) reset(ctx context.Context, now snapshot, err error) error {
	if err == nil && now.Active == "failed" {
		// It is down all the same.
		_, _ = b.call(ctx, systemdPath, managerIface+".ResetFailedUnit", now.Name)
	}
	return err
}

// last is what a unit is now, or was, for a message.
func (b *bus) last(ctx context.Context, name string, before snapshot) snapshot {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pause)
	defer cancel()
	if now, err := b.ask(ctx, name); err == nil {
		return now
	}
	return before
}

// kill ends all processes of the unit; why is how stopping it failed.
func (u *unit) kill(ctx context.Context, b *bus, why error) error {
	u.systemd.log.Warn("unit does not stop, it is killed", "unit", u.name, "err", why)
	for {
		_, err := b.call(ctx, systemdPath, managerIface+".KillUnit", u.name, "all", int32(9))
		var no *refusal
		if err != nil && !errors.As(err, &no) {
			return err
		}
		now, err := b.ask(ctx, u.name)
		if err != nil || now.down() {
			return b.reset(ctx, now, err)
		}
		if sleep(ctx, pause) != nil {
			if no != nil {
				return fmt.Errorf("%w; kill it: %w", why, no)
			}
			return fmt.Errorf("it is %s, and SIGKILL did not end it: %w", now, why)
		}
	}
}

// insist calls f with a connection until systemd has answered, or ctx ends, or
// systemd was silent for longer than limit (0: as long as ctx allows).
func (u *unit) insist(ctx context.Context, limit time.Duration, f func(*bus) error) error {
	began := time.Now()
	for {
		b, err := u.systemd.connect(ctx)
		if err == nil {
			err = f(b)
		}
		var gone *unreachable
		if !errors.As(err, &gone) {
			return err
		}
		since := began
		if last := u.systemd.lastHeard(); last.After(since) {
			since = last
		}
		if limit > 0 && time.Since(since) > limit {
			return err
		}
		if sleep(ctx, pause) != nil {
			return err
		}
	}
}
