package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/internal/config"
	"baton/internal/control"
)

func newStatusCommand() *cobra.Command {
	var dir string
	var asJSON, cluster bool
	cmd := &cobra.Command{
		Use:   "status [ROUTER]",
		Short: "Show what this node holds, and why",
		Long: `Show the virtual routers and groups of this node: their roles and why, who is
master, and what has to be mended; of one ROUTER everything. The daemon answers
from its memory.

With --cluster the daemon asks the other nodes by their listeners: who holds what
where, which checks and services, how many standbys are left, and where the nodes
disagree.

The exit status is 0 where all is as wished, 1 where the node is degraded (a check
that counts fails, a router is in FAULT, an address or a service is not as it has
to be, there are two masters, a verdict is forced), and 2 where no daemon runs. Of
one ROUTER it is 1 where one of these concerns it.`,
		Args: atMostOne("ROUTER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client := control.Dial(dir)
			if cluster {
				if len(args) > 0 {
					return &usageError{errors.New("--cluster shows all routers: it goes with no ROUTER")}
				}
				return clusterStatus(cmd.Context(), cmd.OutOrStdout(), client, asJSON)
			}
			s, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if len(args) == 1 {
				return statusOf(cmd.Context(), out, client, s, args[0], asJSON)
			}
			if asJSON {
				err = printJSON(out, s)
			} else {
				err = printStatus(out, time.Now(), s, coloured(out))
			}
			if err == nil && len(s.Problems) > 0 {
				err = toldError(exitFailed)
			}
			return err
		},
	}
	runtimeDirFlag(cmd, &dir)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().BoolVar(&cluster, "cluster", false, "of all nodes of the configuration")
	return cmd
}

func clusterStatus(ctx context.Context, out io.Writer, client *control.Client, asJSON bool) error {
	c, err := client.Cluster(ctx)
	if err != nil {
		return err
	}
	degraded := false
	if asJSON {
		degraded = len(newClusterView(c).findings()) > 0
		err = printJSON(out, c)
	} else {
		degraded, err = printCluster(out, time.Now(), c, coloured(out))
	}
	for _, n := range c.Nodes {
		degraded = degraded || n.Status == nil || len(n.Status.Problems) > 0
	}
	if err == nil && degraded {
		err = toldError(exitFailed)
	}
	return err
}

// statusOf shows one router.
func statusOf(ctx context.Context, out io.Writer, client *control.Client, s *control.Status, name string, asJSON bool) error {
	r, err := s.Find(name)
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(out, r)
	} else {
		var checks []control.Check
		if checks, err = client.Checks(ctx); err == nil {
			err = printRouter(out, time.Now(), s, r, checks, coloured(out))
		}
	}
	if err == nil && len(problemsWith(s, r.Name)) > 0 {
		err = toldError(exitFailed)
	}
	return err
}

// palette has the colours of a terminal, or none.
type palette struct{ good, bad, strong, end string }

// coloured is the palette for where the output goes: colours for a terminal, unless
// NO_COLOR is set (no-color.org) or the terminal has none.
func coloured(out io.Writer) palette {
	if _, ok := terminalOf(out); !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return palette{}
	}
	return palette{good: "\x1b[32m", bad: "\x1b[31m", strong: "\x1b[1m", end: "\x1b[0m"}
}

// role colours a role wherever it stands alone.
func (p palette) role(role string) string {
	switch {
	case p.end == "":
		return role
	case role == "MASTER":
		return p.good + role + p.end
	case role == "FAULT":
		return p.bad + role + p.end
	}
	return role
}

// printStatus writes the table, and what has to be mended.
func printStatus(out io.Writer, now time.Time, s *control.Status, p palette) error {
	if err := printHead(out, now, s, p); err != nil {
		return err
	}
	if err := printRouters(out, now, s, p); err != nil {
		return err
	}
	for i, problem := range s.Problems {
		if i == 0 {
			if _, err := fmt.Fprintln(out); err != nil {
				return err
			}
		}
		if err := printProblem(out, problem); err != nil {
			return err
		}
	}
	return nil
}

// printHead writes what is said of the node as a whole.
func printHead(out io.Writer, now time.Time, s *control.Status, p palette) error {
	head := fmt.Sprintf("%s  baton %s  up %s  configuration %s, loaded %s ago",
		s.Node, firstWord(s.Version), age(now.Sub(s.Started)), s.Configuration, age(now.Sub(s.Loaded)))
	text := headline(head, stateOfNode(s, p)) + "\n"
	if s.Standby != nil {
		text += "standby " + standbyText(now, s.Standby) + ". To end it: baton resume\n"
	}
	_, err := io.WriteString(out, text)
	return err
}

// headColumn is where the state stands in the first line, or behind what is longer.
const headColumn = 80

func headline(head, state string) string {
	return fmt.Sprintf("%-*s  %s", headColumn-2, head, state)
}

