package daemon

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// reader is whoever reads the log: it takes each line only when it is let.
type reader struct {
	let  chan struct{}
	text strings.Builder
}

func (r *reader) Write(p []byte) (int, error) {
	<-r.let
	return r.text.Write(p)
}

func TestLogWriter_WritesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		w := newLogWriter(&out)
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "line %d\n", i)
		}
		w.close(time.Second)
		if got, want := out.String(), "line 0\nline 1\nline 2\n"; got != want {
			t.Errorf("log %q, want %q", got, want)
		}
	})
}

// slog uses its buffer again as soon as Write has returned.
func TestLogWriter_KeepsACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{let: make(chan struct{})}
		w := newLogWriter(r)
		line := []byte("first\n")
		_, _ = w.Write(line)
		copy(line, "XXXXX")
		close(r.let)
		w.close(time.Second)
		if got := r.text.String(); got != "first\n" {
			t.Errorf("log %q", got)
		}
	})
}

func TestLogWriter_DropsAndCountsWhenNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{let: make(chan struct{})}
		w := newLogWriter(r)
		_, _ = fmt.Fprintln(w, "taken")
		synctest.Wait() // it is with the reader, so the backlog is empty
		start := time.Now()
		for i := range logBacklog + 7 {
			if n, err := fmt.Fprintf(w, "line %d\n", i); n == 0 || err != nil {
				t.Fatalf("Write: %d, %v", n, err)
			}
		}
		if waited := time.Since(start); waited > 0 {
			t.Errorf("Write waited %s for a reader", waited)
		}
		close(r.let)
		synctest.Wait()
		_, _ = fmt.Fprintln(w, "later")
		w.close(time.Second)
		lines := strings.Split(strings.TrimSpace(r.text.String()), "\n")
		if want := 1 + 1 + logBacklog + 1; len(lines) != want {
			t.Errorf("%d lines, want %d", len(lines), want)
		}
		if got, want := lines[1], "baton: 7 log lines dropped: the log was not read"; got != want {
			t.Errorf("second line %q, want %q", got, want)
		}
		if got := lines[len(lines)-1]; got != "later" {
			t.Errorf("last line %q, want the one after there was room again", got)
		}
	})
}

// The loss is told also where nothing was logged after it.
func TestLogWriter_CountsWhatWasDroppedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{let: make(chan struct{})}
		w := newLogWriter(r)
		_, _ = fmt.Fprintln(w, "taken")
		synctest.Wait()
		for range logBacklog {
			_, _ = fmt.Fprintln(w, "line")
		}
		for range logBacklog {
			r.let <- struct{}{}
		}
		synctest.Wait() // one line is still with the reader
		for range logBacklog + 1 {
			_, _ = fmt.Fprintln(w, "line")
		}
		close(r.let)
		w.close(time.Second)
		if !strings.Contains(r.text.String(), "baton: 1 log lines dropped") {
			t.Error("the log does not tell of the line that was dropped")
		}
	})
}

func TestLogWriter_CloseIsBounded(t *testing.T) {
	tests := map[string]int{"a line with the reader": 1, "no room": logBacklog + 1}
	for name, lines := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &reader{let: make(chan struct{})}
				w := newLogWriter(r)
				for i := range lines {
					_, _ = fmt.Fprintln(w, "line")
					if i == 0 {
						synctest.Wait()
					}
				}
				start := time.Now()
				w.close(3 * time.Second)
				if took := time.Since(start); took != 3*time.Second {
					t.Errorf("close took %s, want 3s", took)
				}
				_, _ = fmt.Fprintln(w, "after the end") // must not wait either
				close(r.let)
				if lines > 1 { // the end was not queued: the writer has to be ended for the bubble
					synctest.Wait()
					w.close(time.Second)
				}
			})
		})
	}
}
