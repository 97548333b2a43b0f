// Package record keeps on disk what a daemon that takes over from one that died
// has to know of it: RUNTIMEDIR/record.
//
// The file has a head, written whole with the file, that names the elections and
// the checks; and a slot for each of them and for the heartbeat, written in place
// when something changes. A slot has two copies, which are written in turn, each
// with a number and a checksum: of a write that was torn the copy before remains.
//
// It is written with pwrite(2) and never mapped: a full disk under a mapping kills
// the process. The package must not know what a record means to the protocol, and
// nothing that goes wrong here costs more than a line in the log.
package record

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"baton/health"
	"baton/vip"
)

// fileName is the record's name in the runtime directory.
const fileName = "record"

// Head is what stays as it is for as long as the same elections are run.
type Head struct {
	Boot          string    `json:"boot"` // id of the boot, by which the times below mean something
	PID           int       `json:"pid"`
	Version       string    `json:"version"` // of baton
	Node          string    `json:"node"`
	Configuration string    `json:"configuration"` // hash
	Started       time.Time `json:"started"`       // of the process, or of the one that it has replaced by an upgrade

	Elections []Election `json:"elections"`
	Checks    []string   `json:"checks"`
}

// Election is a virtual router that stands alone, or a group.
type Election struct {
	Name    string   `json:"name"`
	Routers []Router `json:"routers"`
}

// Router is one virtual router of an election.
type Router struct {
	Interface string `json:"interface"`
	VRID      uint8  `json:"vrid"`
	IPv6      bool   `json:"ipv6,omitempty"`
	// Interval is that of its advertisements, which are due whenever the time less
	// Phase is a multiple of it; Patience is how long the first backup bears silence.
	Interval time.Duration `json:"interval"`
	Phase    time.Duration `json:"phase"`
	Patience time.Duration `json:"patience"`
	// Addresses is what the address worker was told, with routes, rules and the
	// virtual MAC.
	Addresses vip.Router `json:"addresses"`
}

// State is what is known of an election. All times are readings of
// CLOCK_BOOTTIME.
type State struct {
	Role  string        `json:"role,omitempty"`
	Since time.Duration `json:"since,omitempty"`
	// Leaving says that the others have been told, or are about to be, that this
	// node gives the role away.
	Leaving bool `json:"leaving,omitempty"`

	// Told is the state that the hooks were told last, and have finished with.
	Told string `json:"told,omitempty"`

	Takeover       string `json:"takeover,omitempty"` // how a master got the role, and from whom
	PreviousMaster string `json:"previous_master,omitempty"`

	Hold    health.HoldState `json:"hold,omitzero"` // FAULT after a failure as master
	Failure string           `json:"failure,omitempty"`
	Failed  bool             `json:"failed,omitempty"` // in this mastership

	Services Services `json:"services,omitzero"`
}

// Services is how far the services of an election are.
type Services struct {
	Run    bool `json:"run,omitempty"`    // they are to run, or may still do
	Served bool `json:"served,omitempty"` // all were ready in this mastership
	AtMark bool `json:"at_mark,omitempty"`
}

// Check is what is known of a check.
type Check struct {
	health.Reading
	Text   string       `json:"text,omitempty"`
	Hint   string       `json:"hint,omitempty"`
	Since  time.Time    `json:"since,omitzero"`
	Forced health.Force `json:"forced,omitzero"`
}

// Record is a record as it was read.
type Record struct {
	Head
	Beat      time.Duration // of the heartbeat: reading of CLOCK_BOOTTIME
	Leaving   bool          // the process was told to end
	Succeeded bool          // it has made way for its successor, which has its PID

	States map[string]State // by name of the election
	Known  map[string]Check // by name of the check
	Torn   []string         // names of which no copy is whole
}

// The file: magic, length of the head, its checksum, the head; from a multiple of
// slotSize on the slots. A slot has two copies: number, checksum of what follows,
// length, content.
const (
	slotSize  = 1024
	copySize  = slotSize / 2
	slotHead  = 8 + 4 + 2
	maxSlot   = copySize - slotHead
	fileHead  = 16
	maxFile   = 64 << 20
	maxText   = 100 // bytes of each text in a slot
	heartbeat = 0   // the number of its slot
	beatSize  = 9
)

