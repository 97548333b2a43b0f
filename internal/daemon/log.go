package daemon

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"baton/internal/config"
	"baton/internal/control"
)

// logging is how the daemon logs. Level and format may change while it runs.
type logging struct {
	*slog.Logger
	level  slog.LevelVar
	json   atomic.Bool
	format string // text or json, whatever the configuration says; empty: what it says

	mu         sync.Mutex
	configured slog.Level
	forced     *control.LogLevel // an operator's, until it ends; nil: none
	end        *time.Timer       // of forced
}

// newLogging logs to out; for the journal, lines begin with their priority in place
// of time and level, which the journal keeps itself.
func newLogging(out io.Writer, cfg config.Log, format string, journal bool) *logging {
	l := &logging{format: format}
	h := lineHandler{json: &l.json}
	for i, prefix := range priorities {
		options := &slog.HandlerOptions{Level: &l.level}
		w := out
		if journal {
			options.ReplaceAttr = withoutTimeAndLevel
			w = prefixed{out, prefix}
		}
		h.text[i], h.asJSON[i] = slog.NewTextHandler(w, options), slog.NewJSONHandler(w, options)
	}
	l.Logger = slog.New(h)
	l.configure(cfg)
	return l
}

// configure takes what the configuration says. A level that an operator has set
// stays until its end.
func (l *logging) configure(cfg config.Log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.json.Store(cfg.JSON && l.format == "" || l.format == "json")
	l.configured = cfg.Level
	if l.forced == nil {
		l.level.Set(cfg.Level)
	}
}

// force sets the level for a while.
func (l *logging) force(level slog.Level, d time.Duration, by string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end != nil {
		l.end.Stop()
	}
	forced := &control.LogLevel{Level: levelName(level), Until: time.Now().Add(d), By: by}
	l.forced = forced
	l.level.Set(level)
	l.end = time.AfterFunc(d, func() { l.release(forced) })
}

// release ends a forced level, unless another one has taken its place.
func (l *logging) release(forced *control.LogLevel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.forced != forced || forced == nil {
		return
	}
	l.end.Stop()
	l.forced, l.end = nil, nil
	l.level.Set(l.configured)
}

// state is the level as those who ask are told.
func (l *logging) state() control.LogLevel {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := control.LogLevel{Level: levelName(l.configured)}
	if l.forced != nil {
		s = *l.forced
	}
	s.Configured = levelName(l.configured)
	return s
}

// LogLevel tells what is logged.
func (d *daemon) LogLevel() control.LogLevel { return d.logging.state() }

// SetLogLevel sets what is logged for a while; without a level it ends that.
func (d *daemon) SetLogLevel(level string, lasting time.Duration, by string) (control.LogLevel, error) {
	l := d.logging
	if level == "" {
		l.mu.Lock()
		forced := l.forced
		l.mu.Unlock()
		l.release(forced)
		d.log.Info("log level", "level", levelName(l.level.Level()), "by", by)
		return l.state(), nil
	}
	var wanted slog.Level
	if err := wanted.UnmarshalText([]byte(level)); err != nil {
		return control.LogLevel{}, control.Errorf(control.BadRequest, "there is no level %q: it is debug, info, warn or error", level)
	}
	d.log.Info("log level", "level", levelName(wanted), "for", lasting.String(), "by", by) // before it may be hidden
	l.force(wanted, lasting, by)
	return l.state(), nil
}

// levelName is a level as the configuration has it.
func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

// priorities are what a line for the journal begins with, from debug to error
// (sd-daemon(3)).
var priorities = [...]string{"<7>", "<6>", "<4>", "<3>"}

// priority is the place of a level among priorities.
func priority(l slog.Level) int {
	switch {
	case l < slog.LevelInfo:
		return 0
	case l < slog.LevelWarn:
		return 1
	case l < slog.LevelError:
		return 2
	}
	return 3
}

// lineHandler is a slog.Handler that writes each record in the format of the moment, with
// the handler that belongs to its level.
type lineHandler struct {
	json         *atomic.Bool
	text, asJSON [len(priorities)]slog.Handler
}

func (h lineHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.text[0].Enabled(ctx, l)
}

func (h lineHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.json.Load() {
		return h.asJSON[priority(r.Level)].Handle(ctx, r)
	}
	return h.text[priority(r.Level)].Handle(ctx, r)
}

func (h lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.each(func(o slog.Handler) slog.Handler { return o.WithAttrs(attrs) })
}

func (h lineHandler) WithGroup(name string) slog.Handler {
	return h.each(func(o slog.Handler) slog.Handler { return o.WithGroup(name) })
}

func (h lineHandler) each(change func(slog.Handler) slog.Handler) slog.Handler {
	for i := range h.text {
		h.text[i], h.asJSON[i] = change(h.text[i]), change(h.asJSON[i])
	}
	return h // a copy
}

func withoutTimeAndLevel(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return a
}

// prefixed writes a prefix before each line.
type prefixed struct {
	out    io.Writer
	prefix string
}

func (w prefixed) Write(line []byte) (int, error) {
	if _, err := w.out.Write(append([]byte(w.prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
