package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Daemon is what the server asks. Each method may be called from any goroutine,
// and from many at a time.
type Daemon interface {
	// Status is the newest snapshot; never nil.
	Status() *Status
	// Changed is closed when a newer snapshot than the present one has been
	// published. Take it before Status.
	Changed() <-chan struct{}
	// Checks are all checks of this node, by name.
	Checks() []Check
	// RunCheck runs a check now, beside its interval, and returns what is known
	// after it. It ends with ctx.
	RunCheck(ctx context.Context, name string) (Check, error)
	// ForceCheck sets the verdict of a check. Where f.Verdict is empty it ends
	// that, and f has nothing but By.
	ForceCheck(name string, f Forced) (Check, error)
	// Cluster is what the nodes of the configuration say of themselves. Its error is a
	// Refused where the others cannot be asked.
	Cluster(ctx context.Context) (*Cluster, error)
	// Upgrade has the daemon replaced by a binary, and returns shortly before.
	Upgrade(ctx context.Context, binary string) (Upgrade, error)
	// Reload reads the configuration again and applies the difference, or only tells it.
	// Its error is a Mistaken where the file has mistakes. by is the user.
	Reload(ctx context.Context, dryRun bool, by string) (Reload, error)
	// Events are those that are kept and have a greater number, all of them where no
	// number is as great, and what is closed when there are more.
	Events(after uint64) (Events, <-chan struct{})
	// Order carries out an order of routers that there are, and returns when that is
	// done. It goes on when ctx ends.
	Order(ctx context.Context, o Order) (Result, error)
	// LogLevel is what is logged.
	LogLevel() LogLevel
	// SetLogLevel sets what is logged for a while; without a level it ends that.
	SetLogLevel(level string, lasting time.Duration, by string) (LogLevel, error)
}

const (
	// maxConnections is how many clients there can be at a time, and maxWaits how
	// many of them can wait, so that the others always find room.
	maxConnections = 64
	maxWaits       = 48
	// maxOfUser is how many connections one user has who is neither root nor runs
	// the daemon.
	maxOfUser = 24
	// headerLimit bounds the reading of a request's head, bodyLimit that of its
	// body, idleLimit the silence between two requests, answerLimit the writing of
	// an answer.
	headerLimit = 5 * time.Second
	bodyLimit   = 5 * time.Second
	idleLimit   = 5 * time.Second
	answerLimit = 5 * time.Second
	// endLimit bounds the wait for requests when the server ends, and once more
	// when they have been cut.
	endLimit = time.Second

	maxHeader = 16 << 10
	maxBody   = 64 << 10
)

// Server answers requests about a Daemon.
type Server struct {
	daemon Daemon
	access Access
	log    *slog.Logger
	waits  chan struct{} // one for each that waits
}

// NewServer returns a server that is not yet serving.
func NewServer(d Daemon, access Access, log *slog.Logger) *Server {
	return &Server{daemon: d, access: access, log: log, waits: make(chan struct{}, maxWaits)}
}

// Serve answers requests until ctx ends, and closes l. Requests that are under
// way then are told that the daemon ends. An error says that the socket could
// not be listened on any more, or that a request did not end within two
// seconds.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var clients sync.WaitGroup
	h := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				clients.Add(1)
			case http.StateClosed, http.StateHijacked:
				clients.Done()
			}
		},
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(newBounded(l, maxConnections)) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("serve the control socket: %w", err)
		served <- nil
	}
	cancel()
	end, stop := context.WithTimeout(context.Background(), endLimit)
	defer stop()
	_ = h.Shutdown(end) // its error is that of end: then Close cuts what is left
	_ = h.Close()
	<-served
	ended := make(chan struct{})
	go func() { clients.Wait(); close(ended) }()
	select {
	case <-ended:
		return err
	case <-end.Done():
	}
	select {
	case <-ended: // the last of them ended as it was cut
		return err
	case <-time.After(endLimit):
		return errors.Join(err, errors.New("a request on the control socket did not end"))
	}
}
