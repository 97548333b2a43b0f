// Package config reads baton.yaml: the one file that all nodes share, with its includes, becomes the Config of one node.
//
// It finds every mistake in one run, each with file, line and column and as each node would see it. It reads files and nothing
// else: whether an interface, a user or a program exists is the host's matter and is asked through [Host]. It must not start
// anything, must not keep state, and must never show a secret.
package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
)

// Options say who reads a configuration. The zero value is for ordinary use.
type Options struct {
	Node      string                       // --node; empty: find out
	Getenv    func(string) string          // nil: os.Getenv
	Hostname  func() (string, error)       // nil: os.Hostname
	HostAddrs func() ([]netip.Addr, error) // nil: net.InterfaceAddrs
	// Exposed tells who else could change a file that was read, which is a mistake, and
	// the command that mends it; no problem is empty. nil: nobody asks.
	Exposed func(path string) (problem, mend string)
	// CommandsOnly is for who runs the commands and nothing else: of the secrets only the environment files must be there.
	CommandsOnly bool
}

// Config is a configuration as one node reads it.
type Config struct {
	Path    string   // the main file, as it was named
	Dir     string   // the folder that it is in
	Hash    string   // 8 hex digits over the content of all files, the same on every node
	Node    string   // who this is
	Nodes   []Node   // in the order of the file; none where it has no `nodes`
	Checks  []Check  // those that a router of this node tracks or a service waits for, and what they are made of, by name
	Routers []Router // those that this node runs, by name; of two families in one, IPv4 first
	Log     Log

	Services []Service // that run on every node, in the order of the file
	Webhooks []Webhook // by name
	Listen   *Listen   // nil: the file has no listener

	questions []question
	sources   []SourceFile
}

// Files are those that the configuration was read from, the main one first.
func (c *Config) Files() []SourceFile { return c.sources }

// Log says what is logged, and how.
type Log struct {
	Level slog.Level
	JSON  bool
}

// Load reads a configuration for this node. The report is never nil and also has what the other nodes would find; the
// configuration is nil where the report has errors.
func Load(path string, o Options) (*Config, *Report) {
	d := realDisk()
	d.exposed = o.Exposed
	return load(path, o.withDefaults(), d)
}

// LoadFiles is Load where the text of the files, those of another Load, is kept
// elsewhere; the first one is the main one. Secrets are read where they always are.
func LoadFiles(kept []SourceFile, o Options) (*Config, *Report) {
	return load(kept[0].Name, o.withDefaults(), keptDisk(kept))
}

// keptDisk has the text of the files elsewhere.
func keptDisk(kept []SourceFile) disk {
	d := realDisk()
	d.read = func(name string) ([]byte, error) {
		for _, f := range kept {
			if f.Name == name {
				return f.Text, nil
			}
		}
		return nil, fmt.Errorf("read %s: it was not kept", name)
	}
	d.glob = func(pattern string) (names []string, err error) {
		for _, f := range kept[1:] {
			if ok, err := filepath.Match(pattern, f.Name); err != nil {
				return nil, err
			} else if ok {
				names = append(names, f.Name)
			}
		}
		return names, nil
	}
	return d
}

// Validate reads a configuration as every node would read it. It asks the host for nothing but the files.
func Validate(path string) *Report {
	return validate(path, realDisk())
}

// ValidateText is Validate of a text that stands nowhere yet; name is where it will.
func ValidateText(name string, text []byte) *Report {
	return validate(name, keptDisk([]SourceFile{{Name: name, Text: text}}))
}

func load(path string, o Options, d disk) (*Config, *Report) {
	c := newCollector()
	r := newReader(path, d, c)
	name, err := whoAmI(r.nodes, o)
	if err != nil && (len(r.nodes) > 0 || r.noNodes) && r.files.readable {
		at, hint := r.files.root.place, "--node NAME, or BATON_NODE=NAME in the environment"
		if n := r.files.root.child("nodes"); n != nil {
			at = n.place
		}
		c.errorAt(at, "", hint, "%v", err)
	}
	s := secrets{credentials: o.Getenv("CREDENTIALS_DIRECTORY"), commandsOnly: o.CommandsOnly}
	var mine *Config
	if len(r.nodes) == 0 {
		s.needed = true
		mine = r.as(Node{Name: name}, s)
	}
	reached := map[string]netip.AddrPort{}
	for _, n := range r.nodes {
		s.needed = n.Name == name
		config := r.as(n, s)
		if s.needed {
			mine = config
		}
		if l := config.Listen; l != nil && l.reached(n).IsValid() {
			reached[n.Name] = l.reached(n)
		}
	}
	if mine != nil && mine.Listen != nil {
		mine.Listen.Nodes = reached
	}
	report := c.report(r.nodes)
	if report.Errors() > 0 {
		return nil, report
	}
	return mine, report
}

