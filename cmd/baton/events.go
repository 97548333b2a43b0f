package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/internal/control"
)

func newEventsCommand() *cobra.Command {
	var dir string
	var since time.Duration
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List what has happened on this node",
		Long: `List what has happened: changes of roles and verdicts, hooks, services, addresses
that others removed, and what operators did. The daemon keeps the last 2000 events
in memory; a restart begins anew. With --follow it goes on until it is interrupted,
also over a restart of the daemon. With --json each line is one event.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			print := printEvent
			if asJSON {
				print = func(out io.Writer, _ time.Time, e control.Event) error { return json.NewEncoder(out).Encode(e) }
			}
			client := control.Dial(dir)
			list, err := client.Events(cmd.Context(), 0, false)
			if err != nil {
				return err
			}
			now := time.Now()
			for _, e := range list {
				if since > 0 && now.Sub(e.At) > since {
					continue
				}
				if err := print(cmd.OutOrStdout(), now, e); err != nil {
					return err
				}
			}
			if !follow {
				return nil
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			return followEvents(ctx, client, list, func(e control.Event) error { return print(cmd.OutOrStdout(), time.Now(), e) })
		},
	}
	runtimeDirFlag(cmd, &dir)
	durationFlag(cmd, &since, "since", 0, "only those of the last so long")
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with those that come")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, one event in each line")
	return cmd
}

// followEvents hands on the events that come after those of the list, until ctx ends.
// A daemon that is started anew counts from 1 again.
func followEvents(ctx context.Context, client *control.Client, list []control.Event, each func(control.Event) error) error {
	var number uint64
	var at time.Time
	if len(list) > 0 {
		number, at = list[len(list)-1].Number, list[len(list)-1].At
	}
	for {
		list, err := client.Events(ctx, number, true)
		var said *control.Error
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, control.ErrNotRunning), errors.As(err, &said) && said.Kind == control.Unavailable:
			number = 0
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(lookAgain):
			}
			continue
		case err != nil:
			return err
		}
		for _, e := range list {
			if number == 0 && !e.At.After(at) {
				continue // the same daemon, which could not be asked for a while
			}
			if err := each(e); err != nil {
				return err
			}
			at = e.At
		}
		number = list[len(list)-1].Number
	}
}

func printEvent(out io.Writer, now time.Time, e control.Event) error {
	line := fmt.Sprintf("%s  %-13s  %-12s  %-16s  %s", moment(now, e.At), e.Kind, printable(e.Name), printable(e.What), printable(e.Text))
	_, err := fmt.Fprintln(out, strings.TrimRight(line, " "))
	return err
}
