package vip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// releaseIn bounds Release. Some 4,000 addresses go within a second.
	releaseIn = 10 * time.Second
	// releaseLook is how often it looks what is left.
	releaseLook = 10 * time.Millisecond
)

// Release removes from the calling thread's network namespace what a program that
// died has left there: the addresses, routes, rules and virtual MACs of the
// routers, which a record of it names, and whatever else bears the mark of this
// program. It returns what it has removed, as texts, and an error that names what
// is still there after ten seconds. It must not be called while that program runs.
func Release(ctx context.Context, routers []Router, log *slog.Logger) (removed []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, releaseIn)
	defer cancel()
	w, err := New(Options{Log: log})
	if err != nil {
		return nil, fmt.Errorf("remove what is left: %w", err)
	}
	fd, err := openNetlink(requestBuffer)
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("remove what is left: %w", err)
	}
	defer unix.Close(fd)
	look := requests{fd: fd}
	before, marked, err := look.left(routers)
	if err != nil || len(before) == 0 {
		w.Close()
		return nil, err
	}
	w.table.routing.everywhere = true
	for _, r := range append(slices.Clone(routers), marked...) {
		w.Add(r)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(running) }()
	// A macvlan of a router goes when the worker ends, all else before.
	still := before
	for ctx.Err() == nil && len(ended) == 0 {
		if still, _, err = look.left(routers); err != nil || !slices.ContainsFunc(still, func(s string) bool { return !strings.HasPrefix(s, linkText) }) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(releaseLook):
		}
	}
	stop()
	ran := <-ended
	if still, _, err = look.left(routers); err != nil {
		return nil, errors.Join(ran, err)
	}
	removed = slices.DeleteFunc(before, func(s string) bool { return slices.Contains(still, s) })
	if len(still) > 0 {
		return removed, errors.Join(ran, fmt.Errorf("not removed: %s", strings.Join(still, ", ")))
	}
	return removed, ran
}

// linkText begins the text of a virtual MAC's interface.
const linkText = "interface "

// left names what this program has left: what has its mark, and what the routers
// name. The addresses with a mark that none of them names are those of marked.
func (s *requests) left(routers []Router) (texts []string, marked []Router, err error) {
	var d dump
	if _, err := s.dump(unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC), d.link); err != nil {
		return nil, nil, fmt.Errorf("read interfaces: %w", err)
	}
	if _, err := s.dump(unix.RTM_GETADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC), d.address); err != nil {
		return nil, nil, fmt.Errorf("read addresses: %w", err)
	}
	at := make(map[string]*Router) // of marked, by interface
	for _, l := range d.links {
		_, ours := described(l.alias)
		ours = ours && l.kind == macvlanKind
		if ours {
			texts = append(texts, linkText+l.name)
		}
		for _, e := range d.addresses {
			if e.index != l.index {
				continue
			}
			named := slices.ContainsFunc(routers, func(r Router) bool { return r.names(l.name, e.entry) })
			if e.proto != Protocol && !named {
				continue
			}
			texts = append(texts, fmt.Sprintf("address %s on %s", e.prefix, l.name))
			if !named && !ours {
				if at[l.name] == nil {
					at[l.name] = &Router{Name: "unknown on " + l.name, Interface: l.name}
				}
				at[l.name].Addresses = append(at[l.name].Addresses, Address{Prefix: e.prefix})
			}
		}
	}
	for _, r := range at {
		marked = append(marked, *r)
	}
	objects, err := s.leftObjects()
	return append(texts, objects...), marked, err
}

// names tells whether the router has an address there, which is not the host's own.
func (r Router) names(iface string, e entry) bool {
	on := r.Interface
	if r.VirtualMAC != nil {
		on = r.VirtualMAC.Name
	}
	return (!r.Native || e.proto == Protocol) && slices.ContainsFunc(r.Addresses, func(a Address) bool {
		return a.Prefix.Addr() == e.prefix.Addr() && cmp.Or(a.Interface, on) == iface
	})
}

// leftObjects names the routes and rules with the mark of this program.
func (s *requests) leftObjects() (texts []string, err error) {
	for _, six := range []bool{false, true} {
		note := func(what string) func(object) {
			return func(o object) {
				if o.proto == Protocol {
					texts = append(texts, what+request{object: &o}.describe())
				}
			}
		}
		if err := s.routes(six, Protocol, note("route ")); err != nil && !errors.Is(err, syscall.EOPNOTSUPP) {
			return nil, fmt.Errorf("read routes: %w", err)
		}
		if err := s.rules(six, note("rule ")); err != nil && !errors.Is(err, syscall.EOPNOTSUPP) {
			return nil, fmt.Errorf("read rules: %w", err)
		}
	}
	return texts, nil
}

// Left names what Release would remove from the calling thread's network namespace.
// It changes nothing, and needs no privilege.
func Left(routers []Router) ([]string, error) {
	fd, err := openNetlink(requestBuffer)
	if err != nil {
		return nil, fmt.Errorf("look for what is left: %w", err)
	}
	defer unix.Close(fd)
	look := requests{fd: fd}
	texts, _, err := look.left(routers)
	return texts, err
}
