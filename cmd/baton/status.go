package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

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
to be, a verdict is forced), and 2 where no daemon runs. Of one ROUTER it is 1
where that is in FAULT.`,
		Args: usage(cobra.MaximumNArgs(1)),
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
			err = printRouter(out, time.Now(), s.Node, r, checks, coloured(out))
		}
	}
	if err == nil && r.Role == "FAULT" {
		err = toldError(exitFailed)
	}
	return err
}

// palette has the colours of a terminal, or none.
type palette struct{ good, bad, strong, end string }

// coloured is the palette for where the output goes: colours for a terminal, unless
// NO_COLOR is set (no-color.org) or the terminal has none.
func coloured(out io.Writer) palette {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return palette{}
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
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
	head := fmt.Sprintf("%s  baton %s  up %s  configuration %s, loaded %s ago",
		s.Node, firstWord(s.Version), age(now.Sub(s.Started)), s.Configuration, age(now.Sub(s.Loaded)))
	switch n := len(s.Problems); n {
	case 0:
		head += "  " + p.good + "well" + p.end
	case 1:
		head += "  " + p.bad + "DEGRADED: 1 problem" + p.end
	default:
		head += fmt.Sprintf("  %sDEGRADED: %d problems%s", p.bad, n, p.end)
	}
	if _, err := fmt.Fprintln(out, head); err != nil {
		return err
	}
	if s.Standby != nil {
		if _, err := fmt.Fprintln(out, "standby "+standbyText(now, s.Standby)+". To end it: baton resume"); err != nil {
			return err
		}
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
	var table strings.Builder
	if err := printTable(&table, rows); err != nil {
		return err
	}
	text := "\n" + table.String()
	if p.end != "" {
		var b strings.Builder
		for line := range strings.Lines(text) {
			for _, role := range []string{"MASTER", "FAULT"} {
				if strings.Contains(line, " "+role+" ") && !strings.HasPrefix(line, "ROUTER") {
					line = strings.Replace(line, " "+role+" ", " "+p.role(role)+" ", 1)
				}
			}
			b.WriteString(line)
		}
		text = b.String()
	}
	_, err := io.WriteString(out, text)
	return err
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
func printRouter(out io.Writer, now time.Time, node string, r control.Router, checks []control.Check, p palette) error {
	var b strings.Builder
	b.WriteString(r.Name + "  " + p.role(r.Role) + " on " + node + " for " + age(now.Sub(r.Since)))
	for i, part := range r.Parts {
		if i == 0 && len(r.Parts) == 1 {
			b.WriteString("  " + linkOf(part))
		}
	}
	b.WriteString("\n\n")
	rows := [][2]string{}
	add := func(name, text string) { rows = append(rows, [2]string{name, text}) }
	if r.Standby != nil {
		add("Standby", standbyText(now, r.Standby))
	}
	add("Why", strings.TrimSuffix(printable(reasonOf(r)), "; "))
	add("Priority", printable(strings.TrimPrefix(r.Sum, "priority ")))
	if r.Master != "" && r.Role != "MASTER" {
		add("Master", masterOf(r))
	}
	for _, part := range r.Parts {
		if len(r.Parts) > 1 {
			add(part.Name, linkOf(part))
		}
		for _, a := range part.Addresses {
			text := a.Address + "  " + a.State
			if a.Error != "" {
				text += ": " + printable(a.Error)
			}
			add("Address", text)
		}
		for _, peer := range part.Peers {
			add("Peer", peerText(now, peer))
		}
	}
	for _, s := range r.Services {
		add("Service", strings.TrimSuffix(fmt.Sprintf("%s  %s for %s: %s", s.Name, s.State, age(now.Sub(s.Since)), printable(s.Text)), ": "))
	}
	last := ""
	for _, row := range rows {
		name := row[0]
		if name == last {
			name = "" // the same as above
		}
		last = row[0]
		fmt.Fprintf(&b, "%-8s  %s\n", name, row[1])
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return err
	}
	if err := printTracks(out, now, r, checks); err != nil {
		return err
	}
	return printHistory(out, now, r)
}

// reasonOf is why the router has its role: the last change, and for a FAULT what holds it.
func reasonOf(r control.Router) string {
	var parts []string
	if len(r.History) > 0 {
		parts = append(parts, r.History[0].Reason)
	}
	if r.Role == "FAULT" {
		parts = r.Faults
	} else if r.Note != "" {
		parts = append(parts, r.Note)
	}
	return strings.Join(parts, "; ")
}

// linkOf says where and how a virtual router speaks.
func linkOf(p control.Part) string {
	how := "multicast"
	if p.Unicast {
		how = "unicast"
	}
	source := ""
	if p.Source != "" {
		source = " from " + p.Source
	}
	return fmt.Sprintf("%s VRID %d, VRRPv%d %s %s every %s%s", p.Interface, p.VRID, p.Version, p.Family, how, config.FormatDuration(p.Interval), source)
}

func peerText(now time.Time, p control.Peer) string {
	who := p.Node
	if p.Address != "" {
		who = strings.TrimSpace(p.Node + "  " + p.Address)
	}
	switch {
	case p.LastHeard.IsZero():
		return who + "  not heard: a backup is silent"
	case p.Priority == 0:
		return fmt.Sprintf("%s  last heard %s ago: priority 0, it left", who, age(now.Sub(p.LastHeard)))
	}
	return fmt.Sprintf("%s  last heard %s ago: priority %d", who, age(now.Sub(p.LastHeard)), p.Priority)
}

// printTracks writes the checks that the router tracks.
func printTracks(out io.Writer, now time.Time, r control.Router, checks []control.Check) error {
	rows := [][]string{{"CHECK", "VERDICT", " FOR", "EFFECT", " EVERY", " TOOK", "LAST ANSWER"}}
	for _, t := range r.Tracks {
		for _, c := range checks {
			if c.Name == t.Check {
				row := checkRow(now, c)
				rows = append(rows, append([]string{row[0], row[1], row[2], t.Effect}, row[3:]...))
			}
		}
	}
	if len(rows) == 1 {
		return nil
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	return printTable(out, rows)
}

func printHistory(out io.Writer, now time.Time, r control.Router) error {
	if len(r.History) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	for _, c := range r.History {
		if _, err := fmt.Fprintf(out, "%s  %s to %s  %s\n", moment(now, c.At), c.From, c.To, printable(c.Reason)); err != nil {
			return err
		}
	}
	return nil
}

// moment is a time of the day to the millisecond, or a date where it is not today's.
func moment(now, t time.Time) string {
	if n, o := now.Local().Format(time.DateOnly), t.Local().Format(time.DateOnly); n != o {
		return t.Local().Format("Jan _2 15:04")
	}
	return t.Local().Format("15:04:05.000")
}
