// Command pictures draws the pictures of the documentation: a timeline of each kind of handover, from a real run with a
// pair of batons and a pair of keepaliveds side by side in network namespaces, and the diagram of the roles.
//
//	go run ./test/pictures         into docs/images
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"baton/internal/lab"
	"baton/test/site"
)

func main() {
	dir := flag.String("dir", "docs/images", "where the pictures go")
	match := flag.String("match", "", "draw only what has this text in its name")
	flag.Parse()
	if err := draw(*dir, *match); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

func draw(dir, match string) error {
	if strings.Contains("roles", match) {
		if err := os.WriteFile(filepath.Join(dir, "roles.svg"), roles(), 0o644); err != nil {
			return err
		}
	}
	if err := lab.Enter(); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "baton-pictures-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	binary, err := site.BuildBaton(scratch)
	if err != nil {
		return err
	}
	for _, s := range scenes {
		if !strings.Contains(s.name, match) {
			continue
		}
		runs, err := s.play(scratch, binary)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, s.name+".svg"), timeline(s, runs), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// play has both programs do a scene at the same time.
func (s scene) play(scratch, binary string) ([]run, error) {
	kinds := []site.Kind{site.Baton, site.Keepalived}
	runs, errs := make([]run, len(kinds)), make([]error, len(kinds))
	stages := make([]*stage, len(kinds))
	var wg sync.WaitGroup
	for i, kind := range kinds {
		wg.Go(func() { stages[i], errs[i] = s.set(filepath.Join(scratch, s.name+"-"+kind.String()), kind, binary) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err == nil {
		for i := range kinds {
			wg.Go(func() { runs[i], errs[i] = stages[i].record(s) })
		}
		wg.Wait()
	}
	for i, st := range stages {
		if st != nil {
			errs[i] = errors.Join(errs[i], st.site.Close())
		}
	}
	return runs, errors.Join(errs...)
}
