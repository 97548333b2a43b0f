package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"
)

const (
	// firstPoll and lastPoll are how often a container that comes up is looked at.
	firstPoll = 50 * time.Millisecond
	lastPoll  = time.Second
	// inspectLimit bounds the question whether it is up yet, so that an engine that
	// hangs does not swallow a start.
	inspectLimit = 10 * time.Second
	// lastRetry bounds the wait between two attempts at the stream of events.
	lastRetry = 5 * time.Second
)

// NewContainer returns a container of the engine behind a Unix socket, docker's
// or podman's, by its name. The container has to exist. It is a Watcher, too.
func NewContainer(socket, name string) Service {
	return &container{newEngine(socket), name}
}

type container struct {
	engine *engine
	name   string
}

// Status asks the engine. A container whose health check has not answered yet is
// Starting; one that ended with another status than a stop gives it is Failed.
func (c *container) Status(ctx context.Context) Status {
	now, err := c.engine.inspect(ctx, c.name)
	if isStatus(err, http.StatusNotFound) {
		return Status{Stopped, "no container " + c.name, "create it first, with --restart=no"}
	}
	if err != nil {
		return Status{Unknown, oneLine(err.Error()), c.engine.hint(err)}
	}
	st := now.status(c.engine.cli(), c.name)
	// Such an engine starts it on a passive node as well, when that boots.
	if policy := now.HostConfig.RestartPolicy.Name; policy != "" && policy != "no" {
		st.Text += "; restart policy " + oneLine(policy)
		if st.Hint != "" {
			return st
		}
		st.Hint = "where only the master may run it, the engine must not start it: " + c.engine.cli() + " update --restart=no " + c.name
	}
	return st
}

// health is what its health check has found, or nil without a check.
func (s containerState) health() *health {
	h := s.State.Health
	if h == nil {
		h = s.State.Healthcheck
	}
	if h == nil || h.Status == "" || h.Status == "none" {
		return nil
	}
	return h
}

func (s containerState) status(cli, name string) Status {
	logs := cli + " logs " + name
	switch s.State.Status {
	case "running":
		return s.running(logs)
	case "created":
		return Status{Stopped, "created, never started", ""}
	case "restarting", "initialized":
		return Status{Starting, s.State.Status, logs}
	case "stopping", "removing":
		return Status{Stopping, s.State.Status, ""}
	case "paused":
		return Status{Failed, "paused", cli + " unpause " + name}
	case "exited", "stopped", "dead":
		return s.ended(logs)
	}
	return Status{Unknown, oneLine(s.State.Status), ""}
}

// running is a container that runs, and may be ill.
func (s containerState) running(logs string) Status {
	h := s.health()
	switch {
	case h == nil:
		return Status{Running, "running", ""}
	case h.Status == "healthy":
		return Status{Running, "running, healthy", ""}
	case h.Status == "starting":
		return Status{Starting, "running, its health check has not passed yet", ""}
	case h.Status != "unhealthy":
		return Status{Unknown, "running, " + oneLine(h.Status), ""}
	}
	text := fmt.Sprintf("unhealthy, %d checks in a row", h.FailingStreak)
	if n := len(h.Log); n > 0 && oneLine(h.Log[n-1].Output) != "" {
		text += ": " + oneLine(h.Log[n-1].Output)
	}
	return Status{Failed, text, logs}
}

// ended tells a stop from a failure by the exit status: 0, or what SIGTERM (143),
// SIGINT (130) and SIGKILL (137) leave behind.
func (s containerState) ended(logs string) Status {
	text := fmt.Sprintf("%s with %d", s.State.Status, s.State.ExitCode)
	switch {
	case s.State.OOMKilled:
		return Status{Failed, text + ", out of memory", logs}
	case s.State.Error != "":
		return Status{Failed, text + ": " + oneLine(s.State.Error), logs}
	case s.State.Status == "dead":
		return Status{Failed, text, "remove it, and create it anew"}
	}
	switch s.State.ExitCode {
	case 0, 130, 137, 143:
		return Status{Stopped, text, ""}
	}
	return Status{Failed, text, logs}
}

// Start starts it and waits until it runs, and until its health check has passed
// where it has one.
func (c *container) Start(ctx context.Context) error {
	if err := c.engine.start(ctx, c.name); err != nil {
		if isStatus(err, http.StatusNotFound) {
			err = fmt.Errorf("no container %s: create it first", c.name)
		}
		return fmt.Errorf("start %s: %w", c.name, c.hinted(err))
	}
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		limited, cancel := context.WithTimeout(ctx, inspectLimit)
		now, err := c.engine.inspect(limited, c.name)
		cancel()
		if err != nil {
			return fmt.Errorf("start %s: %w", c.name, c.hinted(err))
		}
		st := now.status(c.engine.cli(), c.name)
		switch st.State {
		case Running:
			return nil
		case Starting:
		default:
			if st.Hint != "" {
				st.Text += "; see " + st.Hint
			}
			return fmt.Errorf("start %s: it is %s", c.name, st.Text)
		}
		if err := sleep(ctx, poll); err != nil {
			return fmt.Errorf("start %s: %s: %w", c.name, st.Text, err)
		}
	}
}

// hinted adds to an error what can be done about it.
func (c *container) hinted(err error) error {
	if hint := c.engine.hint(err); hint != "" {
		return fmt.Errorf("%w (%s)", err, hint)
	}
	return err
}

// Stop stops it and waits until it has ended. The engine kills it near the
// deadline of ctx: with the last quarter of the time left, at most five seconds.
func (c *container) Stop(ctx context.Context) error {
	grace := 10 * time.Second // the engines' own default
	for {
		if end, ok := ctx.Deadline(); ok {
			grace = max(time.Until(end)-margin(end), 0)
		}
		err := c.engine.stop(ctx, c.name, grace)
		if isStatus(err, http.StatusNotFound) {
			return nil
		}
		if err == nil {
			var now containerState
			now, err = c.engine.inspect(ctx, c.name)
			switch {
			case isStatus(err, http.StatusNotFound):
				return nil
			case err == nil && now.down():
				return nil
			case err == nil:
				err = errors.New("it is " + now.status(c.engine.cli(), c.name).Text)
			}
		}
		// It may be back before the time is up, unless it is there and says no.
		if errors.Is(err, fs.ErrPermission) || sleep(ctx, pause) != nil {
			return fmt.Errorf("stop %s: %w", c.name, c.hinted(err))
		}
	}
}

// down tells that no process of it is left.
func (s containerState) down() bool {
	switch s.State.Status {
	case "created", "exited", "stopped", "dead":
		return !s.State.Running
	}
	return false
}

// Watch follows the engine's events.
func (c *container) Watch(ctx context.Context, changed func()) {
	follow(ctx, lastRetry, changed, func(changed func()) {
		_ = c.engine.events(ctx, c.name, changed) // how it ended is what Status says, too
	})
}
