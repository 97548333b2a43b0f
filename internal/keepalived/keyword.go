package keepalived

import (
	"slices"
	"strconv"
	"strings"

	"baton/internal/config"
)

// keyword is one that keepalived knows in a block, and what becomes of it. T is what
// the block is read into.
type keyword[T any] struct {
	name string
	read func(c *conversion, t T, b *Block) // nil: nothing, for this reason:

	outcome Outcome
	text    string
}

// readBlock reads the lines of a block, each as its keyword wants it. What keepalived
// does not know it ignores, and so does this.
func readBlock[T any](c *conversion, t T, lines []*Block, keywords []keyword[T]) {
	for _, b := range lines {
		i := slices.IndexFunc(keywords, func(k keyword[T]) bool { return k.name == b.Keyword() })
		switch {
		case i < 0:
			var names []string
			for _, k := range keywords {
				names = append(names, k.name)
			}
			c.report.block(Ignored, b, unknown(b.Keyword(), names))
		case keywords[i].read == nil:
			c.report.block(keywords[i].outcome, b, keywords[i].text)
		default:
			keywords[i].read(c, t, b)
		}
	}
}

// unknown tells that a word is no keyword, and which one it may have been meant for.
func unknown(word string, known []string) string {
	hint := config.DidYouMean(word, known)
	if !strings.HasPrefix(hint, "did you mean") {
		return "keepalived has no such keyword here"
	}
	return "keepalived has no such keyword here: " + hint
}

// first is the first argument of a line, whose rest keepalived does not read: that is
// accounted for here. Without an argument keepalived does not start; then ok is false,
// and the line has been accounted for.
func (c *conversion) first(b *Block) (w Word, ok bool) {
	args := b.Arguments()
	if len(args) == 0 {
		c.report.block(Ignored, b, "it lacks its value: keepalived refuses the file, or does without")
		return Word{}, false
	}
	if len(args) > 1 {
		c.report.words(Ignored, "keepalived reads one word after "+b.Keyword(), args[1:]...)
	}
	c.stray(b)
	return args[0], true
}

// flag is for a keyword without an argument.
func (c *conversion) flag(b *Block) {
	if args := b.Arguments(); len(args) > 0 {
		c.report.words(Ignored, "keepalived reads no word after "+b.Keyword()+": it is on", args...)
	}
	c.stray(b)
}

// stray accounts for lines in braces after a keyword that has none.
func (c *conversion) stray(b *Block) {
	for _, child := range b.Children {
		c.report.block(Ignored, child, b.Keyword()+" has no block")
	}
}

// became accounts for a keyword and its first argument.
func (c *conversion) became(o Outcome, b *Block, text string) *Finding {
	return c.report.words(o, text, b.Words[:min(2, len(b.Words))]...)
}

// onOff is the value of a keyword that may be followed by a word of that kind, and is
// on without. A word that is none of them leaves before.
func (c *conversion) onOff(b *Block, before bool) bool {
	args := b.Arguments()
	if len(args) == 0 {
		c.stray(b)
		c.became(Converted, b, "")
		return true
	}
	w, _ := c.first(b)
	switch w.Text {
	case "on", "true", "yes":
		c.became(Converted, b, "")
		return true
	case "off", "false", "no":
		c.became(Converted, b, "")
		return false
	}
	c.became(Ignored, b, "keepalived wants on or off (or true, false, yes, no)")
	return before
}

func itoa(n int) string { return strconv.Itoa(n) }
