// Command bench measures what the README promises, with keepalived beside it in the same run: a pair of each, in
// network namespaces, 1 s intervals unless the line says otherwise. Times are between kernel stamps of packets and
// the kernel's own messages about addresses.
//
//	go run ./test/bench            a table
//	go run ./test/bench -json      every single value
//	go run ./test/bench -quick     a fifth of the runs
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"baton/internal/lab"
	"baton/test/site"
)

func main() {
	asJSON := flag.Bool("json", false, "print every value as JSON instead of a table")
	quick := flag.Bool("quick", false, "a fifth of the runs")
	only := flag.String("only", "", "measure one kind alone: keepalived or baton")
	match := flag.String("match", "", "measure only what has this text in its name")
	flag.Parse()
	if err := bench(os.Stdout, *asJSON, *quick, *only, *match); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// Measure is one line of the table.
type Measure struct {
	Name string
	Unit string
	// Runs is how often it is done, on Sites pairs at the same time.
	Runs, Sites int
	Config      func() site.Config
	// Prepare is done once for each pair before its daemons start, Once for each run. A run begins and ends with
	// the address on a alone.
	Prepare func(*site.Site) error
	Once    func(*site.Site) (float64, error)
}

// Result is what a measure gave for one kind of node.
type Result struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Kind   string    `json:"kind"`
	Values []float64 `json:"values"`
	Failed []string  `json:"failed,omitempty"`
}

func bench(w io.Writer, asJSON, quick bool, only, match string) error {
	if err := lab.Enter(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "baton-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	kinds := []site.Kind{site.Keepalived, site.Baton}
	kinds = slices.DeleteFunc(kinds, func(k site.Kind) bool { return only != "" && k.String() != only })
	var binary string
	if slices.Contains(kinds, site.Baton) {
		if binary, err = site.BuildBaton(dir); err != nil {
			return err
		}
	}
	var results []Result
	for _, m := range measures() {
		if !strings.Contains(m.Name, match) {
			continue
		}
		if quick {
			m.Runs = max(m.Runs/5, 1)
		}
		for _, kind := range kinds {
			r := m.run(dir, kind, binary)
			fmt.Fprintf(os.Stderr, "%-60s %-10s %s\n", r.Name, r.Kind, r.text())
			for _, f := range r.Failed {
				fmt.Fprintln(os.Stderr, "  failed:", f)
			}
			results = append(results, r)
		}
	}
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(results)
	}
	return table(w, results, kinds)
}

// run does a measure for one kind of node.
func (m Measure) run(dir string, kind site.Kind, binary string) Result {
	r := Result{Name: m.Name, Unit: m.Unit, Kind: kind.String()}
	left := make(chan struct{}, m.Runs)
	for range m.Runs {
		left <- struct{}{}
	}
	close(left)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(m.Sites, m.Runs) {
		wg.Go(func() {
			err := m.pair(dir, kind, binary, left, func(v float64) {
				mu.Lock()
				defer mu.Unlock()
				r.Values = append(r.Values, v)
			})
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				r.Failed = append(r.Failed, err.Error())
			}
		})
	}
	wg.Wait()
	slices.Sort(r.Values)
	return r
}

// pair makes one pair of nodes and does runs with it until none are left.
func (m Measure) pair(dir string, kind site.Kind, binary string, left <-chan struct{}, note func(float64)) (err error) {
	dir, err = os.MkdirTemp(dir, "site-")
	if err != nil {
		return err
	}
	s, err := site.New(dir, "a", "b")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, s.Report())
		}
		if closeErr := s.Close(); err == nil {
			err = closeErr
		}
	}()
	for _, name := range []string{"a", "b"} {
		if _, err := s.Add(name, kind, binary, m.Config()); err != nil {
			return err
		}
	}
	if m.Prepare != nil {
		if err := m.Prepare(s); err != nil {
			return err
		}
	}
	if err := s.StartAll(); err != nil {
		return err
	}
	interval := m.Config().Routers[0].Interval
	for range left {
		if err := settle(s, interval); err != nil {
			return err
		}
		// Not in step with the advertisements.
		time.Sleep(rand.N(interval))
		v, err := m.Once(s)
		if err != nil {
			return err
		}
		note(v)
	}
	return nil
}

// patience bounds every wait.
const patience = 30 * time.Second

// settle waits until a alone has advertised for a while and holds the address.
func settle(s *site.Site, interval time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(interval / 4) {
		if got := s.Advertisers(51, interval*5/2); len(got) == 1 && got[0] == "a" {
			return s.Holders.Await("a", patience, vip())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("a is not the only master after %v", patience)
		}
	}
}

// quantile returns a value of a sorted list, by the nearest rank.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// text is a result in a cell of the table.
func (r Result) text() string {
	if len(r.Values) == 0 {
		return "failed"
	}
	format := "%.1f / %.1f / %.1f %s"
	if r.Unit == "lost" {
		format = "%.0f / %.0f / %.0f %s"
	}
	s := fmt.Sprintf(format, quantile(r.Values, 0.5), quantile(r.Values, 0.99), r.Values[len(r.Values)-1], r.Unit)
	if len(r.Failed) > 0 {
		s += fmt.Sprintf(" (%d pairs failed)", len(r.Failed))
	}
	return s
}

func table(w io.Writer, results []Result, kinds []site.Kind) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "p50 / p99 / max\truns")
	for _, k := range kinds {
		fmt.Fprintf(tw, "\t%v", k)
	}
	fmt.Fprintln(tw)
	for i := 0; i < len(results); i += len(kinds) {
		fmt.Fprintf(tw, "%s\t%d", results[i].Name, len(results[i].Values))
		for _, r := range results[i : i+len(kinds)] {
			fmt.Fprintf(tw, "\t%s", r.text())
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}
