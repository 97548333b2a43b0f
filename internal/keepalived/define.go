package keepalived

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// definition is what a name stands for.
type definition struct {
	name    string
	value   string   // the first line, where there are several
	rest    []string // the other lines
	multi   bool     // of several lines: replaced at the end of a line only
	pos     Pos      // none for those that keepalived brings along
	params  bool     // words may follow the name inside the braces
	dynamic func(use Pos, params string) string
	used    bool
}

// expansion is a definition of several lines, or a sequence, that is being read.
type expansion struct {
	of   *definition // nil for a sequence
	use  Pos
	rest []string  // lines
	seq  *sequence // nil for a definition
}

// expand gives the next line of an expansion, nil at its end.
func (r *reader) expand(e *expansion) *line {
	if e.seq != nil {
		return r.step(e)
	}
	if len(e.rest) == 0 {
		return nil
	}
	text := e.rest[0]
	e.rest = e.rest[1:]
	return useLine(e.use, text)
}

// push puts an expansion before all that is read.
func (r *reader) push(e *expansion) error {
	if len(r.pending) == maxDepth {
		return fmt.Errorf("%v: more than %d definitions and sequences within each other: does one contain itself?", e.use, maxDepth)
	}
	r.pending = append(r.pending, e)
	return nil
}

// set gives a name a value.
func (r *reader) set(d *definition) {
	if old := r.defs[d.name]; old != nil && old.pos.File != "" {
		r.replaced = append(r.replaced, old)
	}
	r.defs[d.name] = d
}

// resolve takes a line through @id, definitions and sequences, until nothing is left
// to do, or nothing of the line.
func (r *reader) resolve(l *line) error {
	for {
		if l.text[0] == '@' && !r.forThisHost(l) {
			l.cut(0, 0)
			return nil
		}
		if ok, err := r.define(l); ok || err != nil {
			l.cut(0, 0)
			return err
		}
		if strings.HasPrefix(l.text, "~SEQ") || strings.HasPrefix(l.text, "~LST") {
			err := r.addSequence(l)
			l.cut(0, 0)
			return err
		}
		if l.empty() || l.text[0] == '~' || !strings.Contains(l.text, "$") {
			return nil
		}
		if replaced, err := r.replace(l); !replaced || err != nil {
			return err
		}
		l.decomment()
		if l.empty() || l.text[0] != '@' && !strings.Contains(l.text, "$") {
			return nil
		}
	}
}

// forThisHost takes the @id or @^id from the beginning of a line, and tells whether
// the rest is meant for this host.
func (r *reader) forThisHost(l *line) bool {
	id, inverse := l.text[1:], false
	if strings.HasPrefix(id, "^") {
		id, inverse = id[1:], true
	}
	id, rest, found := strings.Cut(strings.ReplaceAll(id, "\t", " "), " ")
	rest = strings.TrimLeft(rest, blanks)
	if !found || (id == r.options.ID) == inverse {
		keyword, _, _ := strings.Cut(rest, " ")
		text := fmt.Sprintf("not a line for %s", r.options.ID)
		if !found {
			text = "nothing follows the id"
		}
		r.report.add(NotNeeded, l.pos(0), strings.TrimRight(l.text[:strings.IndexAny(l.text+" ", blanks)]+" "+keyword, " "), text)
		return false
	}
	l.cut(len(l.text)-len(rest), len(l.text))
	return true
}

func nameStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func nameLen(s string) int {
	if s == "" || !nameStart(s[0]) {
		return 0
	}
	n := 1
	for n < len(s) && (nameStart(s[n]) || s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return n
}

// define takes a line $NAME=VALUE, with those that continue it.
func (r *reader) define(l *line) (bool, error) {
	if l.empty() || l.text[0] != '$' {
		return false, nil
	}
	n := nameLen(l.text[1:])
	if n == 0 || 1+n == len(l.text) || l.text[1+n] != '=' {
		return false, nil
	}
	d := &definition{name: l.text[1 : 1+n], pos: l.pos(0)}
	r.set(d)
	value := strings.TrimLeft(l.text[2+n:], blanks)
	d.multi = strings.HasSuffix(value, `\`)
	if !d.multi {
		d.value = value
		return true, nil
	}
	var lines []string
	if value = strings.TrimRight(value[:len(value)-1], blanks); value != "" {
		lines = append(lines, value)
	}
	for more := true; more; {
		next, err := r.fetch()
		if err != nil && !atEnd(err) {
			return true, err
		}
		if err != nil || next.empty() {
			break
		}
		if err := r.count(next); err != nil {
			return true, err
		}
		text := next.text
		if more = strings.HasSuffix(text, `\`); more {
			text = strings.TrimRight(text[:len(text)-1], blanks)
		}
		if text != "" {
			lines = append(lines, text)
		}
	}
	if len(lines) == 0 {
		d.multi = false
		return true, nil
	}
	d.value, d.rest = lines[0], lines[1:]
	return true, nil
}

// reference is a use of a definition in a line.
type reference struct {
	of         *definition
	start, end int
	params     string
}

// find reads the name that the $ at i stands before. keepalived knows $NAME only
// before a blank, a comma, a closing parenthesis or the end.
func (r *reader) find(l *line, i int) (reference, bool) {
	s := l.text[i+1:]
	braces := strings.HasPrefix(s, "{")
	s = strings.TrimPrefix(s, "{")
	n := nameLen(s)
	if n == 0 {
		return reference{}, false
	}
	d := r.defs[s[:n]]
	if d == nil {
		return reference{}, false
	}
	after := s[n:]
	if !braces {
		if after != "" && !strings.ContainsRune(" \t,)", rune(after[0])) || d.multi && after != "" {
			return reference{}, false
		}
		return reference{of: d, start: i, end: i + 1 + n}, true
	}
	inside, rest, closed := strings.Cut(after, "}")
	params := strings.Trim(inside, " ")
	if !closed || inside != "" && (inside[0] != ' ' || params != "" && strings.HasSuffix(inside, " ")) || d.multi && rest != "" {
		return reference{}, false
	}
	if params == "" { // one byte of the } stays for each blank before it
		return reference{of: d, start: i, end: i + 3 + n}, true
	}
	if !d.params {
		return reference{}, false
	}
	return reference{of: d, start: i, end: i + 3 + n + len(inside), params: params}, true
}

// nested is a definition whose value reaches to so many bytes before the end of a line.
type nested struct {
	of   *definition
	tail int
}

// replace puts definitions in the place of their names, and in those of the names
// that they bring. It tells whether there was one.
func (r *reader) replace(l *line) (bool, error) {
	replaced := false
	var within []nested
	for i := 0; ; {
		n := strings.IndexByte(l.text[i:], '$')
		if n < 0 || i+n+1 == len(l.text) {
			return replaced, nil
		}
		i += n
		for len(within) > 0 && len(l.text)-i <= within[len(within)-1].tail {
			within = within[:len(within)-1]
		}
		ref, ok := r.find(l, i)
		if !ok {
			r.reportUnreplaced(l, i)
			i++
			continue
		}
		if r.replacements++; r.replacements > maxReplacements {
			return false, fmt.Errorf("%v: more than %d names are replaced by their definitions: does one repeat itself?", l.pos(i), maxReplacements)
		}
		d := ref.of
		if slices.ContainsFunc(within, func(n nested) bool { return n.of == d }) || slices.ContainsFunc(r.pending, func(e *expansion) bool { return e.of == d }) {
			return false, fmt.Errorf("%v: the definition of $%s contains itself", l.pos(i), d.name)
		}
		value := d.value
		if d.dynamic != nil {
			value = d.dynamic(l.pos(i), ref.params)
		}
		if len(l.text)-(ref.end-ref.start)+len(value) > maxLine {
			r.report.add(Ignored, l.pos(i), "$"+d.name, "the line would have more than 1023 bytes with its definition: keepalived does not replace it")
			return false, nil
		}
		d.used, replaced = true, true
		if d.multi {
			if err := r.push(&expansion{of: d, use: l.pos(i), rest: d.rest}); err != nil {
				return false, err
			}
		}
		l.replace(ref.start, ref.end, value)
		within = append(within, nested{d, len(l.text) - ref.start - len(value)})
		if strings.HasPrefix(strings.TrimLeft(value, blanks), "~") {
			return true, nil
		}
	}
}

// reportUnreplaced points out a name that has a definition and stays all the same.
func (r *reader) reportUnreplaced(l *line, i int) {
	s := strings.TrimPrefix(l.text[i+1:], "{")
	n := nameLen(s)
	d := r.defs[s[:n]]
	if d == nil || r.pointedOut[l.pos(i)] {
		return
	}
	r.pointedOut[l.pos(i)] = true
	text := fmt.Sprintf("keepalived knows a name without braces only before a blank, a comma, a closing parenthesis or the end of the line: write ${%s}", d.name)
	if d.multi {
		text = "keepalived replaces a definition of several lines only at the end of a line"
	} else if s != l.text[i+1:] {
		text = "keepalived knows it only with the } right after the name"
	}
	r.report.add(Ignored, l.pos(i), "$"+d.name, text)
}

// defineStandard brings the definitions that keepalived has from the beginning.
func (r *reader) defineStandard() {
	for _, d := range []*definition{
		{name: "_HASH", value: "#"},
		{name: "_BANG", value: "!"},
		{name: "_INSTANCE", value: r.options.ID},
		{name: "_PWD", dynamic: r.workingFolder},
		{name: "_RANDOM", params: true, dynamic: r.random},
		{name: "_ENV", params: true, dynamic: r.env},
	} {
		r.defs[d.name] = d
	}
}

func (r *reader) workingFolder(use Pos, _ string) string {
	folder := "."
	if len(r.files) > 0 {
		folder = r.files[len(r.files)-1].folder
	}
	if whole, err := filepath.Abs(folder); err == nil {
		folder = whole
	}
	r.report.add(Approximated, use, "${_PWD}", "it is the folder of this file here: "+folder)
	return folder
}

func (r *reader) random(use Pos, params string) string {
	least, _, _ := strings.Cut(params, " ")
	least = strings.TrimLeft(least, "0")
	if least == "" {
		least = "0"
	}
	r.report.add(Approximated, use, strings.TrimRight("${_RANDOM "+params, " ")+"}", "keepalived draws a number each time it starts: the least possible one, "+least+", is taken")
	return least
}

func (r *reader) env(use Pos, params string) string {
	if r.options.Env != nil {
		if value, ok := r.options.Env(params); ok {
			r.report.add(Converted, use, "${_ENV "+params+"}", "")
			return value
		}
	}
	r.report.add(Unsupported, use, "${_ENV "+params+"}", "it is not set here and is read as nothing: set it for this command as it is for keepalived")
	return ""
}
