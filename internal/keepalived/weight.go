package keepalived

// mostWeight is the most that a weight is, in keepalived of most trackers and in baton
// of all.
const mostWeight = 253

// weight is what a tracker does to a priority: by its sign it adds something while it
// is up, or takes something off while it is down. Reverse turns both round. 0 is FAULT
// while it is down, or while it is up.
type weight struct {
	value   int
	reverse bool
}

// readWeight reads the words behind the keyword weight of a definition.
func (c *conversion) readWeight(b *Block, w *weight, most int) {
	used, why := w.parse(b.Arguments(), most)
	outcome := Converted
	if why != "" {
		outcome = Ignored
	}
	c.report.words(outcome, why, b.Words[:1+used]...)
	if rest := b.Words[1+used:]; len(rest) > 0 {
		c.report.words(Ignored, "keepalived reads a weight, and reverse", rest...)
	}
	c.stray(b)
}

// parse reads a weight, and whether it is reversed. It returns how many words that
// took, and why keepalived ignores them; it is empty where it does not.
func (w *weight) parse(args []Word, most int) (used int, why string) {
	if len(args) == 0 {
		return 0, "the weight is missing"
	}
	n, rest := leading(args[0].Text)
	switch {
	case rest != "" && n == 0:
		return 1, "it is no number"
	case n < -most || n > most:
		return 1, "keepalived wants a weight from -" + itoa(most) + " to " + itoa(most)
	}
	w.value = n
	if len(args) > 1 && (args[1].Text == "reverse" || args[1].Text == "noreverse") {
		w.reverse = args[1].Text == "reverse"
		return 2, ""
	}
	return 1, ""
}

// effect is the weight in baton, and whether it is of a check that is turned round.
func (w weight) effect() (value int, inverted bool) {
	if w.reverse {
		return -w.value, true
	}
	return w.value, false
}

func clampWeight(n int) int { return max(-mostWeight, min(mostWeight, n)) }
