package health

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"baton/internal/regular"
)

const (
	// maxPIDFile is how much of a pid file is read; one pid is the rule.
	maxPIDFile = 4096
	// recount is after how long a process check that has all it needs looks for
	// further processes nevertheless, so that its text is true again.
	recount = 10 * time.Second
)

// Processes selects processes of this host: by exactly one of the first three.
type Processes struct {
	Name    string // as ps -C has it, or the base name of the command's first word, as pidof has it
	Path    string // of the executable
	PIDFile string
	Least   int   // how many there must be, at least 1 unless Most is 0
	Most    int   // -1: any number
	Ports   []int // of a connection check: one of them has an established connection to one of these ports
}

// NewProcessProbe counts processes. It passes when there are Least to Most;
// zombies are none, and what runs in a container of this host is one. A name
// longer than 15 bytes is compared as far as the kernel keeps it. An executable
// that was replaced or removed since counts as the one that it was.
//
// It is a Watcher: it holds a pidfd of each process found, and so the death of
// one is noticed at once. Where the table's pidfds are used up, and for a process
// that is new, it is noticed at the next interval.
func NewProcessProbe(t *ProcessTable, p Processes) Probe {
	if p.Most != 0 {
		p.Least = max(p.Least, 1)
	}
	return &processProbe{Processes: p, table: t, deaths: deaths{table: t, epoll: -1, fds: map[int]int{}}}
}

// processProbe is asked by one goroutine at a time. What the watcher needs beside
// it is in deaths.
type processProbe struct {
	Processes
	table   *ProcessTable
	deaths  deaths
	path    string    // of the executable, without symbolic links
	known   []int     // found by the last run, in order
	last    []int     // the last ones that were found at all
	counted time.Time // when they were last looked for
}

// Watch tells of the deaths of processes.
func (p *processProbe) Watch(ctx context.Context, changed func()) { p.deaths.watch(ctx, changed) }

func (p *processProbe) Probe(ctx context.Context) Answer {
	problem, hint, failed := p.find(ctx)
	if failed != nil {
		return *failed
	}
	a := p.count(problem)
	if !a.OK {
		a.Hint = hint
	}
	return a
}

// find makes known those that there are now. problem and hint are about those
// that there are not; failed is the answer where nobody can tell.
func (p *processProbe) find(ctx context.Context) (problem, hint string, failed *Answer) {
	if p.PIDFile != "" {
		pids, err := readPIDs(p.PIDFile)
		switch {
		case err == nil:
			p.known = p.living(pids)
			if len(p.known) < len(pids) {
				problem = fmt.Sprintf("%s of %s does not run", pidsText(without(pids, p.known)), p.PIDFile)
				hint = "the process ended and left the file, or it is the file of another one"
			}
		case os.IsNotExist(err) && p.Most == 0:
			p.known = nil
		default:
			p.known = nil
			return "", "", &Answer{Text: "read the pid file: " + err.Error(), Hint: "pid_file must name a file that the process writes its pid to"}
		}
	} else if refused, err := p.search(ctx); err != nil {
		return "", "", &Answer{Text: fmt.Sprintf("look for process %s: %v", p.what(), err)}
	} else if refused > 0 && p.Path != "" {
		hint = fmt.Sprintf("baton may not see which executables other users run (%d processes): it needs CAP_SYS_PTRACE", refused)
	}
	p.deaths.keep(p.known)
	return problem, hint, nil
}

// search finds the processes by their name or executable. As long as those that
// are known suffice, a look at them is enough: nothing is scanned. refused is of
// how many processes the kernel does not tell the executable.
func (p *processProbe) search(ctx context.Context) (refused int, err error) {
	if p.path, err = filepath.EvalSymlinks(p.Path); err != nil { // /sbin is often /usr/sbin
		p.path = p.Path
	}
	p.known = p.living(p.known)
	enough := p.Most < 0 && len(p.known) >= p.Least
	if enough && time.Since(p.counted) < recount {
		return 0, nil
	}
	age := time.Duration(0)
	if enough { // it is only for the text: anybody's scan will do
		age = recount
	}
	found := slices.Clone(p.known)
	for _, t := range p.traits() {
		if t == argv0 && p.Most < 0 && len(found) >= p.Least {
			break // more of them would change nothing, and a command line is dear
		}
		pids, no, err := p.table.find(ctx, t, p.key(t), age)
		if err != nil {
			return 0, err
		}
		refused += no
		found = append(found, p.living(without(pids, found))...)
	}
	slices.Sort(found)
	p.known, p.counted = found, time.Now()
	return refused, nil
}

