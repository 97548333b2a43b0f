package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/internal/config"
	"baton/internal/control"
)

// runtimeDirFlag adds the flag that says where the daemon is.
func runtimeDirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "runtime-dir", defaultRuntimeDir, "directory of the daemon that is asked")
}

func newChecksCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "checks",
		Short: "List the checks of this node and what they say",
		Long: `List the checks that routers of this node track: the verdict of each, since when,
and its last answer. The list is the daemon's own; nothing is run for it.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := control.Dial(dir).Checks(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return printChecks(cmd.OutOrStdout(), time.Now(), all)
		},
	}
	runtimeDirFlag(cmd, &dir)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.AddCommand(newChecksRunCommand(), newChecksForceCommand())
	return cmd
}

func newChecksRunCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "run NAME",
		Short: "Run a check now and show its answer",
		Long: `Let the daemon run a check now, as it runs it itself, and show the answer. The
exit status is 0 where it passes and 1 where it fails.`,
		Args: one("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := control.Dial(dir).RunCheck(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := printRun(cmd.OutOrStdout(), time.Now(), c); err != nil {
				return err
			}
			if !c.OK {
				return toldError(exitFailed)
			}
			return nil
		},
	}
	runtimeDirFlag(cmd, &dir)
	return cmd
}

func newChecksForceCommand() *cobra.Command {
	var dir, reason string
	var d time.Duration
	var end bool
	cmd := &cobra.Command{
		Use:   "force NAME pass|fail --for DURATION --reason TEXT\n  baton checks force NAME --clear",
		Short: "Set the verdict of a check for a while",
		Long: `Set the verdict of a check for a while, in place of its own: to rehearse a failure,
