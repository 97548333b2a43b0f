package daemon

import (
	"log/slog"
	"time"

	"baton/internal/config"
	"baton/internal/record"
)

// crashFresh is how long after a crash a daemon may start with the configuration
// that was kept. Longer than the service manager takes to give up; not so long that
// somebody who starts baton by hand gets another configuration than he wrote.
const crashFresh = time.Minute

// lastGood loads the configuration that was kept, if the process before crashed
// just now; nil: it did not, or nothing good was kept.
func lastGood(o Options) (*config.Config, *config.Report) {
	rec, err := readRecord(o.RuntimeDir)
	if err != nil || rec == nil || rec.Leaving || bootNow()-rec.Beat > crashFresh {
		return nil, nil
	}
	files, err := record.KeptConfiguration(o.RuntimeDir)
	if err != nil || files[0].Name != o.Config {
		return nil, nil
	}
	cfg, report := config.LoadFiles(files, config.Options{Node: o.Node})
	if cfg == nil {
		return nil, nil
	}
	return cfg, report
}

// releaseAfter removes what the process before has left, where this one does not
// start since its file has mistakes. A daemon that runs is left alone.
func releaseAfter(o Options) error {
	if rec, err := record.Read(o.RuntimeDir); err != nil || rec.Boot != bootID() {
		return nil // there is nothing that a daemon could have left
	}
	locks, err := takeLocks(o.RuntimeDir)
	if err != nil {
		return nil // it is being run by another
	}
	defer locks.release()
	log := slog.New(slog.NewTextHandler(o.Log, nil))
	return releaseLeft(o.RuntimeDir, log)
}

// keepConfiguration keeps the configuration for a process that finds it broken.
func (d *daemon) keepConfiguration(cfg *config.Config) {
	if err := record.KeepConfiguration(d.record.Dir(), cfg.Files()); err != nil {
		d.log.Warn("the configuration is not kept: after a crash it is read again, whatever is in it then", "err", err)
	}
}
