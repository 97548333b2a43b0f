package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"baton/internal/config"
	"baton/internal/control"
)

// The commands of planned work. Each waits for what comes of it.

// stands is said of every order in its help.
const stands = `
The command waits until that is done and says what happened. When it is interrupted
the order stands.`

func newStandbyCommand() *cobra.Command {
	var dir string
	o := control.Order{Kind: control.StandbyOrder}
	cmd := &cobra.Command{
		Use:   "standby [ROUTER...]",
		Short: "Hold this node, or some of its routers, out of the election",
		Long: `Hold virtual routers and groups out of the election, all of this node where none
is named: for planned work. A master stops its services, says that it leaves, and
answers for its addresses until another node has them. Where nobody takes over it
stays master, and the exit status is 1. The standby lasts over restarts, until
'baton resume' or the time that --for gives.
` + stands,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("for") && (o.For < control.ShortestStandby || o.For > control.LongestStandby) {
				return fmt.Errorf("--for %s is not in %s to %s", config.FormatDuration(o.For), config.FormatDuration(control.ShortestStandby), config.FormatDuration(control.LongestStandby))
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Routers = args
			r, err := order(cmd.Context(), control.Dial(dir), o)
			if err != nil {
				return err
			}
			return printStandby(cmd.OutOrStdout(), time.Now(), o, r)
		},
	}
	runtimeDirFlag(cmd, &dir)
	durationFlag(cmd, &o.For, "for", 0, "how long, from 1s to 365d; without it until it is resumed")
	cmd.Flags().StringVar(&o.Reason, "reason", "", "why, for those who look at it later")
	cmd.Flags().BoolVar(&o.Force, "force", false, "also where no other node takes over: then nobody has the addresses")
	return cmd
}

func newResumeCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "resume [ROUTER...]",
		Short: "End the standby of this node, or of some of its routers",
		Long: `Let virtual routers and groups take part in the election again, all of this node
where none is named.
` + stands,
		Args: usage(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := order(cmd.Context(), control.Dial(dir), control.Order{Kind: control.ResumeOrder, Routers: args})
			if err != nil {
				return err
			}
			if err := printOutcomes(cmd.OutOrStdout(), r); err != nil {
				return err
			}
			return finish(cmd.OutOrStdout(), r, "")
		},
	}
	runtimeDirFlag(cmd, &dir)
	return cmd
}

func newFailoverCommand() *cobra.Command {
	return newRouterCommand(control.FailoverOrder, "failover ROUTER", "Give the role of master to another node",
		`Give the role away once: stop the services, say that this node leaves, and answer for
the addresses until another node has them. This node is a backup then, and does not
take the role back by itself while that one has it, whatever preempt says. Where
nobody takes over it stays master, and the exit status is 1.`,
		func(o control.Outcome) string {
			return fmt.Sprintf("%s stays away until its new master leaves. To bring it home: baton takeover %s", o.Router, o.Router)
		})
}

func newTakeoverCommand() *cobra.Command {
	return newRouterCommand(control.TakeoverOrder, "takeover ROUTER", "Take the role of master from a node of lower priority",
		`Take the role once, where this node's priority is above the master's: with preempt
false a node that returns is a backup until it is told so. The old master answers
for the addresses until this node has them. It is refused where this node would
lose the role at once.`,
		func(o control.Outcome) string { return "The way back: baton failover " + o.Router })
}

func newClearCommand() *cobra.Command {
	return newRouterCommand(control.ClearOrder, "clear ROUTER", "End the FAULT of a router that failed as master",
		`End the hold of retry_after, and forget the failures that led to it: for after the
cause is mended.`, nil)
}

func newAnnounceCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "announce [ROUTER...]",
		Short: "Announce the addresses that this node holds again",
		Long: `Announce the addresses of virtual routers and groups again, by gratuitous ARP and
unsolicited neighbour advertisements: of all that this node is master of where none
is named.
` + stands,
		Args: usage(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return announce(cmd.Context(), cmd.OutOrStdout(), control.Dial(dir), args)
		},
	}
	runtimeDirFlag(cmd, &dir)
	return cmd
}

// newRouterCommand is an order about one router. back names the way back; nil: there
// is none.
func newRouterCommand(kind control.OrderKind, use, short, long string, back func(control.Outcome) string) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long + "\n" + stands, Args: one("ROUTER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := order(cmd.Context(), control.Dial(dir), control.Order{Kind: kind, Routers: args})
			if err != nil {
				return err
			}
			if err := printOutcomes(cmd.OutOrStdout(), r); err != nil {
				return err
			}
			way := ""
			if back != nil && allOK(r) && len(r.Outcomes) == 1 {
				way = back(r.Outcomes[0])
			}
			return finish(cmd.OutOrStdout(), r, way)
		},
	}
	runtimeDirFlag(cmd, &dir)
	return cmd
}

