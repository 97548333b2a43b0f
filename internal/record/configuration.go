package record

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"baton/internal/config"
)

const (
	// configurationName is the name of the kept configuration in the runtime directory.
	configurationName = "configuration"
	// maxConfiguration bounds what is read of it.
	maxConfiguration = 64 << 20
)

// KeepConfiguration keeps the files of a configuration that works, for a process
// that finds them broken after a crash. Only the user who runs the daemon can read
// them.
func KeepConfiguration(dir string, files []config.SourceFile) error {
	b, err := json.Marshal(files)
	if err != nil {
		return fmt.Errorf("keep the configuration: %w", err)
	}
	path := filepath.Join(dir, configurationName)
	beside := filepath.Join(dir, "."+configurationName+".new")
	if err = os.WriteFile(beside, b, 0o600); err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		_ = os.Remove(beside)
		return fmt.Errorf("keep the configuration: %w", err)
	}
	return nil
}

// KeptConfiguration returns the files that KeepConfiguration has kept, at least
// one.
func KeptConfiguration(dir string) ([]config.SourceFile, error) {
	f, err := os.Open(filepath.Join(dir, configurationName))
	if err != nil {
		return nil, fmt.Errorf("read the kept configuration: %w", err)
	}
	defer f.Close()
	var files []config.SourceFile
	b, err := io.ReadAll(io.LimitReader(f, maxConfiguration))
	if err == nil {
		err = json.Unmarshal(b, &files)
	}
	if err == nil && len(files) == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("read the kept configuration %s: %w", f.Name(), err)
	}
	return files, nil
}
