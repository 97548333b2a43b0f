package runner

import (
	"context"
	"time"

	"baton/health"
	"baton/internal/service"
)

// Reboot reboots this host, where the configuration has that. It returns only
// where that failed.
func (c *Client) Reboot(ctx context.Context) error {
	_, err := c.ask(ctx, request{Kind: rebootHost})
	return err
}

// Reload makes the runner read the configuration anew, beside the one that it has.
func (c *Client) Reload(ctx context.Context) error {
	_, err := c.ask(ctx, request{Kind: rereadConfig})
	return err
}

// Check asks a check in the runner. Its errors are a failure of it.
func (c *Client) Check(name string) health.Probe { return checkProbe{c, name} }

type checkProbe struct {
	client *Client
	name   string
}

func (p checkProbe) Probe(ctx context.Context) health.Answer {
	a, err := p.client.ask(ctx, request{Kind: askCheck, Check: p.name})
	if err != nil {
		return health.Answer{Text: err.Error()}
	}
	if a.Health == nil {
		return health.Answer{Text: "the runner gives no answer"}
	}
	return *a.Health
}

// Unit is a unit of systemd, which the runner starts and stops. Everybody may ask
// about it: that is local's part.
func (c *Client) Unit(local service.Service, name string) service.Service {
	m := managed{c, request{Unit: name}}
	if w, ok := local.(service.Watcher); ok {
		return struct {
			changer
			service.Watcher
			statusOf
		}{changer{m}, w, statusOf{local}}
	}
	return struct {
		changer
		statusOf
	}{changer{m}, statusOf{local}}
}

// Container is a container whose engine the runner asks: who may use its socket
// may do anything. It is a service.Watcher.
func (c *Client) Container(socket, name string) service.Service {
	m := managed{c, request{Container: &containerName{socket, name}}}
	return container{changer{m}}
}

// managed is what a manager on this host looks after.
type managed struct {
	client  *Client
	request request
}

func (m managed) ask(ctx context.Context, what kind) (answer, error) {
	r := m.request
	r.Kind = what
	return m.client.ask(ctx, r)
}

type changer struct{ managed }

func (c changer) Start(ctx context.Context) error {
	_, err := c.ask(ctx, startUnit)
	return err
}

func (c changer) Stop(ctx context.Context) error {
	_, err := c.ask(ctx, stopUnit)
	return err
}

type statusOf struct{ service service.Service }

func (s statusOf) Status(ctx context.Context) service.Status { return s.service.Status(ctx) }

type container struct{ changer }

func (c container) Status(ctx context.Context) service.Status {
	a, err := c.ask(ctx, askUnit)
	switch {
	case err != nil:
		return service.Status{Text: err.Error(), Hint: c.client.mend}
	case a.Status == nil:
		return service.Status{Text: "the runner gives no answer"}
	}
	return *a.Status
}

// Watch lets the runner follow the engine's events. The loss of the runner is a
// change, and so is its return.
func (c container) Watch(ctx context.Context, changed func()) {
	lost := false
	for retry := firstRetry; ctx.Err() == nil; retry = min(2*retry, lastRetry) {
		reached := c.watch(ctx, changed)
		if ctx.Err() != nil {
			return
		}
		if reached || !lost {
			changed()
		}
		if lost = true; reached {
			retry = firstRetry
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
	}
}

func (c container) watch(ctx context.Context, changed func()) (reached bool) {
	conn, err := c.client.attempt(time.Now().Add(helloLimit))
	if err != nil {
		return false
	}
	r := c.request
	r.Kind = watchUnit
	if c.client.send(conn, r) != nil {
		return false
	}
	defer c.client.drop(conn)
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_ = conn.SetReadDeadline(time.Time{})
	for {
		var a answer
		if read(conn, &a) != nil || a.err() != nil {
			return reached
		}
		reached = true
		changed()
	}
}
