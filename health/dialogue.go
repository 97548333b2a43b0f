package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"baton/internal/tlsclient"
)

// maxHeard bounds what is read within one step of a dialogue.
const maxHeard = 64 << 10

// Dialogue is a connection and what is said on it.
type Dialogue struct {
	Network string // tcp or unix
	Address string // HOST:PORT, or an absolute path
	Steps   []Step // none: to connect is all
	TLS     tlsclient.Options
}

// Step is one turn of a dialogue.
type Step struct {
	Send   string // bytes; empty: listen only
	Expect string // bytes that the reply must have; empty: do not wait for one
}

// NewDialogueProbe asks a server in the server's own protocol: it connects, takes
// the steps one after the other, and closes. It passes when each reply has what
// is expected within its first 64 KiB. What came beyond that counts for a next
// step that only listens. A text never shows what is sent, which may be secret.
func NewDialogueProbe(d Dialogue) (Probe, error) {
	host := ""
	switch d.Network {
	case "tcp":
		var port string
		var err error
		if host, port, err = net.SplitHostPort(d.Address); err != nil {
			return nil, fmt.Errorf("address %s: %w", d.Address, err)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("address %s: a port is 1 to 65535", d.Address)
		}
	case "unix":
	default:
		return nil, fmt.Errorf("network %q is neither tcp nor unix", d.Network)
	}
	var secure *tlsClient
	if d.TLS.Use {
		var err error
		if secure, err = newTLSClient(d.TLS, host); err != nil {
			return nil, err
		}
	}
	return &dialogueProbe{newEndpoint(d.Network, d.Address, secure), d.Steps}, nil
}

type dialogueProbe struct {
	endpoint
	steps []Step
}

func (p *dialogueProbe) Probe(ctx context.Context) Answer {
	ctx, cancel := inTime(ctx)
	defer cancel()
	conn, a := p.connect(ctx)
	if conn == nil {
		return a
	}
	defer conn.Close()
	defer bound(ctx, conn)()
	reply, rest := "", []byte(nil)
	for i, s := range p.steps {
		if s.Send != "" {
			rest = nil // said before it was asked
			if _, err := io.WriteString(conn, s.Send); err != nil {
				return p.broken(i, nil, err)
			}
		}
		if s.Expect == "" {
			continue
		}
		heard, end, err := listen(conn, rest, s.Expect)
		if end < 0 {
			return p.broken(i, heard, err)
		}
		reply, rest = excerpt(line(heard, end-len(s.Expect))), heard[end:]
	}
	if reply == "" {
		return Answer{OK: true, Text: "connected to " + p.address}
	}
	return Answer{OK: true, Text: p.address + " answers " + reply}
}

// listen reads until what was heard, heard beforehand included, has what is
// expected; end is where that ends, or -1 where it did not come.
func listen(conn net.Conn, heard []byte, expect string) (all []byte, end int, err error) {
	buffer := make([]byte, 512) // a reply is short
	for from := 0; ; {
		if i := bytes.Index(heard[from:], []byte(expect)); i >= 0 {
			return heard, from + i + len(expect), nil
		}
		from = max(0, len(heard)-len(expect)+1) // it may have come in part
		switch {
		case len(heard) >= maxHeard:
			return heard, -1, nil
		case err != nil:
			return heard, -1, err
		}
		var n int
		n, err = conn.Read(buffer[:min(len(buffer), maxHeard-len(heard))])
		heard = append(heard, buffer[:n]...)
	}
}

// line is the one that has the byte at i.
func line(heard []byte, i int) []byte {
	heard = heard[bytes.LastIndexByte(heard[:i], '\n')+1:]
	before, _, _ := bytes.Cut(heard, []byte("\n"))
	return before
}

// broken is the failure of step i, in which so much was heard. No error: all that
// is read at most.
func (p *dialogueProbe) broken(i int, heard []byte, err error) Answer {
	step := ""
	if len(p.steps) > 1 {
		step = fmt.Sprintf(" in step %d", i+1)
	}
	want := p.steps[i].Expect
	want = strconv.Quote(want[:min(len(want), maxWords)])
	closed := errors.Is(err, io.EOF)
	switch {
	case err == nil:
		return Answer{Text: fmt.Sprintf("%s answers%s with more than %d KiB without %s: %s", p.address, step, maxHeard>>10, want, excerpt(heard))}
	case timedOut(err) && len(heard) == 0 && i == 0:
		return p.silent(p.address)
	case timedOut(err) && len(heard) == 0:
		return Answer{Text: fmt.Sprintf("%s does not answer%s", p.address, step), Hint: "the service hangs, or waits for more: does what is sent end as it should, with \\r\\n?"}
	case timedOut(err):
		return Answer{Text: fmt.Sprintf("%s answers%s %s, not %s", p.address, step, excerpt(heard), want)}
	case closed && len(heard) == 0:
		return Answer{Text: fmt.Sprintf("%s closed the connection%s without an answer", p.address, step)}
	case closed:
		return Answer{Text: fmt.Sprintf("%s answers%s %s, not %s, and closed the connection", p.address, step, excerpt(heard), want)}
	}
	text := fmt.Sprintf("%s%s: %v", p.address, step, plain(err))
	if len(heard) > 0 {
		text += ", after " + excerpt(heard)
	}
	return Answer{Text: strings.TrimSpace(text), Hint: tlsHint(err)}
}
