package site

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"baton/internal/lab"
)

// HAProxySocket is the path of HAProxy's stats socket, in the /run of its host.
const HAProxySocket = "/run/haproxy.sock"

const haproxyFile = `global
  stats socket %s mode 600 level admin
  maxconn 1000
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend web
  bind :::80 v4v6
  http-request return status 200 content-type text/plain string "%s"
`

// StartHAProxy starts a HAProxy on the node, which answers on port 80 of every address, and waits until it does.
func (s *Site) StartHAProxy(n *Node) (*lab.Process, error) {
	file := filepath.Join(n.Dir, "haproxy.cfg")
	if err := os.WriteFile(file, fmt.Appendf(nil, haproxyFile, HAProxySocket, n.Name), 0o644); err != nil {
		return nil, fmt.Errorf("configure haproxy on %s: %w", n.Name, err)
	}
	p, err := n.Host.Start([]string{"haproxy", "-db", "-f", file}, lab.StartOptions{})
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(StopTimeout); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(n.Host.Path(HAProxySocket)); err == nil {
			return p, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("haproxy on %s does not start:\n%s", n.Name, p.Output())
		}
	}
}
