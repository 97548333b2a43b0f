package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/internal/config"
	"baton/internal/control"
)

// lookAgain is how often a daemon that does not run is looked for.
const lookAgain = 200 * time.Millisecond

func newWaitCommand() *cobra.Command {
	var dir, states string
	var ready bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait ROUTER",
		Short: "Wait until a virtual router or a group has a role",
		Long: `Wait until this node is master of a virtual router or a group, or has another
role. The exit status is 0 then, 1 where it is not so at the timeout, and 2 where
no daemon runs. With --timeout a daemon that does not run is waited for, too;
without it the wait has no limit.`,
		Args: one("ROUTER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := control.ParseStates(states)
			switch {
			case err != nil:
				return &usageError{fmt.Errorf("--state: %w", err)}
			case ready && !slices.Equal(all, []string{"MASTER"}):
				return &usageError{errors.New("--ready goes with --state master: no other state is ever ready")}
			case cmd.Flags().Changed("timeout") && timeout <= 0:
				return &usageError{fmt.Errorf("--timeout %s is not above 0", config.FormatDuration(timeout))}
			}
			want := control.Wait{Router: args[0], States: all, Ready: ready}
			return wait(cmd.Context(), cmd.OutOrStdout(), control.Dial(dir), want, timeout)
		},
	}
	runtimeDirFlag(cmd, &dir)
	cmd.Flags().StringVar(&states, "state", "master", "init, backup, master or fault; several with commas between them")
	cmd.Flags().BoolVar(&ready, "ready", false, "and its addresses are on and its services run")
	durationFlag(cmd, &timeout, "timeout", 0, "how long to wait, also for a daemon that does not run")
	return cmd
}

func wait(ctx context.Context, out io.Writer, client *control.Client, want control.Wait, timeout time.Duration) error {
	waiting := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	for {
		r, err := client.Wait(waiting, want)
		var said *control.Error
		switch {
		case err == nil:
			_, err := fmt.Fprintf(out, "%s is %s\n", r.Name, stateOf(r))
			return err
		case waiting.Err() != nil:
			return tooLate(ctx, client, want, timeout)
		case timeout > 0 && errors.Is(err, control.ErrNotRunning): // it may come
		case errors.As(err, &said) && said.Kind == control.Unavailable: // it may be back at once
		default:
			return err
		}
		select {
		case <-waiting.Done():
		case <-time.After(lookAgain):
		}
	}
}

// tooLate says what is instead of what was waited for.
func tooLate(ctx context.Context, client *control.Client, want control.Wait, timeout time.Duration) error {
	s, err := client.Status(ctx)
	if err != nil {
		return err
	}
	r, err := s.Find(want.Router)
	if err != nil {
		return err
	}
	wanted := strings.Join(want.States, " or ")
	if want.Ready {
		wanted += " and ready"
	}
	text := fmt.Sprintf("after %s %s is %s, not %s: %s", config.FormatDuration(timeout), r.Name, stateOf(r), wanted, printable(r.Why))
	for _, s := range r.Services {
		if want.Ready && s.State != "running" {
			text += fmt.Sprintf("; %s is %s", s.Name, s.State)
			if s.Text != "" {
				text += ": " + printable(s.Text)
			}
		}
	}
	return errors.New(text)
}

// stateOf is the role of a router, for a master whether it is ready, and else
// who is master, where one was heard.
func stateOf(r control.Router) string {
	switch {
	case r.Role == "MASTER" && r.Ready:
		return "MASTER and ready"
	case r.Role == "MASTER":
		return "MASTER, not ready yet"
	case r.Master != "":
		return r.Role + ", " + r.Master + " is master"
	}
	return r.Role
}
