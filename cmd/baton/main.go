// Command baton keeps a virtual IP, and the services that belong with it, on
// exactly one healthy host.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/daemon"
)

// Exit statuses, the same for every command.
const (
	exitOK         = 0
	exitFailed     = 1  // refused, failed, degraded
	exitNotRunning = 2  // the daemon does not run
	exitMistake    = 3  // mistakes in the configuration
	exitUsage      = 64 // wrong usage
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// run executes the command line and returns the exit status.
func run(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(context.Background())
	if err == nil {
		return exitOK
	}
	var mistakes *daemon.ConfigError
	var usage *usageError
	var told toldError
	var said *control.Error
	switch {
	case errors.As(err, &told):
		return int(told)
	case errors.As(err, &mistakes):
		_, _ = mistakes.Report.WriteTo(os.Stderr)
		return exitMistake
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "baton: %v\nTry '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	case errors.As(err, &said):
		fmt.Fprintf(os.Stderr, "baton: %s\n", explain(said))
		if said.Kind == control.BadRequest {
			return exitUsage
		}
		return exitFailed
	case errors.Is(err, control.ErrNotRunning):
		fmt.Fprintf(os.Stderr, "baton: %v\n", err)
		return exitNotRunning
	}
	for line := range strings.Lines(err.Error()) { // several may have been joined
		fmt.Fprintf(os.Stderr, "baton: %s\n", strings.TrimSuffix(line, "\n"))
	}
	return exitFailed
}

// explain is what the daemon said, with the name that may have been meant.
func explain(said *control.Error) string {
	if said.Kind == control.NotFound && said.Name != "" {
		if hint := config.DidYouMean(said.Name, said.Known); hint != "" {
			return said.Text + ": " + hint
		}
	}
	return said.Text
}

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

// toldError is the exit status of a failure that the command has explained
// already.
type toldError int

func (e toldError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usage makes the mistakes that cobra finds in arguments usage errors.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
}

// one wants exactly one argument, and says of what.
func one(name string) cobra.PositionalArgs {
	return usage(func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return fmt.Errorf("%s is missing", name)
		case 1:
			return nil
		}
		return fmt.Errorf("one %s is wanted, and %d arguments were given", name, len(args))
	})
}

// atMostOne wants one argument or none.
func atMostOne(name string) cobra.PositionalArgs {
	return usage(func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return fmt.Errorf("at most one %s is wanted, and %d arguments were given", name, len(args))
		}
		return nil
	})
}

// noSuchCommand says so, with the one that may have been meant.
func noSuchCommand(root *cobra.Command, name string) error {
	var known []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	text := fmt.Sprintf("there is no command %q", name)
	if hint := config.DidYouMean(name, known); strings.HasPrefix(hint, "did you mean") { // and not all there are
		text += ": " + hint
	}
	return errors.New(text)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "baton",
		Short:         "Keep a virtual IP, and what belongs with it, on exactly one healthy host",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noSuchCommand(cmd, args[0])
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(newRunCommand(), newRunnerCommand(), newValidateCommand(), newConvertCommand(), newScanCommand(), newVersionCommand(), newDemoCommand(),
		newChecksCommand(), newWaitCommand(), newReleaseCommand(), newUpgradeCommand(), newReloadCommand(), newStateWatchCommand(), newSchemaCommand(), newManCommand(), newLogLevelCommand(),
		newStatusCommand(), newWatchCommand(), newDoctorCommand(), newEventsCommand(),
		newStandbyCommand(), newResumeCommand(), newFailoverCommand(), newTakeoverCommand(), newClearCommand(), newAnnounceCommand())
	strictDefaults(root)
	completeNames(root)
	addExamples(root)
	return root
}

// strictDefaults makes wrong usage of the commands that cobra adds an error,
// as it is with ours.
func strictDefaults(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = usage(func(_ *cobra.Command, args []string) error {
				if found, _, err := root.Find(args); err != nil || found == root && len(args) > 0 {
					return fmt.Errorf("there is no command %q", strings.Join(args, " "))
				}
				return nil
			})
		case "completion":
			cmd.Args = usage(cobra.NoArgs)
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.Args = usage(cobra.NoArgs)
			}
		}
	}
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "baton", daemon.Version())
			return err
		},
	}
}
