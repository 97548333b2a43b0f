package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"baton/internal/control"
)

// printTable writes rows with two spaces between the columns, the head first.
// A column whose head begins with a space stands to the right.
func printTable(out io.Writer, rows [][]string) error {
	return paintTable(out, rows, func(_ int, cell string) string { return cell })
}

// paintTable is printTable with the cells below the head as paint gives them, which
// takes no more room on the screen.
func paintTable(out io.Writer, rows [][]string, paint func(column int, cell string) string) error {
	if len(rows) == 0 {
		return nil
	}
	widths := make([]int, len(rows[0]))
	right := make([]bool, len(rows[0]))
	for i, head := range rows[0] {
		right[i] = strings.HasPrefix(head, " ")
		rows[0][i] = strings.TrimSpace(head)
	}
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if n > 0 {
				cell = paint(i, cell)
			}
			if right[i] {
				line.WriteString(space + cell + "  ")
			} else {
				line.WriteString(cell + space + "  ")
			}
		}
		if _, err := fmt.Fprintln(out, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

func printJSON(out io.Writer, value any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

// age writes how long ago something began: 14s, 5m, 12d.
func age(d time.Duration) string { return control.Age(d) }

// took writes how long something lasted: 0.6ms, 18ms, 1.2s.
func took(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

// printable makes words of checks and peers fit for a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}
