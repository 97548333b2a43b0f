package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"baton/internal/control"
)

// A new master waits for promote_after, since nobody on the wire can say that the
// services of the old one have stopped: priority 0 does not, keepalived sends it
// before its stop hooks. The listener of the old one can.

// askAgain is how soon a previous master is asked again that has not confirmed.
const askAgain = 200 * time.Millisecond

// confirmation is what a previous master is to confirm.
type confirmation struct {
	group    string
	node     string   // the previous master
	services []string // that must have stopped there
	order    uint64   // of the start that waits
	until    time.Time
}

// confirm asks the previous master, where there is something to wait for.
func (g *group) confirm(delay time.Duration) {
	t := g.last
	if delay <= 0 || t.PreviousMaster == "" || t.PreviousMaster == g.node.cfg.Node {
		return
	}
	q := confirmation{group: g.name, node: t.PreviousMaster, order: g.bound.order}
	for _, s := range g.routers[0].cfg.Services {
		if !s.OnlyAfterSilence {
			q.services = append(q.services, s.Name)
		}
	}
	g.node.out.confirm(q, delay)
}

// confirmed says that the previous master has confirmed, or why it has not. What
// belongs to an earlier start says nothing of this one.
func (n *node) confirmed(_ time.Duration, q confirmation, err error) {
	i := slices.IndexFunc(n.groups, func(g *group) bool { return g.name == q.group })
	if i < 0 {
		return
	}
	g := n.groups[i]
	if g.bound == nil || g.bound.wish != run || g.bound.order != q.order {
		return
	}
	if err != nil {
		g.log.Info("the previous master has not confirmed that its services are stopped: promote_after was waited", "previous_master", q.node, "err", err)
		return
	}
	g.log.Info("the previous master confirms that its services are stopped: promote_after is over", "previous_master", q.node)
	n.out.event(control.ServiceEvent, g.name, "promote_after is over", q.node+" confirms that its services are stopped")
	g.bound.run.StartNow(q.order)
}

// confirmations asks previous masters, beside the protocol loop.
type confirmations struct {
	ask  func(ctx context.Context, node string) (*control.Status, error)
	tell func(q confirmation, err error) // nil: confirmed
	more chan struct{}                   // holds one where there is a new question

	mu   sync.Mutex
	open map[string]confirmation // by group
}

func newConfirmations(ask func(ctx context.Context, node string) (*control.Status, error), tell func(confirmation, error)) *confirmations {
	return &confirmations{ask: ask, tell: tell, more: make(chan struct{}, 1), open: make(map[string]confirmation)}
}

// add takes a question, in the place of an older one of the group. It does not wait.
func (c *confirmations) add(q confirmation, within time.Duration) {
	q.until = time.Now().Add(within)
	c.mu.Lock()
	c.open[q.group] = q
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// byNode are the open questions by whom they are for.
func (c *confirmations) byNode() map[string][]confirmation {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string][]confirmation)
	for _, q := range c.open {
		all[q.node] = append(all[q.node], q)
	}
	return all
}

// run asks until ctx ends.
func (c *confirmations) run(ctx context.Context) error {
	tick := time.NewTimer(askAgain)
	defer tick.Stop()
	for {
		tick.Stop()
		if c.round(ctx) {
			tick.Reset(askAgain)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.more:
		case <-tick.C:
		}
	}
}

// round asks each node once that there is a question for, all at the same time, and
// tells whether any is left.
func (c *confirmations) round(ctx context.Context) (left bool) {
	var asked sync.WaitGroup
	for node, questions := range c.byNode() {
		asked.Go(func() {
			status, err := c.ask(ctx, node)
			for _, q := range questions {
				why := err
				if why == nil {
					why = stoppedAt(status, q)
				}
				c.settle(q, why)
			}
		})
	}
	asked.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) > 0
}

// settle closes a question that is confirmed, or for which the time is over, unless
// another one has taken its place.
func (c *confirmations) settle(q confirmation, why error) {
	if why != nil && time.Now().Before(q.until) {
		return
	}
	c.mu.Lock()
	now, still := c.open[q.group]
	still = still && now.order == q.order && now.until.Equal(q.until)
	if still {
		delete(c.open, q.group)
	}
	c.mu.Unlock()
	if still {
		c.tell(q, why)
	}
}

// stoppedAt tells why the services are not known to have stopped where the status
// is from; nil: they have.
func stoppedAt(s *control.Status, q confirmation) error {
	if s.Node != q.node {
		return fmt.Errorf("its listener is that of %q", s.Node)
	}
	i := slices.IndexFunc(s.Routers, func(r control.Router) bool { return r.Name == q.group })
	if i < 0 {
		return fmt.Errorf("it does not run %s", q.group)
	}
	r := s.Routers[i]
	if r.Role == "MASTER" {
		return errors.New("it is master itself")
	}
	for _, name := range q.services {
		if !slices.ContainsFunc(r.Services, func(s control.Service) bool { return s.Name == name }) {
			return fmt.Errorf("it says nothing of %s", name)
		}
	}
	for _, s := range r.Services {
		if s.State != "stopped" {
			return fmt.Errorf("%s is %s", s.Name, s.State)
		}
	}
	return nil
}

// told knows when the listener has last told somebody the status.
type told struct {
	now  func() time.Duration
	at   atomic.Int64  // by now; 0: never
	news chan struct{} // holds one where at has changed
}

func newTold(now func() time.Duration) *told {
	return &told{now: now, news: make(chan struct{}, 1)}
}

// note is called from any goroutine.
func (t *told) note() {
	t.at.Store(int64(t.now()))
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// linger waits until somebody has been told after a moment: a node that leaves has to
// be there when its successor asks whether the services have stopped. It waits at most
// so long after that moment.
func (t *told) linger(after, within time.Duration) {
	over := time.NewTimer(after + within - t.now())
	defer over.Stop()
	for within > 0 && time.Duration(t.at.Load()) < after {
		select {
		case <-t.news:
		case <-over.C:
			return
		}
	}
}
