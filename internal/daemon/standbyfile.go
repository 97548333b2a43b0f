package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/control"
)

const (
	standbyName = "standby.json"
	// maxStandby bounds what is read of the file.
	maxStandby = 1 << 20
	// saveAgain is how soon a file that could not be written is tried again.
	saveAgain = 10 * time.Second
)

// standbyFile keeps in a file what is in standby, so that a restart does not end it.
// The protocol loop says what that is, and never waits for the disk.
type standbyFile struct {
	path string
	log  *slog.Logger
	wake chan struct{}

	mu      sync.Mutex
	newest  savedStandby
	asked   uint64        // how many times keep was called
	done    uint64        // up to which of them it was written, or tried
	changed chan struct{} // closed by the next try
	err     error         // of the last try
	broken  error         // why the file was not read
}

func newStandbyFile(dir string, log *slog.Logger) *standbyFile {
	return &standbyFile{path: filepath.Join(dir, standbyName), log: log, wake: make(chan struct{}, 1), changed: make(chan struct{})}
}

// read returns what was in standby when the last daemon ended. A file that cannot be
// read is none: the node takes part in the election, as a VIP with a holder that
// somebody did not want is better than one that nobody holds.
func (f *standbyFile) read() savedStandby {
	s, err := readStandby(f.path)
	if err != nil {
		f.broken = err
		f.log.Error("what was in standby is not known: this node takes part in the election", "err", err,
			"mend", "baton standby, where it has to be; or remove the file")
	}
	return s
}

func readStandby(path string) (savedStandby, error) {
	var s savedStandby
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe must not hold up the start
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read the standby file: %w", err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return s, fmt.Errorf("read the standby file %s: it is no ordinary file", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxStandby))
	if err != nil {
		return s, fmt.Errorf("read the standby file: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return savedStandby{}, fmt.Errorf("read the standby file %s: %w", path, err)
	}
	return s, nil
}

// keep has s written. It does not wait.
func (f *standbyFile) keep(s savedStandby) {
	f.mu.Lock()
	f.newest = s
	f.asked++
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run writes until ctx ends, and what is left then.
func (f *standbyFile) run(ctx context.Context) error {
	for {
		failed := f.write() != nil
		var again <-chan time.Time
		if failed {
			again = time.After(saveAgain)
		}
		select {
		case <-f.wake:
		case <-again:
		case <-ctx.Done():
			return f.write()
		}
	}
}

// write writes the newest, unless it is written already.
func (f *standbyFile) write() error {
	f.mu.Lock()
	s, asked, due := f.newest, f.asked, f.asked > f.done || f.err != nil
	f.mu.Unlock()
	if !due {
		return nil
	}
	err := writeStandby(f.path, s)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil && f.err == nil:
		f.log.Error("standby is not kept over a restart", "err", err)
	case err == nil && f.err != nil:
		f.log.Info("standby is kept over a restart", "file", f.path)
	}
	f.err, f.done = err, asked
	if err == nil {
		f.broken = nil
	}
	close(f.changed)
	f.changed = make(chan struct{})
	return err
}

// settled waits until what was told to keep is written, or could not be: the error
// says why.
func (f *standbyFile) settled(ctx context.Context) error {
	for {
		f.mu.Lock()
		over, err, changed := f.done == f.asked, f.err, f.changed
		f.mu.Unlock()
		if over {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// problem is what an operator has to know of the file; nil: nothing.
func (f *standbyFile) problem() *control.Problem {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return &control.Problem{Text: "standby is not kept over a restart: " + f.err.Error()}
	case f.broken != nil:
		return &control.Problem{Text: "what was in standby before is not known: " + f.broken.Error(), Hint: "baton standby, where it has to be; or remove " + f.path}
	}
	return nil
}

// writeStandby puts a whole new file in the place of the old one, on the disk, or
// removes it where nothing is in standby.
func writeStandby(path string, s savedStandby) error {
	dir := filepath.Dir(path)
	if s.empty() {
		if err := os.Remove(path); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return fmt.Errorf("remove the standby file: %w", err)
		}
		return syncDir(dir)
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write the standby file as JSON: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	temp := path + ".new"
	if err := writeSynced(temp, append(text, '\n')); err != nil {
		_ = os.Remove(temp) // half a file
		return fmt.Errorf("write the standby file: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write the standby file: %w", err)
	}
	return syncDir(dir)
}

func writeSynced(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// syncDir has the names in a directory survive the host's end.
func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync the state directory: %w", err)
	}
	defer file.Close()
	if err := file.Sync(); err != nil {
		return fmt.Errorf("sync the state directory: %w", err)
	}
	return nil
}
