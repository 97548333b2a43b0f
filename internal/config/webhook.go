package config

import (
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
		f.require("url", "url: https://HOST/PATH")
		h := Webhook{
			Name:    e.key.text,
			URL:     w.url(f, inWebhook),
			Token:   w.token(f),
			Headers: w.headers(f, inWebhook),
			Events:  w.webhookEvents(f),
			Timeout: f.duration("timeout", 100*time.Millisecond, time.Minute, false),
			Retries: f.number("retries", 0, 10),
		}
		h.TLS = w.urlTLS(f, h.URL)
		if n := f.raw("url"); n != nil && n.kind == mapping && pick(n, w.me.Name) == nil {
			continue // on the other nodes only
		}
		w.config.Webhooks = append(w.config.Webhooks, h)
	}
	slices.SortFunc(w.config.Webhooks, func(a, b Webhook) int { return strings.Compare(a.Name, b.Name) })
}

// webhookEvents reads a list, or one of them.
func (w *walk) webhookEvents(f fields) []string {
	known := []string{"role", "check", "service"}
	if !f.has("events") {
		return known[:1]
	}
	var events []string
	for _, item := range w.oneOrMore(f, "events") {
		switch {
		case !slices.Contains(known, item.text):
			w.errorAt(item.place, item.path, didYouMean(item.text, known), "%s is no event", item.shown())
		case slices.Contains(events, item.text):
			w.errorAt(item.place, item.path, "", "%q stands here twice", item.text)
		default:
			events = append(events, item.text)
		}
	}
	return events
}

// token reads it from the configuration or from a file. It never stands in a message.
func (w *walk) token(f fields) string {
	n, token, _ := w.secretValue(f, "token")
	switch {
	case n == nil:
	case token == "":
		w.errorAt(n.place, n.path, "", "is empty")
	case strings.HasPrefix(token, "Bearer "):
		w.errorAt(n.place, n.path, "the token alone", "begins with the word Bearer, which baton puts there")
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		w.errorAt(n.place, n.path, "", "has a space, or a character that is not ASCII: a header cannot carry it")
	default:
		return token
	}
	return ""
}
