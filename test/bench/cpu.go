package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"baton/test/site"
)

// manyChecks is 500 checks each second that pass: native ones for baton, the cheapest command for keepalived, which has
// none of its own.
func manyChecks() site.Config {
	c := config(time.Second)()
	for i := range 500 {
		name := fmt.Sprintf("c%d", i)
		c.Checks = append(c.Checks, site.Check{Name: name, Command: "/bin/true", Keys: "type: file, path: /etc/passwd", Interval: time.Second, Rise: 2, Fall: 2})
		c.Routers[0].Track = append(c.Routers[0].Track, site.Effect{Check: name})
	}
	return c
}

// cpuShare returns what the master and its children used of a core within ten seconds, in percent.
func cpuShare(s *site.Site) (float64, error) {
	const lasts = 10 * time.Second
	pid := s.Nodes["a"].Process.PID
	before, err := cpuTime(pid)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	time.Sleep(lasts)
	after, err := cpuTime(pid)
	if err != nil {
		return 0, err
	}
	return 100 * (after - before).Seconds() / time.Since(start).Seconds(), nil
}

// cpuTime is what a process and all below it have used, those that have ended and were waited for included.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 15 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields behind the name", pid, len(fields))
	}
	var ticks int64
	for _, f := range fields[11:15] { // utime stime cutime cstime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	sum := time.Duration(ticks) * (time.Second / 100) // USER_HZ, everywhere
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread may have ended
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", list, err)
			}
			if used, err := cpuTime(child); err == nil { // else it has ended: its parent has it
				sum += used
			}
		}
	}
	return sum, nil
}
