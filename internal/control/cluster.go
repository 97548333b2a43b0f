package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"baton/internal/tlsclient"
)

const (
	// clusterLimit bounds what a node is asked; whoever looks at a cluster where one
	// node is down waits for it.
	clusterLimit = 2 * time.Second
	// maxClusterAnswer bounds what is read of a node's answer, in bytes.
	maxClusterAnswer = 8 << 20
	// maxItems bounds routers, checks, services of a router and so on in it: a node
	// has at most 4096 routers.
	maxItems = 4096
)

// Cluster is what the nodes of the configuration say of themselves, as one of them
// has heard it.
type Cluster struct {
	Node  string        `json:"node"`  // who has asked the others
	Nodes []ClusterNode `json:"nodes"` // in the order of the configuration
}

// ClusterNode is one of them.
type ClusterNode struct {
	Name   string  `json:"name"`
	Status *Status `json:"status,omitempty"` // null where it did not answer
	Checks []Check `json:"checks,omitempty"`
	Error  string  `json:"error,omitempty"` // why it did not
}

// Remote asks the listeners of other nodes. Its methods may be called from any
// goroutine.
type Remote struct {
	token string
	tls   *tlsclient.Source // nil: plain HTTP
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewRemote returns a Remote that shows a token, where it is not empty, and speaks TLS
// where the options say so.
func NewRemote(token string, o tlsclient.Options) *Remote {
	r := &Remote{token: token, dial: new(net.Dialer).DialContext}
	if o.Use {
		r.tls = tlsclient.New(o, "http/1.1")
	}
	return r
}

// Ask asks a node for its status and its checks, within two seconds.
func (r *Remote) Ask(ctx context.Context, at netip.AddrPort) (*Status, []Check, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, clusterLimit, fmt.Errorf("no answer within %s", clusterLimit))
	defer cancel()
	client, err := r.client()
	if err != nil {
		return nil, nil, err
	}
	defer client.CloseIdleConnections()
	var s Status
	var checks []Check
	err = r.get(ctx, client, at, "/v1/status", &s)
	if err == nil {
		err = r.get(ctx, client, at, "/v1/checks", &checks)
	}
	if err == nil {
		err = plausible(&s, checks)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("ask %s: %w", at, err)
	}
	return &s, checks, nil
}

// Status asks a node for its status alone, within two seconds.
func (r *Remote) Status(ctx context.Context, at netip.AddrPort) (*Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, clusterLimit, fmt.Errorf("no answer within %s", clusterLimit))
	defer cancel()
	client, err := r.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	var s Status
	err = r.get(ctx, client, at, "/v1/status", &s)
	if err == nil {
		err = plausible(&s, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", at, err)
	}
	return &s, nil
}

// plausible fails where an answer has more than any node has: whoever shows it goes
// through all of it, again and again.
func plausible(s *Status, checks []Check) error {
	most := max(len(s.Routers), len(checks), len(s.Services), len(s.Problems))
	for _, r := range s.Routers {
		most = max(most, len(r.Services), len(r.Parts), len(r.Addresses))
	}
	if most > maxItems {
		return fmt.Errorf("its answer has %d of one thing: no node has more than %d", most, maxItems)
	}
	return nil
}

func (r *Remote) client() (*http.Client, error) {
	t := &http.Transport{DialContext: r.dial, MaxConnsPerHost: 1}
	if r.tls != nil {
		c, err := r.tls.Config()
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = c
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// get asks for one thing. What comes back is a stranger's until it has been read.
func (r *Remote) get(ctx context.Context, client *http.Client, at netip.AddrPort, path string, into any) error {
	scheme := "http"
	if r.tls != nil {
		scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+at.String()+path, nil)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	if r.token != "" {
		request.Header.Set("Authorization", "Bearer "+r.token)
	}
	answer, err := client.Do(request)
	if err != nil {
		return whyNoAnswer(ctx, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxClusterAnswer+1))
	switch {
	case err != nil:
		return whyNoAnswer(ctx, err)
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return fmt.Errorf("it answered %s: is the token in `listen` the same there", answer.Status)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("it answered %s", answer.Status)
	case len(text) > maxClusterAnswer:
		return fmt.Errorf("its answer has more than %d bytes", maxClusterAnswer)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("its answer is none of baton: %w", err)
	}
	return nil
}

func whyNoAnswer(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// AskAll asks all nodes at the same time; at has the address of each but those that
// do not listen.
func (r *Remote) AskAll(ctx context.Context, names []string, at map[string]netip.AddrPort) []ClusterNode {
	nodes := make([]ClusterNode, len(names))
	var asked sync.WaitGroup
	for i, name := range names {
		nodes[i].Name = name
		to, listens := at[name]
		if !listens {
			nodes[i].Error = "it does not listen: see `listen` in the configuration"
			continue
		}
		asked.Go(func() {
			var err error
			if nodes[i].Status, nodes[i].Checks, err = r.Ask(ctx, to); err != nil {
				nodes[i].Error = err.Error()
			}
		})
	}
	asked.Wait()
	return nodes
}

// Cluster asks the daemon what the nodes say of themselves.
func (c *Client) Cluster(ctx context.Context) (*Cluster, error) {
	var all Cluster
	if err := c.ask(ctx, http.MethodGet, "/v1/cluster", nil, &all); err != nil {
		return nil, err
	}
	return &all, nil
}

func (s *Server) cluster(w http.ResponseWriter, r *http.Request) {
	all, err := s.daemon.Cluster(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	s.answer(w, http.StatusOK, all)
}
