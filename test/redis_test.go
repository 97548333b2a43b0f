package test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"baton/internal/lab"
	"baton/internal/service/servicetest"
	"baton/test/site"
)

// redisPassword is what clients, replicas and checks log in with.
const redisPassword = "s3cret-w0rd"

// redisNodes is the shipped deployment of Redis on three nodes, with a real server
// on each that keeps nothing on its disk.
type redisNodes struct {
	*deployment
	t   *testing.T
	vip string
}

func newRedisNodes(t *testing.T) *redisNodes {
	t.Helper()
	need(t, "redis-server")
	need(t, "redis-cli")
	vip := site.Addresses(1, false)[0]
	text := shipped(t, "redis.yaml",
		"nodes: {controller-1: 172.20.1.11, controller-2: 172.20.1.12, controller-3: 172.20.1.13}",
		"log: {format: json}\nnodes: {a: 10.99.0.1, b: 10.99.0.2, c: 10.99.0.3}",
		"interface: vlan20", "interface: "+site.Interface,
		"vrid: 54", "vrid: 54\n    advertisement_interval: 500ms",
		"[controller-2, controller-1]", "[a, b]",
		"[172.20.1.20/32]", "["+vip+"]",
	)
	d := deploy(t, []string{"a", "b", "c"}, text, map[string]string{"redis.env": "REDISCLI_AUTH=" + redisPassword + "\n"}, []string{"../scripts/check-redis"})
	r := &redisNodes{d, t, vip}
	for name, s := range r.systemd {
		r.launch(name, "Ready to accept connections")
		s.Add(servicetest.Unit{Name: "redis-server.service", Start: servicetest.Job{Delay: 10 * time.Millisecond}, Argv: []string{
			"sh", "-c", `test ! -e /run/redis-broken && exec redis-server "$@"`, "sh",
			"--port", "6379", "--bind", "0.0.0.0", "--dir", "/run", "--save", "", "--appendonly", "no",
			"--requirepass", redisPassword, "--masterauth", redisPassword, "--repl-diskless-sync-delay", "0",
		}})
	}
	begun := time.Now()
	r.start(t, "a") // who is first stays master
	r.serves("a", begun)
	r.start(t, "b")
	r.start(t, "c")
	r.serves("a", begun, "b", "c")
	return r
}

// serves waits until a node is master and has the address, its Redis is promoted,
// and those of the others follow it.
func (r *redisNodes) serves(name string, from time.Time, others ...string) {
	r.t.Helper()
	_, err := r.Nodes[name].AwaitRole("redis", "MASTER", from, patience)
	must(r.t, err)
	must(r.t, r.Holders.Await(name, patience, site.Address(r.vip)))
	r.replicates(name, "role:master")
	for _, o := range others {
		r.replicates(o, "role:slave", "master_host:"+nodeAddress(name, false).String(), "master_link_status:up")
	}
}

// replicates waits until a node's Redis says all of this of its replication.
func (r *redisNodes) replicates(name string, want ...string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%s has %q", name, want), func() (bool, string) {
		info, err := r.info(name)
		return err == nil && hasAll(info, want), fmt.Sprintf("%v %s", err, info)
	})
}

func (r *redisNodes) info(name string) (string, error) {
	c, err := dialRedis(r.Ports[name].Host, "127.0.0.1:6379")
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.do("INFO", "replication")
}

// masters are the nodes whose Redis says that it is master.
func (r *redisNodes) masters(names ...string) []string {
	var list []string
	for _, name := range names {
		if info, err := r.info(name); err == nil && strings.Contains(info, "role:master") {
			list = append(list, name)
		}
	}
	return list
}

// redisConn is a connection to a Redis that one has logged in on.
type redisConn struct {
	net.Conn
	r *bufio.Reader
}

// redisPatience bounds a dial, and each command.
const redisPatience = 500 * time.Millisecond