or to pass over a check that is wrong. The check goes on beside it, and counts
again when the time is over, at the latest when baton is started anew.`,
		Args: usage(func(_ *cobra.Command, args []string) error {
			switch {
			case end && len(args) == 1 && d == 0 && reason == "":
				return nil
			case end:
				return errors.New("--clear goes with the name of a check alone")
			case len(args) == 0:
				return errors.New("NAME is missing")
			case len(args) == 1:
				return errors.New("the verdict is missing: pass or fail")
			case len(args) > 2:
				return fmt.Errorf("the name of one check and its verdict are wanted, and %d arguments were given", len(args))
			case args[1] != "pass" && args[1] != "fail":
				return fmt.Errorf("a check is forced to pass or to fail, not to %q", args[1])
			case d == 0:
				return errors.New("--for is missing: how long, such as --for 10m")
			case d < control.ShortestForce || d > control.LongestForce:
				return fmt.Errorf("--for %s is not in %s to %s", config.FormatDuration(d), config.FormatDuration(control.ShortestForce), config.FormatDuration(control.LongestForce))
			case strings.TrimSpace(reason) == "":
				return errors.New("--reason is missing: others will ask")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			return force(cmd.Context(), cmd.OutOrStdout(), control.Dial(dir), args, d, reason)
		},
	}
	runtimeDirFlag(cmd, &dir)
	durationFlag(cmd, &d, "for", 0, "how long, from 1s to 7d")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look at it later")
	cmd.Flags().BoolVar(&end, "clear", false, "let the check's own verdict count again")
	return cmd
}

// force forces the check args[0] to args[1], or no longer where that is missing.
func force(ctx context.Context, out io.Writer, client *control.Client, args []string, d time.Duration, reason string) error {
	name := args[0]
	if len(args) == 1 {
		c, err := client.ReleaseCheck(ctx, name)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s is not forced any more: its own verdict counts, which is %s\n", name, c.Verdict)
		return err
	}
	c, err := client.ForceCheck(ctx, name, args[1], d, reason)
	if err != nil {
		return err
	}
	until := ""
	if c.Forced != nil {
		until = " until " + clock(time.Now(), c.Forced.Until)
	}
	_, err = fmt.Fprintf(out, "%s is forced to %s%s (%s). It is still asked, and %s.\nTo end it: baton checks force %s --clear\n",
		name, args[1], until, config.FormatDuration(d), lastAnswer(c), name)
	return err
}

// lastAnswer says in a few words what a check itself has answered.
func lastAnswer(c control.Check) string {
	switch {
	case c.At.IsZero():
		return "has not answered yet"
	case c.OK:
		return "passes by itself"
	}
	return "fails by itself"
}

// clock is a time of the day, with the date where it is not today's.
func clock(now, t time.Time) string {
	if n, o := now.Local().Format(time.DateOnly), t.Local().Format(time.DateOnly); n != o {
		return t.Local().Format(time.DateTime)
	}
	return t.Local().Format(time.TimeOnly)
}

func printChecks(out io.Writer, now time.Time, all []control.Check) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "No router of this node tracks a check.")
		return err
	}
	rows := [][]string{{"CHECK", "VERDICT", " FOR", " EVERY", " TOOK", "LAST ANSWER"}}
	var notes []string
	for _, c := range all {
		rows = append(rows, checkRow(now, c))
		if c.Forced != nil {
			notes = append(notes, forcedNote(now, c))
		}
	}
	if err := printTable(out, rows); err != nil {
		return err
	}
	for i, note := range notes {
		if i == 0 {
			note = "\n" + note
		}
		if _, err := fmt.Fprintln(out, note); err != nil {
			return err
		}
	}
	return nil
}

// checkRow is a check in a table: its name, verdict and since when, its interval, how
// long the last answer took, and what it was.
func checkRow(now time.Time, c control.Check) []string {
	since, every, lasted := "-", "-", "-"
	if !c.Since.IsZero() {
		since = age(now.Sub(c.Since))
	}
	if c.Interval > 0 {
		every = config.FormatDuration(c.Interval)
	}
	if !c.At.IsZero() {
		lasted = took(c.Took)
	}
	return []string{c.Name, verdictOf(c), since, every, lasted, answerOf(c)}
}

// verdictOf is the verdict that counts, so that a failure meets the eye.
func verdictOf(c control.Check) string {
	verdict, forced := c.Verdict, ""
	if c.Forced != nil {
		verdict, forced = c.Forced.Verdict, " (forced)"
	}
	if verdict == "fail" {
		verdict = "FAIL"
	}
	return verdict + forced
}

// answerOf is the last answer in one line. Where it is not the verdict, it says
// which it is.
func answerOf(c control.Check) string {
	text := printable(c.Text)
	verdict := c.Verdict
	if c.Forced != nil {
		verdict = c.Forced.Verdict
	}
	switch {
	case c.At.IsZero():
		text = "none yet"
	case c.OK && verdict != "pass":
		text = "pass: " + text
	case !c.OK && verdict != "fail":
		text = "fail: " + text
	}
	if c.Hung {
		text += " (a run hangs)"
	}
	return text
}

// forcedNote says who has forced a check, and how it ends.
func forcedNote(now time.Time, c control.Check) string {
	return fmt.Sprintf("%s is forced to %s until %s by %s: %s. To end it: baton checks force %s --clear",
		c.Name, c.Forced.Verdict, clock(now, c.Forced.Until), printable(c.Forced.By), printable(c.Forced.Reason), c.Name)
}

// printRun shows what a check answered, and what that makes of its verdict.
func printRun(out io.Writer, now time.Time, c control.Check) error {
	answer := "fails"
	if c.OK {
		answer = "passes"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s after %s: %s\n", c.Name, answer, took(c.Took), printable(c.Text))
	if c.Hint != "" {
		fmt.Fprintf(&b, "        %s\n", printable(c.Hint))
	}
	if c.Output != "" {
		b.WriteString("Output:\n")
		for line := range strings.Lines(c.Output) {
			fmt.Fprintf(&b, "    %s\n", printable(strings.TrimRight(line, "\r\n")))
		}
	}
	fmt.Fprintf(&b, "Verdict: %s", verdictOf(c))
	if !c.Since.IsZero() {
		fmt.Fprintf(&b, " for %s", age(now.Sub(c.Since)))
	}
	switch c.Runs {
	case 0: // nobody could tell
		b.WriteString("; there is no answer yet that counts\n")
	case 1:
		b.WriteString("; it is the first such answer in a row\n")
	default:
		fmt.Fprintf(&b, "; there are %d such answers in a row\n", c.Runs)
	}
	if c.Forced != nil {
		b.WriteString(forcedNote(now, c) + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}