// stateOfNode says whether the node is degraded.
func stateOfNode(s *control.Status, p palette) string {
	switch n := len(s.Problems); n {
	case 0:
		return p.good + "well" + p.end
	case 1:
		return p.bad + "DEGRADED: 1 problem" + p.end
	default:
		return fmt.Sprintf("%sDEGRADED: %d problems%s", p.bad, n, p.end)
	}
}

func printProblem(out io.Writer, problem control.Problem) error {
	text := printable(problem.Text) + "\n"
	if problem.Hint != "" {
		text += "        " + printable(problem.Hint) + "\n"
	}
	_, err := io.WriteString(out, text)
	return err
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// standbyText says for how long, by whom and why.
func standbyText(now time.Time, s *control.Standby) string {
	text := "since " + clock(now, s.Since) + " by " + printable(s.By)
	if !s.Until.IsZero() {
		text += " until " + clock(now, s.Until)
	}
	if s.Reason != "" {
		text += ": " + printable(s.Reason)
	}
	return text
}

func printRouters(out io.Writer, now time.Time, s *control.Status, p palette) error {
	if len(s.Routers) == 0 {
		_, err := fmt.Fprintln(out, "\nThis node runs no virtual router.")
		return err
	}
	rows := [][]string{{"ROUTER", "ROLE", " FOR", " PRIORITY", "MASTER", "ADDRESS", "WHY"}}
	for _, r := range s.Routers {
		priority := "-"
		if r.Role == "MASTER" || r.Role == "BACKUP" {
			priority = fmt.Sprint(r.Priority)
		}
		rows = append(rows, []string{r.Name, r.Role, age(now.Sub(r.Since)), priority, masterOf(r), addressOf(r), whyOf(now, r)})
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	return paintTable(out, rows, func(column int, cell string) string {
		if column == 1 {
			return p.role(cell)
		}
		return cell
	})
}

// masterOf is who is master, and the priority that it advertises.
func masterOf(r control.Router) string {
	switch {
	case r.Master == "":
		return "-"
	case r.MasterPriority == 0:
		return r.Master
	}
	return fmt.Sprintf("%s (%d)", r.Master, r.MasterPriority)
}

// addressOf is the first address, and how many more there are.
func addressOf(r control.Router) string {
	switch len(r.Addresses) {
	case 0:
		return "-"
	case 1:
		return r.Addresses[0]
	}
	return fmt.Sprintf("%s +%d", r.Addresses[0], len(r.Addresses)-1)
}

// whyOf explains the role in a few words.
func whyOf(now time.Time, r control.Router) string {
	why := printable(r.Note)
	if r.Role == "FAULT" && len(r.History) > 0 && r.History[0].From == "MASTER" {
		why = strings.TrimPrefix(fmt.Sprintf("%s; was master until %s ago", why, age(now.Sub(r.History[0].At))), "; ")
	}
	return why
}

// printRouter writes all that is known of one router.
func printRouter(out io.Writer, now time.Time, s *control.Status, r control.Router, checks []control.Check, p palette) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s on %s for %s  ", r.Name, p.role(r.Role), s.Node, age(now.Sub(r.Since)))
	switch {
	case len(r.Parts) == 1:
		b.WriteString(linkOf(r.Parts[0]))
	case r.Group:
		b.WriteString("group of " + strings.Join(r.Members, ", "))
	default:
		b.WriteString("both families")
	}
	b.WriteString("\n\n")
	if r.Standby != nil {
		labelled(&b, "Standby", []string{standbyText(now, r.Standby) + ". To end it: baton resume " + r.Name})
	}
	labelled(&b, "Why", []string{printable(r.Reason)})
	labelled(&b, "Priority", []string{printable(r.Sum)})
	if r.Master != "" && r.Role != "MASTER" {
		labelled(&b, "Master", []string{masterOf(r)})
	}
	for _, part := range r.Parts {
		if len(r.Parts) > 1 {
			fmt.Fprintf(&b, "\n%s  %s, %s\n", part.Name, part.Family, linkOf(part))
		}
		printPart(&b, now, part)
	}
	printServices(&b, now, r.Services)
	if err := printTracks(&b, now, r, checks, p); err != nil {
		return err
	}
	if concern := problemsWith(s, r.Name); len(concern) > 0 {
		b.WriteString("\n")
		for _, problem := range concern {
			if err := printProblem(&b, problem); err != nil {
				return err
			}
		}
	}
	if err := printHistory(&b, now, r); err != nil {
		return err
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// labelled writes lines under one label.
func labelled(b *strings.Builder, label string, lines []string) {
	for _, line := range lines {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-8s  %s", label, line), " ") + "\n")
		label = ""
	}
}

// problemsWith are those that concern a router.
func problemsWith(s *control.Status, router string) []control.Problem {
	var concern []control.Problem
	for _, problem := range s.Problems {
		if slices.Contains(problem.Routers, router) {
			concern = append(concern, problem)
		}
	}
	return concern
}

// linkOf says where and how a virtual router speaks.
func linkOf(p control.Part) string {
	how := "multicast"
	if p.Unicast {
		how = "unicast"
	}
	return fmt.Sprintf("%s VRID %d, VRRPv%d %s every %s", p.Interface, p.VRID, p.Version, how, config.FormatDuration(p.Interval))
}

// printPart writes the addresses of a virtual router, and who else speaks for it.
func printPart(b *strings.Builder, now time.Time, p control.Part) {
	var rows [][]string
	for _, a := range p.Addresses {
		rows = append(rows, []string{a.Address, addressState(now, a)})
	}
	labelled(b, "Address", columns(rows))
	var failed []string
	for _, f := range p.Failed {
		failed = append(failed, "not in place: "+printable(f))
	}
	labelled(b, "Routes", failed)
	if p.Source == "" {
		labelled(b, "Source", []string{"none: there is no address on " + p.Interface + " to speak from"})
	}
	rows = nil
	for _, peer := range p.Peers {
		rows = append(rows, []string{cmp.Or(peer.Node, "?"), cmp.Or(peer.Address, "-"), peerText(now, peer)})
	}
	labelled(b, "Peers", columns(rows))
}

// columns puts the cells of rows below each other.
func columns(rows [][]string) []string {
	if len(rows) == 0 {
		return nil
	}
	var b strings.Builder
	_ = printTable(&b, rows) // into memory
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func addressState(now time.Time, a control.Address) string {
	switch {
	case a.Error != "":
		return "not in place: " + printable(a.Error)
	case a.State == "off":
		return "off"
	}
	text := a.State
	if a.State == "lent" {
		text = "lent: kept until a successor has it"
	}
	switch a.Announced {
	case 0:
		return text
	case 1:
		return text + ", announced once, at " + moment(now, a.LastAnnounced)
	}
	return fmt.Sprintf("%s, announced %d times, last at %s", text, a.Announced, moment(now, a.LastAnnounced))
}

func peerText(now time.Time, p control.Peer) string {
	switch heard := "last heard " + age(now.Sub(p.LastHeard)) + " ago: "; {
	case p.LastHeard.IsZero():
		return "never heard: a backup is silent"
	case p.Priority == 0:
		return heard + "priority 0, it left"
	default:
		return fmt.Sprintf("%spriority %d", heard, p.Priority)
	}
}

// printServices writes the services that are bound to the router.
func printServices(b *strings.Builder, now time.Time, services []control.Service) {
	if len(services) == 0 {
		return
	}
	rows := [][]string{{"SERVICE", "STATE", " FOR", "TEXT"}}
	for _, s := range services {
		since := "-"
		if !s.Since.IsZero() {
			since = age(now.Sub(s.Since))
		}
		rows = append(rows, []string{s.Name, s.State, since, printable(s.Text)})
	}
	b.WriteString("\n")
	_ = printTable(b, rows) // into memory
}

// printTracks writes the checks that the router tracks.
func printTracks(out io.Writer, now time.Time, r control.Router, checks []control.Check, p palette) error {
	rows := [][]string{{"CHECK", "VERDICT", " FOR", "EFFECT", " EVERY", " TOOK", "LAST ANSWER"}}
	for _, t := range r.Tracks {
		for _, c := range checks {
			if c.Name == t.Check {
				row := checkRow(now, c)
				rows = append(rows, append([]string{row[0], row[1], row[2], effectOf(t)}, row[3:]...))
			}
		}
	}
	if len(rows) == 1 {
		return nil
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	return paintTable(out, rows, func(column int, cell string) string {
		if column == 1 && strings.HasPrefix(cell, "FAIL") {
			return p.bad + cell + p.end
		}
		return cell
	})
}

// effectOf is what a check does to the router.
func effectOf(t control.Track) string {
	var more []string
	if t.When == "master" || t.When == "backup" {
		more = append(more, t.When)
	}
	if t.Grace > 0 {
		more = append(more, "grace "+config.FormatDuration(t.Grace))
	}
	if len(more) == 0 {
		return t.Effect
	}
	return t.Effect + " (" + strings.Join(more, ", ") + ")"
}

func printHistory(out io.Writer, now time.Time, r control.Router) error {
	if len(r.History) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	var rows [][]string
	for _, c := range r.History {
		rows = append(rows, []string{moment(now, c.At), c.From + " to " + c.To, printable(c.Reason)})
	}
	return printTable(out, rows)
}

// moment is a time of the day to the millisecond, or a date where it is not today's.
func moment(now, t time.Time) string {
	if n, o := now.Local().Format(time.DateOnly), t.Local().Format(time.DateOnly); n != o {
		return t.Local().Format("Jan _2 15:04")
	}
	return t.Local().Format("15:04:05.000")
}
