package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"baton/test/site"
)

// leftovers are the virtual addresses, routes and tables of rules that a host has.
func (w *world) leftovers(n *site.Node) ([]string, error) {
	var left []string
	text, err := n.Host.Run(command, "ip", "-o", "address", "show", "up")
	if err != nil {
		return nil, err
	}
	for _, word := range strings.Fields(text) {
		if p, err := netip.ParsePrefix(word); err == nil && w.isVirtual(p.Addr()) {
			left = append(left, "address "+word)
		}
	}
	if w.route != "" {
		if text, err = n.Host.Run(command, "ip", "route", "show", w.route); err != nil {
			return nil, err
		}
		if text != "" {
			left = append(left, "route "+strings.TrimSpace(text))
		}
	}
	if text, err = n.Host.Run(command, "nft", "list", "tables"); err != nil {
		return nil, err
	}
	for line := range strings.Lines(text) {
		if table := strings.TrimSpace(line); table != w.table || n.Process == nil {
			left = append(left, table)
		}
	}
	return left, nil
}

// usage is what a process has of what it must not collect.
type usage struct{ descriptors, goroutines int }

// grown compares what each daemon has with what it had when it came to rest first.
func (w *world) grown() error {
	const slack = 12 // connections and commands under way
	for _, n := range w.nodes {
		if n.Kind != site.Baton {
			continue
		}
		now, err := w.measure(n)
		if err != nil {
			return err
		}
		was, known := w.usage[n.Process.PID]
		if !known {
			w.usage[n.Process.PID] = now
			continue
		}
		if now.descriptors > was.descriptors+slack || now.goroutines > was.goroutines+slack {
			return fmt.Errorf("%s had %d descriptors and %d goroutines, and has %d and %d", n.Name, was.descriptors, was.goroutines, now.descriptors, now.goroutines)
		}
	}
	return nil
}

func (w *world) measure(n *site.Node) (usage, error) {
	open, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(n.Process.PID), "fd"))
	if err != nil {
		return usage{}, err
	}
	text, err := n.Host.Run(command, "curl", "-s", "--max-time", "5", "http://127.0.0.1:9112/metrics")
	if err != nil {
		return usage{}, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			goroutines, err := strconv.Atoi(strings.TrimSpace(value))
			return usage{descriptors: len(open), goroutines: goroutines}, err
		}
	}
	return usage{}, fmt.Errorf("no go_goroutines among the metrics of %s", n.Name)
}
