package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"baton/health"
	"baton/internal/link"
	"baton/internal/record"
	"baton/vip"
)

const (
	// leastBeat and mostBeat bound the time between two heartbeats, which is half of
	// the smallest interval. A heartbeat costs some 3 µs.
	leastBeat = 10 * time.Millisecond
	mostBeat  = 500 * time.Millisecond
	// mendEvery is how often a record that could not be made is tried again.
	mendEvery = 5 * time.Second
)

// bootID tells this boot of the machine from others: the boot clock begins anew
// with each.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// readRecord reads what the process before has left, where there was one that did
// not end in order. An error says why its record is of no use.
func readRecord(dir string) (*record.Record, error) {
	rec, err := record.Read(dir)
	switch boot := bootID(); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case boot == "":
		return nil, errors.New("use the record of the process before: /proc does not tell which boot this is")
	case rec.Boot != boot:
		return nil, errors.New("use the record of the process before: it is of another boot")
	case rec.Beat > bootNow():
		return nil, errors.New("use the record of the process before: its last heartbeat is in the future")
	}
	return rec, nil
}

// bootNow reads the clock of the record.
func bootNow() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// resume takes over what the process before knew. It comes before anything of the
// daemon runs.
func (d *daemon) resume(now time.Duration) {
	rec := d.before
	if rec == nil {
		return
	}
	fresh := now-rec.Beat <= longestPatience(rec)
	d.log.Info("the process before did not end in order", "pid", rec.PID, "version", rec.Version, "heard_last", round(now-rec.Beat), "succeeded", rec.Succeeded)
	for _, name := range rec.Torn {
		d.log.Warn("a part of the record is damaged: nothing of it is adopted", "name", name)
	}
	for name, c := range rec.Known {
		if forced := c.Forced.Verdict != health.Unknown && c.Forced.Until.After(time.Now()); fresh || forced {
			d.scheduler.Resume(name, c.Reading, c.Text, c.Hint, c.Since, c.Forced)
			d.recordCheck(name)
		} else {
			delete(rec.Known, name)
		}
	}
	d.loop.node.resume(now, rec, missingOf(d.monitor.Table()))
}

// missingOf tells which address of a router the kernel does not have where it
// belongs; the zero Addr: none.
func missingOf(table *link.Table) func(vip.Router) netip.Addr {
	return func(r vip.Router) netip.Addr {
		for _, a := range r.Addresses {
			on := a.Interface
			if on == "" {
				on = r.Interface
				if r.VirtualMAC != nil {
					on = r.VirtualMAC.Name
				}
			}
			i, ok := table.ByName(on)
			if !ok || !slices.ContainsFunc(i.Addresses, func(o link.Address) bool { return o.Prefix.Addr() == a.Prefix.Addr() }) {
				return a.Prefix.Addr()
			}
		}
		return netip.Addr{}
	}
}

// recordCheck notes what is known of a check. It waits for nobody but a reader of
// the results.
func (d *daemon) recordCheck(name string) {
	r, ok := d.scheduler.Result(name)
	if !ok {
		return
	}
	d.record.SetCheck(name, record.Check{Reading: r.Reading(), Text: r.Text, Hint: r.Hint, Since: r.Since, Forced: r.Forced})
}

// beginRecord writes the record anew, for the elections and checks that there are
// now, and has the loop keep it alive.
func (d *daemon) beginRecord(now time.Duration) {
	h, every := d.recordHead()
	d.record.Begin(h, now)
	d.loop.beat, d.loop.beatEvery, d.loop.beatAt = d.record.Beat, every, now
}

// recordHead is what the record is of, and how often it has to be kept alive.
func (d *daemon) recordHead() (h record.Head, every time.Duration) {
	n, cfg := d.loop.node, d.config()
	h = record.Head{
		Boot: bootID(), PID: os.Getpid(), Version: Version(), Node: cfg.Node, Configuration: cfg.Hash, Started: d.started,
	}
	every = mostBeat
	for _, g := range n.groups {
		h.Elections = append(h.Elections, g.election())
		for _, r := range g.routers {
			every = min(every, max(r.cfg.Interval/2, leastBeat))
		}
	}
	for _, c := range cfg.Checks {
		h.Checks = append(h.Checks, c.Name)
	}
	return h, every
}

// keepRecord makes the record when it could not be made before, and when there are
// other groups.
func (d *daemon) keepRecord(ctx context.Context) error {
	tick := time.NewTicker(mendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.record.Mend(bootNow())
		case <-d.headed:
			d.record.Begin(*d.newHead.Load(), bootNow())
		}
	}
}

// releaseLeft removes what a process before has left, where this one cannot start.
func releaseLeft(dir string, log *slog.Logger) error {
	removed, err := removeLeft(context.Background(), dir, log)
	for _, what := range removed {
		log.Warn("left by the process before: removed, since this one cannot start", "what", what)
	}
	return err
}

// leftIn are the routers that a record of this boot names.
func leftIn(dir string) (routers []vip.Router) {
	rec, err := record.Read(dir)
	if err != nil || rec.Boot != bootID() {
		return nil
	}
	for _, e := range rec.Elections {
		for _, r := range e.Routers {
			routers = append(routers, r.Addresses)
		}
	}
	return routers
}

// Left names what a daemon that died has left on this host, as Release would remove
// it. It changes nothing; while a daemon runs it names what that one holds.
func Left(runtimeDir string) ([]string, error) { return vip.Left(leftIn(runtimeDir)) }

// removeLeft removes what the record names, what bears our mark, and the record.
func removeLeft(ctx context.Context, dir string, log *slog.Logger) ([]string, error) {
	removed, err := vip.Release(ctx, leftIn(dir), log)
	if err != nil {
		return removed, err
	}
	return removed, record.Remove(dir)
}

// Release removes from this host what a daemon that died has left: addresses,
// routes, rules and virtual MACs. It returns what it has removed, and fails with a
// *RunningError while a daemon runs. It needs no configuration.
func Release(ctx context.Context, runtimeDir string, log *slog.Logger) ([]string, error) {
	if err := missingCapabilities(); err != nil {
		return nil, err
	}
	locks, err := takeLocks(runtimeDir)
	if err != nil {
		return nil, err
	}
	defer locks.release()
	removed, err := removeLeft(ctx, runtimeDir, log)
	if err != nil {
		return removed, fmt.Errorf("release: %w", err)
	}
	return removed, nil
}
