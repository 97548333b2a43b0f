package test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/test/site"
)

// A script that reads the state file never finds MASTER there of a daemon that was killed.
func TestStateFile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, false)...)
	a := add(t, s, "a", site.Baton, c)
	file := filepath.Join(a.Dir, "run", "state", "web")
	must(t, a.Start())
	awaitFile(t, file, "MASTER")
	must(t, a.Crash())
	awaitFile(t, file, "")
}

// awaitFile waits until a file has a word; empty: until there is none.
func awaitFile(t *testing.T, path, want string) {
	t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		got := strings.TrimSpace(string(text))
		if got == want && (want != "") == (err == nil) {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s has %q after %s, want %q", path, got, patience, want)
		}
	}
}
