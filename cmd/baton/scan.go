package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"baton/internal/config"
	"baton/internal/daemon"
)

// The bounds of how long a scan listens. A master may speak only each 40.95 s.
const (
	shortestScan = time.Second
	longestScan  = 10 * time.Minute
)

func newScanCommand() *cobra.Command {
	var listen time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "scan INTERFACE",
		Short: "List the virtual routers that others run on a link",
		Long: `Listen on an interface and list the virtual routers that are heard there: their
VRIDs, who is master, in which version and with which addresses. Look before you
choose a VRID: two virtual routers with the same one on a link take each other's
role. Backups are silent, so only masters are seen. Unicast is seen only where
it is sent to this host.

It sends nothing but the group membership that multicast needs, and needs the
capability CAP_NET_RAW. A daemon may run meanwhile.`,
		Args: one("INTERFACE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if listen < shortestScan || listen > longestScan {
				return &usageError{fmt.Errorf("--for %s is not in %s to %s", config.FormatDuration(listen), config.FormatDuration(shortestScan), config.FormatDuration(longestScan))}
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			found, err := daemon.Scan(ctx, args[0], listen)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), found)
			}
			return printScan(cmd.OutOrStdout(), args[0], listen, found)
		},
	}
	durationFlag(cmd, &listen, "for", 5*time.Second, "how long to listen; a master may speak as rarely as each 40.95s")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func printScan(out io.Writer, iface string, listened time.Duration, found []daemon.Speaker) error {
	if len(found) == 0 {
		_, err := fmt.Fprintf(out, "No virtual router was heard on %s in %s.\n", iface, listened)
		return err
	}
	rows := [][]string{{"VRID", "FAMILY", "VERSION", "MASTER", "PRIORITY", "EVERY", "AUTHENTICATION", "ADDRESSES"}}
	for _, s := range found {
		addresses := strings.Join(s.Addresses, " ")
		if addresses == "" {
			addresses = "none"
		}
		version := fmt.Sprint(s.Version)
		if s.Unicast {
			version += " unicast"
		}
		rows = append(rows, []string{
			fmt.Sprint(s.VRID), s.Family, version, s.Source, fmt.Sprint(s.Priority), s.Interval, s.Authentication, addresses,
		})
	}
	return printTable(out, rows)
}
