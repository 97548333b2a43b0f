package daemon

import (
	"testing"

	"baton/internal/config"
)

// Who cannot be asked is said, and why.
func TestCluster_Refused(t *testing.T) {
	for want, cfg := range map[string]*config.Config{
		"the configuration names no other node":                             {Nodes: []config.Node{{Name: "a"}}},
		"nobody can ask the other nodes: the configuration has no `listen`": {Nodes: []config.Node{{Name: "a"}, {Name: "b"}}},
	} {
		d := &daemon{cfg: cfg}
		if _, err := d.Cluster(t.Context()); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestPreferred(t *testing.T) {
	for want, priorities := range map[string]map[string]uint8{
		"a": {"a": 200, "b": 190},
		"b": {"a": 100, "b": 190, "c": 100},
		"":  {"a": 100, "b": 100},
	} {
		if got := preferred(priorities); got != want {
			t.Errorf("of %v %q is preferred", priorities, got)
		}
	}
}
