package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files of testdata")

// Each file of testdata/mistakes has its findings beside it, exactly as validate prints them.
func TestValidate_Mistakes(t *testing.T) {
	t.Chdir("testdata/mistakes")
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d files, err %v", len(files), err)
	}
	// What a checkout makes of permissions depends on its umask.
	for name, mode := range map[string]os.FileMode{
		"environment_open.env": 0o644, "environment_bad.env": 0o600, "password_long.key": 0o600, "password_open.key": 0o644,
		"hmac_good.key": 0o600, "hmac_short.key": 0o600, "hmac_hex.key": 0o600, "hmac_open.key": 0o644, "listen_open.token": 0o644,
	} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			var got strings.Builder
			if _, err := Validate(name).WriteTo(&got); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(name, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.Len() == 0 {
				t.Error("no finding at all")
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// A good file is silent.
func TestValidate_Good(t *testing.T) {
	t.Chdir("testdata/good")
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, err %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			var got strings.Builder
			if _, err := Validate(name).WriteTo(&got); err != nil || got.Len() > 0 {
				t.Errorf("err %v, findings:\n%s", err, got.String())
			}
		})
	}
}
