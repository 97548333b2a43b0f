package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"baton/internal/command"
)

const (
	// ocfRoot is where the packages put resource agents.
	ocfRoot = "/usr/lib/ocf"
	// ocfTemporary is where agents keep what they must remember until a reboot.
	// tmpfiles.d makes it at boot; without it many agents know nothing.
	ocfTemporary = "/run/resource-agents"
	// ocfPath is the agents' PATH; the daemon's own may lack sbin.
	ocfPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// ocfTimeout is how long an action may take where ctx has no deadline.
	ocfTimeout = 20 * time.Second
)

// What an agent is told of an action, beside its params: how long it may take, and
// how often it is asked, in milliseconds. An interval of 0 is that of a start or a
// stop, and means a probe to monitor: is it there at all?
const (
	OCFTimeout   = "OCF_RESKEY_CRM_meta_timeout"
	OCFInterval  = "OCF_RESKEY_CRM_meta_interval"
	OCFMonitored = "10000" // the interval of one that was seen running
)

// OCF is a resource agent and the instance that it looks after.
type OCF struct {
	Provider string // heartbeat, ...
	Agent    string // redis, ...
	Instance string // tells instances of one agent apart
	Params   map[string]string
	User     string // who runs it; empty: who runs baton
}

// NewOCF returns what a resource agent starts, stops and monitors. Agents need no
// Pacemaker for that. Where one asks it for its node's attributes (crm_master,
// crm_attribute), it hears "command not found": agents then go without a score,
// which is Pacemaker's alone to use. promote, demote and notify are not called.
func NewOCF(run command.RunFunc, a OCF) Service {
	return &ocf{run: run, agent: a, root: ocfRoot}
}

type ocf struct {
	run   command.RunFunc
	agent OCF
	root  string
	// seen says that it ran when it was last heard of. Before, it is probed: an
	// agent then takes it as no failure that what it needs is not there, such as a
	// file system that only the master has mounted.
	seen bool
	left <-chan struct{} // of an action that could not be killed; closed when it is gone
}

// The exit codes of agents.
const (
	ocfSuccess        = 0
	ocfNotRunning     = 7
	ocfPromoted       = 8
	ocfFailedPromoted = 9
	ocfDegraded       = 190
	ocfDegradedMaster = 191
)

// ocfMistake says what mistake in the setup an exit code means; empty: none.
func ocfMistake(code int) string {
	switch code {
	case 2:
		return "the agent does not take one of the params"
	case 3:
		return "the agent cannot do this"
	case 4:
		return "the agent lacks permission: does it have to run as root?"
	case 5:
		return "what the agent runs is not installed"
	case 6:
		return "the params do not fit, or are incomplete"
	}
	return ""
}

// Status runs monitor.
func (o *ocf) Status(ctx context.Context) Status {
	interval := "0"
	if o.seen {
		interval = OCFMonitored
	}
	res := o.action(ctx, "monitor", interval)
	st := o.status(res)
	switch st.State {
	case Running:
		o.seen = true
	case Stopped:
		o.seen = false
	}
	return st
}

func (o *ocf) status(res command.Result) Status {
	if res.Err != nil || res.TimedOut || res.Signal != "" {
		st := Status{State: Unknown, Text: "monitor: " + res.String()}
		if errors.Is(res.Err, os.ErrNotExist) {
			st.Hint = "is there such an agent? apt install resource-agents"
		}
		return st
	}
	st := Status{State: Failed, Text: fmt.Sprintf("monitor exits %d", res.Exit)}
	switch res.Exit {
	case ocfSuccess:
		return Status{State: Running, Text: "running"}
	case ocfPromoted:
		return Status{State: Running, Text: "running, promoted"}
	case ocfDegraded:
		st.State, st.Text = Running, "running, degraded"
	case ocfDegradedMaster:
		st.State, st.Text = Running, "running, promoted, degraded"
	case ocfNotRunning:
		return Status{State: Stopped, Text: "not running"}
	case ocfFailedPromoted:
		st.Text = "failed, promoted"
	default:
		st.Hint = ocfMistake(res.Exit)
	}
	if why := ocfReason(res); why != "" {
		st.Text += ": " + why
	}
	return st
}

// Start runs start, which returns once it runs.
func (o *ocf) Start(ctx context.Context) error {
	if err := o.change(ctx, "start"); err != nil {
		return err
	}
	o.seen = true
	return nil
}

