package keepalived

import "strings"

// trackFile is a track_file.
type trackFile struct{ path string }

var trackFileKeywords = []keyword[*tracker]{
	{name: "file", read: (*conversion).filePath},
	{name: "weight", read: func(c *conversion, t *tracker, b *Block) {
		c.readWeight(b, &t.weight, mostWeight+1)
	}},
	{name: "init_file", read: (*conversion).initFile},
}

func (c *conversion) readTrackFile(t *tracker) {
	t.weight = weight{value: 1}
	if t.block.Keyword() == "vrrp_track_file" {
		c.report.amend(t.block.Pos(), Converted, "its name is track_file now")
	}
	readBlock(c, t, t.block.Children, trackFileKeywords)
	if t.file.path == "" && !t.broken {
		t.broken = true
		c.report.amend(t.block.Pos(), Ignored, "it has no file: keepalived removes it")
	}
}

func (c *conversion) filePath(t *tracker, b *Block) {
	w, ok := c.first(b)
	if !ok {
		t.broken = true
		return
	}
	switch {
	case unfitText(w.Text) != "" || w.Text == "":
		t.broken = true
		outcome, text := refused(firstOf(unfitText(w.Text), "it names no file"), ": keepalived removes it")
		c.became(outcome, b, text)
	case !strings.HasPrefix(w.Text, "/"):
		t.file.path = "/" + strings.TrimPrefix(w.Text, "./")
		c.became(Approximated, b, "it is relative: keepalived looks from the folder that it was started in, / where it is a service")
	default:
		t.file.path = w.Text
		c.became(Converted, b, "")
	}
}

func (c *conversion) initFile(t *tracker, b *Block) {
	c.stray(b)
	value := "0"
	overwrite := false
	for _, w := range b.Arguments() {
		switch {
		case w.Text == "overwrite":
			overwrite = true
		default:
			value = w.Text
		}
	}
	if n, _ := leading(value); n == 0 && !overwrite {
		c.report.line(NotNeeded, b, "a file that is not there changes no priority")
		return
	}
	kind := "f"
	if overwrite {
		kind = "f+"
	}
	c.report.line(Unsupported, b, "baton writes no such file. A line for systemd-tmpfiles does: "+kind+" "+short(firstOf(t.file.path, "FILE"))+" 0644 root root - "+short(value))
}

// number is the check of a file whose number multiplies a weight.
func (f trackFile) number() mapping {
	return newMapping().with("type", "file").with("path", textNode(literal(f.path))).with("want", "number").flow()
}

// zero is the check that fails while the file has another number than 0, as a weight
// of 0 wants it; inverted while it has 0, or nothing that is a number.
func (f trackFile) zero(inverted bool) mapping {
	script := `head -n 1 "$1" 2>/dev/null | grep -Eq "^[[:space:]]*[-+]?(0*[1-9]|0[xX]0*[1-9a-fA-F])"`
	if !inverted {
		script = "! " + script
	}
	m := newMapping().with("type", "command").with("command", listOf([]string{"sh", "-c", script, "sh", f.path}))
	setAnswers(m, false, 1, 1)
	return m.flow()
}
