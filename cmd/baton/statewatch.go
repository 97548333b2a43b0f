package main

import (
	"github.com/spf13/cobra"

	"baton/internal/statefile"
)

// newStateWatchCommand is what the daemon starts beside itself; it is of no use
// to people.
func newStateWatchCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "state-watch DIR",
		Hidden: true,
		Args:   one("DIR"),
		RunE:   func(_ *cobra.Command, args []string) error { return statefile.Watch(args[0]) },
	}
}
