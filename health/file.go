package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"baton/internal/regular"
)

// maxNumber is how many bytes the number of a file has at most.
const maxNumber = 64

// File is what a file must be.
type File struct {
	Path string
	Want FileWant
}

// FileWant says what of a file counts.
type FileWant uint8

// The choices.
const (
	FilePresent FileWant = iota
	FileAbsent           // the maintenance switch: its presence fails
	FileNumber           // it has a number, which multiplies the weight of each router that tracks it
)

// NewFileProbe looks at a file. Symbolic links are followed: one that leads
// nowhere is no file. A number is the first line of a regular file: decimal, with
// or without a sign, at most 64 bytes.
//
// It is a Watcher: what happens to the file, to its folder and to the folders
// above is noticed at once. A file that others mount over, one on a network, and
// what happens behind a symbolic link, may be noticed at the next interval only.
func NewFileProbe(n *Inotify, f File) Probe { return &fileProbe{f, n} }

type fileProbe struct {
	File
	inotify *Inotify
}

func (p *fileProbe) Probe(context.Context) Answer {
	if p.Want == FileNumber {
		n, err := p.number()
		if err != nil {
			return Answer{Text: err.Error(), Hint: "its first line must be a number, such as 0 or -2", Numbered: true}
		}
		return Answer{OK: true, Text: fmt.Sprintf("%s has %d", p.Path, n), Number: n, Numbered: true}
	}
	info, err := os.Stat(p.Path)
	switch {
	case err == nil:
		a := Answer{OK: p.Want == FilePresent, Text: fmt.Sprintf("%s is there: %s", p.Path, describe(info))}
		if !a.OK {
			a.Text += "; it must not be"
			a.Hint = "if its time is over, remove it"
		}
		return a
	case absent(err):
		a := Answer{OK: p.Want == FileAbsent, Text: p.Path + " is not there"}
		if dir := filepath.Dir(p.Path); !a.OK && !exists(dir) {
			a.Text += ", nor is its folder"
		}
		return a
	}
	return Answer{Text: err.Error()} // nobody can tell, and that fails
}

// number reads the file's number.
func (p *fileProbe) number() (int, error) {
	text, err := regular.Read(p.Path, maxNumber+1)
	switch {
	case absent(err):
		return 0, fmt.Errorf("%s is not there", p.Path)
	case err != nil:
		return 0, err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	if len(line) > maxNumber {
		return 0, fmt.Errorf("%s: the first line is longer than %d bytes", p.Path, maxNumber)
	}
	word := strings.TrimSpace(string(line))
	n, err := strconv.Atoi(word)
	switch {
	case word == "":
		return 0, fmt.Errorf("%s: the first line is empty", p.Path)
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s: %s is too large", p.Path, word)
	case err != nil:
		return 0, fmt.Errorf("%s: %q is no number", p.Path, word)
	}
	return n, nil
}

func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !absent(err)
}

// describe says what was found.
func describe(info fs.FileInfo) string {
	since := info.ModTime().Format(time.DateTime)
	if info.Mode().IsRegular() {
		return fmt.Sprintf("%d bytes, written %s", info.Size(), since)
	}
	return fmt.Sprintf("a %s, changed %s", regular.Kind(info), since)
}

// Watch tells of changes.
func (p *fileProbe) Watch(ctx context.Context, changed func()) {
	w, err := p.inotify.join()
	if err != nil {
		return // the interval finds it
	}
	defer p.inotify.leave(w)
	for {
		// What happened while the watches were set is found by the run that follows.
		p.inotify.look(w, p.objects())
		changed()
		select {
		case <-ctx.Done():
			return
		case <-time.After(MinInterval): // a file that is written to all the time costs no more than that
		}
		select {
		case <-ctx.Done():
			return
		case <-w.stirred:
		}
	}
}

// objects are what to watch: each folder on the way to the file, for what becomes
// of the next name in it, and the file itself, for what is written to it. In this
// order nothing is missed that comes to be meanwhile.
func (p *fileProbe) objects() []object {
	var all []object
	path := filepath.Clean(p.Path)
	if p.Want == FileNumber {
		all = append(all, object{path, ""})
	}
	for path != "/" && path != "." {
		name := filepath.Base(path)
		path = filepath.Dir(path)
		all = append(all, object{path, name})
	}
	slices.Reverse(all)
	return all
}
