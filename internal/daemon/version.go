package daemon

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is the version of this build. The Makefile sets it from the VERSION
// file.
var release = "devel"

// Version names this build: release, commit where it is known, Go version.
func Version() string {
	commit := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = " commit " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return fmt.Sprintf("%s%s %s", release, commit, runtime.Version())
}
