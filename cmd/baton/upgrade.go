package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"baton/internal/control"
)

const (
	// upgradeLook is how often the new process is looked for, and upgradeLimit how
	// long.
	upgradeLook  = 5 * time.Millisecond
	upgradeLimit = 30 * time.Second
)

func newUpgradeCommand() *cobra.Command {
	var dir, binary string
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Replace the running daemon by the installed binary, in place",
		Long: `Replace the running daemon by the binary that is installed now, in place: the
same process goes on, every router keeps its role and every address stays. The
new binary is asked first whether it can read the configuration. Hooks, and
starts and stops of services, that are under way are waited for.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if binary != "" {
				abs, err := filepath.Abs(binary) // the daemon's folder is another
				if err != nil {
					return fmt.Errorf("find %s: %w", binary, err)
				}
				binary = abs
			}
			return upgrade(cmd.Context(), cmd.OutOrStdout(), control.Dial(dir), binary)
		},
	}
	runtimeDirFlag(cmd, &dir)
	cmd.Flags().StringVar(&binary, "binary", "", "another binary (default: that which the daemon was started from)")
	return cmd
}

func upgrade(ctx context.Context, out io.Writer, client *control.Client, binary string) error {
	u, err := client.Upgrade(ctx, binary)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, upgradeLimit)
	defer cancel()
	began := time.Now()
	for {
		s, err := client.Status(ctx)
		switch {
		case err == nil && !s.Upgraded.Equal(u.Before):
			fmt.Fprintf(out, "baton %s, before %s, PID %d: answers again after %s\n", s.Version, u.From, u.PID, time.Since(began).Round(time.Millisecond))
			fmt.Fprintln(out, "The way back: baton upgrade --binary PATH of the version before.")
			return nil
		case ctx.Err() != nil:
			return errors.New("the new process does not answer: the log says why; the service manager starts baton again where it has ended")
		}
		select {
		case <-ctx.Done():
		case <-time.After(upgradeLook):
		}
	}
}