func validate(path string, d disk) *Report {
	c := newCollector()
	r := newReader(path, d, c)
	if len(r.nodes) == 0 {
		r.as(Node{Name: "localhost"}, secrets{}) // a name for $node
	}
	for _, n := range r.nodes {
		r.as(n, secrets{})
	}
	return c.report(r.nodes)
}

// reader has what is read once for all nodes.
type reader struct {
	*collector
	files   *files
	nodes   []Node
	noNodes bool
	shared  *shared
}

// shared is what is the same for every node that reads, and is worked out once.
type shared struct {
	owners    map[netip.Addr]string // of the nodes' own addresses
	elections map[*node]election    // of each router that stands alone, and of each group
	secrets   map[string]secretFile // by path
}

func newReader(path string, d disk, c *collector) *reader {
	r := &reader{collector: c, files: readFiles(path, d, c)}
	w := &walk{collector: c, files: r.files}
	w.readNodes(r.files.root.child("nodes"))
	r.nodes, r.noNodes = w.nodes, w.noNodes
	r.shared = &shared{owners: map[netip.Addr]string{}, elections: map[*node]election{}, secrets: map[string]secretFile{}}
	for _, n := range r.nodes {
		for _, a := range n.Addresses() {
			r.shared.owners[a] = n.Name
		}
	}
	return r
}

// as reads everything else as one node does.
func (r *reader) as(me Node, s secrets) *Config {
	r.node = me.Name
	defer func() { r.node = "" }()
	w := &walk{
		collector: r.collector, files: r.files, nodes: r.nodes, noNodes: r.noNodes, shared: r.shared, me: me, secrets: s,
		checkNode: map[string]*node{}, trackedBy: map[string]bool{}, wanted: map[string]bool{}, bound: map[string]boundService{},
		config: &Config{Path: r.files.path, Dir: r.files.dir, Hash: r.files.hash, Node: me.Name, Nodes: r.nodes, sources: r.files.texts},
	}
	root := r.files.root
	top := w.fields(root, root.place, topKeys, "top")
	defaults := w.fields(top.own["defaults"], root.place, defaultsKeys, "defaults")
	if checks := top.own["checks"]; checks != nil {
		for _, e := range checks.entries {
			w.checks = append(w.checks, e.key.text)
			w.checkNode[e.key.text] = e.value
		}
		slices.Sort(w.checks)
	}
	w.checkDefaults = defaults.own["check"]
	w.config.Log = w.log(top.own["log"])
	w.readServiceDefaults(defaults.own["service"])
	w.readRouters(top, defaults)
	w.readServices(top.own["services"])
	w.readWebhooks(top.own["webhooks"])
	w.config.Listen = w.listen(top.own["listen"])
	w.readChecks(top.own["checks"])
	return w.config
}

// entries returns those of a mapping of names, which may be absent.
func (w *walk) entries(n *node, what string) []entry {
	if n == nil || n.kind == empty {
		return nil
	}
	if n.kind != mapping {
		w.errorAt(n.place, n.path, "want "+topKeys.find(what).want, "is %s", n.kind)
	}
	return n.entries
}

func (w *walk) log(n *node) Log {
	f := w.fields(n, place{}, logKeys, "log")
	l := Log{JSON: f.oneOf("format", "text", "json") == "json"}
	switch f.oneOf("level", "debug", "info", "warn", "error") {
	case "debug":
		l.Level = slog.LevelDebug
	case "info":
		l.Level = slog.LevelInfo
	case "warn":
		l.Level = slog.LevelWarn
	case "error":
		l.Level = slog.LevelError
	}
	return l
}
