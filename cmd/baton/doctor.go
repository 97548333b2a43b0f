package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"baton/internal/config"
	"baton/internal/daemon"
	"baton/internal/doctor"
)

func newDoctorCommand() *cobra.Command {
	var path, node, dir string
	var listen time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what keeps this host from working, each with its mend",
		Long: `Find what would keep this host from working as a node, now or when it is to take
over: a firewall that drops VRRP, other speakers with the same VRID, missing
capabilities, kernel settings, leftovers of a daemon that died, and more. Each
finding says how it is mended.

It changes nothing. A daemon that runs is asked as well. As root it sees most; what
it could not look at is listed. It listens on the interfaces of the routers for
--listen, for which it needs CAP_NET_RAW.

The exit status is 0 where there is no problem (there may be advice), 1 where there
is one, and 3 where the configuration has mistakes.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if listen != 0 && (listen < shortestScan || listen > longestScan) {
				return &usageError{fmt.Errorf("--listen %s is not 0s, and not in %s to %s", config.FormatDuration(listen), config.FormatDuration(shortestScan), config.FormatDuration(longestScan))}
			}
			cfg, report := config.Load(path, config.Options{Node: node, Exposed: daemon.Host{}.Exposed})
			if cfg == nil {
				return &daemon.ConfigError{Report: report}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			r := doctor.Examine(ctx, doctor.Options{Config: cfg, RuntimeDir: dir, PID: daemon.RunningPID(dir), Host: daemon.Host{}, Listen: listen, Scan: scanFor, Left: daemon.Left})
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("cut short: %w", err)
			}
			var err error
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = printReport(cmd.OutOrStdout(), r, coloured(cmd.OutOrStdout()))
			}
			if err == nil && r.Problems() > 0 {
				err = toldError(exitFailed)
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", defaultConfig, "configuration file")
	cmd.Flags().StringVar(&node, "node", "", "name of this node in the configuration (default: $BATON_NODE, the host name, or the node whose address is here)")
	runtimeDirFlag(cmd, &dir)
	durationFlag(cmd, &listen, "listen", 4*time.Second, "how long to listen for others on the links; 0s: not at all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// scanFor is a scan in the terms of the doctor.
func scanFor(ctx context.Context, iface string, listen time.Duration) ([]doctor.Heard, error) {
	speakers, err := daemon.Scan(ctx, iface, listen)
	var heard []doctor.Heard
	for _, s := range speakers {
		h := doctor.Heard{Interface: iface, VRID: s.VRID, IPv6: s.Family == "IPv6", Version: int(s.Version), Signed: s.Authentication}
		h.Source, _ = netip.ParseAddr(s.Source) // they were addresses before
		for _, text := range s.Addresses {
			if a, err := netip.ParseAddr(text); err == nil {
				h.Addresses = append(h.Addresses, a)
			}
		}
		heard = append(heard, h)
	}
	return heard, err
}

func printReport(out io.Writer, r *doctor.Report, p palette) error {
	var b strings.Builder
	running := "no baton runs here"
	switch {
	case r.PID > 0:
		running = fmt.Sprintf("baton runs, PID %d", r.PID)
	case r.Running:
		running = "baton runs"
	}
	problems := r.Problems()
	advice := len(r.Findings) - problems
	verdict := p.good + "nothing to mend" + p.end
	switch {
	case problems > 0 && advice > 0:
		verdict = fmt.Sprintf("%s%s%s, and advice", p.bad, counted(problems, "problem"), p.end)
	case problems > 0:
		verdict = p.bad + counted(problems, "problem") + p.end
	case advice > 0:
		verdict = "no problem, and advice"
	}
	fmt.Fprintf(&b, "%s  %s: %s\n", r.Node, running, verdict)
	for _, f := range r.Findings {
		level := string(f.Level)
		if f.Level == doctor.Problem {
			level = p.bad + level + p.end
		}
		fmt.Fprintf(&b, "\n%s %s", level, f.ID)
		if len(f.Routers) > 0 {
			fmt.Fprintf(&b, "  (%s)", some(f.Routers))
		}
		fmt.Fprintf(&b, "\n    %s\n", printable(f.Text))
		if f.Mend != "" {
			fmt.Fprintf(&b, "    mend: %s\n", printable(f.Mend))
		}
	}
	for i, s := range r.Skipped {
		if i == 0 {
			b.WriteString("\nnot looked at:\n")
		}
		fmt.Fprintf(&b, "    %s: %s\n", printable(s.What), printable(s.Why))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// some names a few, and counts the rest.
func some(names []string) string {
	const most = 6
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
