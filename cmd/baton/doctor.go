package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/daemon"
	"baton/internal/doctor"
)

func newDoctorCommand() *cobra.Command {
	var dir, path, node string
	var listen time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what would keep baton from working on this host",
		Long: `Look for what would keep baton from working on this host, and say how each thing
is mended: interfaces, a firewall that drops IP protocol 112, sockets that checks
may not ask, rights and scheduling of the daemon, what a dead one has left, other
programs of the kind, clocks. With --listen it also listens on the interfaces for
somebody else who uses one of our VRIDs; that needs CAP_NET_RAW.

Nothing is changed or sent. What could not be looked at is said; root sees all. The
exit status is 1 where something bad was found, and 3 where the configuration has
mistakes.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, report := config.Load(path, config.Options{Node: node})
			if cfg == nil {
				return &daemon.ConfigError{Report: report}
			}
			p := doctor.Patient{Config: cfg, PID: daemon.RunningPID(dir), Dir: dir}
			status, err := control.Dial(dir).Status(cmd.Context())
			var found []doctor.Finding
			switch {
			case err == nil:
				p.Status = status
			case !errors.Is(err, control.ErrNotRunning):
				found = append(found, doctor.Finding{Topic: "daemon", Level: doctor.Unknown, Text: "the daemon: " + err.Error()})
			}
			found = append(doctor.Examine(p), found...)
			if listen > 0 {
				found = append(found, collisions(cmd.Context(), cfg, listen)...)
			}
			return printFindings(cmd.OutOrStdout(), found, asJSON)
		},
	}
	runtimeDirFlag(cmd, &dir)
	cmd.Flags().StringVarP(&path, "config", "c", defaultConfig, "configuration file")
	cmd.Flags().StringVar(&node, "node", "", "name of this node in the configuration")
	durationFlag(cmd, &listen, "listen", 0, "listen so long on each interface for VRIDs that collide")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// collisions listens on each interface for a virtual router that has a VRID of ours
// and none of its addresses.
func collisions(ctx context.Context, cfg *config.Config, listen time.Duration) []doctor.Finding {
	var found []doctor.Finding
	seen := map[string][]daemon.Speaker{}
	for _, r := range cfg.Routers {
		speakers, listened := seen[r.Interface]
		if !listened {
			var err error
			if speakers, err = daemon.Scan(ctx, r.Interface, listen); err != nil {
				found = append(found, doctor.Finding{Topic: "VRID", Level: doctor.Unknown, Text: err.Error()})
			}
			seen[r.Interface] = speakers
		}
		found = append(found, doctor.Collisions(r, speakersOf(speakers, r))...)
	}
	return found
}

// speakersOf are those that use the router's VRID.
func speakersOf(all []daemon.Speaker, r config.Router) []doctor.Speaker {
	var list []doctor.Speaker
	for _, s := range all {
		if s.VRID == r.VRID && (s.Family == "IPv6") == r.IPv6 {
			list = append(list, doctor.Speaker{Source: s.Source, Version: int(s.Version), Addresses: s.Addresses})
		}
	}
	return list
}

func printFindings(out io.Writer, found []doctor.Finding, asJSON bool) error {
	bad := false
	var b strings.Builder
	for _, f := range found {
		bad = bad || f.Level == doctor.Bad
		fmt.Fprintf(&b, "%-7s  %s: %s\n", f.Level, f.Topic, printable(f.Text))
		if f.Mend != "" {
			fmt.Fprintf(&b, "         %s\n", printable(f.Mend))
		}
	}
	if len(found) == 0 {
		b.WriteString("Nothing was found that would keep baton from working here.\n")
	}
	var err error
	if asJSON {
		if found == nil {
			found = []doctor.Finding{} // an empty list, not null
		}
		err = printJSON(out, found)
	} else {
		_, err = io.WriteString(out, b.String())
	}
	if err == nil && bad {
		err = toldError(exitFailed)
	}
	return err
}
