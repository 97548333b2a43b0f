package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"baton/internal/config"
	"baton/internal/control"
)

var logLevels = [...]string{"debug", "info", "warn", "error"}

func newLogLevelCommand() *cobra.Command {
	var dir string
	var d time.Duration
	cmd := &cobra.Command{
		Use:   "log-level [LEVEL]",
		Short: "Show or set what the daemon logs",
		Long: `Set what the daemon logs, for a while: debug, info, warn or error. The configured
level comes back by itself, or with "baton log-level configured". Without LEVEL it
is shown.`,
		ValidArgs: append(logLevels[:], "configured"),
		Args:      atMostOne("LEVEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client := control.Dial(dir)
			if len(args) == 0 {
				l, err := client.LogLevel(cmd.Context())
				if err != nil {
					return err
				}
				return printLogLevel(cmd, l)
			}
			level := args[0]
			switch {
			case level == "configured":
				level = ""
			case !slices.Contains(logLevels[:], level):
				return &usageError{fmt.Errorf("there is no level %q: it is debug, info, warn, error or configured", level)}
			case d < control.ShortestLogLevel || d > control.LongestLogLevel:
				return &usageError{fmt.Errorf("--for %s is not in %s to %s", config.FormatDuration(d), config.FormatDuration(control.ShortestLogLevel), config.FormatDuration(control.LongestLogLevel))}
			}
			l, err := client.SetLogLevel(cmd.Context(), level, d)
			if err != nil {
				return err
			}
			return printLogLevel(cmd, l)
		},
	}
	runtimeDirFlag(cmd, &dir)
	durationFlag(cmd, &d, "for", 10*time.Minute, "how long, from 1s to 1d")
	return cmd
}

func printLogLevel(cmd *cobra.Command, l control.LogLevel) error {
	text := l.Level
	if !l.Until.IsZero() {
		text = fmt.Sprintf("%s until %s, set by %s; then %s. To end it: baton log-level configured", l.Level, clock(time.Now(), l.Until), printable(l.By), l.Configured)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), text)
	return err
}
