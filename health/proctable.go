package health

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxComm is how much of a process's name the kernel keeps.
	maxComm = 15
	// scanShare bounds what scans cost: one is used again for as long as so many
	// times what it took, which is 2 % of a core at most.
	scanShare = 50
	// maxScanAge is how old a scan may be on a host where one takes long.
	maxScanAge = time.Second
	// maxPidfds is how many processes are watched, by all checks together.
	maxPidfds = 1024
)

// trait is something that processes are known by.
type trait uint8

const (
	comm trait = iota
	argv0
	executable
	traits // how many there are
)

// ProcessTable is what all process checks share: scans of /proc and the number of
// pidfds.
type ProcessTable struct {
	lock  chan struct{} // held during a scan; unlike a mutex it can be given up
	scans [traits]scan

	pidfds atomic.Int32
	most   int32 // of pidfds
}

// scan is what was found of all processes.
type scan struct {
	at      time.Time // when it began
	took    time.Duration
	pids    map[string][]int // by the trait
	refused int              // processes that could not be read for lack of permission
}

// NewProcessTable returns the table of this host's processes, as /proc shows them
// to the daemon. It holds at most 1024 pidfds, and at most a quarter of the files
// that the daemon may open.
func NewProcessTable() *ProcessTable {
	t := &ProcessTable{lock: make(chan struct{}, 1), most: maxPidfds}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		t.most = int32(min(maxPidfds, limit.Cur/4))
	}
	return t
}

// find returns the processes that have a trait, from a scan that is at most so
// old. Who cannot be found in it may have begun since; who is found may have
// ended, or be a zombie.
func (t *ProcessTable) find(ctx context.Context, what trait, key string, age time.Duration) (pids []int, refused int, err error) {
	select {
	case t.lock <- struct{}{}:
		defer func() { <-t.lock }()
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("wait for another check's scan of /proc: %w", context.Cause(ctx))
	}
	s := &t.scans[what]
	if s.at.IsZero() || time.Since(s.at) > max(age, min(scanShare*s.took, maxScanAge)) {
		fresh, err := t.scan(ctx, what)
		if err != nil {
			return nil, 0, err
		}
		*s = fresh
	}
	return s.pids[key], s.refused, nil
}

// scan reads a trait of all processes.
func (t *ProcessTable) scan(ctx context.Context, what trait) (scan, error) {
	s := scan{at: time.Now(), pids: make(map[string][]int, len(t.scans[what].pids))}
	dir, err := os.Open("/proc")
	if err != nil {
		return scan{}, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return scan{}, err
	}
	for i, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return scan{}, fmt.Errorf("scan /proc, at %d of %d: %w", i, len(names), context.Cause(ctx))
		}
		text, err := t.read(pid, what)
		switch {
		case os.IsPermission(err) && !t.ended(pid): // it is the error of a process that is gone, too
			s.refused++
		case err == nil && text != "":
			s.pids[text] = append(s.pids[text], pid)
		}
	}
	s.took = time.Since(s.at)
	return s, nil
}

// read reads a trait of a process. Where it has none, a thread of the kernel for
// instance, it is empty.
func (t *ProcessTable) read(pid int, what trait) (string, error) {
	var buf [4096]byte
	dir := "/proc/" + strconv.Itoa(pid)
	switch what {
	case comm:
		text, err := readProc(dir+"/comm", buf[:64])
		return string(bytes.TrimSuffix(text, []byte("\n"))), err
	case argv0:
		text, err := readProc(dir+"/cmdline", buf[:])
		text, _, _ = bytes.Cut(text, []byte{0})
		text = bytes.TrimPrefix(text, []byte("-")) // a login shell
		return string(text[bytes.LastIndexByte(text, '/')+1:]), err
	}
	n, err := unix.Readlink(dir+"/exe", buf[:])
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(buf[:n]), " (deleted)"), nil
}

// ended tells whether a process is gone or a zombie.
func (t *ProcessTable) ended(pid int) bool {
	var buf [512]byte
	text, err := readProc("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])
	at := bytes.LastIndexByte(text, ')') + 2 // the letter of its state, behind a name that may have anything in it
	return err != nil || at >= len(text) || bytes.IndexByte([]byte("ZXx"), text[at]) >= 0
}

// readProc reads the beginning of a file of /proc, without what os.File costs.
func readProc(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	n, err := unix.Read(fd, buf)
	_ = unix.Close(fd)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
