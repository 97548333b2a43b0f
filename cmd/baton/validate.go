package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"baton/internal/config"
	"baton/internal/daemon"
)

func newValidateCommand() *cobra.Command {
	var here bool
	var node string
	cmd := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a configuration as each of its nodes would read it",
		Long: `Check a configuration, by default ` + defaultConfig + `, as each of its
nodes would read it. It needs no privilege, and nothing is started.

With --here it also asks this host: whether its interfaces, commands, users and
sockets are what the configuration says, and whether others than root and you
could change the files.`,
		Args: atMostOne("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := defaultConfig
			if len(args) == 1 {
				path = args[0]
			}
			if node != "" && !here {
				return &usageError{errors.New("--node goes with --here: without it the file is read as each node reads it")}
			}
			return validate(cmd, path, here, node)
		},
	}
	cmd.Flags().BoolVar(&here, "here", false, "ask this host too")
	cmd.Flags().StringVar(&node, "node", "", "with --here: name of this node in the configuration")
	return cmd
}

func validate(cmd *cobra.Command, path string, here bool, node string) error {
	report := config.Validate(path)
	if here && report.Errors() == 0 {
		var cfg *config.Config
		cfg, report = config.Load(path, config.Options{Node: node, Exposed: daemon.Host{}.Exposed})
		if cfg != nil {
			report.Add(cfg.CheckHost(daemon.Host{})...)
		}
	}
	if _, err := report.WriteTo(cmd.OutOrStdout()); err != nil {
		return err
	}
	switch {
	case report.Errors() > 0:
		return toldError(exitMistake)
	case report.Warnings() > 0:
		return nil
	}
	seen := ""
	if report.Nodes > 1 {
		seen = fmt.Sprintf(", as seen by each of %d nodes", report.Nodes)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: no mistakes%s\n", path, seen)
	return err
}
