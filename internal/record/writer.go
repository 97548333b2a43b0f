package record

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// tellAgain is how often it is said at most that the record cannot be written.
const tellAgain = time.Minute

// Writer writes the record of a daemon. Its methods may be called from any
// goroutine; each costs one small pwrite at most, but for Begin and Mend.
type Writer struct {
	dir string
	log *slog.Logger

	mu      sync.Mutex
	file    *os.File // nil: it could not be made
	head    []byte   // as JSON
	slots   []slot   // heartbeat, elections, checks
	index   map[string]int
	content map[string][]byte // newest, by key, whether there is a slot for it or not
	states  map[string]State
	at      int64 // of the first slot
	buf     [copySize]byte
	beat    [beatSize]byte
	flags   byte
	removed bool
	told    time.Time // that it cannot be written
}

// slot is what was last put into a slot.
type slot struct {
	number  uint64
	content []byte
}

// New returns the Writer of a runtime directory, which only the holder of its lock
// may use. It writes nothing before Begin.
func New(dir string, log *slog.Logger) *Writer {
	return &Writer{dir: dir, log: log, index: make(map[string]int), content: make(map[string][]byte), states: make(map[string]State)}
}

// Dir is the runtime directory.
func (w *Writer) Dir() string { return w.dir }

// electionKey and checkKey tell both kinds of slots apart: names may be the same.
func electionKey(name string) string { return "e" + name }
func checkKey(name string) string    { return "c" + name }

// Begin writes the record anew, with a head, at the moment now. What was set of the
// elections and checks that the head has, before it or after an earlier Begin, is
// in it. An error is logged, and Mend tries again.
func (w *Writer) Begin(h Head, now time.Duration) {
	head, err := json.Marshal(h) // the protocol loop does not wait for it
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failed(fmt.Errorf("write the record: %w", err))
		return
	}
	w.head = head
	w.slots, w.index = make([]slot, 1, 1+len(h.Elections)+len(h.Checks)), make(map[string]int)
	add := func(key string) {
		w.index[key] = len(w.slots)
		w.slots = append(w.slots, slot{content: w.content[key]})
	}
	for _, e := range h.Elections {
		add(electionKey(e.Name))
	}
	for _, c := range h.Checks {
		add(checkKey(c))
	}
	w.setBeat(now)
	w.failed(w.create())
}

// Mend makes the record that could not be made before, if so.
func (w *Writer) Mend(now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file != nil || w.removed || len(w.slots) == 0 {
		return
	}
	w.setBeat(now)
	if err := w.create(); err != nil {
		w.failed(err)
		return
	}
	w.log.Info("the record can be written again", "folder", w.dir)
}

// create writes the whole file, and puts it in the place of the one before in one
// step.
func (w *Writer) create() error {
	if w.file != nil {
		_ = w.file.Close() // it is replaced
		w.file = nil
	}
	head := w.head
	at := slotsAt(len(head))
	b := make([]byte, at+len(w.slots)*slotSize)
	copy(b, magic[:])
	binary.LittleEndian.PutUint32(b[8:], uint32(len(head)))
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(head, table))
	copy(b[fileHead:], head)
	for i := range w.slots {
		if s := &w.slots[i]; s.content != nil {
			s.number = 1
			copy(b[at+i*slotSize+copySize:], encode(make([]byte, copySize), s.number, s.content))
		}
	}
	beside := filepath.Join(w.dir, "."+fileName+".new")
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	if _, err = f.Write(b); err == nil {
		err = os.Rename(beside, filepath.Join(w.dir, fileName))
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(beside)
		return fmt.Errorf("write the record: %w", err)
	}
	w.file, w.at = f, int64(at)
	return nil
}

// encode writes a copy of a slot to b.
func encode(b []byte, number uint64, content []byte) []byte {
	binary.LittleEndian.PutUint64(b, number)
	binary.LittleEndian.PutUint16(b[12:], uint16(len(content)))
	n := copy(b[slotHead:], content)
	binary.LittleEndian.PutUint32(b[8:], sumOf(b, n))
	return b[:slotHead+n]
}

