package regular

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("file"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", at("link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tests := []struct {
		path string
		most int64
		want string
		err  string
	}{
		{at("file"), 10, "12345", ""},
		{at("file"), 5, "12345", ""},
		{at("file"), 4, "1234", ""},
		{at("link"), 5, "12345", ""},
		{dir, 5, "", dir + " is a folder, not a regular file"},
		{at("pipe"), 5, "", at("pipe") + " is a named pipe, not a regular file"},
		{at("socket"), 5, "", at("socket") + " is a socket, not a regular file"},
		{"/dev/zero", 5, "", "/dev/zero is a device, not a regular file"},
	}
	for _, tt := range tests {
		got, err := Read(tt.path, tt.most)
		said := ""
		if err != nil {
			said = err.Error()
		}
		if string(got) != tt.want || said != tt.err {
			t.Errorf("%s, %d: got %q, %q, want %q, %q", tt.path, tt.most, got, said, tt.want, tt.err)
		}
	}
	if _, err := Read(at("missing"), 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
}
