// Command chaos takes real daemons, in network namespaces, through random faults, and looks after each of them whether
// the address is where it should be and nothing is left where it should not be.
//
//	go run ./test/chaos                      500 faults
//	go run ./test/chaos -faults 5000
//	go run ./test/chaos -seed 7 -world pair  the same faults as an earlier run's
//
// It prints one line for each fault. When something is wrong it prints what the daemons said, and the command that does the
// same faults again.
package main

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"baton/internal/lab"
	"baton/test/site"
)

func main() {
	faults := flag.Int("faults", 500, "how many, over all worlds together")
	seed := flag.Uint64("seed", 0, "of the choice of faults; 0: by the time")
	only := flag.String("world", "", "one world alone")
	flag.Parse()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	if err := chaos(os.Stdout, *faults, *seed, *only); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// printer writes whole lines of several worlds.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *printer) line(format string, arguments ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", arguments...)
}

func chaos(w io.Writer, faults int, seed uint64, only string) error {
	if err := lab.Enter(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "baton-chaos-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := site.BuildBaton(dir)
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(worlds(), func(o outline) bool { return only != "" && o.name != only })
	if len(all) == 0 {
		return fmt.Errorf("there is no world %s", only)
	}
	each := (faults + len(all) - 1) / len(all)
	out := &printer{w: w}
	errs := make([]error, len(all))
	settled := make([][]time.Duration, len(all))
	var wg sync.WaitGroup
	for i, o := range all {
		wg.Go(func() {
			settled[i], errs[i] = o.run(dir, binary, each, seed, out)
			if errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w\nthe same faults again: go run ./test/chaos -seed %d -world %s -faults %d", o.name, errs[i], seed, o.name, each)
			}
		})
	}
	wg.Wait()
	times := slices.Sorted(slices.Values(slices.Concat(settled...)))
	if len(times) > 0 {
		out.line("%d faults, seed %d; from the end of a fault until the best node alone has every address: %v p50, %v p99, %v at most",
			len(times), seed, round(times[len(times)/2]), round(times[len(times)*99/100]), round(times[len(times)-1]))
	}
	return errors.Join(errs...)
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// nameSum makes the worlds' choices differ.
func nameSum(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64()
}

// run makes a world and takes it through faults. It returns how long each took to be over.
func (o outline) run(dir, binary string, faults int, seed uint64, out *printer) (settled []time.Duration, err error) {
	w, err := o.build(dir, binary)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, w.site.Report())
		}
		if closeErr := w.site.Close(); err == nil {
			err = closeErr
		}
	}()
	if _, err := w.settle(); err != nil {
		return nil, fmt.Errorf("at the start: %w", err)
	}
	choice := rand.New(rand.NewPCG(seed, nameSum(o.name)))
	for i := range faults {
		f, n := w.choose(choice)
		detail, err := f.do(w, n, choice)
		if err != nil {
			return settled, fmt.Errorf("fault %d, %s of %s: %w", i+1, f.name, n.Name, err)
		}
		took, err := w.settle()
		if err != nil {
			return settled, fmt.Errorf("after fault %d, %s of %s %s: %w", i+1, f.name, n.Name, detail, err)
		}
		settled = append(settled, took)
		out.line("%-8s %4d  %-18s %s  %-24s over after %v", o.name, i+1, f.name, n.Name, detail, round(took))
	}
	return settled, w.end()
}
