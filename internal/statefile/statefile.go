// Package statefile keeps a file for each router that has its role in one word,
// for scripts that read files: RUNTIMEDIR/state/NAME.
//
// A file must never say MASTER of a daemon that is dead. So the files of each
// daemon are in a folder of its own, RUNTIMEDIR/state.XXXX, to which the symbolic
// link `state` leads, and a small process beside the daemon, the watcher, takes
// the folder away when the daemon has ended in whatever way. Neither it nor the
// daemon ever touches a folder that a later daemon has made, or the link to it.
//
// The package must not know how roles come about, and nothing waits for it: a
// full disk or a file system that hangs delays the files and nothing else.
package statefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"baton/internal/control"
)

const (
	link   = "state"  // in the runtime directory; leads to the folder of the daemon that runs
	prefix = "state." // of each daemon's folder

	// firstRetry and longestRetry are how long after a failure it is tried again, at
	// first and at most.
	firstRetry   = time.Second
	longestRetry = 30 * time.Second
)

// Source is where the roles come from; a control.Daemon is one.
type Source interface {
	Status() *control.Status
	Changed() <-chan struct{}
}

// Writer writes the files of one daemon.
type Writer struct {
	dir   string // the runtime directory
	log   *slog.Logger
	start func(folder string) (*child, error) // the watcher; nil: there is none

	folder  string            // of this daemon; empty: not made yet
	lost    bool              // somebody has removed the folder
	linked  bool              // the link leads to it
	written map[string]string // role by name, as the files have it
}

// New returns a Writer for a runtime directory, which only the holder of its
// lock may run. watcher is the command line that calls Watch in a process of its
// own; the folder is added to it. Without one the files of a daemon that is
// killed stay until the next one starts.
func New(runtimeDir string, watcher []string, log *slog.Logger) *Writer {
	if abs, err := filepath.Abs(runtimeDir); err == nil { // the watcher runs elsewhere
		runtimeDir = abs
	}
	w := &Writer{dir: runtimeDir, log: log, written: map[string]string{}}
	if len(watcher) > 0 {
		w.start = func(folder string) (*child, error) { return startWatcher(watcher, folder) }
	}
	return w
}

// Run removes what earlier daemons have left, writes the files at each change of
// a role until ctx ends, and removes them then. It returns an error only where
// that fails. Where the file system hangs it returns late; the watcher still
// removes the files when the process has ended.
func (w *Writer) Run(ctx context.Context, source Source) error {
	watching, unwatch := context.WithCancel(context.Background()) // for as long as there are files
	watched := make(chan struct{})
	close(watched)
	defer func() { unwatch(); <-watched }()
	pause, failing := firstRetry, false
	for {
		changed := source.Changed()
		began := w.folder != ""
		err := w.prepare()
		if w.folder != "" && !began && w.start != nil {
			watched = make(chan struct{})
			go func() { defer close(watched); w.watch(watching) }()
		}
		if err == nil {
			err = w.write(source.Status())
		}
		var again <-chan time.Time
		switch {
		case err != nil:
			if !failing {
				w.log.Warn("state files cannot be written", "folder", filepath.Join(w.dir, link), "err", err)
			}
			again = time.After(pause)
			pause, failing = min(2*pause, longestRetry), true
		case failing:
			w.log.Info("state files can be written again", "folder", filepath.Join(w.dir, link))
			pause, failing = firstRetry, false
		}
		select {
		case <-ctx.Done():
			return w.close()
		case <-changed:
		case <-again:
		}
	}
}

// prepare makes the folder of this daemon, at first or anew.
func (w *Writer) prepare() error {
	if w.folder == "" {
		if err := removeLeft(w.dir); err != nil {
			return err
		}
		folder, err := os.MkdirTemp(w.dir, prefix+"*")
		if err != nil {
			return fmt.Errorf("make a folder for state files: %w", err)
		}
		w.folder = folder
	} else if w.lost {
		if err := os.Mkdir(w.folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make the folder for state files anew: %w", err)
		}
		clear(w.written)
		w.linked = false
	} else {
		return nil
	}
	if err := os.Chmod(w.folder, 0o755); err != nil { // whatever the umask is
		w.lost = true
		return fmt.Errorf("open the folder of state files to all: %w", err)
	}
	w.lost = false
	return nil
}

