package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
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

func newRunner(t *testing.T) *command.Runner {
	t.Helper()
	r := command.NewRunner(slog.New(slog.NewTextHandler(new(trial.Log), nil)))
	t.Cleanup(r.Close)
	return r
}

// answering is an agent whose every action has this result.
func answering(res command.Result) *ocf {
	return &ocf{
		run:   func(context.Context, command.Spec) command.Result { return res },
		agent: OCF{Provider: "heartbeat", Agent: "osc", Instance: "osc"},
	}
}

func TestOCF_Status(t *testing.T) {
	tests := map[string]struct {
		res  command.Result
		want Status
	}{
		"running":         {command.Result{}, Status{Running, "running", ""}},
		"promoted":        {command.Result{Exit: 8}, Status{Running, "running, promoted", ""}},
		"not running":     {command.Result{Exit: 7, Output: []byte("ocf-exit-reason:no pid file\n")}, Status{Stopped, "not running", ""}},
		"failed":          {command.Result{Exit: 1, Output: []byte("INFO: asks\nocf-exit-reason:no answer from 8090\n")}, Status{Failed, "monitor exits 1: no answer from 8090", ""}},
		"failed promoted": {command.Result{Exit: 9}, Status{Failed, "failed, promoted", ""}},
		"degraded":        {command.Result{Exit: 190, Output: []byte("ERROR: one disk is gone\n")}, Status{Running, "running, degraded: ERROR: one disk is gone", ""}},
		"degraded master": {command.Result{Exit: 191}, Status{Running, "running, promoted, degraded", ""}},
		"params":          {command.Result{Exit: 2}, Status{Failed, "monitor exits 2", "the agent does not take one of the params"}},
		"no such action":  {command.Result{Exit: 3}, Status{Failed, "monitor exits 3", "the agent cannot do this"}},
		"permission":      {command.Result{Exit: 4}, Status{Failed, "monitor exits 4", "the agent lacks permission: does it have to run as root?"}},
		"not installed":   {command.Result{Exit: 5, Output: []byte("redis-server is missing")}, Status{Failed, "monitor exits 5: redis-server is missing", "what the agent runs is not installed"}},
		"not configured":  {command.Result{Exit: 6}, Status{Failed, "monitor exits 6", "the params do not fit, or are incomplete"}},
		"something else":  {command.Result{Exit: 77}, Status{Failed, "monitor exits 77", ""}},
		"killed":          {command.Result{Exit: -1, Signal: "SIGSEGV"}, Status{Unknown, "monitor: killed by SIGSEGV", ""}},
		"too slow":        {command.Result{TimedOut: true, Timeout: time.Second}, Status{Unknown, "monitor: timed out after 1s", ""}},
		"no agent":        {command.Result{Err: fmt.Errorf("command /x: %w", os.ErrNotExist)}, Status{Unknown, "monitor: command /x: file does not exist", "is there such an agent? apt install resource-agents"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, answering(tt.res).Status(t.Context())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOCF_Change(t *testing.T) {
	tests := map[string]struct {
		res command.Result
		err string
	}{
		"done":     {command.Result{}, ""},
		"failed":   {command.Result{Exit: 1, Output: []byte("ocf-exit-reason:port 6379 is taken\n")}, "start osc of ocf:heartbeat:osc: exit 1: port 6379 is taken"},
		"mistake":  {command.Result{Exit: 5}, "start osc of ocf:heartbeat:osc: exit 5 (what the agent runs is not installed)"},
		"too slow": {command.Result{TimedOut: true, Timeout: time.Second}, "start osc of ocf:heartbeat:osc: timed out after 1s"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, stopped := "", ""
			if err := answering(tt.res).Start(t.Context()); err != nil {
				got = err.Error()
			}
			if err := answering(tt.res).Stop(t.Context()); err != nil {
				stopped = strings.Replace(err.Error(), "stop", "start", 1)
			}
			if got != tt.err || stopped != tt.err {
				t.Errorf("got  %q\nand  %q\nwant %q", got, stopped, tt.err)
			}
		})
	}
}

// Nothing is asked while the action before cannot be killed.
func TestOCF_Left(t *testing.T) {
	left := make(chan struct{})
	o := answering(command.Result{TimedOut: true, Timeout: time.Second, Left: left})
	if st := o.Status(t.Context()); st.State != Unknown {
		t.Fatalf("got %+v", st)
	}
	o.run = func(context.Context, command.Spec) command.Result { return command.Result{} }
	want := Status{Unknown, "monitor: the action before was killed and does not end", ""}
	if diff := cmp.Diff(want, o.Status(in(t, 10*time.Millisecond))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	close(left)
	if st := o.Status(t.Context()); st.State != Running {
		t.Errorf("got %+v", st)
	}
}

// What an agent is told, and when it is probed: until it was seen to run.
func TestOCF_Environment(t *testing.T) {
	var spec command.Spec
	exit := 7
	o := NewOCF(nil, OCF{Provider: "heartbeat", Agent: "redis", Instance: "cache", Params: map[string]string{"port": "6380", "CRM_meta_on_node": "a"}, User: "redis"}).(*ocf)
	o.run = func(_ context.Context, s command.Spec) command.Result {
		spec = s
		return command.Result{Exit: exit}
	}
	ask := func(want string) {
		t.Helper()
		o.Status(in(t, time.Minute))
		got := ""
		for _, kv := range spec.Env {
			if v, ok := strings.CutPrefix(kv, "OCF_RESKEY_CRM_meta_interval="); ok {
				got = v
			}
		}
		if got != want {
			t.Errorf("interval %q, want %q", got, want)
		}
	}
	ask("0")
	exit = 0
	ask("0")
	ask("10000")
	exit = 1
	ask("10000")
	exit = 7
	ask("10000")
	ask("0")
	exit = 0
	if err := o.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask("10000")
	if err := o.Stop(in(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	if argv := strings.Join(spec.Argv, " "); argv != "/usr/lib/ocf/resource.d/heartbeat/redis stop" || spec.User == nil || spec.User.Name != "redis" {
		t.Errorf("ran %s as %v", argv, spec.User)
	}
	env := map[string]string{}
	for _, kv := range spec.Env {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	if ms, err := strconv.Atoi(env["OCF_RESKEY_CRM_meta_timeout"]); err != nil || ms > 30000 || ms < 1 {
		t.Errorf("timeout %q", env["OCF_RESKEY_CRM_meta_timeout"])
	}
	delete(env, "OCF_RESKEY_CRM_meta_timeout")
	want := map[string]string{
		"PATH": ocfPath, "OCF_ROOT": "/usr/lib/ocf", "OCF_RA_VERSION_MAJOR": "1", "OCF_RA_VERSION_MINOR": "0",
		"OCF_RESOURCE_INSTANCE": "cache", "OCF_RESOURCE_TYPE": "redis", "OCF_RESOURCE_PROVIDER": "heartbeat",
		"OCF_RESKEY_port": "6380", "OCF_RESKEY_CRM_meta_on_node": "a",
		"OCF_RESKEY_CRM_meta_interval": "0", "OCF_RESKEY_crm_feature_set": "3.1.0",
		"HA_RSCTMP": "/run/resource-agents", "HA_LOGFACILITY": "none", "HA_LOGD": "no", "HA_debug": "0",
	}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

// realAgent is one of the distribution's, run in earnest.
func realAgent(t *testing.T, name string, params map[string]string) Service {
	t.Helper()
	trial.NeedRoot(t)
	if _, err := os.Stat(filepath.Join(ocfRoot, "resource.d/heartbeat", name)); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("resource-agents is not installed, and CI must test against it")
		}
		t.Skip("resource-agents is not installed")
	}
	o := NewOCF(newRunner(t).Run, OCF{Provider: "heartbeat", Agent: name, Instance: "baton-test", Params: params})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := o.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return o
}

// upAndDown takes an agent through what baton asks of it.
func upAndDown(t *testing.T, o Service) {
	t.Helper()
	is := func(want State) {
		t.Helper()
		if st := o.Status(in(t, time.Minute)); st.State != want {
			t.Fatalf("it is %+v, want %v", st, want)
		}
	}
	is(Stopped)
	for range 2 { // a second start and stop change nothing
		if err := o.Start(in(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		is(Running)
	}
	is(Running)
	for range 2 {
		if err := o.Stop(in(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		is(Stopped)
	}
}

func TestOCF_Dummy(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	o := realAgent(t, "Dummy", map[string]string{"state": state})
	upAndDown(t, o)
	// It is gone without a stop: an agent that was seen to run says why.
	if err := o.Start(in(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	if st := o.Status(in(t, time.Minute)); st.State != Stopped {
		t.Errorf("got %+v", st)
	}
}

func TestOCF_Anything(t *testing.T) {
	dir := trial.ShortDir(t)
	pidfile := filepath.Join(dir, "pid")
	o := realAgent(t, "anything", map[string]string{"binfile": "/bin/sleep", "cmdline_options": "1000", "pidfile": pidfile})
	upAndDown(t, o)
	if err := o.Start(in(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(pidfile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its death is seen", func() bool { return o.Status(in(t, time.Minute)).State == Failed })
}

func TestOCF_Redis(t *testing.T) {
	for _, tool := range []string{"redis-server", "redis-cli"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal("redis-server is not installed, and CI must test against it")
			}
			t.Skip("redis-server is not installed")
		}
	}
	dir := trial.ShortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o755); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "redis.conf")
	// No port: it listens at its socket alone.
	if err := os.WriteFile(config, []byte("port 0\ndir "+run+"\nsave \"\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := realAgent(t, "redis", map[string]string{
		"bin": "/usr/bin/redis-server", "client_bin": "/usr/bin/redis-cli", "config": config, "user": "redis",
		"rundir": run, "pidfile_name": "redis.pid", "socket_name": "redis.sock",
	})
	upAndDown(t, o)

	o = realAgent(t, "redis", map[string]string{"bin": "/nowhere/redis-server", "config": config, "rundir": run, "pidfile_name": "redis.pid", "socket_name": "redis.sock"})
	err := o.Start(in(t, time.Minute))
	if err == nil || !strings.Contains(err.Error(), "/nowhere/redis-server does not exist or is not executable (what the agent runs is not installed)") {
		t.Errorf("got %v", err)
	}
}

// An agent that hangs, run by another user.
func TestOCF_Hangs(t *testing.T) {
	trial.NeedRoot(t)
	root, err := os.MkdirTemp("/run", "baton-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "resource.d/test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\n[ $1 = monitor ] && exec sleep 1000\nid -un; exit 4\n"
	if err := os.WriteFile(filepath.Join(dir, "agent"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	o := NewOCF(newRunner(t).Run, OCF{Provider: "test", Agent: "agent", Instance: "x", User: "nobody"}).(*ocf)
	o.root = root
	if st := o.Status(in(t, 300*time.Millisecond)); st.State != Unknown || !strings.Contains(st.Text, "timed out after") {
		t.Errorf("got %+v", st)
	}
	want := "start x of ocf:test:agent: exit 4: nobody (the agent lacks permission: does it have to run as root?)"
	if err := o.Start(in(t, time.Minute)); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