// Stop runs stop, which returns once it has ended; to kill what does not end is up
// to the agent, which knows how long it has.
func (o *ocf) Stop(ctx context.Context) error {
	if err := o.change(ctx, "stop"); err != nil {
		return err
	}
	o.seen = false
	return nil
}

func (o *ocf) change(ctx context.Context, action string) error {
	res := o.action(ctx, action, "0")
	if res.OK() {
		return nil
	}
	what := fmt.Sprintf("%s %s of ocf:%s:%s", action, o.agent.Instance, o.agent.Provider, o.agent.Agent)
	if res.Err != nil || res.TimedOut || res.Signal != "" {
		return fmt.Errorf("%s: %s", what, res)
	}
	text := fmt.Sprintf("exit %d", res.Exit)
	if why := ocfReason(res); why != "" {
		text += ": " + why
	}
	if meaning := ocfMistake(res.Exit); meaning != "" {
		text += " (" + meaning + ")"
	}
	return fmt.Errorf("%s: %s", what, text)
}

// action runs the agent. There is no second one beside one that cannot be killed,
// such as one that waits for a dead file server.
func (o *ocf) action(ctx context.Context, action, interval string) command.Result {
	if o.left != nil {
		select {
		case <-o.left:
			o.left = nil
		case <-ctx.Done():
			return command.Result{Err: errors.New("the action before was killed and does not end")}
		}
	}
	timeout := ocfTimeout
	if end, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(end), time.Millisecond)
	}
	MakeOCFFolder()
	spec := o.agent.action(o.root, action, interval, timeout)
	res := o.run(ctx, spec)
	o.left = res.Left
	return res
}

// MakeOCFFolder makes the folder where agents keep what they must remember, as
// tmpfiles.d does. Where it cannot be made the agent says so.
func MakeOCFFolder() {
	if os.Mkdir(ocfTemporary, 0o755) == nil {
		_ = os.Chmod(ocfTemporary, 0o755|os.ModeSticky)
	}
}

// Action is the command of an action of the agent: start, stop or monitor.
func (a OCF) Action(action, interval string, timeout time.Duration) command.Spec {
	return a.action(ocfRoot, action, interval, timeout)
}

func (a OCF) action(root, action, interval string, timeout time.Duration) command.Spec {
	spec := command.Spec{
		Argv:    []string{filepath.Join(root, "resource.d", a.Provider, a.Agent), action},
		Env:     a.environment(root, interval, timeout),
		Timeout: timeout,
	}
	if a.User != "" {
		spec.User = &command.User{Name: a.User}
	}
	return spec
}

// environment is how an agent is told what to look after, as in the OCF resource
// agent API 1.0 and by Pacemaker.
func (a OCF) environment(root, interval string, timeout time.Duration) []string {
	env := []string{
		"PATH=" + ocfPath,
		"OCF_ROOT=" + root,
		"OCF_RA_VERSION_MAJOR=1",
		"OCF_RA_VERSION_MINOR=0",
		"OCF_RESOURCE_INSTANCE=" + a.Instance,
		"OCF_RESOURCE_TYPE=" + a.Agent,
		"OCF_RESOURCE_PROVIDER=" + a.Provider,
		OCFTimeout + "=" + strconv.FormatInt(timeout.Milliseconds(), 10),
		OCFInterval + "=" + interval,
		// What the Pacemaker of the agents' own time would say; some compare it.
		"OCF_RESKEY_crm_feature_set=3.1.0",
		"HA_RSCTMP=" + ocfTemporary,
		// What agents log goes into their output, whose first lines are kept.
		"HA_LOGFACILITY=none",
		"HA_LOGD=no",
		"HA_debug=0",
	}
	for _, name := range slices.Sorted(maps.Keys(a.Params)) {
		env = append(env, "OCF_RESKEY_"+name+"="+a.Params[name])
	}
	return env
}

// ocfReason is why the agent failed: the reason that it gives for it, else its
// first words.
func ocfReason(res command.Result) string {
	for line := range bytes.Lines(res.Output) {
		if why, ok := strings.CutPrefix(string(line), "ocf-exit-reason:"); ok {
			return oneLine(why)
		}
	}
	return res.FirstLine()
}