// announce announces the addresses of the routers that are named, or of all that this
// node is master of.
func announce(ctx context.Context, out io.Writer, client *control.Client, names []string) error {
	if len(names) == 0 {
		s, err := client.Status(ctx)
		if err != nil {
			return err
		}
		for _, r := range s.Routers {
			if r.Role == "MASTER" && len(r.Addresses) > 0 {
				names = append(names, r.Name)
			}
		}
		if len(names) == 0 {
			return errors.New("this node is master of nothing that has an address")
		}
	}
	var all control.Result
	for _, name := range names {
		r, err := order(ctx, client, control.Order{Kind: control.AnnounceOrder, Routers: []string{name}})
		if err != nil {
			_ = printOutcomes(out, all) // the error is what is told
			return err
		}
		all.Outcomes = append(all.Outcomes, r.Outcomes...)
	}
	if err := printOutcomes(out, all); err != nil {
		return err
	}
	return finish(out, all, "")
}

// order gives an order and waits. An interrupt ends the wait, and says that the order
// stands.
func order(ctx context.Context, client *control.Client, o control.Order) (control.Result, error) {
	waiting, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r, err := client.Order(waiting, o)
	if err == nil || waiting.Err() == nil {
		return r, err
	}
	text := fmt.Sprintf("interrupted: %s goes on; baton status and baton events show what comes of it", o.Kind)
	if o.Kind == control.StandbyOrder {
		text += ". To end it: " + strings.TrimSpace("baton resume "+strings.Join(o.Routers, " "))
	}
	return r, errors.New(text)
}

// printOutcomes shows what came of an order, a line for each router; those of which
// there is nothing more to say than of others share one, at the end.
func printOutcomes(out io.Writer, r control.Result) error {
	type alike struct{ role, text string }
	names := make(map[alike][]string)
	for _, o := range r.Outcomes {
		names[alike{roleText(o), o.Text}] = append(names[alike{roleText(o), o.Text}], o.Router)
	}
	var rows, last [][]string
	for _, o := range r.Outcomes {
		key := alike{roleText(o), o.Text}
		all := names[key]
		switch {
		case len(all) == 1:
			rows = append(rows, []string{o.Router, key.role, printable(o.Text)})
		case len(all) > 1:
			label := fmt.Sprintf("%d others", len(all))
			if len(all) == len(r.Outcomes) {
				label = fmt.Sprintf("all %d", len(all))
			}
			last = append(last, []string{label, key.role, strings.Join(all, ", ") + ": " + printable(o.Text)})
			names[key] = nil
		}
	}
	return printTable(out, append(rows, last...))
}

// roleText is what became of a role.
func roleText(o control.Outcome) string {
	if o.From == o.To {
		return "stays " + o.To
	}
	return o.From + " to " + o.To
}

func allOK(r control.Result) bool {
	return !slices.ContainsFunc(r.Outcomes, func(o control.Outcome) bool { return !o.OK })
}

// finish says the rest, and how it went by the exit status.
func finish(out io.Writer, r control.Result, way string) error {
	if r.Unsaved != "" {
		way = strings.TrimSpace(way + "\nIt will not survive a restart of baton: " + printable(r.Unsaved))
	}
	if way != "" {
		if _, err := fmt.Fprintln(out, way); err != nil {
			return err
		}
	}
	if !allOK(r) || r.Unsaved != "" {
		return toldError(exitFailed)
	}
	return nil
}

// printStandby shows what came of a standby, for how long it holds, and how it ends.
func printStandby(out io.Writer, now time.Time, o control.Order, r control.Result) error {
	if err := printOutcomes(out, r); err != nil {
		return err
	}
	var held, not []string
	for _, outcome := range r.Outcomes {
		if outcome.OK {
			held = append(held, outcome.Router)
		} else {
			not = append(not, outcome.Router)
		}
	}
	what, resume := r.Node, "baton resume"
	if len(o.Routers) > 0 {
		what, resume = strings.Join(held, ", "), "baton resume "+strings.Join(held, " ")
	}
	if len(held) == 0 {
		return finish(out, r, "Nothing is in standby. To leave it without a holder: --force")
	}
	verb, whose := "is", "it is"
	if len(o.Routers) > 0 && len(held) > 1 {
		verb, whose = "are", "they are"
	}
	until := " until " + whose + " resumed"
	if r.Standby != nil && !r.Standby.Until.IsZero() {
		until = " until " + minute(now, r.Standby.Until)
	}
	text := fmt.Sprintf("%s %s in standby%s", what, verb, until)
	if r.Unsaved == "" {
		text += ", over restarts"
	}
	if len(not) > 0 && len(o.Routers) == 0 {
		text += ", except for " + strings.Join(not, ", ")
	}
	text += ". To end it: " + resume
	if len(not) > 0 {
		text += ". To leave " + them(not) + " without a holder: --force"
	}
	return finish(out, r, text)
}

func them(names []string) string {
	if len(names) == 1 {
		return "it"
	}
	return "them"
}

// minute is a time of the day, with the date where it is not today's.
func minute(now, t time.Time) string {
	if n, o := now.Local().Format(time.DateOnly), t.Local().Format(time.DateOnly); n != o {
		return t.Local().Format("Jan 2 15:04")
	}
	return t.Local().Format("15:04")
}
