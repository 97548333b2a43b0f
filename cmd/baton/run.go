package main

import (
	"cmp"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/spf13/cobra"

	"baton/internal/daemon"
	"baton/internal/runner"
)

const (
	// defaultConfig is where the package puts the configuration.
	defaultConfig = "/etc/baton/baton.yaml"
	// defaultRuntimeDir is where a daemon is found that was not told otherwise.
	defaultRuntimeDir = "/run/baton"
)

// stateDir is where the service manager says that state is kept, or else the package.
func stateDir() string {
	dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":") // it may name several
	return cmp.Or(dir, "/var/lib/baton")
}

func newRunCommand() *cobra.Command {
	o := daemon.Options{Log: os.Stderr}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground until SIGTERM or SIGINT.

Leaving as master, it keeps each virtual address until another node has it. A
second signal lets the addresses go at once.

The control socket may be read by the members of --socket-group: status, events,
checks. What changes something is for root, for the user who runs baton, and for
the members of --admin-group, who are in --socket-group as well.`,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if o.LogFormat != "" && o.LogFormat != "text" && o.LogFormat != "json" {
				return &usageError{fmt.Errorf("--log-format is text or json, not %q", o.LogFormat)}
			}
			// Its error is one of an odd environment: then time and level stand in each line.
			o.Journal, _ = journal.StderrIsJournalStream()
			// A log whose reader has gone must not end the daemon.
			signal.Ignore(syscall.SIGPIPE)
			o.Signals = func() <-chan os.Signal {
				signals := make(chan os.Signal, 8)
				signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
				return signals
			}
			if self, err := os.Executable(); err == nil {
				o.StateWatcher = []string{self, "state-watch"}
			}
			return daemon.Run(o)
		},
	}
	cmd.Flags().StringVarP(&o.Config, "config", "c", defaultConfig, "configuration file")
	cmd.Flags().StringVar(&o.Node, "node", "", "name of this node in the configuration (default: $BATON_NODE, the host name, or the node whose address is here)")
	cmd.Flags().StringVar(&o.RuntimeDir, "runtime-dir", defaultRuntimeDir, "directory for the lock, the control socket and the state files")
	cmd.Flags().StringVar(&o.StateDir, "state-dir", stateDir(), "directory for what outlives a restart: which routers are in standby")
	cmd.Flags().StringVar(&o.SocketGroup, "socket-group", "", "group that may read on the control socket (default: baton, where it exists)")
	cmd.Flags().StringVar(&o.AdminGroup, "admin-group", "", "group that may change something there as well, as root may")
	cmd.Flags().StringVar(&o.User, "user", "", "become this user (a name or a number) after root has started a runner, and keep CAP_NET_ADMIN and CAP_NET_RAW alone")
	cmd.Flags().StringVar(&o.Runner, "runner", "", "socket of the baton runner that does what takes root, or none (default: none for root, else "+runner.DefaultSocket+" where it is there)")
	cmd.Flags().StringVar(&o.LogFormat, "log-format", "", "text or json, in place of the configuration's log.format")
	return cmd
}
