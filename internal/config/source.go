package config

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds what is read of one file, in bytes: 4,096 routers written out at length are below 2 MiB.
const maxFile = 8 << 20

// disk is what reading a configuration asks of the file system.
type disk struct {
	read func(name string) ([]byte, error)
	glob func(pattern string) ([]string, error)
	// secret reads a file that must not be open to everyone, and returns its permissions.
	secret func(name string) ([]byte, fs.FileMode, error)
	// exposed is that of Options; nil: nobody asks.
	exposed func(name string) (problem, mend string)
}

func realDisk() disk {
	return disk{read: readFile, glob: filepath.Glob, secret: readSecret}
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("read %s: more than %d MiB", name, maxFile>>20)
	}
	return b, err
}

// files is a configuration as it was read: one tree, whatever number of files it came from.
type files struct {
	path, dir string
	disk      disk
	root      *node // a mapping of the top-level keys
	readable  bool  // every file could be read and is YAML: what is missing is really missing
	hash      string
	texts     []SourceFile
}

// SourceFile is one file of a configuration as it was read. Files with secrets are none.
type SourceFile struct {
	Name string `json:"name"` // as it was opened
	Text []byte `json:"text"`
}

func readFiles(path string, d disk, c *collector) *files {
	f := &files{path: path, dir: filepath.Dir(path), disk: d, readable: true, root: &node{kind: mapping}}
	sum := sha256.New()
	main := f.readOne(path, place{}, sum, c)
	if main != nil {
		f.root.place = main.place
		f.merge(main, c)
		f.include(main, sum, c)
	}
	f.hash = hex.EncodeToString(sum.Sum(nil)[:4])
	return f
}

// readOne returns the tree of a file, or nil where there is none. by is the include that names it.
func (f *files) readOne(name string, by place, sum hash.Hash, c *collector) *node {
	src := &source{name: name}
	text, err := f.disk.read(name)
	if err != nil {
		f.readable = false
		if by.file == nil {
			by.file = src
		}
		c.errorAt(by, "", "", "%s", cause(err, name))
		return nil
	}
	f.ownOnly(name, cmp.Or(by, place{file: src}), "", c)
	// The length before the text: moving a line from one file to the next is a change.
	binary.Write(sum, binary.BigEndian, uint64(len(text)))
	sum.Write(text)
	f.texts = append(f.texts, SourceFile{name, text})
	src.lines = strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n"), "\n")
	if at, ok := src.notUTF8(); !ok {
		f.readable = false
		c.errorAt(at, "", "save it as UTF-8", "this is not UTF-8")
		return nil
	}
	y, problem := parse(text)
	if problem != "" {
		f.readable = false
		line := brokenLine(text, len(src.lines))
		at := place{src, line, 1 + len(src.line(line)) - len(strings.TrimLeft(src.line(line), " \t"))}
		hint := syntaxHint(src.line(line), src.line(line-1), problem)
		if src.keepalived() {
			hint = keepalivedFile
		}
		c.errorAt(at, "", hint, "this is not YAML: %s", problem)
		return nil
	}
	n := &node{place: place{src, 1, 1}}
	if y != nil {
		n = (&builder{src, c}).node(y, "")
	}
	switch n.kind {
	case mapping:
		return n
	case empty:
		if by.file != nil { // a file of comments among the included ones is no mistake
			return n
		}
		c.errorAt(n.place, "", "start from configs/minimal.yaml", "the file is empty")
	default:
		hint := didYouMean("", topKeys.names())
		if src.keepalived() {
			hint = keepalivedFile
		}
		c.errorAt(n.place, "", hint, "a configuration is a mapping of keys, this is %s", n.kind)
	}
	f.readable = false
	return nil
}

// ownOnly makes a mistake of a file that others could change, at the place that names it.
func (f *files) ownOnly(name string, at place, path string, c *collector) {
	if f.disk.exposed == nil {
		return
	}
	if problem, mend := f.disk.exposed(name); problem != "" {
		c.errorAt(at, path, mend, "%s", problem)
	}
}

