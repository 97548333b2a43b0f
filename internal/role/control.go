package role

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"baton/internal/command"
	"baton/internal/service"
)

// Fixed is the Control of a service that is the same whatever the role is about: a unit, a container, a resource agent.
// It is a service.Watcher where s is one.
func Fixed(s service.Service) Control {
	if w, ok := s.(service.Watcher); ok {
		return watchedControl{fixedControl{s}, w}
	}
	return fixedControl{s}
}

type fixedControl struct{ service service.Service }

func (c fixedControl) Start(ctx context.Context, _ Transition) error { return c.service.Start(ctx) }
func (c fixedControl) Stop(ctx context.Context, _ Transition) error  { return c.service.Stop(ctx) }

func (c fixedControl) Status(ctx context.Context, _ Transition) service.Status {
	return c.service.Status(ctx)
}

type watchedControl struct {
	fixedControl
	service.Watcher
}

// Commands are those of one service; nil: there is none. Either Start is there, and perhaps Stop, or Promote, and perhaps
// Demote and Follow: for what runs on every node and has a role there. A Timeout shortens the service's own limits;
// Retries do not count.
type Commands struct {
	Start, Stop             *Hook
	Promote, Demote, Follow *Hook
	Status                  *Hook
}

// NewCommandControl returns the Control of a service that is started and stopped, or promoted and demoted, by commands.
// It is a Follower where there is a Follow command. Their words and their environment have what those of r's hooks have;
// lookup may be nil where no nodes are configured.
//
// Without a command to stop it, a stop is done at once. Status is the exit status of its command: 0 is Running,
// anything else Stopped, and Unknown when it could not be run, or did not end. Where the words of a Status command have
// $role, that is the role which this node wants the service to be in: MASTER where t.To is Master, else BACKUP, and it
// exits 0 where the service is. Without the command, what was started runs.
func NewCommandControl(c Commands, r Router, run RunFunc, lookup Lookup) Control {
	control := &commandControl{
		start: action{"start", c.Start}, stop: action{"stop", c.Stop}, follow: action{"follow", c.Follow}, status: action{"status", c.Status},
		words: newWords(r, lookup), run: run,
	}
	if c.Promote != nil {
		control.start, control.stop = action{"promote", c.Promote}, action{"demote", c.Demote}
	}
	if c.Follow != nil {
		return followingControl{control}
	}
	return control
}

// action is a command with the name that it has in the configuration.
type action struct {
	name string
	*Hook
}

// commandControl runs the commands of a service. Its calls do not overlap, and so need no lock.
type commandControl struct {
	start, stop, follow, status action

	words words
	run   RunFunc

	known service.State // without a status command: Running or Stopped, once it was started or stopped
	// What was killed and still does not end, hanging in the kernel: of a status command, and of the others.
	asking, acting <-chan struct{}
}

func (c *commandControl) Start(ctx context.Context, t Transition) error {
	c.known = service.Unknown
	if err := c.act(ctx, c.start, t); err != nil {
		return err
	}
	c.known = service.Running
	return nil
}

func (c *commandControl) Stop(ctx context.Context, t Transition) error {
	c.known = service.Unknown
	if c.stop.Hook != nil {
		if err := c.act(ctx, c.stop, t); err != nil {
			return err
		}
	}
	c.known = service.Stopped
	return nil
}

// followingControl is a commandControl with a follow command.
type followingControl struct{ *commandControl }

func (c followingControl) Follow(ctx context.Context, t Transition) error {
	if _, missing := c.words.argv(c.follow.Argv, t); missing != "" {
		return fmt.Errorf("%w: the follow command needs %s, and the master (%q) is no node that has it", errNobodyToFollow, missing, t.Master)
	}
	return c.act(ctx, c.follow, t)
}

// errNobodyToFollow says that a follow command cannot be run until somebody else is master.
var errNobodyToFollow = errors.New("nobody to follow")

// act runs a command that changes something, after an earlier one of this service that does not end.
func (c *commandControl) act(ctx context.Context, h action, t Transition) error {
	if c.acting != nil {
		select {
		case <-c.acting:
			c.acting = nil
		case <-ctx.Done():
			return fmt.Errorf("%s command %s was not run: an earlier one was killed and does not end, see ps", h.name, h.Argv[0])
		}
	}
	r := c.exec(ctx, h, t)
	c.acting = r.Left
	if !r.OK() {
		return errors.New(h.ended(r))
	}
	return nil
}

// ended says how a command ended that failed. Where the limit was not its own, whoever has set it names it.
func (h action) ended(r command.Result) string {
	text := r.String()
	if r.TimedOut && h.Timeout <= 0 {
		text = "was still running, and was killed"
		if r.Left != nil {
			text += ", and does not end"
		}
		if line := r.FirstLine(); line != "" {
			text += ": " + line
		}
	}
	return fmt.Sprintf("%s command %s: %s", h.name, h.Argv[0], text)
}

func (c *commandControl) exec(ctx context.Context, h action, t Transition) command.Result {
	limited := *h.Hook
	if limited.Timeout <= 0 {
		limited.Timeout = DefaultTimeout
		if deadline, ok := ctx.Deadline(); ok {
			limited.Timeout = max(time.Until(deadline), 1) // the run ends with ctx
		}
	}
	argv, _ := c.words.argv(h.Argv, t)
	return c.run(ctx, limited, argv, c.words.environment(h.Env, t))
}

func (c *commandControl) Status(ctx context.Context, t Transition) service.Status {
	switch {
	case c.status.Hook == nil:
		return service.Status{State: c.known}
	case !c.asksRole():
		return c.ask(ctx, t, service.Running, service.Stopped)
	case t.To == Master:
		return c.ask(ctx, t, service.Running, service.Stopped)
	}
	// One that is in no role, since it does not run for instance, is no master that has to be demoted: so it is asked about
	// both roles.
	t.To = Backup
	st := c.ask(ctx, t, service.Stopped, service.Running)
	if st.State != service.Running {
		return st
	}
	t.To = Master
	if st = c.ask(ctx, t, service.Running, service.Unknown); st.State == service.Unknown {
		st.Text = "neither BACKUP nor MASTER: " + st.Text
	}
	return st
}

// asksRole says whether the words of the status command have $role.
func (c *commandControl) asksRole() bool {
	for _, w := range c.status.Argv {
		if strings.Contains(strings.ReplaceAll(w, "$$", ""), "$role") {
			return true
		}
	}
	return false
}

// ask runs the status command and returns yes where it exits 0, no where it does not.
func (c *commandControl) ask(ctx context.Context, t Transition, yes, no service.State) service.Status {
	if c.asking != nil {
		select {
		case <-c.asking:
			c.asking = nil
		default:
			return service.Status{Text: "an earlier status command was killed and does not end", Hint: "see ps: it hangs in the kernel"}
		}
	}
	r := c.exec(ctx, c.status, t)
	c.asking = r.Left
	switch {
	case r.OK():
		return service.Status{State: yes, Text: r.FirstLine()}
	case r.Err != nil, r.TimedOut:
		return service.Status{Text: c.status.ended(r), Hint: "run it by hand, as the same user"}
	}
	return service.Status{State: no, Text: r.String()}
}