func dialRedis(from *lab.Host, address string) (*redisConn, error) {
	var c *redisConn
	err := from.Do(func() error {
		conn, err := (&net.Dialer{Timeout: redisPatience}).Dial("tcp", address)
		if err == nil {
			c = &redisConn{conn, bufio.NewReader(conn)}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := c.do("AUTH", redisPassword); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// do sends a command and returns its answer, a simple string or a bulk string.
func (c *redisConn) do(words ...string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if err := c.SetDeadline(time.Now().Add(redisPatience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return "", err
	}
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch line[0] {
	case '+':
		return line[1:], nil
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return "", fmt.Errorf("%s: answer %s", words[0], line)
		}
		body := make([]byte, n+2)
		_, err = io.ReadFull(c.r, body)
		return string(body[:n]), err
	}
	return "", fmt.Errorf("%s: %s", words[0], line)
}

// writer writes numbered keys through the virtual address until it is stopped.
type writer struct {
	stop, done chan struct{}

	mu    sync.Mutex
	acked []string
	last  time.Time
}

func (r *redisNodes) write() *writer {
	w := &writer{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.run(r.Client, site.Address(r.vip).String()+":6379")
	}()
	r.t.Cleanup(func() { close(w.stop); <-w.done })
	return w
}

func (w *writer) run(from *lab.Host, address string) {
	var c *redisConn
	var err error
	for n := 0; ; n++ {
		select {
		case <-w.stop:
			if c != nil {
				c.Close()
			}
			return
		case <-time.After(5 * time.Millisecond):
		}
		if c == nil {
			if c, err = dialRedis(from, address); err != nil {
				continue
			}
		}
		key := fmt.Sprint("key-", n) // one whose fate is unknown is not written again
		if _, err := c.do("SET", key, key); err != nil {
			c.Close()
			c = nil
			continue
		}
		w.mu.Lock()
		w.acked, w.last = append(w.acked, key), time.Now()
		w.mu.Unlock()
	}
}

// keys are those that were acknowledged so far.
func (w *writer) keys() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.acked)
}

// goesOn waits until some more writes have been acknowledged.
func (w *writer) goesOn(t *testing.T) {
	t.Helper()
	n := len(w.keys())
	eventually(t, "writes go on through the address", func() (bool, string) {
		got := len(w.keys())
		return got >= n+50, fmt.Sprintf("%d acknowledged, %d before", got, n)
	})
}

// lost are those of the keys that a node does not have.
func (r *redisNodes) lost(name string, keys []string) []string {
	r.t.Helper()
	c, err := dialRedis(r.Ports[name].Host, "127.0.0.1:6379")
	must(r.t, err)
	defer c.Close()
	var lost []string
	for _, key := range keys {
		if got, err := c.do("GET", key); got != key {
			if nerr := net.Error(nil); errors.As(err, &nerr) {
				r.t.Fatal(err)
			}
			lost = append(lost, key)
		}
	}
	return lost
}

// kill ends a node's Redis as a crash does.
func (r *redisNodes) kill(name string) { r.systemd[name].Kill("redis-server.service", syscall.SIGKILL) }

// Redis is promoted and demoted with the address, and clients write on after each
// failover.
func TestRedis(t *testing.T) {
	t.Parallel()
	r := newRedisNodes(t)
	w := r.write()
	w.goesOn(t)

	// A planned move loses nothing.
	stopped := time.Now()
	must(t, r.Nodes["a"].Stop())
	r.serves("b", stopped, "c")
	before := w.keys()
	w.goesOn(t)
	if lost := r.lost("b", before); len(lost) > 0 {
		t.Errorf("%d of %d writes were acknowledged and are lost, the first is %s", len(lost), len(before), lost[0])
	}
	again := time.Now()
	r.start(t, "a")
	r.serves("b", stopped, "a", "c")

	// A replica's Redis dies, is brought back empty, and follows again.
	r.kill("c")
	r.said(t, "c", again, "service is back", "redis-server.service")
	r.serves("b", stopped, "a", "c")

	// The master's Redis dies for good.
	must(t, os.WriteFile(r.Ports["b"].Host.Path("/run/redis-broken"), nil, 0o644))
	killed := time.Now()
	r.kill("b")
	r.serves("a", killed, "c")
	w.goesOn(t)
	must(t, os.Remove(r.Ports["b"].Host.Path("/run/redis-broken")))
	r.serves("a", killed, "b", "c")

	// The master's Redis hangs, and goes on when another one is master.
	hung := time.Now()
	r.systemd["a"].Kill("redis-server.service", syscall.SIGSTOP)
	r.serves("b", hung, "c")
	w.goesOn(t)
	r.systemd["a"].Kill("redis-server.service", syscall.SIGCONT)
	r.serves("b", hung, "a", "c")
	standby, err := r.Nodes["a"].AwaitRole("redis", "BACKUP", hung, patience)
	must(t, err)
	_, err = r.AwaitAdvert("b", standby.At, patience, nil) // until a hears of its master it waits longer than c
	must(t, err)

	// A node dies.
	died := time.Now()
	r.dies(t, "b", r.vip, "redis-server.service")
	r.serves("a", died, "c")
	w.goesOn(t)
	if got := r.masters("a", "c"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the Redis of %v says that it is master, want that of a alone", got)
	}
}
