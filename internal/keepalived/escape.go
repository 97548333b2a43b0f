package keepalived

import (
	"errors"
	"strings"
)

// escapedWords cuts a line as keepalived does for scripts: at white space outside
// single and double quotes, with the escapes of C everywhere.
func (l *line) escapedWords() ([]Word, error) {
	var words []Word
	s := l.text
	for i := 0; ; {
		i += len(s[i:]) - len(strings.TrimLeft(s[i:], spaces))
		if i == len(s) {
			return words, nil
		}
		text, end, err := escapedWord(s, i)
		if err != nil {
			return words, err
		}
		words = append(words, Word{Text: text, Quoted: s[i] == '"', Pos: l.pos(i)})
		i = end
	}
}

// splitCommand cuts the text of a script, which is one word of its line, into the
// words of a command, as keepalived does once more: single quotes inside double ones
// hold a word with spaces together.
func splitCommand(text string) ([]string, error) {
	words, err := useLine(Pos{}, text).escapedWords()
	var texts []string
	for _, w := range words {
		texts = append(texts, w.Text)
	}
	return texts, err
}

// escapedWord reads the word that begins at i, and tells where it ends.
func escapedWord(s string, i int) (text string, end int, err error) {
	var b strings.Builder
	var quote byte
	for i < len(s) {
		switch c := s[i]; {
		case c == '\\':
			var char byte
			if char, i, err = escape(s, i+1); err != nil {
				return "", 0, err
			}
			b.WriteByte(char)
			continue
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			b.WriteByte(c)
		case c == '"' || c == '\'':
			quote = c
		case strings.IndexByte(spaces, c) >= 0:
			return b.String(), i, nil
		default:
			b.WriteByte(c)
		}
		i++
	}
	if quote != 0 {
		return "", 0, errors.New("a quote without its end")
	}
	return b.String(), i, nil
}

// escape reads what follows a \, and tells where that ends.
func escape(s string, i int) (char byte, end int, err error) {
	if i == len(s) {
		return 0, 0, errors.New(`a \ at the end`)
	}
	c := s[i]
	switch {
	case c == 'x' && i+1 < len(s) && hexDigit(s[i+1]) >= 0:
		for i++; i < len(s) && hexDigit(s[i]) >= 0; i++ {
			char = char<<4 | byte(hexDigit(s[i]))
		}
		return char, i, nil
	case c == 'c' && i+1 < len(s): // a control character
		return s[i+1] & 0x1f, i + 2, nil
	case c >= '0' && c <= '7':
		for n := 0; n < 3 && i < len(s) && s[i] >= '0' && s[i] <= '7'; n++ {
			char = char<<3 + s[i] - '0'
			i++
		}
		return char, i, nil
	}
	if n := strings.IndexByte("abEfnrtv", c); n >= 0 {
		c = "\a\b\x1b\f\n\r\t\v"[n]
	}
	return c, i + 1, nil
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
