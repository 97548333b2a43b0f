package vip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// watchBuffer holds some 10,000 notifications: what comes while a batch is
	// under way. An overrun costs a resync, nothing else.
	watchBuffer = 8 << 20
	// requestBuffer holds the answers to one batch, many times over.
	requestBuffer = 1 << 20
	// stuckAfter is when a request without an answer is reported. The kernel
	// takes 20 µs; a lock that others hold (RTNL) can take long.
	stuckAfter = time.Second
	// staleRetry is the time between attempts to read the kernel's state.
	staleRetry = 100 * time.Millisecond
)

// Worker owns all virtual addresses of the process. Its sockets live in the
// network namespace of the thread that called New, whatever thread Run is on.
type Worker struct {
	log    *slog.Logger
	report func(Event)
	saying sync.Mutex // held while report is called

	requests requests
	watch    int      // rtnetlink socket with the kernel's notifications
	routes   int      // one of its own for routes and rules, of which there may be a flood
	packet   int      // packet socket, not bound: sends on any interface, receives nothing
	bell     *os.File // eventfd that ends wait
	bellFD   int
	rung     atomic.Bool
	stuck    *time.Timer

	adding sync.Mutex // guards added; held for an append only
	added  []addition

	table *table
	stale bool // what the table knows of the kernel may be wrong
	buf   []byte

	told [2]atomic.Uint64 // announcements sent, by whether IPv6

	namespace int // the network namespace of the sockets
	refusal   refusal
}

// addition is a router, or are changes of some, that Run has not taken over yet.
type addition struct {
	router  Router
	handle  *Handle
	changes []reshaping
}

// New opens the worker's sockets in the calling thread's network namespace. The
// error names the capability where one is missing. Either Run or Close frees
// them.
//
// The packet socket is not one of mdlayher/packet, which is bound to one
// interface and would have to be opened again, in this namespace, for each
// interface that comes; here one serves all.
func New(o Options) (_ *Worker, err error) {
	w := &Worker{
		log: o.Log, report: o.Report, watch: -1, routes: -1, packet: -1, namespace: -1,
		refusal: refusal{watch: -1}, requests: requests{fd: -1}, buf: make([]byte, 64<<10),
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	w.table = newTable(w.log, w.emit)
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if w.namespace, err = openNamespace(); err != nil {
		return nil, err
	}
	if w.packet, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, fmt.Errorf("open packet socket for announcements: %w", missing(err, "CAP_NET_RAW"))
	}
	if w.requests.fd, err = openNetlink(requestBuffer); err != nil {
		return nil, err
	}
	w.watch, err = openNetlink(watchBuffer, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF)
	if err != nil {
		return nil, err
	}
	if err = w.openRoutes(); err != nil {
		return nil, err
	}
	// Blocking, so that os.File keeps it out of the runtime's poller: a write
	// blocks only on a counter of 2^64-2, and is refused, not misdirected, when
	// the file is closed.
	if w.bellFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	w.bell = os.NewFile(uintptr(w.bellFD), "eventfd")
	// A removal from no interface fails in any case; without privilege it fails
	// with EPERM before the kernel looks at it.
	probe := &nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: unix.RTM_DELADDR}}
	probe.AddData(nl.NewIfAddrmsg(unix.AF_INET))
	if err = w.requests.exchange([]*nl.NetlinkRequest{probe})[0]; errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("change addresses: %w", missing(err, "CAP_NET_ADMIN"))
	}
	w.stuck = time.AfterFunc(time.Hour, func() {
		w.emit(Event{Kind: Stuck, Err: fmt.Errorf("change addresses: %w", errNoAnswer), After: stuckAfter})
	})
	w.stuck.Stop()
	return w, nil
}

// missing adds the capability's name to an error for want of it.
func missing(err error, capability string) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: %s is missing", err, capability)
	}
	return err
}

// Close frees the sockets of a worker that is not run. Run does it by itself.
func (w *Worker) Close() {
	for _, fd := range []*int{&w.requests.fd, &w.watch, &w.routes, &w.packet, &w.namespace, &w.refusal.watch} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
		}
		*fd = -1
	}
	if w.bell != nil {
		_ = w.bell.Close()
	}
}

// Add registers a router, before Run or during it. What an earlier run left of
// its addresses, routes and rules is removed first of all, unless Hold is called
// before the worker comes to it: then they are taken over as they are.
func (w *Worker) Add(r Router) *Handle {
	h := newHandle(r, w.ring)
	w.adding.Lock()
	w.added = append(w.added, addition{router: r, handle: h})
	w.adding.Unlock()
	w.ring()
	return h
}

// ring wakes the worker.
func (w *Worker) ring() {
	if w.rung.CompareAndSwap(false, true) {
		_, _ = w.bell.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}) // any number but zero, in either byte order
	}
}