// cause gives an error that names the file, whatever the disk returned.
func cause(err error, name string) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Sprintf("%s %s: %v", p.Op, p.Path, p.Err)
	}
	if strings.Contains(err.Error(), name) {
		return err.Error()
	}
	return fmt.Sprintf("read %s: %v", name, err)
}

// parse returns the root of the only document, or what is wrong with the text. An empty document is nil.
func parse(text []byte) (root *yaml.Node, problem string) {
	// A bad file never harms a running daemon, so neither may a fault of the YAML library.
	defer func() {
		if p := recover(); p != nil {
			root, problem = nil, fmt.Sprintf("%v", p)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, ""
		}
		return nil, plainProblem(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, plainProblem(err)
		}
		return nil, "a second document begins (---)"
	}
	if len(doc.Content) == 0 {
		return nil, ""
	}
	return doc.Content[0], ""
}

// plainProblem takes the library's name and its line off an error; the line is off by one in some, absent in others.
func plainProblem(err error) string {
	s := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(s, "line "); ok {
		if _, after, ok := strings.Cut(rest, ": "); ok {
			s = after
		}
	}
	return short(s)
}

// brokenLine finds the line at which text stops being YAML: the library names the start of the block around it. Whatever is
// cut off before that line is YAML, but for a list or a string that spans lines; so a good piece within the next lines counts.
func brokenLine(text []byte, lines int) int {
	ends := make([]int, 0, lines+1) // ends[k] is where the first k lines end
	ends = append(ends, 0)
	for i, b := range text {
		if b == '\n' {
			ends = append(ends, i+1)
		}
	}
	if ends[len(ends)-1] != len(text) {
		ends = append(ends, len(text))
	}
	budget := 32 << 20 // bytes to parse: about two seconds; a larger file gets a line less exact
	good := func(k int) bool {
		if budget -= ends[k]; budget < 0 {
			return false
		}
		_, problem := parse(text[:ends[k]])
		return problem == ""
	}
	const span = 40
	low, high := 0, len(ends)-1 // low is good, high is not
	for high-low > 1 {
		mid := (low + high) / 2
		found := -1
		for k := mid; k < min(mid+span, high); k++ {
			if good(k) {
				found = k
				break
			}
		}
		if found >= 0 {
			low = found
		} else {
			high = mid
		}
	}
	return max(1, high)
}

// syntaxHint explains what is wrong with line, as far as can be guessed. Often the slip is in the one before it: a text goes on in
// the next line until that cannot be.
func syntaxHint(line, before, problem string) string {
	const noBreak = "\u00a0"
	key, rest, colon := strings.Cut(strings.TrimSpace(before), ":")
	switch {
	case strings.Contains(line, noBreak), strings.Contains(before, noBreak):
		return "a space here, or in the line above, is a no-break space: type it anew"
	case strings.Contains(problem, "mapping values are not allowed") && colon && rest != "" && rest[0] != ' ' && !strings.ContainsAny(key, " \"'"):
		return "the line above has no space after its colon"
	case strings.Contains(line, "\t"):
		return "YAML is indented with spaces, this line has a tab"
	case strings.Contains(line, "]:"):
		return `an IPv6 address with a port needs quotes: "[2001:db8::1]:80"`
	case strings.Contains(line, "::"):
		return `an IPv6 address in a list needs quotes: ["2001:db8::1/64"]`
	case strings.Contains(line, "{{"):
		return "a template that was not filled in?"
	case strings.Contains(problem, "mapping values are not allowed"):
		return `a text with ": " in it needs quotes; or the indentation of this line is wrong`
	case strings.Contains(problem, "',' or"):
		return "a comma or a closing bracket is missing? within { } and [ ] a text with , { } [ ] in it needs quotes"
	case strings.Contains(problem, "unexpected end of stream"), strings.Contains(problem, "quoted scalar"):
		return "a quote that is not closed?"
	case strings.Contains(problem, "expected node content"):
		return "a bracket that is not closed?"
	case strings.Contains(problem, "alphabetic or numeric"):
		return `a text that begins with * or & needs quotes: "*.yaml"`
	case strings.Contains(problem, "unknown escape"):
		return `within " " a backslash begins an escape: write ' '`
	case strings.Contains(problem, "expected key"):
		return "the indentation differs from that of the lines above"
	}
	return ""
}

