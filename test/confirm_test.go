package test

import (
	"strings"
	"testing"
	"time"
)

// A new master whose predecessor confirms that its services have stopped does not wait for promote_after. One whose
// predecessor is silent waits. The services never run on both.
func TestServices_Confirmed(t *testing.T) {
	t.Parallel()
	o := newOnlyOne(t, "promote_after: 3s\n", "listen: {address: $node.cluster:9112, token: 0123456789abcdef0123456789abcdef}\n")
	a, b := o.Nodes["a"], o.Nodes["b"]
	const confirms, silent = "the previous master confirms that its services are stopped", "the previous master has not confirmed that its services are stopped"
	began := time.Now()
	tell(t, a, 0, "", "failover", "web")
	o.await(t, "b", began)
	o.said(t, "b", confirms, began)
	wantIn(t, output(t, b, 0, "events"), "promote_after is over", "a confirms that its services are stopped")
	wantIn(t, output(t, b, 1, "status", "--cluster"), "2 of 2 nodes answer", "web     "+addr(o), "MASTER 190", "BACKUP 200", "osc  web          stopped  running", "web is away from a")

	// A node that is stopped stays until it has been asked.
	stopped := time.Now()
	must(t, b.Stop())
	o.await(t, "a", stopped)
	o.said(t, "a", confirms, stopped)
	must(t, b.Start())
	_, err := b.AwaitRole("web", "BACKUP", stopped, patience)
	must(t, err)
	again := time.Now()
	tell(t, a, 0, "", "failover", "web")
	o.await(t, "b", again)
	o.said(t, "b", confirms, again)

	// b cannot be asked any more: it stops its service, and a does not know.
	cut := time.Now()
	must(t, b.Port.Down())
	o.await(t, "a", cut)
	o.said(t, "a", silent, cut)
	for _, l := range a.Process.Lines() {
		if l.At.After(cut) && strings.Contains(l.Text, confirms) {
			t.Errorf("a says %s", l.Text)
		}
	}
	wantIn(t, output(t, a, 1, "status", "--cluster"), "1 of 2 nodes answer", "DEGRADED: b", "b does not answer: ", "no standby is left of web")
	o.wantTurns(t, "a", "b", "a", "b", "a")
}

// addr is the virtual address without its length.
func addr(o onlyOne) string {
	a, _, _ := strings.Cut(o.c.Routers[0].Addresses[0], "/")
	return a
}
