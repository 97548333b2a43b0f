package keepalived

import (
	"fmt"
	"strings"
)

// form is what may follow a keyword in braces. keepalived's parser has no braces of
// its own accord: it knows for each keyword whether a block of keywords or of values
// follows, and takes any other { for a mistake, but the } after it for the end of the
// block around it.
type form struct {
	keywords map[string]*form // with those below that have a form themselves
	values   bool             // each line is a value
	skipped  bool             // for another process of keepalived: over at the } that belongs to the {
	named    bool             // by one word, that no other such block has: skipped otherwise
}

var (
	valuesForm  = &form{values: true}
	leavesForm  = &form{}
	skippedForm = &form{skipped: true}

	rootForm = &form{keywords: map[string]*form{
		"global_defs":      {keywords: map[string]*form{"notification_email": valuesForm}},
		"track_group":      {named: true, keywords: map[string]*form{"group": valuesForm}},
		"static_ipaddress": valuesForm,
		"static_routes":    valuesForm,
		"static_rules":     valuesForm,
		"vrrp_sync_group": {named: true, keywords: map[string]*form{
			"group":           valuesForm,
			"track_interface": valuesForm,
			"track_script":    valuesForm,
			"track_file":      valuesForm,
			"track_process":   valuesForm,
			"track_bfd":       valuesForm,
		}},
		"garp_group":          {keywords: map[string]*form{"interfaces": valuesForm}},
		"linkbeat_interfaces": valuesForm,
		"vrrp_instance": {named: true, keywords: map[string]*form{
			"unicast_peer":               valuesForm,
			"track_interface":            valuesForm,
			"track_script":               valuesForm,
			"track_file":                 valuesForm,
			"track_process":              valuesForm,
			"track_bfd":                  valuesForm,
			"virtual_ipaddress":          valuesForm,
			"virtual_ipaddress_excluded": valuesForm,
			"virtual_routes":             valuesForm,
			"virtual_rules":              valuesForm,
			"authentication":             leavesForm,
			"auth_hmac":                  leavesForm, // from 2.4 on
		}},
		"vrrp_script":              leavesForm,
		"vrrp_track_process":       leavesForm,
		"track_file":               leavesForm,
		"vrrp_track_file":          leavesForm,
		"bfd_instance":             leavesForm,
		"interface_up_down_delays": valuesForm,
		"virtual_server":           skippedForm,
		"virtual_server_group":     skippedForm,
		"SSL":                      skippedForm,
	}}

	// The keywords whose lines have single quotes and the escapes of C.
	escaped = map[string]bool{
		"script": true, "startup_script": true, "shutdown_script": true,
		"notify": true, "notify_master": true, "notify_backup": true, "notify_fault": true, "notify_stop": true,
		"notify_deleted": true, "notify_master_rx_lower_pri": true,
		"notify_fifo_script": true, "vrrp_notify_fifo_script": true, "lvs_notify_fifo_script": true,
	}
)

// readKeywords reads the lines of a block of keywords, or of the whole input, into
// their owner.
func (r *reader) readKeywords(owner *Block, f *form, inside bool) error {
	opening := inside
	named := map[string]Pos{}
	for {
		l, err := r.next()
		if atEnd(err) {
			r.reportUnclosed(owner, inside)
			return nil
		}
		if err != nil {
			return err
		}
		words := r.wordsOf(l)
		if len(words) == 0 {
			continue
		}
		first := words[0].Text
		if opening {
			opening = false
			if first == "{" {
				owner.Braces = true
				continue
			}
			r.reportUnopened(owner)
		} else if first == "{" {
			r.reportBrace(owner, inside, l)
			continue
		}
		if first == "}" {
			if inside {
				return nil
			}
			r.report.add(Ignored, words[0].Pos, "}", "it closes nothing")
			continue
		}
		f := f.keywords[first]
		b := r.block(l, words)
		if b == nil {
			continue
		}
		if inside && owner.Keyword() == "global_defs" && first == "include_check" {
			r.setCheck(b.Arguments())
		}
		wrong := refuse(b, f, named)
		if wrong != "" {
			r.report.add(Ignored, b.Pos(), what(b), wrong)
			f = skippedForm
		}
		if err := r.readBlock(b, f); err != nil {
			return err
		}
		if wrong == "" {
			owner.Children = append(owner.Children, b)
		}
	}
}

// block makes a block of a line, nil where keepalived makes nothing of it.
func (r *reader) block(l *line, words []Word) *Block {
	if escaped[words[0].Text] {
		var err error
		if words, err = l.escapedWords(); err != nil {
			r.report.add(Ignored, l.pos(0), l.text[:strings.IndexAny(l.text+" ", spaces)], err.Error()+": keepalived takes no script from this line")
			return nil
		}
	}
	return &Block{Words: words}
}

