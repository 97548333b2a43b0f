package site

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Refused returns how many advertisements the daemon has refused since it was started last, by its own word for the
// reason. The daemon must be running. keepalived counts them, and logs those for which it has no counter; FRR logs them.
// baton logs one of a kind each minute, with their number so far: the answer is a lower bound.
func (n *Node) Refused() (map[string]int, error) {
	var refused map[string]int
	var err error
	switch n.Kind {
	case Keepalived:
		refused, err = n.refusedByKeepalived()
	case FRR:
		refused = n.refusedInLines(frrRefusal)
	default:
		refused = n.refusedByBaton()
	}
	if err != nil {
		return nil, fmt.Errorf("what %s has refused: %w", n.Name, err)
	}
	return refused, nil
}

func (n *Node) refusedByBaton() map[string]int {
	refused := make(map[string]int)
	for _, line := range n.Process.Lines() {
		var l struct {
			Msg, From, Reason string
			SoFar             int `json:"refused_so_far"`
		}
		if err := json.Unmarshal([]byte(line.Text), &l); err == nil && l.Msg == "packet refused" {
			refused[l.Reason] = max(refused[l.Reason], l.SoFar)
		}
	}
	return refused
}

var frrRefusal = regexp.MustCompile(`Datagram invalid: (.*)`)

// What keepalived 2.2 refuses without a counter.
var keepalivedRefusal = regexp.MustCompile(`\) (wrong version|advertisement interval mismatch|Invalid VRRPv\d checksum|unicast source address .* not a unicast peer|TTL/HL .* not in range|ip_tot_len mismatch)`)

// refusedInLines counts the lines of the daemon that match, by what the expression's group found.
func (n *Node) refusedInLines(what *regexp.Regexp) map[string]int {
	refused := make(map[string]int)
	for _, line := range n.Process.Lines() {
		if m := what.FindStringSubmatch(line.Text); m != nil {
			refused[m[1]]++
		}
	}
	return refused
}

// refusedByKeepalived has keepalived write its statistics, and reads them.
func (n *Node) refusedByKeepalived() (map[string]int, error) {
	path := filepath.Join(n.Dir, "keepalived.stats")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Before it listens to the signal, that would end it.
	if _, _, err := n.Process.WaitLine(0, StopTimeout, keepalivedState.MatchString); err != nil {
		return nil, err
	}
	if err := n.Process.Signal(unix.SIGUSR2); err != nil {
		return nil, err
	}
	refused := n.refusedInLines(keepalivedRefusal)
	for deadline := time.Now().Add(StopTimeout); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err == nil && strings.Count(string(text), "Priority Zero:") == n.instances() && endsCounters(string(text)) {
			return refused, readKeepalivedStats(string(text), refused)
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no statistics within %v: %w\n%s", StopTimeout, err, text)
		}
	}
}

// instances returns how many virtual routers the node runs.
func (n *Node) instances() int {
	count := 0
	for _, r := range n.config.Routers {
		if priority, _ := n.config.election(r); priority[n.Name] > 0 {
			count++
		}
	}
	return count
}

// endsCounters reports whether the last instance's statistics are whole: the file is read while it is written.
func endsCounters(text string) bool {
	last := text[strings.LastIndex(text, "Priority Zero:"):]
	return strings.Count(last, "\n") >= 3 && strings.Contains(last, "Sent:")
}

// readKeepalivedStats adds what is not zero under the headings of errors.
func readKeepalivedStats(text string, refused map[string]int) error {
	heading := ""
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		key, value, ok := strings.Cut(strings.TrimSpace(s.Text()), ":")
		value = strings.TrimSpace(value)
		if !ok || value == "" {
			heading = key
			continue
		}
		if !strings.HasSuffix(heading, "Errors") {
			continue
		}
		count, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("read %q of the statistics: %w", s.Text(), err)
		}
		if count > 0 {
			refused[heading+", "+key] += count
		}
	}
	return nil
}
