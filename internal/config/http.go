package config

import (
	"errors"
	"net/url"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"baton/internal/tlsclient"
)

func (w *walk) httpCheck(f fields, c *Check) {
	h := &HTTP{
		URL:      w.url(f, inURL),
		Socket:   w.socket(f, "/run/api.sock", inURL),
		Method:   f.oneOf("method", "GET", "HEAD", "OPTIONS", "POST"),
		Headers:  w.headers(f, inURL),
		Statuses: w.statuses(f),
		Match:    w.pattern(f, "match"),
	}
	h.User, h.Password = w.basic(f)
	if n := f.get("match"); n != nil && h.Method == "HEAD" {
		w.errorAt(n.place, n.path, "method: GET", "the answer to HEAD has no body")
	}
	h.TLS = w.urlTLS(f, h.URL)
	c.HTTP = h
}

// urlTLS is tls where a URL says whether it is spoken.
func (w *walk) urlTLS(f fields, url string) tlsclient.Options {
	t := w.tls(f)
	t.Use = false
	if n := f.get("tls"); n != nil && strings.HasPrefix(url, "http:") {
		w.errorAt(n.place, n.path, "url: https://...", "is of no use: the URL begins with http:")
	}
	return t
}

// url reads one of http or https. It is empty where the value is absent or wrong.
func (w *walk) url(f fields, s scope) string {
	n := f.scalar("url")
	text, ok := w.expanded(n, s)
	if !ok {
		return ""
	}
	u, err := url.Parse(text)
	if strings.Contains(text, "@") && (err != nil || u.User != nil || u.Host == "") {
		n.file.hide(n.line) // whatever a message about that line is about
		hint := "user: NAME, and password_file: FILE"
		if f.table.find("user") == nil {
			hint = "token_file: FILE, or headers: {Authorization: TEXT}"
		}
		w.errorAt(n.place, n.path, hint, "has a user in it: a URL is shown in logs and messages")
		return ""
	}
	switch {
	case !strings.Contains(text, "://"):
		w.errorAt(n.place, n.path, "http://"+short(text), "%s is no URL", quote(text))
	case err != nil:
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		hint := "want " + f.table.find("url").want
		if _, host, _ := strings.Cut(text, "://"); strings.Count(host, ":") > 1 && !strings.Contains(host, "[") {
			hint = "an IPv6 address stands in brackets: http://[2001:db8::1]/"
		}
		w.errorAt(n.place, n.path, hint, "%s is no URL: %s", quote(text), short(err.Error()))
	case u.Scheme != "http" && u.Scheme != "https":
		w.errorAt(n.place, n.path, "", "%s is no URL of http or https", quote(text))
	case !isHost(u.Hostname()):
		w.errorAt(n.place, n.path, "want "+f.table.find("url").want, "%s names no host", quote(text))
	case u.Port() != "" && !isPort(u.Port()), strings.HasSuffix(u.Host, ":"):
		w.errorAt(n.place, n.path, "", "%s: the port is a number from 1 to 65535", quote(text))
	case u.Fragment != "":
		w.errorAt(n.place, n.path, "", "%s: what follows # is not sent to a server", quote(text))
	default:
		return text
	}
	return ""
}

func isPort(text string) bool {
	v, err := strconv.Atoi(text)
	return err == nil && isDigits(text) && v >= 1 && v <= 65535
}

// headers reads a mapping of them. A value never stands in a message: it may be a token.
func (w *walk) headers(f fields, s scope) map[string]string {
	n := f.get("headers")
	if n == nil {
		return nil
	}
	if n.kind != mapping {
		w.errorAt(n.place, n.path, "headers: {NAME: VALUE}", "is %s, want a mapping", n.kind)
		return nil
	}
	all := map[string]string{}
	seen := map[string]bool{}
	for _, e := range n.entries {
		name := e.key.text
		value, ok := w.headerValue(e.value, s)
		switch {
		case name == "" || strings.Trim(name, letters+digits+"!#$%&'*+-.^_`|~") != "":
			w.errorAt(e.key.place, n.path, "", "%s cannot be the name of a header", quote(name))
		case seen[strings.ToLower(name)]:
			w.errorAt(e.key.place, n.path, "", "%q stands here twice", name)
		case slices.Contains([]string{"content-length", "transfer-encoding", "connection"}, strings.ToLower(name)):
			w.errorAt(e.key.place, n.path, "take it out", "%s is what baton sets itself", name)
		case strings.EqualFold(name, "Authorization") && (f.has("token") || f.has("token_file")):
			w.errorAt(e.key.place, n.path, "", "the token and this header are two ways to say one thing: write one of them")
		case strings.EqualFold(name, "Authorization") && f.has("user"):
			w.errorAt(e.key.place, n.path, "", "user and this header are two ways to say one thing: write one of them")
		case ok:
			all[name] = value
		}
		seen[strings.ToLower(name)] = true
	}
	return all
}

