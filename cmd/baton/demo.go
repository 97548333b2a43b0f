package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"baton/internal/demo"
	"baton/internal/lab"
)

func newDemoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a failover between two nodes on this machine, within 30 s",
		Long: `Show what baton does, on this machine alone: two nodes and a client in network
namespaces of their own, HAProxy on each node, and five things that happen to
them. It needs root, or a kernel that lets users make namespaces, and leaves
nothing behind.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := lab.Enter(); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			return demo.Run(ctx, cmd.OutOrStdout())
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:    "stand-in SOCKET ADDRESS",
		Hidden: true,
		Args:   usage(cobra.ExactArgs(2)),
		RunE:   func(_ *cobra.Command, args []string) error { return demo.StandIn(args[0], args[1]) },
	})
	return cmd
}
