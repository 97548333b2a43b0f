package config

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// readWebhooks reads what is told of changes.
func (w *walk) readWebhooks(n *node) {
	for _, e := range w.entries(n, "webhooks") {
		if !w.name(e.key, "webhook") {
			continue
		}
		f := w.fields(e.value, e.key.place, webhookKeys, "webhook")
		if f.broken {
			continue
		}
		f.path = e.value.path
		h := Webhook{
			Name:    e.key.text,
			URL:     w.webhookURL(f),
			Token:   w.token(f),
			Headers: w.headers(f),
			Events:  w.webhookEvents(f),
			Timeout: f.duration("timeout", 100*time.Millisecond, time.Minute, false),
			Retries: f.number("retries", 0, 10),
			TLS:     w.tls(f),
		}
		if n := f.raw("url"); n != nil && n.kind == mapping && pick(n, w.me.Name) == nil {
			continue // on the other nodes only
		}
		if n := f.get("tls"); n != nil && strings.HasPrefix(h.URL, "http:") {
			w.errorAt(n.place, n.path, "url: "+short(strings.Replace(h.URL, "http:", "https:", 1)), "has a meaning for https only")
		}
		w.config.Webhooks = append(w.config.Webhooks, h)
	}
	slices.SortFunc(w.config.Webhooks, func(a, b Webhook) int { return strings.Compare(a.Name, b.Name) })
}

func (w *walk) webhookURL(f fields) string {
	if !f.require("url", "url: https://HOST/PATH") {
		return ""
	}
	n := f.scalar("url")
	if n == nil {
		return ""
	}
	text, ok := w.expand(word{[]rune(n.text), n.inside}, inWebhook, n.path)
	if !ok {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil:
		n.file.hide(n.line)
		w.errorAt(n.place, n.path, "", "has a user in it: write token: TEXT, or headers: {Authorization: TEXT}")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		w.errorAt(n.place, n.path, "such as https://alerts.example.org/baton", "is no URL that begins with https:// or http://")
	default:
		return text
	}
	return ""
}

// webhookEvents reads a list, or one of them.
func (w *walk) webhookEvents(f fields) []string {
	known := []string{"role", "check", "service"}
	n := f.get("events")
	if n == nil {
		return known[:1]
	}
	items := n.items
	switch {
	case n.kind == scalar:
		items = []*node{n}
	case n.kind != list || len(items) == 0:
		w.errorAt(n.place, n.path, "want a list of "+enumerate(known), "names no event")
	}
	var events []string
	for _, item := range items {
		switch {
		case item.kind != scalar:
			w.errorAt(item.place, n.path, "want a list of "+enumerate(known), "is %s, want an event", item.kind)
		case !slices.Contains(known, item.text):
			w.errorAt(item.place, n.path, didYouMean(item.text, known), "%s is no event", item.shown())
		case slices.Contains(events, item.text):
			w.errorAt(item.place, n.path, "", "%q stands here twice", item.text)
		default:
			events = append(events, item.text)
		}
	}
	return events
}

// token reads it from the configuration or from a file. It never stands in a message.
func (w *walk) token(f fields) string {
	text, file := f.get("token"), f.get("token_file")
	switch {
	case text != nil && file != nil:
		w.errorAt(file.place, f.path, "", "token and token_file are two ways to say one thing: write one of them")
	case text != nil:
		if text = f.scalar("token"); text != nil {
			return w.fitToken(text, "", text.text)
		}
	case file != nil:
		if file = f.scalar("token_file"); file == nil {
			return ""
		}
		if path, content, ok := w.secret(file); ok {
			return w.fitToken(file, path+" ", string(cutNewline(content)))
		}
	}
	return ""
}

func (w *walk) fitToken(n *node, what, token string) string {
	switch {
	case token == "":
		w.errorAt(n.place, n.path, "", "%sis empty", what)
	case strings.HasPrefix(token, "Bearer "):
		w.errorAt(n.place, n.path, "the token alone", "%sbegins with the word Bearer, which baton puts there", what)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		w.errorAt(n.place, n.path, "", "%shas a space, or a character that is not ASCII: a header cannot carry it", what)
	default:
		return token
	}
	return ""
}

// headers reads what a request carries beside baton's own. The values are secret.
func (w *walk) headers(f fields) map[string]string {
	n := f.get("headers")
	switch {
	case n == nil || n.kind == empty:
		return nil
	case n.kind != mapping:
		w.errorAt(n.place, n.path, "headers: {NAME: VALUE}", "is %s, want NAME: VALUE for every header", n.kind)
		return nil
	}
	all, seen := map[string]string{}, map[string]string{}
	for _, e := range n.entries {
		name := e.key.text
		fold := strings.ToLower(name)
		switch {
		case name == "" || strings.Trim(name, letters+digits+"!#$%&'*+-.^_`|~") != "":
			w.errorAt(e.key.place, n.path, "letters, digits and dash, without the colon", "%s cannot be the name of a header", quote(name))
			continue
		case slices.Contains([]string{"content-length", "transfer-encoding", "connection", "host"}, fold):
			w.errorAt(e.key.place, n.path, "take it out", "baton sets %s itself", name)
			continue
		case fold == "authorization" && (f.has("token") || f.has("token_file")):
			w.errorAt(e.key.place, n.path, "write one of them", "%s is what the token is sent in", name)
		case seen[fold] != "":
			w.errorAt(e.key.place, n.path, "", "%s is %s in other letters", name, seen[fold])
		}
		seen[fold] = name
		switch {
		case e.value.kind != scalar:
			w.errorAt(e.value.place, n.path, "", "%s is %s, want a single value", name, e.value.kind)
		case strings.ContainsFunc(e.value.text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			w.errorAt(e.value.place, n.path, "", "the value of %s has a line break or a control character: a header cannot carry it", name)
		default:
			all[name] = e.value.text
		}
	}
	return all
}
