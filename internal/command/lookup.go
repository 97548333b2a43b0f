package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Libexec is where the scripts that come with the package are; a bare word is
// looked up there first.
const Libexec = "/usr/libexec/baton"

// defaultPath is used where the daemon has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Lookup finds the program that the first word of a command means: an absolute
// path, or a bare word that is looked up in Libexec and then in PATH. It must be
// a file that somebody may execute.
func Lookup(word string) (path string, err error) {
	search := os.Getenv("PATH")
	if search == "" {
		search = defaultPath
	}
	return lookup(word, Libexec, search)
}

func lookup(word, libexec, search string) (string, error) {
	switch {
	case word == "":
		return "", errors.New("a command's first word is empty")
	case filepath.IsAbs(word):
		return word, executable(word)
	case strings.Contains(word, "/"):
		return "", fmt.Errorf("command %q: neither an absolute path nor a bare word", word)
	}
	var unfit error // the first that has the name and cannot be run
	for _, dir := range append([]string{libexec}, filepath.SplitList(search)...) {
		if !filepath.IsAbs(dir) {
			continue // "." in PATH means nothing to a daemon
		}
		path := filepath.Join(dir, word)
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if unfit == nil && !errors.Is(err, os.ErrNotExist) {
			unfit = err
		}
	}
	if unfit != nil {
		return "", unfit
	}
	return "", fmt.Errorf("command %q: not found in %s nor in PATH (%s)", word, libexec, search)
}

func executable(path string) error {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("command %s: %w", path, os.ErrNotExist)
	case err != nil:
		return fmt.Errorf("command: %w", err)
	case fi.IsDir():
		return fmt.Errorf("command %s: is a folder", path)
	case !fi.Mode().IsRegular():
		return fmt.Errorf("command %s: is not a file (%s)", path, fi.Mode().Type())
	case fi.Mode()&0o111 == 0:
		return fmt.Errorf("command %s: is not executable: chmod +x %s", path, path)
	}
	return nil
}
