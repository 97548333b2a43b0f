package health

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFileProbe(t *testing.T) {
	dir := t.TempDir()
	written := time.Date(2025, 11, 19, 14, 30, 0, 0, time.Local)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, written, written); err != nil {
			t.Fatal(err)
		}
		return path
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	must(os.Mkdir(filepath.Join(dir, "folder"), 0o755))
	must(os.Chtimes(filepath.Join(dir, "folder"), written, written))
	must(os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	must(os.Symlink("loop", filepath.Join(dir, "loop")))
	file("there", "12345")
	must(os.Symlink("there", filepath.Join(dir, "link")))

	const none, number = "if its time is over, remove it", "its first line must be a number, such as 0 or -2"
	pass := func(n int) Answer { return Answer{OK: true, Number: n, Numbered: true} }
	bad := Answer{Hint: number, Numbered: true}
	tests := map[string]struct {
		path string
		want FileWant
		text string
		a    Answer // without its text
	}{
		"present":              {"there", FilePresent, "DIR/there is there: 5 bytes, written 2025-11-19 14:30:00", Answer{OK: true}},
		"a link to it":         {"link", FilePresent, "DIR/link is there: 5 bytes, written 2025-11-19 14:30:00", Answer{OK: true}},
		"a folder":             {"folder", FilePresent, "DIR/folder is there: a folder, changed 2025-11-19 14:30:00", Answer{OK: true}},
		"not present":          {"missing", FilePresent, "DIR/missing is not there", Answer{}},
		"no folder":            {"none/missing", FilePresent, "DIR/none/missing is not there, nor is its folder", Answer{}},
		"behind a file":        {"there/missing", FilePresent, "DIR/there/missing is not there", Answer{}},
		"a link to nothing":    {"dangling", FilePresent, "DIR/dangling is not there", Answer{}},
		"nobody can tell":      {"loop", FilePresent, "stat DIR/loop: too many levels of symbolic links", Answer{}},
		"absent":               {"missing", FileAbsent, "DIR/missing is not there", Answer{OK: true}},
		"not absent":           {"there", FileAbsent, "DIR/there is there: 5 bytes, written 2025-11-19 14:30:00; it must not be", Answer{Hint: none}},
		"absent, or not":       {"loop", FileAbsent, "stat DIR/loop: too many levels of symbolic links", Answer{}},
		"number":               {file("number", "42\n"), FileNumber, "DIR/number has 42", pass(42)},
		"negative":             {file("negative", "-3"), FileNumber, "DIR/negative has -3", pass(-3)},
		"signed, spaces":       {file("signed", "  +7 \r\nmore"), FileNumber, "DIR/signed has 7", pass(7)},
		"decimal all the same": {file("octal", "010\n"), FileNumber, "DIR/octal has 10", pass(10)},
		"64 bytes":             {file("64", strings.Repeat("0", 63)+"5\n"), FileNumber, "DIR/64 has 5", pass(5)},
		"65 bytes":             {file("65", strings.Repeat("0", 65)), FileNumber, "DIR/65: the first line is longer than 64 bytes", bad},
		"empty":                {file("empty", ""), FileNumber, "DIR/empty: the first line is empty", bad},
		"words":                {file("words", "two\n"), FileNumber, `DIR/words: "two" is no number`, bad},
		"too large":            {file("large", "99999999999999999999"), FileNumber, "DIR/large: 99999999999999999999 is too large", bad},
		"a pipe":               {"fifo", FileNumber, "DIR/fifo is a named pipe, not a regular file", bad},
		"number in a folder":   {"folder", FileNumber, "DIR/folder is a folder, not a regular file", bad},
		"no number":            {"missing", FileNumber, "DIR/missing is not there", bad},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.TrimPrefix(tt.path, dir))
			got := NewFileProbe(NewInotify(), File{path, tt.want}).Probe(t.Context())
			tt.a.Text = strings.ReplaceAll(tt.text, "DIR", dir)
			if got != tt.a {
				t.Errorf("got %+v, want %+v", got, tt.a)
			}
		})
	}
}

// watching runs a probe's Watch; the function returned waits for it to tell.
func watching(t *testing.T, p Probe) (told func()) {
	t.Helper()
	changed := make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.(Watcher).Watch(ctx, func() { changed <- struct{}{} })
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the watch does not end")
		}
	})
	return func() {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Error("it is not told")
		}
	}
}

