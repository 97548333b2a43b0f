package main

import (
	"time"

	"github.com/spf13/cobra"

	"baton/internal/config"
)

// durationFlag gives a command a flag that is written as durations are in the
// configuration: 90s, 1h30m, 2d.
func durationFlag(cmd *cobra.Command, d *time.Duration, name string, value time.Duration, help string) {
	*d = value
	cmd.Flags().Var((*duration)(d), name, help)
}

type duration time.Duration

func (d *duration) Set(s string) error {
	v, err := config.ParseDuration(s)
	if err != nil {
		return err
	}
	*d = duration(v)
	return nil
}

// String is empty for 0, which is no value to show as a default.
func (d *duration) String() string {
	if *d == 0 {
		return ""
	}
	return config.FormatDuration(time.Duration(*d))
}

func (d *duration) Type() string { return "duration" }
