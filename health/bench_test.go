package health

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/command"
)

func BenchmarkEvaluate(b *testing.B) {
	var tracks []Track
	for i := range 8 {
		tracks = append(tracks, Track{strconv.Itoa(i), Effect{Kind: EffectKind(i % 3), Weight: 20 * (i%2*2 - 1)}})
	}
	b.ReportAllocs()
	for b.Loop() {
		Evaluate(200, tracks, func(string) Reading { return Reading{Verdict: Pass} }, State{}, 0)
	}
}

func BenchmarkHAProxyProbe(b *testing.B) {
	p := NewHAProxyProbe(fakeHAProxy(b, reply{info: wellInfo}), "", 0)
	b.ReportAllocs()
	for b.Loop() {
		if a := probeIn(b, p, time.Second); !a.OK {
			b.Fatal(a)
		}
	}
}

// Benchmark500Checks runs 500 checks at an interval of 1 s for 5 s and reports
// the CPU they take, in percent of one core: cpu%, children included. In
// "haproxy" the other side, which HAProxy would do, is in it too; the server of
// "http" and "tcp" is a process of its own, which is not counted; what the kernel
// does for both ends of the loopback is. In "missing" each run must look through
// all processes of this host.
//
// The least of several runs on 2 busy cores: nothing 1.1, file 2.0, process 2.5,
// missing 4.6, http 4.3, tcp 7.4. The system calls alone of a connection, a request,
// its answer and the close, without a runtime or a deadline, take 60 µs there: 3 %
// for 500 of "tcp". Of "http" half is the exchange, a sixth the runtime's monitor,
// a tenth contexts.
func Benchmark500Checks(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	kinds := []struct {
		name  string
		probe func(b *testing.B) func() Probe
	}{
		{"nothing", func(*testing.B) func() Probe {
			p := probeFunc(func(context.Context) Answer { return Answer{OK: true} })
			return func() Probe { return p }
		}},
		{"haproxy", func(b *testing.B) func() Probe {
			p := NewHAProxyProbe(fakeHAProxy(b, reply{info: wellInfo}), "", 0)
			return func() Probe { return p }
		}},
		{"process", func(*testing.B) func() Probe {
			table := NewProcessTable()
			return func() Probe { return NewProcessProbe(table, Processes{Name: filepath.Base(self), Most: -1}) }
		}},
		{"missing", func(*testing.B) func() Probe {
			table := NewProcessTable()
			return func() Probe { return NewProcessProbe(table, Processes{Name: "nobody-has-this", Most: -1}) }
		}},
		{"file", func(*testing.B) func() Probe {
			n := NewInotify()
			return func() Probe { return NewFileProbe(n, File{"/etc/passwd", FilePresent}) }
		}},
		{"number", func(b *testing.B) func() Probe {
			path := filepath.Join(b.TempDir(), "number")
			if err := os.WriteFile(path, []byte("1\n"), 0o644); err != nil {
				b.Fatal(err)
			}
			n := NewInotify()
			return func() Probe { return NewFileProbe(n, File{path, FileNumber}) }
		}},
		{"http", func(b *testing.B) func() Probe {
			url := "http://" + startServer(b) + "/ok"
			return func() Probe {
				p, err := NewHTTPProbe(HTTP{URL: url, Statuses: [][2]int{{200, 200}}, Match: "OK"})
				return probeMust(b, p, err)
			}
		}},
		{"tcp", func(b *testing.B) func() Probe {
			address := startServer(b)
			return func() Probe {
				p, err := NewDialogueProbe(Dialogue{Network: "tcp", Address: address, Steps: []Step{{"PING / HTTP/1.0\r\n\r\n", "OK"}}})
				return probeMust(b, p, err)
			}
		}},
		{"command", func(b *testing.B) func() Probe {
			p := NewCommandProbe(newRunner(b).Run, command.Spec{Argv: []string{"/bin/true"}, Timeout: time.Second}, nil)
			return func() Probe { return p }
		}},
	}
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			probe := k.probe(b)
			var checks []Check
			for i := range 500 {
				checks = append(checks, Check{Name: strconv.Itoa(i), Interval: time.Second, Rise: 2, Fall: 2, Probe: probe()})
			}
			const lasts = 5 * time.Second
			for b.Loop() {
				failed := 0
				s := NewScheduler(checks, slog.New(slog.DiscardHandler), func(c Change) {
					if c.To == Fail {
						failed++
					}
				})
				ctx, cancel := context.WithTimeout(b.Context(), lasts)
				before := cpu(b)
				if err := s.Run(ctx); err != nil {
					b.Error(err)
				}
				cancel()
				b.ReportMetric(100*(cpu(b)-before).Seconds()/lasts.Seconds(), "cpu%")
				b.ReportMetric(float64(failed), "failed")
			}
		})
	}
}

// serving marks the process that startServer starts.
const serving = "BATON_TEST_SERVING"

// startServer runs fakeAPI in a process of its own, at a port of the loopback.
func startServer(b *testing.B) (address string) {
	self, err := os.Executable()
	must(b, err)
	cmd := exec.Command(self, "-test.run=^TestServe$")
	cmd.Env = append(os.Environ(), serving+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // its end is the server's
	must(b, err)
	stdout, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	address, err = bufio.NewReader(stdout).ReadString('\n')
	must(b, err)
	return strings.TrimSpace(address)
}

// TestServe is that process.
func TestServe(t *testing.T) {
	if os.Getenv(serving) == "" {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	serveHTTP(t, l)
	fmt.Println(l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func cpu(b *testing.B) time.Duration {
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

func BenchmarkHTTPProbe(b *testing.B) {
	p, err := NewHTTPProbe(HTTP{URL: "http://" + startServer(b) + "/ok", Statuses: [][2]int{{200, 200}}, Match: "OK"})
	probeMust(b, p, err)
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		if a := probeIn(b, p, time.Second); !a.OK {
			b.Fatal(a)
		}
	}
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}
