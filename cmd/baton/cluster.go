package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"baton/internal/control"
)

// printCluster writes who holds what on which node, and what is not as it should be.
// It tells whether there is anything of that.
func printCluster(out io.Writer, now time.Time, c *control.Cluster, p palette) (degraded bool, err error) {
	v := newClusterView(c)
	findings := v.findings()
	var b strings.Builder
	b.WriteString(v.head(p, findings) + "\n\n")
	if err := printTable(&b, fit(v.routerRows(now))); err != nil {
		return false, err
	}
	if rows := v.stateRows(now); len(rows) > 1 {
		b.WriteString("\n")
		if err := printTable(&b, fit(rows)); err != nil {
			return false, err
		}
	}
	if len(findings) > 0 {
		b.WriteString("\n")
	}
	for _, f := range v.disagreements() {
		b.WriteString(fittingTo(f, maxSentence) + "\n")
	}
	if rest := v.remarks(); len(rest) > 0 {
		b.WriteString(fittingTo(strings.Join(rest, ". "), maxSentence) + ".\n")
	}
	_, err = io.WriteString(out, b.String())
	return len(findings) > 0, err
}

// What other nodes say is theirs: it is made fit for a terminal, and cut.
const (
	maxCell     = 64   // characters
	maxSentence = 1000 // the same
)

func fit(rows [][]string) [][]string {
	for _, row := range rows {
		for i, cell := range row {
			row[i] = fitting(cell)
		}
	}
	return rows
}

func fitting(text string) string { return fittingTo(text, maxCell) }

func fittingTo(text string, most int) string {
	text = printable(text)
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most-3]) + "..."
	}
	return text
}

// clusterView is a cluster by router.
type clusterView struct {
	nodes   []control.ClusterNode
	answers int
	routers []clusterRouter
}

// clusterRouter is one router or group on all nodes that run it.
type clusterRouter struct {
	name, address, prefers string
	on                     []*control.Router // by node; nil: it does not answer, or does not run it
}

