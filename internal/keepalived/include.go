package keepalived

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"baton/internal/regular"
)

// includeCheck is what keepalived minds of an include. It does not start where
// something that it minds is wrong, and goes on without the file otherwise.
type includeCheck uint8

const (
	mindRead     includeCheck = 1 << iota // a file that cannot be read, or is none
	mindMatch                             // no such file
	mindWildcard                          // a pattern that nothing matches
	mindBraces                            // an alternative in braces that is missing
)

// The words of global_defs include_check.
var checkNames = map[string]includeCheck{
	"read": mindRead, "match": mindMatch, "wildcard_match": mindWildcard, "brace_match": mindBraces,
}

// Those that end in a letter mind more.
var includes = map[string]includeCheck{
	"include":  0,
	"includer": mindRead,
	"includem": mindRead | mindMatch,
	"includew": mindRead | mindMatch | mindWildcard,
	"includeb": mindRead | mindBraces,
	"includea": mindRead | mindMatch | mindWildcard | mindBraces,
}

// setCheck takes the line include_check of global_defs.
func (r *reader) setCheck(arguments []Word) {
	if len(arguments) == 0 {
		r.check = mindRead | mindMatch | mindWildcard | mindBraces
	}
	for i, w := range arguments {
		flag := checkNames[strings.TrimLeft(w.Text, "+-")]
		switch {
		case strings.HasPrefix(w.Text, "+"):
			r.check |= flag
		case strings.HasPrefix(w.Text, "-"):
			r.check &^= flag
		case i == 0 && flag != 0:
			r.check = mindRead | flag
		case i == 0:
			r.check = 0
		}
	}
}

// include opens what an include names, and tells whether the line is one. The rest of
// the line is the pattern, with its blanks and quotes.
func (r *reader) include(l *line) (bool, error) {
	n := strings.IndexAny(l.text, spaces)
	if n < 0 {
		return false, nil
	}
	mind, ok := includes[l.text[:n]]
	if !ok {
		return false, nil
	}
	mind |= r.check
	at, what := l.pos(0), l.text
	pattern := strings.TrimLeft(l.text[n+1:], blanks)
	g := &globber{folder: r.folder(), left: maxNames - r.names}
	names := g.files(pattern)
	r.names = maxNames - g.left
	if g.left <= 0 {
		return true, fmt.Errorf("%v: the patterns of the includes are compared with more than %d names", at, maxNames)
	}
	minded := mindMatch
	switch {
	case strings.ContainsRune(pattern, '{'):
		minded = mindBraces
	case g.wildcards && !g.missing:
		minded = mindWildcard
	}
	if len(names) == 0 || g.missing && mind&mindBraces != 0 {
		text := "there is no such file here: keepalived goes on without it"
		if strings.ContainsAny(pattern, `"'`) {
			text = "keepalived takes the quotes for a part of the name, finds no such file and goes on without it"
		}
		r.reportInclude(mind&minded != 0, at, what, text)
		return true, nil
	}
	if g.missing {
		r.report.add(Ignored, at, what, "some of the files are not here: keepalived goes on without them")
	} else {
		r.report.add(Converted, at, what, "")
	}
	return true, r.openFirst(names, mind, at)
}

func (r *reader) reportInclude(fatal bool, at Pos, what, text string) {
	if fatal {
		r.report.add(Unsupported, at, what, strings.Replace(text, "goes on without it", "does not start like this", 1)+"; put it there and convert again")
		return
	}
	r.report.add(Ignored, at, what, text)
}

func (r *reader) folder() string {
	if len(r.files) == 0 {
		return "."
	}
	return r.files[len(r.files)-1].folder
}

// openFirst opens the first of the files that can be read; the others follow at its end.
func (r *reader) openFirst(names []string, mind includeCheck, at Pos) error {
	for i, name := range names {
		info, err := os.Stat(name)
		var wrong string
		switch {
		case err != nil:
			wrong = fmt.Sprintf("it cannot be read here: %v", err)
		case !info.Mode().IsRegular():
			wrong = fmt.Sprintf("%s is a %s", name, regular.Kind(info))
		case info.Mode().Perm()&0o111 != 0:
			wrong = name + " is executable, and keepalived reads no such file"
		}
		if wrong == "" {
			if err := r.open(name, at); err != nil {
				return err
			}
			s := r.files[len(r.files)-1]
			s.rest, s.mind, s.from = names[i+1:], mind, at
			return nil
		}
		r.reportInclude(mind&mindRead != 0, at, "include "+name, wrong+": keepalived goes on without it")
	}
	return nil
}

// open reads a file. Where includes it, at is the place.
func (r *reader) open(name string, at Pos) error {
	fail := func(err error) error {
		if at.File == "" {
			return err
		}
		return fmt.Errorf("%v: include: %w", at, err)
	}
	if r.opened++; r.opened > maxFiles {
		return fail(fmt.Errorf("more than %d files", maxFiles))
	}
	info, err := os.Stat(name)
	if err != nil {
		return fail(err)
	}
	for _, s := range r.files {
		if os.SameFile(s.info, info) {
			return fail(fmt.Errorf("%s includes itself", name))
		}
	}
	data, err := regular.Read(name, int64(maxBytes-r.bytes)+1)
	if err != nil {
		return fail(err)
	}
	if r.bytes += len(data); r.bytes > maxBytes {
		return fail(fmt.Errorf("%s: with its includes it has more than %d bytes", name, maxBytes))
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		before := data[:i]
		p := Pos{File: name, Line: 1 + bytes.Count(before, []byte("\n")), Column: i - bytes.LastIndexByte(before, '\n')}
		return fail(fmt.Errorf("%v: a byte 0: this is no text", p))
	}
	r.files = append(r.files, &source{name: name, folder: filepath.Dir(name), info: info, data: data, check: r.check})
	return nil
}

// close ends the innermost file, and opens the next one that the same include names.
func (r *reader) close() error {
	s := r.files[len(r.files)-1]
	r.files = r.files[:len(r.files)-1]
	r.check = s.check
	return r.openFirst(s.rest, s.mind, s.from)
}
