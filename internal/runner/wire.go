package runner

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"baton/health"
	"baton/internal/command"
	"baton/internal/service"
)

// Version is that of what both ends say to each other. Ends of different versions
// do not work together.
const Version = 1

// maxFrame bounds a message, in bytes. The environment of a router with a thousand
// addresses is below 64 KiB.
const maxFrame = 256 << 10

// A message is its length in four bytes, the highest first, and so many bytes of
// JSON. On a connection the server says hello, the client sends a request, and the
// server answers once; or, where something goes on, more often.

// hello is what the server says first.
type hello struct {
	Version int
	Refused string `json:",omitempty"` // why this client gets nothing; empty: it may ask
}

// kind is what is asked for.
type kind string

const (
	runCommand     kind = "run"         // Spec
	startUnit      kind = "start"       // Unit or Container, Timeout
	stopUnit       kind = "stop"        // the same
	askUnit        kind = "status"      // Container, Timeout
	watchUnit      kind = "watch"       // Container: an answer at each change
	askCheck       kind = "check"       // Check, Timeout
	rebootHost     kind = "reboot"      // needs nothing
	rereadConfig   kind = "reload"      // the same
	cancelCommand  kind = "cancel"      // a second message after runCommand and the like: end it
	longestTimeout      = 2 * time.Hour // of whatever is asked for
)

// request is what the client wants. Words are bytes, since JSON would change those
// that are no UTF-8.
type request struct {
	Kind      kind
	Argv, Env [][]byte       `json:",omitempty"`
	Dir, User string         `json:",omitempty"`
	Timeout   time.Duration  `json:",omitempty"`
	Kill      time.Duration  `json:",omitempty"`
	Unit      string         `json:",omitempty"`
	Container *containerName `json:",omitempty"`
	Check     string         `json:",omitempty"`
}

// containerName is a container, and the socket of its engine.
type containerName struct{ Socket, Name string }

// answer is what became of it.
type answer struct {
	Refused string          `json:",omitempty"` // it was not done, and why
	Err     string          `json:",omitempty"` // it failed
	Errno   syscall.Errno   `json:",omitempty"` // that Err is about, where it is
	Result  *result         `json:",omitempty"` // of a command
	Status  *service.Status `json:",omitempty"` // of a container
	Health  *health.Answer  `json:",omitempty"` // of a check
}

// result is a command.Result, without what the client knows better. Left says that
// another answer follows when the process is gone.
type result struct {
	TimedOut bool
	Timeout  time.Duration
	Exit     int
	Signal   string
	Output   []byte
	Left     bool
}

// failure is an error that the other end had.
type failure struct {
	text  string
	errno syscall.Errno
}

func (f *failure) Error() string { return f.text }

func (f *failure) Is(target error) bool {
	return f.errno != 0 && (target == f.errno || f.errno.Is(target))
}

// failed notes an error in an answer.
func (a *answer) failed(err error) {
	if err == nil {
		return
	}
	a.Err = err.Error()
	if !errors.As(err, &a.Errno) && errors.Is(err, fs.ErrNotExist) {
		a.Errno = unix.ENOENT
	}
}

// err is the error in an answer; nil where there is none.
func (a *answer) err() error {
	switch {
	case a.Refused != "":
		return fmt.Errorf("the runner refuses it: %s", a.Refused)
	case a.Err != "":
		return &failure{a.Err, a.Errno}
	}
	return nil
}

// spec is the command of a request.
func (r *request) spec() command.Spec {
	s := command.Spec{Argv: texts(r.Argv), Env: texts(r.Env), Dir: r.Dir, Timeout: r.Timeout, Kill: r.Kill}
	if r.User != "" {
		s.User = &command.User{Name: r.User}
	}
	return s
}

func (r *request) check() error {
	if r.Timeout < 0 || r.Timeout > longestTimeout || r.Kill < 0 || r.Kill > longestTimeout {
		return errors.New("its time limit makes no sense")
	}
	for _, w := range [][][]byte{r.Argv, r.Env} {
		for _, b := range w {
			if bytes.IndexByte(b, 0) >= 0 {
				return errors.New("a word has a NUL character")
			}
		}
	}
	if strings.IndexByte(r.Dir+r.User, 0) >= 0 {
		return errors.New("a word has a NUL character")
	}
	return nil
}

func texts(words [][]byte) []string {
	var list []string
	for _, w := range words {
		list = append(list, string(w))
	}
	return list
}

func raw(words []string) [][]byte {
	var list [][]byte
	for _, w := range words {
		list = append(list, []byte(w))
	}
	return list
}

// write sends one message.
func write(w io.Writer, message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return fmt.Errorf("a message of %d bytes: at most %d are sent", len(body), maxFrame)
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

// read takes one message. What it does not know it refuses: it would do less than
// was asked for.
func read(r io.Reader, message any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return fmt.Errorf("a message of %d bytes: at most %d are taken", n, maxFrame)
	}
	// What was not sent yet takes no memory.
	body, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err != nil {
		return err
	}
	if len(body) < int(n) {
		return io.ErrUnexpectedEOF
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(message); err != nil {
		return fmt.Errorf("a message makes no sense: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("a message makes no sense: something follows it")
	}
	return nil
}

// credentials are those that the kernel knows of the other end: of a client, who
// has connected; of a server, who has begun to listen.
func credentials(c *net.UnixConn) (*unix.Ucred, error) {
	conn, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	if e := conn.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		return nil, e
	}
	return cred, err
}
