package role

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// fifoLines is how many lines may wait for the one that is being written. None waits as a rule, since writing does not
	// wait for a reader; but the file system may hang.
	fifoLines = 64
	// fifoPatience is how long hooks wait for the line before them, in case that it does.
	fifoPatience = time.Second
	// fifoQuiet is the least time between two warnings about lines that were dropped.
	fifoQuiet = time.Minute
)

// fifo writes lines into a named pipe: in order, and never waiting for who reads it. A line that finds no reader, or a
// full pipe, is dropped and counted.
//
// It keeps the pipe open while somebody reads it: a reader would find the end of the file after each line otherwise, which
// keepalived's readers never see. It looks at the path before each line, so that a pipe that was made anew is found. A line is
// far shorter than PIPE_BUF, hence written whole or not at all, also where several routers or daemons share the pipe.
type fifo struct {
	path string
	log  *slog.Logger

	fd   int         // of the writer, or after it of close; -1: not open
	made unix.Stat_t // which pipe fd is

	mu      sync.Mutex
	closed  bool
	lines   []string
	idle    chan struct{} // closed when the writer ends; nil while there is none
	dropped int           // since the log was told
	told    time.Time     // when it was
}

// newFIFO makes the pipe where there is none.
func newFIFO(path string, log *slog.Logger) *fifo {
	f := &fifo{path: path, log: log.With("fifo", path), fd: -1}
	if err := f.open(); err != nil && !errors.Is(err, unix.ENXIO) { // nobody has had time to read it
		f.log.Warn("named pipe cannot be written to", "err", err)
	}
	return f
}

// write takes a line to write, or an empty one to make the pipe, and returns at once.
func (f *fifo) write(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.lines) == fifoLines {
		f.drop(errors.New("an earlier line hangs"))
		return
	}
	f.lines = append(f.lines, line)
	if f.idle == nil {
		f.idle = make(chan struct{})
		go f.work(f.idle)
	}
}

// wait returns when what was to be written has been, or dropped, and in any case soon.
func (f *fifo) wait() {
	f.mu.Lock()
	idle := f.idle
	f.mu.Unlock()
	if idle == nil {
		return
	}
	limit := time.NewTimer(fifoPatience)
	defer limit.Stop()
	select {
	case <-idle:
	case <-limit.C:
	}
}

// work writes what waits until nothing does. There is one at a time.
func (f *fifo) work(idle chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.lines) > 0 {
		line := f.lines[0]
		f.lines = f.lines[1:]
		f.mu.Unlock()
		err := f.put(line)
		f.mu.Lock()
		if err != nil && (line != "" || !errors.Is(err, unix.ENXIO)) {
			f.drop(err)
		}
	}
	if f.closed {
		f.shut()
	}
	f.idle = nil
	close(idle)
}

// close closes the pipe, once what waits is written.
func (f *fifo) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.idle == nil {
		f.shut()
	}
}

func (f *fifo) shut() {
	if f.fd >= 0 {
		unix.Close(f.fd)
		f.fd = -1
	}
}

// drop counts a line, and tells the log of it unless it was told a moment ago. f.mu is held.
func (f *fifo) drop(err error) {
	f.dropped++
	if now := time.Now(); f.told.IsZero() || now.Sub(f.told) >= fifoQuiet {
		f.log.Warn("line for the named pipe dropped", "lines", f.dropped, "err", err)
		f.dropped, f.told = 0, now
	}
}

// put writes one line.
func (f *fifo) put(line string) error {
	for {
		if err := f.open(); err != nil {
			return err
		}
		if line == "" { // it was to be made, so that somebody can read it
			return nil
		}
		_, err := unix.Write(f.fd, []byte(line))
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EPIPE): // its reader has gone: perhaps there is another by now
			f.shut()
		case errors.Is(err, unix.EAGAIN):
			return errors.New("the pipe is full: its reader does not read")
		default:
			return fmt.Errorf("write: %w", err)
		}
	}
}

// open opens the pipe for writing unless it is open, and makes it where there is nothing. What is no pipe is refused.
func (f *fifo) open() error {
	// 0600, as keepalived makes it.
	if err := unix.Mkfifo(f.path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make a named pipe: %w", err)
	}
	// Looked at before it is opened, since opening may mean something to a device; and afterwards, since it may have
	// become another.
	var st unix.Stat_t
	if err := unix.Stat(f.path, &st); err != nil {
		return fmt.Errorf("look at it: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return errNoPipe
	}
	if f.fd >= 0 && st.Dev == f.made.Dev && st.Ino == f.made.Ino {
		return nil
	}
	f.shut()
	fd, err := unix.Open(f.path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	switch {
	case errors.Is(err, unix.ENXIO):
		return fmt.Errorf("nobody reads it: %w", err)
	case err != nil:
		return fmt.Errorf("open it: %w", err)
	}
	f.fd = fd
	if err := unix.Fstat(fd, &f.made); err != nil || f.made.Mode&unix.S_IFMT != unix.S_IFIFO {
		f.shut()
		return errNoPipe
	}
	return nil
}

// errNoPipe is not answered by removing what is there: it may be somebody's data.
var errNoPipe = errors.New("it is no named pipe: remove it, or name another path")
