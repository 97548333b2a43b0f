package keepalived

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// The bounds of one Read. They are far above what people write: a file of 4,096
// virtual routers has 3 MB and 100,000 lines.
const (
	maxLine         = 1023      // bytes; keepalived reads longer lines in pieces, and so do we
	maxBytes        = 4 << 20   // of all files, and again of all lines after definitions are replaced
	maxLines        = 200_000   // that are not blank, after definitions are replaced
	maxReplacements = 1_000_000 // of names by their definitions: empty ones need no bytes
	maxFiles        = 1_000     // that are opened, the same one twice counts twice
	maxNames        = 100_000   // that a pattern of an include is compared with
	maxDepth        = 100       // of braces, and of sequences and definitions within each other
)

// Options is what a file can ask about the host that it is read for.
type Options struct {
	ID  string                           // lines @ID are for it; by default the short name of this host, as keepalived has it
	Env func(name string) (string, bool) // answers ${_ENV NAME}; nil: nothing is known
}

// Read reads a file as keepalived would, and gives the blocks that its own parser
// would see. Its errors begin with the place: a file that is none or is too large, is
// binary, includes itself, or whose definitions have no end.
func Read(name string, o Options) (*File, error) {
	if o.ID == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("ask for the name of this host, for the lines @NAME: %w", err)
		}
		o.ID, _, _ = strings.Cut(host, ".")
	}
	r := &reader{options: o, defs: map[string]*definition{}, pointedOut: map[Pos]bool{}}
	r.defineStandard()
	if err := r.open(name, Pos{}); err != nil {
		return nil, err
	}
	top := &Block{}
	if err := r.readKeywords(top, rootForm, false); err != nil {
		return nil, err
	}
	r.reportDefinitions()
	r.report.Sort()
	return &File{Name: name, Blocks: top.Children, Report: r.report}, nil
}

// reader is the state of one Read.
type reader struct {
	options    Options
	files      []*source    // open, the innermost last
	pending    []*expansion // read before the files, the innermost last
	residue    *line        // what followed a brace, read before all else
	unread     *line        // a line given back
	defs       map[string]*definition
	replaced   []*definition // that have had another value since
	pointedOut map[Pos]bool  // names that stay as they are: a line is looked at more than once
	check      includeCheck
	report     Report

	bytes, text, lines, replacements, opened, names int // towards the bounds
}

// source is a file that is being read.
type source struct {
	name   string
	folder string // what its includes are relative to
	info   os.FileInfo
	data   []byte
	line   int      // of the piece read last
	column int      // in which the next piece of that line begins, 0: with the next line
	rest   []string // files that the same include names
	mind   includeCheck
	from   Pos
	check  includeCheck // in force before it was opened
}

// next gives the next line: neither blank nor a definition nor an include, and without
// braces, or else one brace alone. The error at the end of all files is io.EOF.
func (r *reader) next() (*line, error) {
	if l := r.unread; l != nil {
		r.unread = nil
		return l, nil
	}
	for {
		l, err := r.fetch()
		if err != nil {
			return nil, err
		}
		if l.empty() {
			continue
		}
		if err := r.count(l); err != nil {
			return nil, err
		}
		if err := r.resolve(l); err != nil {
			return nil, err
		}
		if l.empty() {
			continue
		}
		included, err := r.include(l)
		if err != nil {
			return nil, err
		}
		if included {
			continue
		}
		r.residue = l.splitBrace()
		r.text += len(l.text)
		return l, nil
	}
}

// count holds the bounds of all lines together.
func (r *reader) count(l *line) error {
	r.lines++
	if r.lines > maxLines || r.text > maxBytes {
		return fmt.Errorf("%v: with its includes, definitions and sequences it has more than %d lines or %d bytes: does something repeat itself?", l.pos(0), maxLines, maxBytes)
	}
	return nil
}

// fetch gives the next line of whatever is read now, blank ones too.
func (r *reader) fetch() (*line, error) {
	if l := r.residue; l != nil {
		r.residue = nil
		return l, nil
	}
	for len(r.pending) > 0 {
		e := r.pending[len(r.pending)-1]
		if l := r.expand(e); l != nil {
			return l, nil
		}
		r.pending = r.pending[:len(r.pending)-1]
	}
	for len(r.files) > 0 {
		s := r.files[len(r.files)-1]
		if l := r.readLine(s); l != nil {
			return l, nil
		}
		if err := r.close(); err != nil {
			return nil, err
		}
	}
	return nil, io.EOF
}

// readLine gives the next piece of a file, nil at its end. keepalived's first process
// strips the comments and writes what is left for the others, which do so again.
func (r *reader) readLine(s *source) *line {
	if len(s.data) == 0 {
		return nil
	}
	column := s.column
	if column == 0 {
		s.line++
		column = 1
	}
	piece, whole := s.data[:min(len(s.data), maxLine)], false
	if i := bytes.IndexByte(piece, '\n'); i >= 0 {
		piece, whole = piece[:i+1], true
	}
	s.data = s.data[len(piece):]
	l := newLine(s.name, s.line, column, strings.TrimRight(string(piece), "\r\n"))
	s.column = 0
	if !whole && len(s.data) > 0 {
		s.column = column + len(piece)
		if s.data[0] != '\n' && s.data[0] != '\r' {
			r.report.add(Ignored, l.pos(len(l.text)), "a line of more than 1023 bytes", "keepalived cuts it here: what follows is a line of its own")
		}
	}
	l.decomment()
	l.decomment()
	return l
}

// reportDefinitions accounts for each definition once it is known whether it was used.
func (r *reader) reportDefinitions() {
	for _, d := range r.defs {
		r.replaced = append(r.replaced, d)
	}
	slices.SortFunc(r.replaced, func(a, b *definition) int {
		return cmp.Or(cmp.Compare(a.pos.File, b.pos.File), a.pos.Line-b.pos.Line)
	})
	for _, d := range r.replaced {
		switch {
		case d.pos.File == "": // a standard one, or the variable of a sequence
		case d.used:
			r.report.add(Converted, d.pos, "$"+d.name, "")
		default:
			r.report.add(NotNeeded, d.pos, "$"+d.name, "nothing uses this definition")
		}
	}
}

// atEnd tells the end of all files from an error.
func atEnd(err error) bool { return errors.Is(err, io.EOF) }
