package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/command"
	"baton/internal/control"
	"baton/vrrp"
)

const (
	// askNewTimeout bounds each question to a new binary.
	askNewTimeout = 15 * time.Second
	// idleLimit bounds the wait for hooks and services that are under way, and
	// idleLook is how often it is looked.
	idleLimit = 30 * time.Second
	idleLook  = 20 * time.Millisecond
	// partsLimit bounds the wait for what must have ended before the exec.
	partsLimit = 3 * time.Second
)

// successor says that this process is to be replaced: by executing path, in place.
type successor struct{ path string }

func (s *successor) Error() string { return "makes way for " + s.path }

// Upgrade has this process replaced by a new binary, or anew by its own where none
// is named. It returns when that is certain, shortly before it happens: the new
// binary can read the configuration, and nothing is under way that it would not
// know of.
func (d *daemon) Upgrade(ctx context.Context, binary string) (_ control.Upgrade, err error) {
	if d.left.Load() {
		return control.Upgrade{}, control.Errorf(control.Refused, "baton leaves")
	}
	if d.upgrading.Swap(true) {
		return control.Upgrade{}, control.Errorf(control.Refused, "an upgrade is under way")
	}
	defer func() {
		if err != nil {
			d.upgrading.Store(false)
		}
	}()
	u := control.Upgrade{From: Version(), PID: os.Getpid(), Binary: binary, Before: d.upgraded}
	if binary == "" {
		if u.Binary, err = os.Executable(); err != nil {
			return u, fmt.Errorf("find the binary of this process: %w", err)
		}
	} else if err := command.VerifyRoot(binary); err != nil {
		return u, control.Errorf(control.Refused, "%v", err)
	}
	if u.To, err = d.askNew(ctx, u.Binary); err != nil {
		return u, err
	}
	if err := d.awaitIdle(ctx); err != nil {
		return u, err
	}
	d.log.Info("baton is replaced by a new binary", "binary", u.Binary, "from", u.From, "to", u.To)
	d.events.add(control.DaemonEvent, d.config().Node, "upgrade", u.From+" to "+u.To)
	d.parts.Go(func() { d.succeed(u.Binary) })
	return u, nil
}

// askNew asks a new binary which version it is, and whether it can read the
// configuration.
func (d *daemon) askNew(ctx context.Context, binary string) (version string, err error) {
	ask := func(args ...string) (string, error) {
		r := d.host.runner.Run(ctx, command.Spec{Argv: append([]string{binary}, args...), Timeout: askNewTimeout})
		if !r.OK() {
			return "", control.Errorf(control.Refused, "%s %s: %s", binary, args[0], r.String())
		}
		return r.FirstLine(), nil
	}
	line, err := ask("version")
	if err != nil {
		return "", err
	}
	version, ours := strings.CutPrefix(line, "baton ")
	if !ours {
		return "", control.Errorf(control.Refused, "%s is no baton: it calls itself %q", binary, line)
	}
	if _, err := ask("validate", d.config().Path); err != nil {
		return "", err
	}
	return version, nil
}

// underWay names a hook or a service that is being run, started or stopped; empty:
// none.
func (d *daemon) underWay() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.queues {
		if q.Busy() {
			return "a hook"
		}
	}
	for _, s := range d.bound {
		if name := s.Changing(); name != "" {
			return "service " + name + " of " + s.router.Name
		}
	}
	if d.everywhere != nil {
		if name := d.everywhere.Changing(); name != "" {
			return "service " + name
		}
	}
	return ""
}

// awaitIdle waits until no hook runs and no service is started or stopped.
func (d *daemon) awaitIdle(ctx context.Context) error {
	limit := time.NewTimer(idleLimit)
	defer limit.Stop()
	for {
		busy := d.underWay()
		if busy == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return control.Errorf(control.Refused, "%s has been under way for %s, and would be cut short: try again", busy, idleLimit)
		case <-time.After(idleLook):
		}
	}
}

// succeed ends what the new process is to begin anew, and then has the loop make
// way, at a moment at which nothing is under way. Nobody can stop it any more.
func (d *daemon) succeed(path string) {
	d.endSides()
	ended := make(chan struct{})
	go func() { d.sides.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(partsLimit): // a probe that hangs lives on
	}
	made := make(chan bool, 1)
	for limit := time.Now().Add(idleLimit); ; {
		late := time.Now().After(limit)
		d.loop.post(d.ctx, func(now time.Duration) { made <- d.makeWay(now, path, late) })
		select {
		case ok := <-made:
			if ok {
				return
			}
		case <-d.ctx.Done():
			return
		}
		select {
		case <-time.After(idleLook):
		case <-d.ctx.Done():
			return
		}
	}
}

// makeWay has every master advertise once more, and ends the loop. It does nothing
// where something is under way, unless that has been so for too long. What is told
// to hooks and services is told by the loop: so nothing begins after it.
func (d *daemon) makeWay(now time.Duration, path string, late bool) bool {
	n := d.loop.node
	if n.leaving {
		return true // somebody wants it to end
	}
	if d.underWay() != "" && !late {
		return false
	}
	for _, r := range n.routers {
		n.do(now, n.set.Step(now, r.id, vrrp.Event{Kind: vrrp.Succeeded}))
	}
	d.record.Succeed(d.loop.poller.Now())
	d.loop.successor = &successor{path}
	return true
}

// execute replaces this process by its successor, with the same arguments. It
// returns only where that fails.
func (s *successor) execute() error {
	runtime.LockOSThread() // capabilities are a thread's
	defer runtime.UnlockOSThread()
	_ = raiseAmbient() // else the successor says what it lacks
	err := unix.Exec(s.path, append([]string{s.path}, os.Args[1:]...), os.Environ())
	return fmt.Errorf("execute %s: %w", s.path, err)
}

// raiseAmbient gives the next program of this thread the capabilities that it was
// given itself: clearAmbient has kept them from everybody else.
func raiseAmbient() error {
	if os.Geteuid() == 0 {
		return nil // root needs none
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	for c := range 64 {
		if d := data[c/32]; d.Permitted&d.Inheritable>>(c%32)&1 == 1 {
			if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil {
				return fmt.Errorf("keep capability %d: %w", c, err)
			}
		}
	}
	return nil
}

// closeQuickly ends what could have a child of ours, before an exec. All of it is
// idle but for questions about the status of services.
func (d *daemon) closeQuickly() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	d.closeRoles(ctx)
	if err := d.sender().Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
		d.log.Warn("webhooks were cut short", "err", err)
	}
}
