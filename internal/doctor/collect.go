package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"baton/internal/control"
	"baton/internal/link"
)

// maxFile bounds what is read of a file, in bytes.
const maxFile = 1 << 20

// collect looks at this host. What it cannot see it notes.
func collect(ctx context.Context, o Options) *facts {
	f := &facts{cfg: o.Config, runtimeDir: o.RuntimeDir, sysctl: readSysctl, read: readFile}
	f.glob = func(pattern string) []string {
		names, _ := filepath.Glob(pattern) // fails for a bad pattern alone
		return names
	}
	f.stat = f.statSocket
	f.collectProcesses()
	f.askDaemon(ctx, o.PID)
	f.collectInterfaces()
	var err error
	if f.rules, err = readRuleset(); err != nil {
		f.skip("the firewall (nftables)", err.Error())
	}
	f.collectLegacy(ctx)
	if !f.running {
		if f.left, err = o.Left(o.RuntimeDir); err != nil {
			f.skip("what a daemon that died has left", err.Error())
		}
	}
	f.collectClock()
	var at unix.Statfs_t
	if err := unix.Statfs(nearest(o.RuntimeDir), &at); err != nil {
		f.volatile = true
		f.skip("the file system of "+o.RuntimeDir, err.Error())
	} else {
		f.volatile = at.Type == unix.TMPFS_MAGIC
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		_, _ = fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &f.kernel[0], &f.kernel[1])
	}
	f.listen(ctx, o)
	return f
}

func (f *facts) skip(what, why string) { f.skipped = append(f.skipped, Skipped{what, why}) }

func readSysctl(name string) string { return strings.TrimSpace(readFile(sysctlPath(name))) }

func readFile(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	b, _ := io.ReadAll(io.LimitReader(file, maxFile))
	return string(b)
}

// nearest is a folder, or the one above it where it is not there yet.
func nearest(dir string) string {
	for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			break
		}
	}
	return dir
}

// askDaemon asks it what it knows, and has a look at its process.
func (f *facts) askDaemon(ctx context.Context, pid int) {
	client := control.Dial(f.runtimeDir)
	var err error
	f.status, err = client.Status(ctx)
	f.pid, f.running = pid, pid != 0 || !errors.Is(err, control.ErrNotRunning)
	for i, p := range f.processes {
		if p.pid == pid {
			f.daemon = &f.processes[i]
		}
	}
	if err != nil {
		if f.running {
			f.skip("what the daemon knows", err.Error())
		}
		return
	}
	if f.daemon == nil {
		f.skip("the daemon's process", "it is not seen here: it is in another container, or /proc hides it")
	}
	if f.checks, err = client.Checks(ctx); err != nil {
		f.skip("the daemon's checks", err.Error())
	}
	if f.cfg.Listen != nil && len(f.cfg.Nodes) > 1 {
		if f.cluster, err = client.Cluster(ctx); err != nil {
			f.skip("the other nodes", err.Error())
		}
	}
}

func (f *facts) collectInterfaces() {
	monitor, err := link.NewMonitor(slog.New(slog.DiscardHandler))
	if err != nil {
		f.skip("the interfaces", err.Error())
		return
	}
	defer monitor.Close()
	f.interfaces = monitor.Table().Interfaces()
}

// collectLegacy adds the rules of the iptables before nftables, where it has any.
func (f *facts) collectLegacy(ctx context.Context) {
	for program, l := range map[string]struct {
		names  string
		family nftables.TableFamily
	}{"iptables": {"ip_tables_names", nftables.TableFamilyIPv4}, "ip6tables": {"ip6_tables_names", nftables.TableFamilyIPv6}} {
		file := "/proc/self/net/" + l.names
		if _, err := os.Stat(file); err != nil {
			continue // the kernel knows nothing of it
		}
		what := "the firewall of " + program + "-legacy"
		names := readFile(file)
		switch {
		case os.Geteuid() != 0:
			f.skip(what, "root alone may read it")
		case strings.TrimSpace(names) == "":
		case f.rules != nil:
			chains, err := readLegacy(ctx, program, l.family)
			if err != nil {
				f.skip(what, err.Error())
			}
			f.rules.chains = append(f.rules.chains, chains...)
		}
	}
}

