package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"unicode"
)

const (
	// maxWords is how many characters of a server's answer a text shows.
	maxWords = 80
	// maxNames is how many names a text lists.
	maxNames = 8
)

// words are the beginning of what a server said, on one line, for a log.
func words(s string) string {
	var b strings.Builder
	n, space := 0, false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			space = n > 0
			continue
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			r = '.'
		}
		if n >= maxWords {
			return b.String() + "..."
		}
		if space {
			b.WriteByte(' ')
			n++
		}
		space = false
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// excerpt is the first line of an unexpected reply, for a log.
func excerpt(reply []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(reply), []byte("\n"))
	if len(line) == 0 {
		return "nothing"
	}
	return strconv.Quote(string(line[:min(len(line), maxWords)]))
}

// some lists names, not too many.
func some(names []string) string {
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > maxNames:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNames], ", "), n-maxNames)
	}
	return strings.Join(names, ", ")
}

// plain is an error in the fewest words: without what the net package puts
// around it.
func plain(err error) error {
	switch {
	case timedOut(err):
		return errors.New("timeout")
	case errors.Is(err, context.Canceled):
		return context.Canceled
	}
	err = bare(err)
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// bare is an error without what the net package puts around it.
func bare(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no
	}
	return err
}
