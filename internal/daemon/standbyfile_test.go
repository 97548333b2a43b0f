package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"baton/internal/control"
)

func someStandby() savedStandby {
	since := time.Unix(1e9, 0).UTC()
	return savedStandby{
		Node:    &control.Standby{Since: since, Until: since.Add(time.Hour), Reason: "kernel update", By: "root"},
		Except:  []string{"db"},
		Routers: map[string]control.Standby{"web": {Since: since, By: "root"}},
	}
}

func TestStandbyFile_WriteAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "state", standbyName)
	for range 2 {
		if err := writeStandby(path, someStandby()); err != nil {
			t.Fatal(err)
		}
		got, err := readStandby(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(someStandby(), got); diff != "" {
			t.Error(diff)
		}
	}
	for range 2 { // without standby there is no file
		if err := writeStandby(path, savedStandby{Except: []string{"web"}}); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
			t.Errorf("left %v, %v", left, err)
		}
	}
	if got, err := readStandby(path); err != nil || !got.empty() {
		t.Errorf("%+v, %v", got, err)
	}
}

// What cannot be read is named, and this node takes part in the election.
func TestStandbyFile_Broken(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(path string) error
		want string
	}{
		"torn":      {func(p string) error { return os.WriteFile(p, []byte(`{"node": {"since": "20`), 0o644) }, "unexpected end of JSON input"},
		"empty":     {func(p string) error { return os.WriteFile(p, nil, 0o644) }, "unexpected end of JSON input"},
		"no time":   {func(p string) error { return os.WriteFile(p, []byte(`{"node": {"since": "noon"}}`), 0o644) }, "parsing time"},
		"large":     {func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte(" "), maxStandby+1), 0o644) }, "unexpected end of JSON input"},
		"directory": {func(p string) error { return os.Mkdir(p, 0o755) }, "it is no ordinary file"},
		"pipe":      {func(p string) error { return unix.Mkfifo(p, 0o644) }, "it is no ordinary file"},
		"loop":      {func(p string) error { return os.Symlink(p, p) }, "too many levels of symbolic links"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, standbyName)
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			f := newStandbyFile(dir, slog.New(slog.NewTextHandler(&log, nil)))
			if got := f.read(); !got.empty() {
				t.Errorf("read %+v", got)
			}
			if !strings.Contains(log.String(), path) || !strings.Contains(log.String(), tt.want) || !strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("log: %s", log.String())
			}
			if p := f.problem(); p == nil || !strings.Contains(p.Text, tt.want) {
				t.Errorf("problem %+v", p)
			}
		})
	}
}

// A file that cannot be written does not hold up who asked, is told, and is written
// once it can be.
func TestStandbyFile_FullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(dir, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		f := newStandbyFile(dir, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.run(ctx) }()
		if err := f.settled(ctx); err != nil {
			t.Errorf("before anything was to be kept: %v", err)
		}
		f.keep(someStandby())
		if err := f.settled(ctx); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("settled: %v", err)
		}
		time.Sleep(10 * saveAgain)
		if n := strings.Count(log.String(), "standby is not kept over a restart"); n != 1 {
			t.Errorf("told %d times: %s", n, log.String())
		}
		if p := f.problem(); p == nil || !strings.Contains(p.Text, "not a directory") {
			t.Errorf("problem %+v", p)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * saveAgain)
		if got, err := readStandby(f.path); err != nil || got.empty() {
			t.Errorf("%+v, %v", got, err)
		}
		if err := f.settled(ctx); err != nil || f.problem() != nil {
			t.Errorf("settled: %v, problem %+v", err, f.problem())
		}
		// What is told last is written also when the daemon ends at once.
		f.keep(savedStandby{})
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(f.path); !os.IsNotExist(err) {
			t.Errorf("the file is there still: %v", err)
		}
	})
}

// Who waits goes when he has no more time.
func TestStandbyFile_SettledEnds(t *testing.T) {
	f := newStandbyFile(t.TempDir(), slog.New(slog.DiscardHandler))
	f.keep(someStandby()) // and nobody writes
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.settled(ctx); err != context.Canceled {
		t.Error(err)
	}
}
