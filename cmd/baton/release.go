package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"baton/internal/daemon"
)

func newReleaseCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "release",
		Short: "Remove what a dead daemon left on this host",
		Long: `Remove the addresses, routes, rules and virtual MACs that a daemon which died has
left on this host. It needs no configuration. While a daemon runs it refuses, with
status 1: stop that one.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
			removed, err := daemon.Release(cmd.Context(), dir, log)
			for _, what := range removed {
				fmt.Fprintln(cmd.OutOrStdout(), "removed", what)
			}
			if err == nil && len(removed) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing was left")
			}
			return err
		},
	}
	runtimeDirFlag(cmd, &dir)
	return cmd
}
