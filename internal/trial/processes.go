package trial

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// RootDir is a folder that only root can write, unlike t.TempDir.
func RootDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/run", "baton-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Alive tells whether a process exists and is no zombie.
func Alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// Children lists this process's children, zombies included.
func Children(t testing.TB) []string {
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, task := range tasks {
		b, _ := os.ReadFile(task) // a thread may be gone meanwhile
		all = append(all, strings.Fields(string(b))...)
	}
	return all
}
