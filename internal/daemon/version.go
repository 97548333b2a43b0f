package daemon

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// The Makefile sets both. release comes from the tag or the VERSION file. commit is
// empty in a build from a folder that is no clone.
var (
	release = "devel"
	commit  = ""
)

// Version names this build: release, commit where it is known, Go version.
func Version() string {
	commit := commit
	if info, ok := debug.ReadBuildInfo(); ok && commit == "" { // built without the Makefile
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value[:min(12, len(s.Value))]
			}
		}
	}
	if commit == "" {
		return release + " " + runtime.Version()
	}
	return fmt.Sprintf("%s commit %s %s", release, commit, runtime.Version())
}
