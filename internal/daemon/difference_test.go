package daemon

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/config"
	"baton/internal/control"
)

func TestDifferences(t *testing.T) {
	two := func(change func(web, db *config.Router, cfg *config.Config)) *config.Config {
		db := webRouter()
		db.Name, db.VRID, db.Addresses = "db", 52, prefixes("10.0.0.200/24", "10.0.0.201/24")
		cfg := pair(webRouter(), db)
		cfg.Checks = []config.Check{{Name: "haproxy", Type: config.TCPCheck, Interval: time.Second, Rise: 2, Fall: 2}}
		if change != nil {
			change(&cfg.Routers[0], &cfg.Routers[1], cfg)
		}
		return cfg
	}
	for _, test := range []struct {
		name   string
		role   string
		change func(web, db *config.Router, cfg *config.Config)
		want   []string
	}{
		{"nothing", "MASTER", nil, nil},
		{"prefer, and nobody preempts", "MASTER", func(web, _ *config.Router, _ *config.Config) {
			web.Preempt, web.Priority, web.Priorities = false, 190, map[string]uint8{"a": 190, "b": 200}
		}, []string{"web | prefer: a to b | priority 200 to 190; stays MASTER (preempt: false)", "web | preempt: true to false | stays MASTER"}},
		{"prefer, and the other one preempts", "MASTER", func(web, _ *config.Router, _ *config.Config) {
			web.Priority, web.Priorities = 190, map[string]uint8{"a": 190, "b": 200}
		}, []string{"web | prefer: a to b | priority 200 to 190; b (200) takes over once it has this file"}},
		{"addresses", "MASTER", func(web, db *config.Router, _ *config.Config) {
			web.Addresses, db.Addresses = prefixes("10.0.0.101/24", "10.0.0.201/24"), db.Addresses[:1]
		}, []string{
			"web | addresses: + 10.0.0.101/24 | added and announced; stays MASTER",
			"web | addresses: + 10.0.0.201/24 | comes from db, in one step where that is MASTER too; stays MASTER",
			"web | addresses: - 10.0.0.100/24 | removed; stays MASTER",
			"db | addresses: - 10.0.0.201/24 | goes to web; stays MASTER",
		}},
		{"addresses of a backup", "BACKUP", func(web, _ *config.Router, _ *config.Config) {
			web.Addresses = prefixes("10.0.0.100/24", "10.0.0.101/24")
		}, []string{"web | addresses: + 10.0.0.101/24 | not on this node; stays BACKUP"}},
		{"a router less, of a backup", "BACKUP", func(_, _ *config.Router, cfg *config.Config) { cfg.Routers = cfg.Routers[:1] },
			[]string{"db | removed | BACKUP here: nothing to hand over"}},
		{"a router less, of a master", "MASTER", func(_, _ *config.Router, cfg *config.Config) { cfg.Routers = cfg.Routers[:1] },
			[]string{"db | removed | MASTER here: the role is handed over, the address stays until another node has it"}},
		{"another VRID", "MASTER", func(web, _ *config.Router, _ *config.Config) { web.VRID = 53 },
			[]string{"web | added | begins in INIT", "web | removed | MASTER here: the role is handed over, the address stays until another node has it"}},
		{"a second family", "MASTER", func(web, _ *config.Router, cfg *config.Config) {
			six := *web
			six.IPv6, six.Addresses = true, prefixes("2001:db8::100/64")
			cfg.Routers = append(cfg.Routers, six)
		}, []string{"web IPv6 | added | joins those that are MASTER, and is at once"}},
		{"another version", "MASTER", func(web, _ *config.Router, _ *config.Config) { web.Version = 2 },
			[]string{"web | version: changed | begins anew in INIT; MASTER here: the role is handed over, the address stays until another node has it"}},
		{"another name", "MASTER", func(web, _ *config.Router, _ *config.Config) { web.Name = "www" }, []string{"www | renamed from web | stays MASTER"}},
		{"a secret", "MASTER", func(web, _ *config.Router, _ *config.Config) {
			web.HMAC = &config.HMAC{Keys: map[uint8][]byte{1: []byte("topsecret")}}
		},
			[]string{"web | authentication: changed | from the next advertisement on: nodes that do not have it yet refuse it"}},
		{"services", "MASTER", func(web, _ *config.Router, _ *config.Config) { web.Services = unitServices("db.service") },
			[]string{"web | services: + db.service | is started; stays MASTER"}},
		{"a check that fails", "MASTER", func(web, _ *config.Router, _ *config.Config) {
			web.Track = []config.Track{track("haproxy", config.Fault, 0, config.Always)}
		}, []string{"web | track: + haproxy | it fails: counts at once"}},
		{"times of a check", "MASTER", func(_, _ *config.Router, cfg *config.Config) { cfg.Checks[0].Interval = 200 * time.Millisecond },
			[]string{"haproxy | interval: 1s to 200ms | keeps its verdict (fail)"}},
		{"another question", "MASTER", func(_, _ *config.Router, cfg *config.Config) { cfg.Checks[0].Type = config.PingCheck },
			[]string{"haproxy | asks something else | keeps its verdict (fail) until the first answer"}},
		{"the rest", "MASTER", func(_, _ *config.Router, cfg *config.Config) {
			cfg.Log.Level = slog.LevelDebug
			cfg.Webhooks = []config.Webhook{{Name: "ops", URL: "https://topsecret"}}
			cfg.Services = unitServices("redis.service")
		}, []string{"redis.service | added | is started", "log | changed | at once", "webhooks | changed | from the next event on"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			status := &control.Status{Routers: []control.Router{{Name: "web", Role: test.role}, {Name: "db", Role: test.role}}}
			got, _ := differences(two(nil), two(test.change), status, func(string) string { return "fail" })
			var lines []string
			for _, d := range got {
				lines = append(lines, fmt.Sprintf("%s | %s | %s", d.Name, d.What, d.Cost))
			}
			if diff := cmp.Diff(test.want, lines); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(strings.Join(lines, "\n"), "topsecret") {
				t.Error("a secret is shown")
			}
		})
	}
}
