package daemon

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// logBacklog is how many lines may wait for a reader of the log that is slow.
const logBacklog = 4096

// logWriter is the daemon's log: an io.Writer that never waits. Whoever reads
// the log may be stopped, and the protocol must go on. Lines that find no
// room are dropped and counted, and the count is written once there is room.
type logWriter struct {
	out     io.Writer
	lines   chan []byte
	dropped atomic.Uint64
	done    chan struct{}
}

func newLogWriter(out io.Writer) *logWriter {
	w := &logWriter{out: out, lines: make(chan []byte, logBacklog), done: make(chan struct{})}
	go w.run()
	return w
}

// Write queues one line; slog hands over each record in one call.
func (w *logWriter) Write(line []byte) (int, error) {
	select {
	case w.lines <- append([]byte(nil), line...):
	default:
		w.dropped.Add(1)
	}
	return len(line), nil
}

func (w *logWriter) run() {
	defer close(w.done)
	for line := range w.lines {
		if n := w.dropped.Swap(0); n > 0 {
			_, _ = fmt.Fprintf(w.out, "baton: %d log lines dropped: the log was not read\n", n)
		}
		if line == nil {
			return
		}
		_, _ = w.out.Write(line) // there is nobody left to tell
	}
}

// close writes what waits, for at most limit. Lines that come later are lost.
func (w *logWriter) close(limit time.Duration) {
	timeout := time.After(limit)
	select {
	case w.lines <- nil:
	case <-timeout:
		return
	}
	select {
	case <-w.done:
	case <-timeout:
	}
}
