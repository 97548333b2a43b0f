package role

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/command"
	"baton/internal/trial"
)

// scripts is a folder that scripts of a test may be run from: root must own it and everything above, or a root's
// runner refuses them.
func scripts(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/run", "baton-role-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// script writes a shell script and returns its path.
func script(t *testing.T, dir, name, body string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// eventually waits for what somebody else brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	trial.Await(t, 10*time.Second, what, ok)
}

func newRunner(t *testing.T) *command.Runner {
	t.Helper()
	r := command.NewRunner(quiet())
	t.Cleanup(r.Close)
	return r
}

func TestExec_Scripts(t *testing.T) {
	dir := scripts(t)
	seen := filepath.Join(dir, "seen")
	tell := script(t, dir, "tell", `
		echo "$0 $*: $BATON_NODE $BATON_ROUTER $BATON_PREVIOUS_STATE to $BATON_STATE, $BATON_REASON" | sed 's|.*/||' >>`+seen+`
		echo told; exit 0`)
	fails := script(t, dir, "fails", `echo "cannot do it"; exit 7`)
	var log trial.Log
	q := New(Router{Name: "web", Node: "lb1", Hooks: Hooks{
		Any:    []Hook{{Argv: []string{tell, "own $role"}}},
		Master: []Hook{{Argv: []string{fails}}, {Argv: []string{tell, "$master"}}, {Argv: []string{filepath.Join(dir, "missing")}}},
		Backup: []Hook{{Argv: []string{tell}, User: "no-such-user-of-baton"}},
	}}, Exec(newRunner(t).Run, dir), slog.New(slog.NewTextHandler(&log, nil)), nil)
	for _, tr := range []Transition{
		{To: Backup, From: Init, Priority: 100, Reason: "start"},
		{To: Master, From: Backup, Priority: 100, Reason: "nobody\nheard", Master: "lb1"},
		{To: Stop, From: Master, Priority: 100, Reason: "asked to"},
	} {
		q.Tell(tr)
		eventually(t, "hooks of "+string(tr.To), func() bool {
			return strings.Contains(log.String(), "state="+string(tr.To)+" hook=any")
		})
	}
	if err := q.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	got, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	want := `tell own BACKUP INSTANCE web BACKUP 100: lb1 web INIT to BACKUP, start
tell lb1: lb1 web BACKUP to MASTER, nobody heard
tell own MASTER INSTANCE web MASTER 100: lb1 web BACKUP to MASTER, nobody heard
tell own STOP INSTANCE web STOP 100: lb1 web MASTER to STOP, asked to
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("what the scripts wrote (-want +got):\n%s\nlog:\n%s", diff, &log)
	}
	for _, want := range []string{
		`level=WARN msg="hook failed" router=web state=BACKUP hook=backup`, "no-such-user-of-baton",
		`level=WARN msg="hook failed" router=web state=MASTER hook=master command=` + fails + " exit=7", `output="cannot do it"`,
		filepath.Join(dir, "missing") + ": file does not exist",
		`level=INFO msg="hook ran" router=web state=STOP hook=any`, "output=told",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, &log)
		}
	}
}

// A hook that ignores TERM is killed a little after its time limit, with its children, and the newest state follows.
func TestExec_TimeLimit(t *testing.T) {
	dir := scripts(t)
	pids := filepath.Join(dir, "pids")
	hangs := script(t, dir, "hangs", fmt.Sprintf("trap '' TERM; sleep 1000 & echo $$ $! >%[1]s.new; mv %[1]s.new %[1]s; wait; wait; sleep 1000\n", pids))
	after := filepath.Join(dir, "after")
	var log trial.Log
	q := New(Router{Name: "web", Hooks: Hooks{
		Master: []Hook{{Argv: []string{hangs}, Timeout: 300 * time.Millisecond}},
		Fault:  []Hook{{Argv: []string{script(t, dir, "then", "echo fault >"+after)}}},
	}}, Exec(newRunner(t).Run, ""), slog.New(slog.NewTextHandler(&log, nil)), nil)
	q.Tell(to(Master))
	eventually(t, "the hook runs", func() bool { _, err := os.Stat(pids); return err == nil })
	q.Tell(to(Backup))
	q.Tell(to(Fault))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := q.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := os.Stat(after); err != nil {
		t.Errorf("the hook of the newest state did not run: %v", err)
	}
	if want := "timed out after 300ms"; !strings.Contains(log.String(), want) {
		t.Errorf("the log has no %q:\n%s", want, &log)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "process "+word+" is gone", func() bool { return dead(pid) })
	}
}

// dead says that a process is gone, or waits for whoever has to reap it.
func dead(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == syscall.ESRCH
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "Z")
}