// refuse tells why keepalived skips a block whole: its name.
func refuse(b *Block, f *form, named map[string]Pos) string {
	if f == nil || !f.named {
		return ""
	}
	if len(b.Words) != 2 {
		return "it needs a name of one word: keepalived skips it"
	}
	name := what(b)
	if first, ok := named[name]; ok {
		return fmt.Sprintf("there is one already at %v: keepalived skips this one", first)
	}
	named[name] = b.Pos()
	return ""
}

func (r *reader) readBlock(b *Block, f *form) error {
	switch {
	case f == nil:
		return nil
	case f.skipped:
		return r.skip(b)
	case f.values:
		return r.readValues(b)
	}
	return r.readKeywords(b, f, true)
}

// readValues reads the lines of a block of values.
func (r *reader) readValues(b *Block) error {
	for opening := true; ; opening = false {
		l, err := r.next()
		if atEnd(err) {
			r.reportUnclosed(b, true)
			return nil
		}
		if err != nil {
			return err
		}
		words := r.wordsOf(l)
		if len(words) == 0 {
			continue
		}
		first := words[0].Text
		if opening {
			b.Braces = first == "{"
			if b.Braces {
				continue
			}
			r.reportUnopened(b)
		}
		switch first {
		case "{":
			r.report.add(Ignored, words[0].Pos, "{", fmt.Sprintf("nothing in %s has a block: keepalived takes the brace for a value, and the next } for the end of %s", what(b), what(b)))
		case "}":
			return nil
		default:
			b.Children = append(b.Children, &Block{Words: words})
		}
	}
}

// skip reads a block that keepalived does not look into: until its braces are closed.
func (r *reader) skip(b *Block) error {
	var open []*Block
	for {
		l, err := r.next()
		if atEnd(err) {
			r.reportUnclosed(b, len(open) > 0)
			return nil
		}
		if err != nil {
			return err
		}
		words := r.wordsOf(l)
		if len(words) == 0 {
			continue
		}
		switch first := words[0].Text; {
		case len(open) == 0 && first != "{":
			r.unread = l
			return nil
		case first == "{":
			if len(open) == maxDepth {
				return fmt.Errorf("%v: more than %d braces within each other", l.pos(0), maxDepth)
			}
			inner := b
			if len(open) > 0 {
				around := open[len(open)-1]
				if len(around.Children) == 0 || around.Children[len(around.Children)-1].Braces {
					around.Children = append(around.Children, &Block{Words: words})
				}
				inner = around.Children[len(around.Children)-1]
			}
			inner.Braces = true
			open = append(open, inner)
		case first == "}":
			if open = open[:len(open)-1]; len(open) == 0 {
				return nil
			}
		default:
			around := open[len(open)-1]
			around.Children = append(around.Children, &Block{Words: words})
		}
	}
}

// wordsOf cuts a line into words, and points out what looks like more than it is.
func (r *reader) wordsOf(l *line) []Word {
	words, open := l.words()
	if open {
		r.report.add(Ignored, l.pos(strings.LastIndexByte(l.text, '"')), `"`, "a quote without its end: keepalived reads the line only up to it, and takes # and braces after it for text")
	}
	if n := len(words); n > 0 && !words[n-1].Quoted && strings.HasSuffix(words[n-1].Text, `\`) {
		r.report.add(Ignored, words[n-1].Pos, `\`, "only a definition goes on in the next line: keepalived takes it for a part of the word, and the next line for itself")
	}
	return words
}

// what names a block in the report.
func what(b *Block) string {
	if len(b.Words) == 1 {
		return b.Keyword()
	}
	return b.Keyword() + " " + b.Words[1].Text
}

func (r *reader) reportUnopened(b *Block) {
	r.report.add(Ignored, b.Pos(), what(b), "no { follows it: keepalived reads the next lines as if it did")
}

func (r *reader) reportUnclosed(b *Block, inside bool) {
	if inside {
		r.report.add(Ignored, b.Pos(), what(b), "a } is missing: keepalived takes all until the end of the file for a part of it")
	}
}

// reportBrace points out a { that nothing expects.
func (r *reader) reportBrace(owner *Block, inside bool, l *line) {
	before := "nothing"
	if n := len(owner.Children); n > 0 {
		before = owner.Children[n-1].Keyword()
	}
	text := fmt.Sprintf("keepalived knows no block %s: it reads what is in the braces as if it stood outside of them", before)
	if inside {
		text = fmt.Sprintf("keepalived knows no block %s in %s: it reads what is in the braces as lines of %s, and their } as its end", before, what(owner), what(owner))
	}
	r.report.add(Ignored, l.pos(0), "{", text)
}
