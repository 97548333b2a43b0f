package demo

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"baton/internal/lab"
)

// role is a change of role that a node told of in its log.
type role struct {
	at     time.Time
	node   string
	To     string `json:"to"`
	Reason string `json:"reason"`
}

// heard notes the changes of role among what a node writes.
func (d *demo) heard(node string, line lab.Line) {
	var r struct {
		Msg string `json:"msg"`
		role
	}
	if json.Unmarshal([]byte(line.Text), &r) != nil || r.Msg != "role" {
		return
	}
	r.at, r.node = line.At, node
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roles = append(d.roles, r.role)
}

// told is how many changes of role have been heard of.
func (d *demo) told() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.roles)
}

// tell writes what came of a step, a line for each change that matters.
func (d *demo) tell(s step, began time.Time, from int) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var lines []string
	for _, r := range d.roles[from:] {
		if who, text := s.tells(r.at.Sub(began), r); text != "" {
			lines = append(lines, fmt.Sprintf("%5.1fs          %s %s", r.at.Sub(d.start).Seconds(), who, text))
		}
	}
	return lines
}

// tellMaster tells of a node that became master, and of what the client
// noticed of it.
func tellMaster(beside string) func(time.Duration, role) (string, string) {
	return func(_ time.Duration, r role) (string, string) {
		switch r.To {
		case "MASTER":
		case "FAULT": // not part of the show
			return r.node, "FAULT   " + r.Reason
		default:
			return "", ""
		}
		text := strings.Replace(r.Reason, " (priority 0)", "", 1)
		if beside != "" {
			text, _, _ = strings.Cut(text, ";")
			text += "; " + beside
		}
		return r.node, "MASTER  " + text
	}
}

// tellFault tells of a check that failed, and of who took over.
func tellFault(since time.Duration, r role) (string, string) {
	if r.To != "FAULT" {
		return tellMaster("")(since, r)
	}
	i := strings.LastIndex(r.Reason, ": ")
	return r.node, fmt.Sprintf("FAULT   haproxy: %s, seen after %s", r.Reason[i+2:], since.Round(time.Millisecond))
}

// tellConflict tells of two masters from the loser's mouth: the winner's role
// does not change.
func tellConflict(since time.Duration, r role) (string, string) {
	if r.To != "BACKUP" {
		return "", ""
	}
	return "a", fmt.Sprintf("MASTER  two masters for %.1fs; a won and announced again", since.Seconds())
}
