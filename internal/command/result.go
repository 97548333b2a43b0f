package command

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxOutput is how many bytes of a command's output are kept.
const MaxOutput = 4096

// maxLine and maxReason are how many characters are shown of a line of output
// and of a reason of our own.
const (
	maxLine   = 200
	maxReason = 1000
)

// Result is how a command ended.
type Result struct {
	// Err says why it was not run to its end: program or user not found, unsafe
	// path, no process could be made, cancelled.
	Err error
	// TimedOut says that it was ended because Timeout had passed.
	TimedOut bool
	// Timeout is the limit that it exceeded; zero unless TimedOut.
	Timeout time.Duration
	// Exit is the exit status, -1 when a signal ended it.
	Exit int
	// Signal names the signal that ended it, SIGSEGV for instance, or is empty.
	Signal string
	// Output is the first 4 KiB of what it wrote, stdout and stderr together.
	Output []byte
	// Took is the time from the call to the end, or to the deadline.
	Took time.Duration
	// Left is not nil when the process was killed and still lives; it is closed
	// when the process is gone. Who must not overlap runs waits for it.
	Left <-chan struct{}
}

// OK tells whether the command ran to its end and exited with status 0.
func (r Result) OK() bool {
	return r.Err == nil && !r.TimedOut && r.Signal == "" && r.Exit == 0
}

// FirstLine is the first line of the output that is not blank, fit for a log:
// control characters escaped, at most 200 characters.
func (r Result) FirstLine() string {
	for line := range bytes.Lines(r.Output) {
		if s := printable(bytes.TrimSpace(line), maxLine); s != "" {
			return s
		}
	}
	return ""
}

// String is one line: how the command ended and its first words.
func (r Result) String() string {
	var s string
	switch {
	case r.TimedOut:
		s = fmt.Sprintf("timed out after %v", r.Timeout)
		if r.Left != nil {
			s += " and does not end"
		}
	case r.Err != nil:
		return printable([]byte(r.Err.Error()), maxReason)
	case r.Signal != "":
		s = "killed by " + r.Signal
	default:
		s = "exit " + strconv.Itoa(r.Exit)
	}
	if line := r.FirstLine(); line != "" {
		s += ": " + line
	}
	return s
}

// printable escapes what a terminal or a log could misread, and cuts after limit
// characters.
func printable(b []byte, limit int) string {
	var s strings.Builder
	for n := 0; len(b) > 0; n++ {
		if n == limit {
			s.WriteString("…")
			break
		}
		r, size := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&s, `\x%02x`, b[0])
		case r == '\t':
			s.WriteByte(' ')
		case unicode.IsPrint(r):
			s.WriteRune(r)
		default:
			q := strconv.QuoteRune(r)
			s.WriteString(q[1 : len(q)-1])
		}
		b = b[size:]
	}
	return s.String()
}
