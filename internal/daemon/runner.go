package daemon

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"baton/internal/config"
	"baton/internal/runner"
)

const (
	// RunnerNone says that there is no second process.
	RunnerNone = "none"
	// runnerVariable names the runner that this process started before it became
	// another user: its PID and its socket.
	runnerVariable = "BATON_RUNNER"
	// runnerThreads are reserved beside those that compute: each command takes one.
	runnerThreads = 32
)

// runnerClient is a client of the runner; nil where this process does everything by
// itself.
func (o Options) runnerClient(log *slog.Logger) *runner.Client {
	if pid, socket, ok := strings.Cut(os.Getenv(runnerVariable), " "); ok && o.User != "" {
		c := runner.NewClient(socket, "start baton anew, which starts its runner", log)
		go reapRunner(pid, log)
		return c
	}
	path := o.Runner
	if path == "" {
		path = RunnerNone
		if _, err := os.Stat(runner.DefaultSocket); err == nil && os.Geteuid() != 0 {
			path = runner.DefaultSocket
		}
	}
	if path == RunnerNone {
		return nil
	}
	return runner.NewClient(path, "systemctl status baton-runner", log)
}

// reapRunner waits for the runner that this process has started, for as long as
// both live.
func reapRunner(pid string, log *slog.Logger) {
	n, _ := strconv.Atoi(pid)
	p, err := os.FindProcess(n)
	if err != nil {
		return
	}
	if state, err := p.Wait(); err == nil {
		log.Error("the runner has ended: hooks, services and checks of other users fail until baton is started anew", "how", state.String())
	}
}

// forkRunner starts a runner that serves this process alone, and ends with it. Its
// socket has no file, and is in the network namespace.
func (o Options) forkRunner() (started string, err error) {
	name := "@baton-runner-" + rand.Text()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return "", fmt.Errorf("make the runner's socket: %w", err)
	}
	defer l.Close()
	socket, err := l.File()
	if err != nil {
		return "", fmt.Errorf("make the runner's socket: %w", err)
	}
	defer socket.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer null.Close()
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("start the runner: %w", err)
	}
	argv := []string{self, "runner", "--config", o.Config, "--node", o.Node, "--log-format", o.LogFormat, "--parent", strconv.Itoa(os.Getpid())}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if isRealtime() { // it gets that back as it becomes the user
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
	}
	p, err := os.StartProcess(self, argv, &os.ProcAttr{
		Env: slices.DeleteFunc(os.Environ(), func(kv string) bool {
			return strings.HasPrefix(kv, "NOTIFY_SOCKET=") || strings.HasPrefix(kv, "WATCHDOG_")
		}),
		Files: []*os.File{null, null, os.Stderr, socket},
		Sys:   &syscall.SysProcAttr{Setsid: true}, // what is sent to the daemon's group is not for it
	})
	if err != nil {
		return "", fmt.Errorf("start the runner: %w", err)
	}
	return strconv.Itoa(p.Pid) + " " + name, nil
}

// RunnerOptions say for whom a runner runs.
type RunnerOptions struct {
	Config    string // path of baton.yaml
	Node      string // as in Options
	Socket    string // where it listens, unless it was given a socket
	User      string // whose requests it takes, beside root's
	Parent    int    // PID of the only process whose requests it takes, and with which it ends; 0: none
	Log       io.Writer
	Journal   bool
	LogFormat string
	Signals   <-chan os.Signal // SIGTERM and SIGINT end it, SIGHUP has it read the configuration
}

// RunRunner is the second process: it does for a daemon that is not root what takes
// root, until a signal ends it, or its parent has ended.
func RunRunner(o RunnerOptions) error {
	out := newLogWriter(o.Log)
	defer out.close(closeLimit)
	log := newLogging(out, config.Log{}, o.LogFormat, o.Journal).Logger
	peers := runner.Peers{PID: o.Parent}
	group := -1
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if o.Parent != 0 {
		if err := followParent(o.Parent, cancel); err != nil {
			return err
		}
	} else {
		uid, gid, _, err := findUser(o.User)
		if err != nil {
			return fmt.Errorf("whose requests are taken: %w", err)
		}
		peers.UID, group = uid, gid
	}
	l, err := o.listen(group)
	if err != nil {
		return err
	}
	reserveThreads(max(minProcs, runtime.GOMAXPROCS(0)) + runnerThreads)
	h := newHost("", nil, log)
	defer h.close()
	policy := runner.NewPolicy(o.Config, o.Node, h.probe, log)
	go func() {
		for {
			select {
			case s := <-o.Signals:
				if s != syscall.SIGHUP {
					cancel()
				} else if err := policy.Reload(); err != nil {
					log.Error("the configuration cannot be used, and the runner goes on with the one that it has", "err", err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	log.Info("the runner starts", "version", Version(), "socket", l.Addr().String(), "user", o.User, "parent", o.Parent)
	return runner.NewServer(runner.Options{Peers: peers, Policy: policy, Run: h.runner.Run, Systemd: h.systemd, Reboot: reboot, Log: log}).Serve(ctx, l)
}

// listen takes the socket that this process was given, by systemd or by its parent,
// or makes it.
func (o RunnerOptions) listen(group int) (*net.UnixListener, error) {
	var given *os.File
	if o.Parent != 0 {
		given = os.NewFile(3, "runner")
	} else if files := activation.Files(true); len(files) > 0 {
		given = files[0]
	}
	if given == nil {
		return runner.Listen(o.Socket, group)
	}
	defer given.Close()
	l, err := net.FileListener(given)
	if err != nil {
		return nil, fmt.Errorf("listen on the socket that was given: %w", err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("the socket that was given is a %s one, not a Unix one", l.Addr().Network())
	}
	return u, nil
}

// followParent calls ended when the process that has started this one has ended,
// whatever programs it has executed.
func followParent(pid int, ended func()) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("follow baton, process %d: %w", pid, err)
	}
	if os.Getppid() != pid { // it has ended, and pid may be another one's
		_ = unix.Close(fd)
		return fmt.Errorf("process %d has not started this runner, or has ended", pid)
	}
	go func() {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			if n, err := unix.Poll(poll, -1); n > 0 || err != nil && err != unix.EINTR {
				ended()
				return
			}
		}
	}()
	return nil
}
