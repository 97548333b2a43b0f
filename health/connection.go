package health

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// established is the state of a TCP connection, as the kernel numbers it.
const established = 1

// NewConnectionProbe looks for a process that has an established TCP connection to
// one of the ports, as has a worker that is connected to its message queue and
// listens nowhere itself. Another user's processes need CAP_SYS_PTRACE and
// CAP_DAC_READ_SEARCH.
func NewConnectionProbe(t *ProcessTable, s Processes) Probe {
	s.Least, s.Most = math.MaxInt, -1 // none of them is enough: any may be the one that is connected
	return &connectionProbe{processes: NewProcessProbe(t, s).(*processProbe), ports: s.Ports}
}

// connectionProbe is asked by one goroutine at a time.
type connectionProbe struct {
	processes *processProbe
	ports     []int
	last      int // the process that was connected in the last run; 0: none
}

// Watch tells of the deaths of processes.
func (p *connectionProbe) Watch(ctx context.Context, changed func()) { p.processes.Watch(ctx, changed) }

func (p *connectionProbe) Probe(ctx context.Context) Answer {
	// All processes of a host are many, and the last one is most likely still the one.
	if p.last != 0 && p.processes.PIDFile == "" && len(p.processes.living([]int{p.last})) > 0 {
		if a := p.among(ctx, []int{p.last}); a.OK {
			return a
		}
	}
	p.last = 0
	problem, hint, failed := p.processes.find(ctx)
	switch {
	case failed != nil:
		return *failed
	case len(p.processes.known) > 0:
		return p.among(ctx, p.processes.known)
	case problem != "":
		return Answer{Text: problem, Hint: hint}
	}
	return Answer{Text: p.what() + " does not run", Hint: hint}
}

// what is how a text names the processes.
func (p *connectionProbe) what() string {
	if p.processes.PIDFile != "" {
		return "the process of " + p.processes.PIDFile
	}
	return p.processes.what()
}

const mayLook = "baton needs AmbientCapabilities=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH in its unit to look at other users' processes"

// among looks for a connection of one of the processes.
func (p *connectionProbe) among(ctx context.Context, pids []int) Answer {
	var here map[uint64]netip.AddrPort // connections of this network namespace, by inode
	var problem error
	for _, pid := range pids {
		var err error
		var there map[uint64]netip.AddrPort
		switch {
		case !sameNetwork(pid):
			there, err = readConnections(ctx, pid, p.ports)
		case here == nil:
			if here, err = askConnections(p.ports); err != nil { // a kernel without sock_diag
				here, err = readConnections(ctx, pid, p.ports)
			}
			there = here
		default:
			there = here
		}
		var to netip.AddrPort
		if err == nil && len(there) > 0 {
			to, err = holds(ctx, pid, there)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // it has ended
		case err != nil:
			problem = err
		case to.IsValid():
			p.last = pid
			return Answer{OK: true, Text: fmt.Sprintf("%s (pid %d) is connected to %v", p.what(), pid, to)}
		}
	}
	switch {
	case errors.Is(problem, fs.ErrPermission):
		return Answer{Text: problem.Error(), Hint: mayLook}
	case problem != nil:
		return Answer{Text: problem.Error()}
	}
	return Answer{
		Text: fmt.Sprintf("%s (%s) has no connection to %s", p.what(), pidsText(pids), portsText(p.ports)),
		Hint: "it runs but has lost its server: is that reachable from here?",
	}
}

// sameNetwork tells whether a process is in this thread's network namespace. Where
// that cannot be told, its own table is read.
func sameNetwork(pid int) bool {
	own, err := os.Readlink("/proc/thread-self/ns/net")
	its, err2 := os.Readlink(procfs(pid, "ns/net"))
	return err == nil && err2 == nil && own == its
}

// askConnections asks the kernel for the established connections to the ports: it
// tells of no others, however many there are.
func askConnections(to []int) (map[uint64]netip.AddrPort, error) {
	found := map[uint64]netip.AddrPort{}
	for _, port := range to {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
			req.AddData(diagRequest{family, uint16(port)})
			err := req.ExecuteIter(unix.NETLINK_INET_DIAG, 0, func(m []byte) bool {
				if inode, remote, ok := parseDiag(m); ok {
					found[inode] = remote
				}
				return true
			})
			if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
				return nil, fmt.Errorf("list connections: %w", err)
			}
		}
	}
	return found, nil
}