// Run does the work until ctx ends, and then leaves the addresses as they are;
// the interfaces of virtual MACs, and the nftables table of Refuse, go when no
// address needs them.
// It is called once. It fails only when the kernel's state cannot be read at
// the start.
func (w *Worker) Run(ctx context.Context) error {
	defer w.Close()
	defer context.AfterFunc(ctx, w.ring)()
	w.take()
	if err := w.resync(); err != nil {
		return err
	}
	w.guard(true)
	if len(w.refusal.wanted) == 0 {
		w.leaveRefusal()
	}
	for ctx.Err() == nil {
		added := w.take()
		if added {
			w.stale = true
		}
		w.hearRefusal()
		if w.table.drops {
			w.table.tidy()
			added = true // for guard: what is gone need not be refused
		}
		w.guard(added)
		w.table.wishes(now())
		w.listen()
		if requests := w.table.plan(now()); len(requests) > 0 {
			start := now()
			w.do(requests)
			w.table.paced(requests, now()-start)
			w.listen()
		}
		if addrs := w.table.unsettled(now()); len(addrs) > 0 {
			w.table.settled(w.requests.local(addrs), now())
		}
		w.announce()
		w.table.report(now())
		if err := w.wait(); err != nil {
			return err
		}
	}
	w.leave()
	return nil
}

// leave takes away, at the end, what holds no address.
func (w *Worker) leave() {
	w.listen()
	if len(w.refusal.wanted) > 0 {
		w.leaveRefusal()
	}
	for range 2 { // the macvlans; then what was changed below them
		if requests := w.table.leaving(); len(requests) > 0 {
			w.do(requests)
			w.listen()
		}
	}
}

// take moves newly added routers, and changes, into the table and reports whether
// there were any.
func (w *Worker) take() bool {
	w.adding.Lock()
	added := w.added
	w.added = nil
	w.adding.Unlock()
	for _, a := range added {
		if a.handle == nil {
			w.table.reconfigure(a.changes)
			continue
		}
		w.table.add(a.router, a.handle)
	}
	if len(added) > 0 {
		w.watchRoutes()
	}
	return len(added) > 0
}

// wait returns when there is something to do.
func (w *Worker) wait() error {
	timeout := never
	if due := w.table.deadline(); due != never {
		timeout = max(0, due-now())
	}
	if w.stale {
		timeout = min(timeout, staleRetry)
	}
	if len(w.refusal.wanted) > 0 {
		timeout = min(timeout, max(0, w.refusal.dueAt-now()))
	}
	fds := []unix.PollFd{
		{Fd: int32(w.bellFD), Events: unix.POLLIN},
		{Fd: int32(w.watch), Events: unix.POLLIN},
		{Fd: int32(w.routes), Events: unix.POLLIN},
		{Fd: int32(w.refusal.watch), Events: unix.POLLIN}, // below 0: not looked at
	}
	var until *unix.Timespec
	if timeout != never {
		t := unix.NsecToTimespec(int64(timeout))
		until = &t
	}
	if _, err := unix.Ppoll(fds, until, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for work: %w", err)
	}
	if fds[0].Revents&unix.POLLIN != 0 {
		var b [8]byte
		_, _ = w.bell.Read(b[:])
		w.rung.Store(false)
	}
	return nil
}

// listen tells the table all that the kernel has said so far. The kernel says
// it before it answers the request that caused it, so that after a batch and
// listen the table knows of the batch's own effects.
func (w *Worker) listen() {
	for {
		msgs, err := receive(w.watch, w.buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if w.stale {
				if err := w.resync(); err != nil {
					w.log.Error("kernel state not read, will be tried again", "err", err)
				}
			}
			w.listenRoutes()
			return
		case errors.Is(err, unix.ENOBUFS): // some were lost
			w.stale = true
			w.log.Info("address notifications lost, reading all", "err", err)
			continue
		case err != nil:
			w.stale = true
			w.log.Error("address notifications not read", "err", err)
			return
		}
		for _, m := range msgs {
			w.table.hear(m)
		}
	}
}

// resync reads the kernel's whole state into the table.
func (w *Worker) resync() error {
	w.stale = true
	w.stuck.Reset(stuckAfter)
	defer w.stuck.Stop()
	const attempts = 5 // others may change addresses all the time; notifications mend the rest
	var d dump
	for range attempts {
		d = dump{}
		changedLinks, err := w.requests.dump(unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC), d.link)
		if err != nil {
			return fmt.Errorf("read interfaces: %w", err)
		}
		changed, err := w.requests.dump(unix.RTM_GETADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC), d.address)
		if err != nil {
			return fmt.Errorf("read addresses: %w", err)
		}
		if !changedLinks && !changed {
			break
		}
	}
	if err := w.readRoutes(); err != nil {
		return err
	}
	filters, err := w.requests.filters()
	if err != nil { // kernels before 3.8
		w.log.Debug("reverse path filter not read", "err", err)
	}
	d.filters = filters
	w.table.resync(d)
	w.stale = false
	return nil
}

// do has the kernel carry out the requests, in order.
func (w *Worker) do(requests []request) {
	w.stuck.Reset(stuckAfter)
	defer w.stuck.Stop()
	refused := w.protect(requests)
	var msgs []*nl.NetlinkRequest
	last := make([]int, len(requests)) // position of each request's last message
	for i, q := range requests {
		w.write(q)
		if refused[q.index] == nil || !q.primary {
			msgs = append(msgs, q.messages()...)
		}
		last[i] = len(msgs) - 1
	}
	var answers []error
	if len(msgs) > 0 {
		answers = w.requests.exchange(msgs)
	}
	at := now()
	for i, q := range requests {
		err := refused[q.index]
		if err == nil || !q.primary {
			err = answers[last[i]]
		}
		if q.object != nil && q.kind == set && errors.Is(err, unix.EEXIST) {
			err = w.rival(q)
		}
		w.table.done(q, q.explain(err), at)
	}
}

// protect makes the interfaces on which a primary IPv4 address is to be removed
// keep the secondary ones, which may be somebody else's. It returns the errors
// by interface: there the address must stay.
func (w *Worker) protect(requests []request) map[int]error {
	var refused map[int]error
	asked := make(map[int]bool)
	for _, q := range requests {
		if !q.primary || asked[q.index] {
			continue
		}
		asked[q.index] = true
		err := w.requests.exchange([]*nl.NetlinkRequest{setPromote(q.index)})[0]
		if err != nil {
			if refused == nil {
				refused = make(map[int]error)
			}
			refused[q.index] = fmt.Errorf("spare the secondary addresses of its network: %w", err)
		}
	}
	return refused
}

// Announced is how many gratuitous ARP messages, or with ipv6 unsolicited neighbour
// advertisements, have been sent. It may be called from any goroutine.
func (w *Worker) Announced(ipv6 bool) uint64 { return w.told[index(ipv6)].Load() }

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// announce sends what is due.
func (w *Worker) announce() {
	for _, f := range w.table.ifaces {
		if !f.speaks() {
			continue
		}
		for {
			a := f.queue.next(now())
			if a == nil {
				break
			}
			if a.router.overtaken() {
				f.queue.later(a, now())
				return
			}
			err := w.send(f, a)
			switch {
			case err == nil:
				w.told[index(a.Prefix.Addr().Is6())].Add(1)
				w.table.announced(a, now())
			case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.EAGAIN):
				// The link's own message says so, or the socket is full.
				f.queue.failed(a, now())
			default:
				w.table.unannounced(a, fmt.Errorf("announce %s on %s: %w", a.Prefix.Addr(), f.name, err), now())
			}
		}
	}
}

func (w *Worker) send(f *iface, a *address) error {
	b, err := frame(a.Prefix.Addr(), f.hardware(), f.link.forward6)
	if err != nil {
		return err
	}
	err = unix.Sendto(w.packet, b, 0, &unix.SockaddrLinklayer{Ifindex: f.link.index})
	if err == nil {
		w.also(a, b)
	}
	return err
}

// emit hands an event to the owner.
func (w *Worker) emit(e Event) {
	if w.report == nil {
		return
	}
	w.saying.Lock()
	defer w.saying.Unlock()
	w.report(e)
}

// now reads CLOCK_BOOTTIME.
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("clock_gettime: " + err.Error()) // Linux has had it since 2.6.39
	}
	return time.Duration(t.Nano())
}

// explain makes the kernel's refusal of q one that a person can act on.
func (q request) explain(err error) error {
	if err == nil {
		return nil
	}
	if q.kind >= makeLink {
		return q.explainLink(err)
	}
	what := fmt.Sprintf("%s %s on %s", q.kind, q.prefix, q.name)
	switch {
	case q.object != nil:
		what = fmt.Sprintf("%s %s", q.kind, q.describe())
	case q.kind == promote:
		what = fmt.Sprintf("%s %s", q.kind, q.name)
	}
	switch {
	case q.object == nil && q.kind != promote && q.prefix.Addr().Is6() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) && q.kind == set):
		return fmt.Errorf("%s: %w: net.ipv6.conf.%s.disable_ipv6 is 1, or CAP_NET_ADMIN is missing", what, err, q.name)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w", what, missing(err, "CAP_NET_ADMIN"))
	}
	return fmt.Errorf("%s: %w", what, err)
}
