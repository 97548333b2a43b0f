package daemon

import (
	"context"
	"errors"
	"sync"
	"time"
)

// fresh is how long one turn of the loop is proof that it turns.
const fresh = time.Second

// pulse asks the loop for a turn on behalf of all who want to know whether it still
// takes any: at most one question is under way, and one a second is asked.
type pulse struct {
	mu    sync.Mutex
	asked *beat
}

// beat is one question.
type beat struct {
	done chan struct{} // closed by the loop
	at   time.Time     // of the answer; written before done is closed
}

// errHung is for people: a load balancer reads the status alone.
var errHung = errors.New("the protocol loop does not turn: look at the log and at the load of this host, or restart baton")

// Alive asks whether the protocol loop turns. It ends with ctx.
func (d *daemon) Alive(ctx context.Context) error {
	b := d.pulse.ask(func(answer func(time.Duration)) { d.parts.Go(func() { d.loop.post(d.ctx, answer) }) }) // the inbox may be full
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return errHung
	}
}

// ask returns the newest question, a new one where that is answered and not fresh
// any more.
func (p *pulse) ask(post func(answer func(now time.Duration))) *beat {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked != nil {
		select {
		case <-p.asked.done:
			if time.Since(p.asked.at) < fresh {
				return p.asked
			}
		default:
			return p.asked
		}
	}
	b := &beat{done: make(chan struct{})}
	p.asked = b
	post(func(time.Duration) { b.at = time.Now(); close(b.done) })
	return b
}
