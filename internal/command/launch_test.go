package command

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/internal/trial"

	"golang.org/x/sys/unix"
)

// A child of a real-time daemon is an ordinary process; the daemon stays what
// it was.
func TestRun_RealTime(t *testing.T) {
	trial.NeedRoot(t)
	r, log := newRunner(t)
	onThread := func(f func() error) {
		t.Helper()
		done := make(chan error)
		r.jobs <- func() { done <- f() }
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	onThread(func() error {
		return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0)
	})
	res := r.Run(t.Context(), sh("sleep 0.05; awk '{print $41, $19}' /proc/$$/stat")) // policy, nice
	if res.FirstLine() != "0 0" {
		t.Errorf("policy and nice of the child: %q; log: %s", res, log)
	}
	onThread(func() error {
		own, err := unix.SchedGetAttr(0, 0)
		if err == nil && own.Policy != unix.SCHED_RR {
			err = fmt.Errorf("the daemon's thread has policy %d now", own.Policy)
		}
		return err
	})
}

// Where the daemon is ordinary, a nice value given to it is nobody's mistake.
func TestRun_NiceIsInherited(t *testing.T) {
	r, _ := newRunner(t)
	done := make(chan error)
	r.jobs <- func() { done <- unix.Setpriority(unix.PRIO_PROCESS, 0, 5) }
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if res := r.Run(t.Context(), sh("sleep 0.05; awk '{print $41, $19}' /proc/$$/stat")); res.FirstLine() != "0 5" {
		t.Errorf("got %q", res)
	}
}

// Where the unit lets the kernel take others first when memory is short, that is
// the daemon's and not its children's. (A negative value takes a right that even
// root may not have, so another one stands for it.)
func TestRun_OOMScore(t *testing.T) {
	const own = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte("300"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(own, before, 0)
	for precious, want := range map[bool]string{true: "0", false: "300"} {
		r, _ := newRunner(t)
		r.precious = precious
		if res := r.Run(t.Context(), sh("sleep 0.05; cat "+own)); res.FirstLine() != want {
			t.Errorf("precious %t: the child has %q, want %s", precious, res.FirstLine(), want)
		}
	}
}

// TestRun_AmbientCapabilities runs itself in a process that has an ambient
// capability, as systemd's AmbientCapabilities= gives one.
func TestRun_AmbientCapabilities(t *testing.T) {
	const inner = "BATON_TEST_AMBIENT"
	if os.Getenv(inner) == "" {
		trial.NeedRoot(t)
		cmd := exec.Command(os.Args[0], "-test.run=^TestRun_AmbientCapabilities$", "-test.v")
		cmd.Env = append(os.Environ(), inner+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{AmbientCaps: []uintptr{unix.CAP_NET_RAW}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "the child has none") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	runtime.LockOSThread()
	b, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "CapAmb:\t0000000000002000") {
		t.Fatalf("this process should have CAP_NET_RAW:\n%s", b)
	}
	r, _ := newRunner(t)
	res := r.Run(t.Context(), sh("grep CapAmb /proc/self/status"))
	if res.FirstLine() != "CapAmb: 0000000000000000" {
		t.Fatalf("the child: %q", res)
	}
	t.Log("the child has none")
}

// BenchmarkRun is what one command check costs.
func BenchmarkRun(b *testing.B) {
	r, _ := newRunner(b)
	s := Spec{Argv: []string{"/bin/true"}, Timeout: 5 * time.Second}
	b.ReportAllocs()
	for b.Loop() {
		if res := r.Run(b.Context(), s); !res.OK() {
			b.Fatal(res)
		}
	}
}

// TestRun_MayNotChangeUsers runs itself in a process that is root without the
// right to become somebody else, as a unit's CapabilityBoundingSet= makes one.
func TestRun_MayNotChangeUsers(t *testing.T) {
	const inner = "BATON_TEST_BOUNDED"
	if os.Getenv(inner) == "" {
		trial.NeedRoot(t)
		cmd := exec.Command(os.Args[0], "-test.run=^TestRun_MayNotChangeUsers$", "-test.v")
		cmd.Env = append(os.Environ(), inner+"=1")
		var out []byte
		err := error(nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // for good: the thread ends with what it gave up
			if err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SETUID, 0, 0, 0); err == nil {
				out, err = cmd.CombinedOutput()
			}
		}()
		<-done
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	r, _ := newRunner(t)
	s := sh("id -un")
	s.User = &User{Name: "nobody"}
	want := "as nobody: baton may not change users, which takes CAP_SETUID and CAP_SETGID: operation not permitted"
	if got := r.Run(t.Context(), s).String(); !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want it to end with %q", got, want)
	}
	s.User = nil
	if res := r.Run(t.Context(), s); res.FirstLine() != "root" {
		t.Errorf("without a user: %s", res)
	}
}
