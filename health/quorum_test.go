package health

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestQuorum(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	b := newPeer(t, "eth0")
	b.address(t, "10.0.0.2/24")
	b.address(t, "10.0.0.4/24")
	b.address(t, "fd00::2/64")
	address(t, "eth0", "10.0.0.1/24")
	address(t, "eth0", "10.0.0.9/24")
	address(t, "eth0", "fd00::1/64")
	b.swallow(t, "eth0", "10.0.0.3", "10.0.0.5")
	fake(t, b.listen(t, "10.0.0.2:9112"), func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	fakeAt(t, "tcp", "10.0.0.9:9112", func(net.Conn) {})
	nodes := func(addrs ...string) (nodes []QuorumNode) {
		for i, a := range addrs {
			nodes = append(nodes, QuorumNode{string(rune('b' + i)), addr(a)})
		}
		return nodes
	}
	witnesses := func(addrs ...string) (ws []netip.Addr) {
		for _, a := range addrs {
			ws = append(ws, addr(a))
		}
		return ws
	}
	const cutOff = "this node may be cut off, or the others are down"
	tests := map[string]struct {
		quorum Quorum
		want   Answer
	}{
		"alone":     {Quorum{}, Answer{OK: true, Text: "1 of 1 nodes"}},
		"pair":      {Quorum{Nodes: nodes("10.0.0.2")}, Answer{OK: true, Text: "2 of 2 nodes"}},
		"half":      {Quorum{Nodes: nodes("10.0.0.3")}, Answer{Text: "1 of 2 nodes, no majority; b (10.0.0.3) does not answer: timeout", Hint: cutOff}},
		"all":       {Quorum{Nodes: nodes("10.0.0.2", "10.0.0.4")}, Answer{OK: true, Text: "3 of 3 nodes"}},
		"two":       {Quorum{Nodes: nodes("10.0.0.2", "10.0.0.3")}, Answer{OK: true, Text: "2 of 3 nodes; c (10.0.0.3) does not answer: timeout"}},
		"IPv6":      {Quorum{Nodes: nodes("fd00::2", "10.0.0.3")}, Answer{OK: true, Text: "2 of 3 nodes; c (10.0.0.3) does not answer: timeout"}},
		"one":       {Quorum{Nodes: nodes("10.0.0.3", "192.0.2.1")}, Answer{Text: "1 of 3 nodes, no majority; b (10.0.0.3) does not answer: timeout, c (192.0.2.1) does not answer: network is unreachable", Hint: cutOff}},
		"half of 4": {Quorum{Nodes: nodes("10.0.0.2", "10.0.0.3", "10.0.0.5")}, Answer{Text: "2 of 4 nodes, no majority; c (10.0.0.3) does not answer: timeout, d (10.0.0.5) does not answer: timeout", Hint: cutOff}},
		"listeners": {Quorum{Nodes: nodes("10.0.0.2", "10.0.0.4"), Port: 9112}, Answer{OK: true, Text: "2 of 3 nodes; c (10.0.0.4) does not answer: connection refused"}},
		"witness": {Quorum{Nodes: nodes("10.0.0.3"), Witnesses: witnesses("10.0.0.4"), Port: 9112}, Answer{OK: true,
			Text: "2 of 3 nodes and witnesses; b (10.0.0.3) does not answer: timeout"}},
		"witness silent": {Quorum{Nodes: nodes("10.0.0.2"), Witnesses: witnesses("10.0.0.5"), Port: 9112}, Answer{OK: true,
			Text: "2 of 3 nodes and witnesses; 10.0.0.5 does not answer: timeout"}},
		"twice": {Quorum{Nodes: nodes("10.0.0.2", "10.0.0.3", "10.0.0.5"), Witnesses: witnesses("10.0.0.2", "::ffff:10.0.0.2")}, Answer{
			Text: "2 of 4 nodes, no majority; c (10.0.0.3) does not answer: timeout, d (10.0.0.5) does not answer: timeout", Hint: cutOff}},
		"a virtual address of this host": {Quorum{Nodes: nodes("10.0.0.3"), Witnesses: witnesses("10.0.0.9")}, Answer{
			Text: "1 of 3 nodes and witnesses, no majority; b (10.0.0.3) does not answer: timeout, 10.0.0.9 does not answer: it is an address of this host", Hint: cutOff}},
		"a listener of this host": {Quorum{Nodes: nodes("10.0.0.9"), Port: 9112}, Answer{
			Text: "1 of 2 nodes, no majority; b (10.0.0.9) does not answer: it is an address of this host", Hint: cutOff}},
	}
	eventually(t, "the peer answers", func() bool {
		return probeIn(t, NewQuorumProbe(Quorum{Nodes: nodes("10.0.0.2", "fd00::2")}), time.Second).Text == "3 of 3 nodes"
	})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := probeIn(t, NewQuorumProbe(tt.quorum), 500*time.Millisecond); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}
