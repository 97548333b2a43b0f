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
	"syscall"
	"time"
	"unicode/utf8"

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
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return events(ctx, cmd.OutOrStdout(), control.Dial(dir), since, follow, asJSON)
		},
	}
	runtimeDirFlag(cmd, &dir)
	durationFlag(cmd, &since, "since", 0, "only those of the last so long, such as 10m")
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with those that come")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, one event in each line")
	return cmd
}

func events(ctx context.Context, out io.Writer, client *control.Client, since time.Duration, follow, asJSON bool) error {
	f := newFollower(client)
	list, err := f.now(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	if since > 0 {
		for len(list) > 0 && now.Sub(list[0].At) > since {
			list = list[1:]
		}
	}
	lines := newEventLines(list)
	print := func(list []control.Event) error {
		for _, e := range list {
			var err error
			if asJSON {
				err = json.NewEncoder(out).Encode(e)
			} else {
				_, err = fmt.Fprintln(out, lines.line(time.Now(), e))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := print(list); err != nil || !follow {
		return err
	}
	return f.follow(ctx, print)
}

// follower reads each event once, also where the daemon is started anew meanwhile.
type follower struct {
	client *control.Client
	since  time.Time // of the process whose events they are
	newest uint64    // the number of the last event that was read
}

func newFollower(client *control.Client) *follower { return &follower{client: client} }

// now returns the events that there are and have not been read yet.
func (f *follower) now(ctx context.Context) ([]control.Event, error) { return f.read(ctx, false) }

// next waits for some.
func (f *follower) next(ctx context.Context) ([]control.Event, error) { return f.read(ctx, true) }

func (f *follower) read(ctx context.Context, wait bool) ([]control.Event, error) {
	e, err := f.client.Events(ctx, f.newest, wait)
	if err == nil && f.newest > 0 && !e.Since.Equal(f.since) { // another process, which counts from 1 again
		e, err = f.client.Events(ctx, 0, false)
	}
	if err != nil {
		return nil, err
	}
	f.since, f.newest = e.Since, e.Newest
	return e.Events, nil
}

// follow hands on the events that come, until ctx ends. A daemon that does not run is
// waited for.
func (f *follower) follow(ctx context.Context, each func([]control.Event) error) error {
	for {
		list, err := f.next(ctx)
		if err == nil {
			if err := each(list); err != nil {
				return err
			}
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if !mayComeBack(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookAgain):
		}
	}
}

// mayComeBack tells whether a later request can succeed: the daemon does not run, or
// is busy or ends.
func mayComeBack(err error) bool {
	var said *control.Error
	return errors.Is(err, control.ErrNotRunning) || errors.As(err, &said) && said.Kind == control.Unavailable
}

// eventLines writes events below each other in columns, which grow with what comes.
type eventLines struct{ kind, name, what int }

func newEventLines(list []control.Event) *eventLines {
	l := &eventLines{kind: len(control.OperatorEvent)}
	for _, e := range list {
		l.measure(e)
	}
	return l
}

func (l *eventLines) measure(e control.Event) {
	l.kind = max(l.kind, len(e.Kind))
	l.name = max(l.name, utf8.RuneCountInString(e.Name))
	l.what = max(l.what, utf8.RuneCountInString(e.What))
}

func (l *eventLines) line(now time.Time, e control.Event) string {
	l.measure(e)
	line := fmt.Sprintf("%-12s  %-*s  %-*s  %-*s  %s", moment(now, e.At), l.kind, e.Kind, l.name, printable(e.Name), l.what, printable(e.What), printable(e.Text))
	return strings.TrimRight(line, " ")
}
