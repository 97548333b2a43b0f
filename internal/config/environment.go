package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxSecret bounds a file of secrets or certificates, in bytes: those of all authorities that a host trusts are 220 KiB.
const maxSecret = 1 << 20

// secrets says where secrets are looked for.
type secrets struct {
	credentials string // $CREDENTIALS_DIRECTORY; empty: none
	needed      bool   // this walk's values will be used: what is absent is an error

	commandsOnly bool // of all secrets only environment files are needed
}

// environment reads an environment_file. Only the walk of the node that runs needs it; the others check what is there. The
// content is never shown.
func (w *walk) environment(f fields) []string {
	n := f.scalar("environment_file")
	if n == nil {
		return nil
	}
	path, text, ok := w.secretIf(n, w.secrets.needed)
	if !ok {
		return nil
	}
	env, line, problem := parseEnvironment(string(text))
	if problem != "" {
		w.errorAt(n.place, n.path, "", "%s line %d %s", path, line, problem)
	}
	return env
}

// secret reads the file that a value names: as it stands, or in the credentials directory, or beside the configuration. It is not
// ok where there is none to use; that is a mistake only for the node that needs it.
func (w *walk) secret(n *node) (path string, text []byte, ok bool) {
	return w.secretIf(n, w.secrets.needed && !w.secrets.commandsOnly)
}

func (w *walk) secretIf(n *node, needed bool) (path string, text []byte, ok bool) {
	path, text, mode, err := w.openSecret(n.text)
	switch {
	case err != nil && needed:
		w.errorAt(n.place, n.path, w.lookedUp(n.text, err), "%s", cause(err, path))
	case err != nil:
	case mode.Perm()&0o007 != 0:
		w.errorAt(n.place, n.path, "chmod 0600 "+path, "%s is open to everyone (mode %04o)", path, mode.Perm())
	default:
		w.ownSecret(n, path, needed)
		return path, text, true
	}
	return path, nil, false
}

// publicFile is secret for a file that everybody may read.
func (w *walk) publicFile(n *node) (path string, text []byte, ok bool) {
	path, text, _, err := w.openSecret(n.text)
	if err != nil && w.secrets.needed && !w.secrets.commandsOnly {
		w.errorAt(n.place, n.path, w.lookedUp(n.text, err), "%s", cause(err, path))
	}
	if err == nil {
		w.ownSecret(n, path, w.secrets.needed && !w.secrets.commandsOnly)
	}
	return path, text, err == nil
}

// ownSecret makes a mistake of a file that others could change, for the node that uses it.
func (w *walk) ownSecret(n *node, path string, needed bool) {
	if needed {
		w.files.ownOnly(path, n.place, n.path, w.collector)
	}
}

// lookedUp is the hint of a file that is not there: where else it was looked for.
func (w *walk) lookedUp(name string, err error) string {
	switch {
	case !errors.Is(err, fs.ErrNotExist) || filepath.IsAbs(name):
		return ""
	case w.secrets.credentials == "":
		return "a relative name is looked up beside the configuration, and before that in $CREDENTIALS_DIRECTORY, which is not set"
	}
	return "nor is it in $CREDENTIALS_DIRECTORY, " + w.secrets.credentials
}

func (w *walk) openSecret(name string) (path string, text []byte, mode fs.FileMode, err error) {
	if !filepath.IsAbs(name) {
		if dir := w.secrets.credentials; dir != "" {
			path = filepath.Join(dir, name)
			if text, mode, err = w.readSecret(path); !errors.Is(err, fs.ErrNotExist) {
				return path, text, mode, err
			}
		}
		name = filepath.Join(w.files.dir, name)
	}
	text, mode, err = w.readSecret(name)
	return name, text, mode, err
}

// secretFile is a file of secrets as it was read. Each is read once: by every node, and for every router, it is the same.
type secretFile struct {
	text []byte
	mode fs.FileMode
	err  error
}

func (w *walk) readSecret(path string) ([]byte, fs.FileMode, error) {
	s, known := w.shared.secrets[path]
	if !known {
		s.text, s.mode, s.err = w.files.disk.secret(path)
		w.shared.secrets[path] = s
	}
	return s.text, s.mode, s.err
}

// readSecret reads a regular file and the permissions of what it has read. It does not wait for a pipe's writer.
func readSecret(name string) ([]byte, fs.FileMode, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("read %s: not a regular file", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(text) > maxSecret {
		err = fmt.Errorf("read %s: more than %d KiB", name, maxSecret>>10)
	}
	return text, info.Mode(), err
}

// parseEnvironment reads lines NAME=VALUE as systemd does: comments begin with # or ;, a value may stand in quotes.
func parseEnvironment(text string) (env []string, line int, problem string) {
	for l := range strings.SplitSeq(text, "\n") {
		line++
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' || l[0] == ';' {
			continue
		}
		name, value, ok := strings.Cut(l, "=")
		if !ok || name == "" || strings.Trim(name, letters+digits+"_") != "" || strings.IndexByte(digits, name[0]) >= 0 {
			return env, line, "is not NAME=VALUE"
		}
		if value = strings.TrimSpace(value); value != "" && (value[0] == '"' || value[0] == '\'') {
			if len(value) < 2 || value[len(value)-1] != value[0] {
				return env, line, "has a quote that is not closed"
			}
			value = value[1 : len(value)-1]
		}
		if strings.ContainsRune(value, 0) {
			return env, line, "has a NUL character"
		}
		env = append(env, name+"="+value)
	}
	return env, 0, ""
}
