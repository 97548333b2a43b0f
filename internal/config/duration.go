package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// parseDuration reads 500ms, 1s, 1.5s, 1h30m, 2d. problem says what is wrong with it, hint what to write.
func parseDuration(s string) (d time.Duration, problem, hint string) {
	const how = "write a number and ms, s, m, h or d, such as 500ms"
	if s == "" {
		return 0, "is empty", how
	}
	if isDigits(strings.Replace(s, ".", "", 1)) {
		if s == "0" {
			return 0, "0 has no unit", "write 0s"
		}
		return 0, s + " has no unit", "keepalived counts seconds: write " + s + "s"
	}
	last := time.Duration(math.MaxInt64)
	for rest := s; rest != ""; {
		end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if end <= 0 {
			return 0, quote(s) + " is no duration", how
		}
		number := rest[:end]
		rest = rest[end:]
		next := strings.IndexFunc(rest, func(r rune) bool { return r >= '0' && r <= '9' })
		if next < 0 {
			next = len(rest)
		}
		unit, ok := unitOf(rest[:next])
		if !ok {
			return 0, quote(s) + " is no duration", unitHint(number, rest[:next], how)
		}
		rest = rest[next:]
		if unit >= last {
			return 0, quote(s) + " is no duration", "the larger unit stands first, each once: 1h30m"
		}
		last = unit
		part, problem, hint := amount(number, unit)
		if problem != "" {
			return 0, quote(s) + " " + problem, hint
		}
		if d > math.MaxInt64-part {
			return 0, quote(s) + " is too long", ""
		}
		d += part
	}
	return d, "", ""
}

// ParseDuration reads what one writes as a duration in the configuration, such as 500ms, 1h30m or 2d. Its error says what to write.
func ParseDuration(s string) (time.Duration, error) {
	d, problem, hint := parseDuration(s)
	switch {
	case problem == "":
		return d, nil
	case hint == "":
		return 0, errors.New(problem)
	}
	return 0, fmt.Errorf("%s: %s", problem, hint)
}

// amount multiplies a decimal number with a unit, exactly.
func amount(number string, unit time.Duration) (d time.Duration, problem, hint string) {
	whole, fraction, dot := strings.Cut(number, ".")
	if !isDigits(whole) || (dot && !isDigits(fraction)) {
		return 0, "is no duration", "write a number and ms, s, m, h or d, such as 500ms"
	}
	if len(whole) > 1 && whole[0] == '0' {
		return 0, "begins with 0", "numbers are decimal, without leading zeros"
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n > int64(365*day/unit) {
		return 0, "is too long", "at most 365d"
	}
	d = time.Duration(n) * unit
	for _, r := range strings.TrimRight(fraction, "0") {
		if unit%10 != 0 {
			return 0, "is finer than a nanosecond", ""
		}
		unit /= 10
		d += time.Duration(r-'0') * unit
	}
	return d, "", ""
}

func unitOf(s string) (time.Duration, bool) {
	switch s {
	case "ms":
		return time.Millisecond, true
	case "s":
		return time.Second, true
	case "m":
		return time.Minute, true
	case "h":
		return time.Hour, true
	case "d":
		return day, true
	}
	return 0, false
}

func unitHint(number, unit, otherwise string) string {
	unit = strings.ToLower(strings.TrimSpace(unit))
	for _, u := range [][]string{
		{"ms", "msec", "msecs", "millis", "millisecond", "milliseconds"}, {"s", "sec", "secs", "second", "seconds"},
		{"m", "min", "mins", "minute", "minutes"}, {"h", "hr", "hrs", "hour", "hours"}, {"d", "day", "days"},
	} {
		if slices.Contains(u, unit) {
			return "write " + number + u[0]
		}
	}
	return otherwise
}

// FormatDuration writes a duration as one writes it in the configuration: 500ms, 1h30m, 2d.
func FormatDuration(d time.Duration) string { return formatDuration(d) }

// formatDuration writes a duration as the language does: 1s, 500ms, 1h30m.
func formatDuration(d time.Duration) string {
	if d <= 0 {
		return "0s"
	}
	var b strings.Builder
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= u.unit {
			fmt.Fprintf(&b, "%d%s", d/u.unit, u.name)
			d %= u.unit
		}
	}
	switch {
	case d == 0:
	case d < time.Second:
		b.WriteString(strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', -1, 64) + "ms")
	default:
		b.WriteString(strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s")
	}
	return b.String()
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func quote(s string) string { return strconv.Quote(short(s)) }