func TestFileProbe_Watch(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) func() error {
		return func() error { return os.WriteFile(in(name), []byte(text), 0o644) }
	}
	rename := func(from, to string) func() error { return func() error { return os.Rename(in(from), in(to)) } }
	tests := []struct {
		does string
		do   func() error
		want string // the answer then
	}{
		{"the folders come", func() error { return os.MkdirAll(in("a/b"), 0o755) }, "is not there"},
		{"the file comes", write("a/b/n", "1"), "has 1"},
		{"it is written to", write("a/b/n", "2"), "has 2"},
		{"another takes its place", func() error {
			return errors.Join(write("a/b/new", "3")(), rename("a/b/new", "a/b/n")())
		}, "has 3"},
		{"that is written to", write("a/b/n", "4"), "has 4"},
		{"it is removed", func() error { return os.Remove(in("a/b/n")) }, "is not there"},
		{"it comes again", write("a/b/n", "5"), "has 5"},
		{"its folder is moved away", rename("a", "c"), "is not there"},
		{"a link leads there", func() error { return os.Symlink("c", in("a")) }, "has 5"},
		{"behind it the file is written to", write("c/b/n", "6"), "has 6"},
		{"the link leads elsewhere", func() error {
			return errors.Join(os.MkdirAll(in("d/b"), 0o755), write("d/b/n", "7")(), os.Symlink("d", in("next")), rename("next", "a")())
		}, "has 7"},
		{"the file there is written to", write("d/b/n", "8"), "has 8"},
		{"all is gone", func() error { return os.RemoveAll(in("d")) }, "is not there"},
		{"the link is removed", func() error {
			return errors.Join(os.Remove(in("a")), os.MkdirAll(in("a/b"), 0o755), write("a/b/n", "9")())
		}, "has 9"},
		{"a folder is in its place", func() error { return errors.Join(os.Remove(in("a/b/n")), os.Mkdir(in("a/b/n"), 0o755)) }, "is a folder, not a regular file"},
	}
	p := NewFileProbe(NewInotify(), File{in("a/b/n"), FileNumber})
	told := watching(t, p)
	told() // that it watches
	for _, tt := range tests {
		if err := tt.do(); err != nil {
			t.Fatal(err)
		}
		// Each step is told of one time at least, and the last time not before all
		// of it has happened.
		for {
			told()
			if t.Failed() {
				t.Fatalf("%s: %+v", tt.does, p.Probe(t.Context()))
			}
			if a := p.Probe(t.Context()); strings.HasSuffix(a.Text, tt.want) {
				break
			}
		}
	}
}

// The maintenance switch: only what becomes of the name counts.
func TestFileProbe_WatchAbsent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "maintenance")
	p := NewFileProbe(NewInotify(), File{path, FileAbsent})
	told := watching(t, p)
	told() // that it watches
	for _, ok := range []bool{false, true, false} {
		var err error
		if ok {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, nil, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		told()
		if a := p.Probe(t.Context()); a.OK != ok {
			t.Errorf("%+v", a)
		}
	}
}

// A folder is watched before those in it, so that none is missed that comes
// meanwhile.
func TestFileProbe_Objects(t *testing.T) {
	p := &fileProbe{File: File{Path: "/run/lb//n", Want: FileNumber}}
	want := []object{{"/", "run"}, {"/run", "lb"}, {"/run/lb", "n"}, {"/run/lb/n", ""}}
	if got := p.objects(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Many share one instance, and what concerns others tells nobody.
func TestInotify_Shared(t *testing.T) {
	dir := t.TempDir()
	n := NewInotify()
	join := func() *fileWatcher {
		w, err := n.join()
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	one, two := join(), join()
	n.look(one, []object{{dir, "one"}})
	n.look(two, []object{{dir, "two"}, {dir, "three"}})
	stirred := func(w *fileWatcher) bool {
		select {
		case <-w.stirred:
			return true
		case <-time.After(10 * time.Second):
			return false
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "two"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if !stirred(two) || len(one.stirred) > 0 {
		t.Errorf("two is told of its file, one: %d", len(one.stirred))
	}
	watched := func() int {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.wanted)
	}
	if watched() != 1 {
		t.Errorf("one folder is watched as %d", watched())
	}
	n.leave(two)
	if err := os.WriteFile(filepath.Join(dir, "one"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if !stirred(one) {
		t.Error("one is told of its file")
	}
	n.look(one, nil)
	if watched() != 0 {
		t.Errorf("nobody wants %d", watched())
	}
	n.mu.Lock()
	n.tell(-1, unix.IN_Q_OVERFLOW, "")
	n.mu.Unlock()
	if !stirred(one) {
		t.Error("events are lost, and nobody is told")
	}
	n.leave(one)
	if n.file != nil {
		t.Error("it is still there")
	}
	n.leave(join())
}

// What the reader of those who have left still hears is not taken for a word to
// those who have come since: the numbers of their watches are the same.
func TestInotify_FormerReader(t *testing.T) {
	former, writer, err := os.Pipe()
	must(t, err)
	defer former.Close()
	n, w := NewInotify(), &fileWatcher{stirred: make(chan struct{}, 1)}
	n.file = os.Stdin // another one
	n.watchers, n.wanted = map[*fileWatcher]bool{w: true}, map[int][]want{1: {{watcher: w}}}
	event := make([]byte, unix.SizeofInotifyEvent)
	binary.NativeEndian.PutUint32(event, 1)
	binary.NativeEndian.PutUint32(event[4:], unix.IN_IGNORED)
	_, err = writer.Write(event)
	must(t, err)
	must(t, writer.Close())
	ended := make(chan struct{})
	n.read(former, ended)
	<-ended
	if len(n.wanted[1]) != 1 || len(w.stirred) != 0 {
		t.Errorf("wanted %v, %d stirred", n.wanted, len(w.stirred))
	}
}
