package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"baton/health"
	"baton/internal/command"
	"baton/internal/config"
)

// lookAgain is how often at most the configuration is read anew for the sake of a
// request that is not in it.
const lookAgain = time.Second

// Policy says what the configuration allows. It keeps two: the newest, and the one
// before. So a baton that has not reloaded yet, or tells a hook of a router that
// was removed, and its runner agree.
type Policy struct {
	path, node string
	probe      func(config.Check) (health.Probe, error)
	log        *slog.Logger

	reading sync.Mutex // held while files are read

	mu     sync.Mutex
	known  []*allowed // the newest first
	err    error      // why the newest could not be read; nil: it was
	looked time.Time  // when that was
}

// NewPolicy reads the configuration of a node; an empty name means that the host
// finds out. A configuration that cannot be used is read again when somebody asks.
// probe makes the checks that are asked here.
func NewPolicy(path, node string, probe func(config.Check) (health.Probe, error), log *slog.Logger) *Policy {
	p := &Policy{path: path, node: node, probe: probe, log: log}
	if err := p.Reload(); err != nil {
		log.Error("the runner does nothing until the configuration is mended", "err", err)
	}
	return p
}

// Reload reads the configuration. Where that fails what was allowed before is.
func (p *Policy) Reload() error { return p.read(0) }

// read reads the configuration unless that was done so shortly ago.
func (p *Policy) read(fresh time.Duration) error {
	p.reading.Lock()
	defer p.reading.Unlock()
	p.mu.Lock()
	looked, err := p.looked, p.err
	p.mu.Unlock()
	if time.Since(looked) < fresh {
		return err
	}
	next, err := p.load()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looked, p.err = time.Now(), err
	switch {
	case err != nil:
		return err
	case len(p.known) > 0 && p.known[0].hash == next.hash: // but its environment files may be others
		p.known[0] = next
	default:
		p.known = append([]*allowed{next}, p.known[:min(len(p.known), 1)]...)
		p.log.Info("the runner runs what stands in the configuration", "configuration", p.path, "hash", next.hash, "commands", len(next.commands))
	}
	return nil
}

// load reads the configuration. Files that others than root could change are
// mistakes in it.
func (p *Policy) load() (*allowed, error) {
	cfg, report := config.Load(p.path, config.Options{Node: p.node, CommandsOnly: true, Exposed: command.Exposed})
	if cfg == nil {
		for _, d := range report.Diagnostics {
			if d.Severity == config.Error {
				return nil, fmt.Errorf("%s (%d mistakes in all: baton validate)", where(d), report.Errors())
			}
		}
		return nil, fmt.Errorf("%s cannot be read", p.path)
	}
	return newAllowed(cfg, p.probe), nil
}

// find looks in what is allowed, and again after it was read anew where nothing was
// found. The error is f's own about the newest, or why that could not be read.
func (p *Policy) find(f func(*allowed) error) error {
	try := func() error {
		p.mu.Lock()
		known, err := slices.Clone(p.known), p.err
		p.mu.Unlock()
		var first error
		for _, a := range known {
			if e := f(a); e == nil {
				return nil
			} else if first == nil {
				first = e
			}
		}
		return errors.Join(first, err)
	}
	if try() == nil {
		return nil
	}
	_ = p.read(lookAgain) // its error is kept, and told
	return try()
}

// Command returns a command as the configuration has it, with the words and the
// variables that change from one run to the next.
func (p *Policy) Command(s command.Spec) (found command.Spec, err error) {
	err = p.find(func(a *allowed) (err error) {
		found, err = a.command(s)
		return err
	})
	return found, err
}

func (p *Policy) unit(name string) error {
	return p.find(func(a *allowed) error {
		if a.units[name] {
			return nil
		}
		return fmt.Errorf("no service of the configuration is unit %q", name)
	})
}

func (p *Policy) container(c containerName, change bool) error {
	return p.find(func(a *allowed) error {
		switch changes, known := a.containers[c]; {
		case !known:
			return fmt.Errorf("container %q at %q is not in the configuration", c.Name, c.Socket)
		case change && !changes:
			return fmt.Errorf("container %q is in the configuration as a check, not as a service", c.Name)
		}
		return nil
	})
}

func (p *Policy) reboot() error {
	return p.find(func(a *allowed) error {
		if a.reboot {
			return nil
		}
		return errors.New("no router of the configuration has on_stop_failure: reboot")
	})
}

// check returns what asks a check.
func (p *Policy) check(name string) (ask func(context.Context) (health.Answer, error), err error) {
	err = p.find(func(a *allowed) error {
		c, known := a.checks[name]
		if !known {
			return fmt.Errorf("the configuration has no check %q that the runner asks", name)
		}
		ask = c.ask
		return nil
	})
	return ask, err
}

// where is a mistake with its place.
func where(d config.Diagnostic) string {
	text := d.File
	if d.Line > 0 {
		text += fmt.Sprintf(":%d", d.Line)
	}
	if d.Path != "" {
		text += ": " + d.Path
	}
	text += ": " + d.Message
	if d.Hint != "" {
		text += "; " + d.Hint
	}
	return text
}