// include reads the files that the main one asks for.
func (f *files) include(main *node, sum hash.Hash, c *collector) {
	inc := main.child("include")
	if inc == nil || inc.kind == empty {
		return
	}
	globs := inc.items
	if inc.kind == scalar {
		globs = []*node{inc}
	}
	read := map[string]bool{filepath.Clean(f.path): true} // a glob that also fits the main file means the others
	for _, g := range globs {
		if g.kind != scalar || g.text == "" {
			c.errorAt(g.place, g.path, "", "is %s, want a file name or a glob such as conf.d/*.yaml", g.kind)
			continue
		}
		pattern := g.text
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(f.dir, pattern)
		}
		names, err := f.disk.glob(pattern)
		if err != nil {
			c.errorAt(g.place, g.path, "* ? and [a-z] have a meaning in a glob", "%q is no glob: %v", short(g.text), err)
			continue
		}
		hidden := strings.HasPrefix(filepath.Base(pattern), ".")
		names = slices.DeleteFunc(names, func(s string) bool {
			return !hidden && strings.HasPrefix(filepath.Base(s), ".") // what editors leave behind
		})
		if len(names) == 0 {
			f.readable = false
			c.errorAt(g.place, g.path, "names are relative to the folder of this file", "%q fits no file", short(g.text))
		}
		slices.Sort(names)
		for _, name := range names {
			if name = filepath.Clean(name); !read[name] {
				read[name] = true
				f.included(name, g.place, sum, c)
			}
		}
	}
}

func (f *files) included(name string, by place, sum hash.Hash, c *collector) {
	n := f.readOne(name, by, sum, c)
	if n == nil {
		return
	}
	if i := slices.IndexFunc(n.entries, func(e entry) bool { return e.key.text == "include" }); i >= 0 {
		c.errorAt(n.entries[i].key.place, "include", "name it in "+f.path, "an included file includes no others")
		n.entries = slices.Delete(n.entries, i, i+1)
	}
	f.merge(n, c)
}

// merge adds a file's top-level keys to the tree. What several files have under one key is put together; a name that two files
// define is an error.
func (f *files) merge(n *node, c *collector) {
	for _, e := range n.entries {
		i := slices.IndexFunc(f.root.entries, func(o entry) bool { return o.key.text == e.key.text })
		if i < 0 {
			f.root.entries = append(f.root.entries, e)
			continue
		}
		old := f.root.entries[i].value
		switch {
		case e.value.kind == empty:
		case old.kind == empty:
			f.root.entries[i] = e
		case e.key.text == "services" && old.kind == list && e.value.kind == list:
			both := *old
			both.items = slices.Concat(old.items, e.value.items)
			f.root.entries[i].value = &both
		case old.kind != mapping || e.value.kind != mapping:
			c.errorAt(e.key.place, e.key.text, "", "is also in %s, and cannot be put together", old.from(e.key.place))
		default:
			f.root.entries[i].value = union(old, e.value, c)
		}
	}
}

func union(a, b *node, c *collector) *node {
	both := *a
	both.entries = slices.Clone(a.entries)
	for _, e := range b.entries {
		j := slices.IndexFunc(a.entries, func(o entry) bool { return o.key.text == e.key.text })
		if j >= 0 {
			c.errorAt(e.key.place, e.value.path, "", "is defined twice, first in %s", a.entries[j].key.from(e.key.place))
			continue
		}
		both.entries = append(both.entries, e)
	}
	return &both
}
