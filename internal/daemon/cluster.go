package daemon

import (
	"context"
	"errors"
	"fmt"

	"baton/internal/control"
)

// Cluster is what all nodes say of themselves: this one from its memory, the others
// by their listeners.
func (d *daemon) Cluster(ctx context.Context) (*control.Cluster, error) {
	cfg := d.config()
	if len(cfg.Nodes) < 2 {
		return nil, control.Errorf(control.Refused, "the configuration names no other node")
	}
	l := cfg.Listen
	if l == nil {
		return nil, control.Errorf(control.Refused, "nobody can ask the other nodes: the configuration has no `listen`")
	}
	var names []string
	for _, n := range cfg.Nodes {
		if n.Name != cfg.Node {
			names = append(names, n.Name)
		}
	}
	others := control.NewRemote(l.Token, l.Client()).AskAll(ctx, names, l.Nodes)
	c := &control.Cluster{Node: cfg.Node}
	for _, n := range cfg.Nodes {
		if n.Name == cfg.Node {
			c.Nodes = append(c.Nodes, control.ClusterNode{Name: n.Name, Status: d.Status(), Checks: d.Checks()})
			continue
		}
		c.Nodes = append(c.Nodes, others[0])
		others = others[1:]
	}
	return c, nil
}

// askNode asks another node for its status, by its listener.
func (d *daemon) askNode(ctx context.Context, name string) (*control.Status, error) {
	l := d.config().Listen
	if l == nil {
		return nil, errors.New("the configuration has no `listen`")
	}
	at, listens := l.Nodes[name]
	if !listens {
		return nil, fmt.Errorf("%s does not listen", name)
	}
	return control.NewRemote(l.Token, l.Client()).Status(ctx, at)
}
