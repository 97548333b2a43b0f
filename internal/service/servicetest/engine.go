package servicetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Engine answers at a Unix socket as docker does.
type Engine struct {
	Socket string
	server *http.Server

	mu         sync.Mutex
	containers map[string]*Container
	calls      []string
	events     []string      // all so far, as JSON
	more       chan struct{} // closed and replaced at each event
	cut        chan struct{} // closed and replaced when streams shall end
	instead    http.Handler
}

// Container is one container of an Engine, and what it is.
type Container struct {
	Name          string
	Status        string // created unless said
	ExitCode      int
	OOMKilled     bool
	Error         string
	Health        string // empty: it has no health check
	HealthLog     string
	RestartPolicy string

	// On are the states that a start brings, one for each time that it is looked at;
	// the last one stays. running unless said.
	On []string
	// StartError and StopError are what a start or stop is answered with, with 500.
	StartError, StopError string
	// StopDelay is how long a stop takes; it is killed before where the time given
	// to it is shorter.
	StopDelay time.Duration
	// Stubborn is not ended by a stop.
	Stubborn bool
}

// NewEngine listens at dir/engine.sock. The caller closes it.
func NewEngine(dir string, containers ...Container) (*Engine, error) {
	e := &Engine{
		Socket: filepath.Join(dir, "engine.sock"), containers: map[string]*Container{}, more: make(chan struct{}), cut: make(chan struct{}),
	}
	for _, c := range containers {
		if c.Status == "" {
			c.Status = "created"
		}
		e.containers[c.Name] = &c
	}
	l, err := net.Listen("unix", e.Socket)
	if err != nil {
		return nil, fmt.Errorf("an engine for tests: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containers/{name}/json", e.inspect)
	mux.HandleFunc("POST /containers/{name}/start", e.start)
	mux.HandleFunc("POST /containers/{name}/stop", e.stop)
	mux.HandleFunc("GET /events", e.stream)
	e.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		h := e.instead
		e.mu.Unlock()
		if h == nil {
			h = mux
		}
		h.ServeHTTP(w, r)
	})}
	go func() { _ = e.server.Serve(l) }() // ends with Close
	return e, nil
}

// Close ends it and all connections.
func (e *Engine) Close() error { return e.server.Close() }

// Disconnect ends all streams of events.
func (e *Engine) Disconnect() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.cut)
	e.cut = make(chan struct{})
}

// Instead lets h answer everything; nil ends that.
func (e *Engine) Instead(h http.Handler) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.instead = h
}

// Calls lists the starts and stops, such as "stop osc t=3".
func (e *Engine) Calls() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.calls...)
}

// Set changes a container, and tells so with an event of this name.
func (e *Engine) Set(name, event string, change func(*Container)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e.containers[name])
	e.tell(name, event)
}

// tell is an event. e.mu is held.
func (e *Engine) tell(name, action string) {
	line, _ := json.Marshal(map[string]any{"Type": "container", "Action": action, "status": action, "Actor": map[string]any{"Attributes": map[string]string{"name": name}}})
	e.events = append(e.events, string(line))
	close(e.more)
	e.more = make(chan struct{})
}

func (e *Engine) find(w http.ResponseWriter, r *http.Request) *Container {
	c := e.containers[r.PathValue("name")]
	if c == nil {
		answer(w, http.StatusNotFound, map[string]string{"message": "No such container: " + r.PathValue("name")})
	}
	return c
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // who is gone misses it
}

func (e *Engine) inspect(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.find(w, r)
	if c == nil {
		return
	}
	status, health := c.Status, c.Health
	if next, word, ok := strings.Cut(status, "/"); ok {
		status, health = next, word
	}
	state := map[string]any{
		"Status": status, "Running": status == "running" || status == "paused" || status == "restarting",
		"ExitCode": c.ExitCode, "OOMKilled": c.OOMKilled, "Error": c.Error,
	}
	if health != "" {
		state["Health"] = map[string]any{"Status": health, "FailingStreak": 3, "Log": []map[string]any{{"ExitCode": 0, "Output": "early"}, {"ExitCode": 1, "Output": c.HealthLog}}}
	}
	answer(w, http.StatusOK, map[string]any{
		"Id": "0123", "Name": "/" + c.Name, "State": state, "HostConfig": map[string]any{"RestartPolicy": map[string]any{"Name": c.RestartPolicy}},
	})
	if len(c.On) > 0 && c.Status != "created" {
		c.Status, c.On = c.On[0], c.On[1:]
	}
}

func (e *Engine) start(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, "start "+r.PathValue("name"))
	c := e.find(w, r)
	switch {
	case c == nil:
	case c.StartError != "":
		answer(w, http.StatusInternalServerError, map[string]string{"message": c.StartError})
	case strings.HasPrefix(c.Status, "running"):
		w.WriteHeader(http.StatusNotModified)
	default:
		c.Status = "running"
		if len(c.On) > 0 {
			c.Status, c.On = c.On[0], c.On[1:]
		}
		e.tell(c.Name, "start")
		w.WriteHeader(http.StatusNoContent)
	}
}

func (e *Engine) stop(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.calls = append(e.calls, "stop "+r.PathValue("name")+" t="+r.URL.Query().Get("t"))
	c := e.find(w, r)
	if c == nil {
		e.mu.Unlock()
		return
	}
	delay := c.StopDelay
	e.mu.Unlock()
	var grace int
	if _, err := fmt.Sscan(r.URL.Query().Get("t"), &grace); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"message": "t: " + err.Error()})
		return
	}
	killed := delay > time.Duration(grace)*time.Second
	if killed {
		delay = time.Duration(grace) * time.Second
	}
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case c.StopError != "":
		answer(w, http.StatusInternalServerError, map[string]string{"message": c.StopError})
		return
	case c.Stubborn:
	case c.Status == "running" || c.Status == "paused" || c.Status == "restarting":
		c.Status, c.ExitCode = "exited", 143
		if killed {
			c.ExitCode = 137
		}
		e.tell(c.Name, "die")
	default:
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// stream sends events until the client goes.
func (e *Engine) stream(w http.ResponseWriter, r *http.Request) {
	var filters map[string][]string
	if err := json.Unmarshal([]byte(r.URL.Query().Get("filters")), &filters); err != nil || len(filters["container"]) != 1 {
		answer(w, http.StatusBadRequest, map[string]string{"message": "filters: " + fmt.Sprint(maps.Keys(filters))})
		return
	}
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	e.mu.Lock()
	at, more, cut := len(e.events), e.more, e.cut
	e.mu.Unlock()
	for last := false; out.Flush() == nil && !last; {
		select {
		case <-more:
		case <-cut:
			last = true // what came before it is still sent
		case <-r.Context().Done():
			return
		}
		e.mu.Lock()
		lines := e.events[at:]
		at, more = len(e.events), e.more
		e.mu.Unlock()
		for _, line := range lines {
			if _, err := fmt.Fprintln(w, line); err != nil {
				return
			}
		}
	}
}
