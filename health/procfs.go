package health

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxComm is how much of a name the kernel keeps.
	maxComm = 15
	// maxArgv bounds what is read of a command line: its first word is looked at.
	maxArgv = 4 << 10
	// deleted is what the kernel puts after the path of an executable that was
	// removed, or replaced by an upgrade, while it runs.
	deleted = " (deleted)"
)

// Processes selects processes of this host: by exactly one of the first three.
type Processes struct {
	Name    string // as ps -C has it
	Path    string // of the executable
	PIDFile string
	Least   int   // how many there must be, at least 1 unless Most is 0
	Most    int   // -1: any number
	Ports   []int // of a ConnectionCheck: one of them has an established connection to one of these ports
}

// String is how a text names them.
func (s Processes) String() string {
	switch {
	case s.Name != "":
		return s.Name
	case s.Path != "":
		return s.Path
	}
	return "the process of " + s.PIDFile
}

// find returns the processes, in order of their numbers; none is no error. A name
// is that of the program or script as the kernel has it, of which it keeps 15
// characters, or the last part of the command line's first word. A process that
// runs an executable which has been deleted since counts.
func (s Processes) find() ([]int, error) {
	if s.PIDFile != "" {
		return s.fromFile()
	}
	path := s.executable()
	pids, err := allProcesses()
	if err != nil {
		return nil, err
	}
	var refused int
	found := slices.DeleteFunc(pids, func(pid int) bool {
		ok, err := s.is(pid, path)
		if errors.Is(err, fs.ErrPermission) {
			refused++
		}
		return !ok
	})
	if len(found) == 0 && refused > 0 {
		return nil, fmt.Errorf("no process runs %v, as far as can be seen: look at the executables of %d others: %w", s, refused, fs.ErrPermission)
	}
	return found, nil
}

// executable is Path without symbolic links, as the kernel shows it.
func (s Processes) executable() string {
	if s.Path == "" {
		return ""
	}
	path, err := filepath.EvalSymlinks(s.Path)
	if err != nil { // removed while it runs
		return s.Path
	}
	return path
}

// is tells whether a process is selected; path is what executable returned.
func (s Processes) is(pid int, path string) (bool, error) {
	ok := false
	if s.Name != "" {
		ok = s.named(pid)
	} else {
		exe, err := os.Readlink(procfs(pid, "exe"))
		if err != nil { // it has ended, is one of the kernel's, or may not be looked at
			return false, err
		}
		exe = strings.TrimSuffix(exe, deleted)
		ok = exe == path || exe == s.Path
	}
	return ok && !zombie(pid), nil
}

// named compares the name of a process.
func (s Processes) named(pid int) bool {
	comm := bytes.TrimSuffix(readProc(pid, "comm"), []byte("\n"))
	if string(comm) == s.Name || len(comm) == maxComm && len(s.Name) > maxComm && s.Name[:maxComm] == string(comm) {
		return true
	}
	argv, _, _ := bytes.Cut(readProc(pid, "cmdline"), []byte{0})
	return string(argv[bytes.LastIndexByte(argv, '/')+1:]) == s.Name
}

// fromFile reads the number of a process from its PID file.
func (s Processes) fromFile() ([]int, error) {
	f, err := os.Open(s.PIDFile)
	if err != nil {
		return nil, fmt.Errorf("read PID file %s: %w", s.PIDFile, bare(err))
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("read PID file %s: it is no file", s.PIDFile)
	}
	b, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return nil, fmt.Errorf("read PID file %s: %w", s.PIDFile, bare(err))
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid < 1 {
		return nil, fmt.Errorf("read PID file %s: no process number: %s", s.PIDFile, excerpt(b))
	}
	if _, err := os.Stat(procfs(pid, "")); err != nil || zombie(pid) {
		return nil, nil
	}
	return []int{pid}, nil
}

// replaced tells whether the executable of a process has been deleted, as after an
// upgrade.
func replaced(pid int) bool {
	exe, err := os.Readlink(procfs(pid, "exe"))
	return err == nil && strings.HasSuffix(exe, deleted)
}

// zombie tells whether a process has ended, and only its parent does not know.
func zombie(pid int) bool {
	b := readProc(pid, "stat")
	b = b[bytes.LastIndexByte(b, ')')+1:] // a name may have spaces and parentheses
	state := bytes.TrimLeft(b, " ")
	return len(state) == 0 || state[0] == 'Z' || state[0] == 'X'
}

// allProcesses lists the processes of this host.
func allProcesses() ([]int, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// readProc reads the beginning of a file of a process; empty when it has ended.
func readProc(pid int, name string) []byte {
	f, err := os.Open(procfs(pid, name))
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, maxArgv)
	n, _ := f.Read(b)
	return b[:n]
}

func procfs(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}