func (f *facts) collectClock() {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		f.skip("the clock", "adjtimex: "+err.Error())
		return
	}
	f.clock = &clock{
		synchronised: state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0,
		maxError:     time.Duration(t.Maxerror) * time.Microsecond,
	}
}

// listen listens on all interfaces of the routers at the same time.
func (f *facts) listen(ctx context.Context, o Options) {
	if o.Listen <= 0 {
		f.skip("who else speaks on the links", "it was not to listen: --listen 5s")
		return
	}
	var names []string
	for _, r := range f.cfg.Routers {
		if i, ok := f.iface(r.Interface); ok && i.Up && !i.Loopback && !slices.Contains(names, r.Interface) {
			names = append(names, r.Interface)
		}
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			heard, err := o.Scan(ctx, name, o.Listen)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				f.skip("who else speaks on "+name, err.Error())
			}
			f.heard = append(f.heard, heard...)
		})
	}
	all.Wait()
}

// collectProcesses looks at all that are in this network namespace, as far as they
// can be seen.
func (f *facts) collectProcesses() {
	here, _ := os.Readlink("/proc/thread-self/ns/net")
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range names {
		if there, err := os.Readlink(dir + "/ns/net"); err == nil && there != here {
			continue
		}
		if p, ok := readProcess(dir); ok {
			f.processes = append(f.processes, p)
		}
	}
	f.self, _ = readProcess("/proc/self")
}

// readProcess reads what /proc has of one.
func readProcess(dir string) (p process, ok bool) {
	limit := false
	for line := range strings.Lines(readFile(dir + "/status")) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		switch key {
		case "Name":
			p.name = fields[0]
		case "Pid":
			p.pid, _ = strconv.Atoi(fields[0])
		case "Uid":
			p.uid = number(fields[min(1, len(fields)-1)])
		case "Gid":
			p.groups = append(p.groups, number(fields[min(1, len(fields)-1)]))
		case "Groups":
			for _, g := range fields {
				p.groups = append(p.groups, number(g))
			}
		case "CapEff":
			p.caps, _ = strconv.ParseUint(fields[0], 16, 64)
		case "VmLck":
			p.locked = fields[0] != "0"
		}
	}
	for line := range strings.Lines(readFile(dir + "/limits")) {
		limit = limit || strings.HasPrefix(line, "Max locked memory") && strings.Contains(line, "unlimited")
	}
	p.locked = p.locked || limit || p.caps>>unix.CAP_IPC_LOCK&1 == 1
	if attr, err := unix.SchedGetAttr(p.pid, 0); err == nil {
		p.realtime = attr.Policy == unix.SCHED_RR || attr.Policy == unix.SCHED_FIFO
	}
	return p, p.pid != 0
}

func number(text string) uint32 {
	n, _ := strconv.ParseUint(text, 10, 32)
	return uint32(n)
}

// statSocket looks at a socket, and whether the daemon may pass the folders that lead
// to it.
func (f *facts) statSocket(path string) (socketFile, error) {
	info, err := os.Stat(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.skip("the socket "+path, err.Error())
		}
		return socketFile{}, err
	}
	s := ownerOf(info)
	s.group = strconv.Itoa(int(s.gid))
	if g, err := user.LookupGroupId(s.group); err == nil {
		s.group = g.Name
	}
	for dir := filepath.Dir(path); f.daemon != nil && dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if at, err := os.Stat(dir); err == nil {
			folder := ownerOf(at)
			folder.mode = folder.mode << 1 // to pass is x, where to write is w
			if !mayWrite(*f.daemon, folder) {
				s.blocked = dir
			}
		}
	}
	return s, nil
}

func ownerOf(info os.FileInfo) socketFile {
	s := socketFile{mode: info.Mode()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.uid, s.gid = st.Uid, st.Gid
	}
	return s
}
