package health

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"baton/internal/command"
)

func newRunner(t testing.TB) *command.Runner {
	r := command.NewRunner(slog.New(slog.DiscardHandler))
	t.Cleanup(r.Close)
	return r
}

func TestCommandProbe(t *testing.T) {
	r := newRunner(t)
	sh := func(script string) command.Spec {
		return command.Spec{Argv: []string{"sh", "-c", script}, Timeout: 10 * time.Second}
	}
	tests := map[string]struct {
		spec    command.Spec
		problem error
		within  time.Duration
		want    Answer
	}{
		"pass":         {sh("echo Primary, 3 members"), nil, 5 * time.Second, Answer{OK: true, Text: "Primary, 3 members", Output: "Primary, 3 members\n"}},
		"silent pass":  {sh("exit 0"), nil, 5 * time.Second, Answer{OK: true, Text: "exit 0"}},
		"fail":         {sh("echo non-Primary; exit 2"), nil, 5 * time.Second, Answer{Text: "exit 2: non-Primary", Output: "non-Primary\n"}},
		"silent fail":  {sh("exit 1"), nil, 5 * time.Second, Answer{Text: "exit 1"}},
		"timeout":      {sh("echo trying; exec sleep 100"), nil, time.Second, Answer{Text: "timed out after 1s: trying", Output: "trying\n"}},
		"missing":      {command.Spec{Argv: []string{"/nowhere/check"}, Timeout: time.Second}, nil, time.Second, Answer{Text: "command /nowhere/check: file does not exist"}},
		"missing user": {command.Spec{Argv: []string{"id"}, User: &command.User{Name: "nobody-here"}, Timeout: time.Second}, nil, time.Second, Answer{Text: `user "nobody-here" does not exist on this host`}},
		"problem":      {sh("exit 0"), errors.New("read x.env: permission denied"), time.Second, Answer{Text: "read x.env: permission denied"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := probeIn(t, NewCommandProbe(r.Run, tt.spec, tt.problem), tt.within); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// A probe lasts as long as its process, or the next run would stand beside it.
func TestCommandProbe_Unkillable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan struct{})
		p := &commandProbe{run: func(context.Context, command.Spec) command.Result {
			return command.Result{TimedOut: true, Timeout: time.Second, Left: left}
		}}
		answer := make(chan Answer)
		go func() { answer <- p.Probe(t.Context()) }()
		synctest.Wait()
		select {
		case a := <-answer:
			t.Errorf("it ended before its process: %+v", a)
			return
		default:
		}
		close(left)
		if want, got := (Answer{Text: "timed out after 1s and does not end"}), <-answer; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// What an administrator mends counts at the next run.
func TestCommandProbe_Mended(t *testing.T) {
	dir := t.TempDir()
	if os.Geteuid() == 0 { // root runs nothing out of a folder that all can write
		var err error
		if dir, err = os.MkdirTemp("/run", "baton-test-"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	path := filepath.Join(dir, "check")
	p := NewCommandProbe(newRunner(t).Run, command.Spec{Argv: []string{path}, Timeout: 5 * time.Second}, nil)
	steps := []struct {
		do   func() error
		want Answer
	}{
		{func() error { return nil }, Answer{Text: "command " + path + ": file does not exist"}},
		{func() error { return os.WriteFile(path, []byte("#!/bin/sh\necho mended\n"), 0o644) }, Answer{Text: "command " + path + ": is not executable: chmod +x " + path}},
		{func() error { return os.Chmod(path, 0o755) }, Answer{OK: true, Text: "mended", Output: "mended\n"}},
	}
	for i, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		if got := probeIn(t, p, 5*time.Second); got != s.want {
			t.Fatalf("step %d: got %+v, want %+v", i, got, s.want)
		}
	}
}

// The scheduler and real processes together: a check that hangs fails at its
// deadline and recovers when it is mended.
func TestScheduler_Commands(t *testing.T) {
	r := newRunner(t)
	flag := filepath.Join(t.TempDir(), "hang")
	changes := make(chan Change, 10)
	s := NewScheduler([]Check{{
		Name: "c", Interval: 50 * time.Millisecond, Timeout: 50 * time.Millisecond, Rise: 1, Fall: 2,
		Probe: NewCommandProbe(r.Run, command.Spec{Argv: []string{"sh", "-c", "[ ! -e " + flag + " ] || exec sleep 100"}, Timeout: time.Minute}, nil),
	}}, slog.New(slog.DiscardHandler), func(c Change) { changes <- c })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	next := func(want Verdict) {
		t.Helper()
		for end := time.After(10 * time.Second); ; {
			select {
			case c := <-changes:
				if c.To == want {
					return
				}
			case <-end:
				t.Fatalf("no verdict %v within 10s", want)
			}
		}
	}
	next(Pass)
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next(Fail)
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	next(Pass)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
