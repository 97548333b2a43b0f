package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
)

// Kind is the program that a node runs.
type Kind int

// The zero Kind is none.
const (
	Keepalived Kind = iota + 1
	Baton
	FRR
)

func (k Kind) String() string {
	switch k {
	case Keepalived:
		return "keepalived"
	case Baton:
		return "baton"
	case FRR:
		return "frr"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Node is a daemon in a host of the site.
type Node struct {
	Name string
	Kind Kind
	Host *lab.Host
	Port *lab.Port

	// Process is the daemon, nil before the first Start. Dir has its file and its runtime directory.
	Process *lab.Process
	Dir     string
	// Arguments are added to the daemon's command line.
	Arguments []string
	argv      []string
	env       []string
	config    Config
	zebra     *lab.Process // FRR's other half
}

// StopTimeout bounds a daemon's orderly end: baton waits for its successor, keepalived a second for its last packets.
const StopTimeout = 15 * time.Second

// Add gives a host of the site a daemon, with its file written and not yet started. binary is baton's path, unused
// for keepalived.
func (s *Site) Add(name string, kind Kind, binary string, c Config) (*Node, error) {
	port, ok := s.Ports[name]
	if !ok {
		return nil, fmt.Errorf("add node %s: the site has no such host", name)
	}
	n := &Node{Name: name, Kind: kind, Host: port.Host, Port: port, Dir: filepath.Join(s.dir, name)}
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("add node %s: %w", name, err)
	}
	file := filepath.Join(n.Dir, files[kind])
	switch kind {
	case Baton:
		n.argv = []string{binary, "run", "-c", file, "--node", name, "--runtime-dir", filepath.Join(n.Dir, "run"), "--state-dir", filepath.Join(n.Dir, "state")}
	case Keepalived:
		n.env = []string{"TMPDIR=" + n.Dir} // where it writes its statistics
		n.argv = []string{
			"keepalived", "--dont-fork", "--log-console", "--vrrp", "-f", file,
			"-p", filepath.Join(n.Dir, "parent.pid"), "-r", filepath.Join(n.Dir, "vrrp.pid"),
		}
	case FRR:
		n.argv = frrArgv("vrrpd")
	default:
		return nil, fmt.Errorf("add node %s: %v", name, kind)
	}
	s.Nodes[name] = n
	return n, s.Configure(n, c)
}

// files are the names of the configuration files in a node's directory; FRR's are in its host's /run.
var files = map[Kind]string{Baton: "baton.yaml", Keepalived: "keepalived.conf"}

// Configure writes the node's file anew. It does not tell the daemon.
func (s *Site) Configure(n *Node, c Config) error {
	n.config = c
	var err error
	switch n.Kind {
	case FRR:
		err = n.configureFRR()
	case Keepalived:
		err = os.WriteFile(filepath.Join(n.Dir, files[n.Kind]), []byte(s.KeepalivedConf(c, n.Name)), 0o644)
	default:
		err = os.WriteFile(filepath.Join(n.Dir, files[n.Kind]), []byte(s.BatonYAML(c)), 0o644)
	}
	if err != nil {
		return fmt.Errorf("configure %s: %w", n.Name, err)
	}
	return nil
}

// Start starts the daemon.
func (n *Node) Start() error { return n.StartWith() }

// StartWith starts the daemon with more in its environment.
func (n *Node) StartWith(env ...string) (err error) {
	if n.Kind == FRR {
		if err := n.prepareFRR(); err != nil {
			return fmt.Errorf("start %s: %w", n.Name, err)
		}
	}
	n.Process, err = n.Host.Start(slices.Concat(n.argv, n.Arguments), lab.StartOptions{Env: append(env, n.env...)})
	return err
}

// Stop ends the daemon in order and waits for it.
func (n *Node) Stop() error {
	if err := n.Process.Stop(StopTimeout); err != nil || n.Kind != FRR {
		return err
	}
	return n.leftByFRR()
}

// Crash kills the daemon so that it can do nothing more. Keepalived's are two processes, of which either would say
// goodbye on the other's end.
func (n *Node) Crash() error {
	kill := n.Process.Signal
	if n.Kind == Keepalived {
		kill = n.Process.SignalGroup
	}
	if err := kill(unix.SIGKILL); err != nil {
		return err
	}
	_, err := n.Process.Wait(StopTimeout)
	return err
}

// Change is a change of role, as the daemon itself logs it.
type Change struct {
	At       time.Time // when the line was read
	Router   string
	From, To string // To: INIT BACKUP MASTER FAULT; From is baton's, Reason too
	Reason   string
	Priority int
}

var keepalivedState = regexp.MustCompile(`\(([\w-]+)\) Entering (\w+) STATE`)

// Changes returns the changes of role since the daemon was started last.
func (n *Node) Changes() []Change {
	var list []Change
	if n.Process == nil {
		return nil
	}
	for _, line := range n.Process.Lines() {
		if c, ok := n.change(line); ok {
			list = append(list, c)
		}
	}
	return list
}

func (n *Node) change(line lab.Line) (Change, bool) {
	if n.Kind == Keepalived {
		m := keepalivedState.FindStringSubmatch(line.Text)
		if m == nil {
			return Change{}, false
		}
		return Change{At: line.At, Router: m[1], To: m[2]}, true
	}
	if n.Kind == FRR {
		return n.changeFRR(line)
	}
	var l struct {
		Msg, Router, From, To, Reason string
		Priority                      int
	}
	if err := json.Unmarshal([]byte(line.Text), &l); err != nil || l.Msg != "role" {
		return Change{}, false
	}
	return Change{At: line.At, Router: l.Router, From: l.From, To: l.To, Reason: l.Reason, Priority: l.Priority}, true
}

// Role returns the role that the daemon says it has in a router; empty before it has said anything.
func (n *Node) Role(router string) string {
	role := ""
	for _, c := range n.Changes() {
		if c.Router == router {
			role = c.To
		}
	}
	return role
}

// AwaitRole waits until the daemon says that it has the role, and returns the change. Changes before `from` do not count.
func (n *Node) AwaitRole(router, role string, from time.Time, timeout time.Duration) (Change, error) {
	lines := n.Process.Lines()
	first := 0
	for first < len(lines) && lines[first].At.Before(from) {
		first++
	}
	line, _, err := n.Process.WaitLine(first, timeout, func(text string) bool {
		c, ok := n.change(lab.Line{Text: text})
		return ok && c.Router == router && c.To == role
	})
	if err != nil {
		return Change{}, fmt.Errorf("%s as %s of %s: %w", n.Name, role, router, err)
	}
	c, _ := n.change(line)
	return c, nil
}

// Report is what a person wants to see of a site when something went wrong: each daemon's last lines.
func (s *Site) Report() string {
	var b strings.Builder
	for _, name := range s.hosts {
		n := s.Nodes[name]
		if n == nil || n.Process == nil {
			continue
		}
		lines := n.Process.Lines()
		fmt.Fprintf(&b, "--- %s (%v, pid %d), last lines of %d:\n", name, n.Kind, n.Process.PID, len(lines))
		for _, l := range lines[max(0, len(lines)-40):] {
			fmt.Fprintf(&b, "%s  %s\n", l.At.Format("05.000"), l.Text)
		}
	}
	return b.String()
}

// StartAll starts every node that was added, in the order of the site's hosts.
func (s *Site) StartAll() error {
	var errs []error
	for _, name := range s.hosts {
		if n := s.Nodes[name]; n != nil {
			errs = append(errs, n.Start())
		}
	}
	return errors.Join(errs...)
}

// Binary is the path of the daemon.
func (n *Node) Binary() string { return n.argv[0] }