func (w *walk) headerValue(n *node, s scope) (string, bool) {
	if n.kind != scalar {
		w.errorAt(n.place, n.path, "", "is %s, want a text", n.kind)
		return "", false
	}
	text, ok := w.expanded(n, s)
	if ok && strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		w.errorAt(n.place, n.path, "", "has a character that no header can have, such as the end of a line")
		return "", false
	}
	return text, ok
}

// statuses reads what a server may answer, as ranges.
func (w *walk) statuses(f fields) [][2]int {
	if !f.has("status") {
		return [][2]int{{200, 299}}
	}
	var all [][2]int
	for _, item := range w.oneOrMore(f, "status") {
		from, to, ok := parseStatus(item.text)
		switch {
		case !ok:
			w.errorAt(item.place, item.path, "want 200, 2xx or 200-299, or a list of them", "%s is no status of HTTP", quote(item.text))
		case from > to:
			w.errorAt(item.place, item.path, strconv.Itoa(to)+"-"+strconv.Itoa(from), "%s begins above its end", quote(item.text))
		default:
			all = append(all, [2]int{from, to})
		}
	}
	return all
}

// parseStatus reads 200, 2xx or 200-299.
func parseStatus(text string) (from, to int, ok bool) {
	number := func(s string) int {
		v, err := strconv.Atoi(s)
		if err != nil || len(s) != 3 || v < 100 || v > 599 {
			return 0
		}
		return v
	}
	if first, last, isRange := strings.Cut(text, "-"); isRange {
		from, to = number(strings.TrimSpace(first)), number(strings.TrimSpace(last))
		return from, to, from > 0 && to > 0
	}
	if class, isClass := strings.CutSuffix(strings.ToLower(text), "xx"); isClass && len(class) == 1 && class >= "1" && class <= "5" {
		from = 100 * int(class[0]-'0')
		return from, from + 99, true
	}
	from = number(text)
	return from, from, from > 0
}

// pattern reads a regular expression, as RE2 has them.
func (w *walk) pattern(f fields, name string) string {
	n := f.scalar(name)
	if n == nil {
		return ""
	}
	if _, err := regexp.Compile(n.text); err != nil {
		hint := ""
		var e *syntax.Error
		if errors.As(err, &e) {
			err = errors.New(e.Code.String() + ": " + e.Expr)
			if strings.HasPrefix(e.Expr, "(?") {
				hint = "the syntax is that of RE2: it looks neither ahead nor back"
			}
		}
		w.errorAt(n.place, n.path, hint, "%s is no regular expression: %s", quote(n.text), short(err.Error()))
		return ""
	}
	return n.text
}

// basic reads the user and the password of basic authentication.
func (w *walk) basic(f fields) (user, password string) {
	from, password, given := w.secretValue(f, "password")
	n := f.scalar("user")
	switch {
	case from != nil && password == "":
		w.errorAt(from.place, from.path, "", "is empty")
	case n == nil && given && !f.has("user"):
		w.errorAt(f.at, f.path, "user: NAME", "user is missing: whose password is it?")
	case n != nil && !given:
		w.errorAt(n.place, f.path, "password_file: FILE, or password: TEXT", "password is missing")
	case n != nil && strings.Contains(n.text, ":"):
		w.errorAt(n.place, n.path, "", "%s has a colon: basic authentication ends the name there", quote(n.text))
	case n != nil:
		user = n.text
	}
	return user, password
}
