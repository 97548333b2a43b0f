package service

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// maxInspect bounds the description of a container; usual are 10 to 50 KiB.
	maxInspect = 4 << 20
	// maxEvent bounds one line of the event stream.
	maxEvent = 64 << 10
	// maxRefusal bounds what an engine says about a failure.
	maxRefusal = 4 << 10
	// maxHeader bounds the header of an answer.
	maxHeader = 64 << 10
)

// engine is docker, or podman with the same API, behind a Unix socket. Each call
// is one connection: there are few, and none is left open.
type engine struct {
	socket string
	http   *http.Client
}

func newEngine(socket string) *engine {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &engine{socket, &http.Client{
		Transport: &http.Transport{
			DialContext: dial, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// cli is the command that an administrator has for it.
func (e *engine) cli() string {
	if strings.Contains(e.socket, "podman") {
		return "podman"
	}
	return "docker"
}

// apiError is an error that the engine answered with.
type apiError struct {
	status int
	text   string
}

func (e *apiError) Error() string { return e.text }

// isStatus tells whether the engine answered with this HTTP status.
func isStatus(err error, status int) bool {
	var e *apiError
	return errors.As(err, &e) && e.status == status
}

// call makes a request. The caller closes the body, which is not bounded yet.
func (e *engine) call(ctx context.Context, method, path string, query url.Values) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: "engine", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return nil, e.unreachable(ctx, err)
	}
	// 304 is its word for "so it is already".
	if resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusNotModified {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		return nil, e.unreachable(ctx, err)
	}
	var refusal struct{ Message string }
	text := string(said)
	if json.Unmarshal(said, &refusal) == nil && refusal.Message != "" {
		text = refusal.Message
	}
	if text = oneLine(text); text == "" {
		text = "nothing else"
	}
	return nil, &apiError{resp.StatusCode, fmt.Sprintf("%s answers %d: %s", e.socket, resp.StatusCode, text)}
}

// unreachable words the failure of a request.
func (e *engine) unreachable(ctx context.Context, err error) error {
	var (
		op *net.OpError
		u  *url.Error
	)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer in time: %w", e.socket, ctx.Err())
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", e.socket, ctx.Err())
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("connect %s: %w", e.socket, bare(err))
	case errors.As(err, &u):
		err = u.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it closed the connection without an answer")
	}
	return fmt.Errorf("ask %s: %w", e.socket, bare(err))
}

// hint says what can be done about an engine that cannot be asked.
func (e *engine) hint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return "the engine does not run here: systemctl status docker, or podman.socket"
	case errors.Is(err, fs.ErrPermission):
		return "baton may not use the socket: it must run as root, or SupplementaryGroups=docker in its unit"
	}
	return ""
}

// containerState is what is used of an engine's description of a container.
type containerState struct {
	State struct {
		Status    string // created, running, paused, restarting, removing, exited, dead
		Running   bool
		OOMKilled bool
		ExitCode  int
		Error     string
		Health    *health
		// Healthcheck is what older podmans call it.
		Healthcheck *health
	}
	HostConfig struct{ RestartPolicy struct{ Name string } }
}

// health is what a container's health check has found.
type health struct {
	Status        string // none, starting, healthy, unhealthy; empty with podman and no check
	FailingStreak int
	Log           []struct{ Output string }
}

// inspect asks for a container.
func (e *engine) inspect(ctx context.Context, name string) (containerState, error) {
	var c containerState
	body, err := e.call(ctx, http.MethodGet, "/containers/"+name+"/json", nil)
	if err != nil {
		return c, err
	}
	defer body.Close()
	said, err := io.ReadAll(io.LimitReader(body, maxInspect+1))
	switch {
	case err != nil:
		return c, e.unreachable(ctx, err)
	case len(said) > maxInspect:
		return c, fmt.Errorf("%s describes %s with more than %d MiB", e.socket, name, maxInspect>>20)
	}
	if err := json.Unmarshal(said, &c); err != nil || c.State.Status == "" {
		return c, fmt.Errorf("%s does not answer as a container engine", e.socket)
	}
	return c, nil
}

// start tells it to start; that it runs is no mistake.
func (e *engine) start(ctx context.Context, name string) error {
	return e.do(ctx, "/containers/"+name+"/start", nil)
}

// stop tells it to stop and waits; it is killed after grace.
func (e *engine) stop(ctx context.Context, name string, grace time.Duration) error {
	t := strconv.Itoa(int(grace / time.Second))
	return e.do(ctx, "/containers/"+name+"/stop", url.Values{"t": {t}})
}

func (e *engine) do(ctx context.Context, path string, query url.Values) error {
	body, err := e.call(ctx, http.MethodPost, path, query)
	if err != nil {
		return err
	}
	return body.Close()
}

// events calls changed once the engine listens, and at each event of a container,
// until the stream ends.
func (e *engine) events(ctx context.Context, name string, changed func()) error {
	filters, err := json.Marshal(map[string][]string{"type": {"container"}, "container": {name}})
	if err != nil {
		return err
	}
	body, err := e.call(ctx, http.MethodGet, "/events", url.Values{"filters": {string(filters)}})
	if err != nil {
		return err
	}
	defer body.Close()
	changed()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		var event struct{ Action, Status string }
		// What cannot be read may be a change as well.
		_ = json.Unmarshal(lines.Bytes(), &event)
		action := event.Action
		if action == "" {
			action = event.Status
		}
		// A health check is an exec, each few seconds; its outcome is another event.
		if !strings.HasPrefix(action, "exec_") {
			changed()
		}
	}
	if err := lines.Err(); err != nil {
		return e.unreachable(ctx, err)
	}
	return io.EOF
}
