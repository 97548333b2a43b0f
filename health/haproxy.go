package health

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
)

// maxReply bounds what is read from the stats socket: about 8,000 servers.
const maxReply = 4 << 20

// NewHAProxyProbe asks HAProxy over its stats socket. It passes when `show info`
// has a Pid line and says Stopping: 0; with a backend (or listen section), when
// also at least minUp of its servers are up. A server without a check counts as
// up, since nothing is known against it; one that drains or is in maintenance
// does not. The level "user" of the socket suffices.
func NewHAProxyProbe(socket, backend string, minUp int) Probe {
	return &haproxyProbe{newEndpoint("unix", socket, nil), backend, minUp, sysctl}
}

type haproxyProbe struct {
	endpoint
	backend string
	minUp   int
	sysctl  func(name string) string
}

func (p *haproxyProbe) Probe(ctx context.Context) Answer {
	ctx, cancel := inTime(ctx)
	defer cancel()
	pid, a := p.info(ctx)
	if !a.OK || p.backend == "" {
		return a
	}
	// A second connection: HAProxy closes after each line of commands, and has
	// not always taken two commands in one line alike.
	rows, err := p.ask(ctx, "show stat -1 6 -1") // every proxy's backend and servers
	if err != nil {
		return p.broken(err)
	}
	return p.servers(pid, rows)
}

// info asks for the process. The Answer is complete unless there is a backend.
func (p *haproxyProbe) info(ctx context.Context) (pid string, a Answer) {
	reply, err := p.ask(ctx, "show info")
	if err != nil {
		return "", p.broken(err)
	}
	stopping := ""
	for line := range strings.Lines(string(reply)) {
		switch key, value, _ := strings.Cut(line, ":"); key {
		case "Pid":
			pid = strings.TrimSpace(value)
		case "Stopping":
			stopping = strings.TrimSpace(value)
		}
	}
	switch {
	case pid == "":
		return "", Answer{Text: fmt.Sprintf("%s does not answer as HAProxy: %s", p.address, excerpt(reply))}
	case stopping == "0":
		return pid, Answer{OK: true, Text: "pid " + pid + ", not stopping"}
	case stopping == "":
		return pid, Answer{Text: fmt.Sprintf("HAProxy (pid %s) does not say whether it is stopping", pid)}
	}
	return pid, Answer{Text: fmt.Sprintf("HAProxy (pid %s) is stopping", pid)}
}

// servers counts the backend's servers in a reply to `show stat`.
func (p *haproxyProbe) servers(pid string, reply []byte) Answer {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(reply, []byte("# "))))
	r.FieldsPerRecord = -1
	r.LazyQuotes = true
	r.ReuseRecord = true
	head, _ := r.Read() // without a head its columns are missing, too
	column := map[string]int{}
	for i, name := range head {
		column[name] = i
	}
	var at [4]int
	for i, name := range []string{"pxname", "svname", "status", "type"} {
		n, ok := column[name]
		if !ok {
			return Answer{Text: fmt.Sprintf("HAProxy (pid %s) lists no servers: %s", pid, excerpt(reply))}
		}
		at[i] = n
	}
	var (
		found     bool
		up, total int
		backends  []string
		row       []string
		err       error
	)
	for {
		if row, err = r.Read(); err != nil {
			break
		}
		if len(row) <= slices.Max(at[:]) {
			continue // the empty line at the end
		}
		name, status, kind := row[at[0]], row[at[2]], row[at[3]]
		switch kind {
		case "1": // a backend
			backends = append(backends, strings.Clone(name))
			found = found || name == p.backend
		case "2": // a server
			if name == p.backend {
				total++
				if serverUp(status) {
					up++
				}
			}
		}
	}
	switch {
	case !errors.Is(err, io.EOF):
		return Answer{Text: fmt.Sprintf("read the servers of HAProxy (pid %s): %v", pid, err)}
	case !found:
		return Answer{Text: fmt.Sprintf("HAProxy (pid %s) has no backend %q; it has %s", pid, p.backend, some(backends))}
	case up < p.minUp:
		return Answer{Text: fmt.Sprintf("%d of %d servers UP in %s, fewer than %d", up, total, p.backend, p.minUp)}
	}
	return Answer{OK: true, Text: fmt.Sprintf("%d of %d servers UP in %s", up, total, p.backend)}
}

// serverUp reads a server's status: "UP", "UP 1/3" (going down, still used), "no
// check"; against "DOWN", "NOLB" (running, but gets nothing new), "DRAIN",
// "MAINT (via x)".
func serverUp(status string) bool {
	return status == "UP" || strings.HasPrefix(status, "UP ") || status == "no check"
}

// ask sends one line of commands and reads the whole reply.
func (p *haproxyProbe) ask(ctx context.Context, commands string) ([]byte, error) {
	conn, err := p.dialer.DialContext(ctx, p.network, p.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer bound(ctx, conn)()
	if _, err := io.WriteString(conn, commands+"\n"); err != nil {
		return nil, err
	}
	reply, err := io.ReadAll(io.LimitReader(conn, maxReply+1))
	if err != nil {
		return nil, err
	}
	if len(reply) > maxReply {
		return nil, fmt.Errorf("the reply to %q is longer than %d MiB", commands, maxReply>>20)
	}
	return reply, nil
}

// broken is the failure of a conversation, with what can be done about it.
func (p *haproxyProbe) broken(err error) Answer {
	if timedOut(err) {
		a := p.silent(p.address)
		a.Hint = "HAProxy hangs, or its host is overloaded"
		return a
	}
	if op := (*net.OpError)(nil); !errors.As(err, &op) || op.Op != "dial" {
		return Answer{Text: fmt.Sprintf("ask %s: %v", p.address, bare(err))}
	}
	a := p.unreachable(err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		a.Hint = "HAProxy does not run here: systemctl status haproxy" + p.nonlocal()
	case errors.Is(err, fs.ErrNotExist):
		a.Hint = "HAProxy does not run here, or its configuration has no \"stats socket " + p.address + "\"" + p.nonlocal()
	case errors.Is(err, fs.ErrPermission):
		a.Hint = socketGroup(p.address, "haproxy")
	}
	return a
}

// nonlocal says why HAProxy may be unable to start where the VIP is not.
func (p *haproxyProbe) nonlocal() string {
	var off []string
	for _, name := range []string{"net.ipv4.ip_nonlocal_bind", "net.ipv6.ip_nonlocal_bind"} {
		if p.sysctl(name) == "0" {
			off = append(off, name+"=1")
		}
	}
	if len(off) == 0 {
		return ""
	}
	return "; it cannot start while a VIP that it binds is not on this host, unless " + strings.Join(off, " and ")
}

// sysctl reads a kernel setting of this network namespace; empty when it cannot.
func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
