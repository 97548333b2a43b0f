package config

import (
	"bytes"
	"encoding/hex"
	"time"
	"unicode/utf8"
)

// mostPassword is what an advertisement of version 2 carries, in bytes (RFC 2338 section 5.3.6, and whoever still speaks it).
const mostPassword = 8

// The bounds of a key, in bytes.
const (
	leastKey = 32
	mostKey  = 64
)

// authentication reads the mapping of that name, into Password or HMAC.
func (w *walk) authentication(f fields, r *reading) {
	n := f.get("authentication")
	if n == nil {
		return
	}
	if n.kind == scalar {
		w.errorAt(n.place, n.path, "authentication: {type: hmac, keys: {1: FILE}}", "is a single value, want a mapping")
		return
	}
	a := w.fields(n, n.place, authenticationKeys, "authentication")
	if a.broken {
		return
	}
	if !a.has("type") {
		if n.child("auth_type") == nil {
			a.require("type", "")
		}
		return
	}
	r.sign = a.get("type")
	if r.sign.text == "ah" || r.sign.text == "AH" {
		w.errorAt(r.sign.place, r.sign.path, "type: hmac, which keepalived 2.4 knows as auth_hmac; or type: pass, which all know",
			"AH is not spoken: RFC 3768 has taken it out of VRRP, and what is left of it differs from one maker to the next")
		return
	}
	kind := a.oneOf("type", "hmac", "pass", "none")
	for _, e := range n.entries {
		owner := map[string]string{"password": "pass", "password_file": "pass", "keys": "hmac", "send": "hmac", "mode": "hmac", "window": "hmac"}[e.key.text]
		if owner != "" && kind != "" && owner != kind {
			w.errorAt(e.key.place, n.path, "", "%s belongs to type: %s", e.key.text, owner)
		}
	}
	switch kind {
	case "pass":
		r.Password = w.password(a)
	case "hmac":
		r.HMAC = w.hmac(a, r.Interval)
	}
}

// password reads it from the file or from the configuration. It never stands in a message.
func (w *walk) password(a fields) string {
	n, text, given := w.secretValue(a, "password")
	switch {
	case !given:
		a.require("password", "password: TEXT, or password_file: FILE")
		return ""
	case n == nil:
		return ""
	case n == a.get("password"):
		return w.fitting(n, "", text)
	}
	path, _, _ := w.secret(n)
	return w.fitting(n, path+" ", text)
}

// secretValue reads a secret that stands under name, or in the file that name_file names. Without given there is neither; n is
// where it came from, or nil where it could not be read, which has been reported, or is another node's matter.
func (w *walk) secretValue(f fields, name string) (n *node, text string, given bool) {
	own, file := f.get(name), f.get(name+"_file")
	switch {
	case own == nil && file == nil:
		return nil, "", false
	case own != nil && file != nil:
		w.errorAt(file.place, f.path, "", "%s and %s_file are two ways to say one thing: write one of them", name, name)
		return nil, "", true
	case own != nil:
		if n = f.scalar(name); n != nil {
			text = n.text
		}
		return n, text, true
	}
	if n = f.scalar(name + "_file"); n == nil {
		return nil, "", true
	}
	_, content, ok := w.secret(n)
	if !ok {
		return nil, "", true
	}
	return n, string(cutNewline(content)), true
}

func (w *walk) fitting(n *node, what, password string) string {
	switch {
	case password == "":
		w.errorAt(n.place, n.path, "", "%sis empty", what)
	case len(password) > mostPassword:
		hint := "keepalived cuts it: the peers have the first 8 bytes"
		if !utf8.ValidString(password[:mostPassword]) {
			hint = "8 bytes of letters and digits"
		}
		w.errorAt(n.place, n.path, hint, "%shas %d bytes, an advertisement carries 8", what, len(password))
	case bytes.IndexByte([]byte(password), 0) >= 0:
		w.errorAt(n.place, n.path, "", "%shas a NUL character", what)
	default:
		return password
	}
	return ""
}

func cutNewline(text []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
}

func (w *walk) hmac(a fields, interval time.Duration) *HMAC {
	h := &HMAC{Keys: map[uint8][]byte{}, Window: min(max(3*interval, 5*time.Second), 300*time.Second)}
	switch a.oneOf("mode", "enforce", "permissive", "receive-only") {
	case "permissive":
		h.Mode = HMACPermissive
	case "receive-only":
		h.Mode = HMACReceiveOnly
	}
	if a.has("window") {
		h.Window = a.duration("window", time.Second, 300*time.Second, true)
	}
	if !a.require("keys", "keys: {1: FILE}") {
		return h
	}
	n := a.get("keys")
	if n.kind != mapping || len(n.entries) == 0 {
		what := n.kind.String()
		if n.kind == mapping {
			what = "empty"
		}
		w.errorAt(n.place, n.path, "keys: {1: FILE}", "is %s, want ID: FILE for every key", what)
		return h
	}
	ids := map[uint8]bool{}
	for _, e := range n.entries {
		id, wrong := parseNumber(e.key)
		if e.key.quoted() && isDigits(e.key.text) { // JSON has no other keys
			unquoted := *e.key
			unquoted.style = 0
			id, wrong = parseNumber(&unquoted)
		}
		switch {
		case wrong != "" || id < 1 || id > 255:
			w.errorAt(e.key.place, n.path, "keys: {1: FILE}", "%s is no number of a key: want 1 to 255", quote(e.key.text))
			continue
		case e.value.kind != scalar:
			w.errorAt(e.value.place, e.value.path, "", "is %s, want the name of a file", e.value.kind)
		case e.value.text == "":
			w.errorAt(e.value.place, e.value.path, "", "names no file")
		default:
			if key := w.key(e.value); key != nil {
				h.Keys[uint8(id)] = key
			}
		}
		ids[uint8(id)] = true
	}
	h.Send = w.send(a, n, ids)
	return h
}

// send is the key that signs: the only one, or the one that the file names.
func (w *walk) send(a fields, keys *node, ids map[uint8]bool) uint8 {
	if !a.has("send") {
		if len(ids) > 1 {
			w.errorAt(keys.place, a.path, "send: "+keys.entries[len(keys.entries)-1].key.text, "send is missing: which of the keys signs?")
		}
		for id := range ids {
			return id
		}
		return 0
	}
	id := uint8(a.number("send", 1, 255))
	if n := a.get("send"); id != 0 && !ids[id] {
		w.errorAt(n.place, n.path, "", "there is no key %d", id)
	}
	return id
}

// key reads a file with a key: its bytes, or hex: and their digits, as keepalived has it. A newline at the end is not part of it.
func (w *walk) key(n *node) []byte {
	path, text, ok := w.secret(n)
	if !ok {
		return nil
	}
	key := cutNewline(text)
	if digits, ok := bytes.CutPrefix(key, []byte("hex:")); ok {
		key = make([]byte, hex.DecodedLen(len(digits)))
		if _, err := hex.Decode(key, digits); err != nil {
			w.errorAt(n.place, n.path, "", "%s: what follows hex: is no even number of hexadecimal digits", path)
			return nil
		}
	}
	if len(key) < leastKey || len(key) > mostKey {
		w.errorAt(n.place, n.path, "echo hex:$(openssl rand -hex 32) > "+path, "%s has %d bytes, a key has %d to %d", path, len(key), leastKey, mostKey)
		return nil
	}
	return bytes.Clone(key)
}