// diagRequest is the kernel's struct inet_diag_req_v2, for established TCP
// connections to a port.
type diagRequest struct {
	family uint8
	port   uint16
}

func (diagRequest) Len() int { return 56 }

func (r diagRequest) Serialize() []byte {
	b := make([]byte, r.Len())
	b[0], b[1] = r.family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], 1<<established)
	binary.BigEndian.PutUint16(b[10:], r.port)
	return b
}

// parseDiag reads the kernel's struct inet_diag_msg.
func parseDiag(m []byte) (inode uint64, remote netip.AddrPort, ok bool) {
	if len(m) < 72 {
		return 0, remote, false
	}
	size := 4
	if m[0] == unix.AF_INET6 {
		size = 16
	}
	addr, _ := netip.AddrFromSlice(m[24 : 24+size])
	return uint64(binary.NativeEndian.Uint32(m[68:])), netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(m[6:])), true
}

// readConnections reads the same from the tables of a process's own network
// namespace, which has all connections there.
func readConnections(ctx context.Context, pid int, to []int) (map[uint64]netip.AddrPort, error) {
	found := map[uint64]netip.AddrPort{}
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		f, err := os.Open(procfs(pid, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has ended, or the kernel has no IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list connections of process %d: %w", pid, bare(err))
		}
		s := bufio.NewScanner(f)
		for s.Scan() && ctx.Err() == nil {
			if inode, remote, ok := parseConnection(s.Bytes()); ok && slices.Contains(to, int(remote.Port())) {
				found[inode] = remote
			}
		}
		f.Close()
		if err := errors.Join(s.Err(), ctx.Err()); err != nil {
			return nil, fmt.Errorf("list connections of process %d: %w", pid, err)
		}
	}
	return found, nil
}

// parseConnection reads an established connection from a line of /proc/net/tcp or
// tcp6: number, local and remote address, state, and, tenth, the inode.
func parseConnection(line []byte) (inode uint64, remote netip.AddrPort, ok bool) {
	fields := bytes.Fields(line)
	if len(fields) < 10 || string(fields[3]) != "01" {
		return 0, remote, false
	}
	address, port, _ := bytes.Cut(fields[2], []byte(":"))
	raw := make([]byte, hex.DecodedLen(len(address)))
	if _, err := hex.Decode(raw, address); err != nil || len(raw)%4 != 0 {
		return 0, remote, false
	}
	for i := 0; i < len(raw); i += 4 { // words as the machine has them
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, known := netip.AddrFromSlice(raw)
	number, err := strconv.ParseUint(string(port), 16, 16)
	inode, err2 := strconv.ParseUint(string(fields[9]), 10, 64)
	if !known || err != nil || err2 != nil {
		return 0, remote, false
	}
	return inode, netip.AddrPortFrom(addr.Unmap(), uint16(number)), true
}

// holds returns the first of the connections that the process has open.
func holds(ctx context.Context, pid int, connections map[uint64]netip.AddrPort) (to netip.AddrPort, err error) {
	d, err := os.Open(procfs(pid, "fd"))
	if err != nil {
		return to, fmt.Errorf("look at the sockets of process %d: %w", pid, bare(err))
	}
	defer d.Close()
	for ctx.Err() == nil {
		names, err := d.Readdirnames(256) // a proxy has 100,000
		for _, name := range names {
			link, err := os.Readlink(procfs(pid, "fd/"+name))
			if errors.Is(err, fs.ErrPermission) {
				return to, fmt.Errorf("look at the sockets of process %d: %w", pid, bare(err))
			}
			inode, ok := strings.CutPrefix(link, "socket:[")
			if !ok {
				continue
			}
			n, _ := strconv.ParseUint(strings.TrimSuffix(inode, "]"), 10, 64)
			if to, ok := connections[n]; ok {
				return to, nil
			}
		}
		if err != nil || len(names) == 0 {
			return to, nil // the end, or the end of the process
		}
	}
	return to, fmt.Errorf("look at the sockets of process %d: %w", pid, ctx.Err())
}

// portsText is a list of ports for a text.
func portsText(to []int) string {
	var list []string
	for _, port := range to {
		list = append(list, strconv.Itoa(port))
	}
	return "port " + strings.Join(list, " or ")
}

func procfs(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }
