package service

import (
	"strings"
	"unicode"
)

// maxText is how many characters are kept of what somebody else said.
const maxText = 300

// oneLine makes what a manager said fit for a log: the first line that is not
// blank, without control characters, not too long.
func oneLine(s string) string {
	s = strings.TrimSpace(s)
	s, _, _ = strings.Cut(s, "\n")
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxText {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
