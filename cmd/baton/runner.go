package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/spf13/cobra"

	"baton/internal/daemon"
	"baton/internal/runner"
)

func newRunnerCommand() *cobra.Command {
	o := daemon.RunnerOptions{Log: os.Stderr}
	cmd := &cobra.Command{
		Use:   "runner",
		Short: "Run, as root, what the daemon may not: hooks, services, checks of other users",
		Long: `Run the second process of a daemon that is not root, until SIGTERM or SIGINT.

It is root, and runs hooks, the commands of services, and checks of other users;
it starts and stops units and containers, and asks about connections of other
users' processes. It takes requests from the daemon's user and root alone, and
does only what stands in the configuration, which it reads by itself: the files,
and all folders on their way, must be root's and writable by nobody else.

SIGHUP makes it read the configuration again. It also does so when it is asked
for what it does not know.`,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if o.LogFormat != "" && o.LogFormat != "text" && o.LogFormat != "json" {
				return &usageError{fmt.Errorf("--log-format is text or json, not %q", o.LogFormat)}
			}
			o.Journal, _ = journal.StderrIsJournalStream() // as in run
			signal.Ignore(syscall.SIGPIPE)
			signals := make(chan os.Signal, 8)
			signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
			o.Signals = signals
			return daemon.RunRunner(o)
		},
	}
	cmd.Flags().StringVarP(&o.Config, "config", "c", defaultConfig, "configuration file")
	cmd.Flags().StringVar(&o.Node, "node", "", "name of this node in the configuration (default: as baton run finds out)")
	cmd.Flags().StringVar(&o.Socket, "socket", runner.DefaultSocket, "where to listen, unless systemd has passed a socket")
	cmd.Flags().StringVar(&o.User, "user", "baton", "name or number of the daemon's user")
	cmd.Flags().IntVar(&o.Parent, "parent", 0, "take requests from this process alone, on descriptor 3, and end with it")
	cmd.Flags().StringVar(&o.LogFormat, "log-format", "", "text or json")
	_ = cmd.Flags().MarkHidden("parent")
	return cmd
}
