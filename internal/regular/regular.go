// Package regular reads files at paths where anything may stand: it neither
// waits for a pipe, nor touches a device, nor takes in more than it is asked for.
package regular

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Read reads the beginning of a regular file, at most so many bytes. Symbolic
// links are followed. What else may stand there, it neither opens, since that
// alone can do something to a device, nor waits for. Its errors name the path.
func Read(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is a %s, not a regular file", path, Kind(info))
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() { // another one by now
		return nil, fmt.Errorf("%s is a %s, not a regular file", path, Kind(info))
	}
	return io.ReadAll(io.LimitReader(f, most))
}

// Kind names what stands somewhere.
func Kind(info fs.FileInfo) string {
	switch info.Mode().Type() {
	case 0:
		return "regular file"
	case fs.ModeDir:
		return "folder"
	case fs.ModeNamedPipe:
		return "named pipe"
	case fs.ModeSocket:
		return "socket"
	}
	return "device"
}
