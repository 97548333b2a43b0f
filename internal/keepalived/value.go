package keepalived

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"baton/internal/config"
)

// number is the argument of a line that is a whole number. Where it is none, or out of
// bounds, the line is accounted for as one that keepalived ignores.
func (c *conversion) number(b *Block, least, most int) (n int, ok bool) {
	w, ok := c.first(b)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(w.Text)
	if err != nil || n < least || n > most {
		c.became(Ignored, b, fmt.Sprintf("keepalived wants a whole number from %d to %d", least, most))
		return 0, false
	}
	return n, true
}

// leading is like number for the keywords with which keepalived reads what begins like
// a number as that number, with a warning.
func (c *conversion) leading(b *Block, least int) (n int, ok bool) {
	w, ok := c.first(b)
	if !ok {
		return 0, false
	}
	digits := leadingDigits(w.Text)
	n, err := strconv.Atoi("0" + digits)
	if err != nil || n < least || strings.HasPrefix(w.Text, "-") {
		c.became(Ignored, b, fmt.Sprintf("keepalived wants a whole number of at least %d", least))
		return 0, false
	}
	if digits != w.Text || digits == "" {
		c.report.add(Ignored, w.Pos, short(w.Text), fmt.Sprintf("keepalived wants a whole number, and reads %d", n))
	}
	return n, true
}

func leadingDigits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}

// seconds is the argument of a line that is a decimal number of seconds.
func (c *conversion) seconds(b *Block, least, most time.Duration) (d time.Duration, ok bool) {
	w, ok := c.first(b)
	if !ok {
		return 0, false
	}
	d, ok = parseSeconds(w.Text)
	if !ok || d < least || d > most {
		c.became(Ignored, b, fmt.Sprintf("keepalived wants a number of seconds from %s to %s, without a unit", decimal(least), decimal(most)))
		return 0, false
	}
	return d, true
}

func decimal(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// parseSeconds reads a decimal number of seconds, to the microsecond.
func parseSeconds(s string) (time.Duration, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if len(whole) > 9 || strings.Trim(whole+fraction, "0123456789") != "" || whole+fraction == "" {
		return 0, false
	}
	n, _ := strconv.Atoi("0" + whole)
	micros, _ := strconv.Atoi((fraction + "000000")[:6])
	return time.Duration(n)*time.Second + time.Duration(micros)*time.Microsecond, true
}

// duration writes one as baton has it, to the millisecond.
func duration(d time.Duration) string {
	return config.FormatDuration(d.Round(time.Millisecond))
}

// address reads one, without a zone.
func address(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a, err == nil && a.Zone() == ""
}

// prefix reads ADDRESS/LEN. Without a length, and with one that is too long, it is that
// of a host; what does not begin with a digit is 0, and what follows the digits counts
// for nothing: so keepalived has it. fits tells of a length that is one.
func prefix(s string) (p netip.Prefix, fits, ok bool) {
	text, length, has := strings.Cut(s, "/")
	a, ok := address(text)
	if !ok {
		return netip.Prefix{}, false, false
	}
	if !has {
		return netip.PrefixFrom(a, a.BitLen()), true, true
	}
	digits := leadingDigits(length)
	n, err := strconv.Atoi("0" + digits)
	if err != nil || n > a.BitLen() {
		return netip.PrefixFrom(a, a.BitLen()), false, true
	}
	return netip.PrefixFrom(a, n), length == digits && digits != "", true
}

// isInterface tells whether a text can be the name of an interface in baton.yaml.
func isInterface(s string) bool {
	_, err := netip.ParseAddr(s)
	return err != nil && unfitText(s) == "" && len(s) <= 15 && s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n\v\f\r\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb")
}

// baton's names have these characters, begin with a letter or a digit, and are no
// boolean to other readers of YAML.
const nameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

const mostName = 63

// nameFor makes a name of baton's out of one of keepalived's.
func nameFor(s string) string {
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(nameCharacters, r) {
			return r
		}
		return '-'
	}, s)
	if s == "" || strings.ContainsRune("._-", rune(s[0])) {
		s = "r" + s
	}
	switch strings.ToLower(s) {
	case "yes", "no", "on", "off", "null", "true", "false", "y", "n", "default":
		s = "router-" + s
	}
	return s[:min(len(s), mostName)]
}

// unused is the name, with a number where it is taken.
func unused(name string, taken func(string) bool) string {
	for n, try := 2, name; ; n++ {
		if !taken(try) {
			return try
		}
		end := "-" + itoa(n)
		try = name[:min(len(name), mostName-len(end))] + end
	}
}
