package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"baton/internal/control"
)

func newReloadCommand() *cobra.Command {
	var dir string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon read its configuration again, and apply what has changed",
		Long: `Have the daemon read its configuration again, and apply what has changed. All of
it is read and checked first: a file with mistakes changes nothing, and its
mistakes are printed as by baton validate (exit status 3).

What has changed is printed, with what each change costs on this node: nothing,
an announcement, a change of role. What has not changed goes on as if nothing had
happened: routers miss no advertisement, checks keep their verdicts, services run
on. With --dry-run that is all: nothing is changed.

SIGHUP and systemctl reload do the same, with the result in the log.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return reload(cmd.Context(), cmd.OutOrStdout(), control.Dial(dir), dryRun)
		},
	}
	runtimeDirFlag(cmd, &dir)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "tell what would change, and change nothing")
	return cmd
}

func reload(ctx context.Context, out io.Writer, client *control.Client, dryRun bool) error {
	r, err := client.Reload(ctx, dryRun)
	if said := (*control.Error)(nil); errors.As(err, &said) && said.Kind == control.Mistaken {
		fmt.Fprint(out, said.Mistakes)
		fmt.Fprintln(out, said.Text)
		return toldError(exitMistake)
	}
	if err != nil {
		return err
	}
	fmt.Fprint(out, r.Warnings)
	if err := printDifferences(out, r.Changes); err != nil {
		return err
	}
	fmt.Fprintln(out, reloadEnd(r))
	return nil
}

// printDifferences writes a row for each, in columns without a head.
func printDifferences(out io.Writer, all []control.Difference) error {
	var rows [][]string
	for _, d := range all {
		rows = append(rows, []string{printable(d.Name), printable(d.What), printable(d.Cost)})
	}
	return printTable(out, rows)
}

// reloadEnd says what stays, and what was done.
func reloadEnd(r control.Reload) string {
	var b strings.Builder
	u := r.Unchanged
	switch {
	case len(r.Changes) == 0 && r.Before == r.After:
		return "Nothing to change: configuration " + r.Before + " runs, and is what the file says."
	case len(r.Changes) == 0:
		fmt.Fprintf(&b, "Nothing to change on this node: configuration %s means the same here as %s.\n", r.After, r.Before)
	default:
		fmt.Fprintf(&b, "%s, %s, %s unchanged: they miss no advertisement\n", numbered(u.Routers, "router"), numbered(u.Checks, "check"), numbered(u.Services, "service"))
	}
	if r.DryRun {
		b.WriteString("Nothing has been changed. To apply this: baton reload")
	} else {
		fmt.Fprintf(&b, "Configuration %s runs, before %s. The way back: the file as it was, and baton reload.", r.After, r.Before)
	}
	return b.String()
}

func numbered(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