func newClusterView(c *control.Cluster) *clusterView {
	v := &clusterView{nodes: c.Nodes}
	var names []string
	for _, n := range c.Nodes {
		if n.Status == nil {
			continue
		}
		v.answers++
		for _, r := range n.Status.Routers {
			if !slices.Contains(names, r.Name) {
				names = append(names, r.Name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		r := clusterRouter{name: name}
		for _, n := range c.Nodes {
			var on *control.Router
			if n.Status != nil {
				if i := slices.IndexFunc(n.Status.Routers, func(o control.Router) bool { return o.Name == name }); i >= 0 {
					on = &n.Status.Routers[i]
					r.prefers = on.Prefers
					if len(on.Addresses) > 0 && r.address == "" {
						r.address, _, _ = strings.Cut(on.Addresses[0], "/")
					}
				}
			}
			r.on = append(r.on, on)
		}
		v.routers = append(v.routers, r)
	}
	return v
}

// with are the nodes that have a role of the router.
func (v *clusterView) with(r clusterRouter, role string) []string {
	var nodes []string
	for i, on := range r.on {
		if on != nil && on.Role == role {
			nodes = append(nodes, v.nodes[i].Name)
		}
	}
	return nodes
}

// head is the first line.
func (v *clusterView) head(p palette, findings []string) string {
	text := fmt.Sprintf("%d of %d nodes answer", v.answers, len(v.nodes))
	if len(v.nodes) > 2 {
		if v.answers > len(v.nodes)/2 {
			text += ", majority held"
		} else {
			text += ", no majority"
		}
	}
	if hashes := v.differ(func(s *control.Status) string { return s.Configuration }); len(hashes) == 1 {
		text += ", configuration " + fitting(firstWord(hashes[0])) + " on all"
	}
	var bad []string
	for _, n := range v.nodes {
		if n.Status == nil || len(n.Status.Problems) > 0 {
			bad = append(bad, n.Name)
		}
	}
	switch {
	case len(bad) > 0:
		return headline(text, p.bad+"DEGRADED: "+strings.Join(bad, ", ")+p.end)
	case len(findings) > 0:
		return headline(text, p.bad+"DEGRADED"+p.end)
	}
	return headline(text, p.good+"well"+p.end)
}

// differ lists each value that nodes have, with those that have it.
func (v *clusterView) differ(value func(*control.Status) string) []string {
	var values, texts []string
	for _, n := range v.nodes {
		if n.Status == nil {
			continue
		}
		if i := slices.Index(values, value(n.Status)); i >= 0 {
			texts[i] += ", " + n.Name
			continue
		}
		values, texts = append(values, value(n.Status)), append(texts, value(n.Status)+" on "+n.Name)
	}
	return texts
}

func (v *clusterView) routerRows(now time.Time) [][]string {
	head := []string{"ROUTER", "ADDRESS", "MASTER", " FOR", "PREFERS"}
	for _, n := range v.nodes {
		head = append(head, n.Name)
	}
	rows := [][]string{head}
	for _, r := range v.routers {
		master, since := "-", "-"
		if masters := v.with(r, "MASTER"); len(masters) > 0 {
			master = strings.Join(masters, ", ")
			since = age(now.Sub(v.masterOf(r).Since))
		}
		row := []string{r.name, dash(r.address), master, since, dash(r.prefers)}
		for i, on := range r.on {
			switch {
			case v.nodes[i].Status == nil:
				row = append(row, "?")
			case on == nil:
				row = append(row, "-")
			case on.Role == "MASTER" || on.Role == "BACKUP":
				row = append(row, fmt.Sprintf("%s %d", on.Role, on.Priority))
			default:
				row = append(row, on.Role)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func (v *clusterView) masterOf(r clusterRouter) *control.Router {
	for _, on := range r.on {
		if on != nil && on.Role == "MASTER" {
			return on
		}
	}
	return nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// state is a check or a service on all nodes.
type state struct {
	name, of string // of: the router of a service; empty: it is a check
	cells    []string
}

// stateRows are checks and services by node, what fails first. Checks that are alike
// everywhere share a row.
func (v *clusterView) stateRows(now time.Time) [][]string {
	states := v.checkStates(now)
	for _, r := range v.routers {
		states = append(states, v.serviceStates(r.name, func(n control.ClusterNode) []control.Service {
			for _, o := range n.Status.Routers {
				if o.Name == r.name {
					return o.Services
				}
			}
			return nil
		})...)
	}
	states = append(states, v.serviceStates("all", func(n control.ClusterNode) []control.Service { return n.Status.Services })...)
	width := 0
	for _, s := range states {
		if s.of != "" {
			width = max(width, utf8.RuneCountInString(s.name))
		}
	}
	head := []string{"CHECK OR SERVICE"}
	for _, n := range v.nodes {
		head = append(head, n.Name)
	}
	rows := [][]string{head}
	for _, s := range states {
		label := s.name
		if s.of != "" {
			label = fmt.Sprintf("%-*s  %s", width, s.name, s.of)
		}
		rows = append(rows, append([]string{label}, s.cells...))
	}
	return rows
}

func (v *clusterView) checkStates(now time.Time) (states []state) {
	for _, name := range v.checkNames() {
		cells := v.cells(func(n control.ClusterNode) string {
			for _, c := range n.Checks {
				if c.Name != name {
					continue
				}
				verdict := verdictOf(c)
				if strings.HasPrefix(verdict, "FAIL") && !c.Since.IsZero() {
					verdict += " " + age(now.Sub(c.Since))
				}
				return verdict
			}
			return "-"
		})
		if i := slices.IndexFunc(states, func(s state) bool { return slices.Equal(s.cells, cells) }); i >= 0 {
			states[i].name += ", " + name
			continue
		}
		states = append(states, state{name: name, cells: cells})
	}
	fails := func(s state) int {
		if slices.ContainsFunc(s.cells, func(c string) bool { return strings.HasPrefix(c, "FAIL") }) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(states, func(a, b state) int { return fails(a) - fails(b) })
	return states
}

func (v *clusterView) serviceStates(of string, services func(control.ClusterNode) []control.Service) (states []state) {
	var names []string
	for _, n := range v.nodes {
		if n.Status == nil {
			continue
		}
		for _, s := range services(n) {
			if !slices.Contains(names, s.Name) {
				names = append(names, s.Name)
			}
		}
	}
	for _, name := range names {
		states = append(states, state{name, of, v.cells(func(n control.ClusterNode) string {
			for _, s := range services(n) {
				if s.Name == name {
					return s.State
				}
			}
			return "-"
		})})
	}
	return states
}

// cells is what each node has, and a question mark for one that does not answer.
func (v *clusterView) cells(of func(control.ClusterNode) string) []string {
	var cells []string
	for _, n := range v.nodes {
		if n.Status == nil {
			cells = append(cells, "?")
		} else {
			cells = append(cells, of(n))
		}
	}
	return cells
}

func (v *clusterView) checkNames() []string {
	var names []string
	for _, n := range v.nodes {
		for _, c := range n.Checks {
			if !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// findings are sentences about what is not as it should be, the worst first.
func (v *clusterView) findings() []string { return append(v.disagreements(), v.remarks()...) }

// disagreements are those about nodes that do not know of each other, or differ.
func (v *clusterView) disagreements() []string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, r := range v.routers {
		if masters := v.with(r, "MASTER"); len(masters) > 1 {
			say("%s has %d masters, %s: do they hear each other? baton status %s on each of them", r.name, len(masters), strings.Join(masters, " and "), r.name)
		} else if len(masters) == 0 {
			say("%s has no master among the nodes that answer", r.name)
		}
	}
	for _, n := range v.nodes {
		if n.Status == nil {
			say("%s does not answer: %s", n.Name, n.Error)
		}
	}
	if hashes := v.differ(func(s *control.Status) string { return s.Configuration }); len(hashes) > 1 {
		say("the configurations differ: %s. Give all nodes the same file, and reload", strings.Join(hashes, "; "))
	}
	if versions := v.differ(func(s *control.Status) string { return firstWord(s.Version) }); len(versions) > 1 {
		say("the versions differ: %s", strings.Join(versions, "; "))
	}
	return all
}

// remarks are those about the loss of another node, and about where the roles are.
func (v *clusterView) remarks() []string {
	all := v.standbys()
	for _, n := range v.nodes {
		var away []string
		for _, r := range v.routers {
			if masters := v.with(r, "MASTER"); r.prefers == n.Name && len(masters) > 0 && !slices.Contains(masters, n.Name) {
				away = append(away, r.name)
			}
		}
		if len(away) > 0 {
			verb := "is"
			if len(away) > 1 {
				verb = "are"
			}
			all = append(all, fmt.Sprintf("%s %s away from %s: baton takeover there, once it is well", strings.Join(away, ", "), verb, n.Name))
		}
	}
	return all
}

// standbys tells of routers that have fewer backups than they could.
func (v *clusterView) standbys() []string {
	fewer := map[int][]string{} // by how many are left
	most := 0
	for _, r := range v.routers {
		runs := 0
		for i, on := range r.on {
			if on != nil || v.nodes[i].Status == nil {
				runs++
			}
		}
		most = max(most, runs-1)
		if left := len(v.with(r, "BACKUP")); left < runs-1 && len(v.with(r, "MASTER")) == 1 {
			fewer[left] = append(fewer[left], r.name)
		}
	}
	var all []string
	for left := range most {
		names := fewer[left]
		switch {
		case len(names) == 0:
		case left == 0:
			all = append(all, fmt.Sprintf("no standby is left of %s: the loss of its master is the loss of the address", strings.Join(names, ", ")))
		default:
			text := fmt.Sprintf("%d of %d routers have %s left, not %s", len(names), len(v.routers), counted(left, "standby"), inWords(most))
			if len(names) <= 3 {
				text += ": " + strings.Join(names, ", ")
			}
			all = append(all, text)
		}
	}
	return all
}

func counted(n int, what string) string {
	if n == 1 {
		return "one " + what
	}
	return inWords(n) + " " + what + "s"
}

// inWords writes a small number as people do.
func inWords(n int) string {
	if words := []string{"no", "one", "two", "three", "four"}; n >= 0 && n < len(words) {
		return words[n]
	}
	return fmt.Sprint(n)
}
