package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// makeImage runs `make image` in the copy of the sources that the packages are built in, with an engine that writes down how it
// is called, and returns that.
func makeImage(t *testing.T, args ...string) (calls []string, said string, err error) {
	t.Helper()
	packages(t) // so that there is the copy, and bin/baton in it
	log := filepath.Join(t.TempDir(), "calls")
	engine := filepath.Join(filepath.Dir(log), "podman")
	if err := os.WriteFile(engine, fmt.Appendf(nil, "#!/bin/sh\nprintf '%%s\\n' \"$@\" >%s\n", log), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("make", append([]string{"image", "VERSION=" + version}, args...)...)
	cmd.Dir = filepath.Join(scratch, "one")
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(engine)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	text, _ := os.ReadFile(log) // none: it was not called
	return strings.Split(strings.TrimSpace(string(text)), "\n"), string(out), err
}

// No container engine is wanted: this looks at what one would be given.
func TestImage_Context(t *testing.T) {
	calls, said, err := makeImage(t, "BASE=debian:stable-slim")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	want := []string{"build", "--build-arg", "BASE=debian:stable-slim", "--tag", "baton:" + version, "--file", "packaging/Dockerfile", "bin/image"}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("the engine's arguments (-want +got):\n%s", diff)
	}

	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	image := t.TempDir()
	copies := 0
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "COPY" {
			continue
		}
		copies++
		to := filepath.Join(image, words[len(words)-1])
		run(t, filepath.Join(scratch, "one/bin/image"), "mkdir", "-p", to)
		for _, from := range words[1 : len(words)-1] {
			if info, err := os.Stat(filepath.Join(scratch, "one/bin/image", from)); err == nil && info.IsDir() {
				from += "/." // an engine copies what is in it
			}
			run(t, filepath.Join(scratch, "one/bin/image"), "cp", "-a", from, to)
		}
	}
	if copies < 4 {
		t.Errorf("%d lines copy", copies)
	}
	for _, name := range []string{"usr/sbin/baton", "usr/libexec/baton/notify-log", "usr/share/baton/checks/keystone.yaml", "usr/share/doc/baton/LICENSE"} {
		if _, err := os.Stat(filepath.Join(image, name)); err != nil {
			t.Error(err)
		}
	}
	if headers := run(t, image, "readelf", "-l", "usr/sbin/baton"); strings.Contains(headers, "INTERP") {
		t.Errorf("the program is not static, and there is nothing else in the image:\n%s", headers)
	}
}

func TestImage_NoEngine(t *testing.T) {
	calls, said, err := makeImage(t, "ENGINE=")
	if err == nil || calls[0] != "" || !strings.Contains(said, "there is neither podman nor docker here") {
		t.Errorf("%v, called %q:\n%s", err, calls, said)
	}
}