// write brings the files to what the snapshot says, and returns the first thing
// that failed. A file that cannot be written is removed: no word is better than
// a wrong one.
func (w *Writer) write(s *control.Status) error {
	var first error
	failed := func(err error) {
		if first == nil {
			first = err
		}
		w.lost = w.lost || errors.Is(err, fs.ErrNotExist)
	}
	roles := rolesOf(s)
	for name := range w.written {
		if _, there := roles[name]; there {
			continue
		}
		if err := os.Remove(filepath.Join(w.folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed(fmt.Errorf("remove a state file: %w", err))
			continue
		}
		delete(w.written, name)
	}
	for name, role := range roles {
		if w.written[name] == role {
			continue
		}
		if err := writeFile(w.folder, name, role); err != nil {
			_ = os.Remove(filepath.Join(w.folder, name))
			delete(w.written, name)
			failed(err)
			continue
		}
		w.written[name] = role
	}
	if first == nil && !w.linked {
		if first = w.link(); first == nil {
			w.linked = true
		}
	}
	return first
}

// rolesOf is what the files say, by name: a member of a group has the group's
// role.
func rolesOf(s *control.Status) map[string]string {
	roles := make(map[string]string, len(s.Routers))
	for _, r := range s.Routers {
		roles[r.Name] = r.Role
		for _, member := range r.Members {
			roles[member] = r.Role
		}
	}
	return roles
}

// writeFile puts a whole new file in the place of the old one. No name of a
// router begins with a dot.
func writeFile(folder, name, role string) error {
	temp := filepath.Join(folder, ".new")
	err := os.WriteFile(temp, []byte(role+"\n"), 0o644)
	if err == nil {
		err = os.Chmod(temp, 0o644) // whatever the umask is
	}
	if err == nil {
		err = os.Rename(temp, filepath.Join(folder, name))
	}
	if err != nil {
		return fmt.Errorf("write the state file of %s: %w", name, err)
	}
	return nil
}

// link makes the link lead to the folder, in one step.
func (w *Writer) link() error {
	temp := filepath.Join(w.folder, ".link")
	_ = os.Remove(temp) // of an attempt that failed
	if err := os.Symlink(filepath.Base(w.folder), temp); err != nil {
		return fmt.Errorf("make a link to the state files: %w", err)
	}
	if err := os.Rename(temp, filepath.Join(w.dir, link)); err != nil {
		return fmt.Errorf("make a link to the state files: %w", err)
	}
	return nil
}

// close removes the files, and the link to them: the lock is still held, so no
// other daemon can have made one.
func (w *Writer) close() error {
	if w.folder == "" {
		return nil
	}
	err := remove(w.folder)
	path := filepath.Join(w.dir, link)
	if to, e := os.Readlink(path); e == nil && to == filepath.Base(w.folder) {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return fmt.Errorf("remove the state files: %w", err)
	}
	return nil
}

// removeLeft removes the folders that dead daemons have left in a runtime
// directory.
func removeLeft(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for old state files: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), prefix) {
			if err := remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove old state files: %w", err)
			}
		}
	}
	return nil
}

// remove removes a daemon's folder. It is renamed first, with which all of its
// files are gone from their place at once. It is no mistake that somebody else
// removes it meanwhile.
func remove(folder string) error {
	gone := folder + ".gone"
	switch err := os.Rename(folder, gone); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil:
		folder = gone
	}
	entries, err := os.ReadDir(folder)
	for _, e := range entries { // files only: this must not be able to do more
		err = errors.Join(err, ignoreGone(os.Remove(filepath.Join(folder, e.Name()))))
	}
	return errors.Join(ignoreGone(err), ignoreGone(os.Remove(folder)))
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