// living are those of some processes that live and are still what is looked for.
func (p *processProbe) living(pids []int) []int {
	var live []int
	for _, pid := range pids {
		// In this order: a process that lives after it was looked at is the one of
		// its pidfd, and not another one that has its pid by now.
		p.deaths.open(pid)
		if (p.PIDFile != "" || p.is(pid)) && p.deaths.lives(pid) {
			live = append(live, pid)
		}
	}
	return live
}

// is tells whether a process is what is looked for: it may have executed another
// program since.
func (p *processProbe) is(pid int) bool {
	return slices.ContainsFunc(p.traits(), func(t trait) bool {
		text, err := p.table.read(pid, t)
		return err == nil && text == p.key(t)
	})
}

// traits are those that the processes are known by: one of them is enough.
func (p *processProbe) traits() []trait {
	if p.Path != "" {
		return []trait{executable}
	}
	return []trait{comm, argv0}
}

// key is what a trait of the processes must be.
func (p *processProbe) key(t trait) string {
	switch {
	case t == comm:
		return p.Name[:min(len(p.Name), maxComm)]
	case t == argv0:
		return p.Name
	}
	return p.path
}

// what is how a text names the processes.
func (p *processProbe) what() string {
	if p.PIDFile != "" {
		return "of " + p.PIDFile
	}
	return p.Name + p.Path // one of them is empty
}

// count draws the answer from the number of processes. problem is what else is
// known of those that are missing.
func (p *processProbe) count(problem string) Answer {
	n := len(p.known)
	what := p.what()
	if n > 0 {
		defer func() { p.last = p.known }()
	}
	found := fmt.Sprintf("%d processes (%s)", n, pidsText(p.known))
	if n == 1 {
		found = fmt.Sprintf("1 process (%s)", pidsText(p.known))
	}
	switch {
	case n < p.Least && problem != "":
		if n > 0 {
			return Answer{Text: fmt.Sprintf("%s; %s, %d needed", problem, found, p.Least)}
		}
		return Answer{Text: problem}
	case n == 0:
		text := fmt.Sprintf("no process %s runs", what)
		if p.Least > 0 && len(p.last) > 0 {
			verb := "was"
			if len(p.last) > 1 {
				verb = "were"
			}
			text += fmt.Sprintf("; the last %s %s", verb, pidsText(p.last))
		}
		return Answer{OK: p.Least == 0, Text: text}
	case n < p.Least:
		return Answer{Text: fmt.Sprintf("%s %s, %d needed", found, what, p.Least)}
	case p.Most == 0:
		return Answer{Text: fmt.Sprintf("%s %s, there must be none", found, what)}
	case p.Most > 0 && n > p.Most:
		return Answer{Text: fmt.Sprintf("%s %s, at most %d allowed", found, what, p.Most)}
	}
	return Answer{OK: true, Text: found}
}

// readPIDs reads a pid file: one pid, or some between white space.
func readPIDs(path string) ([]int, error) {
	text, err := regular.Read(path, maxPIDFile)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, word := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil || pid < 1 {
			return nil, fmt.Errorf("%s has %q where a pid should be", path, word[:min(len(word), 40)])
		}
		if !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return pids, nil
}

func without(pids, others []int) []int {
	not := make(map[int]bool, len(others))
	for _, pid := range others {
		not[pid] = true
	}
	return slices.DeleteFunc(slices.Clone(pids), func(pid int) bool { return not[pid] })
}

// pidsText is "pid 812" or "pids 812, 813".
func pidsText(pids []int) string {
	var names []string
	for _, pid := range pids {
		names = append(names, strconv.Itoa(pid))
	}
	if len(pids) == 1 {
		return "pid " + names[0]
	}
	return "pids " + some(names)
}
