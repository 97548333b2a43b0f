package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"baton/internal/control"
)

const (
	// redrawEvery is how often ages are drawn anew though nothing happens, and
	// redrawLeast how long a drawing stays at least.
	redrawEvery = time.Second
	redrawLeast = 100 * time.Millisecond
	// watchedEvents is how many of the last events stand below the table.
	watchedEvents = 12
)

func newWatchCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show the status live, with the last events",
		Long: `Show the status, and below it the last events, and draw them anew as they change,
until it is interrupted. A daemon that is started anew is waited for. Where the
output is no terminal it is the status once, and then a line for each event.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			out, client := cmd.OutOrStdout(), control.Dial(dir)
			if t, ok := terminalOf(out); ok {
				w := &watch{follower: newFollower(client), out: out, palette: coloured(out)}
				return w.run(ctx, t)
			}
			return watchLines(ctx, out, client)
		},
	}
	runtimeDirFlag(cmd, &dir)
	return cmd
}

// watchLines writes the status once, and a line for each event after it.
func watchLines(ctx context.Context, out io.Writer, client *control.Client) error {
	f := newFollower(client)
	list, err := f.now(ctx) // so that none is missed between the status and the first
	if err != nil {
		return err
	}
	s, err := client.Status(ctx)
	if err != nil {
		return err
	}
	if err := printStatus(out, time.Now(), s, palette{}); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	lines := newEventLines(list)
	return f.follow(ctx, func(list []control.Event) error {
		for _, e := range list {
			if _, err := fmt.Fprintln(out, lines.line(time.Now(), e)); err != nil {
				return err
			}
		}
		return nil
	})
}

// watch draws a screen for as long as somebody looks.
type watch struct {
	*follower
	out     io.Writer
	palette palette
	last    []control.Event
	status  *control.Status // newest; nil: none yet
}

// What a terminal is told: to take another screen without a cursor, and to give the
// first one back.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

func (w *watch) run(ctx context.Context, t terminal) (err error) {
	if err := w.load(ctx); err != nil { // before the screen is taken: it would hide what is wrong
		return err
	}
	if _, err := io.WriteString(w.out, enterScreen); err != nil {
		return err
	}
	defer func() {
		if _, e := io.WriteString(w.out, leaveScreen); err == nil {
			err = e
		}
	}()
	var gone error
	for {
		width, height := t.size()
		if err := w.draw(time.Now(), gone, width, height); err != nil {
			return err
		}
		w.await(ctx, gone)
		gone = w.load(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if gone != nil && !mayComeBack(gone) {
			return gone
		}
	}
}

// await waits until something has happened, or ages are to be drawn anew.
func (w *watch) await(ctx context.Context, gone error) {
	least := time.After(redrawLeast)
	again, cancel := context.WithTimeout(ctx, redrawEvery)
	defer cancel()
	if gone == nil {
		list, err := w.next(again)
		w.keep(list)
		gone = err
	}
	wait := least
	if gone != nil && again.Err() == nil { // it is looked for again in a while
		wait = time.After(lookAgain)
	}
	select {
	case <-wait:
	case <-ctx.Done():
	}
}

// load takes the newest status and the events that have not been read yet.
func (w *watch) load(ctx context.Context) error {
	list, err := w.now(ctx)
	if err != nil {
		return err
	}
	w.keep(list)
	s, err := w.client.Status(ctx)
	if err == nil {
		w.status = s
	}
	return err
}

func (w *watch) keep(list []control.Event) {
	w.last = append(w.last, list...)
	w.last = append([]control.Event(nil), w.last[max(0, len(w.last)-watchedEvents):]...)
}

// draw draws what there is room for. gone says why the daemon does not answer.
func (w *watch) draw(now time.Time, gone error, width, height int) error {
	text, err := w.text(now, gone, width, height)
	if err != nil {
		return err
	}
	// Home, each line cleared to its end, and what is left below: no flicker.
	_, err = io.WriteString(w.out, "\x1b[H"+strings.ReplaceAll(text, "\n", "\x1b[K\r\n")+"\x1b[J")
	return err
}

func (w *watch) text(now time.Time, gone error, width, height int) (string, error) {
	var head, table, problems strings.Builder
	switch {
	case gone != nil:
		fmt.Fprintf(&head, "%swaiting for baton%s; the last that is known:\n%s\n", w.palette.bad, w.palette.end, printable(gone.Error()))
	case w.status != nil:
		if err := printHead(&head, now, w.status, w.palette); err != nil {
			return "", err
		}
	}
	if err := printRouters(&table, now, w.status, w.palette); err != nil {
		return "", err
	}
	for _, problem := range w.status.Problems {
		if err := printProblem(&problems, problem); err != nil {
			return "", err
		}
	}
	var events []string
	lines := newEventLines(w.last)
	for _, e := range w.last {
		events = append(events, lines.line(now, e))
	}
	s := screen{linesOf(head.String()), linesOf(table.String()), linesOf(problems.String()), events}
	var b strings.Builder
	for _, line := range s.fit(height - 1) {
		b.WriteString(cut(line, width) + "\n")
	}
	return b.String(), nil
}

func linesOf(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// screen is what there is to show, part by part.
type screen struct{ head, table, problems, events []string }

// fit makes at most so many lines of it: of the events the last, a few of them in any
// case; of the problems a third of the screen; of the table what there is room for.
func (s screen) fit(height int) []string {
	const least = 3
	problems := shorten(s.problems, max(least, height/3), "more lines: baton status")
	room := height - len(s.head) - len(problems) - 2 // for the lines between
	events := s.events[max(0, len(s.events)-max(least, room-len(s.table))):]
	table := shorten(s.table, room-len(events), "more routers: baton status")
	all := append(append([]string{}, s.head...), table...)
	for _, part := range [][]string{problems, events} {
		if len(part) > 0 {
			all = append(append(all, ""), part...)
		}
	}
	return all[:min(len(all), max(height, 0))]
}

// shorten leaves so many lines, and says how many are missing.
func shorten(lines []string, most int, what string) []string {
	if len(lines) <= most {
		return lines
	}
	most = max(most, 1)
	return append(append([]string{}, lines[:most-1]...), fmt.Sprintf("... %d %s", len(lines)-most+1, what))
}

// cut leaves of a line what has room on the screen; colours take none.
func cut(line string, width int) string {
	room, colour := width, false
	for i, r := range line {
		switch {
		case r == '\x1b':
			colour = true
		case colour:
			colour = r != 'm'
		case room == 0 && strings.Contains(line[:i], "\x1b"):
			return line[:i] + "\x1b[0m"
		case room == 0:
			return line[:i]
		default:
			room--
		}
	}
	return line
}

// terminal is a file that somebody looks at.
type terminal struct{ fd int }

func terminalOf(out io.Writer) (terminal, bool) {
	f, ok := out.(*os.File)
	if !ok {
		return terminal{}, false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return terminal{int(f.Fd())}, err == nil
}

// size is the number of columns and lines; 80 and 24 where the terminal does not say.
func (t terminal) size() (width, height int) {
	if w, err := unix.IoctlGetWinsize(t.fd, unix.TIOCGWINSZ); err == nil && w.Col > 0 && w.Row > 0 {
		return int(w.Col), int(w.Row)
	}
	return 80, 24
}
