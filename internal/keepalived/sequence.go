package keepalived

import (
	"math"
	"strconv"
	"strings"
)

// sequence repeats a line with a variable that counts, or with variables that take
// the values of a list.
type sequence struct {
	line             *line // what is repeated
	names            []string
	values           [][]string // of a list
	next, last, pace int64      // of a count
	hex, done        bool
}

// addSequence takes a line ~SEQ(NAME, START, STEP, END) LINE, ~SEQx or ~LST.
func (r *reader) addSequence(l *line) error {
	at := l.pos(0)
	what := l.text[:1+max(strings.IndexByte(l.text, ')'), len("~SEQ")-1)]
	s := &sequence{line: &line{file: l.file, number: l.number, text: l.text, columns: l.columns}}
	var wrong string
	if strings.HasPrefix(l.text, "~SEQ") {
		var err error
		if wrong, err = r.count3(s); err != nil {
			return err
		}
	} else {
		wrong = s.parseList()
	}
	if wrong != "" {
		r.report.add(Ignored, at, what, wrong)
		return nil
	}
	r.report.add(Converted, at, what, "")
	return r.push(&expansion{use: at, seq: s})
}

// count3 reads the parameters of ~SEQ: a name and up to three numbers.
func (r *reader) count3(s *sequence) (wrong string, err error) {
	l := s.line
	head := 4
	if s.hex = strings.HasPrefix(l.text[head:], "x"); s.hex {
		head++
	}
	head += len(l.text[head:]) - len(strings.TrimLeft(l.text[head:], blanks))
	if !strings.HasPrefix(l.text[head:], "(") {
		return "no ( follows it", nil
	}
	end := strings.IndexByte(l.text, ')')
	comma := strings.IndexByte(l.text, ',')
	if end < 0 || comma < 0 || comma > end {
		return "it takes a name, a comma, up to three numbers, and a )", nil
	}
	name := strings.Trim(l.text[head+1:comma], blanks)
	if name == "" || strings.ContainsAny(name, blanks) {
		return "it takes the name of a variable first", nil
	}
	s.names = []string{name}
	params := &line{file: l.file, number: l.number, text: l.text, columns: l.columns}
	params.cut(comma+1, end+1)
	pending := len(r.pending)
	if _, err := r.replace(params); err != nil {
		return "", err
	}
	if len(r.pending) > pending {
		r.pending = r.pending[:pending]
		return "a definition of several lines cannot be its number", nil
	}
	l.cut(end+1, len(l.text))
	l.cut(len(l.text)-len(strings.TrimLeft(l.text, blanks)), len(l.text))
	return s.numbers(params.text), nil
}

// numbers reads END), START, END) or START, STEP, END).
func (s *sequence) numbers(text string) (wrong string) {
	var n []int64
	for {
		var v int64
		v, text = leadingNumber(text)
		n = append(n, v)
		text = strings.TrimLeft(text, blanks)
		if strings.HasPrefix(text, ")") {
			break
		}
		if !strings.HasPrefix(text, ",") || len(n) == 3 {
			return "it takes up to three numbers, with commas between them, and a )"
		}
		text = text[1:]
	}
	s.pace = 1
	switch len(n) {
	case 1:
		s.next, s.last = 1, n[0]
		if s.last < 0 {
			s.next = -1
		}
		if s.last < 1 {
			s.pace = -1
		}
	case 2:
		s.next, s.last = n[0], n[1]
		if s.next > s.last {
			s.pace = -1
		}
	case 3:
		s.next, s.pace, s.last = n[0], n[1], n[2]
		if s.pace == 0 || s.next < s.last && s.pace < 0 || s.next > s.last && s.pace > 0 {
			return "its step does not lead from its start to its end"
		}
	}
	if s.hex && (s.next < 0 || s.last < 0) {
		return "~SEQx takes no numbers below 0"
	}
	return ""
}

// leadingNumber reads a number as C does: decimal, 0x and hexadecimal, or 0 and octal.
// No number is 0.
func leadingNumber(text string) (int64, string) {
	s := strings.TrimLeft(text, spaces)
	i := 0
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		i++
	}
	start, base := i, 10
	switch {
	case i+2 < len(s) && s[i] == '0' && (s[i+1] == 'x' || s[i+1] == 'X') && hexDigit(s[i+2]) >= 0:
		i, start, base = i+2, i+2, 16
	case i < len(s) && s[i] == '0':
		base = 8
	}
	for i < len(s) && hexDigit(s[i]) >= 0 && hexDigit(s[i]) < base {
		i++
	}
	if i == start {
		return 0, text
	}
	v, err := strconv.ParseUint(s[start:i], base, 63)
	if err != nil {
		v = math.MaxInt64
	}
	if s[0] == '-' {
		return -int64(v), s[i:]
	}
	return int64(v), s[i:]
}

// parseList reads the parameters of ~LST: a name or {NAME, NAME}, then values or
// {VALUE, VALUE}; what is missing of a set is empty.
func (s *sequence) parseList() (wrong string) {
	const form = "it takes (NAME, VALUE, VALUE) or ({NAME, NAME}, {VALUE, VALUE}, {VALUE, VALUE})"
	text := s.line.text[len("~LST"):]
	skip := func(prefix string) bool {
		rest, ok := strings.CutPrefix(strings.TrimLeft(text, blanks), prefix)
		if ok {
			text = strings.TrimLeft(rest, blanks)
		}
		return ok
	}
	set := func(end string) ([]string, bool) {
		braces := skip("{")
		var values []string
		for {
			n := strings.IndexAny(text, end)
			if n < 0 {
				return nil, false
			}
			values = append(values, text[:n])
			text = strings.TrimLeft(text[n:], blanks)
			if !braces {
				return values, true
			}
			if skip("}") {
				return values, true
			}
			if !skip(",") {
				return nil, false
			}
		}
	}
	if !skip("(") {
		return "no ( follows it"
	}
	var ok bool
	if s.names, ok = set(" \t,}"); !ok || !skip(",") {
		return form
	}
	for {
		values, ok := set(" \t,})")
		if !ok {
			return form
		}
		if len(values) > len(s.names) {
			return "a set has more values than there are names"
		}
		for len(values) < len(s.names) {
			values = append(values, "")
		}
		s.values = append(s.values, values)
		if skip(")") {
			break
		}
		if !skip(",") {
			return form
		}
	}
	s.line.cut(len(s.line.text)-len(text), len(s.line.text))
	return ""
}

// step gives the line once more, nil at the end of the sequence.
func (r *reader) step(e *expansion) *line {
	s := e.seq
	if s.done {
		return nil
	}
	if s.values != nil {
		for i, name := range s.names {
			r.set(&definition{name: name, value: s.values[0][i]})
		}
		s.values = s.values[1:]
		s.done = len(s.values) == 0
	} else {
		base := 10
		if s.hex {
			base = 16
		}
		r.set(&definition{name: s.names[0], value: strconv.FormatInt(s.next, base)})
		if s.pace > 0 {
			s.done = uint64(s.last)-uint64(s.next) < uint64(s.pace)
		} else {
			s.done = uint64(s.next)-uint64(s.last) < -uint64(s.pace)
		}
		s.next += s.pace
	}
	l := *s.line
	return &l
}
