package keepalived

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// authentication is what an instance says of it.
type authentication struct {
	kind     string // PASS or AH; empty: none
	kindAt   *Block
	password string
	passAt   *Block
	hmac     *hmac // nil: none
}

// hmac is auth_hmac.
type hmac struct {
	keys   []hmacKey
	send   string
	mode   string
	window string
}

type hmacKey struct{ id, file string }

const mostPassword = 8

func authenticationKeywords() []keyword[*authentication] {
	return []keyword[*authentication]{
		{name: "auth_type", read: func(c *conversion, a *authentication, b *Block) {
			w, ok := c.first(b)
			switch {
			case !ok:
			case w.Text != "PASS" && w.Text != "AH":
				c.became(Ignored, b, "keepalived knows PASS and AH, in capitals: it goes without authentication")
			default:
				if a.kindAt != nil {
					c.became2(Ignored, a.kindAt, again)
				}
				a.kind, a.kindAt = w.Text, b
			}
		}},
		{name: "auth_pass", read: func(c *conversion, a *authentication, b *Block) {
			if w, ok := c.first(b); ok {
				if a.passAt != nil {
					c.secret(Ignored, a.passAt, again)
				}
				a.password, a.passAt = w.Text, b
			}
		}},
	}
}

const again = "it stands there again: the last one counts"

// became2 accounts for a keyword and its first argument, whose other words have been.
func (c *conversion) became2(o Outcome, b *Block, text string) { c.became(o, b, text) }

// secret accounts for a keyword and its value, which is not shown.
func (c *conversion) secret(o Outcome, b *Block, text string) {
	c.became(o, b, text).What = b.Keyword() + " ..."
}

// readAuthentication reads the block. What becomes of it depends on the version.
func (c *conversion) readAuthentication(in *instance, b *Block) {
	if args := b.Arguments(); len(args) > 0 {
		c.report.words(Ignored, "authentication has a block, and no words before it", args...)
	}
	c.report.words(Converted, "", b.Words[0])
	in.authAt = b
	readBlock(c, &in.auth, b.Children, authenticationKeywords())
}

// authenticate writes `authentication` of version 2, and accounts for its lines.
func (c *conversion) authenticate(in *instance) {
	a := in.auth
	outcome, kind, pass, cut := Converted, "", "", false
	switch {
	case in.authAt == nil:
		return
	case in.version == 3:
		outcome, kind = Ignored, "VRRP version 3 has no password: keepalived goes without. authentication: {type: hmac} signs"
	case in.strict:
		outcome, kind = Ignored, "keepalived goes without in strict mode"
	case a.kind == "":
		outcome, kind = Ignored, "there is no auth_type that keepalived knows: it goes without"
	case a.passAt == nil || a.password == "":
		outcome, kind = Ignored, "there is no auth_pass: keepalived goes without"
	case a.kind == "AH":
		outcome, kind = Unsupported, "baton does not speak AH: before you replace the first node, change all to auth_type PASS, or to version 3. A mixture has two masters"
	case len(a.password) > mostPassword:
		a.password = a.password[:mostPassword]
		pass, cut = "keepalived sends the first 8 bytes, and so does baton", true
	}
	if outcome == Converted && !(utf8.ValidString(a.password) && !strings.ContainsRune(a.password, 0)) {
		outcome, kind = Unsupported, "it is no text that YAML can carry: write it into a file, and password_file: FILE"
	}
	if a.kindAt != nil {
		c.became2(outcome, a.kindAt, kind)
	}
	if outcome != Converted {
		c.report.amend(in.authAt.Pos(), outcome, kind)
		if a.passAt != nil {
			c.secret(outcome, a.passAt, kind)
		}
		return
	}
	if pass == "" {
		pass = "anybody on the link can read it; password_file: FILE keeps it out of the configuration"
	}
	c.secret(Converted, a.passAt, pass)
	in.router.set("authentication", newMapping().with("type", "pass").with("password", a.password).flow())
	if cut {
		in.router.comment("authentication", "# The first 8 bytes, which keepalived sends.")
	}
}

// readHMAC reads auth_hmac of keepalived 2.4. Its keys may stand in the file itself,
// where baton's never do.
func (c *conversion) readHMAC(in *instance, b *Block) {
	if args := b.Arguments(); len(args) > 0 {
		c.report.words(Ignored, "auth_hmac has a block, and no words before it", args...)
	}
	c.report.words(Converted, "", b.Words[0])
	h := &hmac{}
	readBlock(c, h, b.Children, []keyword[*hmac]{
		{name: "key", read: (*conversion).readKey},
		{name: "active_key", read: func(c *conversion, h *hmac, b *Block) {
			if n, ok := c.number(b, 1, 255); ok {
				h.send = itoa(n)
				c.became(Converted, b, "")
			}
		}},
		{name: "mode", read: func(c *conversion, h *hmac, b *Block) {
			w, ok := c.first(b)
			if !ok {
				return
			}
			switch mode := strings.ReplaceAll(w.Text, "_", "-"); mode {
			case "enforce", "permissive", "receive-only":
				h.mode = mode
				c.became(Converted, b, "")
			default:
				c.became(Ignored, b, "the modes are receive-only, permissive and enforce")
			}
		}},
		{name: "time_window", read: func(c *conversion, h *hmac, b *Block) {
			if d, ok := c.seconds(b, 0, 24*time.Hour); ok {
				h.window = duration(min(d, 300*time.Second))
				c.became(Converted, b, "")
			}
		}},
		{name: "anti_replay", read: func(c *conversion, h *hmac, b *Block) {
			c.report.block(NotNeeded, b, "baton takes no advertisement twice; window: 0s does not compare clocks")
		}},
	})
	if len(h.keys) == 0 {
		c.report.amend(b.Pos(), Unsupported, "no key of it is in a file: echo hex:$(openssl rand -hex 32) > vrrp-1.key, then authentication: {type: hmac, keys: {1: vrrp-1.key}}")
		return
	}
	in.auth.hmac = h
}

func (c *conversion) readKey(h *hmac, b *Block) {
	c.stray(b)
	args := b.Arguments()
	hide := func(o Outcome, text string) { c.report.line(o, b, text).What = "key ..." }
	if len(args) < 2 {
		hide(Unsupported, "write the key into a file of its own, and keys: {1: FILE}")
		return
	}
	id, err := strconv.Atoi(args[0].Text)
	switch file := args[1].Text; {
	case err != nil || id < 1 || id > 255:
		hide(Ignored, "the number of a key is 1 to 255")
	case !strings.HasPrefix(file, "/") || unfitText(file) != "":
		hide(Unsupported, fmt.Sprintf("write the key into a file that only its owner may read, and keys: {%d: FILE}", id))
	default:
		h.keys = append(h.keys, hmacKey{itoa(id), file})
		hide(Converted, "")
	}
}

// node is `authentication` of type hmac.
func (h *hmac) node() mapping {
	m := newMapping().with("type", "hmac")
	keys := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	send := h.send
	known := false
	for _, k := range h.keys {
		mapping{keys}.set(k.id, k.file)
		known = known || k.id == send
	}
	m.set("keys", keys)
	if n := len(keys.Content) / 2; n > 1 || known {
		if !known {
			send = h.keys[len(h.keys)-1].id
		}
		if n > 1 {
			m.set("send", valueOf(send))
		}
	}
	if h.mode != "" && h.mode != "enforce" {
		m.set("mode", h.mode)
	}
	if h.window != "" {
		m.set("window", h.window)
	}
	return m.flow()
}

// valueOf is a number that is written as its digits.
func valueOf(digits string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: digits} }
