package keepalived

import "strings"

const blanks = " \t"
const spaces = " \t\f\n\r\v" // what separates words

// line is a line on its way: comments go, definitions come, and each byte keeps the
// column where it stood, or its definition was used.
type line struct {
	file    string
	number  int
	text    string
	columns []int
}

func newLine(file string, number, column int, text string) *line {
	l := &line{file: file, number: number, text: text, columns: make([]int, len(text))}
	for i := range l.columns {
		l.columns[i] = column + i
	}
	return l
}

// useLine is a line of a definition, all of which stands where it is used.
func useLine(at Pos, text string) *line {
	l := &line{file: at.File, number: at.Line, text: text, columns: make([]int, len(text))}
	for i := range l.columns {
		l.columns[i] = at.Column
	}
	return l
}

func (l *line) empty() bool { return l.text == "" }

// pos is where the byte at an offset stands, or where the line ends.
func (l *line) pos(i int) Pos {
	p := Pos{File: l.file, Line: l.number, Column: 1}
	switch {
	case i < len(l.columns):
		p.Column = l.columns[i]
	case len(l.columns) > 0:
		p.Column = l.columns[len(l.columns)-1] + 1
	}
	return p
}

// cut keeps the bytes from i to j.
func (l *line) cut(i, j int) { l.text, l.columns = l.text[i:j], l.columns[i:j] }

// replace puts text in the place of the bytes from i to j.
func (l *line) replace(i, j int, text string) {
	columns := make([]int, 0, len(l.columns)+len(text))
	columns = append(columns, l.columns[:i]...)
	for range len(text) {
		columns = append(columns, l.columns[i])
	}
	l.columns = append(columns, l.columns[j:]...)
	l.text = l.text[:i] + text + l.text[j:]
}

// decomment takes away the comment, the \ before # and !, and the blanks on both
// sides, also those before a \ at the end.
func (l *line) decomment() {
	start := len(l.text) - len(strings.TrimLeft(l.text, blanks))
	l.cut(start, len(l.text))
	comment, open, continued := -1, false, false
scan:
	for i := 0; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == '"' && comment < 0:
			open = !open
		case c == '\\' && i+1 == len(l.text): // also at the end of a comment
			l.cut(0, i)
			continued = true
			break scan
		case c == '\\' && !open && (l.text[i+1] == '#' || l.text[i+1] == '!'):
			l.text = l.text[:i] + l.text[i+1:]
			l.columns = append(l.columns[:i:i], l.columns[i+1:]...)
		case c == '\\':
			i++
		case (c == '#' || c == '!') && !open && comment < 0:
			comment = i
		}
	}
	if comment >= 0 {
		l.cut(0, comment)
	}
	l.cut(0, len(strings.TrimRight(l.text, blanks)))
	if continued {
		column := l.pos(len(l.text)).Column
		l.text += `\`
		l.columns = append(l.columns[:len(l.columns):len(l.columns)], column)
	}
}

// splitBrace cuts the line before its first brace outside double quotes, or after it
// where it comes first, and gives the rest, nil where there is none.
func (l *line) splitBrace() (rest *line) {
	at := l.brace()
	if at == 0 {
		at = 1 + len(l.text[1:]) - len(strings.TrimLeft(l.text[1:], blanks))
	}
	if at > 0 && at < len(l.text) {
		rest = &line{file: l.file, number: l.number, text: l.text, columns: l.columns}
		rest.cut(at, len(strings.TrimRight(l.text, blanks)))
		l.cut(0, at)
	}
	l.cut(0, len(strings.TrimRight(l.text, blanks)))
	return rest
}

// brace finds the first brace outside double quotes, -1 where there is none.
func (l *line) brace() int {
	for i := 0; ; i++ {
		n := strings.IndexAny(l.text[i:], `{}"`)
		if n < 0 {
			return -1
		}
		if i += n; l.text[i] != '"' {
			return i
		}
		if n = strings.IndexByte(l.text[i+1:], '"'); n < 0 {
			return -1
		}
		i += 1 + n
	}
}

// words cuts a line as keepalived does for most keywords: at white space and double
// quotes, which hold a word together and are all that there is. It tells whether a
// quote has no end; what follows that is lost.
func (l *line) words() (words []Word, open bool) {
	for i := 0; ; {
		i += len(l.text[i:]) - len(strings.TrimLeft(l.text[i:], spaces))
		if i == len(l.text) {
			return words, false
		}
		w := Word{Pos: l.pos(i), Quoted: l.text[i] == '"'}
		var n int
		if w.Quoted {
			i++
			if n = strings.IndexByte(l.text[i:], '"'); n < 0 {
				return words, true
			}
		} else if n = strings.IndexAny(l.text[i:], spaces+`"`); n < 0 {
			n = len(l.text) - i
		}
		w.Text = l.text[i : i+n]
		words = append(words, w)
		i += n
		if w.Quoted {
			i++
		}
	}
}
