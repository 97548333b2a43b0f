package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"baton/internal/control"
)

const (
	// redrawEvery is how often ages are drawn anew though nothing happens.
	redrawEvery = time.Second
	// watchedEvents is how many of the last events stand below the table.
	watchedEvents = 12
)

func newWatchCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show the status live, with the last events",
		Long: `Show the status, and below it the last events, and draw them anew as they change,
until it is interrupted. A daemon that is started anew is waited for. Where the
output is no terminal it is the status once, and then a line for each event.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			client := control.Dial(dir)
			p := coloured(cmd.OutOrStdout())
			if p.end == "" {
				return watchLines(ctx, cmd.OutOrStdout(), client)
			}
			return watchScreen(ctx, cmd.OutOrStdout(), client, p)
		},
	}
	runtimeDirFlag(cmd, &dir)
	return cmd
}

func watchLines(ctx context.Context, out io.Writer, client *control.Client) error {
	s, err := client.Status(ctx)
	if err != nil {
		return err
	}
	list, err := client.Events(ctx, 0, false)
	if err != nil {
		return err
	}
	if err := printStatus(out, time.Now(), s, palette{}); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	return followEvents(ctx, client, list, func(e control.Event) error { return printEvent(out, time.Now(), e) })
}

func watchScreen(ctx context.Context, out io.Writer, client *control.Client, p palette) error {
	first := true
	for {
		screen, number, err := drawn(ctx, client, p)
		if ctx.Err() != nil {
			return nil
		}
		var said *control.Error
		gone := errors.Is(err, control.ErrNotRunning) || errors.As(err, &said) && said.Kind == control.Unavailable
		if err != nil && (first || !gone) {
			return err
		}
		first = false
		if gone {
			screen = []byte(err.Error() + "; waiting for it\n")
		}
		// Home, each line cleared to its end, and what is left below: no flicker.
		screen = bytes.ReplaceAll(screen, []byte("\n"), []byte("\x1b[K\n"))
		if _, err := fmt.Fprintf(out, "\x1b[H%s\x1b[J", screen); err != nil {
			return err
		}
		again, cancel := context.WithTimeout(ctx, redrawEvery)
		if gone {
			<-again.Done()
		} else {
			_, _ = client.Events(again, number, true) // or the time is over
		}
		cancel()
	}
}

// drawn is the screen, and the number of the newest event on it.
func drawn(ctx context.Context, client *control.Client, p palette) ([]byte, uint64, error) {
	s, err := client.Status(ctx)
	if err != nil {
		return nil, 0, err
	}
	list, err := client.Events(ctx, 0, false)
	if err != nil {
		return nil, 0, err
	}
	var b bytes.Buffer
	now := time.Now()
	if err := printStatus(&b, now, s, p); err != nil {
		return nil, 0, err
	}
	fmt.Fprintln(&b)
	for _, e := range list[max(0, len(list)-watchedEvents):] {
		if err := printEvent(&b, now, e); err != nil {
			return nil, 0, err
		}
	}
	if len(list) == 0 {
		return b.Bytes(), 0, nil
	}
	return b.Bytes(), list[len(list)-1].Number, nil
}
