package daemon

import (
	"bytes"
	"log/slog"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"baton/internal/config"
	"baton/internal/control"

	"github.com/google/go-cmp/cmp"
)

var clockInLog = regexp.MustCompile(`time=\S+|"time":"[^"]*"`)

// Each format has what its reader needs: the journal knows the time, and reads the
// priority from the line.
func TestLogging_Formats(t *testing.T) {
	tests := []struct {
		name    string
		cfg     config.Log
		format  string
		journal bool
		want    string
	}{
		{"text", config.Log{}, "", false,
			"TIME level=INFO msg=role router=web to=MASTER\nTIME level=WARN msg=late router=web g.by=2\nTIME level=ERROR msg=gone\n"},
		{"json", config.Log{JSON: true}, "", false,
			"{TIME,\"level\":\"INFO\",\"msg\":\"role\",\"router\":\"web\",\"to\":\"MASTER\"}\n{TIME,\"level\":\"WARN\",\"msg\":\"late\",\"router\":\"web\",\"g\":{\"by\":2}}\n{TIME,\"level\":\"ERROR\",\"msg\":\"gone\"}\n"},
		{"text by flag", config.Log{JSON: true, Level: slog.LevelError}, "text", false, "TIME level=ERROR msg=gone\n"},
		{"json by flag", config.Log{Level: slog.LevelError}, "json", false, "{TIME,\"level\":\"ERROR\",\"msg\":\"gone\"}\n"},
		{"journal", config.Log{Level: slog.LevelDebug}, "", true, "<7>msg=heard\n<6>msg=role router=web to=MASTER\n<4>msg=late router=web g.by=2\n<3>msg=gone\n"},
		{"journal, json", config.Log{JSON: true, Level: slog.LevelError}, "", true, "<3>{\"msg\":\"gone\"}\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			log := newLogging(&out, tt.cfg, tt.format, tt.journal)
			log.Debug("heard")
			web := log.With("router", "web")
			web.Info("role", "to", "MASTER")
			web.WithGroup("g").Warn("late", "by", 2)
			log.Error("gone")
			got := clockInLog.ReplaceAllString(out.String(), "TIME")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A level that an operator has set ends by itself, or by his word, and a reload
// does not touch it.
func TestLogging_Force(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := &daemon{logging: newLogging(&out, config.Log{}, "", false)}
		d.log = d.logging.Logger
		debug := func() bool { return d.log.Enabled(t.Context(), slog.LevelDebug) }
		info := control.LogLevel{Level: "info", Configured: "info"}
		set := func(level string, lasting time.Duration) control.LogLevel {
			t.Helper()
			l, err := d.SetLogLevel(level, lasting, "root")
			must(t, err)
			return l
		}
		want := control.LogLevel{Level: "debug", Configured: "info", Until: time.Now().Add(time.Minute), By: "root"}
		if got := set("debug", time.Minute); got != want || !debug() {
			t.Errorf("%+v, debug is logged: %t", got, debug())
		}
		time.Sleep(30 * time.Second)
		set("debug", time.Minute) // anew: the first end counts no more
		time.Sleep(40 * time.Second)
		d.logging.configure(config.Log{Level: slog.LevelWarn})
		if got := d.LogLevel(); got.Level != "debug" || got.Configured != "warn" || !debug() {
			t.Errorf("after a reload: %+v, debug is logged: %t", got, debug())
		}
		d.logging.configure(config.Log{})
		time.Sleep(21 * time.Second)
		if got := d.LogLevel(); got != info || debug() {
			t.Errorf("when it is over: %+v, debug is logged: %t", got, debug())
		}
		set("error", time.Minute)
		if got := set("", 0); got != info || !d.log.Enabled(t.Context(), slog.LevelInfo) {
			t.Errorf("ended: %+v", got)
		}
		if _, err := d.SetLogLevel("loud", time.Minute, "root"); err == nil {
			t.Error("a level that there is not")
		}
	})
}
