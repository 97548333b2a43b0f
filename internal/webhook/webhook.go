// Package webhook tells HTTP servers of changes, as JSON.
//
// It must not make its caller wait, whatever a server does: each hook has a
// goroutine and a bounded queue of its own. It must never show a URL, a header
// or a token: they are secrets as a rule. It knows nothing of roles and checks
// but their words.
package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"baton/internal/tlsclient"
)

const (
	// queueLength is how many events wait for each hook beside the one that is
	// being delivered.
	queueLength = 64
	// firstRetry is how long after a failure it is tried again; each further pause
	// is twice as long, up to longestRetry.
	firstRetry   = time.Second
	longestRetry = 30 * time.Second
	// defaultTimeout bounds a request of a hook that has no limit.
	defaultTimeout = 5 * time.Second
	// droppedEvery is how often the log says that events were dropped.
	droppedEvery = time.Minute
)

// Hook is a URL that is told of changes. The fields are those of the
// configuration.
type Hook struct {
	Name    string
	URL     string
	Headers map[string]string // secret
	Token   string            // sent as a bearer token; secret; empty: none
	Events  []string          // role, check, service: what it is told of; empty: of all
	Timeout time.Duration     // of each request; 0: 5 s
	Retries int               // how often one event is tried again
	TLS     tlsclient.Options
}

// Sender delivers events to hooks. Its methods may be called from any goroutine.
type Sender struct {
	node   string
	hooks  []*hook
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// New starts a goroutine for each hook; Close ends them. node is who tells.
func New(hooks []Hook, node string, log *slog.Logger) *Sender {
	return newSender(hooks, node, log, nil)
}

// Tell queues an event for each hook that wants it, and returns at once. Of a
// full queue the oldest event is dropped. After Close it does nothing.
func (s *Sender) Tell(e Event) {
	var body []byte
	for _, h := range s.hooks {
		if len(h.Events) > 0 && !slices.Contains(h.Events, e.kind()) {
			continue
		}
		if body == nil {
			body = encode(e, s.node, time.Now())
		}
		h.put(event{kind: e.kind(), body: body})
	}
}

// Close gives each event that is queued one more try, one after the other, until
// one gets no answer, and ends what is left with ctx. Its error says how many
// events were not delivered then.
func (s *Sender) Close(ctx context.Context) error {
	for _, h := range s.hooks {
		h.close()
	}
	stop := context.AfterFunc(ctx, s.cancel)
	s.ended.Wait()
	stop()
	s.cancel()
	left := 0
	for _, h := range s.hooks {
		left += h.left
	}
	if left > 0 {
		return fmt.Errorf("webhook events not delivered: %d", left)
	}
	return nil
}

func newSender(hooks []Hook, node string, log *slog.Logger, dial dialFunc) *Sender {
	s := &Sender{node: node}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	for _, config := range hooks {
		h := newHook(config, log, dial)
		s.hooks = append(s.hooks, h)
		s.ended.Go(func() { h.run(ctx) })
	}
	return s
}

func newHook(config Hook, log *slog.Logger, dial dialFunc) *hook {
	h := &hook{
		Hook: config, log: log.With("webhook", config.Name), tls: tlsclient.New(config.TLS), dial: dial,
		wake: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	if h.Timeout <= 0 {
		h.Timeout = defaultTimeout
	}
	return h
}

// event is what is sent.
type event struct {
	kind string
	body []byte
}

// hook is a Hook with its queue and its goroutine.
type hook struct {
	Hook
	log     *slog.Logger
	tls     *tlsclient.Source
	dial    dialFunc
	wake    chan struct{} // has one element when something is new
	closing chan struct{} // closed by close
	silent  bool          // the last try got no answer
	left    int           // events that were not delivered since it was closed

	mu      sync.Mutex
	queue   []event
	closed  bool
	dropped int       // since the log said so
	said    time.Time // when it did
}

// put queues an event.
func (h *hook) put(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	if len(h.queue) == queueLength {
		h.queue = slices.Delete(h.queue, 0, 1)
		h.drop()
	}
	h.queue = append(h.queue, e)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// drop counts an event that found no room, and says so once a minute.
func (h *hook) drop() {
	h.dropped++
	if now := time.Now(); now.Sub(h.said) >= droppedEvery {
		h.log.Warn("webhook events dropped: the oldest of a full queue", "dropped", h.dropped)
		h.dropped, h.said = 0, now
	}
}

// close lets run end once the queue is empty.
func (h *hook) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	if h.dropped > 0 {
		h.log.Warn("webhook events dropped: the oldest of a full queue", "dropped", h.dropped)
	}
	close(h.closing)
}

// next takes the oldest event.
func (h *hook) next() (e event, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) == 0 {
		return event{}, false
	}
	e = h.queue[0]
	h.queue = slices.Delete(h.queue, 0, 1)
	return e, true
}

// run delivers events in their order until it is closed, or ctx ends.
func (h *hook) run(ctx context.Context) {
	gone := false // the server, when the end of baton must not wait for it
	for {
		e, ok := h.next()
		switch {
		case ok && (gone || ctx.Err() != nil):
			h.left++
		case ok:
			if !h.deliver(ctx, e) && h.isClosing() {
				h.left++
				gone = h.silent
			}
		default:
			select {
			case <-h.wake:
			case <-h.closing:
				if h.empty() { // what came before it was closed is still delivered
					return
				}
			}
		}
	}
}

func (h *hook) empty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.queue) == 0
}

// deliver tries until the event is delivered, cannot be, or has been tried often
// enough. After close it is tried once more and no longer.
func (h *hook) deliver(ctx context.Context, e event) bool {
	pause := firstRetry
	for try := 0; ; try++ {
		last := try >= h.Retries || h.isClosing()
		again, err := h.send(ctx, e)
		switch {
		case err == nil:
			h.log.Debug("webhook told", "event", e.kind, "tries", try+1)
			return true
		case !again || last || ctx.Err() != nil:
			h.log.Warn("webhook failed", "event", e.kind, "tries", try+1, "err", err)
			return false
		}
		h.log.Debug("webhook is tried again", "event", e.kind, "after", pause, "err", err)
		select {
		case <-time.After(pause):
		case <-h.closing:
		case <-ctx.Done():
		}
		pause = min(2*pause, longestRetry)
	}
}

func (h *hook) isClosing() bool {
	select {
	case <-h.closing:
		return true
	default:
		return false
	}
}

// encode writes an event as the server gets it.
func encode(e Event, node string, now time.Time) []byte {
	body, err := json.Marshal(e.body(head{Event: e.kind(), Time: now.UTC(), Node: node}))
	if err != nil {
		panic(fmt.Sprintf("webhook: an event of strings and numbers is no JSON: %v", err))
	}
	return append(body, '\n')
}
