package service

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

const (
	// maxMessage bounds a D-Bus message. What is asked for here is answered with
	// a few hundred bytes; the protocol itself allows 128 MiB.
	maxMessage = 256 << 10
	// maxGreeting bounds what the other side may say before the first message.
	maxGreeting = 4 << 10
	// writeLimit is how long a message may wait for room in the socket: a call
	// cannot be given up meanwhile.
	writeLimit = 300 * time.Millisecond
)

// errForeign is the error of a peer that says what D-Bus has no words for.
var errForeign = errors.New("the other side does not speak D-Bus")

// transport is the connection that the D-Bus library reads and writes. The
// library trusts its peer: it would wait for ever to write, and take in any size.
type transport struct {
	net.Conn
	greeted int    // bytes of the authentication read so far
	framed  bool   // the authentication is over; set before the first message is read
	rest    []byte // of the message that is being handed over

	broken atomic.Pointer[error] // why it is of no more use; the library does not tell
}

// fail notes the first error and gives the connection up.
func (t *transport) fail(err error) error {
	t.broken.CompareAndSwap(nil, &err)
	t.Conn.Close()
	return err
}

// reason is why the connection was lost; err where it knows of nothing.
func (t *transport) reason(err error) error {
	if first := t.broken.Load(); first != nil {
		err = *first
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the other side closed the connection")
	}
	return bare(err)
}

func (t *transport) Read(p []byte) (int, error) {
	if !t.framed {
		if t.greeted >= maxGreeting {
			return 0, t.fail(errForeign)
		}
		n, err := t.Conn.Read(p[:min(len(p), maxGreeting-t.greeted)])
		t.greeted += n
		return n, err
	}
	if len(t.rest) == 0 {
		if err := t.next(); err != nil {
			return 0, t.fail(err)
		}
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// next reads one whole message.
func (t *transport) next() error {
	var head [16]byte
	if _, err := io.ReadFull(t.Conn, head[:]); err != nil {
		return err
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch head[0] {
	case 'l':
	case 'B':
		order = binary.BigEndian
	default:
		return errForeign
	}
	// The header's fields end on a multiple of eight; the body follows.
	size := 16 + (uint64(order.Uint32(head[12:]))+7)&^7 + uint64(order.Uint32(head[4:]))
	if size > maxMessage {
		return fmt.Errorf("a D-Bus message of %d bytes, more than %d KiB", size, maxMessage>>10)
	}
	t.rest = make([]byte, size)
	copy(t.rest, head[:])
	_, err := io.ReadFull(t.Conn, t.rest[16:])
	return err
}

// Write sends a whole message. One that was cut short leaves nothing to go on
// with, so the connection is closed then.
func (t *transport) Write(p []byte) (int, error) {
	if err := t.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return 0, err
	}
	n, err := t.Conn.Write(p)
	if err != nil {
		return n, t.fail(err)
	}
	// The last line of the authentication; the library starts to read messages
	// once this returns.
	if string(p) == "BEGIN\r\n" {
		t.framed = true
	}
	return n, nil
}
