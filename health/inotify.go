package health

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// What is watched of a folder and of a file. A folder is not watched for what is
// written to the files in it.
const (
	folderMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	fileMask   = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
)

// Inotify watches files for all file checks: a user may have 128 instances of
// inotify, the other programs' included, so they share one. It exists while
// somebody watches.
type Inotify struct {
	mu       sync.Mutex
	file     *os.File // nil while nobody watches
	fd       int
	ended    chan struct{} // closed when the reader has returned
	watchers map[*fileWatcher]bool
	setting  int // calls of the kernel that set a watch and have not returned

	wanted map[int][]want // by watch descriptor
}

// want is who is told of an object, and of which name in it; empty: of all that
// happens to the object itself.
type want struct {
	watcher *fileWatcher
	name    string
}

// fileWatcher is one who watches.
type fileWatcher struct {
	stirred chan struct{} // has an element when something happened
}

// object is a folder and the name in it that counts, or, without a name, a file.
type object struct{ path, name string }

// NewInotify returns one for all file checks. It holds nothing while nobody
// watches.
func NewInotify() *Inotify { return &Inotify{} }

// join begins to watch, as yet nothing.
func (n *Inotify) join() (*fileWatcher, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file == nil {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return nil, fmt.Errorf("watch files: %w", err)
		}
		n.file, n.fd, n.ended = os.NewFile(uintptr(fd), "inotify"), fd, make(chan struct{})
		n.watchers, n.wanted = map[*fileWatcher]bool{}, map[int][]want{}
		go n.read(n.file, n.ended)
	}
	w := &fileWatcher{stirred: make(chan struct{}, 1)}
	n.watchers[w] = true
	return w, nil
}

// leave ends what join has begun, and for the last one all.
func (n *Inotify) leave(w *fileWatcher) {
	n.mu.Lock()
	n.forget(w, nil)
	delete(n.watchers, w)
	if len(n.watchers) > 0 {
		n.mu.Unlock()
		return
	}
	file, ended := n.file, n.ended
	n.file = nil
	n.mu.Unlock()
	_ = file.Close()
	<-ended
}

// look sets what w watches. What is not there is not watched: the folder above
// tells when it comes.
func (n *Inotify) look(w *fileWatcher, objects []object) {
	var now []int
	for _, o := range objects {
		if wd, ok := n.add(w, o); ok {
			now = append(now, wd)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget(w, now)
}

// add watches one object. The lock is not held meanwhile, since the file system
// may hang, and must not hold up the other checks.
func (n *Inotify) add(w *fileWatcher, o object) (wd int, ok bool) {
	mask := uint32(folderMask)
	if o.name == "" {
		mask = fileMask
	}
	n.mu.Lock()
	n.setting++
	n.mu.Unlock()
	wd, err := unix.InotifyAddWatch(n.fd, o.path, mask|unix.IN_MASK_ADD)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.setting--
	if err != nil {
		return 0, false
	}
	if it := (want{w, o.name}); !slices.Contains(n.wanted[wd], it) {
		n.wanted[wd] = append(n.wanted[wd], it)
	}
	return wd, true
}

// forget drops what w has watched but for some, and the watches that nobody wants
// any more: not while somebody sets one, which might be the same.
func (n *Inotify) forget(w *fileWatcher, but []int) {
	for wd, list := range n.wanted {
		if !slices.Contains(but, wd) {
			list = slices.DeleteFunc(list, func(it want) bool { return it.watcher == w })
			n.wanted[wd] = list
		}
		if len(list) == 0 && n.setting == 0 {
			_, _ = unix.InotifyRmWatch(n.fd, uint32(wd))
			delete(n.wanted, wd)
		}
	}
}

// read tells the watchers until the file is closed.
func (n *Inotify) read(file *os.File, ended chan<- struct{}) {
	defer close(ended)
	buf := make([]byte, 16<<10)
	for {
		size, err := file.Read(buf)
		if err != nil {
			return
		}
		n.mu.Lock()
		if n.file != file { // all have left, and who has come since has other numbers
			n.mu.Unlock()
			return
		}
		for events := buf[:size]; len(events) >= unix.SizeofInotifyEvent; {
			wd := int(int32(binary.NativeEndian.Uint32(events)))
			mask := binary.NativeEndian.Uint32(events[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
			name, _, _ := bytes.Cut(events[unix.SizeofInotifyEvent:end], []byte{0})
			n.tell(wd, mask, string(name))
			events = events[end:]
		}
		n.mu.Unlock()
	}
}

// tell stirs those whom an event concerns.
func (n *Inotify) tell(wd int, mask uint32, name string) {
	if mask&unix.IN_Q_OVERFLOW != 0 { // events are lost, nobody knows whose
		for w := range n.watchers {
			w.stir()
		}
		return
	}
	for _, it := range n.wanted[wd] {
		if it.name == name || name == "" {
			it.watcher.stir()
		}
	}
	if mask&unix.IN_IGNORED != 0 { // the object is gone, and its number free
		delete(n.wanted, wd)
	}
}

func (w *fileWatcher) stir() {
	select {
	case w.stirred <- struct{}{}:
	default:
	}
}