// SetState notes what is known of an election, but for Told.
func (w *Writer) SetState(election string, s State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.Told = w.states[election].Told
	w.setState(election, s)
}

// SetTold notes which state the hooks of an election have been told.
func (w *Writer) SetTold(election, state string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.states[election]
	s.Told = state
	w.setState(election, s)
}

func (w *Writer) setState(election string, s State) {
	w.states[election] = s
	s.Failure, s.PreviousMaster = short(s.Failure), short(s.PreviousMaster)
	content, err := json.Marshal(s)
	if err != nil || len(content) > maxSlot { // escapes have made the texts long
		s.Failure, s.PreviousMaster = "", ""
		content, err = json.Marshal(s)
	}
	w.set(electionKey(election), content, err)
}

// SetCheck notes what is known of a check.
func (w *Writer) SetCheck(name string, c Check) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.Text, c.Hint, c.Forced.Reason, c.Forced.By = short(c.Text), short(c.Hint), short(c.Forced.Reason), short(c.Forced.By)
	content, err := json.Marshal(c)
	if err != nil || len(content) > maxSlot {
		c.Text, c.Hint, c.Forced.Reason, c.Forced.By = "", "", "", ""
		content, err = json.Marshal(c)
	}
	w.set(checkKey(name), content, err)
}

// short is at most maxText bytes of a text.
func short(text string) string {
	if len(text) > maxText {
		return text[:maxText] // JSON mends a character that was cut
	}
	return text
}

func (w *Writer) set(key string, content []byte, err error) {
	if err != nil || len(content) > maxSlot {
		w.failed(fmt.Errorf("write the record: %d bytes: %w", len(content), err))
		return
	}
	w.content[key] = content
	if i, ok := w.index[key]; ok {
		w.slots[i].content = content
		w.write(i)
	}
}

// Beat notes that the daemon lives. It allocates nothing.
func (w *Writer) Beat(now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.slots) > 0 {
		w.setBeat(now)
		w.write(heartbeat)
	}
}

// Leave notes that the daemon was told to end.
func (w *Writer) Leave(now time.Duration) { w.flag(1, now) }

// Succeed notes that the daemon makes way for its successor.
func (w *Writer) Succeed(now time.Duration) { w.flag(2, now) }

func (w *Writer) flag(f byte, now time.Duration) {
	w.mu.Lock()
	w.flags |= f
	w.mu.Unlock()
	w.Beat(now)
}

func (w *Writer) setBeat(now time.Duration) {
	binary.LittleEndian.PutUint64(w.beat[:], uint64(now))
	w.beat[8] = w.flags
	w.slots[heartbeat].content = w.beat[:]
}

// write writes a slot, to the copy that is the older one.
func (w *Writer) write(i int) {
	if w.file == nil {
		return
	}
	s := &w.slots[i]
	s.number++
	b := encode(w.buf[:], s.number, s.content)
	at := w.at + int64(i*slotSize) + int64(s.number%2)*copySize
	for {
		n, err := unix.Pwrite(int(w.file.Fd()), b, at)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			w.failed(fmt.Errorf("write the record in %s: %w", w.dir, err))
		case n < len(b):
			w.failed(fmt.Errorf("write the record in %s: %d of %d bytes", w.dir, n, len(b)))
		}
		return
	}
}

// failed logs an error, unless that was done lately.
func (w *Writer) failed(err error) {
	if now := time.Now(); err != nil && (w.told.IsZero() || now.Sub(w.told) >= tellAgain) {
		w.told = now
		w.log.Warn("the record cannot be written", "err", err,
			"consequence", "a baton that is killed now may not be adopted: the role moves, as with any other")
	}
}

// Close ends the record; with remove, of a daemon that has let everything go, it
// takes the file away.
func (w *Writer) Close(remove bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.removed = true
	if w.file != nil {
		_ = w.file.Close() // every write has been told of
		w.file = nil
	}
	if remove {
		if err := Remove(w.dir); err != nil {
			w.log.Warn("the record stays", "err", err)
		}
	}
}
