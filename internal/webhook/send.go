package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

const (
	maxAnswer = 4 << 10  // bytes that are read of an answer
	maxHeader = 16 << 10 // bytes of its head
	maxLine   = 200      // bytes of an answer that the log shows
)

// dialFunc connects; nil is the usual way.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// send makes one try. again says whether another one could succeed. The error
// names neither the URL nor a header.
func (h *hook) send(ctx context.Context, e event) (again bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, h.Timeout, fmt.Errorf("no answer within %s", h.Timeout))
	defer cancel()
	client, err := h.client()
	if err != nil {
		return true, err // a file that is mended counts at the next try
	}
	defer client.CloseIdleConnections()
	r, err := h.request(ctx, e)
	if err != nil {
		return false, err
	}
	answer, err := client.Do(r)
	h.silent = err != nil
	if err != nil {
		return true, explain(ctx, err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // only to show it: the status counts
	switch s := answer.StatusCode; {
	case s >= 200 && s < 300:
		return false, nil
	case s >= 300 && s < 400:
		return false, fmt.Errorf("the server answers %s, which would send it elsewhere: write the URL that it moved to", answer.Status)
	default:
		err = fmt.Errorf("the server answers %s", answer.Status)
		if line := firstLine(text); line != "" {
			err = fmt.Errorf("%w: %s", err, line)
		}
		return s >= 500 || s == http.StatusRequestTimeout || s == http.StatusTooManyRequests, err
	}
}

func (h *hook) request(ctx context.Context, e event) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(e.body))
	if err != nil {
		return nil, errors.New("the URL cannot be used") // err would show it
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "baton")
	if h.Token != "" {
		r.Header.Set("Authorization", "Bearer "+h.Token)
	}
	for name, value := range h.Headers {
		r.Header.Set(name, value)
		if strings.EqualFold(name, "Host") {
			r.Host = value
		}
	}
	return r, nil
}

// client is made for each try: the files of TLS count as they are now, and a
// rare event keeps no connection.
func (h *hook) client() (*http.Client, error) {
	config, err := h.tls.Config()
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            h.dial,
			TLSClientConfig:        config,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// explain says why there was no answer, without the URL.
func explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var with *url.Error
	if errors.As(err, &with) {
		err = with.Err
	}
	return err
}

// firstLine is the beginning of an answer, fit for a log.
func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	line = strings.ToValidUTF8(line[:min(len(line), maxLine)], "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, line))
}