var magic = [8]byte{'b', 'a', 't', 'o', 'n', 'r', 'e', '1'} // the last one is the version of the format

var table = crc32.MakeTable(crc32.Castagnoli)

// ErrTorn says that a file is not a whole record.
var ErrTorn = errors.New("it is damaged, or of another version of baton")

// Read reads the record in a runtime directory. The error wraps fs.ErrNotExist
// where there is none, and ErrTorn where it is of no use.
func Read(dir string) (*Record, error) {
	path := filepath.Join(dir, fileName)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the record of the process before: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the record of the process before: %w", err)
	}
	r, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("read the record of the process before, %s: %w", path, err)
	}
	return r, nil
}

// Remove removes the record of a runtime directory. That there is none is no
// error.
func Remove(dir string) error {
	if err := os.Remove(filepath.Join(dir, fileName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the record: %w", err)
	}
	return nil
}

// slotsAt is where the slots begin after a head of that length.
func slotsAt(head int) int { return (fileHead + head + slotSize - 1) / slotSize * slotSize }

func parse(b []byte) (*Record, error) {
	if len(b) < fileHead || len(b) > maxFile || [8]byte(b) != magic {
		return nil, ErrTorn
	}
	length, sum := int64(binary.LittleEndian.Uint32(b[8:])), binary.LittleEndian.Uint32(b[12:])
	if length > int64(len(b)-fileHead) {
		return nil, ErrTorn
	}
	head := b[fileHead : fileHead+length]
	r := &Record{States: make(map[string]State), Known: make(map[string]Check)}
	if crc32.Checksum(head, table) != sum || json.Unmarshal(head, &r.Head) != nil {
		return nil, ErrTorn
	}
	slots := b[min(slotsAt(len(head)), len(b)):]
	if want := 1 + len(r.Elections) + len(r.Checks); len(slots) < want*slotSize {
		return nil, ErrTorn
	}
	beat, _, ok := newest(slots)
	if !ok || len(beat) != beatSize {
		return nil, ErrTorn
	}
	r.Beat = time.Duration(binary.LittleEndian.Uint64(beat))
	r.Leaving, r.Succeeded = beat[8]&1 != 0, beat[8]&2 != 0
	for _, e := range r.Elections {
		slots = slots[slotSize:]
		readSlot(r, slots, e.Name, r.States)
	}
	for _, c := range r.Checks {
		slots = slots[slotSize:]
		readSlot(r, slots, c, r.Known)
	}
	return r, nil
}

// readSlot puts what a slot has under a name. A slot that was never written has
// nothing.
func readSlot[T any](r *Record, slot []byte, name string, into map[string]T) {
	content, empty, ok := newest(slot)
	if empty {
		return
	}
	var v T
	if !ok || json.Unmarshal(content, &v) != nil {
		r.Torn = append(r.Torn, name)
		return
	}
	into[name] = v
}

// newest returns the newer of the copies in a slot that are whole.
func newest(slot []byte) (content []byte, empty, ok bool) {
	var best uint64
	empty = true
	for i := range 2 {
		c := slot[i*copySize : (i+1)*copySize]
		number := binary.LittleEndian.Uint64(c)
		sum, length := binary.LittleEndian.Uint32(c[8:]), int(binary.LittleEndian.Uint16(c[12:]))
		empty = empty && number == 0 && sum == 0 && length == 0
		if number == 0 || number <= best || length > maxSlot || sumOf(c, length) != sum {
			continue
		}
		best, content, ok = number, c[slotHead:slotHead+length], true
	}
	return content, empty, ok
}

// sumOf is the checksum of a copy: of its number, its length and its content.
func sumOf(c []byte, length int) uint32 {
	sum := crc32.Checksum(c[:8], table)
	return crc32.Update(sum, table, c[12:slotHead+length])
}
